"""Leverage and influence of single observations; those of a model with random effects are next door."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.diagnose.cluster_influence import cluster_influence
from bayesglmm.diagnose.mixed_influence import row_influence
from bayesglmm.diagnose.residuals import leverage_of, residuals, standardised
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import working_at

Floats = NDArray[np.float64]


def influence(problem: Problem, result: Result) -> pd.DataFrame:
    """Leverage, Cook's distance and what leaving each row out would change, in one step from the fit.

    Parameters
    ----------
    problem : Problem
        The model.
    result : Result
        An ``irls`` fit. For a ``gee`` fit the table has one row per cluster
        (:func:`~bayesglmm.diagnose.cluster_influence.cluster_influence`), for a fit with random effects it is that of
        :func:`~bayesglmm.diagnose.mixed_influence.row_influence`.

    Returns
    -------
    DataFrame
        One row per observation, indexed as the data:

        ``leverage`` h, the diagonal of W^½ X (X'WX)⁻¹ X'W^½;
        ``cooks_distance`` (r_P / (1 − h))² h / (p φ), with the Pearson residual r_P;
        ``rstandard_pearson``, ``rstandard_deviance`` residuals over √(φ (1 − h));
        ``rstudent`` likelihood residuals sign(y − μ) √(r_D² + h r_P² / (1 − h)), divided by the leave-one-out
        scale where φ is estimated;
        ``dffits`` r_D √h / (σ₍ᵢ₎ (1 − h)); and
        ``dfbetas[name]``, the one-step change (X'WX)⁻¹ x W r / (1 − h) of each coefficient in units of its
        leave-one-out standard error.

    Raises
    ------
    MethodError
        A fit with random effects by a method that is not a mode, or errors that go together.

    Notes
    -----
    Pregibon (1981), Annals of Statistics 9, 705-724; Williams (1987), Applied Statistics 36, 181-191; the conventions
    are those of R's ``cooks.distance``, ``rstandard``, ``rstudent`` and ``dffits`` for ``glm``. DFBETAS here step from
    the working residual (the exact first Newton step), where R's step from the deviance residual; for a linear model
    both are the exact leave-one-out change.
    """
    if "marginal" in result.extras:
        return cluster_influence(problem, result)
    if problem.design.blocks:
        return row_influence(problem, result)
    problem.need_independent_errors("influence")
    h, factor = leverage_of(problem, result)
    r_p, r_d = residuals(problem, result, "pearson"), residuals(problem, result, "deviance")
    p, keep = len(result.beta), 1.0 - h
    sigma = leave_one_out_scale(r_d, h, p)
    likelihood = np.sign(r_d) * np.sqrt(np.square(r_d) + h * np.square(r_p) / keep)
    fixed = problem.family.scale is not None
    table = pd.DataFrame(
        {
            "leverage": h,
            "cooks_distance": np.square(r_p / keep) * h / (p * result.scale),
            "rstandard_pearson": standardised(r_p, h, result.scale),
            "rstandard_deviance": standardised(r_d, h, result.scale),
            "rstudent": likelihood if fixed else likelihood / sigma,
            "dffits": r_d * np.sqrt(h) / (sigma * keep),
        },
        index=problem.design.index,
    )
    spread = np.full_like(h, np.sqrt(result.scale)) if fixed else leave_one_out_scale(r_p, h, p)
    steps = one_step_changes(problem, result)
    unit = np.sqrt(np.diag(factor.inverse()))
    names = [f"dfbetas[{c}]" for c in problem.design.columns]
    dfbetas = pd.DataFrame(steps / (spread[:, None] * unit), columns=names, index=problem.design.index)
    return pd.concat([table, dfbetas], axis=1)


def one_step_changes(problem: Problem, result: Result) -> Floats:
    """β − β₍ᵢ₎ to first order for every row left out, shape (n, p); exact for a linear model."""
    h, factor = leverage_of(problem, result)
    work = working_at(problem, result.eta, result.psi)
    return factor.solve(problem.design.X.T).T * (work.score / (1.0 - h))[:, None]


def leave_one_out_scale(r: Floats, h: Floats, p: int) -> Floats:
    """√ of the scale from all rows but one, (Σ r² − r_i² / (1 − h_i)) / (n − p − 1), shape (n,)."""
    rest = np.maximum(float(r @ r) - np.square(r) / (1.0 - h), 0.0)
    return np.sqrt(rest / (len(r) - p - 1))
