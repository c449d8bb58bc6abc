"""Leverage and influence of rows in a model with random effects, in one step; groups: see ``group_influence``."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.diagnose.residuals import residuals
from bayesglmm.errors import MethodError
from bayesglmm.latent.prediction import row_parts, working_weights_at
from bayesglmm.latent.refit import METHODS as LINEAR
from bayesglmm.latent.refit import solution_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Methods whose fit is a mode that a row can be taken out of.
MODES = (*LINEAR, "laplace", "agq")


def row_influence(problem: Problem, result: Result) -> pd.DataFrame:
    """Leverage, Cook's distance and one-step changes of the coefficients, with the covariance parameters held.

    Parameters
    ----------
    problem, result
        A model with random terms, fitted by ml, reml, pql, mql, laplace or agq.

    Returns
    -------
    DataFrame
        One row per observation, indexed as the data:

        ``leverage`` h, the diagonal of the matrix that takes the (working) response to the fitted linear predictor,
        random effects included; its sum is the effective number of parameters;
        ``leverage_fixed`` the part of it that is the coefficients';
        ``cooks_distance`` (r_P / (1 − h))² h / (p φ) with the Pearson residual r_P, as lme4 defines it: how far the
        fitted values move;
        ``cooks_distance_fixed`` δ'(X'V⁻¹X)δ / p with δ the change of the coefficients; and
        ``dfbetas[name]`` δ in units of standard errors, β̂ − β̂₍ᵢ₎.

    Raises
    ------
    MethodError
        A fit by another method, or errors that go together within groups.

    Notes
    -----
    δ = (X'V⁻¹X)⁻¹ x̃ w r / (1 − h), with x̃ as in :func:`bayesglmm.latent.prediction.linear_predictor_variance`: exact
    for a linear mixed model with known variances (Christensen, Pearson & Johnson 1992, Technometrics 34, 38-45), the
    first Newton step otherwise.
    """
    if result.method not in MODES:
        raise MethodError(
            f"influence of rows is for fits by {', '.join(MODES)}; this one is by {result.method!r}. "
            "fit.loo() says which rows its draws hang on."
        )
    problem.need_independent_errors("influence")
    parts = row_parts(problem, result, problem.design)
    weights, score = working_weights_at(problem, result), _score(problem, result)
    information = problem.design.X.T @ (weights[:, None] * parts.x)
    cov = np.linalg.inv(0.5 * (information + information.T))
    fixed = weights * np.einsum("ij,jk,ik->i", parts.x, cov, parts.x)
    h = weights * parts.quad + fixed
    p = len(result.beta)
    change = (parts.x * (score / (1.0 - h))[:, None]) @ cov
    r = residuals(problem, result, "pearson")
    table = pd.DataFrame(
        {
            "leverage": h,
            "leverage_fixed": fixed,
            "cooks_distance": np.square(r / (1.0 - h)) * h / (p * result.scale),
            "cooks_distance_fixed": np.einsum("ij,jk,ik->i", change, information, change) / p,
        },
        index=problem.design.index,
    )
    names = [f"dfbetas[{c}]" for c in problem.design.columns]
    return pd.concat([table, pd.DataFrame(change / np.sqrt(np.diag(cov)), columns=names, index=table.index)], axis=1)


def _score(problem: Problem, result: Result) -> Floats:
    """Derivative of each row's log (quasi-)likelihood in its linear predictor."""
    if result.method in LINEAR:
        at = solution_of(problem, result)
        return at.model.weights * at.residual / at.scale
    return problem.kernel().derivatives(result.eta, result.psi).d1
