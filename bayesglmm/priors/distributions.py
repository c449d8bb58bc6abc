"""Univariate prior densities: one row per distribution, parameterised exactly as in PyMC.

Each row gives the log-density with all its constants and its derivative, as functions of plain arrays, so that
the deterministic engines need no PyMC; the graph builds the same distribution by its name. A test holds every
row against ``pm.logp``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, log_ndtr

Floats = NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Parameter:
    """One parameter of a distribution.

    Parameters
    ----------
    name : str
        As PyMC calls it.
    default : float or None
        PyMC's default; None when it must be given.
    positive : bool
        Whether it must be > 0.
    """

    name: str
    default: float | None = None
    positive: bool = False


@dataclass(frozen=True)
class Distribution:
    """One row of the table.

    Parameters
    ----------
    name : str
        The PyMC class.
    parameters : tuple of Parameter
        In PyMC's order.
    density : callable
        (x, *parameters) → (log-density, its derivative in x), broadcasting; only called inside the support.
    low, high : float or str
        Ends of the support; a str names the parameter that holds the end.
    proper : bool
        Whether it integrates to one (False for the flat ones).
    bend : callable or None
        (x, *parameters) → second and third derivative of the log-density, for the smooth ones on the whole line: what
        a Gaussian approximation of a coefficient needs.
    """

    name: str
    parameters: tuple[Parameter, ...]
    density: Callable[..., tuple[Any, Any]]
    low: float | str = -np.inf
    high: float | str = np.inf
    proper: bool = True
    bend: Callable[..., tuple[Any, Any]] | None = None

    def support(self, params: Mapping[str, float]) -> tuple[float, float]:
        """Ends of the support under the given parameters."""
        low, high = (params[e] if isinstance(e, str) else e for e in (self.low, self.high))
        return low, high


# --- on the line ---------------------------------------------------------------------------------------------


def _normal(x: Floats, mu: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    z = (x - mu) / sigma
    return -0.5 * (z * z + LOG_2PI) - np.log(sigma), -z / sigma


def _student_t(x: Floats, nu: Floats, mu: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    z = (x - mu) / sigma
    constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * nu) - np.log(sigma)
    return constant - 0.5 * (nu + 1.0) * np.log1p(z * z / nu), -(nu + 1.0) * z / (sigma * (nu + z * z))


def _cauchy(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    z = (x - alpha) / beta
    return -np.log(np.pi * beta) - np.log1p(z * z), -2.0 * z / (beta * (1.0 + z * z))


def _laplace(x: Floats, mu: Floats, b: Floats) -> tuple[Floats, Floats]:
    return -np.log(2.0 * b) - np.abs(x - mu) / b, -np.sign(x - mu) / b


def _logistic(x: Floats, mu: Floats, s: Floats) -> tuple[Floats, Floats]:
    z = (x - mu) / s
    return -np.log(s) - z - 2.0 * np.logaddexp(0.0, -z), -np.tanh(0.5 * z) / s


def _flat(x: Floats) -> tuple[Floats, Floats]:
    return np.zeros_like(x), np.zeros_like(x)


def _bend_normal(x: Floats, mu: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    flat = np.zeros_like(x - mu)
    return flat - 1.0 / np.square(sigma), flat


def _bend_student_t(x: Floats, nu: Floats, mu: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    z = (x - mu) / sigma
    spread = nu + z * z
    second = -(nu + 1.0) * (nu - z * z) / np.square(sigma * spread)
    return second, (nu + 1.0) * z * (6.0 * nu - 2.0 * z * z) / (sigma * spread) ** 3


def _bend_cauchy(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    return _bend_student_t(x, np.ones_like(beta), alpha, beta)


def _bend_logistic(x: Floats, mu: Floats, s: Floats) -> tuple[Floats, Floats]:
    t = np.tanh(0.5 * (x - mu) / s)
    second = -0.5 * (1.0 - t * t) / np.square(s)
    return second, -second * t / s


# --- on the positive half-line -------------------------------------------------------------------------------


def _half(density: Callable[..., tuple[Floats, Floats]], *location: int) -> Callable[..., tuple[Floats, Floats]]:
    """Fold a density that is symmetric about zero; `location` is where its zero location parameter stands."""

    def folded(x: Floats, *params: Floats) -> tuple[Floats, Floats]:
        args = list(params)
        for k in location:
            args.insert(k, np.zeros(()))
        value, slope = density(x, *args)
        return value + np.log(2.0), slope

    return folded


def _exponential(x: Floats, lam: Floats) -> tuple[Floats, Floats]:
    return np.log(lam) - lam * x, -lam + np.zeros_like(x)


def _complexity(x: Floats, upper: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Exponential with P(x > upper) = probability: Simpson et al. (2017), Statistical Science 32, section 3.3."""
    return _exponential(x, -np.log(probability) / upper)


