"""Checks of a fit: normality of residuals, the variance function, overdispersion, excess zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.diagnose.distribution import zero_probability
from bayesglmm.diagnose.residuals import leverage_of, residuals
from bayesglmm.diagnose.smooth import lowess
from bayesglmm.errors import MethodError
from bayesglmm.inference.outcome import Outcome, outcome
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.fitted import factor_at, pearson_at, working_at

Floats = NDArray[np.float64]


def shapiro_wilk(problem: Problem, result: Result, kind: str = "deviance") -> Outcome:
    """Shapiro-Wilk test that residuals are normal.

    Parameters
    ----------
    problem, result
        The fit.
    kind : str
        Kind of residuals, as in :func:`~bayesglmm.diagnose.residuals.residuals`. Quantile residuals are the ones that
        should be exactly normal.

    Returns
    -------
    Outcome
        Its statistic is W; Royston's (1995) algorithm gives the tail probability.

    Raises
    ------
    MethodError
        Fewer than three rows.
    """
    r = residuals(problem, result, kind)
    if len(r) < 3:
        raise MethodError(f"the Shapiro-Wilk test needs at least 3 rows; there are {len(r)}.")
    from scipy import stats

    W, p = stats.shapiro(r)
    what = f"{kind} residuals are normal"
    return Outcome("Shapiro-Wilk", what, "W", float(W), 1.0, float("inf"), float(p))


@dataclass(frozen=True)
class VarianceDiagnostic:
    """Whether the spread of the Pearson residuals depends on the mean.

    Parameters
    ----------
    fitted : ndarray, shape (n,)
        Means, sorted.
    spread : ndarray, shape (n,)
        |Pearson residual| / √φ in that order.
    smooth : ndarray, shape (n,)
        Its local regression.
    test : Outcome
        Test that the slope of r² in the log mean (or mean) is zero.
    suggestion : str
        What a slope would mean, in words.
    """

    fitted: Floats
    spread: Floats
    smooth: Floats
    test: Outcome
    suggestion: str


def variance_diagnostic(problem: Problem, result: Result) -> VarianceDiagnostic:
    """Check the variance function: under V(μ) the Pearson residuals r are equally spread at every mean.

    The curve is that of |r| against the fitted mean. The test is about the slope of r² in the log of the mean (the mean
    itself where that may be negative), with heteroscedasticity-consistent standard errors: a studentised test of the
    kind of Breusch & Pagan (1979) and Koenker (1981). It squares because E r² = φ exactly under V, where E|r| of small
    counts depends on the mean even if V is right. A slope upward says that the variance grows faster with the mean
    than V does.

    Parameters
    ----------
    problem, result
        The fit.
    """
    mu = problem.link.mean(result.eta)
    h = np.zeros(len(mu)) if problem.design.blocks else leverage_of(problem, result)[0]
    spread = np.abs(residuals(problem, result, "pearson")) / np.sqrt(result.scale * (1.0 - h))
    x = np.log(mu) if (mu > 0).all() and problem.family.mean_range == (0.0, np.inf) else mu
    slope, se = _robust_slope(x, np.square(spread))
    z = slope / se if se > 0 else 0.0
    what = "the spread of Pearson residuals does not depend on the fitted mean"
    test = outcome("variance diagnostic", what, "normal", z, slope=slope, se=se)
    order = np.argsort(mu, kind="stable")
    if test.p > 0.05:
        words = "no sign against the variance function"
    elif slope > 0:
        words = "the variance grows faster with the mean than the variance function says"
    else:
        words = "the variance grows more slowly with the mean than the variance function says"
    return VarianceDiagnostic(mu[order], spread[order], lowess(x[order], spread[order]), test, words)


def _robust_slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Least-squares slope and its HC3 standard error."""
    centred = x - x.mean()
    ss = float(centred @ centred)
    if ss <= 1e-14 * float(x @ x) or len(x) < 4:
        return 0.0, 0.0
    slope = float(centred @ y) / ss
    rest = y - y.mean() - slope * centred
    h = 1.0 / len(x) + np.square(centred) / ss
    return slope, float(np.sqrt(np.square(centred * rest / np.maximum(1.0 - h, 1e-12)).sum()) / ss)


