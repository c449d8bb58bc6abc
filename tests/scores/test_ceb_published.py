"""Children ever born: every number of the published analysis, to its printed digits."""

from __future__ import annotations

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


def test_coefficients() -> None:
    expect(CEB["irls"]["coef"], fit_irls(made()).beta, 8)


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
    """The last two printed digits are not those of the solution, nor of any iterate on the way there."""
    result = fit_irls(made(family="quasipoisson"))
    assert result.scale == pytest.approx(CEB["pearson_phi"], rel=2e-5)
    mu = np.exp(result.eta)
    pearson = (np.square(made().response.y - mu) / mu).sum() / 59
    assert result.scale == pytest.approx(pearson, rel=1e-12)


def test_fletchers_dispersion() -> None:
    """Fletcher (2012) divides Pearson's estimate by 1 + s, s the mean of V'(y − μ)/V, which is negative here.

    The published figure has the sign of s turned round: φ/(1 − s).
    """
    problem = made(family="quasipoisson")
    result = fit_irls(problem, scale="fletcher")
    mu = np.exp(result.eta)
    s = ((problem.response.y - mu) / mu).mean()
    pearson = fit_irls(problem).scale
    assert s < 0
    assert result.scale == pytest.approx(pearson / (1 + s), rel=1e-9)
    assert pearson / (1 - s) == pytest.approx(CEB["fletcher_phi"], rel=2e-5)


def test_wald_intervals() -> None:
    intervals = confint(made(), fit_irls(made()))
    intervals.index = [ours(c) for c in intervals.index]
    for name, (low, high) in CEB["wald_ci"].items():
        digits = 2e-7 if name == "Intercept" else 6e-7  # of the intercept eight are printed, seven agree
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


@pytest.mark.parametrize("kind", ["deviance", "pearson"])
def test_normality_of_residuals(kind: str) -> None:
    expected = CEB[f"shapiro_{kind}_residuals"]
    found = shapiro_wilk(made("y"), fit_irls(made("y")), kind)
    assert found.statistic == pytest.approx(expected["W"], abs=2e-5)
    assert found.p == pytest.approx(expected["p"], rel=2e-3)


def test_cooks_distance() -> None:
    cook = influence(made(), fit_irls(made()))["cooks_distance"].to_numpy()
    assert cook[16] == pytest.approx(CEB["cook_17"], rel=1e-4)  # the last two printed digits agree with no iterate
    assert cook[16] == pytest.approx(fit("ceb", "additive")["diagnostics"]["cooks_distance"][16], rel=1e-9)
    rounded = influence(made("y_rounded"), fit_irls(made("y_rounded")))["cooks_distance"].to_numpy()
    assert rounded[16] == pytest.approx(CEB["cook_17_rounded"], abs=2e-9)
    assert int(np.argmax(cook)) + 1 == int(np.argmax(rounded)) + 1 == CEB["cook_largest"]["row"]
    assert rounded.max() == pytest.approx(CEB["cook_largest"]["value"], abs=2e-9)
