"""Adaptive Gauss-Hermite quadrature around the conditional modes, one grouping factor.

With C_j C_j' = H_j⁻¹ and standard normal nodes x_k, weights w_k, level j contributes
log|C_j| + log Σ_k w_k exp(h_j(û_j + C_j x_k) + ½ x_k'x_k): Pinheiro & Bates (1995), eq. 6, in spherical effects.
One node is the Laplace approximation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination import blocks
from bayesglmm.latent.quadrature.grid import Grid, grid

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.elimination.structure import Structure
    from bayesglmm.latent.mode import Mode

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Node × row values of one chunk: a few megabytes, whatever the data's size.
CHUNK_VALUES = 100_000


@dataclass(frozen=True)
class Sums:
    """What the gradient needs beyond the conditional modes, summed over nodes with their posterior weights.

    Parameters
    ----------
    value : float
        The log marginal likelihood.
    score : ndarray, shape (n,)
        Σ_k ω_k ℓ'_ik.
    loaded : tuple of ndarray, shape (n, q)
        Σ_k ω_k ℓ'_ik u_k, per factor.
    curvature : ndarray, shape (n,)
        −a_i'Γa_i with Γ the derivative of the value in H; ½ a_i'H⁻¹a_i for Laplace.
    direction : ndarray, shape (n, q_total)
        −2Γa_i; H⁻¹a_i for Laplace.
    pull : ndarray, shape (m,)
        Derivative of the value in the modes at fixed H.
    aux : ndarray, shape (n_aux, n)
        Σ_k ω_k ∂_ψ ℓ_ik.
    """

    value: float
    score: Floats
    loaded: tuple[Floats, ...]
    curvature: Floats
    direction: Floats
    pull: Floats
    aux: Floats


@dataclass(frozen=True)
class Chunk:
    """Some levels, their rows (contiguous, for rows are sorted by level), and the kernel of those rows."""

    levels: slice
    rows: slice
    codes: Ints
    kernel: BoundKernel


def make_chunks(structure: Structure, kernel: BoundKernel, nodes: int) -> tuple[Chunk, ...]:
    """Cut the levels so that nodes × rows of a chunk stay in cache, whatever the data's size."""
    layout = structure.layouts[0]
    ends = np.searchsorted(layout.codes, np.arange(layout.levels), side="right")
    rows_each = max(CHUNK_VALUES // nodes, 1)
    group = ends // rows_each
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), layout.levels]
    chunks = []
    for first, last in itertools.pairwise(cuts):
        rows = slice(int(ends[first - 1]) if first else 0, int(ends[last - 1]))
        own = kernel if len(cuts) == 2 else kernel.subset(np.arange(rows.start, rows.stop))
        chunks.append(Chunk(slice(first, last), rows, layout.codes[rows] - first, own))
    return tuple(chunks)


@dataclass(frozen=True)
class OneFactor:
    """The integral over the effects of one grouping factor, level by level (rows sorted by level).

    Parameters
    ----------
    structure : Structure
        The random part, one grouping factor.
    kernel : BoundKernel
        The log-density.
    nodes : int
        Nodes per dimension.
    prune : float
        Share of their weight that may be dropped.
    """

    structure: Structure
    kernel: BoundKernel
    nodes: int
    prune: float = 0.0

    @cached_property
    def grid(self) -> Grid:
        """The nodes of one level."""
        return grid(self.nodes, self.structure.layouts[0].size, self.prune)

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """Levels in portions."""
        return make_chunks(self.structure, self.kernel, len(self.grid))

    def at_nodes(self, fixed: Floats, psi: Floats, mode: Mode) -> Iterator[tuple[Chunk, _Nodes]]:
        """Every portion of the levels with its nodes."""
        for chunk in self.chunks:
            yield chunk, _Nodes(chunk, fixed, psi, mode, self.grid)

    def levels(self, fixed: Floats, psi: Floats, mode: Mode) -> Floats:
        """Log of every level's integral around `mode`, shape (levels,)."""
        return np.concatenate([one.values for _, one in self.at_nodes(fixed, psi, mode)])

    def value(self, fixed: Floats, psi: Floats, mode: Mode) -> float:
        """Log marginal likelihood."""
        return float(self.levels(fixed, psi, mode).sum())

    def sums(self, fixed: Floats, psi: Floats, mode: Mode) -> Sums:
        """Value and the sums the gradient needs."""
        return self.sums_by_level(fixed, psi, mode)[0]

    def sums_by_level(self, fixed: Floats, psi: Floats, mode: Mode) -> tuple[Sums, Floats]:
        """The sums, and the log of every level's integral."""
        nodes, parts = [], []
        for _, one in self.at_nodes(fixed, psi, mode):
            nodes.append(one.values)
            parts.append(one.sums())
        values = np.concatenate(nodes)
        return Sums(
            float(values.sum()),
            np.concatenate([p.score for p in parts]),
            (np.concatenate([p.loaded[0] for p in parts]),),
            np.concatenate([p.curvature for p in parts]),
            np.concatenate([p.direction for p in parts]),
            np.concatenate([p.pull for p in parts]),
            np.concatenate([p.aux for p in parts], axis=-1),
        ), values


