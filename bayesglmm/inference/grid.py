"""The reference grid: every combination of the fixed factors' levels, numbers at their means, and averages over it.

Searle, Speed & Milliken (1980), Population marginal means in the linear model, American Statistician 34, 216-221.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.design.columns import Factor, drop_unused, factor_from_floats, take
from bayesglmm.design.matrix import build_matrix
from bayesglmm.design.tables import Table
from bayesglmm.errors import MethodError
from bayesglmm.formula import factor_name
from bayesglmm.formula.formula import column_names, term_factors
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Most combinations of levels the grid may have.
LARGEST_GRID = 200_000
WEIGHTS = ("equal", "proportional", "cells")


@dataclass(frozen=True)
class ReferenceGrid:
    """Combinations of the levels of all columns of the fixed part.

    Parameters
    ----------
    levels : dict of str to tuple
        Column → its levels (texts) or values (numbers), in the order of the grid.
    codes : dict of str to ndarray of int64, shape (size,)
        Index into `levels` of every combination.
    X : ndarray, shape (size, p)
        Rows of the design at the combinations.
    left_out : ndarray, shape (size, a)
        The same for the aliased columns.
    counts : ndarray, shape (size,)
        Observed rows at every combination of the factors (numbers do not count).
    factors : tuple of str
        The columns that are factors.
    """

    levels: dict[str, tuple[Any, ...]]
    codes: dict[str, NDArray[np.int64]]
    X: Floats
    left_out: Floats
    counts: Floats
    factors: tuple[str, ...]

    def average(self, columns: Sequence[str], weights: str = "equal") -> tuple[pd.DataFrame, Floats, Floats]:
        """Average the grid over all columns but some.

        Parameters
        ----------
        columns : sequence of str
            What to keep; the last varies fastest.
        weights : {"equal", "proportional", "cells"}
            Every combination that is averaged over counts the same; as often as it occurs in the data; or as often as
            it occurs together with the combination that is kept.

        Returns
        -------
        labels : DataFrame
            One row per combination of `columns`.
        L : ndarray, shape (m, p)
            Its mean as a linear function of the coefficients.
        left_out : ndarray, shape (m, a)
            The same for the aliased columns.
        """
        if weights not in WEIGHTS:
            raise MethodError(f"weights is {weights!r}; expected one of {', '.join(WEIGHTS)}.")
        sizes = [len(self.levels[c]) for c in columns]
        kept = np.zeros(len(self.X), dtype=np.int64)
        for column, size in zip(columns, sizes):
            kept = kept * size + self.codes[column]
        m = math.prod(sizes)
        w = self._weights(columns, kept, weights)
        total = np.bincount(kept, w, m)
        with np.errstate(invalid="ignore", divide="ignore"):
            L, out = (_sums(kept, w, A, m) / total[:, None] for A in (self.X, self.left_out))
        rows = itertools.product(*(self.levels[c] for c in columns))
        return pd.DataFrame(list(rows), columns=list(columns)), L, out

    def _weights(self, columns: Sequence[str], kept: NDArray[np.int64], weights: str) -> Floats:
        if weights == "equal":
            return np.ones(len(kept))
        if weights == "cells":
            return self.counts
        over = np.zeros(len(kept), dtype=np.int64)
        for factor in self.factors:
            if factor not in columns:
                over = over * len(self.levels[factor]) + self.codes[factor]
        return np.bincount(over, self.counts)[over]


def _sums(group: NDArray[np.int64], w: Floats, A: Floats, m: int) -> Floats:
    """Weighted sums of rows by group, shape (m, columns)."""
    return np.column_stack([np.bincount(group, w * a, m) for a in A.T]) if A.shape[1] else np.zeros((m, 0))


def reference_grid(problem: Problem, data: Any, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
    """Make the grid of a model.

    Parameters
    ----------
    problem : Problem
        The model; its design must come from a formula.
    data : table
        What the model was built with.
    at : mapping, optional
        Column → value or values to take instead of all levels, or of the mean.

    Raises
    ------
    MethodError
        A column in `at` that the fixed part does not use, a level that does not exist, or a grid too large.
    """
    design = problem.design
    if design.binding is None or design.chunks is not None:
        raise MethodError("marginal means need a model made from a formula with all rows in memory.")
    columns = _observed(problem, data)
    at = dict(at or {})
    for name in at:
        if name not in columns:
            raise MethodError(
                f"at names {name!r}, which the fixed part does not use; it uses {', '.join(columns) or 'no column'}."
            )
    discrete = _coded_as_factors(problem)
    levels = {name: _levels(name, column, name in discrete, at.get(name)) for name, column in columns.items()}
    size = math.prod(len(v) for v in levels.values())
    if size > LARGEST_GRID:
        raise MethodError(f"the grid has {size} combinations of levels, more than {LARGEST_GRID}; fix some by at={{}}.")
    product = np.array(list(itertools.product(*(range(len(v)) for v in levels.values()))), dtype=np.int64)
    codes = {name: product[:, j] for j, name in enumerate(levels)}
    table: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, Factor):
            at_levels = np.array([column.levels.index(v) for v in levels[name]], dtype=np.int64)
            table[name] = Factor(at_levels[codes[name]], column.levels, column.contrast)
        else:
            table[name] = np.asarray(levels[name], dtype=float)[codes[name]]
    whole, _ = build_matrix(design.formula.terms, table, pd.RangeIndex(size), design.binding.spec)
    keep = design.binding.keep
    factors = tuple(n for n, c in columns.items() if isinstance(c, Factor) or n in discrete)
    counts = _counts(design.nobs, columns, {f: (levels[f], codes[f]) for f in factors})
    counts = counts if factors else np.ones(size)
    return ReferenceGrid(levels, codes, whole[:, keep], whole[:, ~keep], counts, factors)


def _observed(problem: Problem, data: Any) -> dict[str, Any]:
    """The fixed part's columns in the rows in use."""
    design, table = problem.design, Table(data)
    kept = np.ones(table.nrows, dtype=bool) if design.kept is None else design.kept
    names = column_names(term_factors(design.formula.terms))
    return {name: take(table.read(name), kept) for name in names}


