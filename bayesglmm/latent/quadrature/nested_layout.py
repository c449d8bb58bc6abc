"""Nested grouping factors laid out for quadrature: outer units in portions, their rows copied once per outer node."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.structure import Layout, Structure
from bayesglmm.latent.quadrature.integral import OneFactor

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows of a portion, copies included: enough that a call's overhead is small, few enough to stay in cache.
COPIED_ROWS = 20_000


@dataclass(frozen=True)
class Portion:
    """Some outer units, with their rows sorted by inner unit, and the same rows once per outer node.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Its rows among all.
    outer, inner : ndarray of int64
        Its levels of the two factors; everything below counts levels within these.
    outer_codes, inner_codes : ndarray of int64, shape (n,)
        Levels per row, ascending.
    inner_outer : ndarray of int64, shape (inner units,)
        Outer level of every inner level, ascending.
    structure : Structure
        The inner effects of all copies: inner level k at node a is level ``a * inner units + k``.
    kernel : BoundKernel
        Log-density of the rows of all copies.
    integral : OneFactor
        Their integral over the inner effects.
    """

    rows: Ints
    outer: Ints
    inner: Ints
    outer_codes: Ints
    inner_codes: Ints
    inner_outer: Ints
    structure: Structure
    kernel: BoundKernel
    integral: OneFactor

    def by_inner(self, values: Floats) -> Floats:
        """Sums over the rows of every inner unit, shape (..., inner units)."""
        return np.add.reduceat(values, self._inner_starts, axis=-1)

    def by_outer(self, values: Floats) -> Floats:
        """Sums over the inner units of every outer unit, shape (..., outer units)."""
        return np.add.reduceat(values, self._outer_starts, axis=-1)

    @cached_property
    def _inner_starts(self) -> Ints:
        return _starts(self.inner_codes)

    @cached_property
    def _outer_starts(self) -> Ints:
        return _starts(self.inner_outer)


def _starts(codes: Ints) -> Ints:
    """Where every level begins; `codes` ascend without gaps."""
    return np.flatnonzero(np.diff(codes, prepend=-1))


def make_portions(
    outer: Layout, inner: Layout, kernel: BoundKernel, copies: int, nodes: int, prune: float
) -> tuple[Portion, ...]:
    """Cut the outer units into portions; units without rows are left out (their integral is one).

    Parameters
    ----------
    outer, inner : Layout
        The two grouping factors.
    kernel : BoundKernel
        The log-density of all rows.
    copies : int
        Outer nodes.
    nodes, prune
        Of the inner quadrature.
    """
    order = np.lexsort((inner.codes, outer.codes))
    levels, ends = np.unique(outer.codes[order], return_index=True)
    ends = np.append(ends[1:], len(order))
    group = ends // max(COPIED_ROWS // copies, 1)
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(levels)]
    portions = []
    for first, last in itertools.pairwise(cuts):
        rows = order[ends[first - 1] if first else 0 : ends[last - 1]]
        portions.append(_portion(rows, outer, inner, kernel, copies, nodes, prune))
    return tuple(portions)


def _portion(
    rows: Ints, outer: Layout, inner: Layout, kernel: BoundKernel, copies: int, nodes: int, prune: float
) -> Portion:
    # Inner levels are numbered anew, in the order in which the sorted rows meet them.
    own_outer, own_inner = outer.codes[rows], inner.codes[rows]
    outer_codes = np.cumsum(np.diff(own_outer, prepend=own_outer[:1]) != 0)
    inner_codes = np.cumsum((np.diff(own_inner, prepend=own_inner[:1]) != 0) | (np.diff(outer_codes, prepend=0) != 0))
    begin = _starts(inner_codes)
    units = len(begin)
    codes = (inner_codes + units * np.arange(copies)[:, None]).ravel()
    z = np.broadcast_to(np.zeros(inner.size), (len(codes), inner.size))  # only the loadings Λ'z are ever used
    structure = Structure(
        len(codes), copies * units * inner.size, (Layout(codes, z, copies * units, inner.size, 0, 0),)
    )
    copied = kernel.subset(np.tile(rows, copies))
    return Portion(
        rows,
        own_outer[_starts(outer_codes)],
        own_inner[begin],
        outer_codes,
        inner_codes,
        outer_codes[begin],
        structure,
        copied,
        OneFactor(structure, copied, nodes, prune),
    )