class _Nodes:
    """One evaluation of all nodes of some levels; levels last in every array of effects."""

    def __init__(self, chunk: Chunk, fixed: Floats, psi: Floats, mode: Mode, grid: Grid) -> None:
        factor = mode.factor
        assert factor is not None
        assert factor.lead is not None
        psi = psi if psi.ndim == 1 else psi[:, chunk.rows]  # one value for all rows, or one per row
        self.kernel, self.psi, self.codes = chunk.kernel, psi, chunk.codes
        L = factor.lead[:, :, chunk.levels]
        q, _, self.levels = L.shape
        self.rows = factor.loadings.rows[0][chunk.rows]
        self.grid = grid
        eye = np.broadcast_to(np.eye(q)[:, None, :], (q, self.levels, q))
        self.C = np.moveaxis(blocks.backward(L, eye), 2, 1)
        modes = mode.u.reshape(-1, q)[chunk.levels].T
        self.u = modes + np.einsum("rsl,ks->krl", self.C, self.grid.nodes)
        eta = np.repeat(fixed[None, chunk.rows], len(self.grid.nodes), axis=0)
        for r in range(q):
            eta += self.rows[:, r] * self.u[:, r].take(self.codes, axis=1)
        self.eta = eta
        self.d = chunk.kernel.derivatives(eta, psi)
        # A node outside the range of η has density zero; its derivatives mean nothing.
        self.outside = None if np.all(np.isfinite(self.d.value)) else ~np.isfinite(self.d.value)
        h = self.by_level(self.d.value) - 0.5 * np.einsum("krl,krl->kl", self.u, self.u)
        terms = h + (self.grid.log_weights + 0.5 * np.sum(self.grid.nodes**2, axis=1))[:, None]
        top = terms.max(axis=0)
        weights = np.exp(terms - top)
        total = weights.sum(axis=0)
        self.weights = weights / total
        self.values = top + np.log(total) - np.log(np.einsum("rrl->rl", L)).sum(axis=0)

    def by_level(self, values: Floats) -> Floats:
        """Sums over each level's rows, which are contiguous; shape (..., levels)."""
        counts = np.bincount(self.codes, minlength=self.levels)
        seen = counts > 0
        starts = (np.cumsum(counts) - counts)[seen]
        out = np.zeros((*values.shape[:-1], self.levels))
        out[..., seen] = np.add.reduceat(values, starts, axis=-1)
        return out

    def sums(self) -> Sums:
        """Sums over the nodes."""
        q, codes, rows = self.rows.shape[1], self.codes, self.rows
        row_weights = self.weights.take(codes, axis=1)
        d1 = self.d.d1 if self.outside is None else np.where(self.outside, 0.0, self.d.d1)
        weighted = row_weights * d1
        # g_k = ∇h at node k: only its weighted sums over nodes are needed.
        gradient = np.stack([self.by_level(rows[:, r] * d1) for r in range(q)], axis=1) - self.u
        gradient *= self.weights[:, None]
        pull = gradient.sum(axis=0)
        E = np.einsum("krl,ks->rsl", gradient, self.grid.nodes)
        gamma = information_gradient(E, self.C)
        direction = np.empty(rows.shape)
        for r in range(q):
            direction[:, r] = sum(-2.0 * gamma[r, s].take(codes) * rows[:, s] for s in range(q))
        moved = [np.einsum("kn,kn->n", weighted, self.u[:, r].take(codes, axis=1)) for r in range(q)]
        aux = np.zeros((0, len(codes)))
        if self.kernel.n_aux:
            values = self.kernel.aux_derivatives(self.eta, self.psi).value
            if self.outside is not None:
                values = np.where(self.outside, 0.0, values)
            aux = np.einsum("akn,kn->an", values, row_weights)
        return Sums(
            float(self.values.sum()),
            weighted.sum(axis=0),
            (np.stack(moved, axis=1),),
            0.5 * np.einsum("nq,nq->n", direction, rows),
            direction,
            pull.T.ravel(),
            aux,
        )


def information_gradient(E: Floats, C: Floats) -> Floats:
    """Γ = ∂value/∂H per level, from E = ∂value/∂C without its determinant; shape (q, q, levels) each.

    C = L^{-T} moves with H = LL' as dC = −CΦ(C'dHC)', Φ the lower triangle with half its diagonal
    (Smith, 1995); log|C| adds the identity to E'C.
    """
    M = np.einsum("tsl,trl->srl", E, C)
    q = M.shape[0]
    index = np.arange(q)
    M[index, index] += 1.0
    K = 0.5 * np.where(np.tri(q)[:, :, None] > 0, M, np.swapaxes(M, 0, 1))
    return -np.einsum("rsl,stl,utl->rul", C, K, C)
