"""Any correlation matrix over occasions: clusters that were seen on the same occasions share one factor."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.base import WorkingCorrelation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Occasions above which a full matrix over them is not made.
MAX_OCCASIONS = 3000
#: Numbers held at once when clusters of one size have many patterns.
_CHUNK = 4_000_000


class Size(NamedTuple):
    """Clusters of one size m: which, their sorted rows (k, m), patterns (u, m), and the pattern of each (k,)."""

    clusters: Ints
    rows: Ints
    patterns: Ints
    which: Ints


class Pattern(WorkingCorrelation):
    """Correlations that are a matrix over occasions; a cluster takes the rows and columns it was seen on.

    Clusters are grouped by size and by pattern of occasions: one Cholesky factor per pattern, computed in batches, and
    one matrix product per size.
    """

    ordered = True
    _sizes: tuple[Size, ...]

    def bind(self, clusters: Clusters) -> Self:
        """Group the clusters by size and pattern."""
        size = len(clusters.occasions)
        if size > MAX_OCCASIONS:
            raise MethodError(
                f"corr={self.name!r} makes a matrix over all occasions, and there are {size} distinct times; round the "
                "times, or take corr='ar1' or 'exchangeable'."
            )
        bound = super().bind(clusters)
        bound._sizes = tuple(_of_size(clusters, int(m)) for m in np.unique(clusters.sizes))
        return bound

    def full(self, params: Floats) -> Floats:
        """R over all occasions, shape (T, T)."""
        raise MethodError(f"the working correlation {self.name} has no full(params).")

    def matrix(self, params: Floats) -> Floats:
        """R over all occasions."""
        return self.full(params)

    def _blocks(self, R: Floats, size: Size) -> Floats:
        p = size.patterns
        return R[p[:, :, None], p[:, None, :]]

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """R⁻¹ of each pattern times the rows of its clusters."""
        R = self.full(params)
        out = np.empty_like(rhs)
        for size in self._sizes:
            m = size.rows.shape[1]
            L = np.linalg.cholesky(self._blocks(R, size))
            half = np.linalg.inv(L)
            inverse = np.swapaxes(half, 1, 2) @ half
            if len(inverse) == 1:
                out[:, size.rows] = rhs[:, size.rows] @ inverse[0]
                continue
            step = max(1, _CHUNK // (m * max(m, len(rhs))))
            for a in range(0, len(size.rows), step):
                rows = size.rows[a : a + step]
                part = np.moveaxis(rhs[:, rows], 0, 1) @ inverse[size.which[a : a + step]]
                out[:, rows] = np.moveaxis(part, 0, 1)
        return out

    def objection(self, params: Floats) -> str | None:
        """Every pattern's matrix must be positive definite."""
        if not np.isfinite(params).all():
            return "it holds values that are not finite"
        R = self.full(params)
        smallest = min(float(np.linalg.eigvalsh(self._blocks(R, s))[:, 0].min()) for s in self._sizes)
        return None if smallest > 1e-10 else f"its smallest eigenvalue is {smallest:.3g}"

    def logdet(self, params: Floats) -> Floats:
        """By the Cholesky factors."""
        R = self.full(params)
        out = np.empty(self.clusters.count)
        for size in self._sizes:
            L = np.linalg.cholesky(self._blocks(R, size))
            out[size.clusters] = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)[size.which]
        return out


def _of_size(clusters: Clusters, m: int) -> Size:
    chosen = np.flatnonzero(clusters.sizes == m)
    rows = clusters.starts[chosen][:, None] + np.arange(m)
    positions = clusters.positions[rows]
    if (positions == positions[0]).all():
        return Size(chosen, rows, positions[:1], np.zeros(len(chosen), dtype=np.int64))
    patterns, which = np.unique(positions, axis=0, return_inverse=True)
    return Size(chosen, rows, patterns, which.reshape(-1))
