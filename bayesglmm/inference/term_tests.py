"""Wald tests of the terms of one fit: type I, II and III hypotheses, with the small-sample F tests of mixed models.

Type I and II hypotheses are rows of the Cholesky factor of X'WX (W the working weights): with R'R = X'WX and the
columns in the order T₁, T₂, ..., the rows of R that belong to T_k test T_k adjusted for the terms before it, whatever
stands after (in a linear model their sum of squares is the sequential one). Type II puts the terms that do not contain
T_k first, in the marginality principle's sense (``a`` is contained in ``a:x`` also where x is a number, which SAS and
lmerTest see otherwise). The variance parameters do not enter: X'WX is not X'V⁻¹X, so that a hypothesis does not depend
on estimates. Satterthwaite's denominator of several rows depends on the rows themselves: they are R's, each divided by
its diagonal entry, and for a term that nothing of type II contains the coefficients one by one, as in lmerTest.

Goodnight (1980), Comm. Statistics A9, 167-180 (the four types); Kuznetsova, Brockhoff & Christensen (2017), J. Stat.
Software 82(13), section 2; Nelder (1977), JRSS A 140, 48-77 (marginality).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.contrasts import wald_test
from bayesglmm.inference.outcome import tail_probability
from bayesglmm.inference.terms import TermColumns, model_terms
from bayesglmm.inference.type3 import type3_hypotheses
from bayesglmm.latent.linear.small_sample import small_sample
from bayesglmm.latent.prediction import working_weights_at
from bayesglmm.latent.refit import METHODS
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]

KINDS = ("I", "II", "III")


def term_hypotheses(problem: Problem, result: Result, kind: str) -> dict[str, Floats]:
    """Matrix L of the hypothesis Lβ = 0 of every term but the intercept, each of shape (columns of the term, p).

    Parameters
    ----------
    problem, result
        The fit; only its working weights are used.
    kind : {"I", "II", "III"}
        Adjusted for the terms before it; for all that do not contain it; for all, in sum-to-zero coding.
    """
    if kind == "III":
        return type3_hypotheses(problem)
    terms = model_terms(problem)
    X = problem.design.X
    M = X.T @ (working_weights_at(problem, result)[:, None] * X)
    out = {}
    for term in terms:
        if not term.factors or len(term.columns) == 0:
            continue
        later = [t for t in terms if _comes_after(t, term, terms, kind)]
        last = np.concatenate([t.columns for t in later]) if later else np.empty(0, dtype=np.int64)
        first = np.setdiff1d(np.arange(X.shape[1]), np.concatenate([term.columns, last]))
        order = np.concatenate([first, term.columns, last])
        L = np.zeros((len(term.columns), X.shape[1]))
        if kind == "II" and not later:
            L[np.arange(len(L)), term.columns] = 1.0
        else:
            R = np.linalg.cholesky(M[np.ix_(order, order)]).T
            own = R[len(first) : len(first) + len(term.columns)]
            L[:, order] = own / np.diag(own[:, len(first) :])[:, None]
        out[term.label] = L
    return out


def _comes_after(other: TermColumns, term: TermColumns, terms: tuple[TermColumns, ...], kind: str) -> bool:
    if kind == "I":
        return terms.index(other) > terms.index(term)
    return term.factors < other.factors


def term_table(problem: Problem, result: Result, kind: str, df: str | None = None) -> pd.DataFrame:
    """Type I, II or III table of one fit; see :func:`bayesglmm.anova`.

    Parameters
    ----------
    problem, result
        The fit: of any method without a posterior.
    kind : {"I", "II", "III"}
        Which hypotheses.
    df : {"satterthwaite", "kenward-roger"}, optional
        Denominators of a linear (or working linear) mixed model; the fit's own when left out, else Satterthwaite's.

    Returns
    -------
    DataFrame
        Rows are terms; columns ``F, df, df_denominator, p``, or ``chi2, df, p`` where the reference is normal.

    Raises
    ------
    MethodError
        A posterior, a `df` for a fit that is not of a linear mixed model, or no term beside the intercept.
    """
    if is_posterior(problem, result):
        raise MethodError(
            "tests of terms need a fit without a posterior: fit with priors='flat', or by another method."
        )
    mixed = result.method in METHODS and bool(problem.design.blocks or problem.errors is not None)
    if df is not None and not mixed:
        raise MethodError(
            f"df={df!r} is for linear mixed models (ml, reml, pql, mql); this fit is by {result.method!r}."
        )
    hypotheses = term_hypotheses(problem, result, kind)
    if not hypotheses:
        raise MethodError("there is no term to test: the fixed part is only an intercept.")
    rows: list[dict[str, Any]] = []
    if mixed:
        approximation = small_sample(problem, result, df or str(result.options.get("df") or "satterthwaite"))
        for L in hypotheses.values():
            test = approximation.f_test(L)
            p = tail_probability("F", test.statistic, test.numerator, test.denominator)
            rows.append({"F": test.statistic, "df": test.numerator, "df_denominator": test.denominator, "p": p})
    else:
        for L in hypotheses.values():
            found = wald_test(problem, result, L)
            end = {"df_denominator": found.df_denominator} if found.reference == "F" else {}
            rows.append({found.reference: found.statistic, "df": found.df, **end, "p": found.p})
    return pd.DataFrame(rows, index=pd.Index(list(hypotheses), name="term"))
