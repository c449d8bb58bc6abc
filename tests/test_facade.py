"""Model and Fit: names, tables, methods that apply, what a fit says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from reference_data import frame

import bayesglmm as bg

CBPP = "p(incidence, size) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def model():
    return bg.Model(CBPP, frame("cbpp"), family="binomial", priors="flat")


@pytest.fixture(scope="module")
def slopes():
    return bg.Model("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy"), priors="flat").fit("ml")


def test_loglik_at_the_estimate_is_the_fits_loglik(model):
    for method in ("laplace", "agq"):
        fit = model.fit(method)
        assert model.loglik(fit.params, method=method) == pytest.approx(fit.loglik, abs=1e-9)


def test_independent_effects_have_no_correlation_to_give():
    model = bg.Model(
        "Reaction ~ Days + (1 + Days | Subject)",
        frame("sleepstudy"),
        priors="flat",
        covariance={"Subject": "diagonal"},
    )
    params = model.fit("ml").params
    assert "Subject.corr" not in params
    with pytest.raises(bg.MethodError, match="unknown parameter"):
        model.loglik({**params, "Subject.corr": 0.5})


def test_params_survive_packing(slopes):
    params = slopes.params
    assert set(params) == {"Intercept", "Days", "Subject.sd", "Subject.corr", "sigma"}
    laplace = slopes.model.loglik(params)
    assert laplace == pytest.approx(slopes.loglik, rel=1e-10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"herd.sdd": 1.0}, "Did you mean 'herd.sd'"),
        ({"herd.sd": -1.0}, "non-negative"),
        ({"herd.sd": [1.0, 2.0]}, "expected 1"),
        ({"Intercept": None}, "no value given for Intercept"),
    ],
)
def test_bad_parameters(model, change, words):
    params = dict.fromkeys(model.design.columns, 0.0) | {"herd.sd": 1.0} | change
    params = {k: v for k, v in params.items() if v is not None}
    with pytest.raises(bg.MethodError, match=words):
        model.loglik(params)


@pytest.mark.parametrize(
    ("formula", "family", "natural"),
    [
        ("y ~ x", "poisson", "irls"),
        ("y ~ x + (1 | g)", "gaussian", "reml"),
        ("y ~ x + (1 | g)", "quasipoisson", "pql"),
        ("y ~ x + (1 | g)", "poisson", "laplace"),
    ],
)
def test_natural_method(formula, family, natural):
    data = {"y": [1, 2, 0, 4, 3, 5, 2, 2], "x": [0.1, 0.4, 0.2, 0.9, 0.5, 0.7, 0.3, 0.0], "g": list("aabbccdd")}
    model = bg.Model(formula, data, family=family)
    assert model.natural_method == natural
    assert natural in model.methods


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("laplacee", {}, "Did you mean 'laplace'"),
        ("irls", {}, "takes no random effects.*laplace"),
        ("reml", {}, "gaussian family"),
        ("agq", {"node": 3}, "Did you mean 'nodes'"),
    ],
)
def test_methods_that_do_not_apply(model, method, options, words):
    with pytest.raises(bg.MethodError, match=words):
        model.fit(method, **options)


def test_quadrature_wants_one_grouping_factor():
    model = bg.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", frame("penicillin"))
    with pytest.raises(bg.MethodError, match=r"exactly one grouping factor.*plate, sample.*laplace"):
        model.fit("agq")


def test_given_priors_are_left_aside_loudly():
    priors = {"period[T.2]": bg.Prior("Normal", mu=0, sigma=1)}
    model = bg.Model(CBPP, frame("cbpp"), family="binomial", priors=priors)
    with pytest.warns(bg.BayesGLMMWarning, match="left aside"):
        model.fit("pql")


def test_fixed_table_is_the_wald_table(slopes):
    fixed = slopes.fixed
    se = np.sqrt(np.diag(slopes.cov))
    np.testing.assert_allclose(fixed["se"], se, rtol=1e-12)
    np.testing.assert_allclose(fixed["ci_high"] - fixed["ci_low"], 2 * 1.959963984540054 * se, rtol=1e-10)
    assert list(fixed.columns[:4]) == ["estimate", "se", "ci_low", "ci_high"]
    assert (fixed["p"] < 1e-4).all()


def test_posterior_tables_have_no_p_values():
    fit = bg.Model(CBPP, frame("cbpp"), family="binomial").fit("laplace")
    assert list(fit.fixed.columns) == ["estimate", "se", "ci_low", "ci_high"]


def test_varcomp_table(slopes):
    table = slopes.varcomp
    assert table["group"].tolist() == ["Subject", "Subject", "Residual"]
    assert table["corr_with"].tolist()[1] == "Intercept"
    params = slopes.params
    np.testing.assert_allclose(table["sd"][:2], params["Subject.sd"], rtol=1e-12)
    assert table["corr"][1] == pytest.approx(params["Subject.corr"][1, 0], rel=1e-12)
    assert table["sd"][2] == pytest.approx(params["sigma"], rel=1e-10)
    assert ((table["ci_low"] < table["sd"]) & (table["sd"] < table["ci_high"])).all()


def test_sd_standard_errors_by_differences(slopes):
    """Delta method against a numerical derivative of (sd, sd) in θ."""
    covariance, theta = slopes.model.problem.covariance[0], slopes.result.theta
    p = len(slopes.result.beta)
    cov = slopes.result.cov_joint[p : p + 3, p : p + 3]
    jacobian = np.array(
        [(covariance.sd_corr(theta + h)[0] - covariance.sd_corr(theta - h)[0]) / 2e-5 for h in 1e-5 * np.eye(3)]
    ).T
    np.testing.assert_allclose(slopes.varcomp["se"][:2], np.sqrt(np.diag(jacobian @ cov @ jacobian.T)), rtol=1e-6)


def test_information_criteria(model):
    fit = model.fit("laplace")
    assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * 5)
    assert fit.bic == pytest.approx(-2 * fit.loglik + np.log(56) * 5)


def test_a_quasi_fit_has_no_likelihood(model):
    fit = model.fit("pql")
    for name in ("loglik", "aic", "bic"):
        with pytest.raises(bg.MethodError, match="no likelihood"):
            getattr(fit, name)


def test_aliased_columns_are_shown_as_not_estimable():
    data = frame("warpbreaks").assign(twice=lambda d: (d["wool"] == "B") * 2.0)
    with pytest.warns(bg.DataWarning, match="twice"):
        fit = bg.Model("breaks ~ wool + twice", data, family="poisson").fit()
    assert np.isnan(fit.fixed.loc["twice", "estimate"])
    assert "Not estimable (aliased): twice" in fit.summary()


def test_summary_says_what_matters(model):
    text = model.fit("mql").summary()
    for words in (CBPP, "binomial (logit link)", "herd (15 levels)", "population average", "period[T.4]"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_html_is_escaped_and_complete(model):
    page = model.fit("laplace")._repr_html_()
    assert "period[T.4]" in page
    assert "<script" not in page
    assert page.count("<table") == 2


def test_random_tables(slopes):
    table = slopes.random["Subject"]
    sds = ["Intercept_sd", "Days_sd", "Intercept_sd_full", "Days_sd_full"]
    assert list(table.columns) == ["Intercept", "Days", *sds]
    assert table.index.name == "Subject"
    assert len(table) == 18


def test_sds_of_random_effects_with_the_uncertainty_of_the_coefficients(slopes):
    """The root of Henderson's prediction-error variance, from the mixed-model equations."""
    errors = slopes.mme().prediction_error
    for term in ("Intercept", "Days"):
        full = slopes.random["Subject"][f"{term}_sd_full"]
        np.testing.assert_allclose(full**2, errors.loc[errors["term"] == term, "pev"], rtol=1e-6)


