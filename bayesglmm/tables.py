"""Labelled tables of a result: coefficients, variance components, random effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.covariance import BlockCovariance, sd_corr
from bayesglmm.design.types import RandomBlock
from bayesglmm.links import get_link
from bayesglmm.parameters import auxiliary_values, error_names, theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


def is_posterior(problem: Problem, result: Result) -> bool:
    """Whether the result describes a posterior (then tables show no p-values)."""
    from bayesglmm.methods.registry import get_method

    sampled = result.draws is not None and not result.draws.independent
    return sampled or (get_method(result.method).uses_priors and problem.priors is not None)


def fixed_table(problem: Problem, result: Result, level: float = 0.95) -> pd.DataFrame:
    """One row per coefficient: estimate, se, interval, and a Wald test where that has a meaning.

    Parameters
    ----------
    problem, result
        The model and what was found.
    level : float
        Coverage of the (equal-tailed) intervals.

    Returns
    -------
    DataFrame
        Columns ``estimate, se, ci_low, ci_high`` and, for likelihood and quasi-likelihood fits, ``z`` or ``t``,
        ``df``, ``p``. The reference is normal where the scale is known, else t on the residual degrees of freedom (also
        with a sandwich or cluster-robust covariance, whatever the number of clusters), or on a method's own degrees of
        freedom (Satterthwaite, few clusters in ``gee``). Aliased columns come last, as NaN: they are not estimable.
    """
    estimate, se = result.beta, np.sqrt(np.diag(result.cov_beta))
    table: dict[str, Floats] = {"estimate": estimate, "se": se}
    tail = (1.0 - level) / 2.0
    if result.draws is not None and not result.draws.independent:
        flat = result.draws.beta.reshape(-1, len(estimate))
        table["ci_low"], table["ci_high"] = np.quantile(flat, [tail, 1.0 - tail], axis=0)
    elif "mixture" in result.extras:
        from bayesglmm.latent.nested_laplace.mixture import coefficient_curve, curve_quantiles

        ends = [
            curve_quantiles(coefficient_curve(result.extras["mixture"], j), [tail, 1.0 - tail]) for j in range(len(se))
        ]
        table["ci_low"], table["ci_high"] = np.reshape(ends, (len(se), 2)).T
    else:
        df = np.asarray(result.extras.get("df", result.df_resid if result.use_t else np.inf), dtype=float)
        reach = quantiles.t.ppf(1.0 - tail, df) * se
        table["ci_low"], table["ci_high"] = estimate - reach, estimate + reach
        if not is_posterior(problem, result):
            ratio = np.divide(estimate, se, out=np.full_like(estimate, np.nan), where=se > 0)
            table["t" if result.use_t else "z"] = ratio
            table["df"] = np.broadcast_to(df, estimate.shape)
            table["p"] = 2.0 * quantiles.t.sf(np.abs(ratio), df)
    # A frame in one go: column by column takes longer than many a fit's linear algebra.
    frame = pd.DataFrame(table, index=pd.Index(problem.design.columns, name="coefficient"))
    if problem.design.aliased:
        rows = pd.Index([*problem.design.columns, *problem.design.aliased], name="coefficient")
        frame = frame.reindex(rows)
    return frame


def varcomp_table(problem: Problem, result: Result, level: float = 0.95) -> pd.DataFrame:
    """One row per random-effect column: sd with its interval, and its correlations.

    Returns
    -------
    DataFrame
        Columns ``group, term, sd, se, ci_low, ci_high, corr_with, corr``. A column's correlation with the first
        column of its term stands in its own row; further correlations follow in rows of their own (sd is NaN
        there). Intervals are Wald intervals on the log scale, or posterior quantiles; at a variance of zero
        there is none. A Gaussian residual is the group ``Residual``.
    """
    rows: list[dict[str, object]] = []
    for k, where in enumerate(theta_slices(problem)):
        rows += _block_rows(problem.design.blocks[k], problem.covariance[k], _sds(problem, result, k, where, level))
    if problem.family.name == "gaussian" and not problem.design.auxiliaries:
        rows.append(_residual_row(result, level))
    columns = ["group", "term", "sd", "se", "ci_low", "ci_high", "corr_with", "corr"]
    return pd.DataFrame(rows, columns=columns)


def _sds(
    problem: Problem, result: Result, k: int, where: slice, level: float
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Sds, their standard errors, interval ends, and the correlation matrix of one block."""
    covariance, theta = problem.covariance[k], result.theta[where]
    sd, corr = covariance.sd_corr(theta)
    tail = (1.0 - level) / 2.0
    sample = result.hyper_sample
    if sample is not None:
        flat = sample.theta[..., where].reshape(-1, covariance.n_params)
        draws = sd_corr(covariance.factor(flat))[0]
        low, high = np.quantile(draws, [tail, 1.0 - tail], axis=0)
        return draws.mean(axis=0), draws.std(axis=0, ddof=1), low, high, corr
    start = len(result.beta) + where.start
    joint = result.cov_joint
    block = None if joint is None else joint[start : start + covariance.n_params, start : start + covariance.n_params]
    se = np.full_like(sd, np.nan) if block is None else _sd_errors(covariance, theta, block)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        reach = np.exp(quantiles.norm.ppf(1.0 - tail) * se / sd)
    return sd, se, sd / reach, sd * reach, corr


