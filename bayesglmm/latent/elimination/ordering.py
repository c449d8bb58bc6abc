"""The order in which the unknowns of a sparse matrix are eliminated, and what that will take in memory.

Minimum degree (Tinney & Walker 1967, scheme 2; George & Liu 1989, SIAM Review 31) for as long as that is cheaper than
LAPACK, which takes what is left as one dense block.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.tail import TailPlan

#: Remainders up to this order are dense: LAPACK needs no help there.
SMALL = 48
#: A column this full (degree over remaining order) is better left to LAPACK.
FULL = 0.2
#: Most bytes a factor and its copies may take before a clear refusal.
MEMORY_LIMIT = 16 * 2**30
#: Numbers (draws × random effects, or draws × rows) that are made at a time.
PORTION = 20_000_000
#: Bytes of one entry of a set while the order is being found.
SET_ENTRY = 64


def plan_dense(size: int) -> TailPlan:
    """Everything in one dense block.

    Raises
    ------
    MethodError
        When it would not fit in memory.
    """
    _check_memory(size)
    identity = np.arange(size)
    return TailPlan(size, 0, identity, identity, np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64))


def plan_sparse(pattern: Any) -> TailPlan:
    """Order by minimum degree until what is left is better dense.

    Parameters
    ----------
    pattern : scipy sparse array, shape (size, size)
        Symmetric; values do not matter.

    Raises
    ------
    MethodError
        When the dense rest would not fit in memory.
    """
    size = pattern.shape[0]
    csr = pattern.tocsr()
    neighbours = [set(csr.indices[a:b].tolist()) for a, b in zip(csr.indptr[:-1], csr.indptr[1:])]
    for v, own in enumerate(neighbours):
        own.discard(v)
    eliminated, columns = _minimum_degree(neighbours)
    sparse = len(eliminated)
    first = np.array(eliminated, dtype=np.int64)
    rest = np.setdiff1d(np.arange(size), first)
    degrees = np.array([len(c) for c in columns], dtype=float)
    _check_memory(len(rest), float(degrees.sum()), float((degrees * (degrees + 1.0) / 2.0).sum()))
    order = np.concatenate([first, rest])
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    ptr = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    rows = [np.sort(place[np.fromiter(c, dtype=np.int64, count=len(c))]) for c in columns]
    return TailPlan(size, sparse, order, place, ptr, np.concatenate([*rows, np.empty(0, dtype=np.int64)]))


def _minimum_degree(neighbours: list[set[int]]) -> tuple[list[int], list[set[int]]]:
    """Eliminated unknowns in order, and who was joined to each when its turn came."""
    heap = [(len(own), v) for v, own in enumerate(neighbours)]
    heapq.heapify(heap)
    left = len(neighbours)
    order: list[int] = []
    columns: list[set[int]] = []
    gone = [False] * left
    held = 0
    while heap:
        degree, v = heapq.heappop(heap)
        if gone[v] or degree != len(neighbours[v]):
            continue
        if degree > FULL * left and left > SMALL // 2:
            break
        own = neighbours[v]
        held += len(own)
        if held * SET_ENTRY > MEMORY_LIMIT:
            _check_memory(left, held * SET_ENTRY / 8.0)
        gone[v] = True
        left -= 1
        order.append(v)
        columns.append(own)
        for u in own:
            joined = neighbours[u]
            joined |= own
            joined.discard(u)
            joined.discard(v)
            heapq.heappush(heap, (len(joined), u))
    return order, columns


def _check_memory(dense: int, below: float = 0.0, updates: float = 0.0) -> None:
    """Refuse what would not fit: the factor, its inverse and a copy, and the positions that elimination touches."""
    needed = 8.0 * (3.0 * (dense**2 + below) + below + updates)
    if needed > MEMORY_LIMIT:
        raise MethodError(
            f"these random effects need a dense matrix of order {dense} and about {needed / 2**30:.0f} GB of memory "
            f"(the limit is {MEMORY_LIMIT / 2**30:.0f} GB): the grouping factors are crossed and all but the largest "
            "have too many levels together, or a known covariance ties too many levels. Drop or merge some."
        )


def sparse_log_det(Q: Any) -> float:
    """Log-determinant of a sparse symmetric positive definite matrix.

    Parameters
    ----------
    Q : scipy sparse array, shape (size, size)

    Raises
    ------
    NotPositiveDefiniteError
        If it is not positive definite.
    MethodError
        If its factor would not fit in memory.
    """
    entries = Q.tocoo()
    i, j = (np.asarray(c, dtype=np.int64) for c in entries.coords)
    plan = plan_dense(Q.shape[0]) if Q.shape[0] <= SMALL else plan_sparse(Q)
    lower = i >= j
    values = np.zeros(plan.length)
    values[plan.locate(i[lower], j[lower])] = entries.data[lower]
    return plan.factorize(values).logdet


def need_memory(numbers: float, what: str, instead: str = "take fewer draws, or fewer rows") -> None:
    """Refuse what would not fit, before it is made: arrays of draws, replicates.

    Parameters
    ----------
    numbers : float
        Numbers to be held; twice as much is taken while they are made.
    what : str
        What they are, for the error.
    instead : str
        What would help.

    Raises
    ------
    MethodError
        With the estimate, and what would help.
    """
    needed = 16.0 * numbers
    if needed > MEMORY_LIMIT:
        raise MethodError(
            f"{what} would take about {needed / 2**30:.0f} GB of memory (the limit is {MEMORY_LIMIT / 2**30:.0f} GB): "
            f"{instead}."
        )


def portions(count: int, width: int, most: int = PORTION) -> Iterator[slice]:
    """Draws in portions of no more than `most` numbers, `width` for each draw (but at least one draw).

    Parameters
    ----------
    count : int
        Draws.
    width : int
        Numbers made for each.
    most : int
        Numbers held at a time.

    Examples
    --------
    >>> [(p.start, p.stop) for p in portions(5, 10, most=20)]
    [(0, 2), (2, 4), (4, 5)]
    """
    step = max(most // max(width, 1), 1)
    return (slice(first, min(first + step, count)) for first in range(0, count, step))