def overdispersion(problem: Problem, result: Result) -> dict[str, Outcome]:
    """Test that the variance is not larger than V(μ) for a family whose scale is fixed.

    Parameters
    ----------
    problem, result
        The fit.

    Returns
    -------
    dict of str to Outcome
        ``"pearson"``: Pearson's χ² on its degrees of freedom (its ratio is in ``extras["ratio"]``). ``"score"``, for
        the Poisson and the binomial: Dean's (1992) score test against extra variation, standard normal, one-sided.

    Raises
    ------
    MethodError
        A family with a free scale, which absorbs overdispersion.

    Notes
    -----
    Dean (1992), J. Amer. Statist. Assoc. 87, 451-457: P'_B with the leverage correction for counts and N_B for
    proportions.
    """
    if problem.family.scale is None:
        raise MethodError(
            f"{problem.family.name} has a free scale, which takes up overdispersion; look at its estimate instead."
        )
    df = float(problem.design.nobs - len(result.beta))
    chi2 = float(pearson_at(problem, result.eta, result.psi).sum())
    found = {"pearson": outcome("Pearson χ²", "the scale is one", "chi2", chi2, df, ratio=chi2 / df)}
    score = _DEAN.get(problem.family.name)
    if score is not None and not problem.design.blocks:
        z = score(problem, result)
        found["score"] = Outcome(
            "Dean's score test", "no extra variation", "normal", z, 1.0, float("inf"), float(quantiles.norm.sf(z))
        )
    return found


def _dean_poisson(problem: Problem, result: Result) -> float:
    y, mu = problem.response.y, problem.link.mean(result.eta)
    h = leverage_of(problem, result)[0]
    return float((np.square(y - mu) - y + h * mu).sum() / np.sqrt(2.0 * np.square(mu).sum()))


def _dean_binomial(problem: Problem, result: Result) -> float:
    y, p = problem.response.y, problem.link.mean(result.eta)
    m = np.ones(len(y)) if problem.response.trials is None else problem.response.trials
    gap = y - m * p
    spare = float((m * (m - 1.0)).sum())
    terms = (np.square(gap) + p * gap - y * (1.0 - p)) / (p * (1.0 - p))
    return float(terms.sum() / np.sqrt(2.0 * spare)) if spare > 0 else 0.0


_DEAN = {"poisson": _dean_poisson, "binomial": _dean_binomial}


def zero_inflation(problem: Problem, result: Result) -> Outcome:
    """Test that there are no more zeros than the model expects.

    Parameters
    ----------
    problem, result
        A count model; random effects enter at their modes.

    Returns
    -------
    Outcome
        Standard normal, one-sided; observed and expected zeros are in `extras`.

    Notes
    -----
    The score test of van den Broek (1995), Biometrics 51, 738-743, for any count density: U = Σ (1{y=0}/p₀ − 1), with
    the part of it that the coefficients can take up projected out.
    """
    # Zeros at means of some hundreds have probabilities that no double holds: their inverses must stay finite.
    p0 = np.maximum(zero_probability(problem, result.eta, result.psi), 1e-300)
    zero = problem.response.y == 0
    U = float((zero / p0 - 1.0).sum())
    work = working_at(problem, result.eta, result.psi)
    at_zero = -problem.case_weights * work.mu * work.slope / work.variance
    cross = problem.design.X.T @ at_zero
    taken = float(cross @ factor_at(problem, result.eta, result.psi).solve(cross))
    variance = float(((1.0 - p0) / p0).sum()) - taken
    z = U / np.sqrt(variance) if variance > 0 else 0.0
    extras = {"observed": int(zero.sum()), "expected": float(p0.sum())}
    return Outcome(
        "zero inflation",
        "no excess of zeros",
        "normal",
        float(z),
        1.0,
        float("inf"),
        float(quantiles.norm.sf(z)),
        extras,
    )
