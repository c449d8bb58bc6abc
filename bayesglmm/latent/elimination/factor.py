"""The numeric factor of H = A'WA + P: solves, determinant, draws and the entries of H⁻¹ that are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination import blocks
from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.plan import Meeting, Plan
    from bayesglmm.latent.elimination.structure import Loadings
    from bayesglmm.latent.elimination.tail import TailFactor

__all__ = ["Factor", "NotPositiveDefiniteError"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """Cholesky factor of H, leading blocks first, then the remainder.

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
    tail : TailFactor or None
        Cholesky factor of the Schur complement.
    """

    plan: Plan
    loadings: Loadings
    lead: Floats | None
    border: Floats | None
    tail: TailFactor | None

    @cached_property
    def logdet(self) -> float:
        """log|H|."""
        total = 0.0
        if self.lead is not None:
            total += 2.0 * float(np.log(np.einsum("rrl->rl", self.lead)).sum())
        if self.tail is not None:
            total += self.tail.logdet
        return total

    def solve(self, rhs: Floats) -> Floats:
        """H⁻¹ rhs; `rhs` has shape (m,) or (m, k)."""
        if self.tail is None and self.lead is not None and self.lead.shape[0] == 1:  # H is diagonal
            diagonal = np.square(self.lead[0, 0])
            return rhs / (diagonal if rhs.ndim == 1 else diagonal[:, None])
        lead, tail = self._split(rhs)
        if self.lead is not None:
            lead = blocks.forward(self.lead, lead)
        if self.tail is not None:
            tail = self.tail.solve(tail - self._down(lead))
            lead = lead - self._up(tail)
        if self.lead is not None:
            lead = blocks.backward(self.lead, lead)
        return self._join(lead, tail, rhs.shape)

    def half_solve(self, rhs: Floats) -> Floats:
        """C rhs with CC' = H⁻¹: standard normal `rhs` becomes draws from N(0, H⁻¹); shape (m,) or (m, k)."""
        lead, tail = self._split(rhs)
        if self.tail is not None:
            # In elimination order, so that an entry of `rhs` is the noise of the unknown in its place.
            tail = self.tail.upper(tail[self.tail.plan.order])
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
        _, border, inverse = self._selected
        lead = self.plan.lead
        for part, meeting in zip(self.plan.parts, self.plan.lead_meetings):
            assert lead is not None
            assert border is not None
            entries = np.stack([border[r].take(meeting.at[r]) for r in range(len(border))])
            self._add_meeting(out, lead, part.factor, meeting, entries)
        for (j, i), meeting in self.plan.rest_meetings.items():
            assert inverse is not None
            one, other = self.plan.parts[j].factor, self.plan.parts[i].factor
            self._add_meeting(out, one, other, meeting, inverse[meeting.at])
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
        lead, _, inverse = self._selected
        out: list[Floats] = [np.empty(0)] * len(self.plan.structure.layouts)
        if self.plan.lead is not None:
            assert lead is not None
            out[self.plan.lead] = lead
        for part in self.plan.parts:
            assert inverse is not None
            out[part.factor] = inverse[part.diagonal]
        return tuple(out)

    @cached_property
    def _selected(self) -> tuple[Floats | None, Floats | None, Floats | None]:
        """Entries of H⁻¹ on H's pattern: leading blocks, border, remainder (flat)."""
        lead = None if self.lead is None else blocks.inverse(self.lead)
        if self.tail is None:
            return lead, None, None
        inverse = self.tail.inverse()
        pattern = self.plan.border
        if self.lead is None or self.border is None or pattern is None:
            return lead, None, inverse
        Y = blocks.backward(self.lead[:, :, pattern.levels], self.border)
        M, correction = pattern.selected(Y, inverse)
        assert lead is not None
        return lead + correction, M, inverse

    def _add_meeting(self, out: Floats, one: int, other: int, meeting: Meeting, entries: Floats) -> None:
        """Add to G the products with H⁻¹'s entries (q_one, q_other, pairs) between two factors, both ways."""
        a, b = (self.plan.structure.layouts[k] for k in (one, other))
        for r in range(a.size):
            for s in range(b.size):
                entry = entries[r, s].take(meeting.row)
                out[:, a.column + r] += entry * self.loadings.rows[other][:, s]
                out[:, b.column + s] += entry * self.loadings.rows[one][:, r]

    def _split(self, x: Floats) -> tuple[Floats, Floats]:
        """Leading part, shape (q, levels[, k]), and remainder, shape (size[, k])."""
        layouts = self.plan.structure.layouts
        if len(layouts) == 1 and self.plan.lead == 0:
            lead = np.swapaxes(x.reshape(layouts[0].levels, layouts[0].size, *x.shape[1:]), 0, 1)
            return lead, np.empty((0, *x.shape[1:]))
        lead = np.empty((1, 0, *x.shape[1:]))
        if self.plan.lead is not None:
            b = layouts[self.plan.lead]
            lead = np.swapaxes(x[b.start : b.stop].reshape(b.levels, b.size, *x.shape[1:]), 0, 1)
        parts = [x[layouts[p.factor].start : layouts[p.factor].stop] for p in self.plan.parts]
        tail = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty((0, *x.shape[1:]))
        return lead, tail

    def joined(self, lead: Floats, tail: Floats) -> Floats:
        """One value per unknown, shape (m,), of values per leading unknown, (q, levels), and per remaining one."""
        return self._join(lead, tail, (self.plan.structure.m,))

    def _join(self, lead: Floats, tail: Floats, shape: tuple[int, ...]) -> Floats:
        layouts = self.plan.structure.layouts
        if len(layouts) == 1 and self.plan.lead == 0:
            return np.swapaxes(lead, 0, 1).reshape(shape)
        out = np.empty(shape)
        if self.plan.lead is not None:
            b = layouts[self.plan.lead]
            out[b.start : b.stop] = np.swapaxes(lead, 0, 1).reshape(b.levels * b.size, *shape[1:])
        for part in self.plan.parts:
            b = layouts[part.factor]
            out[b.start : b.stop] = tail[part.start : part.start + b.levels * b.size]
        return out

    def _down(self, lead: Floats) -> Floats | float:
        """W'x of the leading part, shape of the remainder."""
        if self.border is None or self.plan.border is None:
            return 0.0
        out = self.plan.border.transpose_times(self.border, lead.reshape(*lead.shape[:2], -1))
        return out if lead.ndim == 3 else out[:, 0]

    def _up(self, tail: Floats) -> Floats | float:
        """W x of the remainder, shape of the leading part."""
        if self.border is None or self.plan.border is None:
            return 0.0
        out = self.plan.border.times(self.border, tail.reshape(len(tail), -1))
        return out if tail.ndim == 2 else out[:, :, 0]
