"""How H is eliminated: the largest grouping factor first, block-diagonally, then what remains.

H = [[D, B], [B', C]] with D the leading factor's q × q diagonal blocks, B sparse (its pattern is which levels
meet in a row), C the remaining factors. The pattern never changes, so positions are worked out once; a numeric
factorisation is a handful of weighted counts, a Schur complement C − B'D⁻¹B and a dense Cholesky.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent import blocks
from bayesglmm.latent.factor import Factor

if TYPE_CHECKING:
    from bayesglmm.latent.structure import Layout, Loadings, Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most bytes the dense remainder may take before a clear refusal.
MEMORY_LIMIT = 16 * 2**30


@dataclass(frozen=True)
class Meeting:
    """Which levels of two factors meet in some row, and which meeting each row is.

    Parameters
    ----------
    first, second : ndarray of int64, shape (pairs,)
        Levels of the two factors.
    row : ndarray of int64, shape (n,)
        Index of each row's pair.
    """

    first: Ints
    second: Ints
    row: Ints

    @property
    def count(self) -> int:
        """Number of distinct pairs."""
        return len(self.first)


def meet(a: Layout, b: Layout) -> Meeting:
    """Distinct pairs of levels, ordered by the first factor's level, then the second's."""
    keys, row = np.unique(a.codes * b.levels + b.codes, return_inverse=True)
    first, second = np.divmod(keys, b.levels)
    return Meeting(first, second, row)


@dataclass(frozen=True)
class Border:
    """The pattern of B: for every leading level the scalar columns of the remainder it meets.

    Parameters
    ----------
    ptr : ndarray of int64, shape (levels + 1,)
        Entries of leading level j are ``ptr[j]:ptr[j + 1]``; its q rows share this pattern.
    columns : ndarray of int64, shape (entries,)
        Columns within the remainder, ascending within a level.
    place : tuple of ndarray, shape (pairs, q_c)
        For every remaining factor: entry of pair p's column s.
    """

    ptr: Ints
    columns: Ints
    place: tuple[Ints, ...]


@dataclass(frozen=True)
class Plan:
    """The analysed elimination.

    Parameters
    ----------
    lead : int or None
        The factor eliminated first.
    rest : tuple of int
        The other factors, in order.
    offsets : tuple of int
        First column of each of them within the remainder.
    size : int
        Order of the remainder.
    lead_meetings : tuple of Meeting
        Leading factor against each remaining one.
    rest_meetings : dict
        (i, j) with i < j, positions in `rest` → Meeting.
    border : Border or None
        Pattern of B.
    """

    structure: Structure
    lead: int | None
    rest: tuple[int, ...]
    offsets: tuple[int, ...]
    size: int
    lead_meetings: tuple[Meeting, ...]
    rest_meetings: dict[tuple[int, int], Meeting]
    border: Border | None

    def factorize(self, loadings: Loadings, weights: Floats) -> Factor:
        """Numeric factorisation; see :meth:`Loadings.factorize`."""
        D = self._lead_blocks(loadings, weights)
        L = None if D is None else blocks.cholesky(D)
        if not self.size:
            return Factor(self, loadings, L, None, None)
        W = (
            None
            if L is None or self.border is None
            else blocks.forward_border(L, self._border_values(loadings, weights), self.border_levels)
        )
        S = self._remainder(loadings, weights)
        if W is not None and self.border is not None:
            from bayesglmm.latent.loops import subtract_gram

            subtract_gram(self.border.ptr, self.border.columns, W, S)
        return Factor(self, loadings, L, W, blocks.dense_cholesky(S))

    @cached_property
    def border_levels(self) -> Ints:
        """Leading level of each of the border's entries."""
        assert self.border is not None
        return np.repeat(np.arange(len(self.border.ptr) - 1), np.diff(self.border.ptr))

    def _lead_blocks(self, loadings: Loadings, weights: Floats) -> Floats | None:
        if self.lead is None:
            return None
        D = weighted_blocks(self.structure.layouts[self.lead], loadings.rows[self.lead], weights)
        index = np.arange(D.shape[0])
        D[index, index] += 1.0
        return D

    def _border_values(self, loadings: Loadings, weights: Floats) -> Floats:
        """B on its pattern, shape (q, entries)."""
        assert self.lead is not None
        assert self.border is not None
        lead = loadings.rows[self.lead]
        out = np.empty((lead.shape[1], len(self.border.columns)))
        for k, meeting, place in zip(self.rest, self.lead_meetings, self.border.place):
            for r in range(lead.shape[1]):
                weighted = weights * lead[:, r]
                for s in range(loadings.rows[k].shape[1]):
                    values = np.bincount(meeting.row, weighted * loadings.rows[k][:, s], meeting.count)
                    out[r, place[:, s]] = values
        return out

    def _remainder(self, loadings: Loadings, weights: Floats) -> Floats:
        """C, lower triangle of a Fortran-ordered square array."""
        S = np.zeros((self.size, self.size), order="F")
        for i, (k, start) in enumerate(zip(self.rest, self.offsets)):
            layout = self.structure.layouts[k]
            D = weighted_blocks(layout, loadings.rows[k], weights)
            first = start + np.arange(layout.levels) * layout.size
            for r in range(layout.size):
                for s in range(r + 1):
                    S[first + r, first + s] = D[r, s]
            add_prior(S, layout, start)
            for j in range(i):
                self._remainder_pair(S, loadings, weights, j, i)
        return S

    def _remainder_pair(self, S: Floats, loadings: Loadings, weights: Floats, j: int, i: int) -> None:
        meeting = self.rest_meetings[j, i]
        a, b = self.rest[j], self.rest[i]
        columns = self.offsets[j] + meeting.first * self.structure.layouts[a].size
        rows = self.offsets[i] + meeting.second * self.structure.layouts[b].size
        for r in range(self.structure.layouts[b].size):
            weighted = weights * loadings.rows[b][:, r]
            for s in range(self.structure.layouts[a].size):
                S[rows + r, columns + s] = np.bincount(meeting.row, weighted * loadings.rows[a][:, s], meeting.count)


