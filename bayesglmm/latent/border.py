"""B, the part of H that joins the leading factor's levels to the remainder: its pattern, and products with it.

A level of a factor that is nested in the only other one has a single entry, and the products are a few array
operations; loops over entries are compiled, and are loaded only where levels have more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    def single(self) -> bool:
        """Whether every level has one entry."""
        return bool(np.all(np.diff(self.ptr) == 1))

    @cached_property
    def _diagonal(self) -> Ints:
        """Where the square of every entry goes in the flat remainder, of levels with one."""
        return self.at if len(self.at) else self.columns * (self.size + 1)

    @cached_property
    def _into(self) -> Any:
        """The sparse matrix, shape (size, levels), of levels with one entry."""
        from scipy.sparse import csr_array

        count = len(self.columns)
        return csr_array((np.ones(count), (self.columns, np.arange(count))), shape=(self.size, count))

    def subtract_gram(self, W: Floats, values: Floats) -> None:
        """Subtract W'W from the flat remainder; W is on B's pattern, shape (q, entries)."""
        if self.single:
            values -= np.bincount(self._diagonal, np.einsum("re,re->e", W, W), len(values))
            return
        from bayesglmm.latent.loops import subtract_gram

        subtract_gram(self.ptr, self.columns, self.at, self.size, W, values)

    def times(self, W: Floats, x: Floats) -> Floats:
        """W x, shape (q, levels, k); x has shape (size, k)."""
        if self.single:
            return W[:, :, None] * x.take(self.columns, axis=0)
        from bayesglmm.latent.loops import border_times

        return border_times(self.ptr, self.columns, W, np.ascontiguousarray(x))

    def transpose_times(self, W: Floats, y: Floats) -> Floats:
        """W'y, shape (size, k); y has shape (q, levels, k)."""
        if self.single:
            by_level = np.einsum("re,rek->ek", W, y)
            if by_level.shape[1] == 1:
                return np.bincount(self.columns, by_level[:, 0], self.size)[:, None]
            return self._into @ by_level
        from bayesglmm.latent.loops import border_transpose_times

        return border_transpose_times(self.ptr, self.columns, W, np.ascontiguousarray(y), self.size)

    def selected(self, Y: Floats, inverse: Floats) -> tuple[Floats, Floats]:
        """−YV on Y's own pattern, shape (q, entries), and YVY' on the diagonal blocks, shape (q, q, levels).

        V is the flat inverse of the remainder. With Y = D⁻¹B these are the border and the correction of the leading
        diagonal blocks of H⁻¹.
        """
        if self.single:
            M = -Y * inverse[self._diagonal]
            return M, -M[:, None] * Y[None]
        from bayesglmm.latent.loops import selected_border

        return selected_border(self.ptr, self.columns, self.at, self.size, Y, inverse)
