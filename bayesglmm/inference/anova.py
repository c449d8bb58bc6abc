"""Comparing nested models: likelihood-ratio, scaled-deviance, F and score tests, term by term or fit by fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.boundary import check_likelihoods, reference
from bayesglmm.inference.marginal import marginal_anova
from bayesglmm.inference.outcome import tail_probability
from bayesglmm.inference.score import check_nested, quasi_score_statistic, score_test
from bayesglmm.inference.term_tests import KINDS as TYPES
from bayesglmm.inference.term_tests import term_table
from bayesglmm.inference.terms import Refit, TermColumns, model_terms, refit, with_columns
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import deviance_at
from bayesglmm.scores.likelihood import loglik_at, maximise_auxiliary, ml_dispersion, psi_for_scale

Floats = NDArray[np.float64]
Pair = tuple[Problem, Result]

TESTS = ("F", "chi2", "LR", "score")


@takes(test=plain, kind=plain, df=plain)
def anova(*fits: Any, test: str | None = None, kind: str = "sequential", df: str | None = None) -> pd.DataFrame:
    """Analysis of deviance: the terms of one fit, or several nested fits.

    Parameters
    ----------
    *fits : Fit, or tuple of (Problem, Result)
        One fit: its terms are tested. Several: each against the one before it, smallest first.
    test : {"F", "chi2", "LR", "score"}, optional
        ``"chi2"``: drop in deviance over φ of the largest model. ``"F"``: the same per degree of freedom, on its
        residual degrees of freedom. ``"LR"``: twice the difference of the log-likelihoods. ``"score"``: quasi-score
        test at the smaller model. Left out: ``"F"`` where φ is estimated, ``"chi2"`` where it is known, ``"LR"`` for
        shape parameters and random effects.
    kind : {"sequential", "marginal", "I", "II", "III"}
        For one fit: terms added in the order of the formula, or each left out of the full model in turn (only terms not
        contained in others, as in R's ``drop1``); or Wald tests within the fit of type I, II or III hypotheses
        (:mod:`bayesglmm.inference.term_tests`), for models with random effects too.
    df : {"satterthwaite", "kenward-roger"}, optional
        Denominator degrees of freedom of type I, II and III tests in linear mixed models; the fit's own when left out,
        else Satterthwaite's.

    Returns
    -------
    DataFrame
        One row per model or term: residual df and deviance (or log-likelihood), the change, the statistic, p. With
        random effects also the reference of the likelihood ratio: a mixture of χ² where variances are zero under the
        smaller model (:mod:`bayesglmm.inference.boundary`); "at most" marks an upper bound of p, for which
        ``bg.bootstrap(small, alternative=large)`` gives the exact value.

    Raises
    ------
    MethodError
        Models that are not nested or not comparable, an unknown test, or a likelihood test of a quasi-likelihood fit.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 0, 1, 1], "g": list("aaabbbccc")})
    >>> none = bg.Model("y ~ 1", data, family="poisson").fit("irls")
    >>> group = bg.Model("y ~ 1 + (1 | g)", data, family="poisson", priors="flat").fit("laplace")
    >>> print(bg.anova(none, group)["reference"].iloc[1])
    ½χ²(0) + ½χ²(1)

    Notes
    -----
    Fits by ``gee`` have no deviance to compare: they get generalized Wald tests with their own covariance (or, with
    ``test="score"``, generalized score tests), and the terms of one fit are tested within it.
    """
    if not fits:
        raise MethodError("anova needs at least one fit.")
    if test is not None and test not in TESTS:
        raise MethodError(f"unknown test {test!r}; known tests: {', '.join(TESTS)}.")
    pairs = tuple(_pair(fit) for fit in fits)
    if kind in TYPES:
        if len(pairs) > 1 or test is not None:
            raise MethodError(f"kind={kind!r} tests the terms of one fit within it: give one fit, and no test=.")
        return term_table(*pairs[0], kind, df)
    if df is not None:
        raise MethodError(f"df={df!r} is for the tests of terms, kind='I', 'II' or 'III'.")
    if any("marginal" in result.extras for _, result in pairs):
        return marginal_anova(pairs, test)
    if len(pairs) > 1:
        return compare_fits(pairs, test)
    problem, result = pairs[0]
    if kind == "sequential":
        return sequential_table(problem, result, test)
    if kind == "marginal":
        return marginal_table(problem, result, test)
    raise MethodError(f"kind is {kind!r}; 'sequential', 'marginal', 'I', 'II' or 'III' is expected.")


def _pair(fit: Any) -> Pair:
    """Problem and result of a fit, or the pair itself."""
    if isinstance(fit, tuple) and len(fit) == 2:
        return fit
    if hasattr(fit, "result") and hasattr(fit, "model"):
        return fit.model.problem, fit.result
    raise MethodError(f"anova compares fits; got {type(fit).__name__}.")


# --- terms of one fit --------------------------------------------------------------------------------------------


def sequential_table(problem: Problem, result: Result, test: str | None = None) -> pd.DataFrame:
    """Add the terms of a fit one after the other; see :func:`anova`."""
    test = _term_test(problem, result, test)
    terms = model_terms(problem)
    used = _first(terms)
    small = refit(with_columns(problem, used))
    n = problem.design.nobs
    rows = [{"term": "NULL", "df_resid": n - len(used), "deviance": small.deviance}]
    for term in terms:
        if not term.factors:
            continue
        used = np.concatenate([used, term.columns])
        full = refit(with_columns(problem, used))
        change = _change(problem, result, test, small, full, np.sort(used), len(term.columns))
        rows.append({"term": term.label, "df_resid": n - len(used), "deviance": full.deviance, **change})
        small = full
    return _table(rows, "term")


def marginal_table(problem: Problem, result: Result, test: str | None = None) -> pd.DataFrame:
    """Leave each term out of the full model in turn; see :func:`anova`."""
    test = _term_test(problem, result, test)
    terms = model_terms(problem)
    everything = np.arange(len(result.beta))
    full = refit(problem, start=result.beta)
    rows: list[dict[str, Any]] = [{"term": "<none>", "df_resid": result.df_resid, "deviance": full.deviance}]
    for term in terms:
        contained = any(term.factors < other.factors for other in terms)
        if not term.factors or contained or len(term.columns) == 0:
            continue
        rest = np.setdiff1d(everything, term.columns)
        small = refit(with_columns(problem, rest))
        change = _change(problem, result, test, small, full, everything, len(term.columns))
        rows.append({"term": term.label, "df_resid": result.df_resid + len(term.columns), "deviance": small.deviance})
        rows[-1] |= change
    return _table(rows, "term")


def _first(terms: tuple[TermColumns, ...]) -> NDArray[np.int64]:
    found = [t.columns for t in terms if not t.factors]
    return found[0] if found else np.empty(0, dtype=np.int64)


def _term_test(problem: Problem, result: Result, test: str | None) -> str:
    if problem.design.blocks:
        raise MethodError(
            "terms of a model with random effects are tested within the fit by kind='I', 'II' or 'III', or compared "
            "fit by fit: anova(fit1, fit2)."
        )
    if result.options.get("penalty"):
        raise MethodError("adjusted score equations have no deviance to compare; use a Wald test.")
    shaped = problem.family.scale is not None and bool(problem.family.auxiliaries)
    if test is None:
        test = "LR" if shaped else "F" if result.use_t else "chi2"
    if test == "LR" and result.loglik is None:
        raise MethodError(f"a quasi-likelihood fit ({problem.family.name}) has no likelihood ratio; use 'F' or 'chi2'.")
    return test


def _change(
    problem: Problem,
    result: Result,
    test: str,
    small: Refit,
    full: Refit,
    columns: NDArray[np.int64],
    df: int,
) -> dict[str, float]:
    """Statistic of one step between two nested models."""
    drop = small.deviance - full.deviance
    if test == "score":
        X = problem.design.X[:, columns]
        statistic = quasi_score_statistic(problem, X, small.eta, small.psi) / result.scale
    elif test == "LR":
        statistic = _likelihood_ratio(problem, small, full)
    else:
        statistic = drop / result.scale
    out = {"df": float(df), "change": drop}
    if test == "F":
        statistic = statistic / df if df else float("nan")
        return out | {"F": statistic, "p": tail_probability("F", statistic, df, result.df_resid)}
    return out | {"chi2": statistic, "p": tail_probability("chi2", statistic, df)}


def _likelihood_ratio(problem: Problem, small: Refit, full: Refit) -> float:
    """Twice the log-likelihood ratio, with a free scale at each model's own dispersion."""
    if small.loglik is not None and full.loglik is not None:
        return 2.0 * (full.loglik - small.loglik)
    values = []
    for fit in (small, full):
        start = psi_for_scale(problem, fit.pearson / problem.design.nobs)
        psi = ml_dispersion(problem, partial(maximise_auxiliary, problem, fit.eta), start, fit.deviance)
        if psi is None:
            raise MethodError("one of the models fits perfectly: its likelihood is infinite.")
        values.append(loglik_at(problem, fit.eta, psi))
    return 2.0 * (values[1] - values[0])


