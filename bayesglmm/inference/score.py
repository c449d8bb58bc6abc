"""(Quasi-)score tests of a fit against a larger model that is not fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.marginal import generalized_score_test
from bayesglmm.inference.outcome import Outcome, outcome
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import factor_at, working_at

Floats = NDArray[np.float64]
Pair = tuple[Problem, Result]


def check_nested(small: Problem, full: Problem) -> None:
    """Raise unless the smaller model's columns (and offset) lie in the span of the larger one's.

    Raises
    ------
    MethodError
        They do not.
    """
    X, Z = full.design.X, small.design.X
    extra = (small.design.offset - full.design.offset)[:, None]
    Z = np.hstack([Z, extra]) if np.any(extra) else Z
    G, C = X.T @ X, X.T @ Z
    rest = Z - X @ np.linalg.solve(G, C)
    size = np.linalg.norm(Z, axis=0)
    if (np.linalg.norm(rest, axis=0) > 1e-6 * np.where(size > 0, size, 1.0)).any():
        raise MethodError("the fits are not nested: the smaller model's columns are not in the span of the larger's.")


def quasi_score_statistic(problem: Problem, X: Floats, eta: Floats, psi: Floats) -> float:
    """U'(X'WX)⁻¹U at a restricted fit, U = X's, before division by φ.

    Parameters
    ----------
    problem : Problem
        Response, family and link.
    X : ndarray, shape (n, q)
        Columns of the larger model.
    eta : ndarray, shape (n,)
        Linear predictor of the restricted fit.
    psi : ndarray, shape (n_aux,)
        Auxiliaries there, unconstrained.
    """
    problem.need_independent_errors("a score test")
    design = replace(problem.design, X=X, columns=tuple(f"x{j}" for j in range(X.shape[1])))
    larger = replace(problem, design=design)
    U = X.T @ working_at(larger, eta, psi).score
    return float(U @ factor_at(larger, eta, psi).solve(U))


def score_test(small: Pair, full: Problem, *, small_sample: bool = False) -> Outcome:
    """(Quasi-)score test of a fit against a larger model that need not be fitted.

    Parameters
    ----------
    small : tuple of (Problem, Result)
        The restricted fit.
    full : Problem
        The larger model of the same response.
    small_sample : bool
        For a fit by ``gee``: allow for few clusters.

    Returns
    -------
    Outcome
        Rao's statistic U'(X'WX)⁻¹U/φ, on χ² with as many degrees of freedom as the larger model has more columns; φ is
        the restricted fit's. For a fit by ``gee`` the generalized score test with its working correlation.

    Notes
    -----
    Rao (1948), Proc. Camb. Phil. Soc. 44, 50-57; for quasi-likelihood McCullagh (1983), Annals of Statistics 11, 59-67.
    """
    problem, result = small
    if "marginal" in result.extras:
        return generalized_score_test(small, full, small_sample=small_sample)
    check_nested(problem, full)
    df = len(full.design.columns) - len(problem.design.columns)
    if df <= 0:
        raise MethodError("the second model has no more columns than the fit it is to extend.")
    statistic = quasi_score_statistic(full, full.design.X, result.eta, result.psi) / result.scale
    names = [c for c in full.design.columns if c not in problem.design.columns]
    return outcome("score", f"{', '.join(names)} add nothing", "chi2", statistic, df)