def _coded_as_factors(problem: Problem) -> set[str]:
    """Numeric columns that stand in a categorical part of the formula, ``C(x)``."""
    spec = problem.design.binding.spec
    labelled = {name for name, (kind, _) in spec.encoder_state.items() if kind.value == "categorical"}
    out: set[str] = set()
    for node in term_factors(problem.design.formula.terms):
        if factor_name(node) in labelled:
            out |= set(column_names([node]))
    return out


def _levels(name: str, column: Any, discrete: bool, asked: Any) -> tuple[Any, ...]:
    """What the grid takes of one column."""
    if isinstance(column, Factor):
        known = drop_unused(column).levels
        if asked is None:
            return known
        wanted = tuple(str(v) for v in np.atleast_1d(np.asarray(asked, dtype=object)))
        strange = [v for v in wanted if v not in known]
        if strange:
            raise MethodError(f"at: {name} has no level {strange[0]!r}; it has {', '.join(known[:50])}.")
        return wanted
    if asked is not None:
        try:
            return tuple(float(v) for v in np.atleast_1d(np.asarray(asked, dtype=float)))
        except (TypeError, ValueError):
            raise MethodError(f"at: {name} is a column of numbers; {asked!r} is not.") from None
    return tuple(map(float, np.unique(column))) if discrete else (float(np.mean(column)),)


def _counts(
    nobs: int, columns: Mapping[str, Any], grid: Mapping[str, tuple[tuple[Any, ...], NDArray[np.int64]]]
) -> Floats:
    """Observed rows at every grid point's combination of factor levels; `grid` holds levels and codes of factors."""
    points = len(next(iter(grid.values()))[1]) if grid else 1
    row, point, size = np.zeros(nobs, dtype=np.int64), np.zeros(points, dtype=np.int64), 1
    for name, (levels, codes) in grid.items():
        column = columns[name]
        factor = column if isinstance(column, Factor) else factor_from_floats(column)
        known = list(factor.levels) if isinstance(column, Factor) else np.unique(column).tolist()
        where = np.array([known.index(v) if v in known else -1 for v in levels], dtype=np.int64)[codes]
        row, size = row * len(known) + factor.codes, size * len(known)
        point = np.where((where < 0) | (point < 0), -1, point * len(known) + where)
    return np.where(point < 0, 0.0, np.bincount(row, minlength=size)[np.maximum(point, 0)])
