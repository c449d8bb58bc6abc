"""The left side of the formula."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bayesglmm.design.columns import Column, Factor, all_finite, first_rows, recode
from bayesglmm.design.evaluate import evaluate
from bayesglmm.design.rows import check_finite
from bayesglmm.design.types import Floats, Response
from bayesglmm.errors import DataError
from bayesglmm.formula import Formula
from bayesglmm.formula.expressions import Expr


def build_response(
    formula: Formula, columns: Mapping[str, Column], index: pd.Index, levels: tuple[str, ...] | None = None
) -> Response | None:
    """Compute the response.

    Parameters
    ----------
    formula : Formula
    columns : mapping of str to ndarray or Factor
    index : pandas Index
        Labels of the rows, for errors.
    levels : tuple of str, optional
        Levels of a categorical response, when they are known from other data.

    Returns
    -------
    Response or None
        None for a one-sided formula.

    Raises
    ------
    DataError
        For values that are not finite, negative successes or trials that are not positive, more successes than
        trials, or levels that are not among `levels`.
    """
    term = formula.response
    if term is None:
        return None
    value = evaluate(term.value, columns, {}, len(index))
    if term.trials is None and isinstance(value, Factor):
        return _categorical(term.label, value, levels, index)
    y = _numbers(value, term.label, index)
    if term.trials is None:
        return Response(term.label, y)
    trials = _numbers(evaluate(term.trials, columns, {}, len(index)), f"the trials of {term.label}", index)
    for bad, what in (
        (y < 0, "negative successes"),
        (trials <= 0, "trials that are not positive"),
        (y > trials, "more successes than trials"),
    ):
        if bad.any():
            raise DataError(f"{term.label} has {what} in {first_rows(bad, index)}. Correct or drop them.")
    return Response(term.label, y, trials)


def _numbers(value: object, label: str, index: pd.Index) -> Floats:
    if isinstance(value, Factor):
        raise DataError(f"{label} holds labels; expected numbers of successes and trials.")
    if isinstance(value, dict):
        raise DataError(f"The response {label} has {len(value)} columns; expected one.")
    y = np.array(value, dtype=np.float64)  # a copy: the table stays the user's own
    if not all_finite(y):
        bad = np.isnan(y)
        if bad.any():
            raise DataError(
                f"The response {label} cannot be computed in {first_rows(bad, index)}. Correct or drop them."
            )
        check_finite(y, label, index)
    return y


def _categorical(label: str, factor: Factor, levels: tuple[str, ...] | None, index: pd.Index) -> Response:
    if levels is None:
        return Response(label, factor.codes.astype(np.float64), levels=factor.levels)
    codes = recode(factor, levels)
    bad = codes < 0
    if bad.any():
        raise DataError(
            f"The response {label} has levels the model was not built with in {first_rows(bad, index)}. "
            f"It knows {', '.join(levels)}."
        )
    return Response(label, codes.astype(np.float64), levels=levels)


def check_constant_response(response: Response) -> None:
    """Refuse a response that says nothing about any model: one value in every row.

    With trials, equal proportions are fine unless they are all 0 or all 1.

    Raises
    ------
    DataError
    """
    y, trials = response.y, response.trials
    if trials is not None:
        constant, value = (y == 0).all() or (y == trials).all(), "no successes" if y[0] == 0 else "no failures"
    else:
        constant, value = (y == y[0]).all(), repr(response.levels[0]) if response.levels else f"{y[0]:g}"
    if constant:
        what = "has" if trials is not None else "is constant:"
        raise DataError(
            f"The response {response.name} {what} {value} in all {len(y)} rows, so nothing can be learned from it. "
            "Check the column and the rows that were selected."
        )


def response_expressions(formula: Formula) -> list[Expr]:
    """List the expressions of the left side."""
    term = formula.response
    if term is None:
        return []
    return [term.value] if term.trials is None else [term.value, term.trials]
