"""Many small symmetric matrices at once, stored levels-last: shape (q, q, levels).

With the level axis last and contiguous every step is one vectorised operation over all levels, so the cost is
linear in their number and there is no per-level call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class NotPositiveDefiniteError(ArithmeticError):
    """The matrix to be factorised is not positive definite (or not finite)."""


def cholesky(D: Floats) -> Floats:
    """Lower Cholesky factors.

    Parameters
    ----------
    D : ndarray, shape (q, q, levels)
        Symmetric matrices; the lower triangle is read.

    Returns
    -------
    ndarray, shape (q, q, levels)

    Raises
    ------
    NotPositiveDefiniteError
        If any of them is not positive definite.
    """
    q = D.shape[0]
    if q == 1:
        low, high = D.min(initial=1.0), D.max(initial=1.0)
        if not (low > 0.0 and high < np.inf):  # a NaN fails both
            raise NotPositiveDefiniteError
        return np.sqrt(D)
    L = np.zeros_like(D)
    for j in range(q):
        pivot = D[j, j] - np.einsum("rl,rl->l", L[j, :j], L[j, :j])
        if not np.all(pivot > 0.0) or not np.all(np.isfinite(pivot)):
            raise NotPositiveDefiniteError
        L[j, j] = np.sqrt(pivot)
        if j + 1 < q:
            L[j + 1 :, j] = (D[j + 1 :, j] - np.einsum("irl,rl->il", L[j + 1 :, :j], L[j, :j])) / L[j, j]
    return L


def forward(L: Floats, x: Floats) -> Floats:
    """Solve L y = x for every level; `x` has shape (q, levels) or (q, levels, k)."""
    q = L.shape[0]
    extra = (...,) if x.ndim == 2 else (..., None)
    if q == 1:
        return x / L[0][extra]
    y = np.empty_like(x)
    for i in range(q):
        total = x[i]
        for r in range(i):
            total = total - L[i, r][extra] * y[r]
        y[i] = total / L[i, i][extra]
    return y


def backward(L: Floats, x: Floats) -> Floats:
    """Solve L' y = x for every level; `x` has shape (q, levels) or (q, levels, k)."""
    q = L.shape[0]
    extra = (...,) if x.ndim == 2 else (..., None)
    if q == 1:
        return x / L[0][extra]
    y = np.empty_like(x)
    for i in reversed(range(q)):
        total = x[i]
        for r in range(i + 1, q):
            total = total - L[r, i][extra] * y[r]
        y[i] = total / L[i, i][extra]
    return y


def inverse(L: Floats) -> Floats:
    """Inverse of LL' for every level, shape (q, q, levels)."""
    q, _, levels = L.shape
    if q == 1:
        return 1.0 / np.square(L)
    eye = np.broadcast_to(np.eye(q)[:, None, :], (q, levels, q))
    return np.ascontiguousarray(np.moveaxis(backward(L, forward(L, eye)), 2, 1))


def dense_cholesky(S: Floats) -> Floats:
    """Lower Cholesky factor of one dense symmetric matrix, Fortran-ordered, in place.

    Raises
    ------
    NotPositiveDefiniteError
        If it is not positive definite or not finite.
    """
    from scipy.linalg.lapack import dpotrf

    factor, info = dpotrf(S, lower=1, clean=1, overwrite_a=1)
    if info != 0 or not np.all(np.isfinite(factor.diagonal())):
        raise NotPositiveDefiniteError
    return factor


def dense_inverse(L: Floats) -> Floats:
    """Inverse of LL' for one dense lower factor; only the lower triangle is meaningful."""
    from scipy.linalg.lapack import dpotri

    return dpotri(L, lower=1)[0]
