"""The exact marginal posterior of standard deviations: closed forms, dense formulas, quadrature, and MCMC."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from reference_data import frame
from scipy import integrate, stats

import bayesglmm as bg
from bayesglmm.inference.marginal_density import marginal_density


@cache
def dyestuff(priors="flat"):
    given = priors if priors == "flat" else {"Intercept": bg.Prior("Normal", mu=1400, sigma=60), "Batch.sd":
        bg.Prior("HalfNormal", sigma=30), "sigma": bg.Prior("Exponential", lam=0.02)}  # fmt: skip
    return bg.Model("Yield ~ 1 + (1 | Batch)", frame("dyestuff"), priors=given)


def closed_form(tau, sigma):
    """Balanced one-way, flat on μ, τ and σ: mean squares and λ = σ² + 5τ² make the likelihood; up to a constant."""
    lam = sigma**2 + 5 * tau**2
    return -24 * np.log(sigma) - 2.5 * np.log(lam) - 58830 / (2 * sigma**2) - 56357.5 / (2 * lam)


def test_the_density_is_the_closed_form_of_a_balanced_one_way_layout():
    grid = {"Batch.sd": np.linspace(0.0, 150.0, 7), "sigma": np.linspace(35.0, 80.0, 5)}
    found = bg.variance_posterior(dyestuff(), grid)
    expected = closed_form(*np.meshgrid(*grid.values(), indexing="ij"))
    gap = found.log_density - expected
    np.testing.assert_allclose(gap, gap[0, 0], atol=1e-8)


def test_it_integrates_to_one_and_its_quantiles_are_those_of_the_closed_form():
    found = dyestuff().fit("reml").variance_posterior()
    assert found.mass.sum() == pytest.approx(1.0, abs=1e-12)

    def inner(function):
        """∫ function(log τ) p d(log τ) d(log σ), by adaptive quadrature on the closed form."""

        def density(s, t):
            return np.exp(closed_form(np.exp(t), np.exp(s)) - peak + s + t) * function(t)

        return integrate.dblquad(density, -6, 9, 2.8, 5.4, epsabs=1e-10, epsrel=1e-8)[0]

    peak = closed_form(42.0, 49.5) + np.log(42.0 * 49.5)
    total = inner(lambda t: 1.0)
    for q in (0.1, 0.5, 0.9):
        cut = np.log(found.quantile("Batch.sd", q)[0])
        below = integrate.dblquad(
            lambda s, t: np.exp(closed_form(np.exp(t), np.exp(s)) - peak + s + t), -6, cut, 2.8, 5.4, epsabs=1e-10
        )[0]
        assert below / total == pytest.approx(q, abs=5e-5)
    # The densities the grid was normalised with are the same ones.
    point = {"Batch.sd": [42.0, 43.0], "sigma": [49.5, 50.0]}
    on_grid = bg.variance_posterior(dyestuff(), point)
    assert on_grid.log_density[0, 0] + on_grid.log_evidence - found.log_evidence == pytest.approx(
        closed_form(42.0, 49.5) - peak - np.log(total), abs=1e-5
    )


def test_priors_enter_as_stated_and_beta_is_integrated_over_its_own():
    """Against the whole joint density of (μ, τ, σ), integrated over μ by quadrature."""
    density = marginal_density(dyestuff("own").problem)
    y = frame("dyestuff")["Yield"].to_numpy()
    Z = np.repeat(np.eye(6), 5, axis=0)
    for tau, sigma in ((20.0, 45.0), (60.0, 70.0)):
        V = tau**2 * Z @ Z.T + sigma**2 * np.eye(30)
        gaussian = stats.multivariate_normal(np.zeros(30), V)

        def joint(mu, gaussian=gaussian):
            return np.exp(gaussian.logpdf(y - mu) + 160.0) * stats.norm.pdf(mu, 1400, 60)

        points = integrate.quad(joint, 1200, 1800, epsabs=0, epsrel=1e-10, limit=200)[0]
        prior = stats.halfnorm.logpdf(tau, scale=30) + stats.expon.logpdf(sigma, scale=50)
        found = density(np.array([tau, sigma]))
        assert found.log_density == pytest.approx(np.log(points) - 160.0 + prior, abs=1e-7)
        mean = integrate.quad(lambda mu: mu * joint(mu), 1200, 1800, epsabs=0, epsrel=1e-10)[0] / points
        assert found.beta[0] == pytest.approx(mean, rel=1e-8)


def test_under_proper_priors_the_divisor_is_the_evidence():
    found = bg.variance_posterior(dyestuff("own"))
    density = marginal_density(dyestuff("own").problem)
    x, w = np.polynomial.legendre.leggauss(40)
    t, s = 100.0 * (x + 1.0), 30.0 + 60.0 * (x + 1.0)
    value = sum(
        100.0 * wt * 60.0 * ws * np.exp(density(np.array([tau, sigma])).log_density + 165.0)
        for tau, wt in zip(t, w)
        for sigma, ws in zip(s, w)
    )
    assert found.log_evidence == pytest.approx(np.log(value) - 165.0, abs=2e-4)


def test_coefficients_are_a_mixture_over_the_variances():
    found = bg.variance_posterior(dyestuff())
    table = found.summary()
    assert table.loc["Intercept", "mean"] == pytest.approx(1527.5)
    p, sd = found.mass, found.beta_sd[..., 0]
    assert table.loc["Intercept", "sd"] == pytest.approx(np.sqrt(np.sum(p * sd**2)), rel=1e-9)
    # By hand, Var(μ | τ, σ) = (σ² + 5τ²)/30.
    tau, sigma = np.meshgrid(*found.nodes, indexing="ij")
    inside = np.isfinite(found.log_density)
    np.testing.assert_allclose(sd[inside], np.sqrt((sigma**2 + 5 * tau**2) / 30)[inside], rtol=1e-8)
    upper = found.quantile("Intercept", 0.975)[0]
    assert np.sum(p * stats.norm.cdf((upper - 1527.5) / sd)) == pytest.approx(0.975, abs=1e-9)
    assert table.loc["Batch.sd", "mean"] > table.loc["Batch.sd", "median"]


def test_the_posterior_of_beta_given_variances():
    fit = dyestuff().fit("reml")
    known, t, flat = (fit.beta_posterior(sigma=s).loc["Intercept"] for s in ("known", "jeffreys", "flat"))
    assert known["sd"] == pytest.approx(np.sqrt(11271.5 / 30), rel=1e-6)
    assert (t["df"], flat["df"]) == (29.0, 28.0)
    # The REML estimate of σ² is r²/(n − p) at the estimated ratio.
    assert t["scale"] == pytest.approx(known["scale"], rel=1e-7)
    assert flat["scale"] == pytest.approx(known["scale"] * np.sqrt(29 / 28), rel=1e-7)
    assert t["ci_high"] - t["mean"] == pytest.approx(stats.t.ppf(0.975, 29) * t["scale"])
    # By quadrature over σ under p(σ) ∝ 1/σ, the ratio held.
    n, r2, v = 30, 29 * fit.result.scale, known["scale"] ** 2 / fit.result.scale
    x = 10.0

    def density(s, gap):
        return s ** (-n - 1.0) * 50.0**n * np.exp(-(r2 + gap**2 / v) / (2 * s**2))

    values = [integrate.quad(density, 5, 500, args=(gap,), epsrel=1e-10)[0] for gap in (0.0, x)]
    expected = stats.t.pdf(x / t["scale"], 29) / stats.t.pdf(0, 29)
    assert values[1] / values[0] == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_integrated_says_so():
    sleep = frame("sleepstudy")
    odd = {"Intercept": bg.Prior("StudentT", nu=3, mu=0, sigma=10)}
    cases = [
        (
            lambda: bg.variance_posterior(bg.Model("Reaction ~ Days + (1 + Days | Subject)", sleep)),
            r"\(x \|\| Subject\)",
        ),
        (lambda: bg.variance_posterior(bg.Model("Reaction ~ Days", sleep)), "linear mixed models"),
        (lambda: bg.variance_posterior(bg.Model("Reaction ~ 1 + (1 | Subject)", sleep, priors=odd)), "flat or normal"),
        (lambda: bg.variance_posterior(dyestuff(), {"sigma": [1.0, 2.0]}), "not all parameters"),
        (lambda: bg.variance_posterior(dyestuff(), {"Batch.sd": [2, 1], "sigma": [1, 2]}), "increasing"),
        (lambda: bg.variance_posterior(dyestuff(), {"x": [1, 2]}), "unknown parameter 'x'"),
        (lambda: bg.variance_posterior(7), "a Model or a Fit"),
        (lambda: dyestuff().fit("reml").beta_posterior(sigma="half"), "'known', 'jeffreys'"),
        (lambda: dyestuff().fit("laplace").beta_posterior(), "by 'ml' or 'reml'"),
    ]
    for call, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("priors", ["flat", "own"])
def test_it_is_the_posterior_that_nuts_samples(priors):
    """Quantiles of NUTS on the graph, within five Monte-Carlo errors."""
    exact = bg.variance_posterior(dyestuff(priors))
    fit = dyestuff(priors).fit("mcmc", draws=2000, tune=1000, chains=4, seed=11, target_accept=0.95)
    draws = fit.result.draws
    sampled = {"Batch.sd": draws.theta[..., 0], "sigma": np.exp(draws.psi[..., 0]), "Intercept": draws.beta[..., 0]}
    for name, values in sampled.items():
        effective = fit.status.ess
        for q in (0.1, 0.5, 0.9):
            at = exact.quantile(name, q)[0]
            error = np.sqrt(q * (1 - q) / effective)
            assert np.mean(values < at) == pytest.approx(q, abs=5 * error), (name, q)
