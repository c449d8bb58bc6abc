"""Working weights, working residuals and score contributions of a generalized linear model, on plain arrays.

Everything estimating equations need of a row: with μ = g⁻¹(η), d = dμ/dη and Var(y) = φ V(μ) / w,

    score contribution   s = w (y − μ) d / V(μ)          (∂Q/∂η, before division by φ)
    working weight       W = w d² / V(μ)                  (expected −∂²Q/∂η²)
    working residual     r = (y − μ) / d                  (so that s = W r)

McCullagh & Nelder (1989), Generalized Linear Models, section 2.5; Wedderburn (1974) for quasi-likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Family
from bayesglmm.links import Link

Floats = NDArray[np.float64]
Aux = tuple[float, ...]


@dataclass(frozen=True)
class Working:
    """What a set of rows contributes at one linear predictor; every array has shape (n,).

    Parameters
    ----------
    mu : ndarray
        Mean.
    slope : ndarray
        dμ/dη.
    variance : ndarray
        V(μ), without φ and prior weights.
    weight : ndarray
        Working weight W ≥ 0.
    residual : ndarray
        Working residual (y − μ) / slope.
    score : ndarray
        Score contribution W × residual.
    """

    mu: Floats
    slope: Floats
    variance: Floats
    weight: Floats
    residual: Floats
    score: Floats


def working_quantities(family: Family, link: Link, eta: Floats, y: Floats, w: Floats, aux: Aux = ()) -> Working:
    """Mean, working weight, working residual and score contribution of every row.

    A row whose mean has reached the end of its range in floating point (V = 0 or a slope of zero, as for a fitted
    probability of exactly one) carries no information: its weight and score are zero.

    Parameters
    ----------
    family : Family
        Gives the variance function.
    link : Link
        Gives mean and slope.
    eta : ndarray, shape (n,)
        Linear predictor.
    y : ndarray, shape (n,)
        Response on the scale of the mean.
    w : ndarray, shape (n,)
        Case weights (prior weights × trials).
    aux : tuple of float
        Auxiliaries of the family, natural scale.

    Returns
    -------
    Working
    """
    with np.errstate(all="ignore"):
        mu = link.mean(eta)
        slope = mu if link.slope is link.mean else link.slope(eta)
        variance = _variance(family, mu, aux)
        gap = y - mu
        ratio = slope / variance
        ratio *= w
        weight = slope * ratio
        residual = gap / slope
        score = gap * ratio
        if not np.isfinite(score @ residual + weight.sum()):  # some row is not finite, or has no variance
            ok = np.isfinite(weight) & np.isfinite(residual) & np.isfinite(score) & (variance > 0)
            weight, residual, score = (np.where(ok, a, 0.0) for a in (weight, residual, score))
    return Working(mu, slope, variance, weight, residual, score)


def _variance(family: Family, mu: Floats, aux: Aux) -> Floats:
    """V(μ) inside the mean's open range and 0 elsewhere; the family's function is never asked outside it."""
    if _between(mu, family.mean_range):
        return family.variance(mu, aux)
    low, high = family.mean_range
    inner = (mu > low) & (mu < high)
    variance = np.zeros_like(mu)
    if inner.any():
        variance[inner] = family.variance(mu[inner], aux)
    return variance


def _between(values: Floats, ends: tuple[float, float]) -> bool:
    """Whether all values lie inside an open interval; never for a value that is not a number."""
    low, high = ends
    if len(values) == 0:
        return True
    above = values.min() > low if np.isfinite(low) else not np.isnan(values.min())
    return bool(above and (values.max() < high if np.isfinite(high) else np.isfinite(values.max())))


def inside_domain(family: Family, link: Link, eta: Floats, y: Floats, work: Working) -> bool:
    """Whether every mean lies in the family's range and every η in the link's domain.

    A mean exactly at the end of its range is allowed where the response sits there too (a fitted probability of
    one for a success).

    Parameters
    ----------
    family, link : Family, Link
        The model's.
    eta, y : ndarray, shape (n,)
        Linear predictor, and response on the mean's scale.
    work : Working
        Means and variances at `eta`.
    """
    if _between(work.mu, family.mean_range) and _between(eta, link.domain) and work.variance.min(initial=1.0) > 0:
        return True
    low, high = family.mean_range
    mu = work.mu
    inner = (eta >= link.domain[0]) & (eta <= link.domain[1]) & (mu > low) & (mu < high) & (work.variance > 0)
    return bool(np.all((inner & np.isfinite(mu)) | (mu == y)))


def pearson_terms(family: Family, mu: Floats, y: Floats, w: Floats, aux: Aux = ()) -> Floats:
    """Squared Pearson residuals w (y − μ)² / V(μ), shape (n,); zero where y = μ."""
    with np.errstate(all="ignore"):
        out = w * np.square(y - mu) / _variance(family, mu, aux)
    return np.where(y == mu, 0.0, out)


def deviance_terms(family: Family, mu: Floats, y: Floats, w: Floats, aux: Aux = ()) -> Floats:
    """Deviance contributions w d(y, μ) ≥ 0, shape (n,)."""
    low, high = family.mean_range
    with np.errstate(all="ignore"):
        if _between(mu, family.mean_range):
            return w * family.unit_deviance(y, mu, aux)
        inside = (mu >= low) & (mu <= high)
        if inside.all():
            return w * family.unit_deviance(y, mu, aux)
    return np.where(inside, 0.0, np.inf) if not inside.any() else _partly(family, mu, y, w, aux, inside)


def _partly(family: Family, mu: Floats, y: Floats, w: Floats, aux: Aux, inside: NDArray[np.bool_]) -> Floats:
    out = np.full_like(mu, np.inf)
    with np.errstate(all="ignore"):
        out[inside] = w[inside] * family.unit_deviance(y[inside], mu[inside], aux)
    return out
