"""Predictions with a stated meaning: conditional, population or marginal; means, linear predictors, new responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bayesglmm.design import rebind
from bayesglmm.design.types import Design, RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.parameters import theta_slices
from bayesglmm.posterior import parameter_draws
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]

KINDS = ("mean", "linear", "response")
LEVELS = ("conditional", "population", "marginal")
#: Gauss-Hermite nodes for averaging a mean over the random effects: exact to about 1e-8 for sds up to 3.
MARGINAL_NODES = 41


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
    coefficients (the prediction-error variance of the mixed-model equations). With MCMC draws everything is a summary
    of draws. A level that was not seen has its random effect at zero and its full variance.

    Raises
    ------
    MethodError
        An unknown `kind` or `level`.
    DataError
        New rows that lack a column or hold an unseen category of a fixed factor.
    """
    if kind not in KINDS:
        raise MethodError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}.")
    if level not in LEVELS:
        raise MethodError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    if not 0.0 < ci < 1.0:
        raise MethodError(f"ci is {ci!r}; expected a probability between 0 and 1.")
    design = problem.design if newdata is None else rebind(problem.design, newdata, offset=offset, exposure=exposure)
    if kind == "response":
        return _responses(problem, result, design, level, trials, draws, seed)
    if result.draws is not None and not result.draws.independent:
        return _from_draws(problem, result.draws, design, kind, level, ci)
    estimate, variance = _linear(problem, result, design, level)
    return _interval(problem, estimate, np.sqrt(variance), kind, ci, design.index)


def _linear(problem: Problem, result: Result, design: Design, level: str) -> tuple[Floats, Floats]:
    """Estimate and variance on the linear-predictor scale (for ``"marginal"``: the link of the averaged mean)."""
    eta = design.X @ result.beta + design.offset
    averaged_already = level == "marginal" and result.estimand == "marginal"
    if level == "population" or not result.effects or averaged_already:
        return eta, np.einsum("ij,jk,ik->i", design.X, result.cov_beta, design.X)
    if level == "marginal":
        return _marginal_linear(problem, result, design, eta)
    from bayesglmm.latent.prediction import linear_predictor_variance

    for block, effects in zip(design.blocks, result.effects):
        eta = eta + np.sum(block.z * _at_levels(effects, block), axis=1)
    return eta, linear_predictor_variance(problem, result, design)


def _at_levels(effects: Floats, block: RandomBlock) -> Floats:
    """Random effects of each row's level, shape (..., n, q); zero at a level that was not seen."""
    return np.where((block.codes >= 0)[:, None], effects[..., np.maximum(block.codes, 0), :], 0.0)


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
    """Standard deviation of each row's random part, sqrt(Σ z'ΛΛ'z)."""
    total = np.zeros(design.nobs)
    for block, covariance, where in zip(design.blocks, problem.covariance, theta_slices(problem)):
        total += np.sum(np.square(block.z @ covariance.factor(theta[where])), axis=1)
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
    reach = stats.norm.ppf(0.5 + ci / 2.0) * se
    ends = np.stack([eta - reach, eta + reach])
    if kind == "mean":
        se = np.abs(problem.link.slope(eta)) * se
        eta, ends = problem.link.mean(eta), np.sort(problem.link.mean(ends), axis=0)
    return pd.DataFrame({"estimate": eta, "se": se, "ci_low": ends[0], "ci_high": ends[1]}, index=index)


def _eta_draws(problem: Problem, draws: Draws, design: Design, level: str, rng: np.random.Generator) -> Floats:
    """Linear predictors, shape (draws, n); an unseen level gets an effect of its own from the model."""
    count = draws.beta.shape[0] * draws.beta.shape[1]
    eta = draws.beta.reshape(count, -1) @ design.X.T + design.offset
    if level != "conditional":
        return eta
    theta = draws.theta.reshape(count, -1)
    for k, (block, where) in enumerate(zip(design.blocks, theta_slices(problem))):
        effects = draws.effects[k].reshape(count, *draws.effects[k].shape[2:])
        eta = eta + np.sum(block.z * _at_levels(effects, block), axis=2)
        new = np.flatnonzero(block.codes < 0)
        if len(new):
            spread = np.stack([problem.covariance[k].factor(t[where]) for t in theta])
            fresh = np.einsum("drc,dnc->dnr", spread, rng.standard_normal((count, len(new), len(block.columns))))
            eta[:, new] += np.sum(block.z[new] * fresh, axis=2)
    return eta


def _from_draws(problem: Problem, draws: Draws, design: Design, kind: str, level: str, ci: float) -> pd.DataFrame:
    eta = _eta_draws(problem, draws, design, level, np.random.default_rng(0))
    if level == "marginal" and design.blocks:
        theta = draws.theta.reshape(len(eta), -1)
        means = np.stack([averaged_mean(problem, e, random_spread(problem, design, t))[0] for e, t in zip(eta, theta)])
        values = means if kind == "mean" else problem.link.eta(means)
    else:
        values = problem.link.mean(eta) if kind == "mean" else eta
    low, high = np.quantile(values, [0.5 - ci / 2.0, 0.5 + ci / 2.0], axis=0)
    columns = {"estimate": values.mean(axis=0), "se": values.std(axis=0, ddof=1), "ci_low": low, "ci_high": high}
    return pd.DataFrame(columns, index=design.index)


def _responses(
    problem: Problem, result: Result, design: Design, level: str, trials: Any, draws: int, seed: int | None
) -> pd.DataFrame:
    y = draw_responses(problem, result, design, draws, seed, level=level, trials=trials)
    return pd.DataFrame(y.T, index=design.index)


def draw_responses(
    problem: Problem,
    result: Result,
    design: Design,
    draws: int,
    seed: int | None,
    *,
    level: str = "conditional",
    trials: Any = None,
) -> Floats:
    """Draw new responses at the rows of `design`, shape (draws, n).

    Parameters
    ----------
    level : str
        ``"conditional"`` keeps each row's own random effects, ``"marginal"`` draws new ones, ``"population"``
        sets them to zero.
    trials : array_like, optional
        Binomial denominators of new rows; those of the training rows, or one, when left out.
    """
    if problem.family.quasi:
        raise MethodError(f"{problem.family.name} is a quasi-family: it has no distribution to draw responses from.")
    from dataclasses import replace

    from bayesglmm.graph.simulate import draw_family

    rng = np.random.default_rng(seed)
    sample = parameter_draws(problem, result, draws, rng)
    if level == "marginal":
        design = replace(design, blocks=tuple(replace(b, codes=np.full_like(b.codes, -1)) for b in design.blocks))
    eta = _eta_draws(problem, sample, design, "conditional" if level == "marginal" else level, rng)
    if trials is None and problem.response.trials is not None:
        trials = problem.response.trials if design is problem.design or len(eta[0]) == problem.design.nobs else 1.0
    psi = sample.psi.reshape(draws, -1)
    weights = problem.design.weights if len(eta[0]) == problem.design.nobs else None
    return draw_family(problem.family, problem.link, eta, psi, trials, weights, rng)


def posterior_predictive(problem: Problem, result: Result, draws: int = 200, seed: int | None = None) -> Floats:
    """Draw replicated responses for the same rows and groups, shape (draws, n)."""
    return draw_responses(problem, result, problem.design, draws, seed)
