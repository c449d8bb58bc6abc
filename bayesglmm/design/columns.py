"""Tables of any kind → columns of two kinds: numbers and factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
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


class Table:
    """Read-only view of a pandas, polars or pyarrow table, or of a dict of arrays.

    Parameters
    ----------
    data : table
        Anything narwhals understands, or a mapping from names to one-dimensional arrays.
    """

    def __init__(self, data: Any) -> None:
        self._data = _as_frame(data)
        self.names: list[str] = [str(name) for name in self._data.columns]
        self.nrows = int(self._data.shape[0])
        pandas = isinstance(self._data, pd.DataFrame)
        self.index: pd.Index = self._data.index if pandas else pd.RangeIndex(self.nrows)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def column(self, name: str) -> pd.Series:
        """Give a column by name.

        Raises
        ------
        DataError
            When there is none, with the names that come near, or more than one.
        """
        count = self.names.count(name)
        if count == 1:
            position = self.names.index(name)
            if isinstance(self._data, pd.DataFrame):
                return self._data[self._data.columns[position]]
            return _to_pandas(self._data[:, position])
        if count > 1:
            raise DataError(f"The table has {count} columns named {name!r}. Rename or drop all but one.")
        raise DataError(_unknown_column(name, self.names))


def _as_frame(data: Any) -> Any:
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, Mapping):
        try:
            return pd.DataFrame({name: _as_array(values) for name, values in data.items()})
        except ValueError as error:
            raise DataError(f"The arrays of the table do not fit together: {error}.") from error
    import narwhals

    try:
        return narwhals.from_native(data, eager_only=True)
    except TypeError as error:
        expected = "Expected a pandas, polars or pyarrow table, or a dict of arrays"
        raise DataError(f"{expected}; got {type(data).__name__}.") from error


def _as_array(values: Any) -> Any:
    """Drop the index of a pandas Series (a dict's columns stand side by side), and keep categories."""
    values = values.array if isinstance(values, pd.Series) else values
    return values if isinstance(values, pd.api.extensions.ExtensionArray) else np.asarray(values)


def _to_pandas(series: Any) -> pd.Series:
    """One column of a polars or pyarrow table, categories kept in their order.

    The order of polars' Categorical is that in which its strings were first met in the process, which means nothing:
    such a column is text. Its Enum has an order.
    """
    import narwhals

    if isinstance(series.dtype, narwhals.Enum):
        return pd.Series(pd.Categorical(series.to_list(), categories=list(series.dtype.categories)))
    if series.dtype == narwhals.Categorical and series.implementation.is_pyarrow():
        return series.to_native().to_pandas()
    if series.dtype.is_numeric() and not series.dtype.is_decimal() and not series.is_null().any():
        return pd.Series(series.to_numpy())
    return pd.Series(series.to_list(), dtype=object)


def _unknown_column(name: str, names: list[str]) -> str:
    if not isinstance(name, str):
        return f"{name!r} is given where a column's name is expected. The table has {', '.join(names[:8])}."
    near = get_close_matches(name, names[:2000], n=3, cutoff=0.6)
    same = [other for other in names if other.lower() == name.lower()]
    hint = ", ".join(dict.fromkeys([*same, *near]))
    if hint:
        return f"The table has no column {name!r}. Did you mean {hint}?"
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"The table has no column {name!r}. It has {shown or 'no columns'}."


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
