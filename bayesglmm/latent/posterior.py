"""Joint draws from a finished fit: made when they are asked for, from nothing but the fit's own numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.curvature import curvature
from bayesglmm.latent.draws import Levels, Noise, draw, random_effects
from bayesglmm.latent.elimination.ordering import portions
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.prediction import working_weights_at
from bayesglmm.latent.quadrature.nodes import settings
from bayesglmm.latent.target import Target, make_target
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.units import check_units, in_units
from bayesglmm.parameters import theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]


def marginal_draws(
    problem: Problem, result: Result, count: int, seed: int | None = None, levels: Levels = None
) -> Draws:
    """Draw from the Gaussian approximation around the mode of a Laplace or quadrature fit.

    Parameters and random effects jointly; see :func:`bayesglmm.latent.draws.draw`.

    Parameters
    ----------
    problem, result
        The model, and its fit by ``"laplace"`` or ``"agq"``.
    count : int
        Number of draws.
    seed : int, optional
        Of the generator.
    levels : sequence of ndarray of int64, optional
        Levels of each grouping factor whose random effects are wanted; all when left out.
    """
    units = in_units(problem)
    with one_thread():
        target, optimum = _optimum(units.target(**settings(result.options)), units.away(result))
        return units.draws(draw(target, optimum, count, seed, None, levels))


def found_optimum(problem: Problem, result: Result) -> tuple[Target, Optimum]:
    """The target a fit maximised, and its maximum with the curvature there, from the fit's own numbers.

    Parameters
    ----------
    problem, result
        The model, and its fit by ``"laplace"`` or ``"agq"``.

    Raises
    ------
    DataError
        A response too large or small for that (see :func:`bayesglmm.latent.units.check_units`).
    """
    check_units(problem)
    return _optimum(make_target(problem, **settings(result.options)), result)


def _optimum(target: Target, result: Result) -> tuple[Target, Optimum]:
    coordinates = target.coordinates
    point = target.at(coordinates.join(result.beta, result.theta, result.psi))
    assert result.cov_joint is not None
    slope = coordinates.slope(result.theta)
    spread = np.sqrt(np.diag(result.cov_joint)) / np.abs(slope)
    bent = curvature(target, point, np.where(np.isfinite(spread) & (spread > 0), spread, 1.0))
    return target, Optimum(point, bent, 0.0, True, "", 0, 0)


def working_draws(
    problem: Problem, result: Result, count: int, seed: int | None = None, levels: Levels = None
) -> Draws:
    """Draw coefficients and random effects of a working linear mixed model (or a GLM), variances held at the fit.

    β ~ N(β̂, V) and u | β ~ N(û − K(β − β̂), H⁻¹), with H and K = H⁻¹A'WX at the fit.

    Parameters
    ----------
    problem, result
        The model, and its fit by a method without a posterior of its own.
    count : int
        Number of draws.
    seed : int, optional
        Of the generator.
    levels : sequence of ndarray of int64, optional
        Levels of each grouping factor whose random effects are wanted; all when left out.
    """
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(result.cov_beta)
    moves = (rng.standard_normal((count, len(result.beta))) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    effects: list[Floats] = []
    if problem.design.blocks:
        structure = analyse(problem.design.blocks, problem.covariance, problem.design.nobs)
        lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
        loadings = structure.at(lambdas)
        weights = working_weights_at(problem, result)
        factor = loadings.factorize(weights)
        K = factor.solve(loadings.cross(weights, problem.design.X))
        noise = Noise(factor, levels)
        own = [np.arange(len(e)) for e in result.effects] if levels is None else levels
        effects = [np.repeat(mode[None, some], count, axis=0) for mode, some in zip(result.effects, own)]
        for some in portions(count, len(noise.unknowns)):
            u = noise.draw(rng, some.stop - some.start) - moves[some] @ K[noise.unknowns].T
            each = [np.broadcast_to(L, (len(u), *L.shape)) for L in lambdas]
            for out, shift in zip(effects, random_effects(u, noise.sizes, each)):
                out[some] += shift
        effects = [e[None] for e in effects]
    return Draws(
        (result.beta + moves)[None],
        np.broadcast_to(result.theta, (1, count, len(result.theta))),
        np.broadcast_to(result.psi, (1, count, len(result.psi))),
        tuple(effects),
    )
