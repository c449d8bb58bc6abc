"""B, the part of H that joins the leading factor's levels to the remainder: its pattern, and products with it.

A level of a factor that is nested in all others has one entry for each of them, and the products are a few array
operations; loops over entries are compiled, and are loaded only where levels have more, or there are many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Entries of a level, and of all levels together where a level has more than one, up to which arrays are used.
MOST_ENTRIES, MOST_NUMBERS = 3, 10_000


@dataclass(frozen=True)
class Border:
    """The pattern of B: for every leading level the scalar columns of the remainder it meets.

    Parameters
    ----------
    size : int
        Order of the remainder.
    ptr : ndarray of int64, shape (levels + 1,)
        Entries of leading level j are ``ptr[j]:ptr[j + 1]``; its q rows share this pattern.
    columns : ndarray of int64, shape (entries,)
        Columns within the remainder, ascending within a level.
    levels : ndarray of int64, shape (entries,)
        Leading level of each entry.
    at : ndarray of int64
        Flat positions of all pairs of a level's entries; empty when the remainder is one dense block.
    """

    size: int
    ptr: Ints
    columns: Ints
    levels: Ints
    at: Ints

    @cached_property
    def each(self) -> int:
        """Entries of every level, where these are as many everywhere and array operations are worth while; or 0."""
        counts = np.diff(self.ptr)
        each = int(counts[0]) if len(counts) else 0
        if each > MOST_ENTRIES or (each > 1 and len(self.columns) > MOST_NUMBERS):
            return 0
        return each if np.all(counts == each) else 0

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints, Ints]:
        """Both entries of every pair within a level, and flat positions in the remainder, shape (levels, pairs)."""
        a, b = np.triu_indices(self.each)
        if len(self.at):
            return a, b, self.at.reshape(-1, len(a))
        columns = self.columns.reshape(-1, self.each)
        return a, b, columns[:, a] * self.size + columns[:, b]

    @cached_property
    def _into(self) -> Any:
        """The sparse matrix, shape (size, entries), that sums entries by column."""
        from scipy.sparse import csr_array

        count = len(self.columns)
        return csr_array((np.ones(count), (self.columns, np.arange(count))), shape=(self.size, count))

    def _by_level(self, W: Floats) -> Floats:
        return W.reshape(len(W), -1, self.each)

    def subtract_gram(self, W: Floats, values: Floats) -> None:
        """Subtract W'W from the flat remainder; W is on B's pattern, shape (q, entries)."""
        if self.each:
            own, (a, b, at) = self._by_level(W), self._pairs
            products = np.einsum("rlp,rlp->lp", own[:, :, a], own[:, :, b])
            values -= np.bincount(at.ravel(), products.ravel(), len(values))
            return
        from bayesglmm.latent.elimination.loops import subtract_gram

        subtract_gram(self.ptr, self.columns, self.at, self.size, W, values)

    def times(self, W: Floats, x: Floats) -> Floats:
        """W x, shape (q, levels, k); x has shape (size, k)."""
        if self.each:
            mine = x.take(self.columns, axis=0).reshape(-1, self.each, x.shape[1])
            return np.einsum("rlc,lck->rlk", self._by_level(W), mine)
        from bayesglmm.latent.elimination.loops import border_times

        return border_times(self.ptr, self.columns, W, np.ascontiguousarray(x))

    def transpose_times(self, W: Floats, y: Floats) -> Floats:
        """W'y, shape (size, k); y has shape (q, levels, k)."""
        if self.each:
            by_entry = np.einsum("rlc,rlk->lck", self._by_level(W), y).reshape(len(self.columns), -1)
            if by_entry.shape[1] == 1:
                return np.bincount(self.columns, by_entry[:, 0], self.size)[:, None]
            return self._into @ by_entry
        from bayesglmm.latent.elimination.loops import border_transpose_times

        return border_transpose_times(self.ptr, self.columns, W, np.ascontiguousarray(y), self.size)

    def selected(self, Y: Floats, inverse: Floats) -> tuple[Floats, Floats]:
        """−YV on Y's own pattern, shape (q, entries), and YVY' on the diagonal blocks, shape (q, q, levels).

        V is the flat inverse of the remainder. With Y = D⁻¹B these are the border and the correction of the leading
        diagonal blocks of H⁻¹.
        """
        if self.each:
            own, (a, b, at) = self._by_level(Y), self._pairs
            V = np.empty((own.shape[1], self.each, self.each))
            V[:, a, b] = V[:, b, a] = inverse[at]
            M = -np.einsum("rla,lab->rlb", own, V)
            return M.reshape(Y.shape), -np.einsum("rlb,slb->rsl", M, own)
        from bayesglmm.latent.elimination.loops import selected_border

        return selected_border(self.ptr, self.columns, self.at, self.size, Y, inverse)
