"""Walk an expression of a formula and compute it on columns. Nothing is handed to Python's ``eval``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesglmm.design.columns import Column, Factor, drop_unused, factor_from_floats, labels, recode
from bayesglmm.design.types import Floats
from bayesglmm.errors import DataError
from bayesglmm.formula.expressions import COMPARISONS, Binary, Call, Constant, Expr, Name, Paren, Sign, Sum, render
from bayesglmm.formula.functions import FUNCTIONS, read_options

State = MutableMapping[str, dict[str, Any]]

_UFUNCS = (np.log, np.log2, np.log10, np.log1p, np.exp, np.expm1, np.sqrt, np.sin, np.cos, np.tan, np.tanh)
_ELEMENTWISE: dict[str, Callable[[Any], Any]] = {ufunc.__name__: ufunc for ufunc in _UFUNCS}
_ELEMENTWISE |= {"abs": np.abs, "floor": np.floor, "ceil": np.ceil, "ceiling": np.ceil}
_ELEMENTWISE |= {"round": np.round, "sign": np.sign}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(node: Expr, columns: Mapping[str, Column], state: State, nrows: int) -> Any:
    """Compute an expression.

    Parameters
    ----------
    node : expression
        From the formula; already checked against the closed list of functions.
    columns : mapping of str to ndarray or Factor
        The table.
    state : mutable mapping
        What transforms such as ``poly()`` have learned from the data, by the text of the call; filled on the first
        evaluation and used from then on.
    nrows : int
        Number of rows, for expressions that use no column.

    Returns
    -------
    ndarray of float64, shape (n,), or Factor, or dict of str to ndarray
        A dict for transforms that give several columns; its keys are what distinguishes their names.

    Raises
    ------
    DataError
        When a factor is computed with as if it were numbers.
    """
    if isinstance(node, Name):
        return columns[node.name]
    with np.errstate(all="ignore"):
        value = _evaluate(node, columns, state)
    if isinstance(value, Factor | dict):
        return value
    if np.asarray(value).dtype == bool:
        return _factor_from_bool(np.broadcast_to(value, nrows))
    return np.full(nrows, value, dtype=np.float64) if np.ndim(value) == 0 else value


def _evaluate(node: Expr, columns: Mapping[str, Column], state: State) -> Any:
    match node:
        case Name(name):
            return columns[name]
        case Constant(value):
            return np.float64(value)  # float arithmetic: 2**9999 is inf, not a number of ten thousand bits
        case Paren(inner):
            return _evaluate(inner, columns, state)
        case Sign(sign, operand):
            value = _numbers(operand, columns, state)
            return -value if sign == "-" else value
        case Sum(items):
            total = _numbers(items[0][1], columns, state)
            for symbol, item in items[1:]:
                total = _OPERATORS[symbol](total, _numbers(item, columns, state))
            return total
        case Binary(symbol, left, right):
            if symbol in COMPARISONS and (compared := _compare_labels(node, columns)) is not None:
                return compared
            return _OPERATORS[symbol](_numbers(left, columns, state), _numbers(right, columns, state))
        case Call():
            return _call(node, columns, state)
    raise AssertionError(node)  # every kind of node is above


def _numbers(node: Expr, columns: Mapping[str, Column], state: State) -> Any:
    value = _evaluate(node, columns, state)
    if isinstance(value, dict):
        raise DataError(f"{render(node)} gives several columns and cannot be computed with. Use it as it stands.")
    if isinstance(value, Factor) and set(value.levels) <= {"False", "True"}:
        return np.array([level == "True" for level in value.levels], dtype=np.float64)[value.codes]
    if isinstance(value, Factor):
        shown = ", ".join(value.levels[:3])
        message = f"{render(node)} holds labels ({shown}, …), and was expected to hold numbers."
        raise DataError(f"{message} Convert the column, or use it as it stands.")
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == bool else value


def _compare_labels(node: Binary, columns: Mapping[str, Column]) -> Any:
    """``g == "a"``, either way round; None when it is a comparison of numbers."""
    name, label = node.left, node.right
    if isinstance(name, Constant):
        name, label = label, name
    if not (isinstance(name, Name) and isinstance(label, Constant) and node.operator in ("==", "!=")):
        return None
    column = columns[name.name]
    if not isinstance(column, Factor):
        if isinstance(label.value, str):
            raise DataError(f"{name.name} holds numbers and is compared with the text {label.text}. Drop the quotes.")
        return None
    (wanted,) = labels([label.value])
    equal = column.codes == (column.levels.index(wanted) if wanted in column.levels else len(column.levels))
    return equal if node.operator == "==" else ~equal


def _call(node: Call, columns: Mapping[str, Column], state: State) -> Any:
    kind = FUNCTIONS[node.function].kind
    argument = node.arguments[0]
    if kind == "identity":
        return _evaluate(argument, columns, state)
    if kind == "category":
        return _category(node, _evaluate(argument, columns, state))
    values = _numbers(argument, columns, state)
    if kind == "elementwise":
        return _ELEMENTWISE[node.function](values)
    return _transform(node, values, state.setdefault(render(node), {}))


def _transform(node: Call, values: Floats, state: dict[str, Any]) -> Any:
    from formulaic.transforms import TRANSFORMS

    options = {name: list(v) if isinstance(v, tuple) else v for name, v in read_options(node).items()}
    try:
        result = TRANSFORMS[node.function](values, **options, _state=state)
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise DataError(f"{render(node)} cannot be computed: {error}") from error
    if np.ndim(result) == 2:  # poly(): names that count from 1, raw or not
        result = {str(j + 1): np.asarray(result)[:, j] for j in range(result.shape[1])}
    return result


def _category(node: Call, value: Any) -> Factor:
    if isinstance(value, np.ndarray):
        value = _factor_from_bool(value) if value.dtype == bool else factor_from_floats(value)
    if not isinstance(value, Factor):
        raise DataError(f"{render(node)} has no column to make a factor of.")
    options = read_options(node)
    if "levels" in options:
        value = _reorder(value, labels_of(options["levels"]), node)
    if options.get("contrasts") is not None:
        value = replace(value, contrast=options["contrasts"])
    return value


def labels_of(values: Any) -> tuple[str, ...]:
    """Names of the levels that a formula writes as text or numbers."""
    return tuple(label for value in values for label in labels([value]))


def _reorder(factor: Factor, levels: tuple[str, ...], node: Call) -> Factor:
    absent = [level for level in factor.levels if level not in levels]
    if absent:
        raise DataError(f"{render(node)} leaves out levels that occur in the data: {', '.join(absent)}. Add them.")
    return drop_unused(replace(factor, codes=recode(factor, levels), levels=levels))


def _factor_from_bool(values: Any) -> Factor:
    return drop_unused(Factor(values.astype(np.int64), ("False", "True")))
