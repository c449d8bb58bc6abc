"""Intraclass correlations and R² by hand from the variance components, and their delta-method errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reference_data import frame
from scipy import special

import bayesglmm as bg
from bayesglmm.fit import Fit
from bayesglmm.result import Draws


def counts():
    return bg.Model("TICKS ~ YEAR + HEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", frame("grouseticks"),
                    "poisson", priors="flat").fit("laplace")  # fmt: skip


def test_a_gaussian_intercept():
    fit = bg.Model("Yield ~ 1 + (1 | Batch)", frame("dyestuff")).fit("reml")
    row = fit.icc().loc["Batch"]
    assert row["icc"] == pytest.approx(1764.05 / (1764.05 + 2451.25), rel=1e-5)
    assert row["variance"] == pytest.approx(1764.05, rel=1e-5)
    found = fit.r2()
    assert found["marginal"] == 0.0
    assert found["conditional"] == pytest.approx(row["icc"])


def test_the_interval_is_that_of_the_logit_by_the_delta_method():
    """logit ICC = 2 (log σ_g − log σ): its variance by hand from the joint covariance of (σ_g, log σ)."""
    fit = bg.Model("Yield ~ 1 + (1 | Batch)", frame("dyestuff")).fit("ml")
    row, theta = fit.icc(level=0.9).loc["Batch"], fit.result.theta[0]
    slope = np.array([2.0 / theta, -2.0])
    sd = np.sqrt(slope @ fit.result.cov_joint[1:, 1:] @ slope)
    ends = special.expit(special.logit(row["icc"]) + np.array([-1, 1]) * 1.6448536269514722 * sd)
    np.testing.assert_allclose(row[["ci_low", "ci_high"]].astype(float), ends, rtol=1e-6)
    assert row["se"] == pytest.approx(row["icc"] * (1 - row["icc"]) * sd, rel=1e-6)


@pytest.mark.parametrize(("link", "latent"), [("logit", np.pi**2 / 3), ("probit", 1.0), ("cloglog", np.pi**2 / 6)])
def test_the_latent_scale_of_a_binary_response(link, latent):
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial", link=link, priors="flat")
    fit = model.fit("laplace")
    v = fit.result.theta[0] ** 2
    assert fit.icc().loc["herd", "icc"] == pytest.approx(v / (v + latent))
    fixed = np.var(model.design.X @ fit.result.beta, ddof=1)
    found = fit.r2()
    assert found["marginal"] == pytest.approx(fixed / (fixed + v + latent))
    assert found["conditional"] == pytest.approx((fixed + v) / (fixed + v + latent))


def test_the_delta_method_of_a_binary_response():
    fit = bg.Model("p(incidence, size) ~ 1 + (1 | herd)", frame("cbpp"), "binomial", priors="flat").fit("laplace")
    v, p = fit.result.theta[0] ** 2, 0.2
    assert fit.icc(approximation="delta", mean=p).loc["herd", "icc"] == pytest.approx(v / (v + 1 / (p * (1 - p))))


def test_counts_with_an_effect_per_row():
    """Nakagawa, Johnson & Schielzeth (2017), table 1: log(1 + 1/λ), 1/λ, ψ₁(λ); effects per row are residual."""
    fit = counts()
    sd = {k.removesuffix(".sd"): v for k, v in fit.params.items() if k.endswith(".sd")}
    rate = frame("grouseticks")["TICKS"].mean()
    expected = {"lognormal": np.log1p(1 / rate), "delta": 1 / rate, "trigamma": special.polygamma(1, rate)}
    for kind, distribution in expected.items():
        total = sum(v**2 for v in sd.values()) + distribution
        table = fit.icc(approximation=kind)
        assert list(table.index) == ["BROOD", "LOCATION"]
        assert table.loc["BROOD", "icc"] == pytest.approx(sd["BROOD"] ** 2 / total)
        fixed = np.var(fit.model.design.X @ fit.result.beta, ddof=1)
        found = fit.r2(approximation=kind)
        groups = sd["BROOD"] ** 2 + sd["LOCATION"] ** 2
        assert found["conditional"] == pytest.approx((fixed + groups) / (fixed + total))
        assert found["observation_level"] == pytest.approx(sd["INDEX"] ** 2)


def test_the_mean_of_a_null_model():
    """exp(β₀ + ½ Σσ²), the mean the authors recommend."""
    data = frame("grouseticks")
    fit = bg.Model("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", priors="flat").fit("laplace")
    null = bg.Model("TICKS ~ 1 + (1 | BROOD)", data, "poisson", priors="flat").fit("laplace")
    rate = np.exp(null.result.beta[0] + 0.5 * null.result.theta[0] ** 2)
    assert fit.r2(null=null)["distribution"] == pytest.approx(np.log1p(1 / rate), rel=1e-6)
    with pytest.raises(bg.MethodError, match="only an intercept"):
        fit.r2(null=fit)


def test_dispersion_enters_the_variance_of_an_observation():
    data = frame("grouseticks")
    rate = data["TICKS"].mean()
    nb = bg.Model("TICKS ~ YEAR + (1 | BROOD)", data, "negative_binomial", priors="flat").fit("laplace")
    cv = 1 / rate + 1 / nb.dispersion
    assert nb.r2()["distribution"] == pytest.approx(np.log1p(cv))
    assert nb.r2(approximation="trigamma")["distribution"] == pytest.approx(special.polygamma(1, 1 / cv))
    quasi = bg.Model("TICKS ~ YEAR + (1 | BROOD)", data, "quasipoisson").fit("pql")
    assert quasi.r2()["distribution"] == pytest.approx(np.log1p(quasi.result.scale / rate))
    # θ of the negative binomial is uncertain too, and that is in the interval.
    known = replace(nb.result, cov_joint=np.pad(nb.result.cov_joint[:-1, :-1], (0, 1)))
    assert nb.icc().loc["BROOD", "se"] > Fit(nb.model, known).icc().loc["BROOD", "se"]


def test_a_slope_has_the_mean_variance_of_the_rows():
    """Johnson (2014): the mean of z'Σz."""
    fit = bg.Model("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy")).fit("reml")
    Z = fit.model.design.blocks[0].z
    L = fit.model.problem.covariance[0].factor(fit.result.theta)
    v = np.mean(np.diag(Z @ L @ L.T @ Z.T))
    assert fit.icc().loc["Subject", "variance"] == pytest.approx(v)
    assert fit.r2()["conditional"] == pytest.approx(0.79922, abs=5e-5)
    assert fit.r2()["marginal"] == pytest.approx(0.27866, abs=5e-5)


