"""Stationary of order m: one correlation per lag up to m, none beyond."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError, MethodError
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.base import pairs_denominator
from bayesglmm.scores.correlation.lags import LagPairs, lag_pairs
from bayesglmm.scores.correlation.pattern import Pattern

Floats = NDArray[np.float64]


class Stationary(Pattern):
    """corr = α_l between occasions l ranks apart, l = 1..m, and 0 beyond (m-dependent).

    Parameters
    ----------
    m : int
        Largest lag with a correlation.
    convention : {"geepack", "gee"}
        ``"geepack"``: mean product over all pairs at the lag, over φ. ``"gee"``: mean over clusters of the cluster's
        mean product at the lag, over the mean over clusters of their mean squares.
    """

    name = "stationary"
    _pairs: LagPairs

    def __init__(self, m: int, convention: str = "geepack") -> None:
        super().__init__(convention)
        self.m = m

    def bind(self, clusters: Clusters) -> Self:
        """Index pairs by lag."""
        longest = int(clusters.sizes.max())
        if not 1 <= self.m < longest:
            raise MethodError(
                f"m is {self.m}, and the longest cluster has {longest} rows; m must be between 1 and {longest - 1}."
            )
        bound = super().bind(clusters)
        bound._pairs = lag_pairs(clusters, clusters.positions.astype(float), float(self.m))
        if not np.array_equal(bound._pairs.distances, np.arange(1, self.m + 1)):
            gone = sorted(set(range(1, self.m + 1)) - {int(d) for d in bound._pairs.distances})
            raise DataError(f"no two rows of a cluster are {gone[0]} occasions apart; choose m < {gone[0]}.")
        return bound

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Mean product at each lag."""
        if self.convention == "gee":
            c = self.clusters
            squares = float((c.totals(np.square(residuals)) / c.sizes).mean())
            lags = range(self.m)
            return np.array([float(self._pairs.cluster_means(residuals, k).mean()) / squares for k in lags])
        pairs = [pairs_denominator(k, n_coefficients, "geepack", "a lag") for k in self._pairs.counts]
        return self._pairs.sums(residuals) / scale / np.array(pairs)

    def full(self, params: Floats) -> Floats:
        """Banded Toeplitz matrix."""
        size = len(self.clusters.occasions)
        by_lag = np.zeros(max(size, self.m + 1))
        by_lag[: self.m + 1] = np.r_[1.0, params]
        k = np.arange(size)
        return by_lag[np.abs(k[:, None] - k)]

    def labels(self, params: Floats) -> tuple[str, ...]:
        """Lags."""
        return tuple(f"alpha[lag {k + 1}]" for k in range(len(params)))
