"""Exchangeable: one correlation α between any two rows of a cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError
from bayesglmm.scores.correlation.base import WorkingCorrelation, pairs_denominator

Floats = NDArray[np.float64]


class Exchangeable(WorkingCorrelation):
    """R = (1 − α) I + α 11', with R⁻¹ = [I − α/(1 + (m − 1)α) 11'] / (1 − α).

    Notes
    -----
    α is the mean product of residuals over all pairs, divided by φ. ``convention="geepack"`` divides by the number of
    pairs, ``"gee"`` by that number less p (Liang & Zeger 1986, Biometrika 73, 13-22, section 4).
    """

    name = "exchangeable"

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Mean product of residuals over pairs."""
        sizes = self.clusters.sizes
        pairs = float((sizes * (sizes - 1) // 2).sum())
        if pairs == 0:
            raise DataError(
                "every cluster has a single row: there is no pair to estimate a correlation from; "
                "take corr='independence'."
            )
        products = 0.5 * float(np.square(self.clusters.totals(residuals)).sum() - residuals @ residuals)
        denominator = pairs_denominator(pairs, n_coefficients, self.convention, "the exchangeable correlation")
        return np.array([products / scale / denominator])

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """Sherman-Morrison: a multiple of each cluster's total comes off."""
        alpha = params[0]
        c = self.clusters
        return (rhs - c.spread(self._share(alpha) * c.totals(rhs))) / (1.0 - alpha)

    def gram(self, params: Floats, B: Floats) -> Floats:
        """By the clusters' totals of B, without R⁻¹B."""
        alpha = params[0]
        totals = self.clusters.totals(B)
        return (B @ B.T - (totals * self._share(alpha)) @ totals.T) / (1.0 - alpha)

    def _share(self, alpha: float) -> Floats:
        return np.asarray(alpha / (1.0 + (self.clusters.sizes - 1.0) * alpha), dtype=np.float64)

    def objection(self, params: Floats) -> str | None:
        """α must lie between −1/(m − 1) and 1, m the largest cluster."""
        alpha, largest = float(params[0]), int(self.clusters.sizes.max())
        low = -1.0 / max(largest - 1, 1)
        if low < alpha < 1.0:
            return None
        return f"alpha is {alpha:.4g}, and with clusters of up to {largest} rows must lie between {low:.4g} and 1"

    def logdet(self, params: Floats) -> Floats:
        """(m − 1) log(1 − α) + log(1 + (m − 1)α)."""
        m = self.clusters.sizes - 1.0
        return m * np.log1p(-params[0]) + np.log1p(m * params[0])

    def matrix(self, params: Floats) -> Floats:
        """Ones on the diagonal, α elsewhere."""
        size = len(self.clusters.occasions)
        return np.where(np.eye(size, dtype=bool), 1.0, params[0])
