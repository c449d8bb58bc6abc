"""Formula + table → Design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.auxiliary import build_auxiliaries
from bayesglmm.design.columns import Factor, all_finite, first_rows
from bayesglmm.design.evaluate import evaluate
from bayesglmm.design.groups import GroupBinding, build_blocks
from bayesglmm.design.matrix import build_matrix
from bayesglmm.design.rank import column_relations, independent_columns, warn_aliased
from bayesglmm.design.response import build_response, check_constant_response, response_expressions
from bayesglmm.design.rows import Rows, check_positive, read_rows
from bayesglmm.design.tables import Table
from bayesglmm.design.types import Design, Floats
from bayesglmm.errors import DataError
from bayesglmm.formula import Formula, parse_formula
from bayesglmm.formula.expressions import render
from bayesglmm.formula.formula import column_names, term_factors


@dataclass(frozen=True)
class Binding:
    """What `rebind` needs of the data the design was built from.

    Parameters
    ----------
    spec : ModelSpec
        Of the fixed part.
    keep : ndarray of bool
        Which of its columns are in X.
    groups : tuple of GroupBinding
        One per block.
    levels : tuple of str or None
        Levels of a categorical response.
    arguments : dict
        For weights, offset and exposure: the column's name or the number, None when there was none, True when an array
        was given.
    """

    spec: Any
    keep: NDArray[np.bool_]
    groups: tuple[GroupBinding, ...]
    levels: tuple[str, ...] | None
    arguments: dict[str, str | float | bool | None]


def build_design(
    formula: Formula | str,
    data: Any,
    *,
    weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    auxiliaries: Mapping[str, Formula] | None = None,
) -> Design:
    """Apply a formula to a table.

    Parameters
    ----------
    formula : Formula or str
        What `parse_formula` gives, or its text.
    data : table
        pandas, polars or pyarrow table, or a dict of arrays.
    weights, offset, exposure : str or array-like, shape (n,), optional
        A column's name or the values. Weights are prior weights; the offset is added to the linear predictor, and so is
        the logarithm of the exposure and every ``offset(...)`` of the formula.
    auxiliaries : mapping of str to Formula, optional
        Auxiliaries of the likelihood with a linear predictor of their own.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError
        When the formula cannot be read.
    DataError
        When the table does not fit the formula; the message says which column and which rows.

    Warns
    -----
    DataWarning
        When rows with missing values, or columns that are linear combinations of others, are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"y": [1.0, 2, 4, 3], "x": [0.0, 1, 2, 4], "g": ["a", "a", "b", "b"]})
    >>> design = build_design("y ~ x + (1 | g)", data)
    >>> design.columns, design.blocks[0].levels
    (('Intercept', 'x'), ('a', 'b'))
    """
    formula = parse_formula(formula) if isinstance(formula, str) else formula
    table = Table(data)
    if table.nrows == 0:
        raise DataError("The table has no rows.")
    given = {"weights": weights, "offset": offset, "exposure": exposure}
    own = auxiliaries or {}
    rows = read_rows(table, used_columns(formula, beside=tuple(own.values())), grouping_names(formula), given)
    response = build_response(formula, rows.columns, rows.index)
    if response is not None:
        check_constant_response(response)
    X, spec = build_matrix(formula.terms, rows.columns, rows.index)
    X, keep, relations = _full_rank(X, spec)
    blocks, groups = build_blocks(formula.random, rows.columns, rows.groups, rows.index)
    levels = None if response is None else response.levels
    binding = Binding(spec, keep, groups, levels, {name: _remember(value) for name, value in given.items()})
    return Design(
        formula=formula,
        response=response,
        X=X,
        columns=_named(spec, keep),
        aliased=_named(spec, ~keep),
        offset=total_offset(formula, rows),
        weights=prior_weights(rows),
        blocks=blocks,
        index=rows.index,
        n_dropped=rows.n_dropped,
        binding=binding,
        relations=relations,
        kept=None if rows.n_dropped == 0 else rows.kept,
        auxiliaries=build_auxiliaries(own, rows),
    )


def _full_rank(X: Floats, spec: Any) -> tuple[Floats, NDArray[np.bool_], Floats | None]:
    """Leave out columns that add nothing: those that stay, which they are, and how the others depend on them."""
    keep = independent_columns(X)
    aliased = _named(spec, ~keep)
    check_size(X.shape[0], X.shape[1], len(aliased))
    if not aliased:
        return X, keep, None
    warn_aliased(aliased)
    return X[:, keep], keep, column_relations(X, keep)


def _named(spec: Any, which: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, there in zip(spec.column_names, which) if there)


@lru_cache(maxsize=64)
def used_columns(formula: Formula, with_response: bool = True, beside: tuple[Formula, ...] = ()) -> tuple[str, ...]:
    """Columns used as numbers or factors, those of the formulas `beside` it among them."""
    terms = [*formula.terms, *(term for bar in formula.random for term in bar.terms)]
    terms += [term for other in beside for term in other.terms]
    left = response_expressions(formula) if with_response else []
    return column_names([*left, *term_factors(terms), *formula.offsets])


def grouping_names(formula: Formula) -> tuple[str, ...]:
    """Columns used as labels of groups."""
    return tuple(dict.fromkeys(name for term in formula.random for name in term.factors))


def _remember(value: Any) -> str | float | bool | None:
    if value is None or isinstance(value, str):
        return value
    return True if np.ndim(value) else float(value)


def total_offset(formula: Formula, rows: Rows) -> Floats:
    """Add the offsets of the formula, the argument, and log(exposure)."""
    total = np.zeros(len(rows.index))
    for node in formula.offsets:
        value = evaluate(node, rows.columns, {}, len(rows.index))
        if isinstance(value, Factor | dict):
            raise DataError(f"offset({render(node)}) is not a column of numbers.")
        total += value
    if "offset" in rows.arguments:
        total += rows.arguments["offset"]
    if "exposure" in rows.arguments:
        check_positive(rows.arguments["exposure"], "exposure", rows.index)
        total += np.log(rows.arguments["exposure"])
    if not all_finite(total):
        bad = ~np.isfinite(total)
        raise DataError(f"The offset is not a finite number in {first_rows(bad, rows.index)}. Correct or drop them.")
    return total


def prior_weights(rows: Rows) -> Floats | None:
    """The weights, a copy; None when there are none."""
    weights = rows.arguments.get("weights")
    if weights is None:
        return None
    check_positive(weights, "weights", rows.index)
    return weights.copy()


def check_size(n: int, p: int, aliased: int) -> None:
    """Refuse fewer rows than there are coefficients."""
    if n <= p - aliased:
        raise DataError(f"{n} rows cannot determine {p} coefficients. Leave out terms, or bring more rows.")