def _sd_errors(covariance: BlockCovariance, theta: Floats, cov_theta: Floats) -> Floats:
    """Delta-method standard errors of the sds: d sd_i = Σ_j Λ_ij dΛ_ij / sd_i."""
    L = covariance.factor(theta)
    sd, _ = sd_corr(L)
    out = np.full_like(sd, np.nan)
    for i in np.flatnonzero(sd > 0):
        G = np.zeros_like(L)
        G[i] = L[i] / sd[i]
        slope = covariance.pullback(theta, G)
        used = slope != 0
        out[i] = np.sqrt(slope[used] @ cov_theta[np.ix_(used, used)] @ slope[used])
    return out


def _block_rows(
    block: RandomBlock, covariance: BlockCovariance, sds: tuple[Floats, Floats, Floats, Floats, Floats]
) -> list[dict[str, object]]:
    sd, se, low, high, corr = sds
    rows: list[dict[str, object]] = []
    for term, form in zip(block.terms, covariance.forms):
        linked = form.name != "diagonal"
        for j in range(term.start, term.stop):
            row: dict[str, object] = {
                "group": block.group,
                "term": block.columns[j],
                "sd": sd[j],
                "se": se[j],
                "ci_low": low[j],
                "ci_high": high[j],
                "corr_with": None,
                "corr": np.nan,
            }
            partners = range(term.start, j) if linked else range(0)
            first = [{"corr_with": block.columns[m], "corr": corr[j, m]} for m in partners]
            rows.append(row | (first[0] if first else {}))
            blank = {"group": block.group, "term": block.columns[j], "sd": np.nan}
            rows += [blank | pair for pair in first[1:]]
    return rows


def _residual_row(result: Result, level: float) -> dict[str, object]:
    sd = float(np.sqrt(result.scale))
    row: dict[str, object] = {"group": "Residual", "term": "", "sd": sd, "corr_with": None}
    if result.cov_joint is not None and len(result.psi) == 1:
        log_se = float(np.sqrt(result.cov_joint[-1, -1]))
        reach = np.exp(quantiles.norm.ppf(0.5 + level / 2.0) * log_se)
        row |= {"se": sd * log_se, "ci_low": sd / reach, "ci_high": sd * reach}
    return row


