"""Draws from priors, by NumPy: of one parameter, of correlation matrices, and of all parameters of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bayesglmm.errors import SpecError
from bayesglmm.links import get_link
from bayesglmm.priors.prior import Prior
from bayesglmm.priors.prior_set import PriorSet, TermPriors
from bayesglmm.priors.wishart import draw_factors

if TYPE_CHECKING:
    from bayesglmm.links import Link

Floats = NDArray[np.float64]
Rng = np.random.Generator


def _truncated_normal(r: Rng, n: int, mu: float, sigma: float, lower: float, upper: float) -> Floats:
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    flip = a > 0  # in the lower tail distribution functions keep their digits
    a, b = (-b, -a) if flip else (a, b)
    low, high = ndtr(a), ndtr(b)
    z = ndtri(low + r.random(n) * (high - low))
    return mu + sigma * np.clip(-z if flip else z, -b if flip else a, -a if flip else b)


#: Name → (rng, how many, the distribution's parameters in order) → draws.
DRAWS: dict[str, Callable[..., Floats]] = {
    "Normal": lambda r, n, mu, sigma: r.normal(mu, sigma, n),
    "StudentT": lambda r, n, nu, mu, sigma: mu + sigma * r.standard_t(nu, n),
    "Cauchy": lambda r, n, alpha, beta: alpha + beta * r.standard_cauchy(n),
    "Laplace": lambda r, n, mu, b: r.laplace(mu, b, n),
    "Logistic": lambda r, n, mu, s: r.logistic(mu, s, n),
    "HalfNormal": lambda r, n, sigma: np.abs(r.normal(0.0, sigma, n)),
    "HalfStudentT": lambda r, n, nu, sigma: np.abs(sigma * r.standard_t(nu, n)),
    "HalfCauchy": lambda r, n, beta: np.abs(beta * r.standard_cauchy(n)),
    "Exponential": lambda r, n, lam: r.exponential(1.0 / lam, n),
    "PC": lambda r, n, upper, probability: r.exponential(-upper / np.log(probability), n),
    "Gamma": lambda r, n, alpha, beta: r.gamma(alpha, 1.0 / beta, n),
    "InverseGamma": lambda r, n, alpha, beta: beta / r.gamma(alpha, 1.0, n),
    "LogNormal": lambda r, n, mu, sigma: r.lognormal(mu, sigma, n),
    "Weibull": lambda r, n, alpha, beta: beta * r.weibull(alpha, n),
    "Uniform": lambda r, n, lower, upper: r.uniform(lower, upper, n),
    "Beta": lambda r, n, alpha, beta: r.beta(alpha, beta, n),
    "TruncatedNormal": _truncated_normal,
}


def draw_prior(prior: Prior, rng: Rng, count: int, what: str = "a parameter") -> Floats:
    """Draws of a parameter, shape (count,), on its own scale wherever the prior is stated.

    Parameters
    ----------
    prior : Prior
        Of one parameter.
    rng : numpy.random.Generator
        Source of randomness.
    count : int
        How many.
    what : str
        The parameter, for the error.

    Raises
    ------
    SpecError
        A flat prior: it is no probability distribution.
    """
    if not prior.proper or prior.name not in DRAWS:
        raise SpecError(
            f"the prior of {what} is {prior}, which is no probability distribution to draw from: give {what} a proper "
            'prior, such as bg.Prior("Normal", mu=0, sigma=2.5).'
        )
    with np.errstate(over="ignore", divide="ignore"):
        drawn = DRAWS[prior.name](rng, count, *(v for _, v in prior.params))
        return drawn if prior.power == 1 else drawn ** (1.0 / prior.power)


def draw_correlations(eta: float, q: int, rng: Rng, count: int) -> Floats:
    """Cholesky factors of correlation matrices from LKJ(η), shape (count, q, q).

    Canonical partial correlations on the C-vine are independent: those of column k (0, 1, ...) follow
    2 Beta(b, b) − 1 with b = η + (q − 2 − k)/2: Lewandowski, Kurowicka & Joe (2009), section 2.4.
    """
    L = np.zeros((count, q, q))
    L[:, 0, 0] = 1.0
    left = np.ones((count, q))
    for k in range(q):
        L[:, k, k] = np.sqrt(left[:, k])
        b = eta + 0.5 * (q - 2 - k)
        for i in range(k + 1, q):
            partial = 2.0 * rng.beta(b, b, count) - 1.0
            L[:, i, k] = partial * np.sqrt(left[:, i])
            left[:, i] *= 1.0 - partial**2
    return L


def draw_parameters(
    priors: PriorSet, aux_links: Sequence[str | Link], rng: Rng, count: int
) -> tuple[Floats, Floats, Floats]:
    """Draws of all parameters from their priors.

    Parameters
    ----------
    priors : PriorSet
        One proper prior per parameter.
    aux_links : sequence of str or Link
        Links of the auxiliaries.
    rng : numpy.random.Generator
        Source of randomness.
    count : int
        How many.

    Returns
    -------
    beta, theta, psi : ndarray, shape (count, ...)
        Coefficients; covariance parameters, natural coordinates; auxiliaries, unconstrained.
    """
    beta = [draw_prior(p, rng, count, c) for c, p in zip(priors.columns, priors.coefficients)]
    theta = [_draw_term(term, rng, count) for block in priors.blocks for term in block]
    own = [draw_prior(p, rng, count, name) for name, p in zip(priors.auxiliary_names, priors.auxiliaries)]
    empty = np.empty((count, 0))
    natural = priors.auxiliary_density.contract(np.stack(own, axis=1) if own else empty)
    psi = [np.asarray(get_link(link).eta(x)) for link, x in zip(aux_links, natural.T)]
    return (
        priors.coefficient_density.contract(np.stack(beta, axis=1) if beta else empty),
        np.concatenate([empty, *theta], axis=1),
        np.stack(psi, axis=1) if psi else empty,
    )


def _draw_term(term: TermPriors, rng: Rng, count: int) -> Floats:
    if term.covariance is not None:
        L = draw_factors(term.covariance, rng, count)
        return L[(slice(None), *np.tril_indices(L.shape[-1]))]
    scales = [draw_prior(p, rng, count, name) for name, p in zip(term.scale_names, term.scales)]
    sd = np.stack(scales, axis=1)
    if term.correlation is None:
        return sd
    if not term.is_cholesky:
        rho = draw_prior(term.correlation, rng, count, term.correlation_name)
        return np.concatenate([sd, rho[:, None]], axis=1)
    q = sd.shape[1]
    L = sd[:, :, None] * draw_correlations(term.correlation.params[0][1], q, rng, count)
    return L[(slice(None), *np.tril_indices(q))]
