"""Variance on the scale of the linear predictor, in parts: fixed effects, grouping factors, observations.

Nakagawa & Schielzeth (2013), Methods in Ecology and Evolution 4, 133-142; Johnson (2014), ibid. 5, 944-946 (random
slopes: the mean of z'Σz over the rows); Nakagawa, Johnson & Schielzeth (2017), J. R. Soc. Interface 14, 20170213
(observation-level variances of log links by the lognormal, delta and trigamma approximations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma

from bayesglmm.errors import MethodError
from bayesglmm.parameters import auxiliary_values, likelihood_scale, response_mean, theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Result

if TYPE_CHECKING:
    from bayesglmm.design.types import RandomBlock

Floats = NDArray[np.float64]

APPROXIMATIONS = ("latent", "lognormal", "delta", "trigamma")
#: Variance of the latent variable whose threshold a binary (or ordered) response is, by link.
LATENT = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0, "loglog": np.pi**2 / 6.0}


def is_observation_level(problem: Problem, block: RandomBlock) -> bool:
    """Whether a grouping factor has a level per row: overdispersion, not a group."""
    return len(block.levels) == problem.design.nobs


def group_variances(problem: Problem, theta: Floats) -> Floats:
    """Mean over the rows of z'ΛΛ'z of every grouping factor, shape (blocks,)."""
    slices = theta_slices(problem)
    out = [
        float(np.mean(np.sum(np.square(block.z @ covariance.factor(theta[where])), axis=1)))
        for block, covariance, where in zip(problem.design.blocks, problem.covariance, slices)
    ]
    return np.array(out)


def default_approximation(problem: Problem) -> str:
    """``"latent"`` for thresholds, ``"lognormal"`` for log links, ``"delta"`` otherwise."""
    if _thresholded(problem):
        return "latent"
    return "lognormal" if problem.link.name == "log" else "delta"


def _thresholded(problem: Problem) -> bool:
    family = problem.family
    return problem.link.name in LATENT and (
        family.trials or family.categories == "ordered" or family.name == "binomial"
    )


def observation_variance(
    problem: Problem, result: Result, psi: Floats, approximation: str | None = None, mean: float | None = None
) -> float:
    """Variance of an observation about its linear predictor, on the scale of the link.

    Parameters
    ----------
    problem, result
        The fit.
    psi : ndarray, shape (n_aux,)
        Auxiliaries at which it is evaluated (the fit's, or near them).
    approximation : {"latent", "lognormal", "delta", "trigamma"}, optional
        With v = φV(μ)/μ² the squared coefficient of variation: ``"latent"``, the variance of the thresholded variable
        (π²/3, 1, π²/6); for log links ``"lognormal"`` log(1 + v) or ``"trigamma"`` ψ₁(1/v); for any link ``"delta"``,
        φV(μ) (dη/dμ)². :func:`default_approximation` when left out.
    mean : float, optional
        μ; the mean response when left out.

    Raises
    ------
    MethodError
        An approximation the link does not have, or a family whose mean is not the modelled one.
    """
    kind = approximation or default_approximation(problem)
    family = problem.family
    if kind not in APPROXIMATIONS:
        raise MethodError(f"approximation is {kind!r}; expected one of {', '.join(APPROXIMATIONS)}.")
    if family.expectation is not None or problem.design.auxiliaries:
        raise MethodError(
            f"{family.name} has no single observation-level variance: its mean is not the one modelled, or "
            "its dispersion has predictors of its own."
        )
    if kind == "latent":
        if not _thresholded(problem):
            raise MethodError(f"approximation='latent' is for binary and ordered responses, not {family.name}.")
        return float(LATENT[problem.link.name])
    if family.categories == "ordered":
        raise MethodError("an ordered response has a latent variance only: approximation='latent'.")
    if kind in ("lognormal", "trigamma") and problem.link.name != "log":
        raise MethodError(
            f"approximation={kind!r} is for log links; this model has {problem.link.name!r}: take 'delta'."
        )
    mu = np.array([_mean(problem) if mean is None else float(mean)])
    aux = auxiliary_values(problem, psi)
    # The scale of the fit, moved as the likelihood's own moves with ψ.
    scale = result.scale * likelihood_scale(problem, psi) / likelihood_scale(problem, result.psi)
    variance = scale * float(family.variance(mu, aux)[0])
    if kind == "delta":
        return variance / float(problem.link.slope(problem.link.eta(mu))[0]) ** 2
    v = variance / float(mu[0]) ** 2
    return float(np.log1p(v)) if kind == "lognormal" else float(polygamma(1, 1.0 / v))


def _mean(problem: Problem) -> float:
    """Mean response, weighted by the trials where there are any."""
    r = problem.response
    return float(np.mean(r.y)) if r.trials is None else float(r.y.sum() / r.trials.sum())


def null_mean(problem: Problem, result: Result) -> float:
    """Mean of the response under a fit with only an intercept: exp(β₀ + ½ Σσ²) for a log link (Nakagawa et al. 2017).

    Raises
    ------
    MethodError
        A fit with other coefficients.
    """
    if problem.design.columns != ("Intercept",):
        raise MethodError(
            f"null has the coefficients {', '.join(problem.design.columns)}; one with only an intercept is expected."
        )

    eta, spread = float(result.beta[0]), float(group_variances(problem, result.theta).sum())
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    mu = response_mean(problem, eta + np.sqrt(spread) * nodes, result.psi)
    return float(weights @ mu / weights.sum())
