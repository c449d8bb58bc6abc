"""Marginal beside conditional: shown as different estimands, integrated, never scored against each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gee_cases import clustered
from reference_data import frame

import bayesglmm as bg
from bayesglmm.comparison.population import population_averaged
from bayesglmm.result import Draws


@pytest.fixture(scope="module")
def side_by_side() -> bg.Comparison:
    model = bg.Model("outcome ~ treat + age + (1 | subject)", frame("respiratory"), "binomial", priors="flat")
    return bg.compare(model, ["gee", "laplace"], reference="agq", options={"agq": {"nodes": 15}})


def test_another_estimand_is_listed_and_not_scored(side_by_side: bg.Comparison) -> None:
    table = side_by_side.table.set_index(["method", "parameter"])
    assert set(table.loc["gee", "estimand"]) == {"marginal"}
    assert table.loc["gee", ["bias", "sd_ratio", "w1"]].isna().all(axis=None)
    assert table.loc["laplace", ["bias", "sd_ratio", "w1"]].notna().all(axis=None)
    verdict = side_by_side.verdict.set_index("method")
    assert verdict.loc["gee", "grade"] == "unscored"
    assert "population-averaged" in verdict.loc["gee", "sentence"]
    assert np.isnan(verdict.loc["gee", "worst_bias"])
    assert "subject.sd" not in table.loc["gee"].index


def test_the_integrated_effects_stand_beside_it(side_by_side: bg.Comparison) -> None:
    table = side_by_side.population.set_index(["method", "parameter"])
    assert set(table["estimand"]) == {"population-averaged"}
    gee, agq = table.loc["gee"], table.loc["agq"]
    own = side_by_side.fits["gee"].fixed
    np.testing.assert_allclose(gee["estimate"], own["estimate"][gee.index])
    np.testing.assert_allclose(gee["sd"], own["se"][gee.index])
    assert gee["conditional"].isna().all()
    np.testing.assert_allclose(agq["conditional"], side_by_side.fits["agq"].fixed["estimate"][agq.index])
    # conditional effects are further from zero; integrated, they are within half a standard error of the marginal ones
    assert (agq["conditional"].abs() > agq["estimate"].abs()).all()
    assert ((agq["estimate"] - gee["estimate"]).abs() < 0.5 * gee["sd"]).all()
    assert ((agq["conditional"] - gee["estimate"]).abs() > (agq["estimate"] - gee["estimate"]).abs()).all()


def test_a_marginal_reference_does_not_judge_mixed_models(side_by_side: bg.Comparison) -> None:
    turned = bg.compare(side_by_side.model, ["pql"], reference="gee")
    assert turned.table.loc[turned.table["method"] == "pql", ["bias", "sd_ratio"]].isna().all(axis=None)
    assert list(turned.verdict["grade"]) == ["unscored", "reference"]


def test_without_random_effects_there_is_one_estimand() -> None:
    model = bg.Model("outcome ~ treat + age", frame("respiratory"), "binomial")
    options = {"gee": {"groups": "subject", "corr": "independence"}}
    cmp = bg.compare(model, ["irls"], reference="gee", options=options)
    rows = cmp.table[cmp.table["method"] == "irls"]
    np.testing.assert_allclose(rows["bias"], 0.0, atol=1e-7)


def test_the_report_shows_them(side_by_side: bg.Comparison, tmp_path: Path) -> None:
    page = side_by_side.report(tmp_path).read_text()
    assert "Population-averaged effects" in page
    assert "gee is not scored" in page
    written = pd.read_csv(tmp_path / "population.csv")
    np.testing.assert_allclose(written["estimate"], side_by_side.population["estimate"])
    assert "estimated as such" in page


def test_identity_link_has_one_answer() -> None:
    fit = bg.Model("y ~ x + z + (1 | g)", clustered("gaussian"), priors="flat").fit("reml")
    b, cov = population_averaged(fit.model.problem, fit.result)
    np.testing.assert_allclose(b, fit.result.beta, rtol=1e-10)
    np.testing.assert_allclose(cov, fit.result.cov_joint[:3, :3], rtol=1e-8)


def test_log_link_moves_the_intercept_by_half_the_variance() -> None:
    data = clustered("poisson", clusters=80)
    fit = bg.Model("y ~ x + z + (1 | g)", data, "poisson", priors="flat").fit("laplace")
    b, cov = population_averaged(fit.model.problem, fit.result)
    sd = fit.varcomp["sd"].iloc[0]
    np.testing.assert_allclose(b - fit.result.beta, [0.5 * sd**2, 0, 0], atol=1e-8, rtol=1e-7)
    J = np.column_stack([np.eye(3), [sd, 0, 0]])  # θ of a random intercept is its sd
    np.testing.assert_allclose(cov, J @ fit.result.cov_joint[:4, :4] @ J.T, rtol=1e-5)


def test_log_link_with_a_random_slope_by_simulation() -> None:
    """β* solves the independence equations for the averaged means: a fit to very many simulated responses finds it."""
    data = clustered("poisson", clusters=200, seed=5)
    model = bg.Model("y ~ x + (1 + x | g)", data, "poisson", priors="flat")
    fit = model.fit("laplace")
    b, _ = population_averaged(model.problem, fit.result)
    rng = np.random.default_rng(1)
    L = model.problem.covariance[0].factor(fit.result.theta)
    X = model.design.X
    means = np.zeros(len(X))
    for _ in range(4000):
        means += (
            np.exp(X @ fit.result.beta + np.sum(X * (rng.standard_normal((200, 2)) @ L.T)[data["g"]], axis=1)) / 4000
        )
    exact = bg.Model("m ~ x", data.assign(m=means), "quasipoisson").fit("irls")
    np.testing.assert_allclose(b, exact.result.beta, atol=0.02)


def test_draws_are_integrated_one_by_one() -> None:
    fit = bg.Model("y ~ x + z + (1 | g)", clustered("binomial", clusters=150), "binomial", priors="flat").fit("laplace")
    problem, result = fit.model.problem, fit.result
    b, cov = population_averaged(problem, result)
    rng = np.random.default_rng(2)
    point = np.r_[result.beta, result.theta]
    sample = rng.multivariate_normal(point, result.cov_joint, (1, 4000)).clip(min=[-9, -9, -9, 0.01])
    draws = Draws(sample[..., :3], sample[..., 3:], np.empty((1, 4000, 0)), (), independent=False)
    drawn, spread = population_averaged(problem, replace(result, draws=draws))
    np.testing.assert_allclose(drawn, b, atol=0.25 * np.sqrt(np.diag(cov)).max())
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), np.sqrt(np.diag(cov)), rtol=0.15)


def test_draws_far_apart_are_integrated_too() -> None:
    """In a logit's tails a whole scoring step overshoots, and from one draw's solution the next one's is far away."""
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial", priors="flat")
    problem, result = model.problem, model.fit("laplace").result
    rng = np.random.default_rng(3)
    beta = result.beta + rng.normal(scale=3.0, size=(1, 40, 4))
    theta = np.exp(rng.normal(scale=1.0, size=(1, 40, 1)))
    draws = Draws(beta, theta, np.empty((1, 40, 0)), (), independent=False)
    b, cov = population_averaged(problem, replace(result, draws=draws))
    X = problem.design.X
    periods = [int(np.flatnonzero((x == X).all(axis=1))[0]) for x in np.unique(X, axis=0)]
    # Means depend on the period alone, so that each period's linear predictor is the logit of its averaged mean.
    X = X[periods]
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    means = sum(w / weights.sum() / (1.0 + np.exp(-(beta[0] @ X.T + theta[0] * z))) for w, z in zip(weights, nodes))
    exact = np.linalg.solve(X, np.log(means / (1.0 - means)).T).T
    np.testing.assert_allclose(b, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(cov, np.cov(exact.T), atol=1e-6 * np.var(exact))
