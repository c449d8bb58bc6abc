"""Marginal means and their contrasts: cell means by hand, Tukey, Dunnett and Scheffé against SciPy and algebra."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from reference_data import frame
from scipy import integrate, stats

import bayesglmm as bg
from bayesglmm.inference.adjust import Comparisons, adjusted_p, critical_values


@cache
def one_way(balanced=False):
    rng = np.random.default_rng(4)
    g = np.repeat(list("abcd"), 6 if balanced else [5, 7, 6, 9])
    return pd.DataFrame({"g": g, "y": rng.normal(size=len(g)) + 1.3 * (g == "c")})


@cache
def two_way():
    """Unbalanced, every cell filled, with a covariate and an exposure."""
    rng = np.random.default_rng(9)
    n = 80
    data = pd.DataFrame({"a": rng.choice(list("pqr"), n, p=[0.5, 0.3, 0.2]), "b": rng.choice(["u", "v"], n)})
    data["x"] = rng.normal(2.0, 1.0, n)
    data["y"] = rng.normal(size=n) + (data["a"] == "q") * 1.0 + (data["b"] == "v") * data["x"]
    data["k"] = rng.poisson(np.exp(0.4 + 0.5 * (data["a"] == "r") + 0.2 * data["x"]))
    data["s"] = (data["y"] > 1).astype(int)
    return data


def groups(data):
    return [part["y"].to_numpy() for _, part in data.groupby("g")]


# --- means --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balanced", [True, False])
def test_one_way_means_are_the_group_means(balanced):
    data = one_way(balanced)
    table = bg.Model("y ~ g", data).fit("irls").emmeans("g")
    np.testing.assert_allclose(table["estimate"], data.groupby("g")["y"].mean(), rtol=1e-12)
    pooled = np.sqrt(sum(v.var(ddof=1) * (len(v) - 1) for v in groups(data)) / (len(data) - 4))
    np.testing.assert_allclose(table["se"], [pooled / np.sqrt(len(v)) for v in groups(data)], rtol=1e-10)
    assert (table["df"] == len(data) - 4).all()
    reach = stats.t.ppf(0.975, len(data) - 4) * table["se"]
    np.testing.assert_allclose(table["ci_high"] - table["estimate"], reach, rtol=1e-10)


def test_two_way_means_are_averages_of_the_cell_means_by_the_stated_weights():
    data = two_way()
    fit = bg.Model("y ~ a * b", data).fit("irls")
    cells = data.groupby(["a", "b"])["y"].mean().unstack()
    counts = data.groupby(["a", "b"])["y"].size().unstack()
    np.testing.assert_allclose(fit.emmeans("a")["estimate"], cells.mean(axis=1), rtol=1e-10)
    np.testing.assert_allclose(fit.emmeans(["a", "b"])["estimate"], cells.to_numpy().ravel(), rtol=1e-10)
    b = counts.sum() / counts.to_numpy().sum()
    np.testing.assert_allclose(fit.emmeans("a", weights="proportional")["estimate"], cells @ b, rtol=1e-10)
    within = (cells * counts).sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(fit.emmeans("a", weights="cells")["estimate"], within, rtol=1e-10)
    by = fit.emmeans("a", by="b")
    assert by.loc[("v", "q"), "estimate"] == pytest.approx(cells.loc["q", "v"])


def test_numbers_stand_at_their_mean_or_where_at_says():
    data = two_way()
    fit = bg.Model("y ~ a + b * x", data).fit("irls")
    beta, mean = fit.fixed["estimate"], data["x"].mean()
    expected = beta["Intercept"] + beta["a[T.q]"] + 0.5 * beta["b[T.v]"] + mean * (beta["x"] + 0.5 * beta["b[T.v]:x"])
    assert fit.emmeans("a").loc["q", "estimate"] == pytest.approx(expected)
    slope = fit.contrasts("x", at={"x": [0, 1], "b": "v"}, method="consecutive")
    assert slope["estimate"].iloc[0] == pytest.approx(beta["x"] + beta["b[T.v]:x"])
    L = np.zeros(6)
    L[[list(beta.index).index(c) for c in ("x", "b[T.v]:x")]] = 1.0
    assert slope["se"].iloc[0] == pytest.approx(np.sqrt(L @ fit.cov.to_numpy() @ L))


def test_means_do_not_depend_on_the_coding():
    data = two_way()
    plain = bg.Model("y ~ a * b + x", data).fit("irls")
    for formula in ("y ~ C(a, Sum) * C(b, Helmert) + x", "y ~ 0 + a:b + x", "y ~ C(a, Treatment('r')) * b + scale(x)"):
        other = bg.Model(formula, data).fit("irls")
        np.testing.assert_allclose(other.emmeans("a", by="b"), plain.emmeans("a", by="b"), rtol=1e-9)


def test_a_number_coded_as_a_factor_has_a_mean_per_value():
    data = frame("cake")
    fit = bg.Model("angle ~ C(temp) + recipe", data).fit("irls")
    table = fit.emmeans("temp")
    np.testing.assert_allclose(table["estimate"], data.groupby("temp")["angle"].mean(), rtol=1e-10)
    assert table.index.tolist() == [175.0, 185.0, 195.0, 205.0, 215.0, 225.0]


def test_an_empty_cell_is_not_estimable_and_the_rest_is():
    data = two_way()
    data = data[~((data["a"] == "r") & (data["b"] == "v"))]
    with pytest.warns(bg.DataWarning, match="Not estimable"):
        model = bg.Model("y ~ a * b", data)
    fit = model.fit("irls")
    cells = data.groupby(["a", "b"])["y"].mean().unstack()
    table = fit.emmeans("a")
    assert np.isnan(table.loc["r"]).all()
    np.testing.assert_allclose(table["estimate"].iloc[:2], cells.mean(axis=1)[:2], rtol=1e-9)
    pairs = fit.contrasts("a", by="b")
    assert pairs.loc[("u", "p - r"), "estimate"] == pytest.approx(cells.loc["p", "u"] - cells.loc["r", "u"])
    assert np.isnan(pairs.loc[("v", "p - r"), "estimate"])
    # The two remaining means of the family at b = v are still compared, as a family of one.
    assert pairs.loc[("v", "p - q"), "p"] > 0


def test_means_on_the_scale_of_the_response():
    data = two_way()
    for formula, family in (("k ~ a + x", "poisson"), ("s ~ a + x", "binomial")):
        fit = bg.Model(formula, data, family, priors="flat").fit("irls")
        linear, mean = fit.emmeans("a"), fit.emmeans("a", type="mean")
        new = pd.DataFrame({"a": list("pqr"), "x": data["x"].mean()})
        predicted = fit.predict(new, kind="mean", level="population")
        for column in ("estimate", "se", "ci_low", "ci_high"):
            np.testing.assert_allclose(mean[column], predicted[column], rtol=1e-10)
        np.testing.assert_allclose(fit.model.link.mean(linear["estimate"].to_numpy()), mean["estimate"], rtol=1e-12)


def test_an_offset_is_added_to_every_mean():
    fit = bg.Model("k ~ a + offset(log(x + 5))", two_way(), "poisson", priors="flat").fit("irls")
    per_unit, per_ten = (fit.emmeans("a", type="mean", offset=v)["estimate"] for v in (0.0, np.log(10.0)))
    np.testing.assert_allclose(per_ten, 10.0 * per_unit, rtol=1e-12)
    assert per_unit["p"] == pytest.approx(np.exp(fit.fixed.loc["Intercept", "estimate"]))


# --- contrasts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balanced", [True, False])
def test_pairs_are_tukeys_test(balanced):
    data = one_way(balanced)
    table = bg.Model("y ~ g", data).fit("irls").contrasts("g")
    theirs = stats.tukey_hsd(*groups(data))
    first, second = np.triu_indices(4, 1)
    np.testing.assert_allclose(table["p"], theirs.pvalue[first, second], rtol=1e-8)
    np.testing.assert_allclose(table["estimate"], theirs.statistic[first, second], rtol=1e-9)
    interval = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(table["ci_low"], interval.low[first, second], rtol=1e-6)
    np.testing.assert_allclose(table["ci_high"], interval.high[first, second], rtol=1e-6)


def test_comparisons_with_a_control_are_dunnetts_test():
    data = one_way()
    table = bg.Model("y ~ g", data).fit("irls").contrasts("g", method="control", control="b")
    others = [part["y"].to_numpy() for name, part in data.groupby("g") if name != "b"]
    theirs = stats.dunnett(*others, control=data["y"][data["g"] == "b"].to_numpy(), rng=np.random.default_rng(1))
    np.testing.assert_allclose(table["t"], theirs.statistic, rtol=1e-9)
    np.testing.assert_allclose(table["p"], theirs.pvalue, atol=4e-4)
    interval = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(table["ci_low"], interval.low, atol=2e-3)


def test_the_joint_t_of_all_pairs_of_equal_groups_is_tukeys():
    data = one_way(balanced=True)
    fit = bg.Model("y ~ g", data).fit("irls")
    tukey, joint = (fit.contrasts("g", adjust=a) for a in ("tukey", "mvt"))
    np.testing.assert_allclose(joint["p"], tukey["p"], rtol=2e-3)
    np.testing.assert_allclose(joint["ci_high"], tukey["ci_high"], rtol=2e-3)


def test_the_joint_t_far_out_is_right_too():
    # Two independent statistics: P(max > t) by integrating over the shared s.
    family = Comparisons(np.array([4.0, 8.0]), np.full(2, 12.0), np.eye(2), 2)
    for t, p in zip(family.ratio, adjusted_p(family, "mvt")):

        def missing(s, t=t):
            return (1.0 - (2.0 * stats.norm.cdf(t * s) - 1.0) ** 2) * stats.chi.pdf(s * np.sqrt(12.0), 12) * np.sqrt(12)

        exact = integrate.quad(missing, 0.0, 4.0, epsabs=1e-14, epsrel=1e-10)[0]
        assert p == pytest.approx(exact, rel=2e-3)


def test_simple_adjustments_are_their_formulas():
    p = np.array([0.001, 0.2, 0.03, 0.012])
    family = Comparisons(stats.norm.isf(p / 2), np.full(4, np.inf), np.eye(4), 4)
    np.testing.assert_allclose(adjusted_p(family, "none"), p)
    np.testing.assert_allclose(adjusted_p(family, "bonferroni"), 4 * p)
    np.testing.assert_allclose(adjusted_p(family, "sidak"), 1 - (1 - p) ** 4)
    np.testing.assert_allclose(adjusted_p(family, "holm"), [0.004, 0.2, 0.06, 0.036])
    np.testing.assert_allclose(adjusted_p(family, "fdr"), stats.false_discovery_control(p))
    np.testing.assert_allclose(adjusted_p(family, "scheffe"), stats.chi2.sf(family.ratio**2, 4))
    # Independent statistics: the joint adjustment is Šidák's.
    np.testing.assert_allclose(adjusted_p(family, "mvt"), 1 - (1 - p) ** 4, rtol=2e-3)


@pytest.mark.parametrize("adjust", ["none", "tukey", "bonferroni", "sidak", "scheffe", "mvt"])
@pytest.mark.parametrize("df", [5.0, 40.0, np.inf])
def test_an_interval_ends_at_zero_where_p_is_one_minus_the_level(adjust, df):
    C = np.array([[1.0, -1, 0], [1, 0, -1], [0, 1, -1]])
    corr = C @ C.T / 2.0
    crit = critical_values(Comparisons(np.ones(3), np.full(3, df), corr, 3), adjust, 0.9)
    at = Comparisons(crit, np.full(3, df), corr, 3)
    np.testing.assert_allclose(adjusted_p(at, adjust), 0.1, rtol=1e-5)


def test_methods_of_contrasts():
    data = one_way()
    fit, m = bg.Model("y ~ g", data).fit("irls"), data.groupby("g")["y"].mean()
    np.testing.assert_allclose(fit.contrasts("g", method="mean")["estimate"], m - m.mean(), atol=1e-12)
    np.testing.assert_allclose(fit.contrasts("g", method="consecutive")["estimate"], np.diff(m), rtol=1e-9)
    linear = fit.contrasts("g", method="polynomial").loc["linear", "estimate"]
    assert linear == pytest.approx(m @ np.array([-3, -1, 1, 3]) / np.sqrt(20))
    own = fit.contrasts("g", method={"ab against cd": [0.5, 0.5, -0.5, -0.5]})
    assert own.loc["ab against cd", "estimate"] == pytest.approx((m["a"] + m["b"] - m["c"] - m["d"]) / 2)
    assert fit.contrasts("g", method=[[1, 0, 0, -2]]).index[0] == "a - 2*d"


def test_ratios_and_differences_of_means():
    fit = bg.Model("k ~ a + x", two_way(), "poisson", priors="flat").fit("irls")
    linear, ratio, mean = (fit.contrasts("a", type=t, adjust="none") for t in ("linear", "ratio", "mean"))
    np.testing.assert_allclose(ratio["estimate"], np.exp(linear["estimate"]), rtol=1e-12)
    np.testing.assert_allclose(ratio["ci_low"], np.exp(linear["ci_low"]), rtol=1e-12)
    np.testing.assert_allclose(ratio["se"], ratio["estimate"] * linear["se"].to_numpy(), rtol=1e-12)
    np.testing.assert_allclose(ratio["p"], linear["p"])
    assert ratio.index[0] == "p / q"
    mu = fit.emmeans("a", type="mean")["estimate"].to_numpy()
    np.testing.assert_allclose(mean["estimate"], [mu[0] - mu[1], mu[0] - mu[2], mu[1] - mu[2]], rtol=1e-9)
    # Delta method by differences of the means in the coefficients.
    beta, cov = fit.result.beta, fit.result.cov_beta
    X = np.column_stack([np.ones(3), [0, 1, 0], [0, 0, 1], np.full(3, two_way()["x"].mean())])
    J = np.exp(X @ beta)[:, None] * X
    assert mean["se"].iloc[0] == pytest.approx(np.sqrt((J[0] - J[1]) @ cov @ (J[0] - J[1])))


# --- any fit ------------------------------------------------------------------------------------------------------


def test_small_sample_degrees_of_freedom_of_a_split_plot():
    """Balanced: recipes against whole plots (42 df), temperatures against split plots (210 df)."""
    data = frame("cake")
    fit = bg.Model("angle ~ recipe * temperature + (1 | recipe:replicate)", data).fit("reml", df="kenward-roger")
    recipe, temperature = fit.contrasts("recipe"), fit.contrasts("temperature")
    np.testing.assert_allclose(recipe["df"], 42.0, rtol=1e-6)
    np.testing.assert_allclose(temperature["df"], 210.0, rtol=1e-6)
    plots = data.groupby(["recipe", "replicate"], observed=True)["angle"].mean()
    mean_square = plots.groupby("recipe", observed=True).var().mean()
    np.testing.assert_allclose(recipe["se"], np.sqrt(2 * mean_square / 15), rtol=1e-6)
    np.testing.assert_allclose(fit.emmeans("recipe", df="satterthwaite")["df"], 42.0, rtol=1e-5)
    by_hand = stats.studentized_range.sf(np.sqrt(2) * recipe["t"].abs(), 3, 42)
    np.testing.assert_allclose(recipe["p"], by_hand, rtol=1e-6)


def test_every_kind_of_fit_has_marginal_means():
    data = frame("cbpp")
    formula = "p(incidence, size) ~ period + (1 | herd)"
    model = bg.Model(formula, data, "binomial", priors="flat")
    fits = {
        "laplace": model.fit("laplace"),
        "pql": model.fit("pql"),
        "gee": model.fit("gee", corr="exchangeable"),
        "posterior": bg.Model(formula, data, "binomial").fit("laplace"),
    }
    for name, fit in fits.items():
        beta = fit.result.beta
        table = fit.emmeans("period")
        np.testing.assert_allclose(table["estimate"], beta[0] + np.array([0, *beta[1:]]), rtol=1e-9)
        pairs = fit.contrasts("period", method="control", type="ratio")
        np.testing.assert_allclose(pairs["estimate"], np.exp(beta[1:]), rtol=1e-9)
        assert ("p" in pairs) == (name != "posterior")
    assert "z" in fits["laplace"].contrasts("period")
    with pytest.raises(bg.MethodError, match="a posterior has no p-values"):
        fits["posterior"].contrasts("period", adjust="holm")
    with pytest.raises(bg.MethodError, match="which has no degrees of freedom"):
        fits["posterior"].emmeans("period", df=10)
    working = fits["pql"].contrasts("period", df="satterthwaite")
    assert np.isfinite(working["df"]).all()


def test_draws_of_a_sampled_posterior_are_summarised():
    from dataclasses import replace

    from bayesglmm.fit import Fit
    from bayesglmm.result import Draws

    data = two_way()
    model = bg.Model("k ~ a", data, "poisson")
    at = model.fit("laplace")
    rng = np.random.default_rng(2)
    beta = rng.multivariate_normal(at.result.beta, at.result.cov_beta, (2, 500))
    draws = Draws(beta, np.empty((2, 500, 0)), np.empty((2, 500, 0)), (), independent=False)
    fit = Fit(model, replace(at.result, method="mcmc", draws=draws))
    flat = beta.reshape(-1, 3)
    mu = np.exp(flat[:, 0] + flat[:, 2])
    row = fit.emmeans("a", type="mean").loc["r"]
    assert row["estimate"] == pytest.approx(mu.mean())
    assert row["ci_high"] == pytest.approx(np.quantile(mu, 0.975))
    ratio = fit.contrasts("a", type="ratio").loc["p / r"]
    assert ratio["ci_low"] == pytest.approx(np.quantile(np.exp(-flat[:, 2]), 0.025))
    assert list(ratio.index) == ["estimate", "se", "ci_low", "ci_high"]


def test_an_ordered_response_has_linear_means_only():
    data = two_way()
    data["o"] = pd.Categorical.from_codes(np.clip(np.round(data["y"]).astype(int), 0, 2), ["lo", "mid", "hi"], True)
    fit = bg.Model("o ~ a", data, "cumulative", priors="flat").fit("laplace")
    table, beta = fit.emmeans("a"), fit.result.beta
    np.testing.assert_allclose(table["estimate"], beta[0] + np.array([0.0, *beta[1:]]), atol=1e-12)
    with pytest.raises(bg.MethodError, match="kind='category'"):
        fit.emmeans("a", type="mean")


def test_what_cannot_be_answered_says_so():
    fit = bg.Model("y ~ a * b + x", two_way()).fit("irls")
    cases = [
        (lambda: fit.emmeans("c"), "no column 'c'"),
        (lambda: fit.emmeans("a", by="a"), "each column once"),
        (lambda: fit.emmeans("a", at={"z": 1}), "at names 'z'"),
        (lambda: fit.emmeans("a", at={"b": "w"}), "no level 'w'"),
        (lambda: fit.emmeans("a", at={"x": "much"}), "a column of numbers"),
        (lambda: fit.emmeans("a", weights="odd"), "proportional"),
        (lambda: fit.emmeans("a", type="response"), "linear, mean"),
        (lambda: fit.emmeans("a", df="residual"), "'satterthwaite'"),
        (lambda: fit.emmeans("a", df=-1), "positive number"),
        (lambda: fit.emmeans("a", level=95), "between 0 and 1"),
        (lambda: fit.contrasts("a", method="trt"), "pairwise, control"),
        (lambda: fit.contrasts("a", method=[[1, -1]]), "3 coefficients each"),
        (lambda: fit.contrasts("a", method="control", control="z"), "the means are p, q, r"),
        (lambda: fit.contrasts("a", adjust="lsd"), "known are none, tukey"),
        (lambda: fit.contrasts("a", type="ratio"), "needs a link log"),
        (lambda: fit.contrasts("x"), "one mean only"),
    ]
    for call, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            call()


def test_rows_with_missing_values_do_not_move_the_grid():
    data = two_way().copy()
    data.loc[[0, 5, 9], "y"] = np.nan
    data.loc[5, "x"] = 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.DataWarning)
        with_gaps = bg.Model("y ~ a + x", data).fit("irls")
    without = bg.Model("y ~ a + x", data.dropna()).fit("irls")
    np.testing.assert_allclose(with_gaps.emmeans("a"), without.emmeans("a"), rtol=1e-12)
