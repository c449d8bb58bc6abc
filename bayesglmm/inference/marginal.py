"""Tests and diagnostics of marginal models: generalized score tests, and how well the working correlation works."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.errors import MethodError
from bayesglmm.inference.contrasts import reference_df
from bayesglmm.inference.outcome import Outcome, outcome
from bayesglmm.inference.terms import model_terms
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.gee_facts import Marginal
from bayesglmm.scores.working import working_quantities

Floats = NDArray[np.float64]
Pair = tuple[Problem, Result]


def marginal_of(result: Result) -> Marginal:
    """The solved marginal model behind a fit.

    Raises
    ------
    MethodError
        A fit by another method.
    """
    if "marginal" not in result.extras:
        raise MethodError(f"this is for fits by 'gee', and the fit is by {result.method!r}.")
    found: Marginal = result.extras["marginal"]
    return found


def generalized_score_test(small: Pair, full: Problem, *, small_sample: bool = False) -> Outcome:
    """Generalized score test of a marginal model against a larger one that need not be fitted.

    Parameters
    ----------
    small : tuple of (Problem, Result)
        The restricted fit; its correlation and scale are used.
    full : Problem
        The larger model of the same rows.
    small_sample : bool
        Multiply by (K − 1)/K, which keeps the size of the test with few clusters (Guo, Pan, Connett, Hannan & French
        2005, Statistics in Medicine 24, 3479-3495).

    Returns
    -------
    Outcome
        (LAU)'(LAJAL')⁻¹(LAU) on χ², with U the scores of the larger model at the restricted fit, A its inverse
        information, J = Σ u u', and Lβ = 0 the restriction.

    Notes
    -----
    Rotnitzky & Jewell (1990), Biometrika 77, 485-497; Boos (1992), American Statistician 46, 327-333.
    """
    problem, result = small
    q = marginal_of(result).equations
    point = marginal_of(result).solved.point
    L = restriction(problem.design.X, full.design.X)
    eta = point.beta @ q.XT + q.offset
    root = np.sqrt(working_quantities(q.family, q.link, eta, q.y, q.w, q.aux).weight)
    B = np.ascontiguousarray(q.clusters.sort(full.design.X).T) * root
    u = q.clusters.totals(B * point.solved)
    A = linalg.inv(q.correlation.gram(point.params, B))
    LAU = L @ A @ u
    gap = LAU.sum(axis=1)
    statistic = float(gap @ linalg.solve(LAU @ LAU.T, gap, assume_a="pos"))
    K = q.clusters.count
    if small_sample:
        statistic *= (K - 1.0) / K
    label = f"{len(L)} more column{'s' if len(L) > 1 else ''}"
    return outcome("generalized score", label, "chi2", statistic, len(L))


def restriction(X_small: Floats, X_full: Floats) -> Floats:
    """L with Lβ = 0 exactly when X_full β lies in the span of X_small, shape (k, p), rows orthonormal.

    Raises
    ------
    MethodError
        Models that are not nested, or that are the same.
    """
    C, _, _, _ = np.linalg.lstsq(X_full, X_small, rcond=None)
    size = np.linalg.norm(X_small, axis=0)
    if (np.linalg.norm(X_small - X_full @ C, axis=0) > 1e-6 * np.where(size > 0, size, 1.0)).any():
        raise MethodError("the fits are not nested: the smaller model's columns are not in the span of the larger's.")
    L = linalg.null_space(C.T).T
    if len(L) == 0:
        raise MethodError("the larger model has no more columns than the smaller: there is nothing to test.")
    return L


def correlation_diagnostics(result: Result) -> pd.Series:
    """How well a working correlation describes the clusters.

    Parameters
    ----------
    result : Result
        A fit by ``gee``.

    Returns
    -------
    Series
        With Γ = Q₀⁻¹ Q₁, Q₀ the information of the working model and Q₁ = Σ u u' (both on the scale φ): ``C1`` = tr Γ
        / p and ``C2`` = tr Γ² / p, both 1 where the working covariance is right; ``DBAR`` = C2 − 2 C1 + 1 and ``RJ`` =
        √((1 − C1)² + (1 − C2)²), both 0 there (Rotnitzky & Jewell 1990, Biometrika 77, 485-497; Hin, Carey & Wang 2007,
        American Statistician 61, 360-364). ``gaussian_pseudolikelihood`` = −½ Σ_g (log |V_g| + r_g' V_g⁻¹ r_g), larger
        for a better working covariance (Carey & Wang 2011, Statistics in Medicine 30, 3117-3124). ``cic``: smaller is
        better.
    """
    marginal = marginal_of(result)
    parts, point, q = marginal.parts, marginal.solved.point, marginal.equations
    gamma = parts.A @ (parts.u.T @ parts.u) / parts.phi
    p = len(point.beta)
    c1, c2 = float(np.trace(gamma)) / p, float(np.trace(gamma @ gamma)) / p
    eta = point.beta @ q.XT + q.offset
    work = working_quantities(q.family, q.link, eta, q.y, q.w, q.aux)
    with np.errstate(divide="ignore"):
        logs = np.where(work.weight > 0, np.log(point.phi * work.variance / q.w), 0.0).sum()
    logdet = float(logs + q.correlation.logdet(point.params).sum())
    quadratic = float(point.residuals @ point.solved) / point.phi
    return pd.Series(
        {
            "C1": c1,
            "C2": c2,
            "DBAR": c2 - 2.0 * c1 + 1.0,
            "RJ": float(np.hypot(1.0 - c1, 1.0 - c2)),
            "gaussian_pseudolikelihood": -0.5 * (logdet + quadratic),
            "cic": result.extras.get("cic", float("nan")),
        }
    )


def marginal_anova(pairs: tuple[Pair, ...], test: str | None) -> pd.DataFrame:
    """Generalized Wald (or score) tests of marginal models; see :func:`bayesglmm.anova`.

    Parameters
    ----------
    pairs : tuple of (Problem, Result)
        One fit: each of its terms is tested within it. Several: each against the one before it, smallest first, by the
        coefficients and covariance of the larger.
    test : {"chi2", "F", "score"}, optional
        ``"F"`` where the fits use a t reference, else ``"chi2"``.

    Raises
    ------
    MethodError
        Fits that are not all marginal, or not nested; a likelihood ratio, which estimating equations do not have.
    """
    for _, result in pairs:
        marginal_of(result)
    if test == "LR":
        raise MethodError("estimating equations have no likelihood ratio; take test='chi2', 'F' or 'score'.")
    if len(pairs) > 1:
        rows = [_step(a, b, test) for a, b in itertools.pairwise(pairs)]
        counts = [{"coefficients": len(result.beta)} for _, result in pairs]
        return pd.DataFrame([count | row for count, row in zip(counts, [{}, *rows])])
    problem, result = pairs[0]
    terms = [t for t in model_terms(problem) if t.factors and len(t.columns)]
    every = np.eye(len(result.beta))
    tests = [(t.label, _wald(result, every[t.columns], test)) for t in terms]
    return pd.DataFrame([{"term": label, **_cells(o)} for label, o in tests]).set_index("term")


def _step(small: Pair, full: Pair, test: str | None) -> dict[str, Any]:
    if test == "score":
        found = generalized_score_test(small, full[0])
    else:
        found = _wald(full[1], restriction(small[0].design.X, full[0].design.X), test)
    return _cells(found)


def _wald(result: Result, L: Floats, test: str | None) -> Outcome:
    gap = L @ result.beta
    statistic = float(gap @ linalg.solve(L @ result.cov_beta @ L.T, gap, assume_a="pos"))
    df = reference_df(result)
    if test == "F" or (test is None and np.isfinite(df)):
        return outcome("generalized Wald", "", "F", statistic / len(L), len(L), df)
    return outcome("generalized Wald", "", "chi2", statistic, len(L))


def _cells(found: Outcome) -> dict[str, Any]:
    cells: dict[str, Any] = {"df": found.df, "F" if found.reference == "F" else "chi2": found.statistic}
    if found.reference == "F":
        cells["df_denominator"] = found.df_denominator
    return cells | {"p": found.p}
