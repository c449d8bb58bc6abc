"""Inbreeding coefficients (compiled, cached on disk). Import only where it is needed."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def inbreeding(sire, dam):  # type: ignore[no-untyped-def]
    """Inbreeding coefficients of a pedigree in which parents come before their offspring; -1 is an unknown parent.

    A_ii = Σ_j L_ij² D_jj, row i of L followed from the animal up through its ancestors, the youngest first (Meuwissen
    & Luo 1992); F_i = A_ii − 1. Memory is linear in the number of animals.
    """
    m = len(sire)
    F = np.zeros(m)
    D = np.zeros(m)
    L = np.zeros(m)
    heap = np.empty(m + 1, dtype=np.int64)
    for i in range(m):
        s, d = sire[i], dam[i]
        D[i] = 0.5 - 0.25 * ((F[s] if s >= 0 else -1.0) + (F[d] if d >= 0 else -1.0))
        if s < 0 or d < 0:
            continue  # one unknown parent is unrelated to the other
        if i > 0 and s == sire[i - 1] and d == dam[i - 1]:
            F[i] = F[i - 1]
            continue
        total = D[i]
        size = 0
        for parent in (s, d):
            if L[parent] == 0.0:
                size = _push(heap, size, parent)
            L[parent] += 0.5
        while size:
            j = heap[0]
            size = _pop(heap, size)
            total += L[j] ** 2 * D[j]
            for parent in (sire[j], dam[j]):
                if parent >= 0:
                    if L[parent] == 0.0:
                        size = _push(heap, size, parent)
                    L[parent] += 0.5 * L[j]
            L[j] = 0.0
        F[i] = total - 1.0
    return F


@njit(cache=True, nogil=True)
def _push(heap, size, value):  # type: ignore[no-untyped-def]
    """Add to a heap whose largest member is first; its new size."""
    k = size
    while k > 0 and heap[(k - 1) // 2] < value:
        heap[k] = heap[(k - 1) // 2]
        k = (k - 1) // 2
    heap[k] = value
    return size + 1


@njit(cache=True, nogil=True)
def _pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the first member of a heap; its new size."""
    size -= 1
    value = heap[size]
    k = 0
    while 2 * k + 1 < size:
        child = 2 * k + 1
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = value
    return size
