"""Estimates of the scale φ in Var(y) = φ V(μ) / w."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.families.base import Family
from bayesglmm.scores.working import Aux, deviance_terms, pearson_terms

Floats = NDArray[np.float64]

#: Huber's tuning constant.
HUBER_C = 1.345


def pearson_scale(family: Family, mu: Floats, y: Floats, w: Floats, df: float, aux: Aux = ()) -> float:
    """Pearson's estimate Σ w (y − μ)² / V(μ) / df."""
    return float(pearson_terms(family, mu, y, w, aux).sum() / df)


def deviance_scale(family: Family, mu: Floats, y: Floats, w: Floats, df: float, aux: Aux = ()) -> float:
    """The deviance over its degrees of freedom."""
    return float(deviance_terms(family, mu, y, w, aux).sum() / df)


def fletcher_scale(family: Family, mu: Floats, y: Floats, w: Floats, df: float, aux: Aux = ()) -> float:
    """Fletcher's estimate: Pearson's divided by 1 + s̄, with s_i = V'(μ_i) (y_i − μ_i) / V(μ_i).

    Fletcher (2012), Estimating overdispersion when fitting a generalized linear model to sparse data,
    Biometrika 99, 230-237, equation 3. It keeps the variance of the Pearson estimate down when the data are sparse.
    """
    return pearson_scale(family, mu, y, w, df, aux) / (1.0 + float(fletcher_terms(family, mu, y, aux).mean()))


def fletcher_terms(family: Family, mu: Floats, y: Floats, aux: Aux = ()) -> Floats:
    """s_i = V'(μ_i) (y_i − μ_i) / V(μ_i), shape (n,)."""
    return variance_slope(family, mu, aux) * (y - mu) / family.variance(mu, aux)


def huber_scale(family: Family, mu: Floats, y: Floats, w: Floats, df: float, aux: Aux = ()) -> float:
    """Huber's proposal 2 on the Pearson residuals r: Σ min(|r|/√φ, c)² = df k, with c = 1.345.

    k = E min(|Z|, c)² for standard normal Z makes it consistent at the Gaussian. Huber (1981), Robust Statistics,
    section 7.8.
    """
    from scipy import optimize

    r2 = pearson_terms(family, mu, y, w, aux)
    c2 = HUBER_C**2
    inner = quantiles.norm.cdf(HUBER_C) - quantiles.norm.cdf(-HUBER_C) - 2 * HUBER_C * quantiles.norm.pdf(HUBER_C)
    k = inner + 2 * c2 * quantiles.norm.sf(HUBER_C)

    def excess(log_phi: float) -> float:
        return float(np.minimum(r2 / np.exp(log_phi), c2).sum() - df * k)

    positive = r2[r2 > 0]
    if len(positive) * c2 <= df * k:
        return 0.0
    low, high = np.log(positive.min() / c2) - 1.0, np.log(r2.sum() / (df * k)) + 1e-9
    return float(np.exp(optimize.brentq(excess, low, high, xtol=1e-14, rtol=8.9e-16)))


def variance_slope(family: Family, mu: Floats, aux: Aux = ()) -> Floats:
    """dV/dμ by a fourth-order central difference with a step relative to the room around μ, shape (n,)."""
    low, high = family.support.low, family.support.high
    room = np.abs(mu) + 1e-8
    if np.isfinite(low):
        room = np.minimum(room, mu - low)
    if np.isfinite(high):
        room = np.minimum(room, high - mu)
    h = 1e-3 * room

    def central(step: Floats) -> Floats:
        return (family.variance(mu + step, aux) - family.variance(mu - step, aux)) / (2 * step)

    return (4.0 * central(h) - central(2 * h)) / 3.0


SCALES = {
    "pearson": pearson_scale,
    "fletcher": fletcher_scale,
    "deviance": deviance_scale,
    "huber": huber_scale,
}
