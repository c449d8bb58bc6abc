"""Fits by nested Laplace against brute-force integrals, exact posteriors and identities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference_data import frame
from scipy import stats
from scipy.special import comb, digamma, polygamma

import bayesglmm as bg
from bayesglmm.latent.nested_laplace.fit import hyper_target
from bayesglmm.marginals import marginals

P = bg.Prior


def gaussian_model() -> bg.Model:
    data = frame("dyestuff")
    priors = {
        "Intercept": P("Normal", mu=1500, sigma=200),
        "Batch.sd": P("HalfNormal", sigma=80),
        "sigma": P("HalfNormal", sigma=80),
    }
    return bg.Model("Yield ~ 1 + (1 | Batch)", data, priors=priors)


@pytest.fixture(scope="module")
def gaussian_truth() -> dict[str, float]:
    """Posterior of the dyestuff model by summing over a fine grid of both sds.

    Six batches of five: in orthonormal coordinates within and between batches everything is independent.
    """
    y = frame("dyestuff").sort_values("Batch")["Yield"].to_numpy(dtype=float).reshape(6, 5)
    a, s = np.meshgrid(np.linspace(0.5, 260, 400), np.linspace(25, 110, 200), indexing="ij")
    means = y.mean(axis=1)
    within, between = np.sum((y - means[:, None]) ** 2), 5 * np.sum((means - y.mean()) ** 2)
    v = s**2 + 5 * a**2
    log_p = -0.5 * (24 * np.log(2 * np.pi * s**2) + within / s**2 + 5 * np.log(2 * np.pi * v) + between / v)
    log_p += stats.norm(1500 * np.sqrt(30), np.sqrt(v + 30 * 200**2)).logpdf(y.mean() * np.sqrt(30))
    log_p += stats.halfnorm(scale=80).logpdf(a) + stats.halfnorm(scale=80).logpdf(s)
    precision = 30 / v + 1 / 200**2
    mean, var = (30 / v * y.mean() + 1500 / 200**2) / precision, 1 / precision
    w = np.exp(log_p - log_p.max())
    cell = (a[1, 0] - a[0, 0]) * (s[0, 1] - s[0, 0])
    evidence = log_p.max() + np.log(w.sum() * cell)
    w /= w.sum()
    beta = (w * mean).sum()
    return {
        "evidence": evidence,
        "beta": beta,
        "beta_sd": np.sqrt((w * (var + (mean - beta) ** 2)).sum()),
        "batch": (w * a).sum(),
        "batch_sd": np.sqrt((w * (a - (w * a).sum()) ** 2).sum()),
        "sigma": (w * s).sum(),
    }


@pytest.mark.parametrize("strategy", ["simplified", "gaussian", "variational", "laplace"])
def test_gaussian_posterior_is_that_of_numerical_integration(strategy: str, gaussian_truth: dict[str, float]) -> None:
    fit = gaussian_model().fit("inla", strategy=strategy, integration="grid")
    truth = gaussian_truth
    assert fit.log_evidence == pytest.approx(truth["evidence"], abs=0.01)
    assert fit.fixed.loc["Intercept", "estimate"] == pytest.approx(truth["beta"], abs=0.01 * truth["beta_sd"])
    assert fit.fixed.loc["Intercept", "se"] == pytest.approx(truth["beta_sd"], rel=0.01)
    sds = fit.varcomp.set_index("group")
    assert sds.loc["Batch", "sd"] == pytest.approx(truth["batch"], abs=0.02 * truth["batch_sd"])
    assert sds.loc["Batch", "se"] == pytest.approx(truth["batch_sd"], rel=0.02)
    assert sds.loc["Residual", "sd"] == pytest.approx(truth["sigma"], rel=0.005)


def test_composite_design_is_near_the_grid_on_gaussian_data(gaussian_truth: dict[str, float]) -> None:
    fit = gaussian_model().fit("inla", integration="ccd")
    assert fit.log_evidence == pytest.approx(gaussian_truth["evidence"], abs=0.1)
    assert fit.varcomp["sd"][0] == pytest.approx(gaussian_truth["batch"], abs=0.1 * gaussian_truth["batch_sd"])


def test_at_the_mode_a_gaussian_fit_is_generalised_least_squares() -> None:
    model = gaussian_model()
    fit = model.fit("inla", integration="eb", strategy="gaussian")
    target = hyper_target(model.problem)
    design = fit.result.extras["design"]
    _, (sd,), (log_sigma,) = target.coordinates.split(design["x"][0])
    y, codes = model.problem.response.y, model.problem.design.blocks[0].codes
    Z = np.eye(codes.max() + 1)[codes]
    V = sd**2 * Z @ Z.T + np.exp(2 * log_sigma) * np.eye(len(y))
    one = np.ones(len(y))
    precision = one @ np.linalg.solve(V, one) + 1 / 200**2
    beta = (one @ np.linalg.solve(V, y) + 1500 / 200**2) / precision
    assert fit.result.beta[0] == pytest.approx(beta, rel=1e-9)
    assert fit.result.cov_beta[0, 0] == pytest.approx(1 / precision, rel=1e-9)
    blup = sd**2 * Z.T @ np.linalg.solve(V, y - beta)
    np.testing.assert_allclose(fit.result.effects[0][:, 0], blup, rtol=1e-7)


@pytest.fixture(scope="module")
def tiny() -> tuple[bg.Model, dict[str, float]]:
    """Five groups of three binomial rows, and its posterior by sums over β, log sd and (per group) u."""
    data = pd.DataFrame({"y": [1, 4, 2, 0, 1, 0, 5, 4, 3, 2, 2, 4, 1, 0, 3], "n": 5, "g": np.repeat(list("abcde"), 3)})
    priors = {"Intercept": P("Normal", mu=0, sigma=1.5), "g.sd": P("HalfNormal", sigma=1.0)}
    model = bg.Model("p(y, n) ~ 1 + (1 | g)", data, family="binomial", priors=priors)
    beta, log_sd = np.linspace(-6, 6, 121), np.linspace(-7, 2.2, 116)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    y, n = data["y"].to_numpy().reshape(5, 3), 5
    sd = np.exp(log_sd)
    eta = beta[:, None, None] + sd[None, :, None] * nodes
    total = stats.norm(0, 1.5).logpdf(beta)[:, None] + (stats.halfnorm(scale=1.0).logpdf(sd) + log_sd)[None]
    log_one = np.logaddexp(0.0, eta)
    for own in y:
        ways = np.log(comb(n, own)).sum()
        total = total + np.log(np.exp(own.sum() * eta - 3 * n * log_one + ways) @ weights)
    w = np.exp(total - total.max())
    cell = (beta[1] - beta[0]) * (log_sd[1] - log_sd[0])
    evidence = total.max() + np.log(w.sum() * cell)
    w /= w.sum()
    b, s = w.sum(axis=1), w.sum(axis=0)
    mean, mean_sd = b @ beta, s @ sd
    return model, {
        "evidence": evidence,
        "beta": mean,
        "beta_sd": np.sqrt(b @ (beta - mean) ** 2),
        "low": float(np.interp(0.025, np.cumsum(b), beta + 0.5 * (beta[1] - beta[0]))),
        "sd": mean_sd,
        "sd_sd": np.sqrt(s @ (sd - mean_sd) ** 2),
    }


@pytest.mark.parametrize(
    ("strategy", "evidence", "location", "spread"),
    [("laplace", 0.004, 0.002, 0.004), ("simplified", 0.012, 0.003, 0.008), ("variational", 0.012, 0.005, 0.008)],
)
def test_binomial_posterior_is_that_of_brute_force(
    strategy: str, evidence: float, location: float, spread: float, tiny: tuple[bg.Model, dict[str, float]]
) -> None:
    model, truth = tiny
    fit = model.fit("inla", strategy=strategy)
    assert fit.log_evidence == pytest.approx(truth["evidence"], abs=evidence)
    row = fit.fixed.loc["Intercept"]
    assert row["estimate"] == pytest.approx(truth["beta"], abs=location * truth["beta_sd"])
    assert row["se"] == pytest.approx(truth["beta_sd"], rel=spread)
    assert row["ci_low"] == pytest.approx(truth["low"], abs=2.5 * spread * truth["beta_sd"])
    assert fit.varcomp["sd"][0] == pytest.approx(truth["sd"], abs=0.008 * truth["sd_sd"])
    assert fit.varcomp["se"][0] == pytest.approx(truth["sd_sd"], rel=0.008)


def test_corrections_go_the_right_way(tiny: tuple[bg.Model, dict[str, float]]) -> None:
    model, truth = tiny
    off = {s: abs(model.fit("inla", strategy=s).result.beta[0] - truth["beta"]) for s in ("gaussian", "simplified")}
    assert off["simplified"] < 0.5 * off["gaussian"]


def test_poisson_rate_has_the_cumulants_of_a_log_gamma() -> None:
    """Flat prior, one coefficient: exp(β) is Gamma(Σy, n), so the moments of β are polygammas."""
    y = [3, 5, 2, 4, 6]
    model = bg.Model("y ~ 1", pd.DataFrame({"y": y}), family="poisson", priors={"Intercept": P("Flat")})
    fit = model.fit("inla", strategy="simplified")
    total = sum(y)
    # First order in 1/Σy; what is left is of the order 1/Σy².
    assert fit.result.beta[0] == pytest.approx(digamma(total) - np.log(5), abs=0.3 / total**2)
    skew = fit.result.extras["mixture"]["beta"]["skew"][0, 0]
    assert skew == pytest.approx(polygamma(2, total) / polygamma(1, total) ** 1.5, abs=0.01)
    better = model.fit("inla", strategy="laplace")
    assert np.sqrt(better.result.cov_beta[0, 0]) == pytest.approx(1 / np.sqrt(total), rel=3e-4)


def test_without_random_effects_and_hyperparameters_it_is_laplace() -> None:
    data = frame("ceb").assign(y=lambda d: d["y"].round())
    model = bg.Model("y ~ dur + res + educ", data, family="poisson", exposure="n")
    nested, laplace = model.fit("inla", strategy="gaussian"), model.fit("laplace")
    np.testing.assert_allclose(nested.result.beta, laplace.result.beta, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(nested.result.cov_beta, laplace.result.cov_beta, rtol=1e-5)
    assert nested.loglik == pytest.approx(laplace.loglik, rel=1e-10)
    assert len(nested.result.extras["design"]["z"]) == 1


def test_order_of_rows_and_names_of_levels_do_not_matter() -> None:
    data = frame("grouseticks").astype({"BROOD": str, "INDEX": str, "LOCATION": str}).iloc[:150]
    formula = "TICKS ~ cHEIGHT + (1 | BROOD) + (1 | LOCATION)"
    first = bg.Model(formula, data, family="poisson").fit("inla")
    shuffled = data.sample(frac=1.0, random_state=1).assign(BROOD=lambda d: "b" + d["BROOD"])
    second = bg.Model(formula, shuffled, family="poisson").fit("inla")
    np.testing.assert_allclose(second.result.beta, first.result.beta, rtol=1e-6)
    np.testing.assert_allclose(second.result.theta, first.result.theta, rtol=1e-5)
    assert second.log_evidence == pytest.approx(first.log_evidence, abs=1e-6)
    moved = second.random["BROOD"].set_axis(second.random["BROOD"].index.str[1:])
    pd.testing.assert_frame_equal(moved.loc[first.random["BROOD"].index], first.random["BROOD"], check_names=False)


def test_draws_have_the_posterior_s_moments() -> None:
    data = frame("cbpp").astype({"herd": str, "period": str})
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", data, family="binomial")
    fit = model.fit("inla", draws=6000, seed=4)
    posterior = fit.idata.posterior
    beta = posterior["beta"].values[0]
    se = fit.fixed["se"].to_numpy()
    noise = 4.0 / np.sqrt(6000)
    assert np.abs((beta.mean(axis=0) - fit.result.beta) / se).max() < noise
    np.testing.assert_allclose(beta.std(axis=0) / se, 1.0, atol=0.05)
    correlation = fit.result.cov_beta / np.outer(se, se)
    np.testing.assert_allclose(np.corrcoef(beta.T), correlation, atol=0.06)
    herd, sd = posterior["herd"].values[0, :, :, 0], fit.result.effects_sd[0][:, 0]
    assert np.abs((herd.mean(axis=0) - fit.result.effects[0][:, 0]) / sd).max() < noise + 0.02
    np.testing.assert_allclose(herd.std(axis=0) / sd, 1.0, atol=0.07)
    sds = posterior["herd.sd"].values[0, :, 0]
    assert sds.mean() == pytest.approx(fit.varcomp["sd"][0], rel=0.02)
    low, high = np.quantile(beta, [0.025, 0.975], axis=0)
    np.testing.assert_allclose((low - fit.fixed["ci_low"]) / se, 0.0, atol=0.12)
    np.testing.assert_allclose((high - fit.fixed["ci_high"]) / se, 0.0, atol=0.12)
    again = model.fit("inla", draws=6000, seed=4).idata.posterior
    np.testing.assert_array_equal(again["beta"].values, posterior["beta"].values)


def test_marginals_carry_their_own_moments() -> None:
    data = frame("sleepstudy").astype({"Subject": str})
    fit = bg.Model("Reaction ~ Days + (1 + Days | Subject)", data).fit("inla")
    found = marginals(fit.model.problem, fit.result)
    assert set(found) == {
        "Intercept",
        "Days",
        "Subject.sd[Intercept]",
        "Subject.sd[Days]",
        "Subject.corr[Days, Intercept]",
        "Residual.sd",
    }
    for name, marginal in found.items():
        curve = fit.marginal(name)
        x, p = curve["x"].to_numpy(), curve["density"].to_numpy()
        assert np.trapezoid(p, x) == pytest.approx(1.0, abs=0.01)
        mean = np.trapezoid(p * x, x)
        assert mean == pytest.approx(marginal.estimate, abs=0.05 * marginal.sd)
        assert np.sqrt(np.trapezoid(p * (x - mean) ** 2, x)) == pytest.approx(marginal.sd, rel=0.06)
        low, high = marginal.quantiles(np.array([0.025, 0.975]))
        assert low < marginal.estimate < high
    effect = fit.marginal("Subject[308, Days]")
    x, p = effect["x"].to_numpy(), effect["density"].to_numpy()
    assert np.trapezoid(p * x, x) == pytest.approx(fit.random["Subject"].loc["308", "Days"], rel=1e-4)


def test_a_variance_that_may_be_zero() -> None:
    """No variation between groups: the posterior of the sd is that of sums over its logarithm."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 6).astype(str), "x": rng.standard_normal(120)})
    model = bg.Model("b ~ x + (1 | g)", data.assign(b=rng.binomial(1, 0.5, 120)), family="binomial")
    fit = model.fit("inla", strategy="gaussian")
    target = hyper_target(model.problem)
    log_sd = np.linspace(-12.0, 2.0, 200)
    value = np.array([target.at(np.array([x]), with_gradient=False).value for x in log_sd])
    p = np.exp(value - value.max())
    evidence = value.max() + np.log(p.sum() * (log_sd[1] - log_sd[0]))
    p, sd = p / p.sum(), np.exp(log_sd)
    mean = p @ sd
    spread = np.sqrt(p @ (sd - mean) ** 2)
    assert fit.log_evidence == pytest.approx(evidence, abs=0.01)
    row = fit.varcomp.iloc[0]
    assert row["sd"] == pytest.approx(mean, abs=0.03 * spread)
    assert row["se"] == pytest.approx(spread, rel=0.03)
    low = np.interp(0.025, np.cumsum(p), sd)
    assert row["ci_low"] == pytest.approx(low, abs=0.02 * spread)
