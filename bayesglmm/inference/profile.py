"""Profile-likelihood intervals by root finding on the signed root of the profile deviance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

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
    """

    at: Callable[[float], float]
    estimate: float
    se: float


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
        raise MethodError("profile intervals here are for models without random effects; use method='wald'.")
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
    cut = float(np.sqrt(stats.f.ppf(level, 1, df) if np.isfinite(df) else stats.chi2.ppf(level, 1)))
    curve = profile(problem, result, coefficient)
    return _end(curve, cut, -1.0), _end(curve, cut, 1.0)


def _end(curve: Profile, cut: float, sign: float) -> float:
    """The value on one side at which the signed root reaches the cut-off."""

    def gap(distance: float) -> float:
        return curve.at(curve.estimate + sign * distance) - cut

    inner, outer = 0.0, cut * curve.se
    for _ in range(_MAX_EXPANSIONS):
        high = gap(outer)
        if high >= 0.0:
            break
        inner, outer = outer, 2.0 * outer
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
    distance = optimize.toms748(gap, inner, outer, xtol=1e-10 * curve.se, rtol=1e-13)
    return float(curve.estimate + sign * distance)
