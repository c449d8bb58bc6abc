"""Tables in chunks: data read again at every pass, so that only a chunk of it is ever in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bayesglmm.arguments import optional, whole
from bayesglmm.design.tables import ColumnBatch
from bayesglmm.errors import DataError

#: () → the tables of one part, one after the other; can be sent to another process.
Part = Callable[[], Iterator[Any]]

#: Values read at once from files, in whole blocks of rows.
CHUNK_VALUES, ROWS_AT_LEAST, ROWS_AT_MOST = 1_000_000, 8_192, 131_072
#: Bytes of a column that are read from a file at once.
_STREAM_BYTES = 1 << 16
#: Parts handed to an executor before the first is waited for, when parts hold their rows themselves.
AHEAD = 8


class Chunks:
    """A table that is read chunk by chunk, as often as needed.

    Parameters
    ----------
    source : callable, list, path, pyarrow Dataset or dask DataFrame
        A function that returns an iterator over tables (pandas, polars, pyarrow, dicts of arrays), a list of tables, a
        parquet file or a directory of them, a ``pyarrow.dataset``, or a dask DataFrame.
    rows : int, optional
        Rows read at once from parquet and datasets; by the number of columns when left out.

    Raises
    ------
    DataError
        For anything else; above all for an iterator, which can be read once only.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> def january_to_march():
    ...     for month in (1, 2, 3):
    ...         yield pd.DataFrame({"month": [month] * 4, "y": [month, 2, 3, month + 1]})
    >>> model = bg.Model("y ~ month", bg.Chunks(january_to_march), family="poisson")
    >>> model.fit("irls").nobs
    12
    """

    def __init__(self, source: Any, *, rows: int | None = None) -> None:
        self._parts, self.ahead = _reader(source, optional(whole())("rows", rows))
        self.source = source

    def __repr__(self) -> str:
        shown = str(self.source) if isinstance(self.source, str | Path) else type(self.source).__name__
        return f"Chunks({shown})"

    @property
    def nrows(self) -> int | None:
        """Number of rows, where files tell it without being read."""
        source = self.source
        if isinstance(source, Chunks):
            return source.nrows
        if isinstance(source, str | Path):
            source = _open_parquet(source)
        return int(source.count_rows()) if _is_dataset(source) else None

    def parts(self, columns: Sequence[str]) -> Iterator[Part]:
        """Readers of the parts, in order.

        Parameters
        ----------
        columns : sequence of str
            The columns that are needed; sources that hold more do not read the others.
        """
        return self._parts(columns)

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """All tables, in order."""
        for part in self.parts(columns):
            yield from part()


def as_chunks(data: Any) -> Chunks | None:
    """Give the chunks of data that come in chunks, and None for a table in memory."""
    if isinstance(data, Chunks):
        return data
    if isinstance(data, str | Path | list | tuple | Iterator) or callable(data) or _is_dataset(data) or _is_dask(data):
        return Chunks(data)
    return None


def map_parts(function: Callable[[Part], Any], chunks: Chunks, columns: Sequence[str], executor: Any) -> Iterator[Any]:
    """Apply a function to every part, here or by an executor; results come in the order of the parts.

    Parameters
    ----------
    function : callable
        Part → anything.
    chunks : Chunks
    columns : sequence of str
        The columns that are needed.
    executor : concurrent.futures.Executor or None
        Who does the work.
    """
    return map_ordered(function, chunks.parts(columns), executor, chunks.ahead)


def map_ordered(
    function: Callable[[Any], Any], items: Iterable[Any], executor: Any, ahead: int | None = None
) -> Iterator[Any]:
    """Map by an executor with results in order, and at most `ahead` items under way."""
    if executor is None:
        yield from map(function, items)
        return
    task = Portable(function)
    waiting: deque[Any] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(task, Portable(item)))
            if ahead is not None and len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class Portable:
    """A value that reaches another process even when it holds lambdas (families and links do)."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, item: Portable) -> Any:
        """Apply the function held to the value held."""
        return self.value(item.value)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        return _unpack, (cloudpickle.dumps(self.value),)


def _unpack(packed: bytes) -> Portable:
    import cloudpickle

    return Portable(cloudpickle.loads(packed))


