"""Prediction-error variance of linear predictors: coefficients and random effects with their joint uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import Design
from bayesglmm.latent.elimination.factor import Factor
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.refit import METHODS, solution_of
from bayesglmm.parameters import theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Result

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.families.base import BoundKernel

Floats = NDArray[np.float64]

#: Right-hand sides solved at a time, so that memory stays m × CHUNK.
CHUNK = 256


def linear_predictor_variance(problem: Problem, result: Result, design: Design) -> Floats:
    """Var(x'β̂ + a'û − x'β − a'u) per row of `design`.

    With H = A'WA + P at the fit and K = H⁻¹A'WX, it is x̃'V x̃ + a'H⁻¹a with x̃ = x − K'a and V the covariance of
    the coefficients (Henderson 1975, Biometrics 31, eq. 6-8; for a Laplace fit, the Gaussian approximation of the
    joint posterior). For a fit by ``laplace`` or ``agq`` the other parameters enter in the same way, with the
    derivatives of the row's linear predictor in θ and ψ, through Λ(θ) and the conditional modes, and the joint
    covariance of all parameters (Kass & Steffey 1989, J. Amer. Statist. Assoc. 84, eq. 4.3; what TMB's ``sdreport``
    gives). Rows at a level that was not seen have the level's whole prior variance.

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
    gradient = np.hstack([at.x, at.moves])
    V = parameter_covariance(result, gradient.shape[1])
    return np.einsum("ij,jk,ik->i", gradient, V, gradient) + at.quad + at.unseen


def parameter_covariance(result: Result, size: int) -> Floats:
    """Covariance of the coefficients, or of all of (β, θ, ψ) where `size` is theirs; zero for what is at an edge."""
    if size == len(result.beta):
        return result.cov_beta
    assert result.cov_joint is not None
    V = np.nan_to_num(result.cov_joint)
    V[: len(result.beta), : len(result.beta)] = result.cov_beta
    return V


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
    moves : ndarray, shape (n, k)
        Derivatives in (θ, ψ) through the random effects, for fits whose parameters have a joint covariance.
    """

    x: Floats
    quad: Floats
    unseen: Floats
    moves: Floats


def row_parts(problem: Problem, result: Result, design: Design) -> RowParts:
    """The parts of :func:`linear_predictor_variance`."""
    lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    factor, K = _factor_and_slope(problem, result, lambdas)
    x, db = np.array(design.X), _effect_moves(problem, result, factor, lambdas)
    unseen, moves = np.zeros(design.nobs), np.zeros((design.nobs, db[0].shape[-1] if db else 0))
    for k, (layout, block, L) in enumerate(zip(factor.plan.structure.layouts, design.blocks, lambdas)):
        loading, seen = block.z @ L, block.codes >= 0
        unseen += np.where(seen, 0.0, np.sum(loading**2, axis=1))
        for c in range(layout.size):
            x[seen] -= loading[seen, c, None] * K[layout.start + block.codes[seen] * layout.size + c]
            if db:
                moves[seen] += block.z[seen, c, None] * db[k][block.codes[seen], c]
    # The rows of a factor made with correlated errors are whitened: they are not those of the design.
    own = design is problem.design and problem.errors is None
    quad = factor.row_quad if own else _row_quad(factor, lambdas, design)
    return RowParts(x, quad, unseen, moves)


def _effect_moves(problem: Problem, result: Result, factor: Factor, lambdas: list[Floats]) -> list[Floats]:
    """Derivatives of the random effects b = Λû in (θ, ψ) at fixed coefficients, shape (levels, q, k) per factor.

    û solves A'd₁ = Pu, d₁ the derivative of the log-likelihood in η, so that du/dθ = H⁻¹(Ȧ'd₁ − A'W Ȧu) and
    du/dψ = H⁻¹A' ∂d₁/∂ψ. Nothing for methods that hold the variance parameters, or a fit without their covariance.
    """
    if result.method not in ("laplace", "agq") or result.cov_joint is None:
        return []
    structure, kernel, d = factor.plan.structure, problem.kernel(), len(result.theta) + len(result.psi)
    at = kernel.derivatives(result.eta, result.psi)
    pulls, own = np.zeros((structure.m, d)), [np.zeros((*b.shape, d)) for b in result.effects]
    for k, (where, cov, L, b, layout) in enumerate(
        zip(theta_slices(problem), problem.covariance, lambdas, result.effects, structure.layouts)
    ):
        # û has no part in directions in which Λ is zero.
        u, block, place = b @ np.linalg.pinv(L).T, problem.design.blocks[k], slice(layout.start, layout.stop)
        for j in range(where.start, where.stop):
            rise = _factor_slope(cov, result.theta[where], j - where.start)
            own[k][:, :, j] = u @ rise.T
            moved = np.sum(block.z * own[k][block.codes, :, j], axis=1)
            loaded = (block.z @ rise) * at.d1[:, None]
            pulls[:, j] = factor.loadings.collect(at.d2 * moved)
            pulls[place, j] += _by_level(loaded, block.codes, layout.levels).ravel()
    for j in range(len(result.psi)):
        pulls[:, len(result.theta) + j] = factor.loadings.collect(_score_slope(kernel, result, j))
    du = factor.solve(pulls)
    return [
        more + np.einsum("rs,jsd->jrd", L, du[b.start : b.stop].reshape(b.levels, b.size, d))
        for more, L, b in zip(own, lambdas, structure.layouts)
    ]


def _factor_slope(cov: BlockCovariance, theta: Floats, j: int) -> Floats:
    """Derivative of Λ in one of a block's parameters, by a central difference."""
    step = 1e-6 * max(1.0, abs(float(theta[j]))) * (np.arange(len(theta)) == j)
    return (cov.factor(theta + step) - cov.factor(theta - step)) / (2.0 * step[j])


def _score_slope(kernel: BoundKernel, result: Result, j: int) -> Floats:
    """Derivative in ψ_j of the derivative of every row's log-likelihood in η, by a central difference."""
    step = 1e-5 * (np.arange(len(result.psi)) == j)
    up, down = (kernel.derivatives(result.eta, result.psi + s * step).d1 for s in (1.0, -1.0))
    return (up - down) / 2e-5


def _by_level(rows: Floats, codes: NDArray[np.int64], levels: int) -> Floats:
    """Sums of rows, shape (n, q), within the levels of a factor."""
    return np.column_stack([np.bincount(codes, column, levels) for column in rows.T])


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
        x̃'V x̃ + a'H⁻¹a with x = Σ d_i x_i, a = Σ d_i a_i and x̃ = x − K'a, and the other parameters as in
        :func:`linear_predictor_variance`.
    """
    lambdas = [c.factor(result.theta[s]) for c, s in zip(problem.covariance, theta_slices(problem))]
    factor, K = _factor_and_slope(problem, result, lambdas)
    db = _effect_moves(problem, result, factor, lambdas)
    x, a = np.zeros(len(result.beta)), np.zeros(factor.plan.structure.m)
    moves = np.zeros(db[0].shape[-1] if db else 0)
    for design, d in parts:
        x += design.X.T @ d
        for k, (layout, block, L) in enumerate(zip(factor.plan.structure.layouts, design.blocks, lambdas)):
            own = _by_level(d[:, None] * block.z, block.codes, layout.levels)
            a[layout.start : layout.stop] += (own @ L).ravel()
            if db:
                moves += np.einsum("jr,jrd->d", own, db[k])
    gradient = np.concatenate([x - K.T @ a, moves])
    V = parameter_covariance(result, len(gradient))
    return float(gradient @ V @ gradient + a @ factor.solve(a[:, None])[:, 0])


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
