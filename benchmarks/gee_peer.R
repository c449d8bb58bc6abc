# Usage: Rscript gee_peer.R CSV CORRELATION
# Prints one line: CPU seconds of geeglm, then the coefficients and their robust standard errors.
a <- commandArgs(TRUE)
suppressMessages(library(geepack))
d <- read.csv(a[1])
t <- system.time(m <- geeglm(y ~ x + z + t, id = g, data = d, family = binomial, corstr = a[2]))
s <- coef(summary(m))
cat(sprintf("%.17g", c(t[["user.self"]] + t[["sys.self"]], s[, "Estimate"], s[, "Std.err"])), "\n")
