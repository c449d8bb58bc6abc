"""How H is eliminated: the largest grouping factor first, block-diagonally, then what remains.

H = [[D, B], [B', C]] with D the leading factor's q × q diagonal blocks, B sparse (its pattern is which levels
meet in a row), C the remaining factors. The pattern never changes, so positions are worked out once; a numeric
factorisation is a handful of weighted counts, a Schur complement C − B'D⁻¹B and its factor (``tail``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination import blocks
from bayesglmm.latent.elimination.border import Border
from bayesglmm.latent.elimination.factor import Factor
from bayesglmm.latent.elimination.tail import TailFactor, TailPlan

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.structure import Layout, Loadings, Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Meeting:
    """Which levels of two factors meet in some row, and which meeting each row is.

    Parameters
    ----------
    first, second : ndarray of int64, shape (pairs,)
        Levels of the two factors.
    row : ndarray of int64, shape (n,)
        Index of each row's pair.
    at : ndarray of int64, shape (q_first, q_second, pairs)
        Where each pair's entries are: in the border (leading factor first) or in the flat remainder.
    """

    first: Ints
    second: Ints
    row: Ints
    at: Ints

    @property
    def count(self) -> int:
        """Number of distinct pairs."""
        return len(self.first)


@dataclass(frozen=True)
class Part:
    """One remaining factor: its diagonal blocks' and its prior's places in the flat remainder.

    Parameters
    ----------
    factor : int
        Which grouping factor.
    start : int
        First column within the remainder.
    diagonal : ndarray of int64, shape (q, q, levels)
        Positions of the diagonal blocks.
    prior_at, prior : ndarray
        Positions and values of P's lower triangle.
    """

    factor: int
    start: int
    diagonal: Ints
    prior_at: Ints
    prior: Floats


@dataclass(frozen=True)
class Plan:
    """The analysed elimination.

    Parameters
    ----------
    structure : Structure
        What it belongs to.
    lead : int or None
        The factor eliminated first.
    parts : tuple of Part
        The other factors, in order.
    tail : TailPlan
        How the remainder is factorised.
    lead_meetings : tuple of Meeting
        Leading factor against each remaining one.
    rest_meetings : dict
        (i, j) with i < j, positions in `parts` → Meeting.
    border : Border or None
        Pattern of B.
    """

    structure: Structure
    lead: int | None
    parts: tuple[Part, ...]
    tail: TailPlan
    lead_meetings: tuple[Meeting, ...]
    rest_meetings: dict[tuple[int, int], Meeting]
    border: Border | None

    @property
    def size(self) -> int:
        """Order of the remainder."""
        return self.tail.size

    @cached_property
    def flops(self) -> float:
        """Rough count of floating-point operations of one numeric factorisation."""
        clique = 0.0 if self.border is None else float(np.sum(np.diff(self.border.ptr).astype(float) ** 2))
        column = float(np.sum(np.diff(self.tail.ptr).astype(float) ** 2))
        return self.tail.dense**3 / 3.0 + 4.0 * (clique + column) + 2.0 * self.structure.n * self.structure.width**2

    def factorize(self, loadings: Loadings, weights: Floats, known: Floats | None = None) -> Factor:
        """Numeric factorisation; see :meth:`Loadings.factorize`."""
        lead = None
        if self.lead is not None:
            rows = loadings.rows[self.lead]
            D = weighted_blocks(self.structure.layouts[self.lead], rows, weights) if known is None else known
            index = np.arange(D.shape[0])
            D[index, index] += 1.0
            lead = blocks.cholesky(D)
        if not self.size:
            return Factor(self, loadings, lead, None, None)
        W = None
        if lead is not None and self.border is not None:
            W = blocks.forward(lead[:, :, self.border.levels], self._border_values(loadings, weights))
        return Factor(self, loadings, lead, W, self._factor_tail(loadings, weights, W))

    def _border_values(self, loadings: Loadings, weights: Floats) -> Floats:
        """B on its pattern, shape (q, entries)."""
        assert self.lead is not None
        assert self.border is not None
        lead = loadings.rows[self.lead]
        out = np.empty((lead.shape[1], len(self.border.columns)))
        for part, meeting in zip(self.parts, self.lead_meetings):
            for r in range(lead.shape[1]):
                weighted = weights * lead[:, r]
                for s in range(meeting.at.shape[1]):
                    other = weighted * loadings.rows[part.factor][:, s]
                    out[r, meeting.at[r, s]] = np.bincount(meeting.row, other, meeting.count)
        return out

    def _factor_tail(self, loadings: Loadings, weights: Floats, W: Floats | None) -> TailFactor:
        """Factor of C − W'W."""
        values = np.zeros(self.tail.length)
        for part in self.parts:
            layout = self.structure.layouts[part.factor]
            D = weighted_blocks(layout, loadings.rows[part.factor], weights)
            for r in range(layout.size):
                for s in range(r + 1):
                    values[part.diagonal[r, s]] = D[r, s]
            values[part.prior_at] += part.prior  # every position once
        for (j, i), meeting in self.rest_meetings.items():
            first, second = (loadings.rows[self.parts[k].factor] for k in (j, i))
            for r in range(first.shape[1]):
                weighted = weights * first[:, r]
                for s in range(second.shape[1]):
                    values[meeting.at[r, s]] = np.bincount(meeting.row, weighted * second[:, s], meeting.count)
        if W is not None and self.border is not None:
            self.border.subtract_gram(W, values)
        return self.tail.factorize(values)


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
