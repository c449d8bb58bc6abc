"""Priors of a line's height at the means of its columns: the joint density of an Intercept and its slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import bayesglmm as bg
from bayesglmm.errors import SpecError
from bayesglmm.idata import log_prior as log_prior_by_draw
from bayesglmm.inference.marginal_density import marginal_density
from bayesglmm.latent.nested_laplace.fit import fit_nested, hyper_target
from bayesglmm.latent.nested_laplace.hyper import third_order
from bayesglmm.links import get_link
from bayesglmm.prior_predictive import prior_draws
from bayesglmm.priors import Prior, log_prior
from bayesglmm.priors.many import log_prior_many


def table(shift: float = 0.0, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    x, z, g = rng.normal(0.0, 2.0, n), rng.gamma(3.0, 1.0, n), np.arange(n) % 12
    eta = 0.4 + 0.3 * x - 0.2 * z + 0.5 * rng.normal(size=12)[g]
    y = eta + np.exp(-0.3 + 0.1 * x) * rng.normal(size=n)
    count = rng.poisson(np.exp(eta))
    return pd.DataFrame({"x": x + shift, "z": z + shift, "g": [f"g{i}" for i in g], "y": y, "count": count})


FORMULA = "count ~ x + z + (1 | g)"
SCALED: dict[str, Any] = {"formula": "y ~ x + z", "dispersion": "~ x"}
#: Distributions that are not normal, at the means too.
TAILS = {
    "Intercept": Prior("StudentT", nu=4, mu=0.5, sigma=1.5, at="means"),
    "x": Prior("Logistic", mu=0.1, s=0.4),
    "z": Prior("Cauchy", alpha=0, beta=0.5),
}


def model(shift: float = 0.0, priors: Any = "default", formula: str = FORMULA, **options: Any) -> bg.Model:
    family = "poisson" if formula.startswith("count") else "gaussian"
    return bg.Model(formula, table(shift), family, priors=priors, **options)


def line(at: bg.Model) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the coefficients that the default priors state."""
    data, priors = at.design.X, dict(at.problem.priors.items())  # type: ignore[union-attr]
    mean = np.array([dict(priors[c].params)["mu"] for c in at.design.columns])
    sd = np.array([dict(priors[c].params)["sigma"] for c in at.design.columns])
    bars = data.mean(axis=0)
    cov = np.diag(sd**2)
    cov[0, 1:] = cov[1:, 0] = -bars[1:] * sd[1:] ** 2
    cov[0, 0] = sd[0] ** 2 + np.sum((bars[1:] * sd[1:]) ** 2)
    mean[0] -= bars[1:] @ mean[1:]
    return mean, cov


def test_density_is_the_multivariate_normal_s() -> None:
    problem = model(shift=3.0).problem
    mean, cov = line(model(shift=3.0))
    density, points = problem.priors.coefficient_density, np.random.default_rng(1).normal(size=(5, 3))  # type: ignore
    np.testing.assert_allclose(density(points)[0].sum(axis=1), multivariate_normal(mean, cov).logpdf(points))
    np.testing.assert_allclose(density(points)[1], -np.linalg.solve(cov, (points - mean).T).T, rtol=1e-9)
    np.testing.assert_allclose(density.matrix(-density.bends(points[0])[0]), np.linalg.inv(cov), rtol=1e-8)


