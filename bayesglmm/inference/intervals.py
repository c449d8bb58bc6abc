"""Confidence intervals: Wald, simultaneous, profile likelihood, and for means by the delta method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import optional, plain, probability, takes, texts
from bayesglmm.errors import MethodError
from bayesglmm.inference import mixed_profile
from bayesglmm.inference.contrasts import reference_df
from bayesglmm.inference.profile import profile_interval
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


@takes(method=plain, level=probability, parameters=optional(texts), reference=plain, simultaneous=plain)
def confint(
    problem: Problem,
    result: Result,
    method: str = "wald",
    level: float = 0.95,
    *,
    parameters: Any = None,
    reference: str | None = None,
    simultaneous: str | None = None,
) -> pd.DataFrame:
    """Confidence intervals of the coefficients, and by profile likelihood of every parameter of a mixed model.

    Parameters
    ----------
    problem, result
        The fit.
    method : {"wald", "profile"}
        Estimate ± quantile × standard error, or the values that a likelihood-ratio (scaled deviance) test does not
        reject, found to 1e-9 by root finding.
    level : float
        Coverage.
    parameters : list of str, optional
        Some of the coefficients (for a profile of ``"laplace"``, ``"agq"``, ``"ml"``: or ``"herd.sd"`` and the like);
        all when left out.
    reference : {"chi2", "F"}, optional
        Cut-off of the profile deviance where φ is estimated: χ²(1) as in R's ``confint`` (the default), or F(1, df).
    simultaneous : {"scheffe", "bonferroni"}, optional
        Wald intervals that hold jointly.

    Returns
    -------
    DataFrame
        ``estimate, ci_low, ci_high``, a row per coefficient. A profile that never reaches the cut-off gives ±inf.

    Raises
    ------
    MethodError
        An unknown method or parameter, or a profile of a fit that maximises no likelihood.
    """
    if method == "profile" and "marginal" in result.extras:
        raise MethodError("estimating equations have no likelihood to profile; take method='wald'.")
    if method == "profile" and result.method in mixed_profile.METHODS:
        return mixed_profile.profile_table(problem, result, level, parameters, reference)
    names = list(problem.design.columns) if parameters is None else [str(v) for v in np.atleast_1d(parameters)]
    unknown = [v for v in names if v not in problem.design.columns]
    if unknown:
        raise MethodError(f"no coefficient is named {unknown[0]!r}; there are {', '.join(problem.design.columns)}.")
    where = np.array([problem.design.columns.index(v) for v in names], dtype=np.int64)
    if method == "wald":
        low, high = _wald(result, where, level, simultaneous)
    elif method == "profile":
        pairs = [profile_interval(problem, result, int(j), level, reference or "chi2") for j in where]
        low, high = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    else:
        raise MethodError(f"unknown interval method {method!r}; 'wald' or 'profile' is expected.")
    index = pd.Index(names, name="coefficient")
    return pd.DataFrame({"estimate": result.beta[where], "ci_low": low, "ci_high": high}, index=index)


def _wald(result: Result, where: NDArray[np.int64], level: float, simultaneous: str | None) -> tuple[Floats, Floats]:
    df, k = reference_df(result), len(where)
    tail = (1.0 - level) / 2.0
    if simultaneous is None:
        df_each = np.asarray(result.extras.get("df", df), dtype=float)
        df_each = df_each[where] if df_each.ndim else df_each
        q = quantiles.t.ppf(1.0 - tail, df_each)
    elif simultaneous == "bonferroni":
        q = quantiles.t.ppf(1.0 - tail / k, df)
    elif simultaneous == "scheffe":
        q = np.sqrt(k * quantiles.f.ppf(level, k, df)) if np.isfinite(df) else np.sqrt(quantiles.chi2.ppf(level, k))
    else:
        raise MethodError(f"simultaneous is {simultaneous!r}; 'scheffe' or 'bonferroni' is expected.")
    reach = q * np.sqrt(np.diag(result.cov_beta)[where])
    return result.beta[where] - reach, result.beta[where] + reach