def test_without_random_effects_r2_is_that_of_the_fixed_part():
    data = frame("sleepstudy")
    fit = bg.Model("Reaction ~ Days", data).fit("irls")
    slope = fit.fixed.loc["Days", "estimate"]
    fixed = slope**2 * data["Days"].var()
    assert fit.r2()["marginal"] == fit.r2()["conditional"] == pytest.approx(fixed / (fixed + fit.result.scale))
    with pytest.raises(bg.MethodError, match="needs a grouping factor"):
        fit.icc()


def test_draws_are_summarised():
    model = bg.Model("Yield ~ 1 + (1 | Batch)", frame("dyestuff"))
    at = model.fit("laplace")
    rng = np.random.default_rng(3)
    theta, psi = np.exp(rng.normal(3.5, 0.4, (2, 300, 1))), rng.normal(3.9, 0.1, (2, 300, 1))
    draws = Draws(np.zeros((2, 300, 1)), theta, psi, (np.zeros((2, 300, 6, 1)),), independent=False)
    row = Fit(model, replace(at.result, method="mcmc", draws=draws)).icc().loc["Batch"]
    share = (theta**2 / (theta**2 + np.exp(2 * psi))).ravel()
    assert row["icc"] == pytest.approx(share.mean())
    assert row["ci_high"] == pytest.approx(np.quantile(share, 0.975))


def test_a_variance_at_zero_has_no_interval():
    data = frame("dyestuff")
    data["Yield"] = data["Yield"] - data.groupby("Batch", observed=True)["Yield"].transform("mean")
    with pytest.warns(bg.SingularFitWarning):
        row = bg.Model("Yield ~ 1 + (1 | Batch)", data).fit("ml").icc().loc["Batch"]
    assert row["icc"] == 0.0
    assert row[["se", "ci_low", "ci_high"]].isna().all()


def test_what_has_no_such_variance_says_so():
    data = frame("grouseticks")
    fit = bg.Model("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", priors="flat").fit("laplace")
    zeros = bg.Model("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", zi="~ 1", priors="flat").fit("laplace")
    gauss = bg.Model("Yield ~ 1 + (1 | Batch)", frame("dyestuff")).fit("reml")
    cases = [
        (lambda: fit.icc(approximation="latent"), "binary and ordered"),
        (lambda: fit.icc(approximation="exact"), "expected one of latent"),
        (lambda: gauss.icc(approximation="trigamma"), "is for log links"),
        (lambda: zeros.r2(), "no single observation-level variance"),
        (lambda: gauss.icc(level=2), "between 0 and 1"),
    ]
    for call, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            call()


def test_an_ordered_response_is_a_threshold_of_a_latent_one():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(20), 10)
    latent = rng.normal(size=20)[g] + rng.logistic(size=200)
    labels = np.array(["lo", "mid", "hi"])[np.digitize(latent, [-0.5, 0.8])]
    data = pd.DataFrame({"o": pd.Categorical(labels, ["lo", "mid", "hi"], ordered=True), "g": g.astype(str)})
    fit = bg.Model("o ~ 1 + (1 | g)", data, "cumulative", priors="flat").fit("laplace")
    v = fit.result.theta[0] ** 2
    assert fit.icc().loc["g", "icc"] == pytest.approx(v / (v + np.pi**2 / 3))
