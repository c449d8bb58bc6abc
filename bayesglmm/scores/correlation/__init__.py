"""Working correlations of generalized estimating equations, one file each; add one as a file and a row here."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from bayesglmm.arguments import refused
from bayesglmm.errors import MethodError
from bayesglmm.scores.correlation.ar1 import AR1
from bayesglmm.scores.correlation.base import CONVENTIONS, WorkingCorrelation
from bayesglmm.scores.correlation.exchangeable import Exchangeable
from bayesglmm.scores.correlation.fixed import Fixed
from bayesglmm.scores.correlation.independence import Independence
from bayesglmm.scores.correlation.nested import Nested
from bayesglmm.scores.correlation.stationary import Stationary
from bayesglmm.scores.correlation.unstructured import Unstructured

__all__ = ["CORRELATIONS", "WorkingCorrelation", "get_correlation"]

#: Name → (convention, m) → working correlation.
CORRELATIONS: dict[str, Callable[[str, int], WorkingCorrelation]] = {
    "independence": lambda convention, m: Independence(convention),
    "exchangeable": lambda convention, m: Exchangeable(convention),
    "nested": lambda convention, m: Nested(convention),
    "ar1": lambda convention, m: AR1(convention),
    "stationary": lambda convention, m: Stationary(m, convention),
    "unstructured": lambda convention, m: Unstructured(convention),
}


def get_correlation(
    corr: Any, *, R: Any = None, m: int | None = None, convention: str = "geepack"
) -> WorkingCorrelation:
    """The working correlation asked for.

    Parameters
    ----------
    corr : str, WorkingCorrelation or array_like
        A name, an object of one's own, or a matrix (as ``"fixed"`` with `R`).
    R : array_like, shape (T, T), optional
        The matrix of ``"fixed"``.
    m : int, optional
        Order of ``"stationary"``; 1 when left out.
    convention : {"geepack", "gee"}
        Whose moment estimators.

    Raises
    ------
    MethodError
        An unknown name, or an option that does not go with it.
    """
    if convention not in CONVENTIONS:
        raise MethodError(f"convention is {convention!r}; {' or '.join(map(repr, CONVENTIONS))} is expected.")
    if isinstance(corr, WorkingCorrelation):
        return corr
    if not isinstance(corr, str) and np.ndim(corr) < 2:
        raise refused("corr", corr, "a name, a matrix, or a WorkingCorrelation")
    if not isinstance(corr, str) and np.ndim(corr) == 2:
        corr, R = "fixed", corr
    if m is not None and corr != "stationary":
        raise MethodError(f"m= is the order of corr='stationary', and corr is {corr!r}.")
    if m is not None and (isinstance(m, bool) or not isinstance(m, int | np.integer)):
        raise MethodError(f"m is {m!r}; a whole number is expected.")
    if (R is None) == (corr == "fixed"):
        raise MethodError(
            "corr='fixed' needs R=, the working correlation matrix over the occasions."
            if R is None
            else f"R= is the matrix of corr='fixed', and corr is {corr!r}."
        )
    if corr == "fixed":
        return Fixed(R)
    if not isinstance(corr, str) or corr not in CORRELATIONS:
        known = [*CORRELATIONS, "fixed"]
        near = difflib.get_close_matches(str(corr), known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MethodError(f"unknown working correlation {corr!r}.{hint} Known: {', '.join(known)}.")
    return CORRELATIONS[corr](convention, 1 if m is None else int(m))
