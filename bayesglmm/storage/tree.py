"""Nested values as JSON and arrays, and back: no code is stored, and none is run to read them.

Every value that JSON has no word for becomes ``{"$": kind, ...}``; arrays of numbers are put aside and referred to by
their position. The kinds are a closed list: what is not on it cannot be written, and nothing else can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.covariance import AR1Errors, Known, KnownErrors
from bayesglmm.errors import MethodError, SpecError
from bayesglmm.priors import Prior
from bayesglmm.result import Draws, Result, Status

Array = NDArray[Any]

#: What an array may be of; NumPy would read far more as the name of a type.
DTYPES = ("bool", "float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))

#: Dataclasses that are stored field by field, by name.
RECORDS: dict[str, type] = {c.__name__: c for c in (Status, Draws, Result, Known, AR1Errors, KnownErrors)}


def encode(value: Any, arrays: list[Array]) -> Any:
    """Turn a value into what JSON can say; arrays are appended to `arrays`.

    Raises
    ------
    MethodError
        A value that cannot be stored (a function, say).
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"$": "float", "text": repr(float(value))}
    if isinstance(value, np.bool_):
        return bool(value)
    for kind, (is_one, write, _) in KINDS.items():
        if is_one(value):
            return {"$": kind, **write(value, arrays)}
    raise MethodError(f"a {type(value).__name__} cannot be stored in a file.")


