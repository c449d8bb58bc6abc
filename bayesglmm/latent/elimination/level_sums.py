"""What a linear mixed model needs of its rows, gathered by level once: every θ is then evaluated without the rows.

With Q'WQ = I and r the response less its weighted least-squares fit (Q'Wr = 0), B = H⁻¹A'WQ and u₀ = H⁻¹A'Wr,

    Q'V₀⁻¹Q = I − (A'WQ)'B,   δ = −(Q'V₀⁻¹Q)⁻¹B'A'Wr,   r² = r'Wr − (A'Wr)'(u₀ − Bδ),
    Z'W[Q − AB, e] = Z'W[Q, r − Qδ] − Z'WZ Λ[B, u].

These are differences, so that digits are lost where the random effects explain nearly everything: there
(:data:`LEAST`) the sums are made over the rows instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.plan import weighted_blocks
from bayesglmm.latent.elimination.structure import Structure

Floats = NDArray[np.float64]

#: Smallest share of a column's information, and of the residual sum of squares, that a difference may leave.
LEAST = (1e-4, 1e-2)


@dataclass(frozen=True)
class LevelSums:
    """Cross products by level, the same at every θ.

    Parameters
    ----------
    structure : Structure
        The random part's pattern.
    weights : ndarray, shape (n,)
        Of the rows.
    cross : ndarray, shape (m, p + 1)
        Z'W[Q, r].
    total : float
        r'Wr.
    """

    structure: Structure
    weights: Floats
    cross: Floats
    total: float

    def condense(self, loaded: Floats, B: Floats, u0: Floats) -> tuple[Floats, Floats, float] | None:
        """Q'V₀⁻¹Q, δ and r², given A'W[Q, r]; None where too little would be left of the differences."""
        columns, response = loaded[:, :-1], loaded[:, -1]
        S = np.eye(B.shape[1]) - columns.T @ B
        S = 0.5 * (S + S.T)
        if len(S) and not np.linalg.eigvalsh(S)[0] > LEAST[0]:
            return None
        delta = np.linalg.solve(S, -(B.T @ response))
        r2 = self.total - float(response @ (u0 - B @ delta))
        return (S, delta, r2) if r2 > LEAST[1] * self.total else None

    def remainder(self, lambdas: tuple[Floats, ...], B: Floats, u: Floats, delta: Floats) -> Floats:
        """Z'W[Q − AB, e], shape (m, p + 1)."""
        out = self.cross - self._times_gram(_loaded(self.structure, lambdas, np.column_stack([B, u])))
        out[:, -1] -= self.cross[:, :-1] @ delta
        return out

    def lead(self, lambdas: tuple[Floats, ...]) -> Floats | None:
        """Λ'Z'WZΛ by level, shape (q, q, levels), of a single grouping factor."""
        if len(lambdas) != 1:
            return None
        (L,) = lambdas
        return np.einsum("ac,abl,bd->cdl", L, self._gram, L, optimize=True)

    def log_determinant(self, lambdas: tuple[Floats, ...], inverse: tuple[Floats, ...]) -> Floats | None:
        """Σ_i w_i z_i (H⁻¹a_i)', shape (q, q), of a single grouping factor; `inverse` is H⁻¹'s diagonal blocks."""
        if len(lambdas) != 1 or self.structure.layouts[0].precision is not None:
            return None
        return np.einsum("dal,ae,lec->dc", self._gram, lambdas[0], inverse[0], optimize=True)

    def _times_gram(self, b: Floats) -> Floats:
        """Z'WZ b, shape (m, k)."""
        if len(self.structure.layouts) > 1:
            return np.asarray(self._gram @ b)
        (layout,) = self.structure.layouts
        own = b.reshape(layout.levels, layout.size, -1)
        out = np.zeros_like(own)
        for c in range(layout.size):
            for d in range(layout.size):
                out[:, c] += self._gram[c, d, :, None] * own[:, d]
        return out.reshape(b.shape)

    @cached_property
    def _gram(self) -> Any:
        """Z'WZ: blocks (q, q, levels) of one grouping factor, else a sparse matrix."""
        layouts = self.structure.layouts
        if len(layouts) == 1:
            return weighted_blocks(layouts[0], layouts[0].z, self.weights)
        from scipy import sparse

        width, n = self.structure.width, self.structure.n
        columns = np.column_stack([b.start + b.size * b.codes + c for b in layouts for c in range(b.size)])
        values = np.hstack([b.z for b in layouts])
        pointers = np.arange(0, n * width + 1, width)
        Z = sparse.csr_array((values.ravel(), columns.ravel(), pointers), shape=(n, self.structure.m))
        W = sparse.csr_array(((self.weights[:, None] * values).ravel(), columns.ravel(), pointers), shape=Z.shape)
        return (Z.T @ W).tocsr()


def _loaded(structure: Structure, lambdas: tuple[Floats, ...], x: Floats) -> Floats:
    """Λx, shape (m, k)."""
    out = np.zeros_like(x)
    for b, L in zip(structure.layouts, lambdas):
        own, there = (a[b.start : b.stop].reshape(b.levels, b.size, -1) for a in (x, out))
        for c in range(b.size):
            for d in range(c + 1):
                there[:, c] += L[c, d] * own[:, d]
    return out
