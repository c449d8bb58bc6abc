"""Predictions with a stated meaning: conditional, population or marginal; means, linear predictors, new responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import plain, probability, seed_or_none, takes, whole
from bayesglmm.design import rebind
from bayesglmm.design.types import Design
from bayesglmm.errors import MethodError
from bayesglmm.families.cumulative import category_probabilities
from bayesglmm.forecast import forecast
from bayesglmm.latent.elimination.ordering import portions
from bayesglmm.latent.prediction import parameter_covariance, row_parts
from bayesglmm.parameters import auxiliary_values, response_mean, theta_slices
from bayesglmm.posterior import parameter_draws, summary_draws
from bayesglmm.problem import Problem
from bayesglmm.responses import LEVELS, at_levels, draw_responses, eta_draws
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]

#: The level of new rows given the errors of those seen.
FORECAST = "forecast"
KINDS = ("mean", "linear", "response", "category")
#: Gauss-Hermite nodes for averaging a mean over the random effects: exact to about 1e-8 for sds up to 3.
MARGINAL_NODES = 41
#: Numbers (draws × rows) averaged at a time.
PORTION = 500_000


@takes(kind=plain, level=plain, ci=probability, draws=whole(), seed=seed_or_none)
def predict(
    problem: Problem,
    result: Result,
    newdata: Any = None,
    *,
    kind: str = "mean",
    level: str = "conditional",
    ci: float = 0.95,
    offset: Any = None,
    exposure: Any = None,
    trials: Any = None,
    draws: int = 1000,
    seed: int | None = None,
) -> pd.DataFrame:
    """Predict rows; see :meth:`bayesglmm.Fit.predict`.

    Without draws the intervals are Wald intervals on the linear-predictor scale, mapped through the link, and `se`
    is the delta-method standard error; a row's own random effects enter with their joint uncertainty with the
    coefficients (the prediction-error variance of the mixed-model equations), and by ``laplace`` and ``agq`` with all
    parameters, variances included (as glmmTMB's ``se.fit``; lme4 holds the variances). By ``mcmc``, by ``inla`` and
    after :meth:`bayesglmm.Fit.refine` everything is a summary of draws. A level that was not seen has its random effect
    at zero and its full variance, or with draws an effect drawn from the model. Where E(y) is not the mean that the
    link models (zero inflation, hurdles) ``kind="mean"`` is E(y), with the uncertainty of the auxiliaries and Wald
    intervals of its logarithm. ``kind="category"`` is for the cumulative family: one column per category.

    Raises
    ------
    MethodError
        An unknown `kind` or `level`.
    DataError
        New rows that lack a column or hold an unseen category of a fixed factor.
    """
    if kind not in KINDS:
        raise MethodError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}.")
    if level not in (*LEVELS, FORECAST):
        raise MethodError(f"level is {level!r}; expected one of {', '.join((*LEVELS, FORECAST))}.")
    if newdata is None and level == FORECAST:
        raise MethodError("level='forecast' is of new rows, and no newdata are given.")
    if newdata is None and (offset is not None or exposure is not None):
        raise MethodError("offset= and exposure= are of new rows, and no newdata are given; leave them out.")
    design = problem.design if newdata is None else rebind(problem.design, newdata, offset=offset, exposure=exposure)
    if level == FORECAST:
        return _forecast(problem, result, newdata, design, kind, ci, draws, seed)
    if kind == "response":
        return _responses(problem, result, design, level, trials, draws, seed)
    if kind == "category":
        return _categories(problem, result, design, level)
    sample = summary_draws(problem, result, design.nobs)
    if sample is not None:
        return _from_draws(problem, sample, design, kind, level, ci)
    if kind == "mean" and problem.family.expectation is not None:
        return _expected(problem, result, design, level, ci)
    estimate, variance = _linear(problem, result, design, level)
    return _interval(problem, estimate, np.sqrt(variance), kind, ci, design.index)


def _forecast(
    problem: Problem, result: Result, newdata: Any, design: Design, kind: str, ci: float, draws: int, seed: int | None
) -> pd.DataFrame:
    """New rows given the errors that were seen; see :mod:`bayesglmm.forecast`."""
    if kind == "category":
        raise MethodError("kind='category' is for the family 'cumulative'.")
    ahead = forecast(problem, result.theta, newdata, design)
    if kind == "response":
        rng = np.random.default_rng(seed)
        sample = parameter_draws(problem, result, draws, rng)
        eta = eta_draws(problem, sample, ahead.design, "conditional", rng)
        sigma = np.exp(sample.psi[0][:, 0]) if sample.psi.shape[2] else np.ones(len(eta))
        return pd.DataFrame((eta + ahead.errors(sigma, rng)).T, index=design.index)
    estimate, variance = _linear(problem, result, ahead.design, "conditional")
    out = _interval(problem, estimate, np.sqrt(variance), kind, ci, design.index)
    return out.assign(sd=ahead.sd(variance, result.psi))


def _linear(problem: Problem, result: Result, design: Design, level: str) -> tuple[Floats, Floats]:
    """Estimate and variance on the linear-predictor scale (for ``"marginal"``: the link of the averaged mean)."""
    averaged_already = level == "marginal" and result.estimand == "marginal"
    if level == "marginal" and result.effects and not averaged_already:
        return _marginal_linear(problem, result, design, design.X @ result.beta + design.offset)
    eta, gradient, rest = _eta_parts(problem, result, design, level)
    V = parameter_covariance(result, gradient.shape[1])
    return eta, np.einsum("ij,jk,ik->i", gradient, V, gradient) + rest


def _eta_parts(problem: Problem, result: Result, design: Design, level: str) -> tuple[Floats, Floats, Floats]:
    """η, its derivatives in β (or in all of β, θ and ψ), and its variance given the parameters."""
    eta = design.X @ result.beta + design.offset
    if level != "conditional" or not result.effects:
        return eta, design.X, np.zeros(design.nobs)
    for block, effects in zip(design.blocks, result.effects):
        eta = eta + np.sum(block.z * at_levels(effects, block), axis=1)
    at = row_parts(problem, result, design)
    return eta, np.hstack([at.x, at.moves]), at.quad + at.unseen


def _marginal_linear(problem: Problem, result: Result, design: Design, eta: Floats) -> tuple[Floats, Floats]:
    mean, slope_eta = averaged_mean(problem, eta, random_spread(problem, design, result.theta))
    gradients = [design.X * slope_eta[:, None]]
    k = len(result.theta)
    cov = result.cov_beta
    if result.cov_joint is not None and k:
        keep = slice(0, len(result.beta) + k)
        cov = np.nan_to_num(result.cov_joint[keep, keep])
        gradients.append(np.column_stack([_theta_slope(problem, result, design, eta, j) for j in range(k)]))
    G = np.hstack(gradients)
    linear = problem.link.eta(mean)
    slope = problem.link.slope(linear)
    return linear, np.einsum("ij,jk,ik->i", G, cov, G) / slope**2


def _theta_slope(problem: Problem, result: Result, design: Design, eta: Floats, j: int) -> Floats:
    """∂(averaged mean)/∂θ_j by a central difference: θ is short and the average is cheap."""
    step = 1e-5 * max(1.0, abs(float(result.theta[j])))
    ends = []
    for sign in (1.0, -1.0):
        theta = np.array(result.theta)
        theta[j] += sign * step
        ends.append(averaged_mean(problem, eta, random_spread(problem, design, theta))[0])
    return (ends[0] - ends[1]) / (2.0 * step)


def random_spread(problem: Problem, design: Design, theta: Floats) -> Floats:
    """Standard deviation of each row's random part, sqrt(Σ z'ΛΛ'z): shape (n,), or (draws, n) for draws of θ."""
    total = np.zeros((*theta.shape[:-1], design.nobs))
    for block, covariance, where in zip(design.blocks, problem.covariance, theta_slices(problem)):
        if theta.ndim == 1:
            factor = covariance.factor(theta[where])
        else:
            factor = np.stack([covariance.factor(t[where]) for t in theta])
        total += np.sum(np.square(block.z @ factor), axis=-1)
    return np.sqrt(total)


def averaged_mean(problem: Problem, eta: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """E g⁻¹(η + sd·Z) and its derivative in η, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(MARGINAL_NODES)
    weights = weights / weights.sum()
    mean, slope = np.zeros_like(eta), np.zeros_like(eta)
    for node, weight in zip(nodes, weights):
        mean += weight * problem.link.mean(eta + sd * node)
        slope += weight * problem.link.slope(eta + sd * node)
    return mean, slope


def _interval(problem: Problem, eta: Floats, se: Floats, kind: str, ci: float, index: Any) -> pd.DataFrame:
    reach = quantiles.norm.ppf(0.5 + ci / 2.0) * se
    ends = np.stack([eta - reach, eta + reach])
    if kind == "mean":
        se = np.abs(problem.link.slope(eta)) * se
        eta, ends = problem.link.mean(eta), np.sort(problem.link.mean(ends), axis=0)
    return pd.DataFrame({"estimate": eta, "se": se, "ci_low": ends[0], "ci_high": ends[1]}, index=index)


def expected_response(problem: Problem, design: Design, level: str, eta: Floats, theta: Floats, psi: Floats) -> Floats:
    """E(y) of every row, averaged over new random effects for ``"marginal"``."""
    if level != "marginal":
        return response_mean(problem, eta, psi, design)
    return _over_effects(problem, design, eta, theta, lambda at: response_mean(problem, at, psi, design))


def _over_effects(
    problem: Problem, design: Design, eta: Floats, theta: Floats, function: Callable[[Floats], Floats]
) -> Floats:
    """Average of a function of η over new random effects; η and θ of one point, or one row each for many."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(MARGINAL_NODES)
    sd = random_spread(problem, design, theta)
    return np.asarray(sum(w * function(eta + sd * z) for z, w in zip(nodes, weights / weights.sum())))


def mean_draws(problem: Problem, draws: Draws, design: Design, level: str, eta: Floats) -> Floats:
    """E(y) of every row at every draw, shape (draws, n), from linear predictors of that shape (written over)."""
    if problem.family.expectation is not None:
        points = zip(eta, *(x.reshape(len(eta), -1) for x in (draws.theta, draws.psi)))
        return np.stack([expected_response(problem, design, level, e, t, p) for e, t, p in points])
    return _averaged(problem, draws, design, eta) if level == "marginal" else np.asarray(problem.link.mean(eta))


def _averaged(problem: Problem, draws: Draws, design: Design, eta: Floats) -> Floats:
    """Means averaged over new random effects at every draw, written over the linear predictors."""
    theta = draws.theta.reshape(len(eta), -1)
    for some in portions(len(eta), design.nobs, PORTION):
        eta[some] = _over_effects(problem, design, eta[some], theta[some], problem.link.mean)
    return eta


def _expected(problem: Problem, result: Result, design: Design, level: str, ci: float) -> pd.DataFrame:
    """E(y) where it is not μ: delta method over (β, θ, ψ), derivatives by central differences."""
    eta, of_eta, rest = _eta_parts(problem, result, design, level)
    theta, psi = result.theta, result.psi

    def slope(k: int, size: int) -> list[Floats]:
        out = []
        for move in 1e-5 * np.eye(size):
            moves = [(s * move if k == 1 else 0.0, s * move if k == 2 else 0.0) for s in (1.0, -1.0)]
            up, down = (expected_response(problem, design, level, eta, theta + t, psi + p) for t, p in moves)
            out.append((up - down) / 2e-5)
        return out

    mean = expected_response(problem, design, level, eta, theta, psi)
    up, down = (expected_response(problem, design, level, eta + h, theta, psi) for h in (1e-5, -1e-5))
    in_eta = (up - down) / 2e-5
    G = np.column_stack([np.zeros_like(design.X), *slope(1, len(theta)), *slope(2, len(psi))])
    G[:, : of_eta.shape[1]] += in_eta[:, None] * of_eta
    cov = parameter_covariance(result, len(result.beta) if result.cov_joint is None else G.shape[1])
    G = G[:, : len(cov)]
    total = np.einsum("ij,jk,ik->i", G, cov, G) + in_eta**2 * rest
    se = np.sqrt(np.maximum(total, 0.0))
    reach = np.exp(quantiles.norm.ppf(0.5 + ci / 2.0) * se / mean)
    columns = {"estimate": mean, "se": se, "ci_low": mean / reach, "ci_high": mean * reach}
    return pd.DataFrame(columns, index=design.index)


def _categories(problem: Problem, result: Result, design: Design, level: str) -> pd.DataFrame:
    """Probability of every category: at the estimate, or averaged over the draws of a posterior."""
    if problem.family.categories != "ordered" or problem.response.levels is None:
        raise MethodError(f"kind='category' is for the family 'cumulative', not {problem.family.name}.")

    def at(eta: Floats, psi: Floats, theta: Floats) -> Floats:
        gaps = auxiliary_values(problem, psi, design)
        if level != "marginal":
            return category_probabilities(problem.link, eta, gaps)
        return _over_effects(problem, design, eta, theta, lambda e: category_probabilities(problem.link, e, gaps))

    sample = summary_draws(problem, result, design.nobs)
    if sample is not None:
        eta = eta_draws(problem, sample, design, level, np.random.default_rng(0))
        psi, theta = (x.reshape(len(eta), -1) for x in (sample.psi, sample.theta))
        p = np.mean([at(*point) for point in zip(eta, psi, theta)], axis=0)
    else:
        eta = _eta_parts(problem, result, design, level)[0]
        p = at(eta, result.psi, result.theta)
    return pd.DataFrame(p, index=design.index, columns=list(problem.response.levels))


def _from_draws(problem: Problem, draws: Draws, design: Design, kind: str, level: str, ci: float) -> pd.DataFrame:
    eta = eta_draws(problem, draws, design, level, np.random.default_rng(0))
    if kind == "mean":
        values = mean_draws(problem, draws, design, level, eta)
    elif level == "marginal" and design.blocks:
        values = problem.link.eta(_averaged(problem, draws, design, eta))
    else:
        values = eta
    low, high = np.quantile(values, [0.5 - ci / 2.0, 0.5 + ci / 2.0], axis=0)
    columns = {"estimate": values.mean(axis=0), "se": values.std(axis=0, ddof=1), "ci_low": low, "ci_high": high}
    return pd.DataFrame(columns, index=design.index)


def _responses(
    problem: Problem, result: Result, design: Design, level: str, trials: Any, draws: int, seed: int | None
) -> pd.DataFrame:
    y = draw_responses(problem, result, design, draws, seed, level=level, trials=trials)
    return pd.DataFrame(y.T, index=design.index)