def auxiliary_table(problem: Problem, result: Result, level: float = 0.95) -> pd.DataFrame:
    """One row per auxiliary of the likelihood, or per coefficient of its linear predictor.

    Returns
    -------
    DataFrame
        ``estimate, se, ci_low, ci_high, link, link_se``; last the parameters of the errors' correlation, on the logit
        of their interval. A single auxiliary is on its natural scale, its `se` by the
        delta method; `link_se` is the standard error on the scale of `link`, on which the interval is symmetric.
        Coefficients are on the scale of their auxiliary's link.
    """
    tail = (1.0 - level) / 2.0
    own = {a.name: get_link(a.link) for a in problem.family.auxiliaries}
    sampled = None if result.hyper_sample is None else result.hyper_sample.psi
    rows = []
    entries = problem.auxiliaries if len(result.psi) == len(problem.auxiliaries) else ()
    errors = np.full(len(entries), np.nan)
    if result.cov_joint is not None and len(entries):
        errors = np.sqrt(np.diag(result.cov_joint)[-len(entries) :])
    for j, (entry, psi, error) in enumerate(zip(entries, result.psi, errors)):
        link = get_link(entry.link)
        shown = own[entry.name if entry.name in own else entry.name.split("[", 1)[0]].name
        ends = psi + quantiles.norm.ppf([tail, 1.0 - tail]) * error
        estimate, se = float(link.mean(np.asarray(psi))), abs(float(link.slope(np.asarray(psi)))) * error
        low, high = sorted(map(float, link.mean(ends))) if np.isfinite(error) else (np.nan, np.nan)
        if sampled is not None:
            draws = link.mean(sampled[..., j])
            estimate, se = float(draws.mean()), float(draws.std(ddof=1))
            low, high = map(float, np.quantile(draws, [tail, 1.0 - tail]))
        rows.append((estimate, se, low, high, shown, error))
    rows += _error_rows(problem, result, tail)
    index = pd.Index([*(e.name for e in entries), *error_names(problem)], name="auxiliary", dtype=object)
    return pd.DataFrame(rows, index=index, columns=["estimate", "se", "ci_low", "ci_high", "link", "link_se"])


def _error_rows(problem: Problem, result: Result, tail: float) -> list[tuple[float, float, float, float, str, float]]:
    """Rows of the auxiliary table for the parameters of the errors' correlation."""
    errors = problem.errors
    if errors is None or not errors.n_params or result.cov_joint is None:
        return []
    end = len(result.beta) + len(result.theta)
    own = slice(end - errors.n_params, end)
    at, se = result.theta[-errors.n_params :], np.sqrt(np.diag(result.cov_joint)[own])
    link_se = se / errors.working_slope(at, False)
    reach = quantiles.norm.ppf(1.0 - tail) * link_se
    low, high = (errors.from_working(errors.to_working(at, False) + sign * reach, False) for sign in (-1.0, 1.0))
    return [(*map(float, row), "logit", float(w)) for *row, w in zip(at, se, low, high, link_se)]  # type: ignore[misc]


def random_tables(problem: Problem, result: Result) -> dict[str, pd.DataFrame]:
    """Conditional modes (or posterior means) of the random effects, and their sds.

    ``<name>_sd`` are sds given the parameters (lme4's ``condVar``), or of the posterior. The former are followed by
    ``<name>_sd_full``, which include the uncertainty of the parameters (glmmTMB's).
    """
    from bayesglmm.latent.prediction import full_effect_sds

    tables = {}
    full = full_effect_sds(problem, result) if problem.design.blocks else None
    for k, block in enumerate(problem.design.blocks):
        index = pd.Index(block.levels, name=block.group)
        table = pd.DataFrame(result.effects[k], index=index, columns=list(block.columns))
        if result.effects_sd:
            for j, column in enumerate(block.columns):
                table[f"{column}_sd"] = result.effects_sd[k][:, j]
            for j, column in enumerate(block.columns if full is not None else ()):
                table[f"{column}_sd_full"] = full[k][:, j]  # type: ignore[index]
        tables[block.group] = table
    return tables


def dispersion(problem: Problem, result: Result) -> float | None:
    """The scale φ where it is estimated, or the family's shape parameter; None where there is neither."""
    family = problem.family
    if len(result.psi) and family.dispersion is not None:
        phi = np.asarray(family.dispersion(auxiliary_values(problem, result.psi)))
        return None if phi.ndim else float(phi)
    return None if family.scale is not None and result.scale == family.scale else float(result.scale)
