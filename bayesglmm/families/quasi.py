"""Quasi-families: a mean-variance relation, Var = φ V(μ)/w, and no likelihood.

The unit quasi-deviance is 2∫_μ^y (y − t)/V(t) dt (Wedderburn 1974, Biometrika 61, eq. 4), by closed form for the
named variances (McCullagh & Nelder 1989, table 9.1) and by quadrature for a function of the user's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import FamilyError
from bayesglmm.families import binomial, negative_binomial, poisson
from bayesglmm.families.base import Family, Support
from bayesglmm.families.gamma import POSITIVE
from bayesglmm.families.quadrature import quasi_deviance
from bayesglmm.links import LINKS, Link, get_link

Floats = NDArray[np.float64]
Aux = tuple[float, ...]
Deviance = Callable[[Floats, Floats, Aux], Floats]

_REAL = Support(-np.inf, np.inf, True, True, False, "a real number")
_NONNEGATIVE = Support(0.0, np.inf, False, True, False, "a number that is not negative")
_UNIT = Support(0.0, 1.0, False, False, False, "a proportion between 0 and 1, or successes out of trials")
_POSITIVE_LINKS = ("log", "inverse", "identity", "sqrt", "inverse_squared")
# Stands for the logarithm's argument where an infinite but constant part of the quasi-deviance is left out.
_EDGE = 5e-4


@dataclass(frozen=True)
class _Variance:
    """A named variance function with what goes with it; `links` starts with the default."""

    function: Callable[[Floats], Floats]
    deviance: Deviance
    support: Support
    links: tuple[str, ...]


def _gamma_deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
    # At y = 0 the quasi-deviance is infinite by a term free of μ.
    r = y / mu
    return 2.0 * (r - 1.0 - np.log(np.where(y > 0.0, r, _EDGE / mu)))


def _inverse_gaussian_deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
    return np.square(y / mu - 1.0) / np.maximum(y, _EDGE)


def _wedderburn_deviance(y: Floats, mu: Floats, aux: Aux) -> Floats:
    # V = μ²(1 − μ)²; the log odds of y = 0 and y = 1 are infinite by a term free of μ.
    edge = np.where((y > 0.0) & (y < 1.0), 0.0, _EDGE)
    odds = (y + edge) / (1.0 - y + edge) * (1.0 - mu) / mu
    return 2.0 * (y / mu + (1.0 - y) / (1.0 - mu) - 2.0 + (2.0 * y - 1.0) * np.log(odds))


_NAMED: dict[str, _Variance] = {
    "constant": _Variance(
        np.ones_like, lambda y, mu, aux: np.square(y - mu), _REAL, ("identity", "log", "inverse", "sqrt")
    ),
    "mu": _Variance(lambda mu: np.array(mu, dtype=float), poisson.unit_deviance, _NONNEGATIVE, _POSITIVE_LINKS),
    "mu^2": _Variance(np.square, _gamma_deviance, _NONNEGATIVE, _POSITIVE_LINKS),
    "mu^3": _Variance(lambda mu: mu**3, _inverse_gaussian_deviance, _NONNEGATIVE, _POSITIVE_LINKS),
    "mu(1-mu)": _Variance(lambda mu: mu * (1.0 - mu), binomial.unit_deviance, _UNIT, binomial.LINKS),
    "mu^2(1-mu)^2": _Variance(lambda mu: np.square(mu * (1.0 - mu)), _wedderburn_deviance, _UNIT, binomial.LINKS),
}


def _initial_mean(mean_range: tuple[float, float]) -> Callable[[Floats, Floats], Floats]:
    """A starting mean inside (low, high): y drawn towards the middle of the interval or of the data."""
    low, high = mean_range

    def start(y: Floats, weights: Floats) -> Floats:
        if np.isfinite(low) and np.isfinite(high):
            middle = 0.5 * (low + high)
            return np.asarray((weights * y + middle) / (weights + 1.0))
        if low == -np.inf:
            return np.array(y, dtype=float)
        middle = max(float(np.average(y, weights=weights)) - low, np.finfo(float).tiny)
        return np.asarray(low + 0.9 * (y - low) + 0.1 * middle)

    return start


def _drawn_inside(
    start: Callable[[Floats, Floats], Floats], mean_range: tuple[float, float]
) -> Callable[[Floats, Floats], Floats]:
    """Starting means of a wider range, drawn into a narrower one; responses may lie outside it."""
    low, high = mean_range

    def inside(y: Floats, weights: Floats) -> Floats:
        mu = start(y, weights)
        end = low if np.isfinite(low) else high
        width = high - low if np.isfinite(high - low) else max(abs(float(mu.mean()) - end), 1e-8)
        return np.clip(mu, low + 0.01 * width, high - 0.01 * width)

    return inside


def _quasi(name: str, kind: _Variance, mean_range: tuple[float, float], options: dict[str, object]) -> Family:
    unit = mean_range == (0.0, 1.0)
    return Family(
        name=name,
        support=kind.support,
        links=kind.links,
        variance=lambda mu, aux: kind.function(mu),
        unit_deviance=kind.deviance,
        initial_mean=_initial_mean(mean_range),
        scale=None,
        quasi=True,
        options=dict(options),
        mean_range=mean_range,
        trials=unit,
        categories="two" if unit else "none",
    )


_RANGES = {_REAL: (-np.inf, np.inf), _NONNEGATIVE: (0.0, np.inf), _UNIT: (0.0, 1.0)}


def QuasiPoisson() -> Family:
    """Var = φμ."""
    return _quasi("quasipoisson", _NAMED["mu"], (0.0, np.inf), {})


def QuasiBinomial() -> Family:
    """Var = φμ(1 − μ)/m of a proportion out of m."""
    return _quasi("quasibinomial", _NAMED["mu(1-mu)"], (0.0, 1.0), {})


def QuasiNegativeBinomial(theta: float = 1.0) -> Family:
    """Quasi-family with Var = φ(μ + μ²/θ), θ given.

    Parameters
    ----------
    theta : float
        θ > 0.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For a theta that is not positive.

    Examples
    --------
    >>> QuasiNegativeBinomial(theta=2.0).variance(np.array([4.0]), ())
    array([12.])
    """
    value = negative_binomial.positive("theta", theta)
    if value is None:
        raise FamilyError("theta = None; a positive number is expected: a quasi-likelihood does not estimate it.")
    kind = _Variance(
        lambda mu: mu + mu**2 / value,
        lambda y, mu, aux: negative_binomial.unit_deviance(y, mu, value),
        _NONNEGATIVE,
        _POSITIVE_LINKS,
    )
    return _quasi("quasi_negative_binomial", kind, (0.0, np.inf), {"theta": value})


def power_family(p: float, deviance: Callable[[Floats, Floats], Floats]) -> Family:
    """Quasi-family with Var = φ μ^p, its unit quasi-deviance given as a function of (y, mu)."""
    kind = _Variance(lambda mu: mu**p, lambda y, mu, aux: deviance(y, mu), POSITIVE, _POSITIVE_LINKS)
    return _quasi("quasi", kind, (0.0, np.inf), {"variance": f"mu^{p:g}"})


def Quasi(
    variance: str | Callable[[Floats], Floats] = "constant",
    link: str | Link | None = None,
    *,
    mean_range: tuple[float, float] | None = None,
) -> Family:
    """Quasi-family of a variance function.

    Parameters
    ----------
    variance : str or callable
        ``"constant"``, ``"mu"``, ``"mu^2"``, ``"mu^3"``, ``"mu(1-mu)"``, ``"mu^2(1-mu)^2"``, or a function
        μ → V(μ) > 0 on arrays.
    link : str or Link, optional
        The family's usual link. For a named variance: identity, log or logit as its means demand; for a function:
        identity.
    mean_range : (float, float), optional
        Open interval of the means, inside which V is positive. By default what the link can reach for a function, and
        the interval of the name for a named variance, inside which it must lie.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For an unknown name, a link that does not go with it, a range of means that does not, or (when evaluated) a
        variance that is not positive.

    Examples
    --------
    >>> Quasi(variance=lambda mu: mu**1.5, link="log").variance(np.array([4.0]), ())
    array([8.])
    """
    if callable(variance):
        return _from_function(variance, get_link("identity" if link is None else link), mean_range)
    name = str(variance).replace(" ", "").replace("**", "^").replace("*", "")
    if name not in _NAMED:
        raise FamilyError(f"unknown variance {variance!r}. Known: {', '.join(_NAMED)}; or give a function of mu.")
    reach = _RANGES[_NAMED[name].support]
    between = reach if mean_range is None else _checked(mean_range)
    if not (reach[0] <= between[0] and between[1] <= reach[1]):
        raise FamilyError(
            f"mean_range = {mean_range}; the variance {name} is for means between {reach[0]:g} and {reach[1]:g}."
        )
    family = _quasi("quasi", _NAMED[name], reach, {"variance": name})
    if between != reach:
        family = replace(family, mean_range=between, initial_mean=_drawn_inside(family.initial_mean, between))
    return family if link is None else _with_link(family, get_link(link, family))


def _with_link(family: Family, link: Link) -> Family:
    return replace(family, links=(link.name, *(known for known in family.links if known != link.name)))


def _from_function(function: Callable[[Floats], Floats], link: Link, mean_range: tuple[float, float] | None) -> Family:
    if link.name not in LINKS and not link.name.startswith("power("):
        raise FamilyError(f"link {link.name!r} is not a named one; give it to the model: bg.Model(..., link=...).")
    if mean_range is None:
        mean_range = _reach(link)
    low, high = _checked(mean_range)

    def variance(mu: Floats) -> Floats:
        with np.errstate(all="ignore"):
            v = np.broadcast_to(np.asarray(function(np.asarray(mu, dtype=float)), dtype=float), np.shape(mu))
        wrong = ~(v > 0.0)
        if wrong.any():
            at = np.asarray(mu)[wrong].flat[0]
            raise FamilyError(
                f"the variance function gave {v[wrong].flat[0]:g} at mu = {at:g}; it must be positive between "
                f"{low:g} and {high:g}. State where it is by Quasi(..., mean_range=(low, high))."
            )
        return np.array(v)

    kind = _Variance(
        variance,
        lambda y, mu, aux: quasi_deviance(variance, y, mu),
        Support(low, high, False, False, False, f"a number between {low:g} and {high:g}"),
        (link.name, *(name for name in LINKS if name != link.name)),
    )
    label = getattr(function, "__name__", "function")
    return _quasi("quasi", kind, mean_range, {"variance": label})


def _checked(mean_range: tuple[float, float]) -> tuple[float, float]:
    """The two ends of a range of means."""
    try:
        low, high = map(float, mean_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not low < high:
        raise FamilyError(f"mean_range = {mean_range}; two numbers (low, high) with low < high are expected.")
    return low, high


def _reach(link: Link) -> tuple[float, float]:
    """The open interval of means that a link can give."""
    if link.name in binomial.LINKS and link.name not in ("log", "identity"):
        return 0.0, 1.0
    return (-np.inf, np.inf) if link.name == "identity" else (0.0, np.inf)
