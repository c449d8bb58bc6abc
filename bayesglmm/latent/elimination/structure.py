"""The random part of the linear predictor, A u with A = ZΛ, and what is known in advance about H = A'WA + P.

Every grouping factor is codes + a small dense z, so row i of A has q entries per factor: a_i = Λ'z_i at the
factor's level codes_i. Unknowns are ordered factor by factor, and level by level within a factor. P is the
identity, or K⁻¹ ⊗ I for a factor with a known between-level covariance K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import RandomBlock
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.elimination.plan import Plan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where one grouping factor's effects sit among all unknowns.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Level per row.
    z : ndarray, shape (n, q)
        Column values.
    levels, size : int
        Number of levels and of columns q.
    start : int
        Index of its first unknown; level j, column c is unknown ``start + j * size + c``.
    column : int
        Index of its first column among all factors' columns (in an (n, q_total) array).
    precision : scipy sparse array or None
        K⁻¹ between levels, None for the identity.
    log_det_precision : float
        log|K⁻¹|.
    """

    codes: Ints
    z: Floats
    levels: int
    size: int
    start: int
    column: int
    precision: Any = None
    log_det_precision: float = 0.0

    @property
    def stop(self) -> int:
        """One past its last unknown."""
        return self.start + self.levels * self.size


@dataclass(frozen=True)
class Structure:
    """The pattern of A and H, analysed once and used at every Λ and every set of weights.

    Parameters
    ----------
    n, m : int
        Rows and unknowns.
    layouts : tuple of Layout
        One per grouping factor.
    """

    n: int
    m: int
    layouts: tuple[Layout, ...]

    @property
    def width(self) -> int:
        """Entries per row of A: q summed over the factors."""
        return sum(b.size for b in self.layouts)

    @cached_property
    def plan(self) -> Plan:
        """Elimination order and sparsity of the factor (made on first use)."""
        from bayesglmm.latent.elimination.analysis import make_plan

        return make_plan(self)

    @property
    def log_det_prior(self) -> float:
        """log|P|."""
        return sum(b.size * b.log_det_precision for b in self.layouts)

    def with_columns(self, columns: Sequence[Floats]) -> Structure:
        """The same levels with other column values z, one (n, q) array per factor; the elimination order is shared."""
        layouts = tuple(replace(b, z=z) for b, z in zip(self.layouts, columns))
        other = replace(self, layouts=layouts)
        other.__dict__["plan"] = self.plan  # the order depends on the codes alone, and the numbers on the loadings
        return other

    @cached_property
    def _independent(self) -> bool:
        """Whether P is the identity."""
        return all(b.precision is None for b in self.layouts)

    def penalty(self, u: Floats) -> Floats:
        """P u, shape (m,) or (m, k)."""
        if self._independent:
            return u
        out = np.array(u)
        for b in self.layouts:
            if b.precision is not None:
                own = u[b.start : b.stop]
                out[b.start : b.stop] = (b.precision @ own.reshape(b.levels, -1)).reshape(own.shape)
        return out

    def at(self, lambdas: Sequence[Floats]) -> Loadings:
        """A = ZΛ at the given factors Λ, one (q, q) array per grouping factor."""
        return Loadings(self, tuple(b.z @ L for b, L in zip(self.layouts, lambdas)))

    def factorize(self, weights: Floats, lambdas: Sequence[Floats]) -> Factor:
        """Factorise H = A'WA + P; the same as ``self.at(lambdas).factorize(weights)``."""
        return self.at(lambdas).factorize(weights)

    def effects(self, lambdas: Sequence[Floats], u: Floats) -> tuple[Floats, ...]:
        """Random effects b = Λu, one (levels, q) array per grouping factor; `u` may have leading axes."""
        return tuple(
            u[..., b.start : b.stop].reshape(*u.shape[:-1], b.levels, b.size) @ L.T
            for b, L in zip(self.layouts, lambdas)
        )


@dataclass(frozen=True)
class Loadings:
    """A = ZΛ at one Λ.

    Parameters
    ----------
    structure : Structure
        What it belongs to.
    rows : tuple of ndarray, shape (n, q)
        a_i = Λ'z_i, one array per grouping factor.
    """

    structure: Structure
    rows: tuple[Floats, ...]

    def expand(self, u: Floats) -> Floats:
        """A u, shape (n,); an `u` of shape (m, k) gives (n, k)."""
        out = None
        for b, rows in zip(self.structure.layouts, self.rows):
            own = u[b.start : b.stop].reshape(b.levels, b.size, *u.shape[1:])
            for c in range(b.size):
                part = own[:, c].take(b.codes, axis=0)
                part *= rows[:, c] if u.ndim == 1 else rows[:, c, None]
                out = part if out is None else np.add(out, part, out=out)
        return np.zeros((self.structure.n, *u.shape[1:])) if out is None else out

    def collect(self, v: Floats) -> Floats:
        """A'v, shape (m,); a `v` of shape (n, k) gives (m, k)."""
        if v.ndim == 2:
            out = np.empty((self.structure.m, v.shape[1]))
            for k in range(v.shape[1]):
                out[:, k] = self.collect(v[:, k])
            return out
        parts = [
            np.bincount(b.codes, weights=rows[:, c] * v, minlength=b.levels)
            for b, rows in zip(self.structure.layouts, self.rows)
            for c in range(b.size)
        ]
        return self._interleave(parts)

    def cross(self, weights: Floats, X: Floats) -> Floats:
        """A' diag(weights) X, shape (m, p)."""
        return self.collect(weights[:, None] * X)

    def factorize(self, weights: Floats, blocks: Floats | None = None) -> Factor:
        """Factorise H = A' diag(weights) A + P.

        Parameters
        ----------
        weights : ndarray, shape (n,)
            Of the rows.
        blocks : ndarray, shape (q, q, levels), optional
            A' diag(weights) A by level, of a single grouping factor, where it is known already.

        Raises
        ------
        NotPositiveDefiniteError
            If H is not positive definite (negative weights can do that).
        """
        return self.structure.plan.factorize(self, weights, blocks)

    def _interleave(self, parts: list[Floats]) -> Floats:
        if len(parts) == len(self.structure.layouts):  # one column per factor
            return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)
        out = np.empty(self.structure.m)
        k = 0
        for b in self.structure.layouts:
            view = out[b.start : b.stop].reshape(b.levels, b.size)
            for c in range(b.size):
                view[:, c] = parts[k]
                k += 1
        return out


def analyse(blocks: Sequence[RandomBlock], covariance: Sequence[BlockCovariance], n: int | None = None) -> Structure:
    """Lay out the unknowns of all grouping factors.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        The design's grouping factors; none is fine (a model without random effects).
    covariance : sequence of BlockCovariance
        One per block; its known precision enters P.
    n : int, optional
        Number of rows; only needed when there are no blocks.
    """
    layouts = []
    start = column = 0
    n = len(blocks[0].codes) if blocks else (n or 0)
    for block, cov in zip(blocks, covariance):
        layout = Layout(
            np.ascontiguousarray(block.codes, dtype=np.int64),
            np.ascontiguousarray(block.z, dtype=float),
            len(block.levels),
            block.z.shape[1],
            start,
            column,
            cov.precision,
            cov.log_det_precision,
        )
        layouts.append(layout)
        start, column = layout.stop, column + layout.size
    return Structure(int(n), start, tuple(layouts))
