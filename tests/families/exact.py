"""Log-densities in mpmath, written from the textbooks: nothing here is shared with the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50


def _log_sigmoid(x: Any) -> Any:
    return -mp.log1p(mp.exp(-x))


def _log_phi(x: Any) -> Any:
    return mp.log(mp.erfc(-x / mp.sqrt(2)) / 2)


def _log_cauchy(x: Any) -> Any:
    return mp.log(mp.atan2(1, -x) / mp.pi)


# link → (log μ, log(1 − μ)) as functions of η, for proportions.
LOGS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "logit": (_log_sigmoid, lambda x: _log_sigmoid(-x)),
    "probit": (_log_phi, lambda x: _log_phi(-x)),
    "cloglog": (lambda x: mp.log(-mp.expm1(-mp.exp(x))), lambda x: -mp.exp(x)),
    "loglog": (lambda x: -mp.exp(-x), lambda x: mp.log(-mp.expm1(-mp.exp(-x)))),
    "cauchit": (_log_cauchy, lambda x: _log_cauchy(-x)),
    "log": (lambda x: x, lambda x: mp.log(-mp.expm1(x))),
    "identity": (mp.log, lambda x: mp.log(1 - x)),
}

# link → μ for other means.
MEANS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "log": mp.exp,
    "inverse": lambda x: 1 / x,
    "inverse_squared": lambda x: 1 / mp.sqrt(x),
    "sqrt": lambda x: x**2,
    "power(0.3)": lambda x: x ** (1 / mp.mpf("0.3")),
}


def _gaussian(y: Any, mu: Any, sigma: Any, w: Any) -> Any:
    sd = sigma / mp.sqrt(w)
    return -mp.log(2 * mp.pi) / 2 - mp.log(sd) - (y - mu) ** 2 / (2 * sd**2)


def _student(y: Any, mu: Any, sigma: Any, nu: Any) -> Any:
    z = (y - mu) / sigma
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2 - mp.log(sigma)
    return constant - (nu + 1) / 2 * mp.log1p(z**2 / nu)


def _poisson(y: Any, mu: Any) -> Any:
    return y * mp.log(mu) - mu - mp.loggamma(y + 1)


def _nb2(y: Any, mu: Any, theta: Any) -> Any:
    constant = mp.loggamma(y + theta) - mp.loggamma(theta) - mp.loggamma(y + 1)
    return constant - theta * mp.log1p(mu / theta) + (y * mp.log(mu / (mu + theta)) if y else 0)


def _nb1(y: Any, mu: Any, phi: Any) -> Any:
    return _nb2(y, mu, mu / phi)


def _gamma(y: Any, mu: Any, shape: Any, w: Any) -> Any:
    a = shape * w
    return a * mp.log(a / mu) - mp.loggamma(a) + (a - 1) * mp.log(y) - a * y / mu


def _inverse_gaussian(y: Any, mu: Any, shape: Any, w: Any) -> Any:
    lam = shape * w
    return mp.log(lam / (2 * mp.pi * y**3)) / 2 - lam * (y - mu) ** 2 / (2 * mu**2 * y)


def _tweedie(y: Any, mu: Any, phi: Any, p: Any, w: Any) -> Any:
    phi = phi / w
    rate = mu ** (2 - p) / (phi * (2 - p))
    if y == 0:
        return -rate
    shape, scale = (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)
    middle = int(y ** (2 - p) / (phi * (2 - p)))
    width = int(9 * mp.sqrt(middle) + 30)
    terms = []
    for n in range(max(1, middle - width), middle + width):
        poisson = n * mp.log(rate) - rate - mp.loggamma(n + 1)
        a = n * shape
        terms.append(poisson + (a - 1) * mp.log(y) - y / scale - mp.loggamma(a) - a * mp.log(scale))
    top = max(terms)
    return top + mp.log(mp.fsum(mp.exp(t - top) for t in terms))


def _inflated(count: Callable[..., Any]) -> Callable[..., Any]:
    def density(y: Any, mu: Any, *aux: Any) -> Any:
        pi = aux[-1]
        if y == 0:
            return mp.log(pi + (1 - pi) * mp.exp(count(0, mu, *aux[:-1])))
        return mp.log(1 - pi) + count(y, mu, *aux[:-1])

    return density


def _hurdle(count: Callable[..., Any]) -> Callable[..., Any]:
    def density(y: Any, mu: Any, *aux: Any) -> Any:
        pi = aux[-1]
        if y == 0:
            return mp.log(pi)
        return mp.log(1 - pi) + count(y, mu, *aux[:-1]) - mp.log(-mp.expm1(count(0, mu, *aux[:-1])))

    return density


def _log_choose(m: Any, y: Any) -> Any:
    return mp.loggamma(m + 1) - mp.loggamma(y + 1) - mp.loggamma(m - y + 1)


def _binomial(y: Any, m: Any, log_mu: Any, log_1mu: Any) -> Any:
    return _log_choose(m, y) + (y * log_mu if y else 0) + ((m - y) * log_1mu if m - y else 0)


def _beta(y: Any, m: Any, log_mu: Any, log_1mu: Any, phi: Any) -> Any:
    a, b = phi * mp.exp(log_mu), phi * mp.exp(log_1mu)
    constant = mp.loggamma(phi) - mp.loggamma(a) - mp.loggamma(b)
    return constant + (a - 1) * mp.log(y) + (b - 1) * mp.log(1 - y)


def _beta_binomial(y: Any, m: Any, log_mu: Any, log_1mu: Any, phi: Any) -> Any:
    a, b = phi * mp.exp(log_mu), phi * mp.exp(log_1mu)

    def log_beta(p: Any, q: Any) -> Any:
        return mp.loggamma(p) + mp.loggamma(q) - mp.loggamma(p + q)

    return _log_choose(m, y) + log_beta(y + a, m - y + b) - log_beta(a, b)


@dataclass(frozen=True)
class Exact:
    """How to draw a response, and the log-density of one row as a function of (y, m, w, η, ψ...)."""

    name: str
    links: tuple[str, ...]
    response: str
    density: Callable[..., Any]
    aux: tuple[str, ...] = ()
    options: tuple[tuple[str, float], ...] = ()

    def log_density(self, link: str, y: Any, m: Any, w: Any, eta: Any, psi: tuple[Any, ...]) -> Any:
        aux = tuple(_natural(kind, p) for kind, p in zip(self.aux, psi, strict=True))
        y = mp.mpf(y)
        fixed = tuple(mp.mpf(v) for _, v in self.options)
        if self.response in ("proportion", "trials"):
            pair = (logs(eta) for logs in LOGS[link])
            return w * self.density(y, m, *pair, *aux)
        mu = MEANS[link](eta)
        if self.name in ("gaussian", "gamma", "inverse_gaussian", "tweedie"):
            return self.density(y, mu, *aux, *fixed, w)
        return w * self.density(y, mu, *aux, *fixed)


def _natural(kind: str, psi: Any) -> Any:
    if kind == "log":
        return mp.exp(psi)
    unit = 1 / (1 + mp.exp(-psi))
    return unit if kind == "logit" else 1 + unit


PROPORTION = ("logit", "probit", "cloglog", "loglog", "cauchit")
POSITIVE = ("log", "sqrt", "identity", "inverse", "inverse_squared", "power(0.3)")

CASES = (
    Exact("gaussian", ("identity", "log", "inverse"), "real", _gaussian, ("log",)),
    Exact("binomial", (*PROPORTION, "log", "identity"), "trials", _binomial),
    Exact("poisson", POSITIVE, "count", _poisson),
    Exact("negative_binomial", POSITIVE, "count", _nb2, ("log",)),
    Exact("negative_binomial", ("log",), "count", _nb2, (), (("theta", 2.5),)),
    Exact("negative_binomial_1", POSITIVE, "count", _nb1, ("log",)),
    Exact("gamma", POSITIVE, "positive", _gamma, ("log",)),
    Exact("inverse_gaussian", POSITIVE, "positive", _inverse_gaussian, ("log",)),
    Exact("beta", PROPORTION, "proportion", _beta, ("log",)),
    Exact("beta_binomial", PROPORTION, "trials", _beta_binomial, ("log",)),
    Exact("student_t", ("identity", "log", "inverse"), "real", _student, ("log", "log")),
    Exact("student_t", ("identity",), "real", _student, ("log",), (("nu", 4.0),)),
    Exact("tweedie", ("log", "sqrt"), "nonnegative", _tweedie, ("log", "power")),
    Exact("tweedie", ("log",), "nonnegative", _tweedie, ("log",), (("power", 1.4),)),
    Exact("zero_inflated_poisson", POSITIVE, "count", _inflated(_poisson), ("logit",)),
    Exact("hurdle_poisson", POSITIVE, "count", _hurdle(_poisson), ("logit",)),
    Exact("zero_inflated_negative_binomial", ("log", "sqrt"), "count", _inflated(_nb2), ("log", "logit")),
    Exact("zero_inflated_negative_binomial_1", ("log", "sqrt"), "count", _inflated(_nb1), ("log", "logit")),
    Exact("hurdle_negative_binomial", ("log", "sqrt"), "count", _hurdle(_nb2), ("log", "logit")),
)

PAIRS = [(case, link) for case in CASES for link in case.links]
IDS = ["-".join((c.name, *(k for k, _ in c.options), link)) for c, link in PAIRS]


def derivatives(f: Callable[[Any], Any], x: float) -> list[float]:
    """Value and three derivatives of a function of one variable."""
    return [float(mp.diff(f, mp.mpf(x), k)) for k in range(4)]


def draw_response(kind: str, rng: np.random.Generator) -> tuple[float, float | None]:
    """A response with its trials, of every sort that the family must bear: zeros, ends, large ones."""
    if kind == "trials":
        m = float(rng.integers(1, 30))
        return float(rng.choice([0.0, m, np.floor(rng.uniform() * (m + 1))])), m
    if kind == "count":
        return float(rng.choice([0.0, 1.0, 2.0, rng.poisson(5.0), rng.poisson(60.0)])), None
    if kind == "proportion":
        return float(rng.uniform(0.01, 0.99)), None
    if kind == "nonnegative":
        return float(rng.choice([0.0, rng.gamma(1.0, 2.0)])), None
    return float(rng.gamma(2.0, 1.0) + 0.05) if kind == "positive" else float(rng.normal()), None


def draw_eta(link: str, rng: np.random.Generator, proportion: bool) -> float:
    """A linear predictor inside the domain."""
    if link == "identity" and proportion:
        return float(rng.uniform(0.02, 0.98))
    if link == "log" and proportion:
        return float(-rng.uniform(0.02, 4.0))
    if link in MEANS and link not in ("log", "identity"):
        return float(rng.uniform(0.2, 3.0))
    return float(rng.uniform(0.1, 4.0)) if link == "identity" else float(rng.uniform(-4.0, 4.0))
