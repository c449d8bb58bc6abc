"""Intraclass correlations of grouping factors, and the coefficients of determination of Nakagawa and Schielzeth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from bayesglmm.arguments import number, optional, plain, probability, refused, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.variance_parts import (
    group_variances,
    is_observation_level,
    null_mean,
    observation_variance,
)
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


@takes(approximation=optional(plain), mean=optional(number()), level=probability)
def icc(
    problem: Problem,
    result: Result,
    *,
    approximation: str | None = None,
    mean: float | None = None,
    null: Any = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Intraclass correlation of every grouping factor, on the scale of the linear predictor.

    σ_g² over the sum of all groups' variances, that of effects per observation, and the observation-level variance of
    the distribution (:func:`bayesglmm.inference.variance_parts.observation_variance`).

    Parameters
    ----------
    problem, result
        The fit, with random effects.
    approximation, mean
        See :func:`observation_variance`.
    null : Fit, optional
        With only an intercept: its mean takes the place of `mean`.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        ``variance, icc, se, ci_low, ci_high``, a row per grouping factor (effects per observation count as residual).
        Wald intervals on the logit scale by the delta method over variances and auxiliaries; for MCMC fits means, sds
        and quantiles of the draws. NaN where a variance is estimated at zero.

    Raises
    ------
    MethodError
        A fit without groups, or a family or approximation without such a variance.
    """
    groups = [k for k, b in enumerate(problem.design.blocks) if not is_observation_level(problem, b)]
    if not groups:
        raise MethodError("an intraclass correlation needs a grouping factor; this fit has none.")
    mean = _mean_of(mean, null)

    def shares(theta: Floats, psi: Floats) -> Floats:
        parts = group_variances(problem, theta)
        return parts[groups] / (parts.sum() + observation_variance(problem, result, psi, approximation, mean))

    names = pd.Index([problem.design.blocks[k].group for k in groups], name="group")
    variance = group_variances(problem, result.theta)[groups]
    tail = (1.0 - level) / 2.0
    if result.draws is not None and not result.draws.independent:
        theta, psi = (a.reshape(-1, a.shape[-1]) for a in (result.draws.theta, result.draws.psi))
        drawn = np.array([shares(t, s) for t, s in zip(theta, psi)])
        estimate, se = drawn.mean(axis=0), drawn.std(axis=0, ddof=1)
        low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    else:
        estimate = shares(result.theta, result.psi)
        se = _delta(result, shares)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = stats.norm.ppf(1.0 - tail) * se / (estimate * (1.0 - estimate))
            low, high = expit(logit(estimate) - reach), expit(logit(estimate) + reach)
        outside = estimate <= 0.0
        se[outside] = low[outside] = high[outside] = np.nan
    return pd.DataFrame({"variance": variance, "icc": estimate, "se": se, "ci_low": low, "ci_high": high}, index=names)


def _mean_of(mean: float | None, null: Any) -> float | None:
    if null is not None and not hasattr(null, "result"):
        raise refused("null", null, "a fit with only an intercept")
    return mean if null is None else null_mean(null.model.problem, null.result)


def _delta(result: Result, function: Callable[[Floats, Floats], Floats]) -> Floats:
    """Standard errors of a function of (θ, ψ), derivatives by central differences; NaN without a covariance."""
    p, k = len(result.beta), len(result.theta)
    point = np.concatenate([result.theta, result.psi])
    value = function(result.theta, result.psi)
    if result.cov_joint is None:
        return np.full(len(value), np.nan)
    cov = np.nan_to_num(result.cov_joint[p:, p:])
    slopes = []
    for j in range(len(point)):
        h = 1e-5 * max(abs(point[j]), 1e-2)
        up, down = point.copy(), point.copy()
        up[j], down[j] = point[j] + h, point[j] - h
        slopes.append((function(up[:k], up[k:]) - function(down[:k], down[k:])) / (2.0 * h))
    J = np.array(slopes)
    return np.sqrt(np.maximum(np.einsum("ji,jk,ki->i", J, cov[: len(J), : len(J)], J), 0.0))


@takes(approximation=optional(plain), mean=optional(number()))
def r2(
    problem: Problem,
    result: Result,
    *,
    approximation: str | None = None,
    mean: float | None = None,
    null: Any = None,
) -> pd.Series:
    """Marginal and conditional R² on the scale of the linear predictor.

    Marginal: the variance of the fixed part Xβ̂ over the total; conditional: that and the groups' (Nakagawa &
    Schielzeth 2013, eq. 26-30; Nakagawa, Johnson & Schielzeth 2017). Effects per observation and the distribution's
    observation-level variance make up the rest.

    Parameters
    ----------
    problem, result
        The fit.
    approximation, mean, null
        As for :func:`icc`.

    Returns
    -------
    Series
        ``marginal, conditional`` and the variances they are made of: ``fixed, groups, observation_level,
        distribution``.
    """
    parts = group_variances(problem, result.theta)
    per_row = np.array([is_observation_level(problem, b) for b in problem.design.blocks], dtype=bool)
    X = problem.design.X
    fixed = float(np.var((X - X.mean(axis=0)) @ result.beta, ddof=1))
    distribution = observation_variance(problem, result, result.psi, approximation, _mean_of(mean, null))
    groups, rows = (float(parts[which].sum()) for which in (~per_row, per_row))
    total = fixed + groups + rows + distribution
    values = {
        "marginal": fixed / total,
        "conditional": (fixed + groups) / total,
        "fixed": fixed,
        "groups": groups,
        "observation_level": rows,
        "distribution": distribution,
    }
    return pd.Series(values, name="r2")
