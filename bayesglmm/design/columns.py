"""Columns of two kinds, numbers and factors, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.design.types import Floats, Ints
from bayesglmm.errors import DataError, DataWarning, warn


@dataclass(frozen=True)
class Factor:
    """A categorical column.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Index into `levels`; -1 where missing.
    levels : tuple of str
        Level names, in order.
    contrast : tuple of (str, object) or None
        Coding and reference level asked for by ``C(x, Treatment("b"))``.
    """

    codes: Ints
    levels: tuple[str, ...]
    contrast: tuple[str, Any] | None = None


Column = Floats | Factor


def take(column: Column, rows: NDArray[np.bool_]) -> Column:
    """Keep some rows of a column, and of a factor the levels that still occur."""
    return take_levels(column, rows) if isinstance(column, Factor) else column[rows]


def take_levels(factor: Factor, rows: NDArray[np.bool_]) -> Factor:
    """Keep some rows of a factor, and the levels that still occur."""
    return drop_unused(Factor(factor.codes[rows], factor.levels, factor.contrast))


def drop_unused(factor: Factor) -> Factor:
    """Leave out the levels that do not occur."""
    counts = np.bincount(factor.codes[factor.codes >= 0], minlength=len(factor.levels))
    used = counts > 0
    if used.all():
        return factor
    new = np.append(np.cumsum(used) - 1, -1)
    levels = tuple(level for level, keep in zip(factor.levels, used) if keep)
    return Factor(new[factor.codes], levels, factor.contrast)


def recode(factor: Factor, levels: tuple[str, ...]) -> Ints:
    """Codes of a factor's values in another list of levels, -1 for those not in it."""
    if factor.levels == levels:
        return factor.codes
    position = pd.Index(levels, dtype=object).get_indexer(pd.Index(factor.levels, dtype=object))
    return np.append(position, -1)[factor.codes].astype(np.int64)


def read_column(series: pd.Series, name: str) -> Column:
    """Read a column as it is used in the fixed part and the response.

    Numbers stay numbers; text, booleans and categories become factors (text sorted, categories in their order).

    Returns
    -------
    ndarray of float64 or Factor

    Raises
    ------
    DataError
        For dates, complex numbers, nested or mixed values.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return np.ascontiguousarray(series.to_numpy(), dtype=np.float64)
    if isinstance(dtype, pd.CategoricalDtype):
        return _from_categorical(series, name)
    if pd.api.types.is_bool_dtype(dtype):
        return _from_values(series, name)
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"The column {name!r} holds complex numbers. Use its real or imaginary part.")
    if pd.api.types.is_numeric_dtype(dtype):
        return _to_floats(series, name)
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return _to_floats(series, name)
    if kind in ("string", "boolean"):
        factor = _from_values(series, name)
        _warn_of_numbers(factor, name)
        return factor
    raise DataError(_unusable(name, kind, series))


def _warn_of_numbers(factor: Factor, name: str) -> None:
    """Say so when a text column looks like measurements: labels such as "1" and "2" are fine, "1.5" hardly meant."""
    try:
        values = np.asarray(factor.levels, dtype=np.float64)
    except ValueError:
        return
    if (values[np.isfinite(values)] % 1 != 0).any():
        shown = ", ".join(factor.levels[:3])
        warn(
            f"The column {name!r} holds numbers stored as text ({shown}, …) and is read as {len(values)} categories. "
            "Convert it to numbers if that is not meant, or to a categorical type if it is.",
            DataWarning,
        )


def read_group(series: pd.Series, name: str) -> Factor:
    """Read a column whose values are labels of groups, whatever their type; numbers sort as numbers.

    Raises
    ------
    DataError
        For mixed or nested values.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _from_categorical(series, name)
    kind = pd.api.types.infer_dtype(series, skipna=True) if series.dtype == object else "plain"
    if kind not in ("plain", "string", "boolean", "integer", "floating", "decimal", "date", "datetime", "empty"):
        raise DataError(_unusable(name, kind, series))
    return _from_values(series, name)


def _unusable(name: str, kind: str, series: pd.Series) -> str:
    if kind.startswith("mixed"):
        types = ", ".join(sorted({type(value).__name__ for value in series.dropna().head(1000)}))
        return f"The column {name!r} mixes values of different types ({types}). Make it numbers only, or text only."
    return f"The column {name!r} holds {kind} values. Turn it into numbers (say, days since a start) or text first."


def _to_floats(series: pd.Series, name: str) -> Floats:
    try:
        return np.ascontiguousarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise DataError(f"The column {name!r} cannot be read as numbers: {error}.") from error


def _from_categorical(series: pd.Series, name: str) -> Factor:
    codes = series.cat.codes.to_numpy().astype(np.int64)
    return drop_unused(Factor(codes, _distinct(labels(series.cat.categories), name)))


def _distinct(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise DataError(f"The column {name!r} has different levels that print alike. Rename its levels.")
    return names


def _from_values(series: pd.Series, name: str) -> Factor:
    values = series
    if isinstance(series.dtype, np.dtype) and series.dtype.byteorder not in ("=", "|"):
        values = pd.Series(series.to_numpy().astype(series.dtype.newbyteorder("=")))
    try:
        codes, uniques = pd.factorize(values, sort=True)
    except TypeError as error:
        raise DataError(f"The column {name!r} cannot be read as labels: {error}.") from error
    return Factor(codes.astype(np.int64, copy=False), _distinct(labels(uniques), name))


def labels(values: Any) -> tuple[str, ...]:
    """Names of levels: whole numbers print without a decimal point, so that 1, 1.0 and "1" are the same level."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        values = array.astype(float).tolist()
        return tuple(str(int(v)) if v.is_integer() and abs(v) < 1e15 else repr(v) for v in values)
    return tuple(str(value) for value in array.tolist())


def factor_from_floats(values: Floats) -> Factor:
    """Turn numbers into a factor, as ``C(x)`` does."""
    codes, uniques = pd.factorize(values, sort=True)
    return Factor(codes.astype(np.int64, copy=False), labels(uniques))


def missing(column: Column) -> NDArray[np.bool_]:
    """Rows where a column has no value."""
    return column.codes < 0 if isinstance(column, Factor) else np.isnan(column)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no value is infinite or missing; one sum tells, unless it overflows."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.sum(values))) or bool(np.isfinite(values).all())


def first_rows(bad: NDArray[np.bool_], index: pd.Index) -> str:
    """Describe where something is wrong: ``"3 rows (first: 2, 5, 9)"`` by the labels of the table's rows."""
    where = np.flatnonzero(bad)
    shown = ", ".join(str(label) for label in index[where[:5]])
    return f"{len(where)} row{'s' * (len(where) != 1)} ({'first: ' * (len(where) > 5)}{shown})"
