# Reference fits with correlated errors: nlme's lme and gls on the data of the other references.
# Run in this folder: Rscript errors.R; writes errors.json.
library(nlme)
library(jsonlite)

tight <- lmeControl(msTol = 1e-12, tolerance = 1e-12, msMaxIter = 500, maxIter = 500, niterEM = 100,
                    opt = "nlminb", returnObject = FALSE)
tight_gls <- glsControl(msTol = 1e-12, tolerance = 1e-12, msMaxIter = 500, maxIter = 500)

read <- function(name) read.csv(file.path("..", "..", "models", "data", paste0(name, ".csv")), stringsAsFactors = FALSE)

diet <- read("dietox")
diet <- diet[, c("Pig", "Cu", "Weight", "Time")]
gaps <- diet[seq_len(nrow(diet)) %% 5 != 3, ]          # rows missing within the series
sleep <- read("sleepstudy")
sleep$hours <- sleep$Days * 0.7                        # times that are not whole numbers
sleep$v <- 1 + sleep$Days / 10
R <- 0.5^abs(outer(0:9, 0:9, "-")) * 0.8 + 0.2 * diag(10)

facts <- function(fit, errors = NULL) {
  fixed <- if (inherits(fit, "lme")) fixef(fit) else coef(fit)
  out <- list(
    loglik = as.numeric(logLik(fit)), sigma = fit$sigma, coef = as.list(fixed),
    se = as.list(sqrt(diag(vcov(fit)) * if (inherits(fit, "gls") && fit$method == "ML") {
      # vcov of gls uses sigma^2 with divisor n - p also for ML
      (fit$dims$N - fit$dims$p) / fit$dims$N } else 1)),
    nobs = nobs(fit))
  if (!is.null(fit$modelStruct$corStruct) && length(coef(fit$modelStruct$corStruct)) == 1)
    out$rho <- as.numeric(coef(fit$modelStruct$corStruct, unconstrained = FALSE))
  if (inherits(fit, "lme")) {
    out$sd <- as.numeric(sqrt(diag(as.matrix(getVarCov(fit)))))
    out$blup_first <- as.numeric(ranef(fit)[1, ])
  }
  out
}

sleep$position <- as.integer(sleep$Days + 1)
known <- corSymm(R[lower.tri(R)], form = ~ position | Subject, fixed = TRUE)

fits <- list()
for (method in c("ML", "REML")) {
  fits[[paste0("dietox-gaps-gls-ar1-", method)]] <-
    facts(gls(Weight ~ Time + Cu, data = gaps, method = method, control = tight_gls,
              correlation = corAR1(0.5, form = ~ Time | Pig)))
  fits[[paste0("sleepstudy-intercept-ar1-", method)]] <-
    facts(lme(Reaction ~ Days, random = ~ 1 | Subject, data = sleep, method = method, control = tight,
              correlation = corAR1(0.3, form = ~ Days | Subject)))
  fits[[paste0("sleepstudy-car1-weights-", method)]] <-
    facts(lme(Reaction ~ Days, random = ~ 1 | Subject, data = sleep, method = method, control = tight,
              weights = varFixed(~ v), correlation = corCAR1(0.3, form = ~ hours | Subject)))
  fits[[paste0("sleepstudy-known-", method)]] <-
    facts(lme(Reaction ~ Days, random = ~ 1 | Subject, data = sleep, method = method, control = tight,
              correlation = known))
}
write(toJSON(list(software = paste("nlme", packageVersion("nlme")), fits = fits), auto_unbox = TRUE, digits = 15,
             pretty = TRUE), "errors.json")
