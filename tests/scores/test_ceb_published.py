"""Children ever born: every number of the published analysis, to its printed digits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from glm_references import table
from reference_data import fit, published

from bayesglmm.design import build_design
from bayesglmm.diagnose.checks import shapiro_wilk
from bayesglmm.diagnose.influence import influence
from bayesglmm.families import get_family
from bayesglmm.inference.anova import anova
from bayesglmm.inference.intervals import confint
from bayesglmm.links import get_link
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores import fit_irls

CEB = published()["ceb"]


@cache
def made(response: str = "y", family: str = "poisson", right: str = "dur + res + educ") -> Problem:
    data = table("ceb")
    levels = {"dur": ["0-4", "5-9", "10-14", "15-19", "20-24", "25-29"], "educ": ["lower", "none", "sec+", "upper"]}
    levels["res"] = ["rural", "Suva", "urban"]
    for column, order in levels.items():
        data[column] = data[column].cat.set_categories(order)
    design = build_design(f"{response} ~ {right} + offset(log(n))", data)
    return Problem(design, get_family(family), get_link("log"), (), None)


def ours(column: str) -> str:
    """The published name of one of our columns: ``dur[T.5-9]`` → ``dur5-9``, ``educ[T.none]`` → ``none``."""
    if column == "Intercept":
        return column
    name, level = column.removesuffix("]").split("[T.")
    return f"{name}{level}" if name == "dur" else level


def expect(values: dict[str, Any], found: np.ndarray, digits: int) -> None:
    names = [ours(c) for c in made().design.columns]
    assert set(names) == set(values)
    for name, value in zip(names, found):
        assert value == pytest.approx(values[name], abs=0.51 * 10.0**-digits), name


@cache
def step(count: int, family: str = "poisson") -> Result:
    """The scoring steps of the published analysis of unrounded births.

    It begins from a regression of log births per woman with the births per woman as weights, and prints the
    coefficients after three steps, which are the solution to all printed digits. Whatever else it prints (dispersions,
    standard errors, residuals, Cook's distances) belongs to the means and weights of the last step's equations: those
    after two, where the coefficients are still 2e-5 away.
    """
    problem = made(family=family)
    rates = problem.response.y / np.exp(problem.design.offset)
    root = np.sqrt(rates)
    start, *_ = np.linalg.lstsq(problem.design.X * root[:, None], np.log(rates) * root)
    return fit_irls(problem, start=start, max_iterations=count)


def test_coefficients() -> None:
    expect(CEB["irls"]["coef"], fit_irls(made()).beta, 8)
    np.testing.assert_allclose(step(3).beta, fit_irls(made()).beta, atol=1e-9)


def test_rounded_births() -> None:
    result = fit_irls(made("y_rounded"))
    row = CEB["rounded_y"]
    expect(row["coef"], result.beta, 5)
    expect(row["se"], np.sqrt(np.diag(result.cov_beta)), 5)
    assert result.extras["deviance"] == pytest.approx(row["residual_deviance"], abs=6e-4)
    assert -2 * result.loglik + 2 * result.df_model == pytest.approx(row["aic"], abs=6e-3)
    assert result.status.iterations == row["iterations"]
    null = fit_irls(made("y_rounded", right="1"))
    assert null.extras["deviance"] == pytest.approx(row["null_deviance"], abs=6e-4)


def test_dispersion() -> None:
    result = fit_irls(made(family="quasipoisson"))
    mu = np.exp(result.eta)
    pearson = (np.square(made().response.y - mu) / mu).sum() / 59
    assert result.scale == pytest.approx(pearson, rel=1e-12)
    assert step(2, "quasipoisson").scale == pytest.approx(CEB["pearson_phi"], abs=5.1e-7)


def test_fletchers_dispersion() -> None:
    """Fletcher (2012) divides Pearson's estimate by 1 + s, s the mean of V'(y − μ)/V, which is negative here.

    The published figure has the sign of s turned round: φ/(1 − s).
    """
    problem = made(family="quasipoisson")
    result = fit_irls(problem, scale="fletcher")
    assert mean_bend(result) < 0
    assert result.scale == pytest.approx(fit_irls(problem).scale / (1 + mean_bend(result)), rel=1e-9)
    there = step(2, "quasipoisson")
    assert there.scale / (1 - mean_bend(there)) == pytest.approx(CEB["fletcher_phi"], abs=5.1e-7)


def mean_bend(result: Result) -> float:
    """Fletcher's s."""
    mu = np.exp(result.eta)
    return float(((made().response.y - mu) / mu).mean())


def test_wald_intervals() -> None:
    intervals = confint(made(), replace(step(3), cov_beta=step(2).cov_beta))
    intervals.index = [ours(c) for c in intervals.index]
    for name, (low, high) in CEB["wald_ci"].items():
        digits = 5.1e-9 if name == "Intercept" else 5.1e-7
        assert intervals.loc[name, "ci_low"] == pytest.approx(low, abs=digits)
        assert intervals.loc[name, "ci_high"] == pytest.approx(high, abs=digits)


def test_profile_intervals_of_rounded_births() -> None:
    problem = made("y_rounded")
    intervals = confint(problem, fit_irls(problem), "profile", parameters=["dur[T.10-14]"])
    low, high = CEB["profile_ci_rounded"]["dur10-14"]
    assert intervals["ci_low"].iloc[0] == pytest.approx(low, abs=2e-6)
    assert intervals["ci_high"].iloc[0] == pytest.approx(high, abs=2e-6)


@pytest.mark.parametrize(
    ("response", "entry"), [("y", "deviance_difference"), ("y_rounded", "deviance_difference_rounded")]
)
def test_deviance_difference(response: str, entry: str) -> None:
    small, full = made(response, right="1"), made(response)
    comparison = anova((small, fit_irls(small)), (full, fit_irls(full)))
    assert comparison["change"].iloc[1] == pytest.approx(CEB[entry], abs=6e-4)
    assert comparison["df"].iloc[1] == 10


def test_mean_per_woman() -> None:
    data = table("ceb")
    null = fit_irls(made(right="1"))
    assert np.exp(null.beta[0]) == pytest.approx(CEB["mean_per_woman"], abs=6e-7)
    assert np.exp(null.beta[0]) == pytest.approx(data["y"].sum() / data["n"].sum(), rel=1e-12)


@pytest.mark.parametrize(("kind", "digits"), [("deviance", 5.1e-6), ("pearson", 5.1e-7)])
def test_normality_of_residuals(kind: str, digits: float) -> None:
    expected = CEB[f"shapiro_{kind}_residuals"]
    found = shapiro_wilk(made(), step(2), kind)
    assert found.statistic == pytest.approx(expected["W"], abs=5.1e-6)
    assert found.p == pytest.approx(expected["p"], abs=digits)


def test_cooks_distance() -> None:
    assert influence(made(), step(2))["cooks_distance"].iloc[16] == pytest.approx(CEB["cook_17"], abs=5.1e-8)
    cook = influence(made(), fit_irls(made()))["cooks_distance"].to_numpy()
    assert cook[16] == pytest.approx(fit("ceb", "additive")["diagnostics"]["cooks_distance"][16], rel=1e-9)
    rounded = influence(made("y_rounded"), fit_irls(made("y_rounded")))["cooks_distance"].to_numpy()
    assert rounded[16] == pytest.approx(CEB["cook_17_rounded"], abs=2e-9)
    assert int(np.argmax(cook)) + 1 == int(np.argmax(rounded)) + 1 == CEB["cook_largest"]["row"]
    assert rounded.max() == pytest.approx(CEB["cook_largest"]["value"], abs=2e-9)
