"""Small linear algebra of a scoring step: from sums over rows to a step, a covariance and a condition number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.errors import ConvergenceError
from bayesglmm.scores.sums import Sums

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """X'WX = D R'R D with R upper triangular, its columns of unit length, and D diagonal.

    Parameters
    ----------
    R : ndarray, shape (p, p)
        Upper triangular factor of the column-scaled weighted matrix.
    scale : ndarray, shape (p,)
        Length of each column of W^½ X (the diagonal of D).
    rotated : ndarray, shape (p,), or None
        Q' W^½ r where the sums came with the triangle: then the step is R^-1 of it.
    condition : float
        Estimate of the 1-norm condition number of R: digits lost in β are about its log10.
    """

    R: Floats
    scale: Floats
    rotated: Floats | None
    condition: float

    def step(self, score: Floats) -> Floats:
        """(X'WX)^-1 X's, shape (p,), by back substitution; from Q'r where that is known (no squared condition)."""
        if self.rotated is not None:
            return linalg.solve_triangular(self.R, self.rotated, check_finite=False) / self.scale
        return self.solve(score)

    def solve(self, v: Floats) -> Floats:
        """(X'WX)^-1 v for v of shape (p,) or (p, k)."""
        d = self.scale if v.ndim == 1 else self.scale[:, None]
        half = linalg.solve_triangular(self.R, v / d, trans=1, check_finite=False)
        return linalg.solve_triangular(self.R, half, check_finite=False) / d

    def half_solve(self, v: Floats) -> Floats:
        """L^-1 v with X'WX = LL', for v of shape (p, k); its squared column lengths are v'(X'WX)^-1 v."""
        return linalg.solve_triangular(self.R, v / self.scale[:, None], trans=1, check_finite=False)

    def stretch(self, v: Floats) -> Floats:
        """R D v for v of shape (p,) or (p, k); its squared column lengths are v'X'WXv."""
        return (self.R * self.scale) @ v

    def inverse(self) -> Floats:
        """(X'WX)^-1, shape (p, p), symmetric."""
        inv = linalg.solve_triangular(self.R, np.eye(len(self.R)), check_finite=False) / self.scale[:, None]
        return inv @ inv.T


def factorise(sums: Sums) -> Factor | None:
    """Factor X'WX with columns scaled to unit length; None when it is not numerically positive definite."""
    if sums.triangle is not None:
        p = sums.triangle.shape[1] - 1
        if len(sums.triangle) < p:
            return None
        R, rotated = sums.triangle[:p, :p], sums.triangle[:p, p]
        scale = np.sqrt(np.einsum("ij,ij->j", R, R))
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            return None
        R = R / scale
    else:
        assert sums.gram is not None
        scale, rotated = np.sqrt(np.diag(sums.gram)), None
        if not (np.isfinite(sums.gram).all() and (scale > 0).all()):
            return None
        R, info = linalg.lapack.dpotrf(sums.gram / np.outer(scale, scale), lower=0, clean=1)
        if info != 0:
            return None
    rcond, _ = linalg.lapack.dtrcon(R, norm="1", uplo="U")
    return Factor(R, scale, rotated, np.inf if rcond == 0 else 1.0 / rcond) if rcond > 0 else None


def require_factor(sums: Sums) -> Factor:
    """As :func:`factorise`, but an information matrix that is not positive definite is an error."""
    factor = factorise(sums)
    if factor is None:
        raise ConvergenceError(
            "the weighted cross-product X'WX is not positive definite: the working weights have vanished or the "
            "columns are linearly dependent under them. Rescale the columns or simplify the model."
        )
    return factor
