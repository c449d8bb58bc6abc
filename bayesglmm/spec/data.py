"""A model file's ``[data]`` section → a pandas table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesglmm.errors import DataError, SpecError
from bayesglmm.spec.files import read_data_bytes
from bayesglmm.spec.schema import near

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("NA", "")


def read_table(folder: Path, data: Mapping[str, Any]) -> pd.DataFrame:
    """Read the CSV file a model file names.

    Columns under ``categories`` and ``labels`` are read as text exactly as written (``categories`` also gives the
    order of the levels, the first being the baseline); the others as numbers where every entry is one.

    Parameters
    ----------
    folder : Path
        The model file's folder.
    data : mapping
        The checked ``[data]`` section.

    Raises
    ------
    SpecError
        A path that is not allowed, or a column under ``categories`` or ``labels`` that is not in the file.
    DataError
        A file that is not a rectangular table with distinct, non-empty column names, or a value that is not
        among its column's categories.
    """
    import pandas as pd

    file = data["file"]
    text = _decode(read_data_bytes(folder, file), file)
    header = _check_shape(text, file)
    categories: Mapping[str, list[str]] = data.get("categories", {})
    labels: list[str] = data.get("labels", [])
    for section, names in (("data.categories", categories), ("data.labels", labels)):
        for name in names:
            if name not in header:
                raise SpecError(
                    f"{section} names {name!r}.{near(name, header)} Columns of {file}: {', '.join(header)}."
                )
    try:
        table = pd.read_csv(
            StringIO(text),
            dtype=dict.fromkeys((*categories, *labels), str),
            keep_default_na=False,
            na_values=list(data.get("missing", MISSING)),
            low_memory=False,
        )
    except (ValueError, OverflowError, MemoryError) as error:  # ParserError is a ValueError
        raise DataError(f"{file} is not readable as CSV: {error}.") from None
    for name, levels in categories.items():
        table[name] = _categorical(table[name], levels, file)
    return table


def _decode(raw: bytes, file: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}).") from None
    if "\0" in text:
        raise DataError(f"{file} holds a NUL character: it is not a text file.")
    return text


def _check_shape(text: str, file: str) -> list[str]:
    """Column names of a CSV whose lines all have as many fields as the first."""
    rows = csv.reader(StringIO(text, newline=""))
    try:
        header = next(rows, [])
        if not header:
            raise DataError(f"{file} is empty; the first line should name the columns.")
        if any(not name.strip() for name in header):
            raise DataError(f"{file}: column {1 + [not n.strip() for n in header].index(True)} has no name.")
        if len(set(header)) < len(header):
            twice = Counter(header).most_common(1)[0][0]
            raise DataError(f"{file} has more than one column {twice!r}.")
        width, n = len(header), 0
        for row in rows:
            if row and len(row) != width:
                raise DataError(f"{file}, line {rows.line_num}: {len(row)} fields, and the header has {width}.")
            n += bool(row)
    except csv.Error as error:
        raise DataError(f"{file}, line {rows.line_num}: not readable as CSV: {error}.") from None
    if n == 0:
        raise DataError(f"{file} has a header and no rows.")
    return header


def _categorical(column: pd.Series, levels: list[str], file: str) -> pd.Categorical:
    import pandas as pd

    if len(set(levels)) < len(levels):
        raise SpecError(f"data.categories.{column.name} lists a level twice.")
    present = column.dropna().unique()
    strange = [v for v in present if v not in set(levels)]
    if strange:
        raise DataError(
            f"{file}: {column.name} holds {strange[0]!r} ({len(strange)} such values), which is not among its "
            f"categories {', '.join(levels)}."
        )
    return pd.Categorical(column, categories=levels)
