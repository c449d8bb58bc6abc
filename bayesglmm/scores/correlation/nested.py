"""Nested exchangeable: one correlation within groups inside a cluster, another between them."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError, MethodError
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.base import WorkingCorrelation, pairs_denominator

Floats = NDArray[np.float64]


class Nested(WorkingCorrelation):
    """Correlation α₁ between rows of one subgroup, α₂ between rows of different subgroups of a cluster.

    R = S + α₂ 11' with S block-diagonal, S_b = (1 − α₁) I + (α₁ − α₂) 11': two Sherman-Morrison steps invert it.
    Moments as for the exchangeable correlation, over pairs within and between subgroups.
    """

    name = "nested"
    _starts: NDArray[np.int64]
    _sizes: NDArray[np.int64]
    _first: NDArray[np.int64]
    _pairs: tuple[float, float]

    def bind(self, clusters: Clusters) -> Self:
        """Find where subgroups start, and count pairs."""
        if clusters.subgroups is None:
            raise MethodError("corr='nested' needs subgroups=: the groups inside the clusters.")
        bound = super().bind(clusters)
        inner = clusters.subgroups
        bound._starts = np.flatnonzero(np.r_[True, inner[1:] != inner[:-1]])
        bound._sizes = np.diff(np.r_[bound._starts, clusters.n])
        # first subgroup of each cluster, for sums of subgroup values over clusters
        bound._first = np.searchsorted(bound._starts, clusters.starts)
        within = float((bound._sizes * (bound._sizes - 1) // 2).sum())
        total = float((clusters.sizes * (clusters.sizes - 1) // 2).sum())
        bound._pairs = (within, total - within)
        if within == 0 or total == within:
            which = "within" if within == 0 else "between"
            raise DataError(f"there is no pair of rows {which} subgroups; take corr='exchangeable'.")
        return bound

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Mean products within and between subgroups."""
        squares = float(residuals @ residuals)
        inner = float(np.square(np.add.reduceat(residuals, self._starts)).sum())
        outer = float(np.square(self.clusters.totals(residuals)).sum())
        within, between = self._pairs
        d1 = pairs_denominator(within, n_coefficients, self.convention, "the correlation within subgroups")
        d2 = pairs_denominator(between, n_coefficients, self.convention, "the correlation between subgroups")
        return np.array([0.5 * (inner - squares) / scale / d1, 0.5 * (outer - inner) / scale / d2])

    def _parts(self, params: Floats) -> tuple[Floats, Floats, Floats]:
        """1'S⁻¹ per subgroup row, 1'S_b⁻¹1 per subgroup, and 1'S⁻¹1 per cluster."""
        a, b = params
        row = 1.0 / (1.0 - a + self._sizes * (a - b))
        total = np.add.reduceat(row * self._sizes, self._first)
        return row, row * self._sizes, total

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """Two Sherman-Morrison steps."""
        a, b = params
        c = self.clusters
        row, _, total = self._parts(params)
        sums = np.add.reduceat(rhs, self._starts, axis=-1)
        out = (rhs - np.repeat((a - b) * row * sums, self._sizes, axis=-1)) / (1.0 - a)
        through = b * np.add.reduceat(row * sums, self._first, axis=-1) / (1.0 + b * total)
        return out - np.repeat(row, self._sizes) * c.spread(through)

    def objection(self, params: Floats) -> str | None:
        """Every eigenvalue must be positive."""
        a, b = (float(v) for v in params)
        if not np.isfinite(params).all():
            return "it is not a finite number"
        smallest = min(1.0 - a, float((1.0 - a + self._sizes * (a - b)).min()))
        if smallest > 0:
            total = self._parts(params)[2]
            smallest = float((1.0 + b * total).min())
        if smallest > 0:
            return None
        return f"alpha is {a:.4g} within and {b:.4g} between subgroups, for which no such clusters exist"

    def logdet(self, params: Floats) -> Floats:
        """By the determinants of the two steps."""
        a, b = params
        _, _, total = self._parts(params)
        inner = (self._sizes - 1.0) * np.log1p(-a) + np.log(1.0 - a + self._sizes * (a - b))
        return np.add.reduceat(inner, self._first) + np.log1p(b * total)

    def labels(self, params: Floats) -> tuple[str, ...]:
        """Within, between."""
        return ("alpha[within]", "alpha[between]")
