# Usage: Rscript lmm_peer.R PACKAGE FORMULA CSV FACTOR,FACTOR,... [PEDIGREE_CSV]
# REML fits. Prints one line: CPU seconds of the second fit (of the first where that takes 20 s), wall seconds, log-likelihood.
# With a pedigree, lmer's Z is multiplied by the Cholesky factor of the relationships (as the package pedigreemm does).
a <- commandArgs(TRUE)
d <- read.csv(a[3], stringsAsFactors = FALSE)
for (f in strsplit(a[4], ",")[[1]]) d[[f]] <- factor(d[[f]])
formula <- as.formula(a[2])
time <- function(expr) { t <- system.time(v <- expr); list(v = v, cpu = t[["user.self"]] + t[["sys.self"]], wall = t[["elapsed"]]) }
if (a[1] == "glmmTMB") {
  suppressMessages(library(glmmTMB))
  fit <- function() { m <- glmmTMB(formula, d, REML = TRUE); s <- vcov(m); m }
} else {
  suppressMessages(library(lme4))
  fit <- function() { m <- lmer(formula, d); s <- vcov(m); m }
}
if (length(a) > 4) {
  p <- read.csv(a[5])
  n <- nrow(p)
  d$animal <- factor(d$animal, levels = p$animal)
  fit <- function() {
    known <- function(x) which(x > 0)
    s <- known(p$sire); m <- known(p$dam)
    Ti <- sparseMatrix(i = c(1:n, s, m), j = c(1:n, p$sire[s], p$dam[m]), x = c(rep(1, n), rep(-0.5, length(s) + length(m))))
    # No parent is inbred enough to matter for the time; the variances of Mendelian sampling leave inbreeding out.
    Lt <- Diagonal(x = sqrt(1 - 0.25 * (p$sire > 0) - 0.25 * (p$dam > 0))) %*% t(solve(Ti))
    control <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore")
    l <- lFormula(formula, d, control = control)
    # Z over the animals with records; a factor of their relationships from that of all animals.
    with <- match(levels(l$fr$animal), p$animal)
    A <- crossprod(Lt[, with])
    l$reTrms$Zt <- chol(as(forceSymmetric(A), "CsparseMatrix")) %*% l$reTrms$Zt
    f <- do.call(mkLmerDevfun, l)
    r <- mkMerMod(environment(f), optimizeLmer(f), l$reTrms, l$fr); s <- vcov(r); r
  }
}
r <- time(fit())
if (r$cpu < 20) r <- time(fit())
cat(sprintf("%.4f %.4f %.8f\n", r$cpu, r$wall, as.numeric(logLik(r$v))))
