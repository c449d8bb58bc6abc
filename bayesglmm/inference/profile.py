"""Profile-likelihood intervals by root finding on the signed root of the profile deviance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.inference.terms import refit, with_columns
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import deviance_at
from bayesglmm.scores.likelihood import loglik_at

Floats = NDArray[np.float64]

#: Doublings of the search before an end is declared infinite.
_MAX_EXPANSIONS = 12


@dataclass(frozen=True)
class Profile:
    """The profile of one coefficient.

    Parameters
    ----------
    at : callable
        value → √(2 × drop in the log-likelihood) (or √ of the scaled deviance), ≥ 0; infinite where the value admits
        no means inside their range.
    estimate, se : float
        Where the profile is zero, and its unit of length.
    low, high : float
        The parameter's range.
    tolerance : float
        To what part of `se` an end is found.
    """

    at: Callable[[float], float]
    estimate: float
    se: float
    low: float = -np.inf
    high: float = np.inf
    tolerance: float = 1e-10


def profile(problem: Problem, result: Result, coefficient: int) -> Profile:
    """The root of the profile deviance of one coefficient, all others (and shape parameters) refitted at each value.

    Parameters
    ----------
    problem, result
        An ``irls`` fit.
    coefficient : int
        Position of the coefficient.

    Raises
    ------
    MethodError
        A model with random effects, or a fit by adjusted score equations.
    """
    if problem.design.blocks:
        raise MethodError(
            f"a fit by {result.method!r} maximises no marginal likelihood to profile: use method='wald', or fit by "
            "'laplace', 'agq' or 'ml' with priors='flat'."
        )
    if result.options.get("penalty"):
        raise MethodError("adjusted score equations maximise no likelihood to profile; use method='wald'.")
    j, d = coefficient, problem.design
    free = np.array([k for k in range(len(d.columns)) if k != j], dtype=np.int64)
    estimate, shaped = float(result.beta[j]), problem.family.scale is not None and bool(problem.family.auxiliaries)
    deviance = float(deviance_at(problem, result.eta, result.psi).sum())
    loglik = loglik_at(problem, result.eta, result.psi) if shaped else None
    slope = result.cov_beta[free, j] / result.cov_beta[j, j]

    def root(value: float) -> float:
        reduced = with_columns(problem, free, d.offset + d.X[:, j] * value)
        try:
            found = refit(reduced, start=result.beta[free] + slope * (value - estimate))
        except ConvergenceError:
            return float("inf")
        if loglik is not None and found.loglik is not None:
            drop = 2.0 * (loglik - found.loglik)
        else:
            drop = (found.deviance - deviance) / result.scale
        return float(np.sqrt(max(drop, 0.0)))

    unit = float(np.sqrt(result.cov_beta[j, j]))
    if not result.status.converged:  # under separation standard errors are meaningless: search in moderate steps
        unit = min(unit, 1.0 + 0.25 * abs(estimate))
    return Profile(root, estimate, unit)


def profile_interval(
    problem: Problem, result: Result, coefficient: int, level: float = 0.95, reference: str = "chi2"
) -> tuple[float, float]:
    """Ends of the profile interval of one coefficient.

    Parameters
    ----------
    problem, result
        An ``irls`` fit.
    coefficient : int
        Position of the coefficient.
    level : float
        Coverage.
    reference : {"chi2", "F"}
        Cut-off: χ²(1), or F(1, df) where φ is estimated.

    Returns
    -------
    tuple of float
        An end that the profile never reaches is infinite.
    """
    if reference not in ("chi2", "F"):
        raise MethodError(f"reference is {reference!r}; 'chi2' or 'F' is expected.")
    df = result.df_resid if reference == "F" and result.use_t else np.inf
    cut = float(np.sqrt(quantiles.f.ppf(level, 1, df) if np.isfinite(df) else quantiles.chi2.ppf(level, 1)))
    curve = profile(problem, result, coefficient)
    return profile_end(curve, cut, -1.0), profile_end(curve, cut, 1.0)


def profile_end(curve: Profile, cut: float, sign: float) -> float:
    """The value on one side at which the signed root reaches the cut-off; the range's end if it does not before."""
    from scipy import optimize

    farthest = (curve.high - curve.estimate) if sign > 0 else (curve.estimate - curve.low)
    if farthest <= 0.0:
        return curve.estimate

    def gap(distance: float) -> float:
        return curve.at(curve.estimate + sign * distance) - cut

    inner, outer = 0.0, min(cut * curve.se, farthest)
    for _ in range(_MAX_EXPANSIONS):
        high = gap(outer)
        if high >= 0.0:
            break
        if outer == farthest:
            return curve.high if sign > 0 else curve.low
        inner, outer = outer, min(2.0 * outer, farthest)
    else:
        return sign * float("inf")
    while not np.isfinite(high):  # beyond the domain: come back until the profile exists
        middle = 0.5 * (inner + outer)
        high_middle = gap(middle)
        if high_middle < 0.0:
            inner = middle
        else:
            outer, high = middle, high_middle
        if outer - inner < 1e-12 * curve.se:
            return curve.estimate + sign * inner
    distance = optimize.toms748(gap, inner, outer, xtol=curve.tolerance * curve.se, rtol=1e-13)
    return float(curve.estimate + sign * distance)
