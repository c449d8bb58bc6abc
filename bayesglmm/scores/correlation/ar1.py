"""First-order autoregressive: correlation α to the power of the distance in time."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.base import WorkingCorrelation
from bayesglmm.scores.correlation.lags import LagPairs, lag_pairs

Floats = NDArray[np.float64]

_EDGE = 1.0 - 1e-9


class AR1(WorkingCorrelation):
    """corr(t, t') = α^|t − t'|.

    Where all gaps between neighbouring times are whole multiples of the smallest one, that gap is the unit ("step"),
    and α may be negative. Otherwise time is real-valued, α > 0 is the correlation one unit of time apart. Without
    times, or with labels as times, rows or ranks one apart are one step apart.

    Notes
    -----
    ``convention="geepack"``: least squares of e_j e_k / φ on α^|t_j − t_k| over all pairs. ``"gee"``: mean over
    clusters of the cluster's mean product of neighbours one step apart, over the mean over clusters of their mean
    squares. R⁻¹ is tridiagonal and applied in closed form.
    """

    name = "ar1"
    ordered = True
    step: float
    regular: bool
    _gaps: Floats
    _pairs: LagPairs

    def bind(self, clusters: Clusters) -> Self:
        """Find the unit of time, the gaps, and the pairs by distance."""
        bound = super().bind(clusters)
        at = clusters.positions.astype(float) if clusters.times is None else clusters.times
        gaps = np.diff(at, prepend=at[0])
        first = np.zeros(clusters.n, dtype=bool)
        first[clusters.starts] = True
        between = gaps[~first]
        if len(between) == 0:
            raise DataError("every cluster has a single row: there is no autocorrelation to estimate.")
        step = float(between.min())
        multiples = between / step
        bound.regular = bool(np.allclose(multiples, np.round(multiples), rtol=0, atol=1e-6))
        bound.step = step if bound.regular else float(np.median(between))
        bound._gaps = gaps / bound.step
        if bound.regular:
            bound._gaps = np.round(bound._gaps)
        bound._gaps[first] = np.inf  # α^∞ = 0: a cluster's first row has no predecessor
        scaled = at / bound.step
        if bound.regular:  # rounding each cluster's own distances, not the times themselves
            scaled = np.cumsum(np.where(first, 0.0, bound._gaps))
        furthest = np.inf if self.convention == "geepack" else 1.0
        bound._pairs = lag_pairs(clusters, scaled, furthest)
        return bound

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Solve for α."""
        from scipy import optimize

        if self.convention == "gee":
            return self._outward(self._neighbours(residuals))
        d, counts = self._pairs.distances, self._pairs.counts
        sums = self._pairs.sums(residuals) / scale

        def misfit(rho: Floats) -> Floats:
            power = np.power(np.asarray(rho)[:, None], d)
            return np.square(power) @ counts - 2.0 * power @ sums

        def slope(rho: float) -> float:
            return float((d * rho ** (d - 1.0)) @ (counts * rho**d - sums))

        grid = np.r_[0.0, np.linspace(0.025, 0.975, 39), 0.99, 0.999, _EDGE]
        if self.regular:
            grid = np.r_[-grid[:0:-1], grid]
        k = int(np.argmin(misfit(grid)))
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
        if not self.regular:
            low = max(low, 1e-9)
        if slope(low) >= 0.0 or slope(high) <= 0.0:
            return self._outward(float(np.sign(grid[k])) if abs(grid[k]) == _EDGE else float(grid[k]))
        return self._outward(float(optimize.brentq(slope, low, high, xtol=1e-15, rtol=8.9e-16)))

    def _neighbours(self, residuals: Floats) -> float:
        where = np.flatnonzero(np.abs(self._pairs.distances - 1.0) < 1e-6)
        if len(where) == 0:
            raise DataError("no two rows of a cluster are one step apart; take convention='geepack'.")
        c = self.clusters
        squares = float((c.totals(np.square(residuals)) / c.sizes).mean())
        return float(self._pairs.cluster_means(residuals, int(where[0])).mean()) / squares

    def _outward(self, rho: float) -> Floats:
        """From the correlation one step apart to the parameter shown."""
        return np.array([rho if self.regular else rho ** (1.0 / self.step)])

    def _rho(self, params: Floats) -> float:
        return float(params[0]) if self.regular else float(params[0]) ** self.step

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """L⁻ᵀ L⁻¹ with the bidiagonal L⁻¹: each row less ρ times the one before, over 1 − ρ²."""
        r = self._rho(params) ** self._gaps
        v = rhs.copy()
        v[..., 1:] -= r[1:] * rhs[..., :-1]
        v /= 1.0 - np.square(r)
        v[..., :-1] -= r[1:] * v[..., 1:]
        return v

    def gram(self, params: Floats, B: Floats) -> Floats:
        """WW' with W = B L⁻ᵀ."""
        r = self._rho(params) ** self._gaps
        W = B.copy()
        W[:, 1:] -= r[1:] * B[:, :-1]
        W /= np.sqrt(1.0 - np.square(r))
        return W @ W.T

    def objection(self, params: Floats) -> str | None:
        """|α| < 1."""
        alpha = float(params[0])
        low = -1.0 if self.regular else 0.0
        if low < alpha < 1.0 and abs(self._rho(params)) < 1.0:
            return None
        return f"alpha is {alpha:.4g}, and must lie between {low:g} and 1"

    def logdet(self, params: Floats) -> Floats:
        """Σ log(1 − ρ²)."""
        return self.clusters.totals(np.log1p(-np.square(self._rho(params) ** self._gaps)))

    def matrix(self, params: Floats) -> Floats | None:
        """α to the distance between occasions."""
        c = self.clusters
        at = np.arange(len(c.occasions)) if c.times is None else np.asarray(_numbers(c), dtype=float) / self.step
        distance = np.abs(at[:, None] - at)
        return self._rho(params) ** (np.round(distance, 6) if self.regular else distance)

    def labels(self, params: Floats) -> tuple[str, ...]:
        """States the step where it is not one."""
        return ("alpha",) if self.step == 1.0 or not self.regular else (f"alpha[step {self.step:g}]",)


def _numbers(clusters: Clusters) -> Floats:
    """Time of every occasion."""
    assert clusters.times is not None
    first = np.unique(clusters.positions, return_index=True)[1]
    return clusters.times[first]
