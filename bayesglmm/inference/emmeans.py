"""Estimated marginal means of factors, and contrasts between them with adjusted comparisons.

Searle, Speed & Milliken (1980), American Statistician 34, 216-221; Lenth (2016), J. Stat. Software 69(1), for the
conventions: means are averages of the linear predictor over a reference grid, at zero random effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import mapping, number, optional, plain, probability, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.adjust import ADJUSTMENTS, Comparisons, adjusted_p, critical_values
from bayesglmm.inference.comparisons import coefficients_of_contrasts, default_adjustment
from bayesglmm.inference.linear_functions import Coefficients, coefficients_of, not_estimable
from bayesglmm.inference.marginal_means import MarginalMeans, marginal_means
from bayesglmm.links import Link
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

TYPES = ("linear", "mean")
CONTRAST_TYPES = ("linear", "mean", "ratio")
#: What exp of a difference of linear predictors is, by link.
RATIOS = {"log": "ratio of means", "logit": "odds ratio", "cloglog": "hazard ratio"}


@takes(at=optional(mapping), type=plain, level=probability, weights=plain, offset=number())
def emmeans(
    problem: Problem,
    result: Result,
    data: Any,
    factors: Any,
    *,
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    type: str = "linear",
    df: Any = None,
    level: float = 0.95,
    weights: str = "equal",
    offset: float = 0.0,
) -> pd.DataFrame:
    """Estimated marginal means.

    Parameters
    ----------
    problem, result
        The fit, by any method.
    data : table
        What the model was built with.
    factors : str or list of str
        Columns whose levels get a mean each.
    by : str or list of str, optional
        Columns within whose levels the means stand.
    at : mapping, optional
        Column → value or values instead of all levels (of a factor) or the mean (of numbers).
    type : {"linear", "mean"}
        On the scale of the linear predictor; or its inverse link, with the delta method's standard error and the ends
        of the linear predictor's interval (the mean of an observation at zero random effects).
    df : {"satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom; the fit's own when left out.
    level : float
        Coverage of the intervals, each by itself.
    weights : {"equal", "proportional", "cells"}
        How the other factors' levels are averaged; see :meth:`ReferenceGrid.average`.
    offset : float
        Of the linear predictor: means are per unit of exposure at zero.

    Returns
    -------
    DataFrame
        ``estimate, se, df, ci_low, ci_high``, indexed by the levels; NaN where a mean is not estimable. For MCMC fits
        posterior mean, sd and quantiles; posteriors have no ``df``.

    Raises
    ------
    MethodError
        An unknown column, level, type or weighting.
    """
    _check(problem, type, TYPES)
    means = marginal_means(problem, data, factors, by=by, at=at, weights=weights, offset=offset)
    coefficients = coefficients_of(problem, result, df)
    missing = not_estimable(problem, means.L, means.left_out)
    link = problem.link if type == "mean" else None
    if coefficients.draws is not None:
        table = _of_draws(_inverse(link, coefficients.draws @ means.L.T + means.offset), level)
    else:
        eta = means.L @ coefficients.beta + means.offset
        se = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", means.L, coefficients.cov, means.L), 0.0))
        own = coefficients.df(means.L)
        reach = quantiles.t.ppf(0.5 + level / 2.0, own) * se
        ends = np.sort(_inverse(link, np.stack([eta - reach, eta + reach])), axis=0)
        slope = 1.0 if link is None else np.abs(link.slope(eta))
        table = pd.DataFrame({"estimate": _inverse(link, eta), "se": slope * se, "df": own})
        table["ci_low"], table["ci_high"] = ends
        table = table if coefficients.tested else table.drop(columns="df")
    table[missing] = np.nan
    table.index = _index(means.labels)
    return table


@takes(at=optional(mapping), adjust=plain, type=plain, level=probability, weights=plain, offset=number())
def contrasts(
    problem: Problem,
    result: Result,
    data: Any,
    factors: Any,
    *,
    method: Any = "pairwise",
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    control: Any = None,
    adjust: str | None = None,
    type: str = "linear",
    df: Any = None,
    level: float = 0.95,
    weights: str = "equal",
    offset: float = 0.0,
) -> pd.DataFrame:
    """Contrasts of estimated marginal means.

    Parameters
    ----------
    problem, result, data, factors, by, at, df, level, weights, offset
        As for :func:`emmeans`; each combination of the `by` columns is a family of its own.
    method : {"pairwise", "control", "consecutive", "mean", "polynomial"}, mapping or array_like
        All pairs (the earlier minus the later); each against one; each against the one before it; each against the mean
        of all; orthogonal polynomials; or coefficients of one's own, one per mean: name → coefficients, or a matrix.
    control : optional
        The level that ``"control"`` compares with (a text such as ``"A low"`` when there are several factors); the
        first when left out.
    adjust : {"none", "tukey", "bonferroni", "holm", "sidak", "scheffe", "mvt", "fdr"}, optional
        Of p-values and intervals within a family. Left out: ``"tukey"`` for pairs, ``"mvt"`` for comparisons with a
        control (Dunnett's test), ``"none"`` for the rest.
    type : {"linear", "mean", "ratio"}
        Differences of linear predictors, of means (delta method), or exp of the former: a ratio of means (log link), of
        odds (logit) or of hazards (cloglog).

    Returns
    -------
    DataFrame
        ``estimate, se, df, t`` (or ``z``), ``p, ci_low, ci_high``; `p` and the intervals are adjusted. For posteriors
        only estimates, sds and intervals.

    Raises
    ------
    MethodError
        As :func:`emmeans`; an unknown method or adjustment; a ratio under a link that has none.
    """
    _check(problem, type, CONTRAST_TYPES)
    if type == "ratio" and problem.link.name not in RATIOS:
        raise MethodError(f"type='ratio' needs a link {', '.join(RATIOS)}; this model has {problem.link.name!r}.")
    means = marginal_means(problem, data, factors, by=by, at=at, weights=weights, offset=offset)
    coefficients = coefficients_of(problem, result, df)
    if adjust is not None and (adjust not in ADJUSTMENTS or not coefficients.tested):
        known = adjust in ADJUSTMENTS
        reason = "a posterior has no p-values to adjust" if known else f"known are {', '.join(ADJUSTMENTS)}"
        raise MethodError(f"adjust is {adjust!r}: {reason}.")
    adjust = adjust or default_adjustment(method)
    tables = []
    for key, rows in means.families():
        names, C = coefficients_of_contrasts(means.names(rows), method, control, ratio=type == "ratio")
        table = _family(problem, coefficients, means, rows, C, type, adjust, level)
        table.index = pd.MultiIndex.from_tuples(
            [(*key, name) for name in names], names=[*means.by, "contrast"]
        ) if key else pd.Index(names, name="contrast")  # fmt: skip
        tables.append(table)
    return pd.concat(tables)


def _family(
    problem: Problem,
    coefficients: Coefficients,
    means: MarginalMeans,
    rows: NDArray[np.int64],
    C: Floats,
    type: str,
    adjust: str,
    level: float,
) -> pd.DataFrame:
    """The table of one family of contrasts."""
    link = problem.link if type == "mean" else None
    L, out = means.L[rows], means.left_out[rows]
    if link is None:
        missing = not_estimable(problem, C @ L, C @ out)
    else:
        missing = (C[:, not_estimable(problem, L, out)] != 0.0).any(axis=1)
    if coefficients.draws is not None:
        drawn = _inverse(link, coefficients.draws @ L.T + means.offset) @ C.T
        table = _of_draws(np.exp(drawn) if type == "ratio" else drawn, level)
        table[missing] = np.nan
        return table
    eta = L @ coefficients.beta + means.offset
    slope = np.ones(len(eta)) if link is None else link.slope(eta)
    J = C @ (slope[:, None] * L)
    J = np.where(missing[:, None], np.nan, J)
    estimate = np.where(missing, np.nan, C @ _inverse(link, eta))
    cov = J @ coefficients.cov @ J.T
    se, own = np.sqrt(np.maximum(np.diag(cov), 0.0)), coefficients.df(J)
    ratio = np.divide(estimate, se, out=np.full_like(estimate, np.nan), where=se > 0)
    good = np.isfinite(ratio)
    p, reach = np.full((2, len(ratio)), np.nan)
    corr = cov[np.ix_(good, good)] / np.outer(se[good], se[good])
    family = Comparisons(ratio[good], own[good], corr, len(rows))
    reach[good] = critical_values(family, adjust if coefficients.tested else "none", level) * se[good]
    table = pd.DataFrame({"estimate": estimate, "se": se})
    if coefficients.tested:
        p[good] = adjusted_p(family, adjust)
        table["df"], table["t" if np.isfinite(own[good]).any() else "z"], table["p"] = own, ratio, p
    table["ci_low"], table["ci_high"] = estimate - reach, estimate + reach
    if type == "ratio":
        table[["estimate", "ci_low", "ci_high"]] = np.exp(table[["estimate", "ci_low", "ci_high"]])
        table["se"] *= table["estimate"]
    return table


def _check(problem: Problem, type: str, known: tuple[str, ...]) -> None:
    if type not in known:
        raise MethodError(f"type is {type!r}; expected one of {', '.join(known)}.")
    if type == "mean" and problem.family.categories == "ordered":
        raise MethodError(
            "an ordered response has no single mean: take type='linear', or fit.predict(kind='category') for the "
            "probabilities of the categories."
        )


def _inverse(link: Link | None, eta: Floats) -> Floats:
    return eta if link is None else link.mean(eta)


def _of_draws(values: Floats, level: float) -> pd.DataFrame:
    """Mean, sd and equal-tailed interval of draws, shape (draws, m)."""
    low, high = np.quantile(values, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=0)
    return pd.DataFrame(
        {"estimate": values.mean(axis=0), "se": values.std(axis=0, ddof=1), "ci_low": low, "ci_high": high}
    )


def _index(labels: pd.DataFrame) -> pd.Index:
    if labels.shape[1] == 1:
        return pd.Index(labels.iloc[:, 0], name=labels.columns[0])
    return pd.MultiIndex.from_frame(labels)
