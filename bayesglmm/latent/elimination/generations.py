"""A sparse remainder eliminated generation by generation: array operations instead of compiled loops.

Columns that no other column updates come first, all at once, then those that only these update, and so on. Nested
grouping factors have one generation each. Compiled loops do less work, but take longer to load than such a small
remainder takes to factorise hundreds of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.tail import TailPlan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most generations, and most numbers of a remainder that is taken this way.
MOST_GENERATIONS, MOST_NUMBERS = 4, 10_000


@dataclass(frozen=True)
class Generation:
    """Columns eliminated together; positions are those of :class:`~bayesglmm.latent.elimination.tail.TailPlan`.

    Parameters
    ----------
    columns : ndarray of int64
        Which ones.
    entries, owners, rows : ndarray of int64, shape (entries,)
        Flat position of every entry below their diagonals, its column and its row.
    first, second, within, target : ndarray of int64, shape (pairs,)
        Flat positions of both entries of every pair within a column, the column, and where their product goes.
    """

    columns: Ints
    entries: Ints
    owners: Ints
    rows: Ints
    first: Ints
    second: Ints
    within: Ints
    target: Ints


def find_generations(plan: TailPlan) -> tuple[Generation, ...] | None:
    """The generations of a remainder without a dense block; None where they are many, or it is large."""
    if plan.dense or not plan.size or plan.length > MOST_NUMBERS:
        return None
    counts = np.diff(plan.ptr)
    owners, depth = np.repeat(np.arange(plan.size), counts), np.zeros(plan.size, dtype=np.int64)
    for _ in range(MOST_GENERATIONS):
        before = depth.copy()
        np.maximum.at(depth, plan.rows, depth[owners] + 1)
        if np.array_equal(before, depth):
            break
    else:
        return None
    starts, target = plan.updates
    first, second = np.empty_like(target), np.empty_like(target)
    for m in np.unique(counts[counts > 0]):
        which, (a, b) = np.flatnonzero(counts == m), np.triu_indices(m)
        at = starts[which][:, None] + np.arange(len(a))
        first[at], second[at] = (plan.size + plan.ptr[which][:, None] + k for k in (a, b))
    within = np.repeat(np.arange(plan.size), np.diff(starts))
    out = []
    for k in range(int(depth.max()) + 1):
        own, pairs = depth[owners] == k, depth[within] == k
        entries = plan.size + np.flatnonzero(own)
        out.append(
            Generation(
                np.flatnonzero(depth == k),
                *(entries, owners[own], plan.rows[own]),
                *(first[pairs], second[pairs], within[pairs], target[pairs]),
            )
        )
    return tuple(out)


def factorize(generations: tuple[Generation, ...], values: Floats) -> None:
    """Cholesky factor of the flat remainder, in place.

    Raises
    ------
    NotPositiveDefiniteError
        If it is not positive definite.
    """
    for g in generations:
        pivots = values[g.columns]
        if not np.all((pivots > 0.0) & (pivots < np.inf)):
            raise NotPositiveDefiniteError
        values[g.columns] = np.sqrt(pivots)
        values[g.entries] /= values[g.owners]
        if len(g.target):
            values -= np.bincount(g.target, values[g.first] * values[g.second], len(values))


def forward(generations: tuple[Generation, ...], values: Floats, y: Floats) -> None:
    """Solve L x = y in place; y has shape (size, k)."""
    for g in generations:
        y[g.columns] /= values[g.columns, None]
        np.subtract.at(y, g.rows, values[g.entries, None] * y[g.owners])


def backward(generations: tuple[Generation, ...], values: Floats, y: Floats) -> None:
    """Solve L'x = y in place; y has shape (size, k)."""
    for g in reversed(generations):
        np.subtract.at(y, g.owners, values[g.entries, None] * y[g.rows])
        y[g.columns] /= values[g.columns, None]


def invert(generations: tuple[Generation, ...], values: Floats) -> Floats:
    """Entries of the inverse on the factor's pattern, as a flat array."""
    out = np.zeros_like(values)
    for g in reversed(generations):
        scaled = out[g.target] / values[g.within]
        np.subtract.at(out, g.first, values[g.second] * scaled)
        apart = g.first != g.second
        np.subtract.at(out, g.second[apart], (values[g.first] * scaled)[apart])
        total = np.bincount(g.owners, values[g.entries] * out[g.entries], len(values))[g.columns]
        out[g.columns] = (1.0 / values[g.columns] - total) / values[g.columns]
    return out
