"""Tweedie families: Var = φ μ^p / w.

For 1 < p < 2 a likelihood, the compound Poisson-gamma with a point mass at zero (Jørgensen 1987, Journal of the Royal
Statistical Society B 49, 127-162); for other powers the mean-variance relation alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import is_number
from bayesglmm.errors import FamilyError
from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Profile, Support
from bayesglmm.families.quasi import Quasi, power_family

Floats = NDArray[np.float64]
Aux = tuple[float, ...]

_NONNEGATIVE = Support(0.0, np.inf, False, True, False, "a number that is not negative")
_CLASSICAL = {0.0: "constant", 1.0: "mu", 2.0: "mu^2", 3.0: "mu^3"}
# Points of the graph's series: enough for ± 9 sd of its terms at a step of a tenth of an sd.
_TERMS = 220


def Tweedie(power: float | None = None) -> Family:
    """Tweedie family with variance function V = μ^power.

    Parameters
    ----------
    power : float, optional
        p = 0 or p ≥ 1. Between 1 and 2 the family has a likelihood with auxiliary ``phi`` (and works with every
        method); elsewhere it is a quasi-family. Left out, p is estimated between 1 and 2 with the likelihood.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For a power between 0 and 1 or below 0: no such distribution has a positive mean and variance μ^p.

    Examples
    --------
    >>> Tweedie(power=1.5).variance(np.array([4.0]), ())
    array([8.])
    """
    if power is None:
        return _compound(None)
    if not is_number(power) or not (power == 0.0 or power >= 1.0):
        raise FamilyError(f"Tweedie power {power!r}; 0, or a number of at least 1 is expected.")
    p = float(power)
    if 1.0 < p < 2.0:
        return _compound(p)
    if p in _CLASSICAL:
        return _named(Quasi(_CLASSICAL[p]), p)
    return _named(power_family(p, _deviance(p)), p)


def _named(family: Family, p: float) -> Family:
    return replace(family, name="tweedie", options={"power": p})


def _deviance(p: float) -> Callable[[Floats, Floats], Floats]:
    """2(y^(2−p)/((1 − p)(2 − p)) − y μ^(1−p)/(1 − p) + μ^(2−p)/(2 − p)), Jørgensen (1987), eq. 2.9.

    Written in x = log(μ/y) it does not cancel near y = μ.
    """

    def deviance(y: Floats, mu: Floats) -> Floats:
        safe = np.where(y > 0.0, y, mu)
        x = np.log(mu / safe)
        d = 2.0 * safe ** (2.0 - p) * (np.expm1((1.0 - p) * x) / (p - 1.0) + np.expm1((2.0 - p) * x) / (2.0 - p))
        at_zero = 2.0 * mu ** (2.0 - p) / (2.0 - p) if p < 2.0 else np.full_like(mu, np.inf)
        return np.where(y > 0.0, np.maximum(d, 0.0), at_zero)

    return deviance


def _phi(power: float | None) -> Callable[[Floats, Floats, Floats], float]:
    p = 1.5 if power is None else power
    return lambda y, mu, weights: float(np.mean(weights * np.square(y - mu) / mu**p)) or 1.0


@lru_cache(maxsize=64)
def _compound(power: float | None) -> Family:
    # One object for one power: compiled graphs are kept by the identity of `distribution`.
    def kernel(link: str) -> KernelFactory | None:
        from bayesglmm.families.kernels.tweedie import factory

        return factory(link, power)

    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        phi = aux["phi"] if weights is None else aux["phi"] / weights
        p = aux["power"] if power is None else np.array(power)
        logp = lambda value, mu, phi, p: _log_density(pm.math.pt, value, mu, phi, p)  # noqa: E731
        return pm.CustomDist.dist(mu, phi, p, logp=logp, random=draw, signature="(),(),()->()")

    def value(aux: Aux) -> float:
        return aux[1] if power is None else power

    phi = Auxiliary("phi", "log", _phi(power))
    free = (Auxiliary("power", "interval(1,2)", lambda y, mu, weights: 1.5),) if power is None else ()
    return Family(
        name="tweedie",
        support=_NONNEGATIVE,
        links=("log", "inverse", "identity", "sqrt", "inverse_squared"),
        variance=lambda mu, aux: mu ** value(aux),
        unit_deviance=lambda y, mu, aux: _deviance(value(aux))(y, mu),
        initial_mean=lambda y, weights: y + 0.1 * float(np.average(y, weights=weights)) * (y == 0.0),
        auxiliaries=(phi, *free),
        scale=None,
        dispersion=lambda aux: aux[0],
        kernel=kernel,
        distribution=distribution,
        weighted="scale",
        options={} if power is None else {"power": power},
        mean_range=(0.0, np.inf),
        exponential=power is not None,
        profile=Profile("power", lambda p: Tweedie(power=p), 1.02, 1.98) if power is None else None,
    )


def _log_density(pt: Any, y: Any, mu: Any, phi: Any, p: Any) -> Any:
    """The series of Dunn & Smyth (2005), eq. 6-8, on a window of terms around its largest, symbolically.

    The window moves with y, φ and p in steps that leave the sum unchanged, so that it is kept out of the gradient.
    """
    gradient_free = lambda x: pt.floor(x)  # noqa: E731
    a = (2.0 - p) / (p - 1.0)
    z = pt.switch(pt.gt(y, 0.0), y, 1.0)
    J = z ** (2.0 - p) / (phi * (2.0 - p))
    sd = pt.sqrt(J / (1.0 + a))
    step = gradient_free(pt.maximum(1.0, 0.1 * sd))
    low = pt.maximum(1.0, gradient_free(J) - 100.0 * step)
    j = low[..., None] + step[..., None] * pt.arange(_TERMS)
    a_, J_ = pt.atleast_1d(a)[..., None], J[..., None]
    terms = (1.0 + a_) * j * pt.log(J_) + a_ * j * pt.log(a_) - pt.gammaln(j + 1.0) - pt.gammaln(a_ * j)
    series = pt.logsumexp(terms, axis=-1) + pt.log(step)
    kernel = z * mu ** (1.0 - p) / (1.0 - p) - mu ** (2.0 - p) / (2.0 - p)
    above = series - pt.log(z) + kernel / phi
    at_zero = -(mu ** (2.0 - p)) / (phi * (2.0 - p))
    value = pt.switch(pt.gt(y, 0.0), above, at_zero)
    return pt.switch(pt.lt(y, 0.0), -np.inf, value)


def draw(mu: Any, phi: Any, p: Any, rng: Any = None, size: Any = None) -> Floats:
    """Random sums of gammas: Poisson many with mean μ^(2−p)/(φ(2 − p)), each of mean (2 − p) φ μ^(p−1).

    Parameters
    ----------
    mu, phi, p : array_like
        Mean, dispersion, power.
    rng : numpy Generator, optional
        Source of randomness.
    size : tuple of int, optional
        Shape of the result; by default that of the parameters.

    Returns
    -------
    ndarray
    """
    rng = np.random.default_rng() if rng is None else rng
    mu, phi, p = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (mu, phi, p)))
    jumps = rng.poisson(mu ** (2.0 - p) / (phi * (2.0 - p)), size=size)
    shape = jumps * (2.0 - p) / (p - 1.0)
    total = rng.gamma(np.where(jumps > 0, shape, 1.0), phi * (p - 1.0) * mu ** (p - 1.0))
    return np.where(jumps > 0, total, 0.0)
