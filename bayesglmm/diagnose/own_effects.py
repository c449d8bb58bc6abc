"""Rows with a random effect of their own: what leaving such a row out has to integrate.

A level with a single row (a term per observation, or a group of one) has, without its row, no data: its effect is
distributed as the model says, whatever draws from the posterior of all rows have made of it. Weights that are to undo
that are the worst there are. So the effect is integrated out of the row's likelihood instead, which leaves weights of
the other parameters alone (integrated importance sampling: Vehtari, Mononen, Tolvanen, Sivula & Winther 2016, Journal
of Machine Learning Research 17(103), 1-38; Merkle, Furr & Rabe-Hesketh 2019, Psychometrika 84, 802-829).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.idata import PORTION, log_likelihood
from bayesglmm.parameters import theta_slices
from bayesglmm.prior_predictive import new_effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesglmm.families.base import BoundKernel
    from bayesglmm.problem import Problem
    from bayesglmm.result import Draws

Floats = NDArray[np.float64]

#: Nodes of adaptive Gauss-Hermite quadrature in the one dimension of a row's own effects.
NODES = 21
#: Newton steps to where they are centred, from the effect that was drawn.
STEPS = 12


def alone(problem: Problem) -> NDArray[np.bool_]:
    """Whether a row is the only one of its level, shape (blocks, n); never where levels go together (``Known``)."""
    out = np.zeros((len(problem.design.blocks), problem.design.nobs), dtype=bool)
    for own, block, covariance in zip(out, problem.design.blocks, problem.covariance):
        if covariance.precision is None:
            own[:] = np.bincount(block.codes, minlength=len(block.levels))[block.codes] == 1
    return out


def row_log_likelihood(problem: Problem, draws: Draws, singles: NDArray[np.bool_] | None = None) -> Floats:
    """Log-likelihood of every row given the random effects it shares with others, shape (chains, draws, n).

    Parameters
    ----------
    problem : Problem
        The model.
    draws : Draws
        Parameters and random effects.
    singles : ndarray of bool, shape (blocks, n), optional
        What :func:`alone` says of the rows in a larger problem that these are some of.

    Returns
    -------
    ndarray
        That of :func:`bayesglmm.idata.log_likelihood`, with the effects integrated out that belong to the row alone.
    """
    out = log_likelihood(problem, draws)
    singles = alone(problem) if singles is None else singles
    rows = np.flatnonzero(singles.any(axis=0))
    if len(rows):
        out[..., rows] = integrated(problem, draws, rows, singles)
    return out


def integrated(
    problem: Problem,
    draws: Draws,
    rows: Sequence[int] | NDArray[np.int64],
    singles: NDArray[np.bool_] | None = None,
) -> Floats:
    """Log-likelihood of some rows with their own effects integrated out, shape (chains, draws, rows)."""
    rows = np.asarray(rows, dtype=np.int64)
    shape = draws.beta.shape[:2]
    each = max(PORTION // (shape[0] * shape[1]), 1)
    singles = alone(problem) if singles is None else singles
    parts = [_some(problem, draws, rows[a : a + each], singles) for a in range(0, len(rows), each)]
    return np.concatenate(parts, axis=1).reshape(*shape, -1)


def _some(problem: Problem, draws: Draws, rows: NDArray[np.int64], singles: NDArray[np.bool_]) -> Floats:
    """The same of as many rows as go together, shape (chains × draws, rows)."""
    design, count = problem.design, draws.beta.shape[0] * draws.beta.shape[1]
    beta, theta, psi, *effects = (
        a.reshape(count, *a.shape[2:]) for a in (draws.beta, draws.theta, draws.psi, *draws.effects)
    )
    shared = beta @ design.X[rows].T + design.offset[rows]
    own, variance = np.zeros_like(shared), np.zeros_like(shared)
    parts = zip(design.blocks, problem.covariance, theta_slices(problem), effects, singles[:, rows])
    for block, covariance, where, b, single in parts:
        z, effect = block.z[rows], b[:, block.codes[rows]]
        own += np.sum(effect * (z * single[:, None]), axis=2)
        shared += np.sum(effect * (z * ~single[:, None]), axis=2)
        if single.any():
            spread = (z * single[:, None]) @ covariance.factor(theta[:, where])
            variance += np.sum(np.square(spread), axis=2)
    return _quadrature(problem.kernel().subset(rows), shared, np.sqrt(variance), own, psi)


def with_fresh(problem: Problem, draws: Draws, rng: np.random.Generator) -> Draws:
    """The draws with effects of levels that have one row drawn anew from the model."""
    singles = alone(problem)
    if not singles.any():
        return draws
    theta = draws.theta.reshape(-1, draws.theta.shape[-1])
    effects = []
    for block, b, new, single in zip(problem.design.blocks, draws.effects, new_effects(problem, theta, rng), singles):
        levels = block.codes[single]
        b = b.copy()
        b[:, :, levels] = new.reshape(b.shape)[:, :, levels]
        effects.append(b)
    return replace(draws, effects=tuple(effects))


def _quadrature(kernel: BoundKernel, rest: Floats, sd: Floats, start: Floats, psi: Floats) -> Floats:
    """Log ∫ p(y | rest + sd·u) N(u; 0, 1) du of every draw and row, by nodes about the mode of the integrand."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_weights = np.log(weights / weights.sum()) + 0.5 * np.square(nodes)
    u = np.divide(start, sd, out=np.zeros_like(start), where=sd > 0.0)
    for _ in range(STEPS):
        _, d1, d2 = _at(kernel, rest + sd * u, psi)
        step = (sd * d1 - u) / (1.0 + np.square(sd) * np.maximum(-d2, 0.0))
        u = u + np.clip(np.nan_to_num(step), -2.0, 2.0)
        if np.abs(step).max() < 1e-4:  # where the nodes are need not be exact
            break
    width = 1.0 / np.sqrt(1.0 + np.square(sd) * np.maximum(-_at(kernel, rest + sd * u, psi)[2], 0.0))
    total = np.full_like(rest, -np.inf)
    for x, log_weight in zip(nodes, log_weights):
        at = u + width * x
        total = np.logaddexp(total, _at(kernel, rest + sd * at, psi)[0] - 0.5 * np.square(at) + log_weight)
    return total + np.log(width)


def _at(kernel: BoundKernel, eta: Floats, psi: Floats) -> tuple[Floats, Floats, Floats]:
    """Log-density of every row at every draw and its first two derivatives in η."""
    if not kernel.n_aux:
        found = kernel.derivatives(eta, np.empty(0))
        return found.value, found.d1, found.d2
    each = [kernel.derivatives(own, at) for own, at in zip(eta, psi)]
    return np.stack([e.value for e in each]), np.stack([e.d1 for e in each]), np.stack([e.d2 for e in each])
