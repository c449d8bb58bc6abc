"""The flat-prior posterior of the coefficients of a linear mixed model, given its variance parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from bayesglmm.arguments import plain, probability, takes
from bayesglmm.errors import MethodError
from bayesglmm.latent.refit import solution_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(sigma=plain, level=probability)
def beta_posterior(problem: Problem, result: Result, *, sigma: str = "known", level: float = 0.95) -> pd.DataFrame:
    """Posterior of the coefficients under flat priors, given variance parameters at their estimates.

    Parameters
    ----------
    problem, result
        A fit by ML or REML.
    sigma : {"known", "jeffreys", "flat"}
        Everything at its estimate: β is normal, N(β̂, (X'V⁻¹X)⁻¹). Or only the ratios of the random effects' sds to σ,
        and σ integrated out under p(σ) ∝ 1/σ or p(σ) ∝ 1: β is multivariate t with n − p or n − p − 1 degrees of
        freedom (Gelman et al. 2013, Bayesian Data Analysis, section 14.2).
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        ``mean, scale, df, sd, ci_low, ci_high``, one row per coefficient.
    """
    if sigma not in ("known", "jeffreys", "flat"):
        raise MethodError(f"sigma is {sigma!r}; 'known', 'jeffreys' or 'flat' is expected.")
    if result.method not in ("ml", "reml"):
        raise MethodError(f"beta_posterior is for fits by 'ml' or 'reml'; this one is by {result.method!r}.")
    at = solution_of(problem, result)
    n, p = problem.design.X.shape
    df = {"known": np.inf, "jeffreys": float(n - p), "flat": float(n - p - 1)}[sigma]
    scale2 = at.scale if sigma == "known" else at.r2 / df
    scale = np.sqrt(np.diag(at.cov_beta) * scale2 / at.scale)
    reach = stats.t.ppf(0.5 + level / 2.0, df) * scale
    table = pd.DataFrame({"mean": at.beta, "scale": scale, "df": df}, index=pd.Index(problem.design.columns))
    table["sd"] = scale if sigma == "known" else scale * np.sqrt(df / (df - 2.0)) if df > 2 else np.inf
    table["ci_low"], table["ci_high"] = at.beta - reach, at.beta + reach
    return table
