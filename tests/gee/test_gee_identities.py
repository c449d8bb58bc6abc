"""What must hold whatever the data: limits, invariances, and the estimating equations by plain matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from gee_cases import clustered, dense, gee
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesglmm as bg

FAMILIES = ["binomial", "trials", "poisson", "gaussian", "gamma"]
CORRELATIONS: list[dict[str, Any]] = [
    {"corr": "exchangeable"},
    {"corr": "ar1", "time": "t"},
    {"corr": "stationary", "m": 2, "time": "t"},
    {"corr": "unstructured", "time": "t"},
]
LINK = {"gamma": "log"}


@pytest.mark.parametrize("family", FAMILIES)
def test_independence_has_the_coefficients_of_irls(family: str) -> None:
    data = clustered(family)
    marginal = gee(family, data, LINK.get(family), corr="independence", convention="gee", cov="model")
    plain = marginal.model.fit("irls", scale="pearson")
    np.testing.assert_allclose(marginal.result.beta, plain.result.beta, rtol=1e-9)
    np.testing.assert_allclose(marginal.cov, plain.cov, rtol=1e-8)
    assert marginal.result.scale == pytest.approx(plain.result.scale, rel=1e-10)


def test_independence_has_the_cluster_robust_covariance_of_irls() -> None:
    data = clustered("poisson")
    marginal = gee("poisson", data, corr="independence")
    plain = marginal.model.fit("irls", cov="cluster", groups="g", small_sample="CR0")
    np.testing.assert_allclose(marginal.cov, plain.cov, rtol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_singleton_clusters_give_the_heteroscedastic_covariances(family: str) -> None:
    data = clustered(family).assign(g=lambda d: np.arange(len(d)))
    pairs = {"robust": "HC0", "kauermann-carroll": "HC2", "bias-reduced": "HC3"}
    for cov, kind in pairs.items():
        marginal = gee(family, data, LINK.get(family), corr="independence", cov=cov)
        plain = marginal.model.fit("irls", cov=kind)
        np.testing.assert_allclose(marginal.cov, plain.cov, rtol=1e-7)


@pytest.mark.parametrize("corr", ["exchangeable", "ar1"])
def test_no_correlation_is_independence(corr: str) -> None:
    data = clustered("binomial")
    none = gee("binomial", data, corr=corr, alpha=0.0)
    independent = gee("binomial", data, corr="independence")
    np.testing.assert_allclose(none.fixed, independent.fixed, rtol=1e-8)


@pytest.mark.parametrize("options", CORRELATIONS, ids=lambda o: o["corr"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_equations_by_plain_matrices(family: str, options: dict[str, Any]) -> None:
    data = clustered(family, clusters=400, seed=3, largest=3)
    model = bg.Model(
        "p(y, n) ~ x + z" if family == "trials" else "y ~ x + z",
        data,
        family.replace("trials", "binomial"),
        link=LINK.get(family),
        weights="w",
        offset="o",
    )
    fit = model.fit("gee", groups="g", **options)
    parts = dense(fit)
    p = len(fit.result.beta)
    score, information, meat = np.zeros(p), np.zeros((p, p)), np.zeros((p, p))
    for D, V, r in zip(parts["D"], parts["V"], parts["r"]):
        u = D.T @ np.linalg.solve(V, r)
        score += u
        information += D.T @ np.linalg.solve(V, D)
        meat += np.outer(u, u)
    A = np.linalg.inv(information)
    assert np.sqrt(score @ A @ score) < 1e-7
    np.testing.assert_allclose(fit.cov, A @ meat @ A, rtol=1e-7)
    np.testing.assert_allclose(fit.result.extras["cov_model"], fit.result.scale * A, rtol=1e-7)


@pytest.mark.parametrize("options", CORRELATIONS, ids=lambda o: o["corr"])
def test_order_of_rows_and_labels_of_clusters_change_nothing(options: dict[str, Any]) -> None:
    data = clustered("gaussian", clusters=300, seed=5, largest=3)
    rng = np.random.default_rng(0)
    names = rng.permutation([f"family {k}" for k in range(300)])
    shuffled = data.sample(frac=1.0, random_state=3).assign(g=lambda d: names[d["g"]])
    a, b = gee("gaussian", data, **options), gee("gaussian", shuffled, **options)
    np.testing.assert_allclose(b.fixed["estimate"], a.fixed["estimate"], rtol=1e-8)
    np.testing.assert_allclose(b.fixed["se"], a.fixed["se"], rtol=1e-8)
    assert list(b.result.extras["alpha"].values()) == pytest.approx(list(a.result.extras["alpha"].values()), rel=1e-8)
    np.testing.assert_allclose(b.result.eta, a.result.eta[shuffled.index], rtol=1e-7)


@given(shift=st.integers(-3000, 3000), stretch=st.integers(1, 400))
@settings(max_examples=15, deadline=None)
def test_origin_and_unit_of_time_change_nothing(shift: int, stretch: int) -> None:
    data = clustered("gaussian", clusters=300, seed=5, largest=3)
    for options in CORRELATIONS[1:]:
        a = gee("gaussian", data, **options)
        b = gee("gaussian", data.assign(t=shift + stretch * data["t"]), **options)
        np.testing.assert_allclose(b.fixed, a.fixed, rtol=1e-7)
        np.testing.assert_allclose(list(b.result.extras["alpha"].values()), list(a.result.extras["alpha"].values()))


def test_times_may_be_years_labels_categories_or_dates() -> None:
    data = clustered("binomial", clusters=300, seed=5, largest=3)
    for options in CORRELATIONS[2:]:
        plain = gee("binomial", data, **options)
        words = np.array(["a", "b", "c", "d", "e"])
        for times in (
            data["t"] + 2000,
            words[data["t"]],
            pd.Categorical(words[::-1][data["t"]], categories=words[::-1]),
            pd.Timestamp("2020-02-01") + pd.to_timedelta(data["t"], unit="D"),
        ):
            other = gee("binomial", data.assign(t=times), **options)
            np.testing.assert_allclose(other.fixed, plain.fixed, rtol=1e-9)
    plain = gee("binomial", data, corr="ar1", time="t")
    dated = data.assign(t=pd.Timestamp("2020-02-01") + pd.to_timedelta(data["t"], unit="D"))
    np.testing.assert_allclose(gee("binomial", dated, corr="ar1", time="t").fixed, plain.fixed, rtol=1e-9)


def test_a_random_term_names_the_clusters() -> None:
    data = clustered("binomial")
    named = bg.Model("y ~ x + z + (1 | g)", data, "binomial").fit("gee")
    given_ = gee("binomial", data)
    np.testing.assert_allclose(named.fixed, given_.fixed, rtol=1e-12)
    assert named.estimand == "marginal"
    assert named.varcomp.empty
    assert named.random == {}
    assert "population-averaged" in named.summary()
    assert "exchangeable: alpha" in named.summary()
    both = bg.Model("y ~ x + z + (1 | g)", data, "binomial").fit("gee", groups="g")
    np.testing.assert_allclose(both.fixed, named.fixed, rtol=1e-12)


def test_rows_with_missing_values_leave_with_their_groups_and_times() -> None:
    data = clustered("poisson", clusters=60)
    holes = data.assign(x=data["x"].where(data.index % 7 != 3))
    with pytest.warns(bg.DataWarning, match="Dropped"):
        model = bg.Model("y ~ x + z", holes, "poisson")
    complete = gee("poisson", data[data.index % 7 != 3], corr="ar1", time="t")
    for groups, time in (("g", "t"), (data["g"], data["t"].to_numpy()), (list(data["g"][data.index % 7 != 3]), "t")):
        fit = model.fit("gee", groups=groups, corr="ar1", time=time)
        np.testing.assert_allclose(fit.fixed, complete.fixed, rtol=1e-10)
    robust = model.fit("irls", cov="cluster", groups="g")
    plain = bg.Model("y ~ x + z", data[data.index % 7 != 3], "poisson").fit("irls", cov="cluster", groups="g")
    np.testing.assert_allclose(robust.fixed, plain.fixed, rtol=1e-10)


def test_trials_are_rows_with_weight() -> None:
    """A proportion with n trials has the variance of n Bernoulli rows, so that inference under independence agrees."""
    data = clustered("trials")
    rows = data.loc[np.repeat(data.index, data["n"])].reset_index(drop=True)
    first = np.concatenate([np.arange(n) for n in data["n"]])
    single = rows.assign(y=(first < np.repeat(data["y"], data["n"]).to_numpy()).astype(int))
    grouped = gee("trials", data, corr="independence", cov="model", scale="fixed")
    split = gee("binomial", single, corr="independence", cov="model", scale="fixed")
    np.testing.assert_allclose(grouped.fixed, split.fixed, rtol=1e-7)
    robust = [gee("trials", data, corr="independence"), gee("binomial", single, corr="independence")]
    np.testing.assert_allclose(robust[0].fixed["se"], robust[1].fixed["se"], rtol=1e-7)


def test_scale_can_be_estimated_fixed_or_given() -> None:
    data = clustered("poisson")
    free, fixed, given_ = (gee("poisson", data, scale=s) for s in (None, "fixed", 2.5))
    assert free.result.scale != 1.0
    assert fixed.result.scale == 1.0
    assert given_.result.scale == 2.5
    # The correlation, and with it the coefficients and their sandwich, is that of the residuals whatever φ is held at.
    for held in (fixed, given_):
        assert held.result.extras["alpha"] == pytest.approx(free.result.extras["alpha"], rel=1e-8)
        np.testing.assert_allclose(held.fixed[["estimate", "se"]], free.fixed[["estimate", "se"]], rtol=1e-8)
        model = held.result.extras["cov_model"] / held.result.scale
        np.testing.assert_allclose(model, free.result.extras["cov_model"] / free.result.scale, rtol=1e-8)


def test_a_perfect_fit_is_refused_and_a_cap_is_said() -> None:
    data = clustered("poisson")
    with pytest.warns(bg.ConvergenceWarning, match="cap of 1 iterations"):
        fit = gee("poisson", data, corr="exchangeable", max_iterations=1, start=[3.0, 0.0, 0.0])
    assert not fit.status.converged
    straight = data.assign(y=1.0 + 2.0 * data["x"])
    with pytest.raises(bg.ConvergenceError, match="every residual is zero"):
        gee("gaussian", straight)
