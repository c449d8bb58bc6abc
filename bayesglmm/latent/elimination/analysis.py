"""The analysis behind a :class:`~bayesglmm.latent.elimination.plan.Plan`, once a problem: who meets whom, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.border import Border
from bayesglmm.latent.elimination.ordering import SMALL, plan_dense, plan_sparse
from bayesglmm.latent.elimination.plan import Meeting, Part, Plan
from bayesglmm.latent.elimination.tail import TailPlan, clique_positions

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.structure import Layout, Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: First levels, second levels, and the pair of every row.
Pairs = tuple[Ints, Ints, Ints]

#: Remainders that rows fill beyond this share are dense without looking closer.
FILLED = 0.5
#: Entries that a leading factor may add to the pattern of a known precision, as a multiple of its own.
MOST_TIES = 2.0
#: Most entries of a pattern that is worth ordering.
MAX_PATTERN = 5_000_000


def make_plan(structure: Structure) -> Plan:
    """Choose the leading factor, order the remainder, and work out every position.

    Raises
    ------
    MethodError
        When the dense part of the remainder would not fit in memory (the number is given).
    """
    layouts = structure.layouts
    lead = _choose_lead(layouts)
    rest = [k for k in range(len(layouts)) if k != lead]
    starts = [int(v) for v in np.cumsum([0, *(layouts[k].levels * layouts[k].size for k in rest)])]
    met = [] if lead is None else [_meet(layouts[lead], layouts[k]) for k in rest]
    between = {(j, i): _meet(layouts[rest[j]], layouts[rest[i]]) for i in range(len(rest)) for j in range(i)}
    columns = [_unknowns(layouts[k], start, pairs[1]) for k, start, pairs in zip(rest, starts, met)]
    ptr, members, places = _merge(0 if lead is None else layouts[lead].levels, [m[0] for m in met], columns)
    entries = [_own_entries(layouts[k], start) for k, start in zip(rest, starts)]
    crossing = {
        key: _pair_entries(layouts[rest[key[0]]], layouts[rest[key[1]]], starts[key[0]], starts[key[1]], pairs)
        for key, pairs in between.items()
    }
    tail = _plan_tail(
        starts[-1], ptr, members, [*(e[:2] for e in entries), *(e[2:4] for e in entries), *crossing.values()]
    )
    at = np.empty(0, dtype=np.int64) if tail.is_dense else clique_positions(ptr, members, tail.locate)
    return Plan(
        structure,
        lead,
        tuple(_part(k, start, own, tail) for k, start, own in zip(rest, starts, entries)),
        tail,
        tuple(
            Meeting(*pairs, np.broadcast_to(place.T, (layouts[lead or 0].size, *place.T.shape)))
            for pairs, place in zip(met, places)
        ),
        {key: Meeting(*between[key], tail.locate(*crossing[key])) for key in between},
        Border(starts[-1], ptr, members, np.repeat(np.arange(len(ptr) - 1), np.diff(ptr)), at) if met else None,
    )


def _choose_lead(layouts: Sequence[Layout]) -> int | None:
    """The largest factor with independent levels, unless eliminating it would fill a sparse known precision.

    A level of the leading factor ties everything it meets together. Beside a known precision that is fine for many
    small levels (one per animal), not for a few large ones (herds): those are better ordered with the rest.
    """
    free = [k for k, b in enumerate(layouts) if b.precision is None]
    if not free:
        return None
    lead = max(free, key=lambda k: layouts[k].levels * layouts[k].size)
    others = [b for k, b in enumerate(layouts) if k != lead]
    if all(b.precision is None for b in others):
        return lead
    degrees = np.zeros(layouts[lead].levels)
    for b in others:
        degrees += b.size * np.bincount(_meet(layouts[lead], b)[0], minlength=len(degrees))
    known = sum(b.precision.nnz * b.size for b in others if b.precision is not None)
    return lead if float(degrees @ degrees) <= MOST_TIES * known else None


def _meet(a: Layout, b: Layout) -> Pairs:
    """Distinct pairs of levels, ordered by the first factor's level, then the second's."""
    keys, row = np.unique(a.codes * b.levels + b.codes, return_inverse=True)
    first, second = np.divmod(keys, b.levels)
    return first, second, row


def _unknowns(layout: Layout, start: int, levels: Ints) -> Ints:
    """Columns of the remainder that belong to some levels of a factor, shape (len(levels), q)."""
    return start + levels[:, None] * layout.size + np.arange(layout.size)


def _merge(levels: int, firsts: list[Ints], columns: list[Ints]) -> tuple[Ints, Ints, list[Ints]]:
    """Join the meetings of all remaining factors into one border, columns ascending within a level.

    Returns its pointers, its columns, and where each meeting's entries went, shape (pairs, q).
    """
    ptr = np.zeros(levels + 1, dtype=np.int64)
    if not columns:
        return ptr, np.empty(0, dtype=np.int64), []
    level = np.concatenate([np.repeat(f, c.shape[1]) for f, c in zip(firsts, columns)])
    column = np.concatenate([c.ravel() for c in columns])
    order = np.lexsort((column, level))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    np.cumsum(np.bincount(level, minlength=levels), out=ptr[1:])
    ends = np.cumsum([c.size for c in columns])[:-1]
    return ptr, column[order], [p.reshape(c.shape) for p, c in zip(np.split(place, ends), columns)]


def _own_entries(layout: Layout, start: int) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    """A factor's own entries in the remainder: its diagonal blocks (rows, columns), and P (rows, columns, values)."""
    own = _unknowns(layout, start, np.arange(layout.levels))
    shape = (layout.size, layout.size, layout.levels)
    rows, columns = np.broadcast_to(own.T[:, None], shape), np.broadcast_to(own.T[None], shape)
    if layout.precision is None:
        return rows, columns, own.ravel(), own.ravel(), np.ones(own.size)
    P = layout.precision.tocoo()
    i, j = (np.asarray(c, dtype=np.int64) for c in P.coords)
    lower = i >= j
    i, j, values = i[lower], j[lower], np.asarray(P.data, dtype=float)[lower]
    return rows, columns, own[i].ravel(), own[j].ravel(), np.repeat(values, layout.size)


