"""Adaptive Gauss-Hermite quadrature around the conditional modes, one grouping factor.

With C_j C_j' = H_j⁻¹ and standard normal nodes x_k, weights w_k, level j contributes
log|C_j| + log Σ_k w_k exp(h_j(û_j + C_j x_k) + ½ x_k'x_k): Pinheiro & Bates (1995), eq. 6, in spherical effects.
One node is the Laplace approximation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent import blocks

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.structure import Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most nodes per level (nodes ** q), and most node × row values of one evaluation.
MAX_GRID = 20_000
MAX_VALUES = 4 * 10**8
#: Node × row values of one chunk: a few megabytes, whatever the data's size.
CHUNK_VALUES = 100_000


@dataclass(frozen=True)
class Grid:
    """Tensor-product nodes for a q-dimensional standard normal.

    Parameters
    ----------
    nodes : ndarray, shape (k, q)
        Node positions.
    log_weights : ndarray, shape (k,)
        Logs of the weights (which sum to one).
    """

    nodes: Floats
    log_weights: Floats


@cache
def hermite(count: int) -> tuple[Floats, Floats]:
    """Gauss-Hermite nodes and log weights for the standard normal density, shape (count,) each."""
    # Golub-Welsch: the Jacobi matrix of the probabilists' polynomials has off-diagonal sqrt(1..count-1). Its
    # eigenvectors give the weights without overflow, and the far nodes keep a relative accuracy that the usual
    # formulas lose.
    if count == 1:
        return np.zeros(1), np.zeros(1)
    from scipy.linalg import eigh_tridiagonal

    nodes, vectors = eigh_tridiagonal(np.zeros(count), np.sqrt(np.arange(1.0, count)))
    nodes = 0.5 * (nodes - nodes[::-1])
    first = np.abs(vectors[0])
    log_weights = np.log(first) + np.log(first[::-1])
    return nodes, log_weights - np.log(np.exp(log_weights).sum())


@cache
def grid(count: int, q: int) -> Grid:
    """The full tensor product of `count` nodes in q dimensions."""
    nodes, logs = hermite(count)
    mesh = np.meshgrid(*(nodes,) * q, indexing="ij")
    weights = np.meshgrid(*(logs,) * q, indexing="ij")
    return Grid(np.stack([m.ravel() for m in mesh], axis=1), np.sum([w.ravel() for w in weights], axis=0))


def check_nodes(structure: Structure, nodes: int) -> None:
    """Refuse what quadrature cannot do.

    Raises
    ------
    MethodError
        Nodes that are not a positive whole number; several grouping factors or a known covariance between levels
        with more than one node; more nodes than memory or patience bear.
    """
    if not isinstance(nodes, (int, np.integer)) or nodes < 1:
        raise MethodError(f"nodes={nodes!r}: the number of quadrature nodes is a whole number, 1 or more.")
    if nodes == 1:
        return
    if len(structure.layouts) != 1:
        what = "no random terms" if not structure.layouts else f"{len(structure.layouts)} grouping factors"
        raise MethodError(
            f"quadrature with {nodes} nodes needs exactly one grouping factor; the model has {what}. "
            "Use method='laplace' (one node), or 'mcmc'."
        )
    layout = structure.layouts[0]
    if layout.precision is not None:
        raise MethodError(
            "quadrature works level by level, but a known covariance ties the levels together. "
            "Use method='laplace' (one node), or 'mcmc'."
        )
    total = nodes**layout.size
    if total > MAX_GRID or total * structure.n > MAX_VALUES:
        fits = int(min(MAX_GRID, MAX_VALUES / structure.n) ** (1 / layout.size))
        raise MethodError(
            f"{nodes} nodes in {layout.size} dimensions are {total} evaluations for each of {structure.n} rows; "
            f"at most {max(fits, 1)} nodes fit here. Use fewer nodes, or method='laplace'."
        )


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
    aux : ndarray, shape (n_aux,)
        Σ_i Σ_k ω_k ∂_ψ ℓ_ik.
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
    rows_each = max(CHUNK_VALUES // nodes**layout.size, 1)
    group = ends // rows_each
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), layout.levels]
    chunks = []
    for first, last in itertools.pairwise(cuts):
        rows = slice(int(ends[first - 1]) if first else 0, int(ends[last - 1]))
        own = kernel if len(cuts) == 2 else kernel.subset(np.arange(rows.start, rows.stop))
        chunks.append(Chunk(slice(first, last), rows, layout.codes[rows] - first, own))
    return tuple(chunks)


def quadrature_value(chunks: tuple[Chunk, ...], fixed: Floats, psi: Floats, mode: Mode, nodes: int) -> float:
    """Log marginal likelihood by adaptive quadrature around `mode` (rows sorted by level)."""
    assert mode.factor is not None
    return sum(_Nodes(c, fixed, psi, mode, nodes).value for c in chunks) - 0.5 * mode.factor.logdet


def quadrature_sums(chunks: tuple[Chunk, ...], fixed: Floats, psi: Floats, mode: Mode, nodes: int) -> Sums:
    """Value and the sums the gradient needs (rows sorted by level)."""
    assert mode.factor is not None
    parts = [_Nodes(c, fixed, psi, mode, nodes).sums() for c in chunks]
    return Sums(
        sum(p.value for p in parts) - 0.5 * mode.factor.logdet,
        np.concatenate([p.score for p in parts]),
        (np.concatenate([p.loaded[0] for p in parts]),),
        np.concatenate([p.curvature for p in parts]),
        np.concatenate([p.direction for p in parts]),
        np.concatenate([p.pull for p in parts]),
        np.sum([p.aux for p in parts], axis=0),
    )


class _Nodes:
    """One evaluation of all nodes of some levels; levels last in every array of effects."""

    def __init__(self, chunk: Chunk, fixed: Floats, psi: Floats, mode: Mode, nodes: int) -> None:
        factor = mode.factor
        assert factor is not None
        assert factor.lead is not None
        self.kernel, self.psi, self.codes = chunk.kernel, psi, chunk.codes
        L = factor.lead[:, :, chunk.levels]
        q, _, self.levels = L.shape
        self.rows = factor.loadings.rows[0][chunk.rows]
        self.grid = grid(nodes, q)
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
        h = self._by_level(self.d.value) - 0.5 * np.einsum("krl,krl->kl", self.u, self.u)
        terms = h + (self.grid.log_weights + 0.5 * np.sum(self.grid.nodes**2, axis=1))[:, None]
        top = terms.max(axis=0)
        weights = np.exp(terms - top)
        total = weights.sum(axis=0)
        self.weights = weights / total
        self.value = float((top + np.log(total)).sum())

    def _by_level(self, values: Floats) -> Floats:
        """Sums over each level's rows, which are contiguous; shape (..., levels)."""
        counts = np.bincount(self.codes, minlength=self.levels)
        seen = counts > 0
        starts = (np.cumsum(counts) - counts)[seen]
        out = np.zeros((*values.shape[:-1], self.levels))
        out[..., seen] = np.add.reduceat(values, starts, axis=-1)
        return out

    def sums(self) -> Sums:
        """Sums over the nodes; `value` without the determinant."""
        q, codes, rows = self.rows.shape[1], self.codes, self.rows
        row_weights = self.weights.take(codes, axis=1)
        d1 = self.d.d1 if self.outside is None else np.where(self.outside, 0.0, self.d.d1)
        weighted = row_weights * d1
        # g_k = ∇h at node k: only its weighted sums over nodes are needed.
        gradient = np.stack([self._by_level(rows[:, r] * d1) for r in range(q)], axis=1) - self.u
        gradient *= self.weights[:, None]
        pull = gradient.sum(axis=0)
        E = np.einsum("krl,ks->rsl", gradient, self.grid.nodes)
        gamma = self._information_gradient(E)
        direction = np.empty(rows.shape)
        for r in range(q):
            direction[:, r] = sum(-2.0 * gamma[r, s].take(codes) * rows[:, s] for s in range(q))
        moved = [np.einsum("kn,kn->n", weighted, self.u[:, r].take(codes, axis=1)) for r in range(q)]
        aux = np.zeros(self.kernel.n_aux)
        if self.kernel.n_aux:
            values = self.kernel.aux_derivatives(self.eta, self.psi).value
            if self.outside is not None:
                values = np.where(self.outside, 0.0, values)
            aux = np.einsum("akn,kn->a", values, row_weights)
        return Sums(
            self.value,
            weighted.sum(axis=0),
            (np.stack(moved, axis=1),),
            0.5 * np.einsum("nq,nq->n", direction, rows),
            direction,
            pull.T.ravel(),
            aux,
        )

    def _information_gradient(self, E: Floats) -> Floats:
        """Γ = ∂value/∂H per level, from E = ∂value/∂C without its determinant; shape (q, q, levels).

        C = L^{-T} moves with H = LL' as dC = −CΦ(C'dHC)', Φ the lower triangle with half its diagonal
        (Smith, 1995); log|C| adds the identity to E'C.
        """
        M = np.einsum("tsl,trl->srl", E, self.C)
        q = M.shape[0]
        index = np.arange(q)
        M[index, index] += 1.0
        K = 0.5 * np.where(np.tri(q)[:, :, None] > 0, M, np.swapaxes(M, 0, 1))
        return -np.einsum("rsl,stl,utl->rul", self.C, K, self.C)
