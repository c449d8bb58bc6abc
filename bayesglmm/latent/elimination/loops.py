"""Compiled loops over sparse patterns (numba, cached on disk). Import only where they are needed.

Flat arrays and their positions are those of :mod:`bayesglmm.latent.elimination.tail`. A border is the part of H that
joins the leading factor's levels to the remainder: level j has entries ``ptr[j]:ptr[j + 1]`` at ascending `columns`,
the same for its q rows. `at` holds the flat positions of all pairs of a level's entries; when it is empty the remainder
is one dense block of order `size`.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def subtract_gram(ptr, columns, at, size, W, values):  # type: ignore[no-untyped-def]
    """Subtract W'W from the flat remainder."""
    q = W.shape[0]
    mapped = len(at) > 0
    n = 0
    for j in range(len(ptr) - 1):
        for a in range(ptr[j], ptr[j + 1]):
            base = columns[a] * size
            for b in range(a, ptr[j + 1]):
                total = 0.0
                for r in range(q):
                    total += W[r, a] * W[r, b]
                values[at[n] if mapped else base + columns[b]] -= total
                n += 1


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
def selected_border(ptr, columns, at, size, Y, inverse):  # type: ignore[no-untyped-def]
    """Entries of −YV on Y's own pattern, and of YVY' on the diagonal blocks, V the flat inverse of the remainder.

    With Y = D⁻¹B these are the border and the correction of the leading diagonal blocks of H⁻¹.
    """
    q = Y.shape[0]
    levels = len(ptr) - 1
    mapped = len(at) > 0
    M = np.zeros_like(Y)
    D = np.zeros((q, q, levels))
    n = 0
    for j in range(levels):
        for a in range(ptr[j], ptr[j + 1]):
            base = columns[a] * size
            for b in range(a, ptr[j + 1]):
                v = inverse[at[n] if mapped else base + columns[b]]
                n += 1
                for r in range(q):
                    M[r, a] -= Y[r, b] * v
                if b != a:
                    for r in range(q):
                        M[r, b] -= Y[r, a] * v
        for a in range(ptr[j], ptr[j + 1]):
            for r in range(q):
                for s in range(q):
                    D[r, s, j] -= M[r, a] * Y[s, a]
    return M, D


@njit(cache=True, nogil=True)
def factor_columns(ptr, starts, updates, values):  # type: ignore[no-untyped-def]
    """Right-looking Cholesky of the sparse columns in place; False when a pivot is not positive."""
    s = len(ptr) - 1
    for j in range(s):
        pivot = values[j]
        if not (pivot > 0.0 and pivot < np.inf):
            return False
        root = np.sqrt(pivot)
        values[j] = root
        for p in range(ptr[j], ptr[j + 1]):
            values[s + p] /= root
        n = starts[j]
        for a in range(ptr[j], ptr[j + 1]):
            left = values[s + a]
            for b in range(a, ptr[j + 1]):
                values[updates[n]] -= left * values[s + b]
                n += 1
    return True


@njit(cache=True, nogil=True)
def solve_columns(ptr, rows, values, x):  # type: ignore[no-untyped-def]
    """Forward substitution through the sparse columns, in place; x has shape (size, k)."""
    s = len(ptr) - 1
    for j in range(s):
        for c in range(x.shape[1]):
            x[j, c] /= values[j]
        for p in range(ptr[j], ptr[j + 1]):
            for c in range(x.shape[1]):
                x[rows[p], c] -= values[s + p] * x[j, c]


@njit(cache=True, nogil=True)
def solve_columns_transposed(ptr, rows, values, x):  # type: ignore[no-untyped-def]
    """Backward substitution through the sparse columns, in place; x has shape (size, k)."""
    s = len(ptr) - 1
    for j in range(s - 1, -1, -1):
        for p in range(ptr[j], ptr[j + 1]):
            for c in range(x.shape[1]):
                x[j, c] -= values[s + p] * x[rows[p], c]
        for c in range(x.shape[1]):
            x[j, c] /= values[j]


@njit(cache=True, nogil=True)
def solve_sparse(ptr, rows, order, values, x):  # type: ignore[no-untyped-def]
    """Both substitutions where every column is sparse, `x` and the solution in the original order, shape (size, k)."""
    s, k = x.shape
    y = x[order]
    for j in range(s):
        for c in range(k):
            y[j, c] /= values[j]
        for p in range(ptr[j], ptr[j + 1]):
            for c in range(k):
                y[rows[p], c] -= values[s + p] * y[j, c]
    out = np.empty_like(y)
    for j in range(s - 1, -1, -1):
        for p in range(ptr[j], ptr[j + 1]):
            for c in range(k):
                y[j, c] -= values[s + p] * y[rows[p], c]
        for c in range(k):
            y[j, c] /= values[j]
            out[order[j], c] = y[j, c]
    return out


@njit(cache=True, nogil=True)
def invert_columns(ptr, starts, updates, factor, inverse):  # type: ignore[no-untyped-def]
    """Entries of the inverse in the sparse columns, last column first; the dense block is already there."""
    s = len(ptr) - 1
    for j in range(s - 1, -1, -1):
        root = factor[j]
        n = starts[j]
        for a in range(ptr[j], ptr[j + 1]):
            for b in range(a, ptr[j + 1]):
                z = inverse[updates[n]]
                n += 1
                inverse[s + a] -= factor[s + b] * z / root
                if b != a:
                    inverse[s + b] -= factor[s + a] * z / root
        total = 1.0 / root
        for a in range(ptr[j], ptr[j + 1]):
            total -= factor[s + a] * inverse[s + a]
        inverse[j] = total / root