def weighted_blocks(layout: Layout, rows: Floats, weights: Floats) -> Floats:
    """Σ w_i a_i a_i' per level, shape (q, q, levels)."""
    q = layout.size
    out = np.empty((q, q, layout.levels))
    for r in range(q):
        weighted = weights * rows[:, r]
        for s in range(r + 1):
            out[r, s] = np.bincount(layout.codes, weighted * rows[:, s], layout.levels)
            out[s, r] = out[r, s]
    return out


def add_prior(S: Floats, layout: Layout, start: int) -> None:
    """Add P of one factor to the remainder, in place (the array is ours: it was just made)."""
    stop = start + layout.levels * layout.size
    if layout.precision is None:
        index = np.arange(start, stop)
        S[index, index] += 1.0
        return
    P = layout.precision.tocoo()
    rows, columns = P.coords
    for c in range(layout.size):
        S[start + rows * layout.size + c, start + columns * layout.size + c] += P.data


def make_plan(structure: Structure) -> Plan:
    """Choose the leading factor and work out every position.

    Raises
    ------
    MethodError
        When the dense remainder would not fit in memory (the number is given).
    """
    layouts = structure.layouts
    free = [k for k, b in enumerate(layouts) if b.precision is None]
    lead = max(free, key=lambda k: layouts[k].levels * layouts[k].size) if free else None
    rest = tuple(k for k in range(len(layouts)) if k != lead)
    sizes = [layouts[k].levels * layouts[k].size for k in rest]
    offsets = tuple(int(v) for v in np.cumsum([0, *sizes])[:-1])
    total = sum(sizes)
    needed = 3 * 8 * total**2
    if needed > MEMORY_LIMIT:
        raise MethodError(
            f"the random effects need a dense matrix of order {total} and about {needed / 2**30:.0f} GB of memory "
            f"(limit {MEMORY_LIMIT / 2**30:.0f} GB); fewer levels in the smaller grouping factors would fit."
        )
    meetings = () if lead is None else tuple(meet(layouts[lead], layouts[k]) for k in rest)
    between = {(j, i): meet(layouts[rest[j]], layouts[rest[i]]) for i in range(len(rest)) for j in range(i)}
    border = None
    if lead is not None and rest:
        border = make_border(layouts[lead].levels, meetings, [layouts[k].size for k in rest], offsets)
    return Plan(structure, lead, rest, offsets, total, meetings, between, border)


def make_border(levels: int, meetings: tuple[Meeting, ...], sizes: list[int], offsets: tuple[int, ...]) -> Border:
    """Merge the meetings of all remaining factors into one pattern, columns ascending within a level."""
    level = np.concatenate([np.repeat(m.first, q) for m, q in zip(meetings, sizes)])
    column = np.concatenate(
        [(o + m.second[:, None] * q + np.arange(q)).ravel() for m, q, o in zip(meetings, sizes, offsets)]
    )
    order = np.lexsort((column, level))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ends = np.cumsum([m.count * q for m, q in zip(meetings, sizes)])
    ptr = np.zeros(levels + 1, dtype=np.int64)
    np.cumsum(np.bincount(level, minlength=levels), out=ptr[1:])
    return Border(
        ptr,
        column[order],
        tuple(part.reshape(-1, q) for part, q in zip(np.split(place, ends[:-1]), sizes)),
    )