def _table(rows: list[dict[str, Any]], index: str) -> pd.DataFrame:
    table = pd.DataFrame(rows).set_index(index)
    table["df_resid"] = table["df_resid"].astype(float)
    return table


# --- several fits -------------------------------------------------------------------------------------------------


def compare_fits(fits: tuple[Pair, ...], test: str | None = None) -> pd.DataFrame:
    """Nested fits, each against the one before it, smallest first; see :func:`anova`."""
    ordered = sorted(fits, key=lambda pair: pair[1].df_model)
    _check_comparable(ordered)
    test = _fits_test(ordered, test)
    largest = ordered[-1][1]
    rows: list[dict[str, Any]] = []
    for k, (problem, result) in enumerate(ordered):
        row: dict[str, Any] = {"model": _label(problem), "df_model": result.df_model, "df_resid": result.df_resid}
        if result.loglik is not None:
            row["loglik"] = result.loglik
        if not problem.design.blocks:
            row["deviance"] = float(deviance_at(problem, result.eta, result.psi).sum())
        if k:
            row |= _step(ordered[k - 1], (problem, result), test, largest)
        rows.append(row)
    return pd.DataFrame(rows).set_index("model")


def _label(problem: Problem) -> str:
    text = str(problem.design.formula) if problem.design.formula is not None else " + ".join(problem.design.columns)
    return text if len(text) < 70 else text[:67] + "..."


