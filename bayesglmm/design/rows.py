"""Reading the columns a formula uses, and leaving out rows where one of them is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.design.columns import Column, Factor, all_finite, first_rows, missing, read_group, take, take_levels
from bayesglmm.design.tables import Table
from bayesglmm.design.types import Floats
from bayesglmm.errors import DataError, DataWarning, warn


@dataclass(frozen=True)
class Rows:
    """Columns, groups and arguments of the rows in use.

    Parameters
    ----------
    columns : dict of str to ndarray or Factor
        For the response, the fixed part, the left sides of bars and offsets.
    groups : dict of str to Factor
        For grouping factors.
    arguments : dict of str to ndarray, shape (n,)
        Weights, offset, exposure, as far as given.
    kept : ndarray of bool, shape (rows of the table,)
        The rows in use.
    index : pandas Index
        Labels of the rows in use.
    """

    columns: dict[str, Column]
    groups: dict[str, Factor]
    arguments: dict[str, Floats]
    kept: NDArray[np.bool_]
    index: pd.Index

    @property
    def n_dropped(self) -> int:
        """Rows left out."""
        return int((~self.kept).sum())


def read_rows(
    table: Table,
    used: Iterable[str],
    grouping: Iterable[str],
    arguments: dict[str, Any],
    gaps: dict[str, int] | None = None,
    complete: bool = False,
) -> Rows:
    """Read what the formula uses, drop rows with missing values, and check that numbers are finite.

    Parameters
    ----------
    table : Table
    used : iterable of str
        Columns used as numbers or factors.
    grouping : iterable of str
        Columns used as labels of groups.
    arguments : dict of str to (str, array-like or None)
        Weights, offset and exposure.
    gaps : dict of str to int, optional
        For a table that is one of many: missing values are counted here, by column, and nothing is said about them.
    complete : bool
        The same table was read before, and there were neither gaps nor infinite numbers.

    Raises
    ------
    DataError
        For absent or unusable columns, infinite numbers, or no row left.

    Warns
    -----
    DataWarning
        When rows are dropped; it counts them in total and by column.
    """
    columns = {name: table.read(name) for name in used}
    groups = {name: read_group(table.column(name), name) for name in grouping}
    values = {name: read_argument(name, given, table) for name, given in arguments.items() if given is not None}
    everything: list[tuple[str, Column]] = [*columns.items(), *groups.items(), *values.items()]
    # most columns are numbers without gaps, which one look at each tells
    open_questions = [
        (name, c) for name, c in everything if not complete and (isinstance(c, Factor) or not all_finite(c))
    ]
    kept, counts = _complete(open_questions, table.nrows)
    if gaps is None:
        report_missing(counts, table.nrows, int(kept.sum()))
    else:
        gaps.update({name: gaps.get(name, 0) + count for name, count in counts.items()})
    index = table.index
    if not kept.all():
        columns = {name: take(column, kept) for name, column in columns.items()}
        groups = {name: take_levels(factor, kept) for name, factor in groups.items()}
        values = {name: value[kept] for name, value in values.items()}
        index = index[kept]
    questioned = {name for name, _ in open_questions}
    for name, column in [*columns.items(), *values.items()]:
        if isinstance(column, np.ndarray) and name in questioned:
            check_finite(column, name, index)
    return Rows(columns, groups, values, kept, index)


def _complete(everything: list[tuple[str, Column]], nrows: int) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Rows without a missing value, and the numbers of missing values by column."""
    kept = np.ones(nrows, dtype=bool)
    counts: dict[str, int] = {}
    for name, column in everything:
        gaps = missing(column)
        if gaps.any():
            counts[name] = max(counts.get(name, 0), int(gaps.sum()))
            kept &= ~gaps
    return kept, counts


def report_missing(counts: dict[str, int], nrows: int, kept: int) -> None:
    """Warn of rows that were left out for missing values, and refuse a table of which nothing is left.

    Parameters
    ----------
    counts : dict of str to int
        Missing values by column.
    nrows, kept : int
        Rows of the table, and those without a missing value.
    """
    if kept == nrows:
        return
    by_column = ", ".join(f"{name}: {count}" for name, count in counts.items())
    if kept == 0:
        empty = [name for name, count in counts.items() if count == nrows]
        hint = f" The column {', '.join(map(repr, empty))} has no values at all." if empty else ""
        raise DataError(f"Every row has a missing value in a column the model uses ({by_column}).{hint}")
    message = f"Dropped {nrows - kept} of {nrows} rows with missing values ({by_column})."
    warn(message, DataWarning)


def read_argument(name: str, given: Any, table: Table) -> Floats:
    """Give weights, offset or exposure as an array, from a column's name, a number or values."""
    if isinstance(given, str):
        column = table.read(given)
        if isinstance(column, Factor):
            raise DataError(f"{name} is the column {given!r}, which holds labels; expected numbers.")
        return column
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}. Give a column's name or an array.") from error
    if array.ndim == 0:
        return np.full(table.nrows, float(array))
    if array.shape != (table.nrows,):
        raise DataError(f"{name} has shape {array.shape}, but the table has {table.nrows} rows. Give one value a row.")
    return array


def check_finite(values: Floats, name: str, index: pd.Index) -> None:
    """Refuse infinite values, saying where they are."""
    if not all_finite(values):
        bad = ~np.isfinite(values)
        raise DataError(f"{name!r} is infinite in {first_rows(bad, index)}. Correct or drop them.")


def check_positive(values: Floats, name: str, index: pd.Index) -> None:
    """Refuse values that are zero or negative, saying where they are."""
    bad = ~(values > 0)
    if bad.any():
        hint = "Drop rows that are to count for nothing." if name == "weights" else "Correct or drop them."
        raise DataError(f"{name} must be positive, and is not in {first_rows(bad, index)}. {hint}")
