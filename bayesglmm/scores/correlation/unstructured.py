"""Unstructured: a correlation of its own for every pair of occasions."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.pattern import Pattern

Floats = NDArray[np.float64]


class Unstructured(Pattern):
    """corr = α_jk between occasions j and k, aligned by time.

    Notes
    -----
    ``convention="geepack"``: mean product over the clusters seen on both occasions, over φ. ``"gee"``: the same mean
    over the mean over clusters of their mean squares.
    """

    name = "unstructured"
    _upper: tuple[NDArray[np.intp], ...]
    _counts: Floats

    def bind(self, clusters: Clusters) -> Self:
        """Count the clusters seen on each pair of occasions."""
        bound = super().bind(clusters)
        size = len(clusters.occasions)
        bound._upper = np.triu_indices(size, 1)
        ones = bound._table(np.ones(clusters.n))
        bound._counts = np.asarray((ones.T @ ones).todense())[bound._upper]
        return bound

    def _table(self, values: Floats) -> sparse.csr_array:
        c = self.clusters
        pointers = np.r_[c.starts, c.n]
        return sparse.csr_array((values, c.positions, pointers), shape=(c.count, len(c.occasions)))

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Mean products; zero for occasions no cluster shares."""
        c = self.clusters
        E = self._table(residuals)
        sums = np.asarray((E.T @ E).todense())[self._upper]
        if self.convention == "gee":
            scale = float((c.totals(np.square(residuals)) / c.sizes).mean())
        return sums / scale / np.maximum(self._counts, 1.0)

    def full(self, params: Floats) -> Floats:
        """The symmetric matrix."""
        size = len(self.clusters.occasions)
        R = np.eye(size)
        R[self._upper] = params
        R.T[self._upper] = params
        return R

    def labels(self, params: Floats) -> tuple[str, ...]:
        """Pairs of occasions."""
        names = self.clusters.occasions
        return tuple(f"alpha[{names[j]}, {names[k]}]" for j, k in zip(*self._upper))