def _check_comparable(ordered: list[Pair]) -> None:
    first, _ = ordered[0]
    y = first.mean_response
    for problem, _ in ordered:
        if problem.design.nobs != first.design.nobs or not np.array_equal(problem.mean_response, y):
            raise MethodError(
                "the fits are not of the same responses (rows with missing values dropped differently?); "
                "fit them to the same rows."
            )
        if problem.family.name != first.family.name:
            raise MethodError(f"the fits have different families: {first.family.name} and {problem.family.name}.")
    check_likelihoods(ordered)


def _fits_test(ordered: list[Pair], test: str | None) -> str:
    problem, largest = ordered[-1]
    likelihood = all(result.loglik is not None for _, result in ordered)
    shaped = problem.family.scale is not None and bool(problem.family.auxiliaries)
    if test is None:
        test = "LR" if problem.design.blocks or shaped or largest.method != "irls" else "F" if largest.use_t else "chi2"
    mixed = any(p.design.blocks for p, _ in ordered)
    if test == "LR" and not likelihood:
        way = "anova(fit, kind='III') or fit.test(...), or fit by 'laplace'" if mixed else "test='F', 'chi2' or 'score'"
        raise MethodError(f"a quasi-likelihood fit (by {largest.method!r}) has no likelihood ratio; use {way}.")
    if test != "LR" and mixed:
        raise MethodError("fits with random effects are compared by test='LR'.")
    return test


def _step(small: Pair, full: Pair, test: str, largest: Result) -> dict[str, Any]:
    df = float(full[1].df_model - small[1].df_model)
    if df <= 0:
        raise MethodError("two of the fits have the same number of parameters: they are not nested.")
    if test == "LR":
        assert full[1].loglik is not None
        assert small[1].loglik is not None
        statistic = 2.0 * (full[1].loglik - small[1].loglik)
        if not full[0].design.blocks:
            return {"df": df, "chi2": statistic, "p": tail_probability("chi2", statistic, df)}
        null = reference(small, full)
        return {"df": df, "chi2": statistic, "p": null.tail(statistic), "reference": str(null)}
    check_nested(small[0], full[0])
    if test == "score":
        found = score_test(small, full[0])
        return {"df": found.df, "chi2": found.statistic, "p": found.p}
    drop = float(deviance_at(small[0], small[1].eta, small[1].psi).sum())
    drop -= float(deviance_at(full[0], full[1].eta, full[1].psi).sum())
    if test == "F":
        statistic = drop / df / largest.scale
        p = tail_probability("F", statistic, df, largest.df_resid)
        return {"df": df, "change": drop, "F": statistic, "p": p}
    statistic = drop / largest.scale
    return {"df": df, "change": drop, "chi2": statistic, "p": tail_probability("chi2", statistic, df)}
