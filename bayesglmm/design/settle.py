"""One pass over chunks settles what a design must know of all rows: categories, levels of the response, transforms.

Categories are settled by *witnesses*: of every chunk, the rows that show a level not seen before. Together they are a
small table that has every level, and the design built from it by the ordinary code orders and codes them as the whole
table would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bayesglmm.design.bind import read_chunk
from bayesglmm.design.build import Binding, used_columns
from bayesglmm.design.chunks import Chunks
from bayesglmm.design.coding import MAX_COLUMNS
from bayesglmm.design.columns import Factor
from bayesglmm.design.evaluate import evaluate
from bayesglmm.design.matrix import build_matrix, new_spec
from bayesglmm.design.response import build_response, response_expressions
from bayesglmm.design.rows import Rows, read_rows, report_missing
from bayesglmm.design.tables import Table
from bayesglmm.design.transforms import is_transform, learners, values_of
from bayesglmm.design.types import Design
from bayesglmm.errors import BayesGLMMError, DataError, FormulaError
from bayesglmm.formula import Formula
from bayesglmm.formula.expressions import COMPARISONS, Binary, Expr, render, walk
from bayesglmm.formula.formula import term_factors


@dataclass
class Settled:
    """What the first pass found.

    Parameters
    ----------
    nrows, kept : int
        Rows seen, and those without a missing value.
    parts : int
        Parts they came in.
    gaps : dict of str to int
        Missing values by column.
    seen : dict of str to set of str
        Levels by expression.
    witnesses : list of DataFrame
        Rows that show all levels.
    """

    nrows: int = 0
    kept: int = 0
    parts: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    witnesses: list[pd.DataFrame] = field(default_factory=list)


class Looker(Protocol):
    """Something that looks at every chunk of a design."""

    def see(self, rows: Rows) -> None:
        """Take in the complete rows of one table."""
        ...


def settle[L: Looker](
    formula: Formula, chunks: Chunks, arguments: dict[str, Any], looker: Callable[[Design], L]
) -> tuple[Design, Settled, L | None]:
    """Read all chunks once and build the design of the witnesses, to which every chunk can then be bound.

    Parameters
    ----------
    formula : Formula
        Without random terms.
    chunks : Chunks
    arguments : dict of str to (str, float or None)
        Weights, offset and exposure: columns' names or numbers.
    looker : callable
        Design → what is to look at every chunk bound to it.

    Returns
    -------
    design : Design
        Of the witnesses, with all columns; its binding knows the levels and transforms of all rows.
    settled : Settled
    looked : Looker or None
        One that has seen every chunk already, where there was nothing to settle.

    Raises
    ------
    FormulaError
        For transforms that one pass cannot settle.
    DataError
        For what is wrong with a chunk; the message says which.

    Warns
    -----
    DataWarning
        When rows are left out for missing values.
    """
    for name, value in arguments.items():
        if value is not None and not isinstance(value, str) and np.ndim(value):
            raise DataError(f"{name} is an array; data in chunks need the name of a column, or a number.")
    factors = term_factors(formula.terms)
    learned = learners(factors)
    labelled = [node for node in [*factors, *response_expressions(formula)] if _may_be_factor(node)]
    settled = Settled()
    looked: L | None = None
    for place, table in numbered_tables(chunks, needed_columns(formula, arguments)):
        settled.parts = place
        with located(place):
            first = settled.kept == 0
            rows = _see(settled, table, formula, arguments, labelled, learned)
            if settled.seen or learned:
                looked = None
            elif first and settled.kept:
                looked = looker(_witness_design(formula, settled.witnesses[0], arguments, {}))
            if looked is not None and len(rows.index):
                looked.see(rows)
    if settled.nrows == 0:
        raise DataError("The chunks have no rows.")
    order = [*used_columns(formula), *arguments]
    report_missing({name: settled.gaps[name] for name in order if name in settled.gaps}, settled.nrows, settled.kept)
    frame = pd.concat(settled.witnesses, ignore_index=True)
    states = {text: learner.state() for text, (_, learner) in learned.items()}
    return _witness_design(formula, frame, arguments, states), settled, looked


def needed_columns(formula: Formula, arguments: dict[str, Any]) -> list[str]:
    """Names of the columns to read."""
    named = [value for value in arguments.values() if isinstance(value, str)]
    return list(dict.fromkeys([*used_columns(formula), *named]))


def numbered_tables(chunks: Chunks, columns: list[str]) -> Any:
    """All tables with their place, counted from 1."""
    for number, part in enumerate(chunks.parts(columns), 1):
        for table in part():
            yield number, table


class located:  # noqa: N801
    """Say in which chunk something was wrong."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BayesGLMMError):
            raise type(error)(f"In chunk {self.place}: {error}") from error


def _may_be_factor(node: Expr) -> bool:
    """Whether an expression is to be looked at for levels; those with transforms are numbers, or refused."""
    if not any(is_transform(n) for n in walk(node)):
        return True
    if any(isinstance(n, Binary) and n.operator in COMPARISONS for n in walk(node)):
        raise FormulaError(
            f"{render(node)} compares what must be settled first, which takes a second pass over data in chunks. "
            "Compute it as a column of the table."
        )
    return False


def _see(
    settled: Settled, table: Any, formula: Formula, arguments: dict[str, Any], labelled: list[Expr], learned: Any
) -> Rows:
    """Take in one table, and give its complete rows."""
    rows = read_chunk(formula, arguments, table, settled.gaps)
    settled.nrows += len(rows.kept)
    n = len(rows.index)
    if n == 0:
        return rows
    new: set[int] = set() if settled.kept else {0}
    settled.kept += n
    for node in labelled:
        value = evaluate(node, rows.columns, {}, n)
        if isinstance(value, Factor):
            new |= _new_levels(value, render(node), settled.seen.setdefault(render(node), set()))
    for argument, learner in learned.values():
        values = values_of(argument, rows.columns, n)
        if len(values):
            learner.see(values)
    if new:
        view, where = Table(table), np.flatnonzero(rows.kept)[sorted(new)]
        names = needed_columns(formula, arguments)
        settled.witnesses.append(pd.DataFrame({k: view.column(k).iloc[where].array for k in names}, index=where))
    return rows


def _new_levels(factor: Factor, name: str, seen: set[str]) -> set[int]:
    """First rows of the levels that were not seen before."""
    if seen.issuperset(factor.levels):
        return set()
    codes, first = np.unique(factor.codes, return_index=True)
    rows = {int(row) for code, row in zip(codes, first) if factor.levels[code] not in seen}
    seen.update(factor.levels)
    if len(seen) > MAX_COLUMNS:
        raise DataError(
            f"{name} has more than {MAX_COLUMNS} levels. A factor of so many levels is usually a grouping factor."
        )
    return rows


def _witness_design(
    formula: Formula, frame: pd.DataFrame, arguments: dict[str, Any], states: dict[str, dict[str, Any]]
) -> Design:
    given = {name: value for name, value in arguments.items() if value is not None}
    rows = read_rows(Table(frame), used_columns(formula), (), given)
    response = build_response(formula, rows.columns, rows.index)
    X, spec = build_matrix(formula.terms, rows.columns, rows.index, new_spec(formula.terms, states))
    levels = None if response is None else response.levels
    binding = Binding(spec, np.ones(X.shape[1], dtype=bool), (), levels, arguments)
    return Design(
        formula=formula,
        response=response,
        X=X,
        columns=tuple(spec.column_names),
        aliased=(),
        offset=np.zeros(len(X)),
        weights=None,
        blocks=(),
        index=rows.index,
        binding=binding,
    )
