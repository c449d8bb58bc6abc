"""Leverage and influence in mixed models: dense textbook formulas, refits, and lme4's numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from reference_data import frame

import bayesglmm as bg

SLEEP = "Reaction ~ Days + (1 + Days | Subject)"


def sleepstudy() -> pd.DataFrame:
    return frame("sleepstudy").astype({"Subject": str})


def cbpp() -> pd.DataFrame:
    return frame("cbpp").astype({"herd": str, "period": str})


@pytest.fixture(scope="module")
def slopes() -> bg.Fit:
    return bg.Model(SLEEP, sleepstudy(), priors="flat").fit("reml")


def test_rows_of_a_linear_mixed_model_as_in_lme4(slopes: bg.Fit) -> None:
    """lme4 2.0: hatvalues(m)[1:3], cooks.distance(m)[1:3]; its optimum is good to about 1e-5."""
    table = slopes.influence()
    np.testing.assert_allclose(table["leverage"][:3], [0.2293040377, 0.1697299938, 0.1268237150], rtol=1e-5)
    np.testing.assert_allclose(table["cooks_distance"][:3], [0.004963132515, 0.040206201856, 0.226099184758], rtol=2e-5)
    assert table.index.equals(slopes.model.design.index)


def test_groups_of_a_linear_mixed_model_as_in_lme4(slopes: bg.Fit) -> None:
    """lme4 2.0: dfbetas(influence(m, "Subject"))[1:3, ] and cooks.distance() of it, 18 levels and 2 coefficients."""
    table = slopes.influence("Subject").loc[["308", "309", "310"]]
    dfbetas = [[0.0587248823, -0.4489274387], [0.4108749216, 0.3098968980], [0.4276087915, 0.1583412240]]
    np.testing.assert_allclose(-table[["dfbetas[Intercept]", "dfbetas[Days]"]], dfbetas, rtol=5e-5)
    cooks = np.array([0.08214840507, 0.13202079796, 0.09824074429]) * 18 / 16
    np.testing.assert_allclose(table["cooks_distance"], cooks, rtol=2e-5)
    assert table["rows"].tolist() == [10, 10, 10]


def test_groups_of_a_generalised_model_as_in_lme4() -> None:
    """lme4 2.0, fixef and sd of glmer without herds 1 to 3; its optimiser leaves about 2e-3 of a standard error."""
    fit = bg.Model("p(incidence, size) ~ period + (1 | herd)", cbpp(), "binomial", priors="flat").fit("laplace")
    table = fit.influence("herd").loc[["1", "2", "3"]]
    lme4 = [
        [-1.374779875, -1.162080542, -1.473716009, -1.582768339, 0.624382455],
        [-1.366404861, -0.987702610, -1.118844403, -1.586885517, 0.658499008],
        [-1.491993545, -0.926884040, -0.912979895, -1.624164476, 0.677006097],
    ]
    np.testing.assert_allclose(table.filter(like="without["), lme4, atol=1e-3)
    alone = bg.Model("p(incidence, size) ~ period + (1 | herd)", cbpp().query("herd != '1'"), "binomial", priors="flat")
    one = alone.fit("laplace")
    got = table.filter(like="dfbetas[").to_numpy()[0]
    np.testing.assert_allclose(got, (fit.fixed["estimate"] - one.fixed["estimate"]) / one.fixed["se"], rtol=1e-5)
    assert table.loc["1", "without[herd.sd]"] == pytest.approx(one.params["herd.sd"], rel=1e-6)


def dense(fit: bg.Fit) -> tuple[np.ndarray, np.ndarray]:
    """(V, X) of a random-intercept fit, textbook matrices."""
    design = fit.model.design
    Z = np.eye(len(design.blocks[0].levels))[design.blocks[0].codes]
    return fit.params[f"{design.blocks[0].group}.sd"] ** 2 * Z @ Z.T, design.X


def test_a_row_taken_out_of_a_linear_mixed_model_with_known_variances_exactly() -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=30), "g": np.repeat(list("abcdef"), 5), "w": rng.uniform(0.5, 2, 30)})
    data["y"] = 1 + data["x"] + rng.normal(size=6)[np.repeat(range(6), 5)] + rng.normal(size=30)
    fit = bg.Model("y ~ x + (1 | g)", data, weights="w", priors="flat").fit("ml")
    G, X = dense(fit)
    V = G + np.diag(fit.params["sigma"] ** 2 / data["w"])
    y = data["y"].to_numpy()

    def gls(keep: np.ndarray) -> np.ndarray:
        W = np.linalg.inv(V[np.ix_(keep, keep)])
        return np.linalg.solve(X[keep].T @ W @ X[keep], X[keep].T @ W @ y[keep])

    table = fit.influence()
    information = X.T @ np.linalg.inv(V) @ X
    whole = gls(np.arange(30))
    for i in (0, 7, 29):
        change = whole - gls(np.delete(np.arange(30), i))
        got = table[["dfbetas[Intercept]", "dfbetas[x]"]].to_numpy()[i]
        np.testing.assert_allclose(got, change / np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-6)
        assert table["cooks_distance_fixed"][i] == pytest.approx(change @ information @ change / 2, rel=1e-6)
    hat = np.eye(30) - np.diag(fit.params["sigma"] ** 2 / data["w"]) @ (
        np.linalg.inv(V) - np.linalg.inv(V) @ X @ np.linalg.solve(information, X.T @ np.linalg.inv(V))
    )
    np.testing.assert_allclose(table["leverage"], np.diag(hat), rtol=1e-7)


@pytest.mark.parametrize("method", ["laplace", "agq", "pql", "mql"])
def test_leverages_of_a_generalised_model_are_those_of_its_working_model(method: str) -> None:
    fit = bg.Model("p(incidence, size) ~ period + (1 | herd)", cbpp(), "binomial", priors="flat").fit(method)
    G, X = dense(fit)
    eta = X @ fit.result.beta if method == "mql" else fit.result.eta
    mu = 1 / (1 + np.exp(-eta))
    R = np.diag(1 / (cbpp()["size"].to_numpy() * mu * (1 - mu)))
    V = np.linalg.inv(G + R)
    P = V - V @ X @ np.linalg.solve(X.T @ V @ X, X.T @ V)
    table = fit.influence()
    np.testing.assert_allclose(table["leverage"], 1 - np.diag(R @ P), rtol=1e-6)
    assert (table["cooks_distance"] > 0).all()


def test_what_has_no_influence_says_so() -> None:
    data = cbpp()
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", data, "binomial")
    fit = model.fit("laplace")
    with pytest.raises(bg.MethodError, match=r"unknown grouping factor 'period'. This model has: herd"):
        fit.influence("period")
    with pytest.raises(bg.MethodError, match=r"this one is by 'inla'"):
        model.fit("inla").influence()
    with pytest.raises(bg.MethodError, match=r"use fit.loo"):
        model.fit("inla").influence("herd")


def test_fits_that_fail_without_a_group_are_missing_and_named() -> None:
    """Without the group c nothing varies with x, so that its column is a constant."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(list("abcd"), 6), "x": np.repeat([0.0, 0.0, 1.0, 0.0], 6)})
    data["y"] = rng.poisson(3 + 3 * data["x"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.SingularFitWarning)
        fit = bg.Model("y ~ x + (1 | g)", data, "poisson", priors="flat").fit("laplace")
    with pytest.warns(bg.ConvergenceWarning, match="1 of 4 fits without a level of g failed or did not converge: c"):
        table = fit.influence("g")
    assert table["dfbetas[x]"].isna().tolist() == [False, False, True, False]


def test_a_sampled_posterior_has_no_maximised_likelihood_and_says_what_there_is() -> None:
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", cbpp(), "binomial")
    with pytest.warns(bg.ConvergenceWarning, match="mcmc did not converge"):
        fit = model.fit("mcmc", marginalize="laplace", draws=50, tune=50, chains=2, seed=1)
    with pytest.raises(bg.MethodError, match=r"a fit by 'mcmc' maximises no marginal likelihood: model.loglik"):
        _ = fit.loglik
