"""Data for difficult fits, and other routes to their likelihoods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.special import logsumexp

NONE = np.empty(0)


def data_of(levels, per_level, seed=0, slope=0.3, sd=0.5, intercept=0.5):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), per_level)
    x = rng.standard_normal(len(g))
    b = sd * rng.standard_normal(levels)
    return rng, pd.DataFrame({"x": x, "g": g.astype(str), "eta": intercept + slope * x + b[g]})


def brute(problem, beta, sd, logdensity, half_width=12.0, points=4001):
    """Log-likelihood of one scalar factor by the trapezoidal rule on a grid of effects, level by level."""
    u = np.linspace(-half_width, half_width, points)
    prior = stats.norm.logpdf(u)
    block = problem.design.blocks[0]
    eta = problem.design.X @ beta + problem.design.offset
    total = 0.0
    for level in range(len(block.levels)):
        rows = block.codes == level
        values = prior.copy()
        for i in np.flatnonzero(rows):
            values = values + logdensity(i, eta[i] + sd * block.z[i, 0] * u)
        total += logsumexp(values) + np.log(u[1] - u[0])
    return total


def bernoulli(y):
    return lambda i, eta: -np.logaddexp(0.0, -eta) if y[i] == 1 else -np.logaddexp(0.0, eta)


def poisson(y):
    return lambda i, eta: stats.poisson.logpmf(y[i], np.exp(eta))


def maximum(function, start, scale):
    """A maximum by Nelder-Mead, restarted."""
    x = np.zeros(len(start))
    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}
    for _ in range(3):
        x = optimize.minimize(lambda z: -function(start + scale * z), x, method="Nelder-Mead", options=options).x
    return start + scale * x


def right(found):
    assert found.status.converged, str(found.status)
    assert found.status.gradient_norm < 1e-5
    assert np.all(np.isfinite(found.beta))
    assert np.all(np.isfinite(np.diag(found.cov_beta)))
    return found
