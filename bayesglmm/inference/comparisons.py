"""Coefficients of the usual families of contrasts between means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError

Floats = NDArray[np.float64]

METHODS = ("pairwise", "control", "consecutive", "mean", "polynomial")


def default_adjustment(method: Any) -> str:
    """The adjustment a family of contrasts usually gets."""
    return {"pairwise": "tukey", "control": "mvt"}.get(method, "none") if isinstance(method, str) else "none"


def coefficients_of_contrasts(
    names: Sequence[str], method: Any, control: Any = None, *, ratio: bool = False
) -> tuple[list[str], Floats]:
    """Labels and coefficients, one row per contrast.

    Parameters
    ----------
    names : sequence of str, length m
        The means.
    method : str, mapping or array_like
        One of :data:`METHODS`, or coefficients.
    control : optional
        The mean that ``"control"`` compares with; the first when left out.
    ratio : bool
        Labels are written ``"a / b"``.

    Returns
    -------
    labels : list of str
    C : ndarray, shape (k, m)

    Raises
    ------
    MethodError
        An unknown method or control, a single mean, or coefficients of the wrong length or all zero.

    Examples
    --------
    >>> coefficients_of_contrasts(["a", "b", "c"], "control")[0]
    ['b - a', 'c - a']
    """
    m, sign = len(names), "/" if ratio else "-"
    if not isinstance(method, str):
        return _given(names, method)
    if method not in METHODS:
        raise MethodError(f"method is {method!r}; expected {', '.join(METHODS)}, or coefficients of your own.")
    if m < 2:
        raise MethodError(f"there is one mean only ({', '.join(names)}): nothing to compare. Give at={{}} more values.")
    unit = np.eye(m)
    if method == "pairwise":
        pairs = list(itertools.combinations(range(m), 2))
    elif method == "control":
        base = 0 if control is None else _position(names, control)
        pairs = [(i, base) for i in range(m) if i != base]
    elif method == "consecutive":
        pairs = [(i + 1, i) for i in range(m - 1)]
    elif method == "mean":
        return [f"{name} {sign} mean" for name in names], unit - 1.0 / m
    else:
        return _polynomials(m)
    labels = [f"{names[i]} {sign} {names[j]}" for i, j in pairs]
    return labels, np.array([unit[i] - unit[j] for i, j in pairs])


def _position(names: Sequence[str], control: Any) -> int:
    text = f"{control:g}" if isinstance(control, float) else str(control)
    if text not in names:
        raise MethodError(f"control is {control!r}; the means are {', '.join(names)}.")
    return list(names).index(text)


def _polynomials(m: int) -> tuple[list[str], Floats]:
    """Orthogonal polynomials over equally spaced levels, of unit length."""
    words = ["linear", "quadratic", "cubic", "quartic"]
    degrees = min(m - 1, 6)
    powers = np.vander(np.arange(m) - (m - 1) / 2.0, degrees + 1, increasing=True)
    Q, R = np.linalg.qr(powers)
    C = (Q * np.sign(np.diag(R))).T[1:]
    return [words[k] if k < len(words) else f"degree {k + 1}" for k in range(degrees)], C


def _given(names: Sequence[str], method: Any) -> tuple[list[str], Floats]:
    rows = list(method.values()) if isinstance(method, Mapping) else method
    try:
        C = np.atleast_2d(np.asarray(rows, dtype=float))
    except (TypeError, ValueError):
        C = np.empty((0, 0))
    if C.ndim != 2 or C.shape[1:] != (len(names),) or not len(C) or not np.any(C, axis=1).all():
        raise MethodError(
            f"contrasts need {len(names)} coefficients each, not all zero, one per mean: {', '.join(names)}."
        )
    if isinstance(method, Mapping):
        return [str(k) for k in method], C
    return [_describe(row, names) for row in C], C


def _describe(row: Floats, names: Sequence[str]) -> str:
    parts = [
        f"{'-' if c < 0 else '+'} {'' if abs(c) == 1 else f'{abs(c):g}*'}{name}" for c, name in zip(row, names) if c
    ]
    return " ".join(parts).removeprefix("+ ")