def _gamma(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    value = alpha * np.log(beta) - gammaln(alpha) + (alpha - 1.0) * np.log(x) - beta * x
    return value, (alpha - 1.0) / x - beta


def _inverse_gamma(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    value = alpha * np.log(beta) - gammaln(alpha) - (alpha + 1.0) * np.log(x) - beta / x
    return value, (beta / x - alpha - 1.0) / x


def _log_normal(x: Floats, mu: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    value, slope = _normal(np.log(x), mu, sigma)
    return value - np.log(x), (slope - 1.0) / x


def _weibull(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    power = (x / beta) ** alpha
    value = np.log(alpha / beta) + (alpha - 1.0) * np.log(x / beta) - power
    return value, (alpha - 1.0 - alpha * power) / x


# --- on an interval ------------------------------------------------------------------------------------------


def _uniform(x: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    return -np.log(upper - lower) + np.zeros_like(x), np.zeros_like(x)


def _beta(x: Floats, alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    value = (alpha - 1.0) * np.log(x) + (beta - 1.0) * np.log1p(-x) - betaln(alpha, beta)
    return value, (alpha - 1.0) / x - (beta - 1.0) / (1.0 - x)


def _truncated_normal(x: Floats, mu: Floats, sigma: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    value, slope = _normal(x, mu, sigma)
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    # Work in the tail that keeps the difference of the two distribution functions away from 1 - 1.
    flip = a > 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    log_mass = log_ndtr(b) + np.log1p(-np.exp(log_ndtr(a) - log_ndtr(b)))
    return value - log_mass, slope


_SIGMA = Parameter("sigma", 1.0, positive=True)
_MU = Parameter("mu", 0.0)


def _row(
    name: str,
    density: Callable[..., tuple[Any, Any]],
    *parameters: Parameter,
    low: float | str = -np.inf,
    high: float | str = np.inf,
    proper: bool = True,
    bend: Callable[..., tuple[Any, Any]] | None = None,
) -> Distribution:
    return Distribution(name, parameters, density, low, high, proper, bend)


def _positive(name: str, default: float | None = None) -> Parameter:
    return Parameter(name, default, positive=True)


DISTRIBUTIONS: dict[str, Distribution] = {
    d.name: d
    for d in (
        _row("Normal", _normal, _MU, _SIGMA, bend=_bend_normal),
        _row("StudentT", _student_t, _positive("nu"), _MU, _SIGMA, bend=_bend_student_t),
        _row("Cauchy", _cauchy, Parameter("alpha"), _positive("beta"), bend=_bend_cauchy),
        _row("Laplace", _laplace, Parameter("mu"), _positive("b")),
        _row("Logistic", _logistic, _MU, _positive("s", 1.0), bend=_bend_logistic),
        _row("Flat", _flat, proper=False, bend=_flat),
        _row("HalfNormal", _half(_normal, 0), _SIGMA, low=0.0),
        _row("HalfStudentT", _half(_student_t, 1), _positive("nu"), _SIGMA, low=0.0),
        _row("HalfCauchy", _half(_cauchy, 0), _positive("beta"), low=0.0),
        _row("HalfFlat", _flat, low=0.0, proper=False),
        _row("Exponential", _exponential, _positive("lam"), low=0.0),
        _row("PC", _complexity, _positive("upper"), _positive("probability", 0.05), low=0.0),
        _row("Gamma", _gamma, _positive("alpha"), _positive("beta"), low=0.0),
        _row("InverseGamma", _inverse_gamma, _positive("alpha"), _positive("beta"), low=0.0),
        _row("LogNormal", _log_normal, _MU, _SIGMA, low=0.0),
        _row("Weibull", _weibull, _positive("alpha"), _positive("beta"), low=0.0),
        _row("Uniform", _uniform, Parameter("lower", 0.0), Parameter("upper", 1.0), low="lower", high="upper"),
        _row("Beta", _beta, _positive("alpha"), _positive("beta"), low=0.0, high=1.0),
        _row(
            "TruncatedNormal",
            _truncated_normal,
            _MU,
            _SIGMA,
            Parameter("lower", -np.inf),
            Parameter("upper", np.inf),
            low="lower",
            high="upper",
        ),
    )
}
