"""Type I, II and III tests of terms: sequential and marginal sums of squares, balance, coding, references."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from reference_data import frame

import bayesglmm as bg


@cache
def unbalanced():
    rng = np.random.default_rng(3)
    n = 90
    data = pd.DataFrame({"a": rng.choice(list("pqr"), n, p=[0.6, 0.3, 0.1]), "b": rng.choice(["u", "v"], n)})
    data["x"] = rng.normal(size=n) + (data["a"] == "q")
    data["g"] = rng.integers(0, 14, n).astype(str)
    data["y"] = rng.normal(size=n) + data["x"] + rng.normal(size=14)[data["g"].astype(int)]
    data["k"] = rng.poisson(np.exp(0.5 + 0.3 * data["x"]))
    return data


def ols(formula):
    return bg.Model(formula, unbalanced()).fit("irls")


def test_type_one_of_a_linear_model_are_the_sequential_sums_of_squares():
    fit = ols("y ~ a + b + x + a:b + b:x")
    sequential, wald = bg.anova(fit).iloc[1:], bg.anova(fit, kind="I")
    np.testing.assert_allclose(wald["F"], sequential["F"], rtol=1e-9)
    np.testing.assert_allclose(wald["p"], sequential["p"], rtol=1e-9)
    assert list(wald.index) == list(sequential.index)


def test_type_two_of_a_linear_model_leave_out_what_contains_the_term():
    fit = ols("y ~ a * b + x")
    table, scale = bg.anova(fit, kind="II"), fit.result.scale
    pairs = {
        "a": ("y ~ b + x", "y ~ a + b + x"),
        "b": ("y ~ a + x", "y ~ a + b + x"),
        "x": ("y ~ a * b", "y ~ a * b + x"),
        "a:b": ("y ~ a + b + x", "y ~ a * b + x"),
    }
    assert set(table.index) == set(pairs)
    for term, (small, full) in pairs.items():
        drop = ols(small).deviance - ols(full).deviance
        assert table.loc[term, "F"] == pytest.approx(drop / table.loc[term, "df"] / scale, rel=1e-9)


def test_type_three_of_a_linear_model_drop_sum_to_zero_columns():
    table = bg.anova(ols("y ~ a * b + x"), kind="III")
    summed = ols("y ~ C(a, Sum) * C(b, Sum) + x")
    names = list(summed.fixed.index)
    for term, mark in {"a": "C(a, Sum)[", "b": "C(b, Sum)["}.items():
        rows = [j for j, c in enumerate(names) if c.startswith(mark) and ":" not in c]
        assert table.loc[term, "F"] == pytest.approx(summed.test(np.eye(len(names))[rows]).statistic, rel=1e-8)


@pytest.mark.parametrize("kind", ["I", "II", "III"])
@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_balanced_data_have_one_table_whatever_its_type(kind, df):
    """A split plot: recipes against whole plots, the rest against split plots, by sums of squares of cell means."""
    data = frame("cake")
    fit = bg.Model("angle ~ recipe * temperature + (1 | recipe:replicate)", data).fit("reml")
    table = bg.anova(fit, kind=kind, df=df)
    means = {k: data.groupby(k, observed=True)["angle"].transform("mean") for k in ("recipe", "temperature")}
    cell = data.groupby(["recipe", "temperature"], observed=True)["angle"].transform("mean")
    plot = data.groupby(["recipe", "replicate"], observed=True)["angle"].transform("mean")
    grand = data["angle"].mean()
    plots = ((plot - means["recipe"]) ** 2).sum() / 42
    error = ((data["angle"] - cell - plot + means["recipe"]) ** 2).sum() / 210
    expected = {
        "recipe": ((means["recipe"] - grand) ** 2).sum() / 2 / plots,
        "temperature": ((means["temperature"] - grand) ** 2).sum() / 5 / error,
        "recipe:temperature": ((cell - means["recipe"] - means["temperature"] + grand) ** 2).sum() / 10 / error,
    }
    for term, F in expected.items():
        assert table.loc[term, "F"] == pytest.approx(F, rel=1e-6)
        assert table.loc[term, "df_denominator"] == pytest.approx(42 if term == "recipe" else 210, rel=1e-5)


def test_the_last_term_is_the_same_in_every_type():
    fit = bg.Model("y ~ a * b + x + a:b:x + (1 | g)", unbalanced()).fit("reml", df="kenward-roger")
    tables = [bg.anova(fit, kind=k).iloc[-1] for k in ("I", "II", "III")]
    for table in tables[1:]:
        np.testing.assert_allclose(table.astype(float), tables[0].astype(float), rtol=1e-6)


def test_hypotheses_of_mixed_models_are_those_of_the_design():
    """Type I and II of an unbalanced mixed model do not depend on the coding; other orders give other type I tables."""
    plain = bg.Model("y ~ a * b + x + (1 | g)", unbalanced()).fit("reml")
    summed = bg.Model("y ~ C(a, Sum) * C(b, Sum) + x + (1 | g)", unbalanced()).fit("reml")
    for kind in ("I", "II"):
        one, other = (bg.anova(f, kind=kind, df="kenward-roger") for f in (plain, summed))
        np.testing.assert_allclose(one.to_numpy(float), other.to_numpy(float), rtol=1e-5)
    turned = bg.anova(bg.Model("y ~ x + b * a + (1 | g)", unbalanced()).fit("reml"), kind="I")
    assert abs(turned.loc["x", "F"] / bg.anova(plain, kind="I").loc["x", "F"] - 1.0) > 1e-3
    again = bg.anova(bg.Model("y ~ x + b * a + (1 | g)", unbalanced()).fit("reml"), kind="II")
    np.testing.assert_allclose(again.loc[["a", "b", "x"], "F"], bg.anova(plain, kind="II").loc[["a", "b", "x"], "F"])


def test_type_one_of_a_glm_splits_the_overall_wald_statistic():
    fit = bg.Model("k ~ a + b * x", unbalanced(), "poisson", priors="flat").fit("irls")
    table = bg.anova(fit, kind="I")
    whole = fit.test(np.eye(6)[1:])
    assert table["chi2"].sum() == pytest.approx(whole.statistic, rel=1e-9)
    assert table["df"].sum() == whole.df
    np.testing.assert_allclose(table["chi2"], bg.anova(fit)["chi2"].iloc[1:], rtol=0.25)


def test_other_fits_have_tables_too():
    data = unbalanced()
    laplace = bg.Model("k ~ a * b + (1 | g)", data, "poisson", priors="flat").fit("laplace")
    table = bg.anova(laplace, kind="II")
    assert table.loc["a:b", "chi2"] == pytest.approx(laplace.test(["a[T.q]:b[T.v]", "a[T.r]:b[T.v]"]).statistic)
    gee = bg.Model("k ~ a * b", data, "poisson", priors="flat").fit("gee", groups="g", corr="exchangeable")
    np.testing.assert_allclose(bg.anova(gee, kind="III").loc["a:b", "chi2"], bg.anova(gee).loc["a:b", "chi2"])
    pql = bg.Model("k ~ a * b + (1 | g)", data, "quasipoisson").fit("pql")
    assert np.isfinite(bg.anova(pql, kind="III")["df_denominator"]).all()


def test_a_hypothesis_has_its_own_degrees_of_freedom():
    """Two temperatures within whole plots: 210 df; two recipes: 42; a recipe at one temperature in between."""
    made = bg.Model("angle ~ recipe * temperature + (1 | recipe:replicate)", frame("cake"))
    fit = made.fit("reml", df="kenward-roger")
    within = fit.test("temperature[T.195] = temperature[T.185]")
    assert (within.reference, within.test) == ("F", "Kenward-Roger")
    assert within.df_denominator == pytest.approx(210.0, rel=1e-6)
    both = fit.test(["temperature[T.195] = temperature[T.185]", "recipe[T.B] = recipe[T.C]"])
    table = both.extras["contrasts"]
    assert table["p"].iloc[0] == pytest.approx(within.p, rel=1e-6)
    assert 42.0 < both.df_denominator < 210.0
    # Without a df the fit's reference is normal, and df= may ask for one.
    plain = made.fit("reml")
    assert plain.test("temperature[T.185]").reference == "chi2"
    asked = plain.test("temperature[T.195] = temperature[T.185]", df="satterthwaite")
    assert asked.df_denominator == pytest.approx(210.0, rel=1e-4)
    assert asked.statistic == pytest.approx(within.statistic, rel=1e-6)
    with pytest.raises(bg.MethodError, match="a fit by ml, reml, pql, mql"):
        ols("y ~ a").test("a[T.q]", df="satterthwaite")


def test_what_has_no_table_says_so():
    fit = bg.Model("y ~ a + (1 | g)", unbalanced()).fit("reml")
    posterior = bg.Model("k ~ a + (1 | g)", unbalanced(), "poisson").fit("laplace")
    cases = [
        (lambda: bg.anova(fit), "kind='I', 'II' or 'III'"),
        (lambda: bg.anova(fit, kind="IV"), "'sequential', 'marginal', 'I'"),
        (lambda: bg.anova(fit, fit, kind="I"), "give one fit"),
        (lambda: bg.anova(fit, kind="I", test="F"), "no test="),
        (lambda: bg.anova(fit, df="satterthwaite"), "is for the tests of terms"),
        (lambda: bg.anova(posterior, kind="I"), "without a posterior"),
        (lambda: bg.anova(ols("y ~ a"), kind="I", df="satterthwaite"), "this fit is by 'irls'"),
        (lambda: bg.anova(ols("y ~ 1"), kind="I"), "only an intercept"),
    ]
    for call, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            call()
