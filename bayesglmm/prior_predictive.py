"""What a model expects before it has seen the responses: draws of its parameters, and of responses given them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import seed_or_none, takes, whole
from bayesglmm.errors import MethodError
from bayesglmm.joint import linear_predictor
from bayesglmm.latent.draws import random_effects
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.parameters import psi_of_draws, theta_slices
from bayesglmm.priors.random import draw_parameters
from bayesglmm.result import Draws
from bayesglmm.simulate import check_simulable, draw_rows

if TYPE_CHECKING:
    from bayesglmm.design.types import Design
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Means of counts beyond this are drawn as this: NumPy's generators end soon after.
LARGEST_MEAN = 1e12


def prior_draws(problem: Problem, count: int, rng: np.random.Generator) -> Draws:
    """Draw parameters and random effects from the priors.

    Parameters
    ----------
    problem : Problem
        The model; every prior must be proper.
    count : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Draws
        One chain of independent draws.

    Raises
    ------
    MethodError
        Flat priors.
    SpecError
        A single prior that is flat.
    """
    if problem.priors is None:
        raise MethodError("priors='flat': there is nothing to draw from. Give the model proper priors, or the default.")
    beta, theta, psi = draw_parameters(problem.priors, [a.link for a in problem.auxiliaries], rng, count)
    return Draws(beta[None], theta[None], psi[None], new_effects(problem, theta, rng))


def new_effects(
    problem: Problem, theta: Floats, rng: np.random.Generator, design: Design | None = None
) -> tuple[Floats, ...]:
    """Draw random effects b = Λu of all levels anew, u ~ N(0, P⁻¹).

    Parameters
    ----------
    problem : Problem
        The model.
    theta : ndarray, shape (draws, k)
        Covariance parameters.
    rng : numpy.random.Generator
        Source of randomness.
    design : Design, optional
        Whose levels they are of; the problem's own when left out. Levels that a known covariance joins are all needed.

    Returns
    -------
    tuple of ndarray, shape (1, draws, levels, q)
        One array per block, in one chain.
    """
    blocks = problem.design.blocks if design is None else design.blocks
    if not blocks:
        return ()
    sizes = [(len(b.levels), len(b.columns)) for b in blocks]
    factors = [c.factor(theta[:, s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    if all(c.precision is None for c in problem.covariance):
        u = rng.standard_normal((sum(k * q for k, q in sizes), len(theta))).T
    else:
        # With no data H is the prior precision of u, and its factor draws from the prior.
        structure = analyse(problem.design.blocks, problem.covariance, problem.design.nobs)
        prior = structure.at([f[0] for f in factors]).factorize(np.zeros(problem.design.nobs))
        u = prior.sample(rng, len(theta))
    return tuple(effects[None] for effects in random_effects(u, sizes, factors))


def predictive_rows(problem: Problem, draws: Draws, rng: np.random.Generator) -> Floats:
    """One response per row at every draw of one chain, shape (draws, n); counts have means of at most 1e12."""
    check_simulable(problem)
    if problem.errors is not None:
        raise MethodError("prior predictive draws are for models with independent errors.")
    eta = linear_predictor(problem, draws.beta[0], [b[0] for b in draws.effects])
    if problem.family.support.integer and not problem.family.trials:
        eta = np.minimum(eta, float(problem.link.eta(np.asarray(LARGEST_MEAN))))
    psi = psi_of_draws(problem, draws.psi[0])
    return draw_rows(problem.family, problem.link, eta, psi, problem.response.trials, problem.design.weights, rng)


@takes(draws=whole(), seed=seed_or_none)
def prior_predictive(problem: Problem, draws: int = 500, seed: int | None = None) -> Any:
    """Draw parameters from their priors, new random effects, and responses given them.

    Parameters
    ----------
    problem : Problem
        The model.
    draws : int
        How many.
    seed : int, optional
        Of the generator.

    Returns
    -------
    xarray.DataTree
        ``prior`` with the variables of a posterior, ``prior_predictive``, ``observed_data``, and ``constant_data``
        where there are trials.

    Raises
    ------
    MethodError
        Flat priors, or a model that is not a distribution (a quasi-family, weights that multiply log-densities).
    SpecError
        A single prior that is flat.
    """
    from bayesglmm.idata import prior_datatree

    rng = np.random.default_rng(seed)
    found = prior_draws(problem, draws, rng)
    return prior_datatree(problem, found, predictive_rows(problem, found, rng)[None])
