"""Columns of a pandas table as JSON and arrays, and back: what the formula reads of them stays the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.errors import DataError, SpecError
from bayesglmm.storage.tree import Array, decode, encode

#: Times and spans, in their units.
TIMES = tuple(f"<{kind}8[{unit}]" for kind in "mM" for unit in ("D", "h", "m", "s", "ms", "us", "ns"))


def write_table(table: pd.DataFrame, arrays: list[Array]) -> dict[str, Any]:
    """Turn a table into what JSON can say; numbers are appended to `arrays`."""
    columns = [write_column(table.iloc[:, j], arrays) for j in range(table.shape[1])]
    names = [encode(name, arrays) for name in table.columns]
    return {"names": names, "columns": columns, "index": write_index(table.index, arrays)}


def read_table(value: dict[str, Any], arrays: list[Array]) -> pd.DataFrame:
    """Turn what :func:`write_table` gave back into the table."""
    index = read_index(value["index"], arrays)
    columns = [pd.Series(read_column(c, arrays), index=index) for c in value["columns"]]
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
    table.columns = pd.Index([decode(name, arrays) for name in value["names"]])
    return table


def write_index(index: pd.Index, arrays: list[Array]) -> dict[str, Any]:
    """Row labels; a plain range by its ends."""
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "names": [encode(index.name, arrays)]}
    levels = [index.get_level_values(k) for k in range(index.nlevels)]
    columns = [write_column(pd.Series(level.array), arrays) for level in levels]
    return {"columns": columns, "names": [encode(name, arrays) for name in index.names]}


def read_index(value: dict[str, Any], arrays: list[Array]) -> pd.Index:
    """Turn what :func:`write_index` gave back into row labels."""
    names = [decode(name, arrays) for name in value["names"]]
    if "range" in value:
        return pd.RangeIndex(*value["range"], name=names[0])
    columns = [read_column(c, arrays) for c in value["columns"]]
    if len(columns) == 1:
        return pd.Index(columns[0], name=names[0])
    return pd.MultiIndex.from_arrays(columns, names=names)


def write_column(column: pd.Series, arrays: list[Array]) -> dict[str, Any]:
    """One column: numbers as they are, anything else as codes into its distinct values.

    Raises
    ------
    DataError
        Values that are no labels, such as lists.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        categories = write_column(pd.Series(dtype.categories.array), arrays)
        return {"codes": encode(codes, arrays), "categories": categories, "ordered": bool(dtype.ordered)}
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        return {"numbers": encode(column.to_numpy(), arrays)}
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return {"times": encode(column.to_numpy().view(np.int64), arrays), "dtype": dtype.str}
    numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    if numeric and not pd.api.types.is_complex_dtype(dtype):
        return {"numbers": encode(column.to_numpy(dtype=np.float64, na_value=np.nan), arrays)}
    try:
        codes, distinct = pd.factorize(column.astype(object), sort=False)
    except TypeError:
        raise DataError(f"the column {column.name!r} holds values that cannot be stored in a file.") from None
    return {"codes": encode(codes, arrays), "labels": [_label(v) for v in distinct]}


def read_column(value: dict[str, Any], arrays: list[Array]) -> Any:
    """Turn what :func:`write_column` gave back into the column's values."""
    if "numbers" in value:
        return decode(value["numbers"], arrays)
    if "times" in value:
        if value["dtype"] not in TIMES:
            raise SpecError("the file holds a column of times that is none.")
        return decode(value["times"], arrays).view(value["dtype"])
    codes = decode(value["codes"], arrays)
    if "categories" in value:
        categories = pd.Index(read_column(value["categories"], arrays))
        return pd.Categorical.from_codes(codes, categories=categories, ordered=value["ordered"])
    labels = np.empty(len(value["labels"]) + 1, dtype=object)
    labels[:-1] = [_read_label(v) for v in value["labels"]]
    labels[-1] = None
    return labels[codes]


def _label(value: Any) -> Any:
    """A distinct value: text, number, truth, decimal, date, or a tuple of them."""
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, pd.Timestamp):
        return {"time": value.isoformat()}
    if hasattr(value, "isoformat"):
        return {"date": value.isoformat()}
    if isinstance(value, tuple):
        return {"tuple": [_label(v) for v in value]}
    found = value.item() if isinstance(value, np.generic) else value
    if not isinstance(found, str | bool | int | float):
        raise DataError(f"a value of type {type(value).__name__} cannot be stored in a file.")
    return found


def _read_label(value: Any) -> Any:
    import datetime

    if not isinstance(value, dict):
        return value
    readers: dict[str, Any] = {
        "decimal": Decimal,
        "time": pd.Timestamp,
        "date": datetime.date.fromisoformat,
        "tuple": lambda parts: tuple(map(_read_label, parts)),
    }
    ((kind, text),) = value.items()
    return readers[kind](text)
