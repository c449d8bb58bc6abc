"""Predictions against dense textbook formulas and direct integration."""

from __future__ import annotations

import numpy as np
import pytest
from reference_data import frame
from scipy import integrate, stats

import bayesglmm as bg
from bayesglmm.design import rebind
from bayesglmm.posterior import parameter_draws
from bayesglmm.responses import predictors_at


@pytest.fixture(scope="module")
def cbpp_fit():
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), family="binomial", priors="flat")
    return model.fit("laplace")


@pytest.fixture(scope="module")
def crossed_fit():
    model = bg.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", frame("penicillin"), priors="flat")
    return model.fit("reml")


def dense(fit):
    """Z, G, R and X of a fit, as dense matrices."""
    design = fit.model.design
    Z, blocks = [], []
    for block, covariance, theta in zip(
        design.blocks, fit.model.problem.covariance, np.split(fit.result.theta, len(design.blocks))
    ):
        indicator = (block.codes[:, None] == np.arange(len(block.levels))).astype(float)
        Z.append(indicator * block.z)
        blocks.append(np.full(len(block.levels), float(covariance.factor(theta)[0, 0] ** 2)))
    return np.hstack(Z), np.diag(np.concatenate(blocks)), design.X


def test_conditional_variance_is_hendersons(crossed_fit):
    """Inverse of the mixed-model equations, written out densely."""
    Z, G, X = dense(crossed_fit)
    sigma2 = crossed_fit.result.scale
    top = np.hstack([X.T @ X, X.T @ Z]) / sigma2
    bottom = np.hstack([Z.T @ X / sigma2, Z.T @ Z / sigma2 + np.linalg.inv(G)])
    C = np.linalg.inv(np.vstack([top, bottom]))
    T = np.hstack([X, Z])
    expected = np.sqrt(np.einsum("ij,jk,ik->i", T, C, T))
    got = crossed_fit.predict(kind="linear")
    np.testing.assert_allclose(got["se"], expected, rtol=1e-8)
    np.testing.assert_allclose(got["estimate"], crossed_fit.result.eta, rtol=1e-12)


@pytest.mark.parametrize("name", ["cbpp_fit", "crossed_fit"])
def test_new_data_equal_to_the_training_data(name, request):
    fit = request.getfixturevalue(name)
    data = frame("cbpp" if name == "cbpp_fit" else "penicillin")
    for level in ("conditional", "population", "marginal"):
        same, new = fit.predict(level=level), fit.predict(data, level=level)
        np.testing.assert_allclose(new.to_numpy(), same.to_numpy(), rtol=1e-9)


def test_unseen_level_has_the_whole_prior_variance(cbpp_fit):
    row = frame("cbpp").head(1).assign(herd="999")
    new = cbpp_fit.predict(row, kind="linear")
    population = cbpp_fit.predict(row, kind="linear", level="population")
    sd = cbpp_fit.varcomp["sd"][0]
    assert new["estimate"].item() == pytest.approx(population["estimate"].item(), rel=1e-12)
    assert new["se"].item() ** 2 == pytest.approx(population["se"].item() ** 2 + sd**2, rel=1e-8)


def test_rows_of_one_unseen_level_share_what_is_drawn_for_it(cbpp_fit):
    """Covariance of the drawn log odds of two rows: the variance of the herd, or nothing of it."""
    rows = frame("cbpp").head(3).assign(herd=["new", "new", "other"])
    problem, result = cbpp_fit.model.problem, cbpp_fit.result
    design, rng = rebind(problem.design, rows), np.random.default_rng(5)
    sample = parameter_draws(problem, result, 4000, rng)
    for level in ("conditional", "marginal"):
        eta = predictors_at(problem, sample, design, rng, level) - sample.beta[0] @ design.X.T
        corr = np.corrcoef(eta.T)
        assert corr[0, 1] == pytest.approx(1.0, abs=1e-12)
        assert abs(corr[0, 2]) < 5 / np.sqrt(4000)


def test_marginal_mean_is_the_integral(cbpp_fit):
    eta = float(cbpp_fit.fixed.loc["Intercept", "estimate"])
    sd = float(cbpp_fit.varcomp["sd"][0])
    expected, _ = integrate.quad(lambda b: stats.norm.pdf(b, 0, sd) / (1 + np.exp(-eta - b)), -8 * sd, 8 * sd)
    got = cbpp_fit.predict(frame("cbpp").head(1), level="marginal")
    assert got["estimate"].item() == pytest.approx(expected, rel=1e-8)


