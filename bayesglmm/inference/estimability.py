"""What a design can estimate, and how well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.hypotheses import read_hypotheses
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import factor_at

Floats = NDArray[np.float64]


def estimable(problem: Problem, hypothesis: Any, tolerance: float = 1e-7) -> NDArray[np.bool_]:
    """Whether linear functions of the coefficients, aliased ones included, are estimable.

    A function l'β is estimable if and only if l is in the row space of the full design (before aliased columns were
    left out); its value then does not depend on which columns were left out.

    Parameters
    ----------
    problem : Problem
        The model.
    hypothesis : str, list of str, or array_like
        Expressions in names of columns, aliased ones too, or a matrix over ``columns + aliased`` (or over the columns
        kept, whose functions are always estimable).
    tolerance : float
        Relative distance from the row space that counts as zero.

    Returns
    -------
    ndarray of bool, shape (k,)

    Raises
    ------
    MethodError
        Aliased columns whose relation to the others is not known to the design.
    """
    d = problem.design
    if d.aliased and d.relations is None:
        raise MethodError("this design does not say how its aliased columns depend on the others.")
    names = [*d.columns, *d.aliased]
    shape = np.shape(hypothesis) if not isinstance(hypothesis, str) else ()
    if d.aliased and shape and shape[-1] == len(d.columns) and not isinstance(np.ravel(hypothesis)[0], str):
        return np.ones(len(np.atleast_2d(np.asarray(hypothesis, dtype=float))), dtype=bool)
    L, _, _ = read_hypotheses(hypothesis, names)
    kept, left_out = L[:, : len(d.columns)], L[:, len(d.columns) :]
    if not d.aliased:
        return np.ones(len(L), dtype=bool)
    gap = left_out - kept @ np.asarray(d.relations)
    size = np.abs(L).sum(axis=1) + np.abs(kept @ np.asarray(d.relations)).sum(axis=1)
    return np.abs(gap).sum(axis=1) <= tolerance * size


def optimality(problem: Problem, result: Result | None = None) -> pd.Series:
    """A-, D- and E-optimality of a design.

    Parameters
    ----------
    problem : Problem
        The model.
    result : Result, optional
        Weight the rows by the working weights of this fit; by their case weights alone when left out (the optimality
        of a linear model).

    Returns
    -------
    Series
        With M = X'WX: ``A`` = tr M⁻¹ (sum of the variances, at φ = 1), ``D`` = |M|^(1/p), ``log_det`` = log|M|, ``E``
        = the smallest eigenvalue of M (the reciprocal of the largest variance of a unit contrast), ``condition`` = the
        condition number of the columns. A better design has smaller A, larger D and E.

    Notes
    -----
    Atkinson, Donev & Tobias (2007), Optimum Experimental Designs, with SAS, chapter 10.
    """
    X = problem.design.X
    if result is None:
        M = X.T @ (X * problem.case_weights[:, None])
    else:
        factor = factor_at(problem, result.eta, result.psi)
        M = np.linalg.inv(factor.inverse())
    values = np.linalg.eigvalsh(M)
    if values[0] <= 0:
        raise MethodError("the information matrix is not positive definite; the design cannot estimate all columns.")
    log_det = float(np.log(values).sum())
    return pd.Series(
        {
            "A": float((1.0 / values).sum()),
            "D": float(np.exp(log_det / len(values))),
            "E": float(values[0]),
            "log_det": log_det,
            "condition": float(np.sqrt(values[-1] / values[0])),
        },
        name="optimality",
    )
