"""Compiled loops over sparse patterns (numba, cached on disk). Import only where they are needed."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def subtract_gram(ptr, columns, W, S):  # type: ignore[no-untyped-def]
    """S −= W'W on the lower triangle; the q rows of W at a level share the pattern ``ptr, columns``."""
    q = W.shape[0]
    for j in range(len(ptr) - 1):
        for a in range(ptr[j], ptr[j + 1]):
            column = columns[a]
            for b in range(a, ptr[j + 1]):
                total = 0.0
                for r in range(q):
                    total += W[r, a] * W[r, b]
                S[columns[b], column] -= total


@njit(cache=True, nogil=True)
def border_times(ptr, columns, W, x):  # type: ignore[no-untyped-def]
    """W x for every level, shape (q, levels, k); x has shape (size, k)."""
    q = W.shape[0]
    k = x.shape[1]
    out = np.zeros((q, len(ptr) - 1, k))
    for r in range(q):
        for j in range(len(ptr) - 1):
            for a in range(ptr[j], ptr[j + 1]):
                for c in range(k):
                    out[r, j, c] += W[r, a] * x[columns[a], c]
    return out


@njit(cache=True, nogil=True)
def border_transpose_times(ptr, columns, W, y, size):  # type: ignore[no-untyped-def]
    """W'y, shape (size, k); y has shape (q, levels, k)."""
    q = W.shape[0]
    k = y.shape[2]
    out = np.zeros((size, k))
    for r in range(q):
        for j in range(len(ptr) - 1):
            for a in range(ptr[j], ptr[j + 1]):
                for c in range(k):
                    out[columns[a], c] += W[r, a] * y[r, j, c]
    return out


@njit(cache=True, nogil=True)
def selected_border(ptr, columns, Y, V):  # type: ignore[no-untyped-def]
    """Entries of −YV on Y's own pattern, and of YVY' on the diagonal blocks, for symmetric V.

    With Y = D⁻¹B and V the inverse of the Schur complement these are the border and the correction of the
    leading diagonal blocks of the inverse (Takahashi's relations).
    """
    q = Y.shape[0]
    levels = len(ptr) - 1
    M = np.zeros_like(Y)
    D = np.zeros((q, q, levels))
    for j in range(levels):
        for a in range(ptr[j], ptr[j + 1]):
            for b in range(ptr[j], ptr[j + 1]):
                v = V[columns[b], columns[a]]
                for r in range(q):
                    M[r, a] -= Y[r, b] * v
        for a in range(ptr[j], ptr[j + 1]):
            for r in range(q):
                for s in range(q):
                    D[r, s, j] -= M[r, a] * Y[s, a]
    return M, D
