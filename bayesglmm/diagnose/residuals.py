"""Residuals of any fit, random effects included in its means where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesglmm.arguments import flag, plain, seed_or_none, takes
from bayesglmm.diagnose.distribution import cdf_bounds
from bayesglmm.errors import MethodError
from bayesglmm.parameters import response_mean
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import blocks_with, deviance_at, factor_at, pearson_at, working_at
from bayesglmm.scores.sandwich import leverages
from bayesglmm.scores.solve import Factor

Floats = NDArray[np.float64]

KINDS = ("pearson", "deviance", "response", "working", "quantile", "normalized")


@takes(kind=plain, seed=seed_or_none, predictive=flag)
def residuals(
    problem: Problem,
    result: Result,
    kind: str = "deviance",
    *,
    seed: int | None = 0,
    predictive: bool = False,
    **options: Any,
) -> Floats:
    """Residuals of a fit, shape (n,), not divided by the scale φ (quantile residuals are standard normal as they are).

    Parameters
    ----------
    problem : Problem
        The model.
    result : Result
        The fit; conditional modes or means of random effects are part of its linear predictor.
    kind : {"pearson", "deviance", "response", "working", "quantile", "normalized"}
        ``"pearson"`` √w (y − E y) / √V, under a dispersion model divided by the root of the row's own φ too;
        ``"deviance"`` sign(y − μ) √(w d); ``"response"`` y − μ (a proportion for
        binomial data); ``"working"`` (y − μ) dη/dμ; ``"quantile"`` Φ⁻¹(u) with u uniform between F(y−) and F(y):
        exactly standard normal under the model (Dunn & Smyth 1996, J. Comput. Graph. Statist. 5, 236-244);
        ``"normalized"`` Pearson's divided by √φ and, where errors go together within groups, made independent by the
        inverse Cholesky factor of their correlation (Pinheiro & Bates 2000, section 5.1.3).
    seed : int or None
        Seed of the uniform draws of quantile residuals of a discrete response; None draws afresh.
    predictive : bool
        Quantile residuals from the posterior predictive distribution instead of that at the estimate: the place of the
        response among replications, for any family that can be drawn from.
    **options
        ``level="conditional"`` or ``"marginal"`` (new groups), ``draws=1000``, of predictive residuals; see
        :func:`~bayesglmm.diagnose.predictive.predictive_quantile_residuals`.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    MethodError
        An unknown kind, quantile residuals of a quasi-likelihood fit, or predictive residuals of another kind.
    """
    if kind not in KINDS:
        raise MethodError(f"unknown residuals {kind!r}; known kinds: {', '.join(KINDS)}.")
    if predictive:
        from bayesglmm.diagnose.predictive import predictive_quantile_residuals

        if kind != "quantile":
            raise MethodError(f"predictive=True is for 'quantile' residuals, not {kind!r}.")
        return predictive_quantile_residuals(problem, result, seed, **options)
    if options:
        raise MethodError(f"{', '.join(options)}: for quantile residuals with predictive=True only.")
    if kind == "quantile":
        return quantile_residuals(problem, result, seed)
    gap = problem.mean_response - response_mean(problem, result.eta, result.psi)
    if kind == "response":
        return gap
    if kind == "working":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gap == 0.0, 0.0, gap / problem.link.slope(result.eta))
    if kind in ("pearson", "normalized"):
        pearson = np.sign(gap) * np.sqrt(pearson_at(problem, result.eta, result.psi))
        return pearson if kind == "pearson" else _normalized(problem, result, pearson)
    return np.sign(gap) * np.sqrt(deviance_at(problem, result.eta, result.psi))


def _normalized(problem: Problem, result: Result, pearson: Floats) -> Floats:
    """Pearson residuals over √φ, whitened; a dispersion model has its rows' own φ in them already."""
    if problem.errors is None:
        return pearson if problem.design.auxiliaries else pearson / np.sqrt(result.scale)
    at = result.theta[len(result.theta) - problem.errors.n_params :]
    return problem.errors.whiten(at, pearson) / np.sqrt(result.scale)


def deviance(problem: Problem, result: Result) -> float:
    """Sum of w_i d_i at the fitted means."""
    if "deviance" in result.extras:
        return float(result.extras["deviance"])
    return float(deviance_at(problem, result.eta, result.psi).sum())


def quantile_residuals(problem: Problem, result: Result, seed: int | None = 0) -> Floats:
    """Randomised quantile residuals, shape (n,); see :func:`residuals`."""
    low, high = cdf_bounds(problem, result.eta, result.psi)
    u = high
    if problem.family.support.integer:
        u = low + (high - low) * np.random.default_rng(seed).uniform(size=len(high))
    edge = np.finfo(float)
    return special.ndtri(np.clip(u, edge.tiny, 1.0 - edge.epsneg))


def standardised(kind_values: Floats, leverage: Floats, scale: float) -> Floats:
    """Residuals divided by √(φ (1 − h)), shape (n,)."""
    return kind_values / np.sqrt(scale * (1.0 - leverage))


def leverage_of(problem: Problem, result: Result) -> tuple[Floats, Factor]:
    """Diagonal of the hat matrix of the fixed effects, and the factor of X'WX it came from."""
    work = working_at(problem, result.eta, result.psi)
    factor = factor_at(problem, result.eta, result.psi)
    parts = [leverages(rows.X, weight, factor) for rows, weight in blocks_with(problem, work.weight)]
    return np.concatenate(parts), factor
