"""F tests about the fixed effects of linear mixed models, with Satterthwaite's or Kenward and Roger's df."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesglmm.arguments import numeric, optional, plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.contrasts import contrast_table, wald_test
from bayesglmm.inference.hypotheses import read_hypotheses
from bayesglmm.inference.linear_functions import coefficients_of
from bayesglmm.inference.outcome import Outcome, outcome
from bayesglmm.latent.linear.small_sample import KINDS, SmallSample, small_sample
from bayesglmm.latent.refit import METHODS
from bayesglmm.problem import Problem
from bayesglmm.result import Result


def f_test(problem: Problem, result: Result, hypothesis: Any, *, value: Any = 0.0, df: str | None = None) -> Outcome:
    """F test of linear hypotheses about the coefficients of a linear mixed model.

    Parameters
    ----------
    problem, result
        A fit by ``"ml"`` or ``"reml"`` (or, approximately, ``"pql"`` or ``"mql"``).
    hypothesis : str, list of str, or array_like
        ``"a = b"``, ``["a = 0", "b = 2*c"]``, or a matrix of shape (k, p).
    value : array_like, shape (k,), optional
        Right-hand sides when `hypothesis` is a matrix.
    df : {"satterthwaite", "kenward-roger"}, optional
        The approximation; the fit's own when it has one, else Satterthwaite's.

    Returns
    -------
    Outcome
        With the approximate denominator degrees of freedom.

    Raises
    ------
    MethodError
        An unknown coefficient or approximation, contradictory equations, or a fit of another kind of model.
    """
    L, c, labels = read_hypotheses(hypothesis, problem.design.columns)
    approximation, kind = _approximation(problem, result, df)
    own = coefficients_of(problem, result, kind)
    right = np.broadcast_to(np.asarray(c, dtype=float) + np.asarray(value, dtype=float), (len(L),))
    if np.abs(L @ np.linalg.lstsq(L, right)[0] - right).max() > 1e-8 * max(1.0, float(np.abs(right).max())):
        raise MethodError("the equations of the hypothesis contradict each other; leave the redundant ones out.")
    test = approximation.f_test(L, right)
    name = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger"}[kind]
    table = contrast_table(replace(result, cov_beta=own.cov), L, labels, df=own.df(L))
    return outcome(name, ", ".join(labels), "F", test.statistic, test.numerator, test.denominator, contrasts=table)


@takes(value=optional(numeric), df=plain)
def hypothesis_test(
    problem: Problem, result: Result, hypothesis: Any, *, value: Any = None, df: str | None = None
) -> Outcome:
    """Test linear hypotheses: by the small-sample F test that is asked for or that the fit was made with, else Wald's.

    Parameters
    ----------
    problem, result
        The fit.
    hypothesis, value
        See :func:`bayesglmm.inference.contrasts.wald_test`.
    df : {"satterthwaite", "kenward-roger"}, optional
        For fits by ml, reml, pql and mql.
    """
    if df is None and (result.method not in METHODS or result.options.get("df") not in KINDS):
        return wald_test(problem, result, hypothesis, value=value)
    return f_test(problem, result, hypothesis, value=0.0 if value is None else value, df=df)


def _approximation(problem: Problem, result: Result, df: str | None) -> tuple[SmallSample, str]:
    kind = str(result.options.get("df") or "satterthwaite") if df is None else df
    return small_sample(problem, result, kind), kind
