"""Simulated responses of a fitted model: new random effects, then the family's distribution.

A family says what it is by building a PyMC distribution from a module it is given. Given :class:`NumpyDistributions`
instead of PyMC the same line draws with NumPy, thousands of times faster and without loading PyMC; a family whose
distribution is not among them (Tweedie, ordered categories, one that was brought) is drawn by PyMC.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import FamilyError, MethodError
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.links import get_link
from bayesglmm.parameters import psi_of_draws, theta_slices
from bayesglmm.problem import Problem

if TYPE_CHECKING:
    from bayesglmm.families.base import Family
    from bayesglmm.links import Link

Floats = NDArray[np.float64]


class NumpyDistributions:
    """Stands in for the PyMC module: ``.Poisson.dist(mu=...)`` is a draw.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        def negative_binomial(mu: Floats, alpha: Any) -> Floats:
            return np.asarray(rng.poisson(rng.gamma(alpha, mu / alpha)), dtype=float)

        def beta_binomial(alpha: Floats, beta: Floats, n: Any) -> Floats:
            return np.asarray(rng.binomial(np.asarray(n, dtype=np.int64), rng.beta(alpha, beta)), dtype=float)

        def zeros(draw: Callable[..., Floats]) -> Callable[..., Floats]:
            def dist(psi: Any, **rest: Any) -> Floats:
                return np.where(rng.random(np.shape(rest["mu"])) < psi, draw(**rest), 0.0)

            return dist

        def positive(count: Any, above_zero: Floats) -> Floats:
            """Above zero, by inversion of the upper tail; the smallest means only ever give one."""
            y = count.isf(rng.random(np.shape(above_zero)) * above_zero)
            return np.where((above_zero > 1e-9) & (y > 1.0), y, 1.0)

        def positive_poisson(mu: Floats) -> Floats:
            from scipy import stats

            return positive(stats.poisson(mu), -np.expm1(-mu))

        def positive_negative_binomial(mu: Floats, alpha: Any) -> Floats:
            from scipy import stats

            return positive(stats.nbinom(alpha, alpha / (alpha + mu)), -np.expm1(-alpha * np.log1p(mu / alpha)))

        self._draw: dict[str, Callable[..., Floats]] = {
            "Poisson": lambda mu: np.asarray(rng.poisson(mu), dtype=float),
            "Bernoulli": lambda p: (rng.random(np.shape(p)) < p).astype(float),
            "Binomial": lambda n, p: np.asarray(rng.binomial(np.asarray(n, dtype=np.int64), p), dtype=float),
            "Normal": lambda mu, sigma: np.asarray(rng.normal(mu, sigma)),
            "Gamma": lambda alpha, beta: np.asarray(rng.gamma(alpha, 1.0 / beta)),
            "Wald": lambda mu, lam: np.asarray(rng.wald(mu, lam)),
            "Beta": lambda alpha, beta: np.asarray(rng.beta(alpha, beta)),
            "StudentT": lambda nu, mu, sigma: np.asarray(mu + sigma * rng.standard_t(nu, size=np.shape(mu))),
            "NegativeBinomial": negative_binomial,
            "BetaBinomial": beta_binomial,
        }
        for name, above in (("Poisson", positive_poisson), ("NegativeBinomial", positive_negative_binomial)):
            self._draw[f"ZeroInflated{name}"] = zeros(self._draw[name])
            self._draw[f"Hurdle{name}"] = zeros(above)

    def __getattr__(self, name: str) -> Any:
        if name not in self._draw:
            raise AttributeError(name)
        return SimpleNamespace(dist=self._draw[name])


def check_simulable(problem: Problem, scale: float = 1.0) -> None:
    """Refuse models that are not a distribution of the response.

    Parameters
    ----------
    problem : Problem
        The model.
    scale : float
        φ of the fit.

    Raises
    ------
    MethodError
        A quasi-family, a scale the family does not have, or weights that multiply the log-density.
    """
    family = problem.family
    if family.quasi:
        raise MethodError(f"{family.name} is a quasi-family: it has no distribution to simulate from.")
    if family.scale is not None and scale != family.scale:
        raise MethodError(
            f"the fit has the scale {scale:.4g}, which no {family.name} distribution has: there is nothing to simulate "
            "from. Fit it with scale='fixed', or choose a family with more variance."
        )
    weights = problem.design.weights
    if family.weighted == "power" and weights is not None and np.any(weights != 1.0):
        raise MethodError(
            f"prior weights multiply the log-density of {family.name}: that is not a distribution to simulate from. "
            "Leave the weights out, or use p(successes, trials)."
        )