def test_idata_of_a_laplace_fit(model):
    import arviz_stats

    fit = model.fit("laplace", draws=4000, seed=7)
    tree = fit.idata
    assert tree["posterior"]["beta"].dims == ("chain", "draw", "coefficient")
    assert tree["posterior"]["herd"].sizes["herd.level"] == 15
    draws = tree["posterior"]["beta"].values[0]
    error = np.sqrt(np.diag(fit.cov) / 4000)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - fit.result.beta), 5 * error)
    np.testing.assert_allclose(draws.std(axis=0), fit.fixed["se"], rtol=0.06)
    np.testing.assert_allclose(
        tree["posterior"]["herd"].values[0, :, :, 0].std(axis=0),
        fit.result.extras["effects_sd_full"][0][:, 0],
        rtol=0.2,
    )
    table = arviz_stats.summary(tree, var_names=["beta", "herd.sd"], round_to="none")
    assert len(table) == 5
    # Independent draws laid out as four chains: R-hat is defined, and near one.
    np.testing.assert_allclose(table["r_hat"].to_numpy(dtype=float), 1.0, atol=0.01)
    assert tree["log_likelihood"]["incidence"].shape == (4, 1000, 56)


def test_idata_without_a_distribution(model):
    tree = model.fit("pql").idata
    assert set(tree.children) == {"observed_data", "constant_data", "fit"}
    assert tree["observed_data"]["incidence"].values.tolist() == frame("cbpp")["incidence"].tolist()


def test_arviz_summaries_of_correlated_slopes_have_nothing_to_complain_of() -> None:
    """A matrix of correlations has a constant diagonal: draws have one variable per pair, named as in the tables."""
    import arviz as az

    fit = bg.Model("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy").astype({"Subject": str})).fit(
        "laplace"
    )
    table = az.summary(fit.idata)
    assert [row for row in table.index if "corr" in row] == ["Subject.corr[Days, Intercept]"]
    assert table["r_hat"].notna().all()
    assert fit.idata["posterior"]["Subject.corr"].sizes["Subject.pair"] == 1
