# Usage: Rscript glmm_peer.R PACKAGE FORMULA FAMILY CSV FACTOR,FACTOR,...
# Prints one line: CPU seconds of the second fit (of the first where that takes 20 s; formula, design, optimisation, standard errors), wall seconds, log-likelihood.
a <- commandArgs(TRUE)
d <- read.csv(a[4], stringsAsFactors = FALSE)
for (f in strsplit(a[5], ",")[[1]]) d[[f]] <- factor(d[[f]])
formula <- as.formula(a[2])
family <- switch(a[3], binomial = binomial(), poisson = poisson(), gaussian = gaussian(), negative_binomial = NULL)
time <- function(expr) { t <- system.time(v <- expr); list(v = v, cpu = t[["user.self"]] + t[["sys.self"]], wall = t[["elapsed"]]) }
if (a[1] == "glmmTMB") {
  suppressMessages(library(glmmTMB))
  if (is.null(family)) family <- nbinom2()
  fit <- function() { m <- glmmTMB(formula, d, family = family); s <- vcov(m); m }
} else {
  suppressMessages(library(lme4))
  fit <- function() {
    m <- if (a[3] == "gaussian") lmer(formula, d, REML = FALSE) else if (is.null(family)) glmer.nb(formula, d) else glmer(formula, d, family = family)
    s <- vcov(m); m
  }
}
r <- time(fit())
if (r$cpu < 20) r <- time(fit())
cat(sprintf("%.4f %.4f %.8f\n", r$cpu, r$wall, as.numeric(logLik(r$v))))
