"""The links without a parameter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesglmm.links.base import Link

Floats = NDArray[np.float64]

SQRT2 = np.sqrt(2.0)
SQRT2PI = np.sqrt(2.0 * np.pi)
# exp(-exp(η)) is zero from here on, so that a polynomial in exp(η) beside it need not follow it to infinity.
GUMBEL_END = 7.0


def identity() -> Link:
    """Return the link η = μ."""
    return Link(
        "identity",
        eta=lambda mu: np.array(mu, dtype=float),
        mean=lambda eta: np.array(eta, dtype=float),
        slope=np.ones_like,
        curvature=np.zeros_like,
        third=np.zeros_like,
        symbolic=lambda pt, eta: eta,
        complement=lambda eta: 1.0 - eta,
    )


def log() -> Link:
    """Return the link η = log μ."""
    return Link(
        "log",
        eta=np.log,
        mean=np.exp,
        slope=np.exp,
        curvature=np.exp,
        third=np.exp,
        symbolic=lambda pt, eta: pt.exp(eta),
        complement=lambda eta: -np.expm1(eta),
    )


def logit() -> Link:
    """Return the link η = log(μ / (1 − μ))."""

    def slope(eta: Floats) -> Floats:
        t = np.exp(-np.abs(eta))
        return t / np.square(1.0 + t)

    return Link(
        "logit",
        eta=special.logit,
        mean=_logistic,
        slope=slope,
        curvature=lambda eta: slope(eta) * np.tanh(-0.5 * eta),
        third=lambda eta: slope(eta) * (1.0 - 6.0 * slope(eta)),
        symbolic=lambda pt, eta: pt.sigmoid(eta),
        complement=lambda eta: _logistic(-eta),
    )


def _logistic(eta: Floats) -> Floats:
    """1 / (1 + exp(−η)) by one exponential that cannot overflow; a third of the time of ``special.expit``."""
    t = np.exp(-np.abs(eta))
    return np.where(eta < 0.0, t, 1.0) / (1.0 + t)


def probit() -> Link:
    """Return the link η = Φ⁻¹(μ)."""

    def density(eta: Floats) -> Floats:
        return np.exp(-0.5 * np.square(eta)) / SQRT2PI

    return Link(
        "probit",
        eta=special.ndtri,
        mean=special.ndtr,
        slope=density,
        curvature=lambda eta: -eta * density(eta),
        third=lambda eta: (np.square(eta) - 1.0) * density(eta),
        symbolic=lambda pt, eta: 0.5 * pt.erfc(-eta / SQRT2),
        complement=lambda eta: special.ndtr(-eta),
    )


def _gumbel(eta: Floats) -> tuple[Floats, Floats]:
    """exp(η) where it matters, and the density exp(η − exp(η))."""
    t = np.exp(np.minimum(eta, GUMBEL_END))
    return t, np.exp(np.minimum(eta, GUMBEL_END) - t)


def cloglog() -> Link:
    """Return the link η = log(−log(1 − μ))."""

    def curvature(eta: Floats) -> Floats:
        t, f = _gumbel(eta)
        return f * (1.0 - t)

    def third(eta: Floats) -> Floats:
        t, f = _gumbel(eta)
        return f * (1.0 - 3.0 * t + t * t)

    return Link(
        "cloglog",
        eta=lambda mu: np.log(-np.log1p(-mu)),
        mean=lambda eta: -np.expm1(-np.exp(eta)),
        slope=lambda eta: _gumbel(eta)[1],
        curvature=curvature,
        third=third,
        symbolic=lambda pt, eta: -pt.expm1(-pt.exp(eta)),
        complement=lambda eta: np.exp(-np.exp(eta)),
    )


def loglog() -> Link:
    """Return the link η = −log(−log μ)."""
    mirror = cloglog()
    third = mirror.third
    assert third is not None
    return Link(
        "loglog",
        eta=lambda mu: -np.log(-np.log(mu)),
        mean=lambda eta: np.exp(-np.exp(-eta)),
        slope=lambda eta: mirror.slope(-eta),
        curvature=lambda eta: -mirror.curvature(-eta),
        third=lambda eta: third(-eta),
        symbolic=lambda pt, eta: pt.exp(-pt.exp(-eta)),
        complement=lambda eta: mirror.mean(-eta),
    )


def cauchit() -> Link:
    """Return the link η = tan(π(μ − ½))."""

    def mean(eta: Floats) -> Floats:
        eta = np.asarray(eta, dtype=float)
        # arctan2(1, −η) is the angle whose cotangent is −η: small, not a difference, far to the left.
        return np.arctan2(1.0, -eta) / np.pi

    def slope(eta: Floats) -> Floats:
        return 1.0 / (np.pi * (1.0 + np.square(eta)))

    def third(eta: Floats) -> Floats:
        s = np.square(eta)
        return (6.0 * s - 2.0) / (np.pi * (1.0 + s) ** 3)

    return Link(
        "cauchit",
        eta=lambda mu: np.where(np.asarray(mu) < 0.5, -1.0 / np.tan(np.pi * mu), 1.0 / np.tan(np.pi * (1.0 - mu))),
        mean=mean,
        slope=slope,
        curvature=lambda eta: -2.0 * eta / (np.pi * np.square(1.0 + np.square(eta))),
        third=third,
        symbolic=lambda pt, eta: pt.arctan2(1.0, -eta) / np.pi,
        complement=lambda eta: mean(-np.asarray(eta)),
    )
