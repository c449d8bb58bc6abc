"""The covariance of one grouping factor: its terms on the diagonal of one Λ, in natural and working coordinates."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance.charted import Charted
from bayesglmm.covariance.forms import Coordinate, Form
from bayesglmm.design.types import Term

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlockCovariance(Charted):
    """The covariance of one grouping factor's random effects.

    Parameters
    ----------
    terms : tuple of Term
        The block's terms; their columns are the diagonal blocks of Λ.
    forms : tuple of Form
        One form per term.
    precision : object or None
        Inverse of a known between-level covariance, scipy sparse (levels, levels); None for the identity.
    log_det_precision : float
        Its log-determinant (0 for the identity).
    """

    terms: tuple[Term, ...]
    forms: tuple[Form, ...]
    precision: Any = None
    log_det_precision: float = 0.0

    @property
    def size(self) -> int:
        """q, the number of columns."""
        return self.terms[-1].stop

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:  # type: ignore[override]
        """One per entry of θ."""
        return tuple(c for t, f in zip(self.terms, self.forms) for c in f.coordinates(t.size))

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each term's parameters stand in θ."""
        ends = np.cumsum([0, *(len(f.coordinates(t.size)) for t, f in zip(self.terms, self.forms))])
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))

    def factor(self, theta: Floats) -> Floats:
        """Λ, lower triangular, shape (..., q, q); leading axes of θ are points."""
        L = np.zeros((*np.shape(theta)[:-1], self.size, self.size))
        for t, f, s in zip(self.terms, self.forms, self.slices):
            L[..., t.start : t.stop, t.start : t.stop] = f.factor(theta[..., s], t.size)
        return L

    def pullback(self, theta: Floats, G: Floats) -> Floats:
        """Gradient in θ from the gradient `G` in Λ, shape (q, q)."""
        parts = [
            f.pullback(theta[s], t.size, G[t.start : t.stop, t.start : t.stop])
            for t, f, s in zip(self.terms, self.forms, self.slices)
        ]
        return np.concatenate(parts)

    def sd_corr(self, theta: Floats) -> tuple[Floats, Floats]:
        """Standard deviations (q,) and correlations (q, q); zero sds give zero correlations."""
        return sd_corr(self.factor(theta))

    def from_sd_corr(self, sd: Floats, corr: Floats | None = None) -> Floats:
        """θ with the given sds and correlations (identity when left out)."""
        sd = np.asarray(sd, dtype=float)
        corr = np.eye(self.size) if corr is None else np.asarray(corr, dtype=float)
        parts = [
            f.from_sd_corr(sd[t.start : t.stop], corr[t.start : t.stop, t.start : t.stop])
            for t, f in zip(self.terms, self.forms)
        ]
        return np.concatenate(parts)

    def canonical(self, theta: Floats) -> Floats:
        """The θ with non-negative scales that means the same covariance."""
        parts = [f.canonical(theta[s], t.size) for t, f, s in zip(self.terms, self.forms, self.slices)]
        return np.concatenate(parts)


def sd_corr(L: Floats) -> tuple[Floats, Floats]:
    """Standard deviations and correlations of LL', shape (..., q) and (..., q, q)."""
    sd = np.sqrt(np.sum(np.square(L), axis=-1))
    rows = L / np.where(sd > 0, sd, 1.0)[..., None]
    corr = rows @ np.swapaxes(rows, -1, -2)
    index = np.arange(L.shape[-1])
    corr[..., index, index] = 1.0
    return sd, corr
