"""Leverage and influence in a model with random effects: of rows in one step, of groups by fits without them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.diagnose.loo import without_rows
from bayesglmm.diagnose.residuals import residuals
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning, ConvergenceWarning, MethodError, warn
from bayesglmm.inference.bootstrap import refit_options
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.prediction import row_parts, working_weights_at
from bayesglmm.latent.refit import METHODS as LINEAR
from bayesglmm.latent.refit import solution_of
from bayesglmm.marginals import marginals
from bayesglmm.methods.registry import METHODS
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


def group_influence(problem: Problem, result: Result, group: str, *, progress: Any = "auto") -> pd.DataFrame:
    """What every estimate would be without each level of a grouping factor, by fits without its rows.

    Parameters
    ----------
    problem, result
        A model with random terms, fitted by ml, reml, pql, mql, laplace or agq.
    group : str
        Name of a grouping factor of the model.
    progress : bool, "auto" or callable
        As elsewhere.

    Returns
    -------
    DataFrame
        One row per level: ``rows``; ``cooks_distance`` δ'V⁻¹δ / p, with δ the change β̂ − β̂₍g₎ of the coefficients and V
        their covariance in the whole fit; ``dfbetas[name]`` δ in standard errors of the fit without the level; and
        ``without[name]``, the estimate of every parameter from the other levels. Missing values where that fit failed.

    Raises
    ------
    MethodError
        A fit by another method, or an unknown grouping factor.

    Warns
    -----
    ConvergenceWarning
        When fits without a level failed.

    Notes
    -----
    Demidenko & Stukel (2005), Statistics in Medicine 24, 893-909. lme4's ``influence(fit, group)`` gives the DFBETAS
    with the other sign, and Cook's distances with a factor (m − p) / m, m levels.
    """
    if result.method not in MODES:
        raise MethodError(
            f"influence of groups is for fits by {', '.join(MODES)}; this one is by {result.method!r}: "
            "use fit.loo('group')."
        )
    blocks = {b.group: b for b in problem.design.blocks}
    if group not in blocks:
        raise MethodError(f"unknown grouping factor {group!r}. This model has: {', '.join(blocks)}.")
    block, whole = blocks[group], marginals(problem, result)
    rows: list[dict[str, float]] = []
    errors = np.full((len(block.levels), len(result.beta)), np.nan)
    with ticker(len(block.levels), progress, f"fits without a level of {group}") as advance:
        for k in range(len(block.levels)):
            again = _without(problem, result, block.codes == k)
            rows.append({} if again is None else {m.parameter: m.estimate for m in marginals(problem, again).values()})
            if again is not None:
                errors[k] = np.sqrt(np.diag(again.cov_beta))
            advance(1)
    estimates = pd.DataFrame(rows, index=pd.Index(block.levels, name=group), columns=list(whole))
    lost = estimates.index[estimates.isna().any(axis=1)]
    if len(lost):
        warn(
            f"{len(lost)} of {len(rows)} fits without a level of {group} failed or did not converge: "
            f"{', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}. Their rows are missing values.",
            ConvergenceWarning,
        )
    names = list(problem.design.columns)
    change = result.beta - estimates[names].to_numpy()
    table = pd.DataFrame(
        {
            "rows": np.bincount(block.codes, minlength=len(rows)),
            "cooks_distance": np.einsum("ij,ij->i", change, np.linalg.solve(result.cov_beta, change.T).T) / len(names),
        },
        index=estimates.index,
    )
    dfbetas = pd.DataFrame(change / errors, index=table.index, columns=names)
    return pd.concat(
        [table, dfbetas.add_prefix("dfbetas[").add_suffix("]"), estimates.add_prefix("without[").add_suffix("]")],
        axis=1,
    )


def _without(problem: Problem, result: Result, out: NDArray[np.bool_]) -> Result | None:
    """The fit without some rows; None where it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesGLMMWarning)
            again = METHODS[result.method].run(without_rows(problem, out), **refit_options(result))
        return again if again.status.converged else None
    except BayesGLMMError:
        return None