def simulate_predictor(
    problem: Problem, beta: Floats, theta: Floats, rng: np.random.Generator, count: int = 1
) -> Floats:
    """Linear predictors with new random effects, shape (count, n)."""
    design = problem.design
    eta = np.repeat((design.X @ beta + design.offset)[None], count, axis=0)
    if not design.blocks:
        return eta
    structure = analyse(design.blocks, problem.covariance, design.nobs)
    loadings = structure.at([c.factor(theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))])
    # With no data H is the prior precision, and its factor draws from the prior.
    effects = loadings.factorize(np.zeros(design.nobs)).sample(rng, count)
    return np.stack([row + loadings.expand(u) for row, u in zip(eta, effects)])


def simulate(
    problem: Problem, beta: Floats, theta: Floats, psi: Floats, rng: np.random.Generator, count: int = 1
) -> Floats:
    """New responses with new random effects.

    Parameters
    ----------
    problem : Problem
        The model.
    beta, theta, psi : ndarray
        Coefficients, natural covariance parameters, unconstrained auxiliaries.
    rng : numpy.random.Generator
        Source of randomness.
    count : int
        How many.

    Returns
    -------
    ndarray, shape (count, n)
        Counts of successes where the response has trials.

    Raises
    ------
    MethodError
        A model that is not a distribution (:func:`check_simulable`).
    """
    check_simulable(problem)
    eta = simulate_predictor(problem, beta, theta, rng, count)
    if problem.errors is not None:
        return eta + draw_errors(problem, theta, np.repeat(np.atleast_2d(psi), count, axis=0), rng)
    family, link = problem.family, problem.link
    trials, weights = problem.response.trials, problem.design.weights
    drawn = psi_of_draws(problem, np.repeat(np.atleast_2d(psi), count, axis=0))
    return draw_rows(family, link, eta, drawn, trials, weights, rng)


def draw_errors(problem: Problem, theta: Floats, psi: Floats, rng: np.random.Generator) -> Floats:
    """Errors of a Gaussian model whose errors go together, shape (draws, n); ψ of shape (draws, 1) holds log σ."""
    errors, w = problem.errors, problem.case_weights
    assert errors is not None
    at = theta[len(theta) - errors.n_params :]
    sigma = np.exp(psi[:, 0]) if psi.shape[1] else np.ones(len(psi))
    return sigma[:, None] * errors.color(at, rng.standard_normal((len(w), len(psi)))).T / np.sqrt(w)


def draw_rows(
    family: Family,
    link: Link,
    eta: Floats,
    psi: Floats,
    trials: Any,
    weights: Floats | None,
    rng: np.random.Generator,
) -> Floats:
    """One response per linear predictor, by NumPy where the family's distribution is known, else by PyMC.

    Parameters
    ----------
    family, link : Family, Link
        The likelihood.
    eta : ndarray, shape (draws, n)
        Linear predictors.
    psi : ndarray, shape (draws, n_aux), or (n_aux, draws, n)
        Auxiliaries, unconstrained; one value per row where they have linear predictors.
    trials : array_like or None
        Binomial denominators.
    weights : ndarray, shape (n,), or None
        Prior weights; they act where they scale the dispersion.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (draws, n)
    """
    assert family.distribution is not None
    by_name = psi if psi.ndim == 3 else psi.T[:, :, None]
    aux = {a.name: np.asarray(get_link(a.link).mean(own)) for a, own in zip(family.auxiliaries, by_name)}
    try:
        y = family.distribution(NumpyDistributions(rng), None, link.mean(eta), aux, trials, weights)
    except (AttributeError, FamilyError, TypeError):
        from bayesglmm.graph.simulate import draw_family

        y = draw_family(family, link, eta, psi, trials, weights, rng)
    return np.asarray(y, dtype=float)
