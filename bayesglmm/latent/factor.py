"""The numeric factor of H = A'WA + P: solves, determinant, draws and the entries of H⁻¹ that are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent import blocks
from bayesglmm.latent.blocks import NotPositiveDefiniteError

if TYPE_CHECKING:
    from bayesglmm.latent.plan import Plan
    from bayesglmm.latent.structure import Loadings

__all__ = ["Factor", "NotPositiveDefiniteError"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """Cholesky factor of H, leading blocks first, then the dense remainder.

    Parameters
    ----------
    plan : Plan
        The analysed elimination.
    loadings : Loadings
        A at the Λ it was made with.
    lead : ndarray, shape (q, q, levels), or None
        Cholesky factors L of the leading diagonal blocks.
    border : ndarray, shape (q, entries), or None
        W = L⁻¹B on its pattern.
    tail : ndarray, shape (size, size), or None
        Cholesky factor of the Schur complement.
    """

    plan: Plan
    loadings: Loadings
    lead: Floats | None
    border: Floats | None
    tail: Floats | None

    @cached_property
    def logdet(self) -> float:
        """log|H|."""
        total = 0.0
        if self.lead is not None:
            total += 2.0 * float(np.log(np.einsum("rrl->rl", self.lead)).sum())
        if self.tail is not None:
            total += 2.0 * float(np.log(self.tail.diagonal()).sum())
        return total

    def solve(self, rhs: Floats) -> Floats:
        """H⁻¹ rhs; `rhs` has shape (m,) or (m, k)."""
        lead, tail = self._split(rhs)
        if self.lead is not None:
            lead = blocks.forward(self.lead, lead)
        if self.tail is not None:
            tail = self._tail_solve(tail - self._down(lead), trans=0)
            tail = self._tail_solve(tail, trans=1)
            lead = lead - self._up(tail)
        if self.lead is not None:
            lead = blocks.backward(self.lead, lead)
        return self._join(lead, tail, rhs.shape)

    def half_solve(self, rhs: Floats) -> Floats:
        """C rhs with CC' = H⁻¹: standard normal `rhs` becomes draws from N(0, H⁻¹); shape (m,) or (m, k)."""
        lead, tail = self._split(rhs)
        if self.tail is not None:
            tail = self._tail_solve(tail, trans=1)
            lead = lead - self._up(tail)
        if self.lead is not None:
            lead = blocks.backward(self.lead, lead)
        return self._join(lead, tail, rhs.shape)

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draws from N(0, H⁻¹), shape (size, m)."""
        return self.half_solve(rng.standard_normal((self.plan.structure.m, size))).T

    @cached_property
    def row_inverse(self) -> Floats:
        """G_i = H⁻¹a_i, only its entries where a_i is not zero; shape (n, q_total)."""
        layouts = self.plan.structure.layouts
        out = np.zeros((self.plan.structure.n, self.plan.structure.width))
        for k, b in enumerate(layouts):
            own = self._diagonal[k]
            rows = self.loadings.rows[k]
            for r in range(b.size):
                for s in range(b.size):
                    out[:, b.column + r] += own[r, s].take(b.codes) * rows[:, s]
        self._add_border(out)
        self._add_tail(out)
        return out

    @cached_property
    def row_quad(self) -> Floats:
        """s_i = a_i'H⁻¹a_i, shape (n,)."""
        total = np.zeros(self.plan.structure.n)
        for b, rows in zip(self.plan.structure.layouts, self.loadings.rows):
            for c in range(b.size):
                total += rows[:, c] * self.row_inverse[:, b.column + c]
        return total

    @property
    def level_covariances(self) -> tuple[Floats, ...]:
        """Diagonal blocks of H⁻¹: Cov(u) at each level given the parameters; shape (levels, q, q) per factor."""
        return tuple(np.moveaxis(own, 2, 0) for own in self._diagonal)

    @cached_property
    def _diagonal(self) -> tuple[Floats, ...]:
        """The same, levels last."""
        lead, _, tail = self._selected
        out: list[Floats] = [np.empty(0)] * len(self.plan.structure.layouts)
        if self.plan.lead is not None:
            assert lead is not None
            out[self.plan.lead] = lead
        for k, start in zip(self.plan.rest, self.plan.offsets):
            b = self.plan.structure.layouts[k]
            first = start + np.arange(b.levels) * b.size
            own = np.empty((b.size, b.size, b.levels))
            assert tail is not None
            for r in range(b.size):
                for s in range(b.size):
                    own[r, s] = tail[first + r, first + s]
            out[k] = own
        return tuple(out)

    @cached_property
    def _selected(self) -> tuple[Floats | None, Floats | None, Floats | None]:
        """Entries of H⁻¹ on H's pattern: leading blocks, border, the whole remainder."""
        lead = None if self.lead is None else blocks.inverse(self.lead)
        if self.tail is None:
            return lead, None, None
        V = blocks.dense_inverse(self.tail)
        if lead is None or self.border is None:
            return lead, None, V
        from bayesglmm.latent.loops import selected_border

        pattern = self.plan.border
        assert pattern is not None
        assert self.lead is not None
        Y = blocks.backward(self.lead[:, :, self.plan.border_levels], self.border)
        M, correction = selected_border(pattern.ptr, pattern.columns, Y, V)
        return lead + correction, M, V

    def _add_border(self, out: Floats) -> None:
        if self.plan.border is None:
            return
        M = self._selected[1]
        lead = self.plan.lead
        assert M is not None
        assert lead is not None
        a = self.plan.structure.layouts[lead]
        for k, meeting, place in zip(self.plan.rest, self.plan.lead_meetings, self.plan.border.place):
            b = self.plan.structure.layouts[k]
            for r in range(a.size):
                for s in range(b.size):
                    entry = M[r].take(place[:, s]).take(meeting.row)
                    out[:, a.column + r] += entry * self.loadings.rows[k][:, s]
                    out[:, b.column + s] += entry * self.loadings.rows[lead][:, r]

    def _add_tail(self, out: Floats) -> None:
        V = self._selected[2]
        for (j, i), meeting in self.plan.rest_meetings.items():
            assert V is not None
            a, b = (self.plan.structure.layouts[self.plan.rest[k]] for k in (j, i))
            first = self.plan.offsets[j] + meeting.first * a.size
            second = self.plan.offsets[i] + meeting.second * b.size
            for r in range(a.size):
                for s in range(b.size):
                    entry = V[first + r, second + s].take(meeting.row)
                    out[:, a.column + r] += entry * self.loadings.rows[self.plan.rest[i]][:, s]
                    out[:, b.column + s] += entry * self.loadings.rows[self.plan.rest[j]][:, r]

    def _split(self, x: Floats) -> tuple[Floats, Floats]:
        """Leading part, shape (q, levels[, k]), and remainder, shape (size[, k])."""
        layouts = self.plan.structure.layouts
        lead = np.empty((1, 0, *x.shape[1:]))
        if self.plan.lead is not None:
            b = layouts[self.plan.lead]
            lead = np.swapaxes(x[b.start : b.stop].reshape(b.levels, b.size, *x.shape[1:]), 0, 1)
        parts = [x[layouts[k].start : layouts[k].stop] for k in self.plan.rest]
        return lead, np.concatenate(parts) if parts else np.empty((0, *x.shape[1:]))

    def _join(self, lead: Floats, tail: Floats, shape: tuple[int, ...]) -> Floats:
        layouts = self.plan.structure.layouts
        out = np.empty(shape)
        if self.plan.lead is not None:
            b = layouts[self.plan.lead]
            out[b.start : b.stop] = np.swapaxes(lead, 0, 1).reshape(b.levels * b.size, *shape[1:])
        for k, start in zip(self.plan.rest, self.plan.offsets):
            b = layouts[k]
            out[b.start : b.stop] = tail[start : start + b.levels * b.size]
        return out

    def _tail_solve(self, x: Floats, trans: int) -> Floats:
        from scipy.linalg.lapack import dtrtrs

        assert self.tail is not None
        return dtrtrs(self.tail, x, lower=1, trans=trans)[0]

    def _down(self, lead: Floats) -> Floats | float:
        """W'x of the leading part, shape of the remainder."""
        if self.border is None or self.plan.border is None:
            return 0.0
        from bayesglmm.latent.loops import border_transpose_times

        x = np.ascontiguousarray(lead.reshape(*lead.shape[:2], -1))
        out = border_transpose_times(self.plan.border.ptr, self.plan.border.columns, self.border, x, self.plan.size)
        return out if lead.ndim == 3 else out[:, 0]

    def _up(self, tail: Floats) -> Floats | float:
        """W x of the remainder, shape of the leading part."""
        if self.border is None or self.plan.border is None:
            return 0.0
        from bayesglmm.latent.loops import border_times

        x = np.ascontiguousarray(tail.reshape(len(tail), -1))
        out = border_times(self.plan.border.ptr, self.plan.border.columns, self.border, x)
        return out if tail.ndim == 2 else out[:, :, 0]
