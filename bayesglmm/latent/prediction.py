"""Prediction-error variance of linear predictors: coefficients and random effects with their joint uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import Design
from bayesglmm.latent.factor import Factor
from bayesglmm.latent.refit import METHODS, solution_of
from bayesglmm.latent.structure import analyse
from bayesglmm.parameters import theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Right-hand sides solved at a time, so that memory stays m × CHUNK.
CHUNK = 256


def linear_predictor_variance(problem: Problem, result: Result, design: Design) -> Floats:
    """Var(x'β̂ + a'û − x'β − a'u) per row of `design`.

    With H = A'WA + P at the fit and K = H⁻¹A'WX, it is x̃'V x̃ + a'H⁻¹a with x̃ = x − K'a and V the covariance of
    the coefficients (Henderson 1975, Biometrics 31, eq. 6-8; for a Laplace fit, the Gaussian approximation of the
    joint posterior). Rows at a level that was not seen have the level's whole prior variance.

    Parameters
    ----------
    problem, result
        The fitted model.
    design : Design
        Rows to predict; the model's own design, or one made by ``rebind``.

    Returns
    -------
    ndarray, shape (n_rows,)
    """
    at = row_parts(problem, result, design)
    return np.einsum("ij,jk,ik->i", at.x, result.cov_beta, at.x) + at.quad + at.unseen


def full_effect_sds(problem: Problem, result: Result) -> tuple[Floats, ...] | None:
    """Sds of the random effects that include the uncertainty of the parameters, shape (levels, q) per factor.

    A Laplace or quadrature fit has those with all its parameters' uncertainty. Otherwise it is that of the
    coefficients, as in Henderson's prediction-error variance: diag(ΛH⁻¹Λ' + ΛKVK'Λ'). None for a method whose own sds
    are of a posterior already.
    """
    if "effects_sd_full" in result.extras:
        return tuple(result.extras["effects_sd_full"])
    if result.method not in METHODS or not result.effects_sd:
        return None
    lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    factor, K = _factor_and_slope(problem, result, lambdas)
    out = []
    for layout, L, sd in zip(factor.plan.structure.layouts, lambdas, result.effects_sd):
        moves = L @ K[layout.start : layout.stop].reshape(layout.levels, layout.size, -1)
        out.append(np.sqrt(np.square(sd) + np.einsum("lqi,ij,lqj->lq", moves, result.cov_beta, moves)))
    return tuple(out)


@dataclass(frozen=True)
class RowParts:
    """What the variance of each row's linear predictor is made of.

    Parameters
    ----------
    x : ndarray, shape (n, p)
        x̃ = x − K'a: what is left of the columns once the random effects have taken their part.
    quad : ndarray, shape (n,)
        a'H⁻¹a over the levels that were seen.
    unseen : ndarray, shape (n,)
        Prior variance of the random effects of levels that were not.
    """

    x: Floats
    quad: Floats
    unseen: Floats


def row_parts(problem: Problem, result: Result, design: Design) -> RowParts:
    """The parts of :func:`linear_predictor_variance`."""
    lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    factor, K = _factor_and_slope(problem, result, lambdas)
    x = np.array(design.X)
    unseen = np.zeros(design.nobs)
    for layout, block, L in zip(factor.plan.structure.layouts, design.blocks, lambdas):
        loading, seen = block.z @ L, block.codes >= 0
        unseen += np.where(seen, 0.0, np.sum(loading**2, axis=1))
        for c in range(layout.size):
            x[seen] -= loading[seen, c, None] * K[layout.start + block.codes[seen] * layout.size + c]
    # The rows of a factor made with correlated errors are whitened: they are not those of the design.
    own = design is problem.design and problem.errors is None
    quad = factor.row_quad if own else _row_quad(factor, lambdas, design)
    return RowParts(x, quad, unseen)


def combination_variance(problem: Problem, result: Result, parts: Sequence[tuple[Design, Floats]]) -> float:
    """Variance of Σ d_i η_i over the rows of several designs, with the random effects of their levels.

    Parameters
    ----------
    problem, result
        The fitted model.
    parts : sequence of (Design, ndarray)
        Rows, all at levels that were seen, and their multipliers d, shape (n_rows,).

    Returns
    -------
    float
        x̃'V x̃ + a'H⁻¹a with x = Σ d_i x_i, a = Σ d_i a_i and x̃ = x − K'a, as in :func:`linear_predictor_variance`.
    """
    lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    factor, K = _factor_and_slope(problem, result, lambdas)
    x, a = np.zeros(len(result.beta)), np.zeros(factor.plan.structure.m)
    for design, d in parts:
        x += design.X.T @ d
        for layout, block, L in zip(factor.plan.structure.layouts, design.blocks, lambdas):
            loading = d[:, None] * (block.z @ L)
            for c in range(layout.size):
                np.add.at(a, layout.start + block.codes * layout.size + c, loading[:, c])
    x -= K.T @ a
    return float(x @ result.cov_beta @ x + a @ factor.solve(a[:, None])[:, 0])


def _factor_and_slope(problem: Problem, result: Result, lambdas: list[Floats]) -> tuple[Factor, Floats]:
    """The factor of H and K = H⁻¹A'WX at a fit."""
    if problem.errors is not None:
        at = solution_of(problem, result)
        return at.factor, at.B @ at.model.basis.T / np.sqrt(at.scale)
    loadings = analyse(problem.design.blocks, problem.covariance, problem.design.nobs).at(lambdas)
    weights = working_weights_at(problem, result)
    factor = loadings.factorize(weights)
    return factor, factor.solve(loadings.cross(weights, problem.design.X))


def _row_quad(factor: Factor, lambdas: list[Floats], design: Design) -> Floats:
    """a'H⁻¹a of new rows; entries at unseen levels are left out."""
    layouts = factor.plan.structure.layouts
    if len(layouts) == 1:
        loading = np.where((design.blocks[0].codes >= 0)[:, None], design.blocks[0].z @ lambdas[0], 0.0)
        own = factor.level_covariances[0][np.maximum(design.blocks[0].codes, 0)]
        return np.einsum("ni,nij,nj->n", loading, own, loading)
    out = np.empty(design.nobs)
    for start in range(0, design.nobs, CHUNK):
        rows = slice(start, min(start + CHUNK, design.nobs))
        A = np.zeros((factor.plan.structure.m, rows.stop - start))
        for layout, block, L in zip(layouts, design.blocks, lambdas):
            loading, codes = block.z[rows] @ L, block.codes[rows]
            seen = np.flatnonzero(codes >= 0)
            for c in range(layout.size):
                A[layout.start + codes[seen] * layout.size + c, seen] = loading[seen, c]
        out[rows] = np.sum(A * factor.solve(A), axis=0)
    return out


def working_weights_at(problem: Problem, result: Result) -> Floats:
    """Precision of each row's working response at the fit: −ℓ'' of a likelihood, μ'²w/(φV) otherwise."""
    if result.method in METHODS:
        at = solution_of(problem, result)
        return at.model.weights / at.scale
    if not problem.family.quasi:
        kernel = problem.kernel()
        weights = -kernel.derivatives(result.eta, result.psi).d2
        # Single rows may curve the wrong way (zero inflation, Student-t): at a mode that was found H is definite still.
        if np.all(weights >= 0) or result.method in ("laplace", "agq"):
            return weights
        return np.maximum(kernel.expected_weight(result.eta, result.psi), 0.0)
    mu, slope = problem.link.mean(result.eta), problem.link.slope(result.eta)
    return problem.case_weights * slope**2 / (result.scale * problem.family.variance(mu, ()))
