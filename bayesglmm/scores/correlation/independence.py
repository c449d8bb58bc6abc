"""Independence: R = I."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.scores.correlation.base import WorkingCorrelation

Floats = NDArray[np.float64]


class Independence(WorkingCorrelation):
    """R = I: the coefficients are those of iteratively reweighted least squares."""

    name = "independence"
    estimated = False

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Nothing to estimate."""
        return np.empty(0)

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """The right-hand sides themselves."""
        return rhs

    def gram(self, params: Floats, B: Floats) -> Floats:
        """BB'."""
        return B @ B.T

    def logdet(self, params: Floats) -> Floats:
        """Zeros."""
        return np.zeros(self.clusters.count)

    def matrix(self, params: Floats) -> Floats:
        """The identity."""
        return np.eye(len(self.clusters.occasions))
