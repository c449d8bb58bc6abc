"""The remainder of H once the leading factor is eliminated: fill-reducing order, sparse columns, dense rest.

The pattern is analysed once (:mod:`bayesglmm.latent.elimination.ordering`): unknowns are eliminated one by one for as
long as that is cheaper than LAPACK, which takes what is left as one dense block. Nested grouping factors stay sparse to
the end, crossed ones turn dense at once.

All numbers of the lower triangle live in one flat array: the diagonal of the sparse columns, their entries below it,
and the dense block in column order. Every position that elimination touches is worked out beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination import generations
from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError, dense_cholesky, dense_inverse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TailPlan:
    """The analysed remainder, of order `size`.

    Parameters
    ----------
    size, sparse : int
        Order, and how many columns are eliminated one by one.
    order, place : ndarray of int64, shape (size,)
        Unknown at every position, and position of every unknown.
    ptr, rows : ndarray of int64
        Positions below the diagonal of sparse column j are ``rows[ptr[j]:ptr[j + 1]]``, ascending.
    """

    size: int
    sparse: int
    order: Ints
    place: Ints
    ptr: Ints
    rows: Ints

    @property
    def dense(self) -> int:
        """Order of the dense block."""
        return self.size - self.sparse

    @property
    def is_dense(self) -> bool:
        """Whether everything is one dense block in the original order."""
        return self.sparse == 0

    @cached_property
    def generations(self) -> tuple[generations.Generation, ...] | None:
        """Columns that are eliminated together, where that is worth while."""
        return generations.find_generations(self)

    @property
    def block_start(self) -> int:
        """Where the dense block begins in the flat array."""
        return self.sparse + len(self.rows)

    @property
    def length(self) -> int:
        """Length of the flat array."""
        return self.block_start + self.dense**2

    @cached_property
    def _keys(self) -> Ints:
        columns = np.repeat(np.arange(self.sparse), np.diff(self.ptr))
        return columns * self.size + self.rows

    def locate(self, i: Ints, j: Ints) -> Ints:
        """Flat positions of entries (i, j), given as unknowns in any order; they must be on the pattern."""
        a, b = self.place[i], self.place[j]
        row, column = np.maximum(a, b), np.minimum(a, b)
        inside = self.block_start + (row - self.sparse) + (column - self.sparse) * self.dense
        if self.is_dense:
            return inside
        below = self.sparse + np.searchsorted(self._keys, column * self.size + row)
        return np.where(column >= self.sparse, inside, np.where(row == column, column, below))

    @cached_property
    def updates(self) -> tuple[Ints, Ints]:
        """What eliminating each sparse column touches: (start per column, flat positions), see ``loops``."""
        counts = np.diff(self.ptr)
        starts = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
        return starts, clique_positions(self.ptr, self.order[self.rows], self.locate)

    def factorize(self, values: Floats) -> TailFactor:
        """Cholesky factor of the matrix in the flat array, which is overwritten.

        Raises
        ------
        NotPositiveDefiniteError
            If it is not positive definite.
        """
        if self.generations is not None:
            generations.factorize(self.generations, values)
        elif self.sparse:
            from bayesglmm.latent.elimination.loops import factor_columns

            if not factor_columns(self.ptr, *self.updates, values):
                raise NotPositiveDefiniteError
        block = values[self.block_start :].reshape(self.dense, self.dense, order="F")
        if self.dense:
            dense_cholesky(block)
        return TailFactor(self, values, block)


@dataclass(frozen=True)
class TailFactor:
    """Cholesky factor of the remainder.

    Parameters
    ----------
    plan : TailPlan
        Its pattern.
    values : ndarray, shape (length,)
        The flat array.
    block : ndarray, shape (dense, dense)
        Its dense block (a view, lower triangle).
    """

    plan: TailPlan
    values: Floats
    block: Floats

    @property
    def logdet(self) -> float:
        """Log-determinant of the remainder."""
        diagonal = np.concatenate([self.values[: self.plan.sparse], self.block.diagonal()])
        return 2.0 * float(np.log(diagonal).sum())

    def lower(self, x: Floats) -> Floats:
        """Solve L y = x (x in the original order, y in elimination order); shape (size,) or (size, k)."""
        y = x.reshape(len(x), -1) if self.plan.is_dense else x.reshape(len(x), -1)[self.plan.order]
        y = np.array(y)
        s = self.plan.sparse
        if self.plan.generations is not None:
            generations.forward(self.plan.generations, self.values, y)
        elif s:
            from bayesglmm.latent.elimination.loops import solve_columns

            solve_columns(self.plan.ptr, self.plan.rows, self.values, y)
        if self.plan.dense:
            y[s:] = _triangular(self.block, y[s:], 0)
        return y.reshape(x.shape)

    def upper(self, y: Floats) -> Floats:
        """Solve L' x = y (y in elimination order, x in the original order); shape (size,) or (size, k)."""
        z = np.array(y.reshape(len(y), -1))
        s = self.plan.sparse
        if self.plan.dense:
            z[s:] = _triangular(self.block, z[s:], 1)
        if self.plan.generations is not None:
            generations.backward(self.plan.generations, self.values, z)
        elif s:
            from bayesglmm.latent.elimination.loops import solve_columns_transposed

            solve_columns_transposed(self.plan.ptr, self.plan.rows, self.values, z)
        if not self.plan.is_dense:
            z = z[self.plan.place]
        return z.reshape(y.shape)

    def solve(self, x: Floats) -> Floats:
        """Both: the solution of the whole system, in the original order; shape (size,) or (size, k)."""
        if self.plan.dense or not self.plan.size or self.plan.generations is not None:
            return self.upper(self.lower(x))
        from bayesglmm.latent.elimination.loops import solve_sparse

        flat = np.ascontiguousarray(x.reshape(len(x), -1))
        return solve_sparse(self.plan.ptr, self.plan.rows, self.plan.order, self.values, flat).reshape(x.shape)

    def inverse(self) -> Floats:
        """Entries of the inverse on the factor's pattern, as a flat array (Takahashi, Fagan & Chin 1973)."""
        if self.plan.generations is not None:
            return generations.invert(self.plan.generations, self.values)
        out = np.zeros(self.plan.length)
        if self.plan.dense:
            block = out[self.plan.block_start :].reshape(self.plan.dense, self.plan.dense, order="F")
            block[...] = dense_inverse(self.block)
        if self.plan.sparse:
            from bayesglmm.latent.elimination.loops import invert_columns

            invert_columns(self.plan.ptr, *self.plan.updates, self.values, out)
        return out


def _triangular(block: Floats, x: Floats, trans: int) -> Floats:
    from scipy.linalg.lapack import dtrtrs

    return dtrtrs(block, x, lower=1, trans=trans)[0]


def clique_positions(ptr: Ints, members: Ints, locate: Callable[[Ints, Ints], Ints]) -> Ints:
    """Flat positions of all pairs within every clique.

    Clique j is ``members[ptr[j]:ptr[j + 1]]``; its pairs (b, a) with b ≥ a come a by a, then b by b.
    """
    counts = np.diff(ptr)
    starts = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
    out = np.empty(starts[-1], dtype=np.int64)
    for m in np.unique(counts):
        if m == 0:
            continue
        which = np.flatnonzero(counts == m)
        own = members[ptr[which][:, None] + np.arange(m)]
        a, b = np.triu_indices(m)
        out[starts[which][:, None] + np.arange(len(a))] = locate(own[:, b], own[:, a])
    return out
