"""A given correlation matrix over occasions."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation.pattern import Pattern

Floats = NDArray[np.float64]


class Fixed(Pattern):
    """R as given, its rows and columns the occasions in order.

    Parameters
    ----------
    R : array_like, shape (T, T)
        Symmetric, ones on the diagonal, positive definite.
    """

    name = "fixed"
    estimated = False

    def __init__(self, R: Any) -> None:
        super().__init__()
        self.R = np.asarray(R, dtype=float)

    def bind(self, clusters: Clusters) -> Self:
        """Check the matrix against the occasions."""
        size = len(clusters.occasions)
        R = self.R
        if R.shape != (size, size):
            raise MethodError(
                f"the fixed working correlation has shape {R.shape}, and there are {size} occasions: {size} x {size} "
                "is expected, in the order of the times."
            )
        if not np.isfinite(R).all() or np.abs(R - R.T).max() > 1e-8 or np.abs(np.diag(R) - 1.0).max() > 1e-8:
            raise MethodError("the fixed working correlation must be symmetric with ones on its diagonal.")
        smallest = float(np.linalg.eigvalsh(R)[0])
        if not smallest > 1e-10:
            raise MethodError(
                f"the fixed working correlation is not positive definite (its smallest eigenvalue is {smallest:.3g})."
            )
        return super().bind(clusters)

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Nothing to estimate."""
        return np.empty(0)

    def full(self, params: Floats) -> Floats:
        """The matrix given."""
        return self.R
