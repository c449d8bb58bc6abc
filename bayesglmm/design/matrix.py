"""Model terms + columns → a matrix, through formulaic: full-rank coding, contrasts, and a spec kept for new data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec, SimpleFormula
from formulaic.errors import FactorEvaluationError, FormulaicError
from formulaic.materializers.pandas import PandasMaterializer
from formulaic.materializers.types import FactorValues
from formulaic.parser.types import Factor as FormulaicFactor
from formulaic.parser.types import Term

from bayesglmm.design.coding import MAX_COLUMNS, encode_factor, too_many
from bayesglmm.design.columns import Column, Factor, all_finite, first_rows
from bayesglmm.design.evaluate import evaluate
from bayesglmm.design.types import Floats
from bayesglmm.errors import BayesGLMMError, DataError
from bayesglmm.formula import ModelTerm, factor_name
from bayesglmm.formula.expressions import Expr, Name

#: formulaic takes the first for the intercept; the second is what every table calls it.
LIKE_THE_INTERCEPT = ("1", "Intercept")
_ROWS_AT_ONCE = 4_096


def build_matrix(
    terms: Sequence[ModelTerm], columns: Mapping[str, Column], index: pd.Index, spec: ModelSpec | None = None
) -> tuple[Floats, ModelSpec]:
    """Build the columns of model terms.

    Parameters
    ----------
    terms : sequence of ModelTerm
        The terms, in order.
    columns : mapping of str to ndarray or Factor
        The table, without missing values.
    index : pandas Index
        Labels of the rows, for errors.
    spec : ModelSpec, optional
        From an earlier call: build the same columns from new data.

    Returns
    -------
    matrix : ndarray, shape (n, p)
    spec : ModelSpec
        Its ``column_names`` are the names of the columns.

    Raises
    ------
    DataError
        For values that are not finite, levels that were not seen, or more than `MAX_COLUMNS` columns.
    """
    if _is_intercept(terms) and len(index) > 1:
        return np.ones((len(index), 1)), spec or _intercept_spec(terms[0])
    nodes = {factor_name(factor): factor for term in terms for factor in term.factors}
    if spec is None:
        spec = new_spec(terms, {})
    try:
        matrix = _Materializer(columns, nodes, index, spec).get_model_matrix(spec)
    except FactorEvaluationError as error:
        if isinstance(error.__cause__, BayesGLMMError):
            raise error.__cause__ from None
        raise DataError(f"The design matrix cannot be built: {error}") from error
    except FormulaicError as error:
        raise DataError(f"The design matrix cannot be built: {error}") from error
    return matrix.__wrapped__, matrix.model_spec


def _is_intercept(terms: Sequence[ModelTerm]) -> bool:
    """Whether a single column of ones is asked for, the commonest random term."""
    return len(terms) == 1 and not terms[0].factors


@cache
def _intercept_spec(term: ModelTerm) -> ModelSpec:
    return build_matrix([term], {}, pd.RangeIndex(1))[1]


def bind_matrix(terms: Sequence[ModelTerm], columns: Mapping[str, Column], index: pd.Index, spec: ModelSpec) -> Floats:
    """Build the columns of a spec from new data; numbers and their products go straight into the matrix.

    Parameters
    ----------
    terms, columns, index, spec
        As for `build_matrix`.

    Returns
    -------
    matrix : ndarray, shape (n, p)
    """
    if len(index) == 0:  # a chunk of gaps: what its columns would hold cannot be told
        return np.empty((0, len(spec.column_names)))
    products = _plain_columns(terms, columns, index, spec)
    return build_matrix(terms, columns, index, spec)[0] if products is None else _by_rows(products, len(index))


def bind_columns(
    terms: Sequence[ModelTerm], columns: Mapping[str, Column], index: pd.Index, spec: ModelSpec
) -> tuple[Floats, ...] | None:
    """The columns of a spec apart, where they are numbers and their products: what is a column already is not copied.

    Parameters
    ----------
    terms, columns, index, spec
        As for `build_matrix`.

    Returns
    -------
    tuple of ndarray, shape (n,), or None
        Contiguous; None where there are none, or factors or transforms of several columns among them.
    """
    products = _plain_columns(terms, columns, index, spec) if len(index) else None
    return None if not products else tuple(np.ascontiguousarray(column, np.float64) for column in products)


def _plain_columns(
    terms: Sequence[ModelTerm], columns: Mapping[str, Column], index: pd.Index, spec: ModelSpec
) -> list[Floats] | None:
    """The columns of a spec one by one, where each term is one; None where formulaic has to build them."""
    names = [":".join(map(factor_name, term.factors)) or "Intercept" for term in terms]
    if names != list(spec.column_names) or any(_labelled(spec).values()):
        return None
    numbers = {f for term in terms for f in term.factors}
    values = {f: evaluate(f, columns, spec.transform_state, len(index)) for f in numbers}
    if any(isinstance(value, Factor | dict) for value in values.values()):
        return None
    for factor, value in values.items():
        if not isinstance(factor, Name):  # the table's own columns have been looked at
            _require_finite(value, factor_name(factor), index)
    return [_product([values[f] for f in term.factors], len(index)) for term in terms]


def _labelled(spec: ModelSpec) -> dict[str, bool]:
    """Whether each factor of a spec held labels."""
    return {name: kind.value == "categorical" for name, (kind, _) in spec.encoder_state.items()}


def _product(values: Sequence[Floats], nrows: int) -> Floats:
    """Row by row, the last factor first."""
    return reduce(np.multiply, reversed(values)) if values else np.broadcast_to(np.float64(1.0), (nrows,))


def _by_rows(values: Sequence[Any], nrows: int) -> Floats:
    """Fill a matrix a few thousand rows at a time, so that its rows stay in cache while they are written."""
    matrix = np.empty((nrows, len(values)))
    for start in range(0, nrows if values else 0, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        np.stack([column[rows] for column in values], axis=1, out=matrix[rows], casting="unsafe")
    return matrix


def _require_finite(values: Any, name: str, index: pd.Index) -> None:
    if not all_finite(np.asarray(values)):
        where = first_rows(~np.isfinite(np.asarray(values)), index)
        raise DataError(f"{name} is not a finite number in {where}. Correct or drop them.")


def new_spec(terms: Sequence[ModelTerm], learned: dict[str, dict[str, Any]]) -> ModelSpec:
    """Specify the columns of model terms before any data are seen.

    Parameters
    ----------
    terms : sequence of ModelTerm
    learned : dict of str to dict
        What transforms already know, by the text of the call.
    """
    formula = SimpleFormula([_formulaic_term(term) for term in terms], _ordering="none")
    return ModelSpec(formula=formula, na_action="ignore", output="numpy", transform_state=learned)


def _formulaic_term(term: ModelTerm) -> Term:
    for name in map(factor_name, term.factors):
        if name in LIKE_THE_INTERCEPT:
            raise DataError(f"A column named {name!r} cannot be told from the intercept of a model. Rename the column.")
    if not term.factors:
        return Term([FormulaicFactor("1", eval_method="literal")])
    return Term([FormulaicFactor(factor_name(factor), eval_method="python") for factor in term.factors])


class _Materializer(PandasMaterializer):
    """formulaic's materializer with our evaluation, our coding of factors and one copy of the data.

    It has no ``REGISTER_NAME`` of its own: nothing outside this module can come upon it.
    """

    # The base class wants its own decorator on methods that replace its; these go without.
    INTERFACE_SKIPPED_NAMES = frozenset(
        {"_init", "nrows", "_evaluate", "_encode_constant", "_get_columns_for_term", "_combine_columns"}
    )

    def __init__(
        self, columns: Mapping[str, Column], nodes: Mapping[str, Expr], index: pd.Index, spec: ModelSpec
    ) -> None:
        self._columns = columns
        self._nodes = nodes
        self._index = index
        self._labelled = _labelled(spec)
        super().__init__({})

    def _init(self) -> None:
        pass

    @property
    def nrows(self) -> int:
        return len(self._index)

    def _evaluate(self, expr: str, metadata: Any, spec: ModelSpec) -> tuple[Any, set[Any]]:
        value = evaluate(self._nodes[expr], self._columns, spec.transform_state, self.nrows)
        labelled = isinstance(value, Factor)
        if self._labelled.get(expr, labelled) != labelled:
            then, now = ("numbers", "labels") if labelled else ("labels", "numbers")
            raise DataError(f"{expr} held {then} when the model was built, and now holds {now}.")
        if labelled:
            return FactorValues(value, kind="categorical", spans_intercept=True, encoder=self._encoder(expr)), set()
        for part in value.values() if isinstance(value, dict) else (value,):
            _require_finite(part, expr, self._index)
        return FactorValues(value, kind="numerical"), set()

    def _encoder(self, expr: str) -> Any:
        def encode(values: Any, reduced_rank: bool, encoder_state: dict[str, Any], **_: Any) -> FactorValues:
            return encode_factor(values.__wrapped__, expr, reduced_rank, encoder_state)

        return encode

    def _encode_constant(self, value: Any, *_: Any) -> Any:
        return np.broadcast_to(np.float64(value), (self.nrows,))

    def _get_columns_for_term(self, factors: list[dict[str, Any]], spec: ModelSpec, scale: float = 1) -> dict[str, Any]:
        """Multiply factors row by row; the first factor's levels change fastest, as in R."""
        out: dict[str, Any] = {}
        count = math.prod(len(factor) for factor in factors)
        if count > MAX_COLUMNS:
            raise DataError(too_many(":".join(next(iter(factor)) for factor in factors), count))
        for product in itertools.product(*(list(factor.items()) for factor in reversed(factors))):
            name = ":".join(name for name, _ in reversed(product))
            values = [np.asarray(values) for _, values in reversed(product)]
            out[name] = reduce(np.multiply, values) * scale if scale != 1 else reduce(np.multiply, values)
        return out

    def _combine_columns(self, cols: Sequence[tuple[str, Any]], spec: ModelSpec, drop_rows: Sequence[int]) -> Any:
        return _by_rows([values for _, values in cols], self.nrows)
