"""Tables of any kind: what columns they have, and reading one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.design.columns import Column, read_column
from bayesglmm.errors import DataError


@dataclass(frozen=True)
class ColumnBatch:
    """Columns side by side, as they come from a file: a table that costs nothing to make.

    Parameters
    ----------
    columns : dict of str to (ndarray or pandas array), each of n values
        By name.
    index : pandas Index, length n
        Labels of the rows.
    """

    columns: Mapping[str, Any]
    index: pd.Index

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.index), len(self.columns)

    def __len__(self) -> int:
        return len(self.index)


class Table:
    """Read-only view of a pandas, polars or pyarrow table, of columns from a file, or of a dict of arrays.

    Parameters
    ----------
    data : table
        Anything narwhals understands, a :class:`ColumnBatch`, or a mapping from names to one-dimensional arrays.
    """

    def __init__(self, data: Any) -> None:
        self._data = _as_frame(data)
        self.names: list[str] = [str(name) for name in self._data.columns]
        self.nrows = int(self._data.shape[0])
        labelled = isinstance(self._data, pd.DataFrame | ColumnBatch)
        self.index: pd.Index = self._data.index if labelled else pd.RangeIndex(self.nrows)

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
            if isinstance(self._data, ColumnBatch):
                return pd.Series(self._data.columns[name], index=self.index, copy=False)
            return _to_pandas(self._data[:, position])
        if count > 1:
            raise DataError(f"The table has {count} columns named {name!r}. Rename or drop all but one.")
        raise DataError(_unknown_column(name, self.names))

    def read(self, name: str) -> Column:
        """Read a column as it is used in the fixed part and the response, as numbers or a factor.

        Raises
        ------
        DataError
            As for :meth:`column`, and for values that are neither.
        """
        values = self._data.columns.get(name) if isinstance(self._data, ColumnBatch) else None
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            return np.ascontiguousarray(values, dtype=np.float64)
        return read_column(self.column(name), name)


def _as_frame(data: Any) -> Any:
    if isinstance(data, pd.DataFrame | ColumnBatch):
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