def _reader(source: Any, rows: int | None) -> tuple[Callable[[Sequence[str]], Iterator[Part]], int | None]:
    """How to read a source, and how many of its parts may be under way at once."""
    if isinstance(source, Chunks):
        return source.parts, source.ahead
    if isinstance(source, str | Path):
        return partial(_dataset_parts, _open_parquet(source), rows), None
    if _is_dataset(source):
        return partial(_dataset_parts, source, rows), None
    if _is_dask(source):
        return partial(_dask_parts, source), None
    if isinstance(source, Iterator):
        raise DataError(
            "The data are an iterator, which can be read once only, and every step of a fit reads them again. "
            "Give the function that makes it: Chunks(function)."
        )
    if callable(source):
        return lambda columns: (partial(_held, table) for table in source()), AHEAD
    if isinstance(source, list | tuple):
        if not source:
            raise DataError("The list of chunks is empty.")
        odd = next((t for t in source if not (callable(t) or isinstance(t, Mapping) or hasattr(t, "columns"))), None)
        if odd is not None:
            raise DataError(
                "Expected a pandas, polars or pyarrow table, a dict of arrays, or a list of tables; "
                f"got {type(source).__name__} of {type(odd).__name__}."
            )
        return lambda columns: (partial(_held, table) for table in source), None
    raise DataError(
        f"Chunks of a {type(source).__name__} cannot be read. Expected a function that returns an iterator over "
        "tables, a list of tables, a parquet path, a pyarrow dataset or a dask DataFrame."
    )


def _held(table: Any) -> Iterator[Any]:
    yield table() if callable(table) else table


def _is_dataset(data: Any) -> bool:
    return type(data).__module__.startswith("pyarrow") and hasattr(data, "get_fragments")


def _is_dask(data: Any) -> bool:
    return type(data).__module__.startswith("dask") and hasattr(data, "get_partition")


def _open_parquet(path: str | Path) -> Any:
    if not os.path.exists(path):
        raise DataError(f"There is no file or directory {str(path)!r}. Expected parquet data, or a table in memory.")
    try:
        from pyarrow import ArrowInvalid, dataset
    except ImportError as error:  # pragma: no cover
        raise DataError("Reading parquet needs pyarrow: pip install pyarrow.") from error
    try:
        return dataset.dataset(path, format="parquet", partitioning="hive")
    except ArrowInvalid as error:
        raise DataError(f"{str(path)!r} cannot be read as parquet: {error}.") from error


def _dataset_parts(source: Any, rows: int | None, columns: Sequence[str]) -> Iterator[Part]:
    present = [name for name in columns if name in source.schema.names]
    if rows is None:
        blocks = CHUNK_VALUES // max(len(present), 1) // ROWS_AT_LEAST
        rows = min(max(blocks, 1) * ROWS_AT_LEAST, ROWS_AT_MOST)
    for fragment in source.get_fragments():
        pieces = fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]
        for piece in pieces:
            yield partial(_piece_tables, piece, source.schema, present, rows)


def _piece_tables(piece: Any, schema: Any, names: list[str], rows: int) -> Iterator[Any]:
    """Read a row group in batches, one at a time and none ahead; labels of rows count within the row group."""
    import pandas as pd

    start = 0
    plain = _is_plain_file(piece, schema, names)
    for batch in _file_batches(piece, names, rows) if plain else _batches(piece, schema, names, rows):
        columns = {name: _column(values) for name, values in zip(batch.schema.names, batch.columns)}
        yield ColumnBatch(columns, pd.RangeIndex(start, start + len(batch)))
        start += len(batch)


def _is_plain_file(piece: Any, schema: Any, names: list[str]) -> bool:
    """Whether a local parquet file holds the columns as they are wanted."""
    if not names or not hasattr(piece, "row_groups") or piece.filesystem.type_name != "local":
        return False
    own = piece.physical_schema
    return all(own.get_field_index(name) >= 0 and own.field(name).type == schema.field(name).type for name in names)


def _file_batches(piece: Any, names: list[str], rows: int) -> Iterator[Any]:
    """Batches as their pages come from a file: a row group is never in memory at once, nor read to its end in vain."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(piece.path, metadata=piece.metadata, buffer_size=_STREAM_BYTES, pre_buffer=False) as file:
        groups = [group.id for group in piece.row_groups]
        yield from file.iter_batches(rows, row_groups=groups, columns=names, use_threads=False)


def _batches(piece: Any, schema: Any, names: list[str], rows: int) -> Iterator[Any]:
    """Batches of anything else that a dataset is made of."""
    # use_threads and read-ahead are for speed alone, and would hold many batches at once
    options = {"use_threads": False, "batch_readahead": 1, "fragment_readahead": 1}
    yield from piece.to_batches(schema=schema, columns=names, batch_size=rows, **options)


def _column(values: Any) -> Any:
    """A column of a batch as pandas has it; numbers without gaps are not copied."""
    from pyarrow import types

    plain = values.null_count == 0 and (types.is_floating(values.type) or types.is_integer(values.type))
    return values.to_numpy() if plain else values.to_pandas().array


def _dask_parts(frame: Any, columns: Sequence[str]) -> Iterator[Part]:
    present = frame[[name for name in columns if name in frame.columns]]
    for k in range(present.npartitions):
        yield partial(_partition, present.get_partition(k).optimize())


def _partition(part: Any) -> Iterator[Any]:
    yield part.compute(scheduler="synchronous")
