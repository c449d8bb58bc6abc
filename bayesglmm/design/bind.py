"""The columns of a design again, from new data or from a chunk of a larger table."""

from __future__ import annotations

from itertools import compress
from typing import Any

from bayesglmm.design.auxiliary import rebind_auxiliary
from bayesglmm.design.build import Binding, grouping_names, prior_weights, total_offset, used_columns
from bayesglmm.design.columns import missing, take
from bayesglmm.design.groups import rebind_block
from bayesglmm.design.matrix import bind_columns, bind_matrix
from bayesglmm.design.response import build_response, response_expressions
from bayesglmm.design.rows import Rows, read_rows
from bayesglmm.design.tables import Table
from bayesglmm.design.types import ColumnDesign, Design, Floats, Response
from bayesglmm.errors import DataError
from bayesglmm.formula import Formula
from bayesglmm.formula.formula import column_names


def rebind(
    design: Design, newdata: Any, *, offset: Any = None, exposure: Any = None, require_response: bool = False
) -> Design:
    """Build the same columns from new data, with everything that was learned from the old.

    Parameters
    ----------
    design : Design
        From `build_design`.
    newdata : table
        As for `build_design`. A grouping factor may be absent: all its codes are then -1, as for unseen levels.
    offset, exposure : str or array-like, optional
        In place of those the design was built with; needed when those were arrays.
    require_response : bool
        Whether the response must be there, and rows where it is missing are dropped. Otherwise it is taken along when
        it is there for every row in use.

    Returns
    -------
    Design
        With the columns of `design`; ``weights`` are taken along when they were a column that is there.

    Raises
    ------
    DataError
        For levels of fixed factors that were not seen, absent columns, or values that are not finite.
    """
    formula: Formula = design.formula
    binding: Binding = design.binding
    table = Table(newdata)
    wanted = {"offset": offset, "exposure": exposure}
    given = {name: _argument(name, binding.arguments[name], value) for name, value in wanted.items()}
    weights = binding.arguments["weights"]
    given["weights"] = weights if isinstance(weights, str) and weights in table else None
    grouping = [name for name in grouping_names(formula) if name in table]
    beside = tuple(a.formula for a in design.auxiliaries)
    rows = read_rows(table, used_columns(formula, require_response, beside), grouping, given)
    if require_response:
        response = build_response(formula, rows.columns, rows.index, binding.levels)
    else:
        response = _response_if_complete(formula, table, rows, binding)
    return _bound(design, rows, response, Design, _matrix(design, rows))


def read_chunk(
    formula: Formula,
    arguments: dict[str, Any],
    table: Any,
    gaps: dict[str, int] | None = None,
    complete: bool = False,
) -> Rows:
    """Read the complete rows of one table of many.

    Parameters
    ----------
    formula : Formula
        Without random terms.
    arguments : dict of str to (str, float or None)
        Weights, offset and exposure: columns' names or numbers.
    table : table
    gaps : dict of str to int, optional
        Missing values are counted here, by column.
    complete : bool
        The same table was read before, and there were neither gaps nor infinite numbers.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    return read_rows(Table(table), used_columns(formula), (), given, {} if gaps is None else gaps, complete)


def bind_rows(design: Design, rows: Rows) -> Design:
    """Build the columns of a design from the rows of a chunk, each where it is already if that can be."""
    formula, binding = design.formula, design.binding
    response = build_response(formula, rows.columns, rows.index, binding.levels)
    stack = bind_columns(formula.terms, rows.columns, rows.index, binding.spec) if binding.keep.any() else None
    if stack is None:
        return _bound(design, rows, response, Design, _matrix(design, rows))
    return _bound(design, rows, response, ColumnDesign, tuple(compress(stack, binding.keep)))


def bind_chunk(design: Design, table: Any, complete: bool = False) -> Design:
    """Build the columns of a design from the complete rows of one table of many."""
    return bind_rows(design, read_chunk(design.formula, design.binding.arguments, table, complete=complete))


def _matrix(design: Design, rows: Rows) -> Floats:
    binding: Binding = design.binding
    matrix = bind_matrix(design.formula.terms, rows.columns, rows.index, binding.spec)
    return matrix if binding.keep.all() else matrix[:, binding.keep]


def _bound(design: Design, rows: Rows, response: Response | None, kind: type[Design], X: Any) -> Design:
    """The design of other rows with these columns."""
    binding: Binding = design.binding
    return kind(
        formula=design.formula,
        response=response,
        X=X,
        columns=design.columns,
        aliased=design.aliased,
        offset=total_offset(design.formula, rows),
        weights=prior_weights(rows),
        blocks=tuple(rebind_block(group, rows.columns, rows.groups, rows.index) for group in binding.groups),
        index=rows.index,
        n_dropped=rows.n_dropped,
        binding=binding,
        relations=design.relations,
        kept=None if rows.n_dropped == 0 else rows.kept,
        auxiliaries=tuple(rebind_auxiliary(a, rows) for a in design.auxiliaries),
    )


def _argument(name: str, remembered: str | float | bool | None, given: Any) -> Any:
    """Argument for new data: what is given, or the column or number of the old."""
    if given is not None:
        return given
    if remembered is True:
        raise DataError(f"The model was built with an array as {name}. Give {name}= for the new data.")
    return remembered


def _response_if_complete(formula: Formula, table: Table, rows: Rows, binding: Binding) -> Response | None:
    """Take the response along when its columns are there and have no gap in the rows in use."""
    names = column_names(response_expressions(formula))
    if not names or not all(name in table for name in names):
        return None
    columns = {name: take(table.read(name), rows.kept) for name in names}
    if any(missing(column).any() for column in columns.values()):
        return None
    return build_response(formula, columns, rows.index, binding.levels)
