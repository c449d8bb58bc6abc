"""Linear hypotheses in words: ``"a = b"``, ``"2*a - b = 1"``, a list of them, or a matrix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import numeric
from bayesglmm.errors import MethodError

Floats = NDArray[np.float64]

_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?")


def read_hypotheses(hypothesis: Any, columns: Sequence[str]) -> tuple[Floats, Floats, tuple[str, ...]]:
    """L and c of the hypothesis Lβ = c.

    Parameters
    ----------
    hypothesis : str, list of str, or array_like
        Equations in coefficient names (several may stand in one text, separated by commas; an expression without
        ``=`` is set to zero), a vector of length p, or a matrix of shape (k, p).
    columns : sequence of str, length p
        Coefficient names.

    Returns
    -------
    L : ndarray, shape (k, p)
        Coefficients of the contrasts.
    c : ndarray, shape (k,)
        Right-hand sides.
    labels : tuple of str
        One text per row.

    Raises
    ------
    MethodError
        An unknown name, an expression that is not linear, or a matrix of the wrong shape.

    Examples
    --------
    >>> L, c, labels = read_hypotheses("a = b, 2*a = 1", ["a", "b"])
    >>> L.tolist(), c.tolist()
    ([[1.0, -1.0], [2.0, 0.0]], [0.0, 1.0])
    """
    if isinstance(hypothesis, str):
        texts = _split(hypothesis)
    elif isinstance(hypothesis, list | tuple) and all(isinstance(h, str) for h in hypothesis) and hypothesis:
        texts = [part for h in hypothesis for part in _split(h)]
    else:
        L = np.atleast_2d(numeric("hypothesis", hypothesis))
        if L.ndim != 2 or L.shape[1] != len(columns):
            raise MethodError(
                f"the hypothesis has shape {np.shape(hypothesis)}; a matrix with {len(columns)} columns is expected, "
                f"one per coefficient ({', '.join(columns)})."
            )
        return L, np.zeros(len(L)), tuple(_describe(row, columns) for row in L)
    rows, right = [], []
    for text in texts:
        sides = _top_level(text, "=")
        if len(sides) > 2:
            raise MethodError(f"the hypothesis {text!r} has more than one '='; separate equations by commas.")
        left, constant = _linear(sides[0], columns)
        if len(sides) == 2:
            other, number = _linear(sides[1], columns)
            left, constant = left - other, constant - number
        if not np.any(left):
            raise MethodError(f"the hypothesis {text!r} holds no coefficient.")
        rows.append(left)
        right.append(0.0 - constant)
    labels = tuple(t if _has(t, "=") else f"{t} = 0" for t in texts)
    return np.array(rows), np.array(right), labels


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in _top_level(text, ",")]
    if not all(parts):
        raise MethodError(f"the hypothesis {text!r} has an empty part.")
    return parts


def _has(text: str, mark: str) -> bool:
    return len(_top_level(text, mark)) > 1


def _top_level(text: str, mark: str) -> list[str]:
    """Split at a character that stands outside brackets and backticks."""
    parts, depth, quoted, begin = [], 0, False, 0
    for i, ch in enumerate(text):
        if ch == "`":
            quoted = not quoted
        elif not quoted:
            depth += (ch in "([") - (ch in ")]")
            if ch == mark and depth == 0:
                parts.append(text[begin:i])
                begin = i + 1
    return [*parts, text[begin:]]


def _linear(text: str, columns: Sequence[str]) -> tuple[Floats, float]:
    """Coefficients and constant of a sum of products of numbers and at most one name."""
    coefficients, constant, position = np.zeros(len(columns)), 0.0, 0
    if not text.strip():
        raise MethodError("a hypothesis has nothing on one side of its '='; write 0.")
    first = True
    while text[position:].strip():
        sign, position = _sign(text, position, first)
        number, name, position = _product(text, position, columns)
        if name is None:
            constant += sign * number
        else:
            coefficients[name] += sign * number
        first = False
    return coefficients, constant


def _sign(text: str, position: int, first: bool) -> tuple[float, int]:
    sign, seen = 1.0, False
    while position < len(text) and text[position] in " \t\n+-":
        sign *= -1.0 if text[position] == "-" else 1.0
        seen |= text[position] in "+-"
        position += 1
    if not (first or seen):
        raise MethodError(f"in the hypothesis {text.strip()!r}, '+' or '-' is expected at {text[position:]!r}.")
    return sign, position


def _product(text: str, position: int, columns: Sequence[str]) -> tuple[float, int | None, int]:
    number, name = 1.0, None
    divide = False
    while True:
        position += len(text[position:]) - len(text[position:].lstrip())
        found = _name_at(text, position, columns)
        digits = _NUMBER.match(text, position)
        if found is not None:
            if name is not None or divide:
                raise MethodError(f"the hypothesis {text.strip()!r} is not linear in the coefficients.")
            name, position = found
        elif digits is not None:
            number = number / float(digits[0]) if divide else number * float(digits[0])
            position = digits.end()
        else:
            raise _unknown(text, position, columns)
        rest = text[position:].lstrip()
        if not rest or rest[0] not in "*/":
            return number, name, position
        divide = rest[0] == "/"
        position = len(text) - len(rest) + 1


def _name_at(text: str, position: int, columns: Sequence[str]) -> tuple[int, int] | None:
    """The longest coefficient name that stands at a position."""
    if text[position : position + 1] == "`":
        end = text.find("`", position + 1)
        quoted = text[position + 1 : end]
        return (list(columns).index(quoted), end + 1) if quoted in columns else None
    best: tuple[int, int] | None = None
    for j, name in enumerate(columns):
        end = position + len(name)
        whole = not (name[-1].isalnum() or name[-1] == "_") or not re.match(r"[\w.\[(:]", text[end : end + 1])
        if text.startswith(name, position) and whole and (best is None or end > best[1]):
            best = (j, end)
    return best


def _unknown(text: str, position: int, columns: Sequence[str]) -> MethodError:
    word = re.split(r"[\s=*/,]", text[position:].strip("` "))[0] or text[position:]
    near = difflib.get_close_matches(word, list(columns), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return MethodError(f"no coefficient is named {word!r} in the hypothesis.{hint} There are {', '.join(columns)}.")


def _describe(row: Floats, columns: Sequence[str]) -> str:
    parts = []
    for value, name in zip(row, columns):
        if value:
            size = "" if abs(value) == 1 else f"{abs(value):g}*"
            parts.append(f"{'-' if value < 0 else '+'} {size}{name}")
    return " ".join(parts).removeprefix("+ ") + " = 0"
