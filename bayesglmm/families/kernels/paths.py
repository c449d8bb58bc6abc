"""Paths: the scale a family's formulas are written on, as a function of η, for each link."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.kernels.bound import Path
from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]
Steps = tuple[Floats, Floats, Floats, Floats]

#: Exponents of the links η = μ^p.
POWERS = {"identity": 1.0, "inverse": -1.0, "inverse_squared": -2.0, "sqrt": 0.5}


def mean_path(link: str) -> Path | None:
    """μ as a function of η; None for the identity.

    Parameters
    ----------
    link : str
        Name of a link with a third derivative.

    Returns
    -------
    Path or None
    """
    if link == "identity":
        return None
    g = get_link(link)
    third = g.third
    assert third is not None
    return Path(lambda eta: (g.mean(eta), g.slope(eta), g.curvature(eta), third(eta)), g.domain)


def _exponent(link: Link) -> float | None:
    """The p of η = μ^p, or None for another link."""
    if link.name in POWERS:
        return POWERS[link.name]
    return float(link.name[6:-1]) if link.name.startswith("power(") else None


def log_mean_path(link: str) -> Path | None:
    """Log μ as a function of η for a positive mean; None for the log link.

    With η = μ^p, log μ = log(η) / p and its derivatives are 1/(pη), −1/(pη²), 2/(pη³).

    Parameters
    ----------
    link : str
        ``"log"``, or a link that is a power of the mean.

    Returns
    -------
    Path or None
    """
    if link == "log":
        return None
    p = _exponent(get_link(link))
    if p is None:
        return _log_of_mean(get_link(link))

    def steps(eta: Floats) -> Steps:
        r = 1.0 / eta
        s1 = r / p
        s2 = -s1 * r
        return np.log(eta) / p, s1, s2, -2.0 * s2 * r

    return Path(steps, (0.0, np.inf))


def _log_of_mean(link: Link) -> Path:
    """Log μ by the chain rule, for links that are neither the log nor a power."""
    third = link.third
    assert third is not None

    def steps(eta: Floats) -> Steps:
        mu = link.mean(eta)
        r1, r2, r3 = link.slope(eta) / mu, link.curvature(eta) / mu, third(eta) / mu
        return np.log(mu), r1, r2 - r1**2, r3 - 3.0 * r1 * r2 + 2.0 * r1**3

    return Path(steps, link.domain)
