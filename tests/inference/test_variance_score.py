"""Score tests of a zero variance: closed forms, derivatives of the likelihood, size and power."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from reference_data import frame
from scipy import stats

import bayesglmm as bg
from bayesglmm.errors import DataError, MethodError
from bayesglmm.inference.variance_score import score_test_variance
from bayesglmm.latent import fit_marginal, fit_working, marginal_loglik
from bayesglmm.scores import fit_irls

N = 150
RNG = np.random.default_rng(7)
DATA = pd.DataFrame({"x": RNG.standard_normal(N), "g": RNG.integers(0, 20, N).astype(str)})
DATA["h"] = RNG.integers(0, 9, N).astype(str)
DATA["y"] = RNG.poisson(np.exp(0.5 + 0.4 * DATA["x"] + 0.4 * RNG.standard_normal(9)[DATA["h"].astype(int)]))
DATA["b"] = RNG.integers(0, 2, N)
DATA["c"] = RNG.gamma(2.0, np.exp(0.3 * DATA["x"]))
DATA["r"] = 1.0 + 0.5 * DATA["x"] + RNG.standard_normal(N)


def null_and_block(formula, term, response, family, **options):
    small = problem_of(f"{response} ~ {formula}", DATA, family, **options)
    block = problem_of(f"{response} ~ 1 + {term}", DATA, family, **options).design.blocks[0]
    return small, block


def test_the_score_of_a_poisson_glm_is_lins():
    small, block = null_and_block("x", "(1 | g)", "y", "poisson")
    result = fit_irls(small)
    found = score_test_variance((small, result), block)
    mu = np.exp(result.eta)
    residual = np.bincount(block.codes, DATA["y"] - mu)
    assert found.extras["score"] == pytest.approx(0.5 * np.sum(residual**2) - 0.5 * mu.sum(), rel=1e-5)
    # Its variance in closed form: cumulants of a Poisson are all μ.
    level = np.bincount(block.codes, mu)
    own = 0.5 * np.sum(level**2) + 0.25 * mu.sum()
    X = small.design.X
    cross = 0.5 * X.T @ mu
    exact = own - cross @ np.linalg.solve(X.T @ (mu[:, None] * X), cross)
    assert found.extras["variance"] == pytest.approx(exact, rel=0.15)
    assert found.statistic == pytest.approx(found.extras["score"] / np.sqrt(exact), rel=0.1, abs=0.05)
    assert found.p == pytest.approx(stats.norm.sf(found.statistic))


def test_the_score_of_a_slope_in_a_linear_model():
    small, block = null_and_block("x", "(0 + x | g)", "r", "gaussian")
    result = fit_marginal(small)
    found = score_test_variance((small, result), block, simulations=2000)
    variance = result.scale
    Z = np.zeros((N, 20))
    Z[np.arange(N), block.codes] = DATA["x"]
    e = DATA["r"].to_numpy() - result.eta
    score = 0.5 * (np.sum((Z.T @ e) ** 2) / variance**2 - np.sum(Z**2) / variance)
    assert found.extras["score"] == pytest.approx(score, rel=1e-5)
    V = Z @ Z.T
    exact = 0.5 / variance**2 * (np.sum(V**2) - np.trace(V) ** 2 / N)
    assert found.extras["variance"] == pytest.approx(exact, rel=0.15)


@pytest.mark.parametrize(
    ("formula", "term", "response", "family", "options"),
    [
        ("x", "(1 | g)", "b", "binomial", {"link": "probit"}),
        ("x + (1 | h)", "(1 | g)", "y", "poisson", {}),
        ("x + (1 | h)", "(0 + x | h)", "y", "poisson", {}),
        ("x + (1 | h)", "(1 | g)", "y", "negative_binomial", {}),
        ("x", "(1 | g)", "c", "gamma", {"link": "log"}),
        ("x + (1 | h)", "(1 | g)", "r", "gaussian", {}),
    ],
)
def test_the_score_is_the_derivative_of_the_marginal_likelihood_in_the_variance(
    formula, term, response, family, options
):
    small, block = null_and_block(formula, term, response, family, **options)
    result = fit_marginal(small)
    found = score_test_variance((small, result), block, simulations=60)
    larger = problem_of(f"{response} ~ {formula} + {term}", DATA, family, **options)
    groups = [b.group for b in larger.design.blocks]
    where = sum(c.n_params for c in larger.covariance[: groups.index(block.group) + 1]) - 1

    def loglik(variance):
        theta = np.insert(result.theta, where, np.sqrt(variance))
        return marginal_loglik(larger, result.beta, theta, result.psi)

    h = 1e-4
    values = [loglik(k * h) for k in range(4)]  # one-sided differences of third order: the variance is not negative
    slope = (-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * h)
    assert found.extras["score"] == pytest.approx(slope, rel=2e-3, abs=1e-3)


def test_a_variance_that_is_there_is_found_and_one_that_is_not_is_not():
    small, block = null_and_block("x", "(1 | h)", "y", "poisson")
    there = score_test_variance((small, fit_irls(small)), block)
    assert there.p < 1e-4
    assert there.extras["p_simulated"] < 0.01
    small, block = null_and_block("x + (1 | h)", "(1 | g)", "y", "poisson")
    assert score_test_variance((small, fit_marginal(small)), block).p > 0.05


def test_a_fit_that_is_not_maximum_likelihood_is_fitted_so_first():
    small, block = null_and_block("x + (1 | h)", "(1 | g)", "r", "gaussian")
    by_reml = score_test_variance((small, fit_working(small, method="reml")), block, simulations=100)
    by_ml = score_test_variance((small, fit_working(small, method="ml")), block, simulations=100)
    assert by_reml.extras["score"] == pytest.approx(by_ml.extras["score"], rel=1e-4)


def test_the_same_seed_gives_the_same_test():
    small, block = null_and_block("x", "(1 | g)", "y", "poisson")
    a, b = (score_test_variance((small, fit_irls(small)), block, simulations=100, seed=4) for _ in range(2))
    assert a.p == b.p
    assert "variance of Intercept in g is zero (one-sided): z = " in str(a)


@pytest.mark.slow
def test_the_size_of_the_test():
    """150 Poisson data sets without a group effect."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(40), 5)
    p_values, ranks = [], []
    for k in range(150):
        x = rng.standard_normal(200)
        data = pd.DataFrame({"x": x, "g": g.astype(str), "y": rng.poisson(np.exp(0.5 + 0.3 * x))})
        small = problem_of("y ~ x", data, "poisson")
        block = problem_of("y ~ x + (1 | g)", data, "poisson").design.blocks[0]
        found = score_test_variance((small, fit_irls(small)), block, simulations=60, seed=k)
        p_values.append(found.p)
        ranks.append(found.extras["p_simulated"])
    assert abs(np.mean(np.array(p_values) < 0.1) - 0.1) < 0.08
    assert stats.kstest(ranks, "uniform").pvalue > 0.001


def test_through_the_facade_with_missing_rows():
    data = frame("cbpp")
    fit = bg.Model("p(incidence, size) ~ period", data, "binomial").fit("irls")
    found = fit.score_test("(1 | herd)", simulations=200)
    assert found.p < 0.01
    holes = data.assign(herd=data["herd"].astype(object).where(data.index != 3))
    fit.model.data = holes
    with (
        pytest.warns(bg.DataWarning),
        pytest.raises(DataError, match="1 rows of the fit have missing values"),
    ):
        fit.score_test("(1 | herd)")


def test_what_cannot_be_tested_is_refused():
    small, block = null_and_block("x", "(1 + x | g)", "y", "poisson")
    result = fit_irls(small)
    with pytest.raises(MethodError, match="the columns Intercept, x; test one"):
        score_test_variance((small, result), block)
    with pytest.raises(MethodError, match="simulations is 3"):
        score_test_variance((small, result), block, simulations=3)
    with pytest.raises(MethodError, match="needs a Fit"):
        score_test_variance((small, result), "(1 | g)")
    quasi, block = null_and_block("x", "(1 | g)", "y", "quasipoisson")
    with pytest.raises(MethodError, match="quasi-family"):
        score_test_variance((quasi, fit_irls(quasi)), block)