def _pair_entries(a: Layout, b: Layout, start_a: int, start_b: int, pairs: Pairs) -> tuple[Ints, Ints]:
    """Entries between two remaining factors where they meet, each shape (q_a, q_b, pairs)."""
    one, other = _unknowns(a, start_a, pairs[0]).T[:, None], _unknowns(b, start_b, pairs[1]).T[None]
    shape = (a.size, b.size, len(pairs[0]))
    return np.broadcast_to(one, shape), np.broadcast_to(other, shape)


def _part(k: int, start: int, own: tuple[Ints, Ints, Ints, Ints, Floats], tail: TailPlan) -> Part:
    rows, columns, prior_rows, prior_columns, prior = own
    return Part(k, start, tail.locate(rows, columns), tail.locate(prior_rows, prior_columns), prior)


def _plan_tail(size: int, ptr: Ints, members: Ints, entries: list[tuple[Ints, Ints]]) -> TailPlan:
    """Order the remainder, unless it is small or the rows fill it anyway."""
    pairs = float(np.sum(np.diff(ptr).astype(float) ** 2))
    if size <= SMALL or -np.expm1(-pairs / size**2) > FILLED:
        return plan_dense(size)
    from scipy import sparse

    border = sparse.csr_array((np.ones(len(members), dtype=np.int32), members, ptr), shape=(len(ptr) - 1, size))
    pattern = border.T @ border
    for rows, columns in entries:
        ones = np.ones(rows.size, dtype=np.int32)
        own = sparse.coo_array((ones, (rows.ravel(), columns.ravel())), shape=(size, size)).tocsr()
        pattern = pattern + own + own.T
    return plan_dense(size) if pattern.nnz > min(MAX_PATTERN, FILLED * size**2) else plan_sparse(pattern)