def test_marginal_means_of_draws_are_integrals_at_every_draw():
    """What is averaged many draws at a time, one draw after the other."""
    data = frame("cbpp")
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", data, family="binomial")
    fit = model.fit("laplace").refine(draws=40, proposals=2000, seed=1)
    got = fit.predict(data.head(2), level="marginal")
    draws, X = fit.result.draws, model.design.X[:2]
    flat = zip(draws.beta.reshape(-1, 4), draws.theta.ravel())

    def mean(eta, sd):
        return integrate.quad(lambda z: stats.norm.pdf(z) / (1 + np.exp(-eta - sd * z)), -9, 9)[0]

    means = np.array([[mean(eta, sd) for eta in X @ beta] for beta, sd in flat])
    np.testing.assert_allclose(got["estimate"], means.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(got["se"], means.std(axis=0, ddof=1), rtol=1e-5)
    effect = fit.average_effects("period", data, compare={"period": ("1", "2")}, level="marginal")
    assert effect["estimate"].item() == pytest.approx((means[:, 1] - means[:, 0]).mean(), rel=1e-6)


def test_marginal_standard_error_by_brute_force(cbpp_fit):
    """Delta method over (β, sd), with the gradient by differences of the integral."""
    row = frame("cbpp").iloc[[1]]
    x = np.array([1.0, 1.0, 0.0, 0.0])
    at = np.append(cbpp_fit.result.beta, cbpp_fit.result.theta)

    def mean(v):
        f = lambda z: stats.norm.pdf(z) / (1 + np.exp(-(x @ v[:4]) - abs(v[4]) * z))  # noqa: E731
        return integrate.quad(f, -10, 10, epsabs=1e-13, epsrel=1e-13)[0]

    gradient = np.array([(mean(at + h) - mean(at - h)) / 2e-5 for h in 1e-5 * np.eye(5)])
    expected = np.sqrt(gradient @ cbpp_fit.result.cov_joint @ gradient)
    assert cbpp_fit.predict(row, level="marginal")["se"].item() == pytest.approx(expected, rel=1e-5)


def test_responses_have_the_models_mean_and_support(cbpp_fit):
    draws = cbpp_fit.predict(kind="response", draws=4000, seed=1)
    size = frame("cbpp")["size"].to_numpy()
    assert draws.shape == (56, 4000)
    assert (draws.to_numpy() >= 0).all()
    assert (draws.to_numpy() <= size[:, None]).all()
    mean = cbpp_fit.predict()["estimate"].to_numpy() * size
    error = draws.std(axis=1).to_numpy() / np.sqrt(4000)
    # The predictive mean averages the mean over the uncertainty of η: close to, not equal to, the plug-in mean.
    assert np.all(np.abs(draws.mean(axis=1).to_numpy() - mean) < 6 * error + 0.12 * mean)


def test_responses_of_new_rows_have_their_own_trials_and_weights(cbpp_fit):
    """As many new rows as there were, which is no reason to take the old ones' trials."""
    new = frame("cbpp").assign(size=1000, incidence=0)
    drawn = cbpp_fit.predict(new, kind="response", draws=50, seed=1)
    mean = cbpp_fit.predict(new)["estimate"]
    assert np.corrcoef(drawn.mean(axis=1), 1000 * mean)[0, 1] > 0.95
    single = cbpp_fit.predict(new[["herd", "period"]], kind="response", draws=50, seed=1)
    assert set(np.unique(single)) == {0.0, 1.0}
    rng = np.random.default_rng(0)
    data = frame("cbpp").assign(y=rng.normal(size=56), w=1.0)
    fit = bg.Model("y ~ 1", data, weights="w", priors="flat").fit("laplace")
    spread = fit.predict(data.assign(w=1e6), kind="response", draws=200, seed=1).std(axis=1)
    mean_sd = fit.fixed["se"].iloc[0]  # what is left is the uncertainty of the mean
    np.testing.assert_allclose(spread, mean_sd, rtol=0.2)


def test_responses_are_reproducible(cbpp_fit):
    first, again, other = (cbpp_fit.predict(kind="response", draws=20, seed=s).to_numpy() for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"kind": "median"}, "kind is"), ({"level": "group"}, "level is"), ({"ci": 95}, "between 0 and 1")],
)
def test_bad_options(cbpp_fit, options, words):
    with pytest.raises(bg.MethodError, match=words):
        cbpp_fit.predict(**options)


def test_a_quasi_family_has_no_responses():
    fit = bg.Model("breaks ~ wool", frame("warpbreaks"), family="quasipoisson").fit()
    with pytest.raises(bg.MethodError, match="quasi"):
        fit.predict(kind="response")


def test_a_nested_fit_predicts_posterior_means_not_the_means_at_a_point():
    """By brute force from its joint draws: known, new and population, each on its scale."""
    fit = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), family="binomial").fit("inla", seed=3)
    new = frame("cbpp").iloc[[0, 5, 5]].assign(herd=["1", "new", "another"])
    posterior = fit.idata["posterior"]
    beta, sd, herds = (posterior[v].to_numpy().reshape(1000, -1) for v in ("beta", "herd.sd", "herd"))
    where = list(posterior["herd.level"].to_numpy()).index("1")
    X = rebind(fit.model.design, new).X
    eta = beta @ X.T
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    fresh = eta[:, 1, None] + sd * nodes
    expected = {
        ("population", "linear"): eta.mean(axis=0)[1],
        ("population", "mean"): (1.0 / (1.0 + np.exp(-eta[:, 1]))).mean(),
        ("conditional", "linear"): eta.mean(axis=0)[1],
        ("conditional", "mean"): (1.0 / (1.0 + np.exp(-fresh))).mean(axis=0) @ weights / weights.sum(),
        ("marginal", "mean"): (1.0 / (1.0 + np.exp(-fresh))).mean(axis=0) @ weights / weights.sum(),
    }
    for (level, kind), value in expected.items():
        found = fit.predict(new, level=level, kind=kind).iloc[1]
        # 1,000 draws here and 4,000 there.
        assert found["estimate"] == pytest.approx(value, abs=0.15 * found["se"]), (level, kind)
    own = 1.0 / (1.0 + np.exp(-(eta[:, 0] + herds[:, where])))
    known = fit.predict(new).iloc[0]
    assert known["estimate"] == pytest.approx(own.mean(), abs=0.12 * known["se"])
    assert known["se"] == pytest.approx(own.std(ddof=1), rel=0.1)
    plugged = 1.0 / (1.0 + np.exp(-fit.predict(new, kind="linear").iloc[1]["estimate"]))
    assert abs(plugged - expected["conditional", "mean"]) > 0.15 * known["se"]
    assert fit.predict(new).equals(fit.predict(new))
