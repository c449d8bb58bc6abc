"""The design of data in chunks: everything a design knows, except the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from bayesglmm.design.bind import bind_chunk
from bayesglmm.design.build import check_size
from bayesglmm.design.chunks import Chunks, Part, map_parts
from bayesglmm.design.inspection import Inspection, Onlooker, begin
from bayesglmm.design.rank import clearly_independent, limited_pivoting, relations_of, warn_aliased
from bayesglmm.design.response import check_constant_response
from bayesglmm.design.settle import located, needed_columns, numbered_tables, settle
from bayesglmm.design.types import Design, Floats, Response
from bayesglmm.errors import DataError, FormulaError, MethodError
from bayesglmm.formula import parse_formula


def _missing(what: str) -> Any:
    def needs_rows(self: object) -> NoReturn:
        raise MethodError(
            f"This needs every row in memory ({what}), and the data of this model come in chunks. "
            "Give the rows it is about (newdata=), or fit a table in memory, for instance a sample of the rows."
        )

    return property(needs_rows)


class ChunkedResponse(Response):
    """Name and levels of a response whose values are read chunk by chunk; asking for the values is an error."""

    y = _missing("the response")
    trials = _missing("the trials")

    def __init__(self, name: str, levels: tuple[str, ...] | None) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "levels", levels)


class ChunkedDesign(Design):
    """A design whose rows are read chunk by chunk; asking for them all at once is an error.

    Parameters
    ----------
    bound : Design
        Of a few rows: knows formula, columns and binding.
    chunks : Chunks
        Where the rows come from.
    nobs, n_dropped : int
        Rows in use, and rows left out for missing values.
    sample : Design
        Evenly spaced rows, for starting values.
    looked : object or None
        What a method found out in the same pass.
    """

    X = _missing("the design matrix")
    offset = _missing("the offset")
    weights = _missing("the weights")
    index = _missing("the labels of the rows")
    kept = _missing("which rows are in use")
    nobs = 0

    def __init__(
        self, bound: Design, chunks: Chunks, nobs: int, n_dropped: int, sample: Design, looked: Any = None
    ) -> None:
        response = bound.response
        assert response is not None
        values = {
            "formula": bound.formula,
            "response": ChunkedResponse(response.name, response.levels),
            "columns": bound.columns,
            "aliased": bound.aliased,
            "blocks": (),
            "n_dropped": n_dropped,
            "binding": bound.binding,
            "relations": bound.relations,
            "chunks": chunks,
            "nobs": nobs,
            "bound": bound,
            "sample": sample,
            "looked": looked,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    chunks: Chunks
    bound: Design
    sample: Design
    looked: Any

    def __repr__(self) -> str:
        return f"ChunkedDesign({self.nobs} rows of {self.chunks!r}, {len(self.columns)} columns)"

    def map(
        self, function: Callable[[BoundPart], Any], executor: Any = None, extra: tuple[str, ...] = ()
    ) -> Iterator[Any]:
        """Apply a function to every part of the data; results come in the order of the parts.

        Parameters
        ----------
        function : callable
            :class:`BoundPart` → anything.
        executor : concurrent.futures.Executor, optional
            Who does the work.
        extra : tuple of str
            Columns to read beside those of the model.
        """
        columns = [*needed_columns(self.formula, self.binding.arguments), *extra]
        bind = _Bind(function, self.bound, self.n_dropped == 0)
        return map_parts(bind, self.chunks, list(dict.fromkeys(columns)), executor)


@dataclass(frozen=True)
class BoundPart:
    """One part of the data with the design it is to be bound to, and whether all its rows are known to be complete."""

    part: Part
    bound: Design
    complete: bool

    def designs(self) -> Iterator[tuple[Design, Any]]:
        """The design of each table of the part that has complete rows, and the table."""
        for table in self.part():
            design = bind_chunk(self.bound, table, self.complete)
            if design.nobs:
                yield design, table


@dataclass(frozen=True)
class _Bind:
    """Part → function of the bound part (a class, so that it can be sent to another process)."""

    function: Callable[[BoundPart], Any]
    bound: Design
    complete: bool

    def __call__(self, part: Part) -> Any:
        return self.function(BoundPart(part, self.bound, self.complete))


def build_chunked_design(
    formula: str,
    chunks: Chunks,
    check: Callable[[Response], Any],
    *,
    weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    first: Onlooker | None = None,
) -> ChunkedDesign:
    """Build the design of data in chunks: one pass settles categories and transforms, a second checks every row.

    Where there are only numbers and their products there is nothing to settle, and one pass does both.

    Parameters
    ----------
    formula : str
        Without random terms.
    chunks : Chunks
    check : callable
        Response → raises DataError when the family cannot have produced it.
    weights, offset, exposure : str or float, optional
        Names of columns, or numbers.
    first : Onlooker, optional
        Something that is shown every row in the pass that checks them.

    Returns
    -------
    ChunkedDesign

    Raises
    ------
    FormulaError
        For random terms, a formula without a response, or transforms that one pass cannot settle.
    DataError
        For what is wrong with a chunk.
    """
    parsed = parse_formula(formula)
    if parsed.random:
        raise FormulaError(
            f"({parsed.random[0].label}) cannot be fitted to data in chunks: random effects need all rows in memory. "
            "Leave the term out, or fit a table in memory."
        )
    if parsed.response is None:
        raise FormulaError("There is no response: write it to the left of '~'.")
    arguments = {"weights": weights, "offset": offset, "exposure": exposure}

    def begun(bound: Design) -> Inspection:
        columns = needed_columns(parsed, arguments)
        return Inspection(bound, check, None if first is None else begin(first, bound, chunks, columns))

    bound, settled, seen = settle(parsed, chunks, arguments, begun)
    if seen is None:
        seen = Inspection(bound, check)
        for place, table in numbered_tables(chunks, needed_columns(parsed, arguments)):
            with located(place):
                seen.look(table)
    check_constant_response(seen.extremes)
    keep, relations = _independent(bound, chunks, arguments, seen)
    names = bound.columns
    aliased = tuple(name for name, kept in zip(names, keep) if not kept)
    check_size(settled.kept, len(names), len(aliased))
    if aliased:
        warn_aliased(aliased)
    bound = replace(
        bound,
        X=bound.X[:, keep],
        columns=tuple(name for name, kept in zip(names, keep) if kept),
        aliased=aliased,
        relations=relations,
        binding=replace(bound.binding, keep=keep),
    )
    sample = seen.sample
    sample = replace(sample, X=sample.X[:, keep], columns=bound.columns, binding=bound.binding)
    looked = None if aliased or seen.first is None else seen.first.found
    return ChunkedDesign(bound, chunks, settled.kept, settled.nrows - settled.kept, sample, looked)


def _independent(
    bound: Design, chunks: Chunks, arguments: dict[str, Any], seen: Inspection
) -> tuple[Any, Floats | None]:
    """Which columns add something, and how the others depend on them; a triangular factor decides when in doubt."""
    p = len(bound.columns)
    if p == 0 or seen.independent:
        return np.ones(p, dtype=bool), None

    def matrices() -> Iterator[Floats]:
        for _, table in numbered_tables(chunks, needed_columns(bound.formula, arguments)):
            yield bind_chunk(bound, table).X

    gram = sum((X.T @ X for X in matrices()), np.zeros((p, p))) if seen.gram is None else seen.gram
    if clearly_independent(gram):
        return np.ones(p, dtype=bool), None
    scale = np.sqrt(np.diagonal(gram))
    scale[scale == 0] = 1.0
    R = np.empty((0, p))
    for X in matrices():
        R = np.linalg.qr(np.vstack([R, X / scale]), mode="r")
    if not np.isfinite(R).all():
        raise DataError("The columns of the design are too large to be compared. Rescale them.")
    keep = limited_pivoting(R)
    if keep.all():
        return keep, None
    return keep, relations_of(R, keep) * scale[~keep] / scale[keep][:, None]
