"""Criteria for choosing between models, and which of them a fit admits."""

from __future__ import annotations

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import deviance_at, factor_at, pearson_at
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.sandwich import heteroscedastic_covariance


def _loglik(problem: Problem, result: Result, what: str) -> float:
    if result.loglik is None:
        raise MethodError(
            f"{what} needs a likelihood, and this {problem.family.name} fit is a quasi-likelihood; "
            "use qaic(..., parent=...) or qic(...)."
        )
    return result.loglik


def aic(problem: Problem, result: Result) -> float:
    """Akaike's criterion −2ℓ + 2k, k counting coefficients and estimated dispersion or shape."""
    return -2.0 * _loglik(problem, result, "AIC") + 2.0 * result.df_model


def aicc(problem: Problem, result: Result) -> float:
    """AIC with the small-sample term 2k(k + 1)/(n − k − 1) (Hurvich & Tsai 1989, Biometrika 76, 297-307)."""
    k, n = result.df_model, problem.design.nobs
    if n <= k + 1:
        raise MethodError(f"AICc needs more than {k + 1} rows for {k} parameters; there are {n}.")
    return aic(problem, result) + 2.0 * k * (k + 1.0) / (n - k - 1.0)


def bic(problem: Problem, result: Result) -> float:
    """Schwarz's criterion −2ℓ + k log n."""
    return -2.0 * _loglik(problem, result, "BIC") + result.df_model * float(np.log(problem.design.nobs))


def quasi_loglik(problem: Problem, result: Result, scale: float | None = None) -> float:
    """Wedderburn's quasi-likelihood Σ w ∫_y^μ (y − t)/V(t) dt / φ: minus half the scaled deviance.

    Parameters
    ----------
    problem, result
        The fit.
    scale : float, optional
        φ; the fit's own when left out.

    Notes
    -----
    Wedderburn (1974), Biometrika 61, 439-447. The lower limit y makes it zero for a perfect fit; other authors leave
    out the part free of μ, which changes no comparison of models for the same responses.
    """
    return -0.5 * float(deviance_at(problem, result.eta, result.psi).sum()) / (result.scale if scale is None else scale)


def qaic(problem: Problem, result: Result, *, parent: tuple[Problem, Result]) -> float:
    """Quasi-AIC −2Q/ĉ + 2(k + 1), with ĉ from a stated parent model.

    Parameters
    ----------
    problem, result
        The candidate.
    parent : tuple of (Problem, Result)
        The largest model under consideration; its Pearson χ²/df is ĉ for every candidate (Burnham & Anderson 2002,
        Model Selection and Multimodel Inference, section 2.5).

    Notes
    -----
    Q is the log-likelihood of the family at unit scale (Poisson, binomial) where there is one, else the
    quasi-likelihood.
    """
    parent_problem, parent_result = parent
    df = parent_problem.design.nobs - len(parent_result.beta)
    if df <= 0:
        raise MethodError("the parent model leaves no degrees of freedom for its dispersion.")
    if parent_problem.design.nobs != problem.design.nobs:
        raise MethodError("the parent model has other rows than the candidate; fit both to the same rows.")
    c = float(pearson_at(parent_problem, parent_result.eta, parent_result.psi).sum()) / df
    unit = problem.family.scale == 1.0 and result.loglik is not None
    Q = result.loglik if unit and result.loglik is not None else quasi_loglik(problem, result, 1.0)
    return -2.0 * Q / max(c, 1.0) + 2.0 * (len(result.beta) + 1)


def qic(problem: Problem, result: Result, scale: float | None = None) -> float:
    """Quasi-likelihood under the independence model criterion −2Q/φ + 2 tr(Ω V_R).

    Ω is the model-based information of independent rows and V_R the robust covariance of the fit (HC0 where the fit
    itself has a model-based one). Pan (2001), Biometrics 57, 120-125.

    Parameters
    ----------
    problem, result
        An ``irls`` fit, or a ``gee`` fit with its robust covariance.
    scale : float, optional
        φ in both terms; the fit's own when left out. Candidates that are compared need one φ, that of the largest model
        (Pan 2001, section 2).
    """
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise MethodError(f"scale is {scale!r}; a positive number is expected, or the fit whose scale it is.")
    if problem.design.blocks and result.method not in ("irls", "gee"):
        raise MethodError("QIC is for marginal models without random effects.")
    if "qic" in result.extras:
        if scale is None:
            return float(result.extras["qic"])
        trace = result.extras["cic"] * result.extras["independence_scale"] / scale
        return -2.0 * quasi_loglik(problem, result, scale) + 2.0 * float(trace)
    factor = factor_at(problem, result.eta, result.psi)
    robust = result.cov_beta
    if result.options.get("cov", "model") == "model":
        aux = auxiliary_values(problem, result.psi)
        source = problem_rows(problem)
        robust = heteroscedastic_covariance("HC0", source, problem.family, problem.link, aux, result.beta, factor)
    phi = result.scale if scale is None else scale
    penalty = float(np.trace(np.linalg.solve(factor.inverse(), robust))) / phi
    return -2.0 * quasi_loglik(problem, result, phi) + 2.0 * penalty