@pytest.mark.parametrize("priors", ["default", TAILS], ids=["normal", "tails"])
def test_gradient_and_curvature_are_differences(priors: Any) -> None:
    density = model(3.0, priors).problem.priors.coefficient_density  # type: ignore[union-attr]
    at, h, steps = np.array([0.3, -0.5, 0.2]), 1e-5, np.eye(3)
    slopes = [(density(at + h * e)[0].sum() - density(at - h * e)[0].sum()) / (2 * h) for e in steps]
    np.testing.assert_allclose(density(at)[1], slopes, rtol=1e-7, atol=1e-8)
    bends = [(density(at + h * e)[1] - density(at - h * e)[1]) / (2 * h) for e in steps]
    np.testing.assert_allclose(density.matrix(density.bends(at)[0]), bends, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(density.contract(density.expand(at)), at, rtol=1e-12)


def test_whole_prior_with_an_auxiliary_s_own_line() -> None:
    """Value and gradient over everything, one point at a time and together; drawn by drawn parameter they add up."""
    problem = model(5.0, **SCALED).problem
    priors, links = problem.priors, [get_link(a.link) for a in problem.auxiliaries]
    assert priors is not None
    assert [h.index for h in priors.auxiliary_heights] == [0]
    x, h = np.random.default_rng(2).normal(size=(4, 5)), 1e-5

    def value(at: np.ndarray) -> float:
        return log_prior(priors, (), at[:3], np.empty(0), at[3:], links)[0]

    for at in x:
        found = log_prior(priors, (), at[:3], np.empty(0), at[3:], links)
        slopes = [(value(at + h * e) - value(at - h * e)) / (2 * h) for e in np.eye(5)]
        np.testing.assert_allclose(np.concatenate([found[1], found[3]]), slopes, rtol=1e-6, atol=1e-7)
    many = log_prior_many(priors, (), x[:, :3], np.empty((4, 0)), x[:, 3:], links)
    np.testing.assert_allclose(many[0], [value(at) for at in x], rtol=1e-12)
    draws = {"beta": x[None, :, :3], "sigma[Intercept]": x[None, :, 3], "sigma[x]": x[None, :, 4]}
    parts = log_prior_by_draw(problem, draws)
    assert parts["beta"].shape == (1, 4, 3)
    total = parts["beta"].sum(axis=2) + parts["sigma[Intercept]"] + parts["sigma[x]"]
    np.testing.assert_allclose(total[0], many[0], rtol=1e-12)
    own = dict(dict(priors.items())["sigma[Intercept]"].params)
    height = x[:, 3] + table(5.0).x.mean() * x[:, 4]
    expected = -0.5 * ((height - own["mu"]) / own["sigma"]) ** 2 - np.log(own["sigma"] * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(parts["sigma[Intercept]"][0], expected)


def test_draws_have_the_stated_moments() -> None:
    at = model(8.0, **SCALED)
    draws = prior_draws(at.problem, 40_000, np.random.default_rng(3))
    mean, cov = line(at)
    white = np.linalg.solve(np.linalg.cholesky(cov), (draws.beta[0] - mean).T)
    np.testing.assert_allclose(white.mean(axis=1), 0.0, atol=0.02)
    np.testing.assert_allclose(np.cov(white), np.eye(3), atol=0.03)
    height = draws.psi[0][:, 0] + table(8.0).x.mean() * draws.psi[0][:, 1]
    own = dict(dict(at.problem.priors.items())["sigma[Intercept]"].params)  # type: ignore[union-attr]
    assert height.mean() == pytest.approx(own["mu"], abs=0.05)
    assert height.std() == pytest.approx(own["sigma"], rel=0.02)
    assert abs(np.corrcoef(height, draws.psi[0][:, 1])[0, 1]) < 0.02


@pytest.mark.parametrize("options", [{"formula": FORMULA}, SCALED], ids=["poisson", "scaled"])
def test_adding_a_constant_to_predictors_changes_intercepts_alone(options: dict[str, Any]) -> None:
    near, far = (model(shift, **options).fit("laplace", draws=0) for shift in (0.0, 1000.0))
    a, b = near.fixed, far.fixed
    np.testing.assert_allclose(b.loc[["x", "z"]].to_numpy(), a.loc[["x", "z"]].to_numpy(), rtol=1e-5, atol=1e-6)
    heights = [(f.model.design.X @ f.result.beta).mean() for f in (near, far)]
    assert heights[1] == pytest.approx(heights[0], rel=1e-6)
    sds = [np.sqrt(bar @ f.cov.to_numpy() @ bar) for f in (near, far) for bar in [f.model.design.X.mean(axis=0)]]
    assert sds[1] == pytest.approx(sds[0], rel=1e-4)
    if "dispersion" in options:
        psi = [f.result.psi for f in (near, far)]
        assert psi[1][1] == pytest.approx(psi[0][1], rel=1e-5)
        assert psi[1][0] + 1000.0 * psi[1][1] == pytest.approx(psi[0][0], rel=1e-5)


def test_prior_predictive_counts_of_the_epilepsy_trial_are_of_this_world() -> None:
    """Columns log(age) and log(base / 4) are far from zero."""
    expected = bg.load_model("models/epilepsy.toml").prior_predictive(draws=1000, seed=1)["prior_predictive"]
    medians = np.median(np.concatenate([v.values for v in expected.data_vars.values()])[0], axis=1)
    assert np.quantile(medians, 0.9) < 1e6
    assert 1.0 < np.median(medians) < 100.0


def test_field_has_the_curvature_and_skewness_of_such_priors() -> None:
    """What nested Laplace takes of the field's density, against differences of its gradient, tails not normal."""
    field = hyper_target(model(2.0, TAILS).problem).field(np.log([0.7]))
    mode = field.mode()
    assert mode.found
    size, h = len(mode.u), 1e-5
    columns = [(field.at(mode.u - h * e).gradient - field.at(mode.u + h * e).gradient) / (2 * h) for e in np.eye(size)]
    information = np.array(columns)
    np.testing.assert_allclose(mode.factor.solve(information), np.eye(size), atol=1e-5)
    assert mode.factor.logdet == pytest.approx(np.linalg.slogdet(information)[1], rel=1e-6)
    # ½ Σ_jk C_jk ∂_i ∂_j ∂_k of the priors alone, by second differences along a root of C
    C, density, step = mode.factor.beta_covariance, field.priors, 1e-3
    beta, root = field.split(mode.u)[1], np.linalg.cholesky(C)
    around = [density(beta + s * step * r)[1] for r in root.T for s in (1.0, -1.0)]
    pull = 0.5 * (np.sum(around, axis=0) - 6.0 * density(beta)[1]) / step**2
    np.testing.assert_allclose(third_order(field, mode)[1][-3:], pull, rtol=1e-4, atol=1e-6)


def test_marginal_density_of_a_linear_mixed_model_integrates_out_the_joint_prior() -> None:
    """Against the multivariate normal of the response with the coefficients' prior in its covariance."""
    at = model(6.0, formula="y ~ x + z + (1 | g)")
    density = marginal_density(at.problem)
    mean, cov = line(at)
    X, codes = at.design.X, at.design.blocks[0].codes
    same = codes[:, None] == codes[None, :]
    values = []
    for sd, sigma in ((0.3, 1.1), (0.8, 0.7)):
        V = X @ cov @ X.T + sd**2 * same + sigma**2 * np.eye(len(X))
        own = multivariate_normal(X @ mean, V).logpdf(at.problem.response.y)
        prior = log_prior(
            at.problem.priors.with_coefficients((), ()),  # type: ignore[union-attr]
            at.problem.covariance,
            np.empty(0),
            np.array([sd]),
            np.array([np.log(sigma)]),
            ["log"],
        )[0]
        found = density(np.array([sd, sigma]))
        values.append(found.log_density - own - prior + np.log(sigma))
        gain = cov @ X.T @ np.linalg.inv(V)
        np.testing.assert_allclose(found.beta, mean + gain @ (at.problem.response.y - X @ mean), rtol=1e-6)
        np.testing.assert_allclose(found.beta_sd**2, np.diag(cov - gain @ X @ cov), rtol=1e-5)
    np.testing.assert_allclose(values, 0.0, atol=1e-7)


# --- what a user can say -------------------------------------------------------------------------------------------


def test_own_prior_is_of_the_intercept_itself_unless_it_says_so() -> None:
    own = Prior("Normal", mu=0, sigma=2)
    plain, means = (model(7.0, {"Intercept": p}).problem.priors for p in (own, Prior("Normal", sigma=2, at="means")))
    assert plain is not None
    assert means is not None
    x = np.array([1.0, 0.4, -0.3])
    assert plain.heights == ()
    value = own.log_density(x[0])[0]
    assert plain.coefficient_density(x)[0][0] == pytest.approx(value)
    bars = table(7.0)[["x", "z"]].mean().to_numpy()
    assert means.coefficient_density(x)[0][0] == pytest.approx(own.log_density(x[0] + bars @ x[1:])[0])
    shown = model(7.0, {"Intercept": Prior("Normal", sigma=2, at="means")}).priors
    assert shown.loc["Intercept", "prior"] == "Normal(mu=0, sigma=2) at means"
    assert repr(Prior("Normal", sigma=2, at="means")) == "Prior('Normal', mu=0.0, sigma=2.0, at='means')"


def test_models_of_one_column_or_without_an_intercept_have_none() -> None:
    for formula in ("count ~ 1 + (1 | g)", "count ~ 0 + x + (1 | g)"):
        priors = model(2.0, formula=formula).problem.priors
        assert priors is not None
        assert priors.heights == ()
        assert not any("means" in text for text in priors.table().prior)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prior("Normal", sigma=1, at="mean"), "stated at 'mean'; it can be at 'zero', 'means'"),
        (lambda: Prior("Normal", sigma=1, at=3), "at"),
        (lambda: Prior("HalfNormal", sigma=1, at="means"), "HalfNormal cannot be a prior at the columns' means"),
        (lambda: Prior("LKJ", eta=1, at="means"), "LKJ cannot be a prior at the columns' means"),
        (
            lambda: model(0.0, {"x": Prior("Normal", sigma=1, at="means")}),
            "cannot be the prior of 'x': only that of an Intercept",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_it_can_be_written_in_a_model_file_and_stored(tmp_path: Any) -> None:
    table(3.0).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "m.toml").write_text(
        '[model]\nformula = "count ~ x + (1 | g)"\nfamily = "poisson"\n[data]\nfile = "t.csv"\n'
        '[priors]\nIntercept = { dist = "Normal", mu = 1, sigma = 2, at = "means" }\n'
    )
    loaded = bg.load_model(tmp_path / "m.toml")
    priors = loaded.problem.priors
    assert priors is not None
    assert priors.coefficients[0] == Prior("Normal", mu=1, sigma=2, at="means")
    fit = loaded.fit("laplace", draws=0)
    fit.save(tmp_path / "f.zip")
    again = bg.load_fit(tmp_path / "f.zip").model.problem.priors
    assert again is not None
    assert again.coefficients == priors.coefficients
    assert again.heights == priors.heights


def test_nested_laplace_agrees_with_the_exact_posterior_of_a_linear_model() -> None:
    """Gaussian with a known error: the posterior of the coefficients given sigma is normal."""
    at = model(30.0, {"sigma": Prior("LogNormal", mu=-0.2, sigma=1e-3)}, formula="y ~ x + z")
    mean, cov = line(at)
    X, y, noise = at.design.X, at.problem.response.y, np.exp(-0.4)
    precision = np.linalg.inv(cov) + X.T @ X / noise
    exact = np.linalg.solve(precision, np.linalg.solve(cov, mean) + X.T @ y / noise)
    found = fit_nested(at.problem)
    np.testing.assert_allclose(found.beta, exact, rtol=2e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(found.cov_beta)), np.sqrt(np.diag(np.linalg.inv(precision))), rtol=2e-3)