def decode(value: Any, arrays: list[Array]) -> Any:
    """Turn what :func:`encode` gave back into the value.

    Raises
    ------
    SpecError
        Anything :func:`encode` does not write.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict) and value.get("$") in KINDS:
        return KINDS[value["$"]][2](value, arrays)
    raise SpecError("the file holds a value of an unknown kind.")


def _write_array(value: Array, arrays: list[Array]) -> dict[str, Any]:
    if value.dtype.kind in "OUS":
        return {"items": [encode(v, arrays) for v in value.ravel().tolist()], "shape": list(value.shape)}
    if value.dtype.kind not in "fiub":
        raise MethodError(f"an array of {value.dtype} cannot be stored in a file.")
    if value.size == 0:  # netCDF has no word for it
        return {"items": [], "shape": list(value.shape), "dtype": value.dtype.newbyteorder("=").name}
    native = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
    if value.dtype.kind == "f" and value.dtype.itemsize not in (4, 8):
        native = native.astype(np.float64)
    arrays.append(native.astype(np.uint8) if value.dtype.kind == "b" else native)
    return {"at": len(arrays) - 1, "dtype": native.dtype.name, "shape": list(value.shape)}


def _read_array(value: dict[str, Any], arrays: list[Array]) -> Array:
    shape = tuple(value["shape"])
    if "items" in value:
        out = np.empty(len(value["items"]), dtype=_dtype(value["dtype"]) if "dtype" in value else object)
        out[:] = [decode(v, arrays) for v in value["items"]]
        return out.reshape(shape)
    found = arrays[value["at"]]
    return found.reshape(shape).astype(_dtype(value["dtype"]), copy=False)


def _dtype(name: str) -> np.dtype[Any]:
    if name not in DTYPES:
        raise SpecError("the file holds an array of an unknown type.")
    return np.dtype(name)


def _write_list(value: Any, arrays: list[Array]) -> dict[str, Any]:
    return {"items": [encode(v, arrays) for v in value]}


def _read_items(make: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any], list[Array]], Any]:
    return lambda value, arrays: make([decode(v, arrays) for v in value["items"]])


def _write_mapping(value: Mapping[Any, Any], arrays: list[Array]) -> dict[str, Any]:
    return {"keys": [encode(k, arrays) for k in value], "items": [encode(v, arrays) for v in value.values()]}


def _read_mapping(value: dict[str, Any], arrays: list[Array]) -> dict[Any, Any]:
    keys, items = ([decode(v, arrays) for v in value[name]] for name in ("keys", "items"))
    return dict(zip(keys, items, strict=True))


def _write_record(value: Any, arrays: list[Array]) -> dict[str, Any]:
    content = {f.name: encode(getattr(value, f.name), arrays) for f in fields(value)}
    return {"record": type(value).__name__, "fields": content}


def _read_record(value: dict[str, Any], arrays: list[Array]) -> Any:
    return RECORDS[value["record"]](**{name: decode(v, arrays) for name, v in value["fields"].items()})


def _write_prior(value: Prior, arrays: list[Array]) -> dict[str, Any]:
    return {"name": value.name, "on": value.on, "at": value.at, "params": encode(dict(value.params), arrays)}


def _read_prior(value: dict[str, Any], arrays: list[Array]) -> Prior:
    return Prior(value["name"], on=value["on"], at=value.get("at", "zero"), **decode(value["params"], arrays))


def _write_sparse(value: Any, arrays: list[Array]) -> dict[str, Any]:
    csc = value.tocsc()
    return {"parts": [encode(x, arrays) for x in (csc.data, csc.indices, csc.indptr)], "shape": list(csc.shape)}


def _read_sparse(value: dict[str, Any], arrays: list[Array]) -> Any:
    from scipy import sparse

    data, indices, indptr = (decode(x, arrays) for x in value["parts"])
    matrix = sparse.csc_array((data, indices, indptr), shape=tuple(value["shape"]))
    matrix.check_format()
    return matrix


def _is_sparse(value: Any) -> bool:
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "tocsc")


def _write_series(value: pd.Series, arrays: list[Array]) -> dict[str, Any]:
    from bayesglmm.storage.table import write_column, write_index

    return {
        "values": write_column(value, arrays),
        "index": write_index(value.index, arrays),
        "name": encode(value.name, arrays),
    }


def _read_series(value: dict[str, Any], arrays: list[Array]) -> pd.Series:
    from bayesglmm.storage.table import read_column, read_index

    index = read_index(value["index"], arrays)
    return pd.Series(read_column(value["values"], arrays), index=index, name=decode(value["name"], arrays))


def _write_index(value: pd.Index, arrays: list[Array]) -> dict[str, Any]:
    from bayesglmm.storage.table import write_index

    return {"index": write_index(value, arrays)}


def _read_index(value: dict[str, Any], arrays: list[Array]) -> pd.Index:
    from bayesglmm.storage.table import read_index

    return read_index(value["index"], arrays)


def _write_frame(value: pd.DataFrame, arrays: list[Array]) -> dict[str, Any]:
    from bayesglmm.storage.table import write_table

    return {"table": write_table(value, arrays)}


def _read_frame(value: dict[str, Any], arrays: list[Array]) -> pd.DataFrame:
    from bayesglmm.storage.table import read_table

    return read_table(value["table"], arrays)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


#: Kind → (is a value of this kind?, how it is written, how it is read).
KINDS: dict[str, tuple[Callable[[Any], bool], Callable[..., dict[str, Any]], Callable[..., Any]]] = {
    "float": (lambda value: False, lambda value, arrays: {}, lambda value, arrays: float(value["text"])),
    "array": (_is(np.ndarray), _write_array, _read_array),
    "list": (_is(list), _write_list, _read_items(list)),
    "tuple": (_is(tuple), _write_list, _read_items(tuple)),
    "dict": (_is(Mapping), _write_mapping, _read_mapping),
    "prior": (_is(Prior), _write_prior, _read_prior),
    "series": (_is(pd.Series), _write_series, _read_series),
    "index": (_is(pd.Index), _write_index, _read_index),
    "frame": (_is(pd.DataFrame), _write_frame, _read_frame),
    "sparse": (_is_sparse, _write_sparse, _read_sparse),
    "record": (lambda value: is_dataclass(value) and type(value) in RECORDS.values(), _write_record, _read_record),
}
