"""Fits that go wrong elsewhere: each ends right, against another route to the same number, or says why it cannot.

The other routes are quadrature with many nodes on a grid, the dense multivariate normal likelihood, the model without
the random term, another parameterisation of the same model, or the limit of the family.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from difficult_cases import NONE, bernoulli, brute, data_of, maximum, poisson, right

from bayesglmm.errors import SeparationWarning
from bayesglmm.latent import fit_marginal, fit_working, marginal_loglik
from bayesglmm.scores import fit_irls

# --- small, sparse, unbalanced ---------------------------------------------------------------------------------------


def test_01_binary_pairs_against_brute_force():
    rng, data = data_of(60, 2, seed=1, sd=1.5)
    data["y"] = rng.binomial(1, 1 / (1 + np.exp(-data["eta"])))
    made = problem_of("y ~ x + (1 | g)", data, "binomial")
    found = right(fit_marginal(made, nodes=25))
    exact = brute(made, found.beta, found.theta[0], bernoulli(data["y"].to_numpy()))
    assert found.loglik == pytest.approx(exact, abs=1e-4)
    for move in (0.05, -0.05):  # and it is a maximum of the exact likelihood
        assert brute(made, found.beta, found.theta[0] + move, bernoulli(data["y"].to_numpy())) < exact


def test_02_five_hundred_levels_of_one_or_two_rows():
    rng = np.random.default_rng(2)
    g = np.r_[np.arange(500), np.arange(250)]
    x = rng.standard_normal(750)
    y = rng.poisson(np.exp(0.3 + 0.4 * x + 0.7 * rng.standard_normal(500)[g]))
    made = problem_of("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g.astype(str)}), "poisson")
    found = right(fit_marginal(made, nodes=15))
    assert found.loglik == pytest.approx(brute(made, found.beta, found.theta[0], poisson(y), 9.0, 801), abs=1e-4)
    assert found.theta[0] == pytest.approx(0.7, abs=0.15)


def test_03_an_effect_per_observation_is_poisson_lognormal():
    rng = np.random.default_rng(3)
    x = rng.standard_normal(150)
    y = rng.poisson(np.exp(1.0 + 0.5 * x + 0.8 * rng.standard_normal(150)))
    data = pd.DataFrame({"y": y, "x": x, "o": np.arange(150).astype(str)})
    made = problem_of("y ~ x + (1 | o)", data, "poisson")
    found = right(fit_marginal(made, nodes=21))
    at = maximum(
        lambda v: brute(made, v[:2], abs(v[2]), poisson(y), 8.0, 161), np.r_[found.beta, found.theta], np.full(3, 0.05)
    )
    np.testing.assert_allclose(np.r_[found.beta, found.theta], at, atol=2e-3)


def test_04_two_levels():
    rng, data = data_of(2, 30, seed=4, sd=1.0)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    made = problem_of("y ~ x + (1 | g)", data, "poisson")
    found = right(fit_marginal(made, nodes=25))
    exact = brute(made, found.beta, found.theta[0], poisson(data["y"].to_numpy()), 8.0, 8001)
    assert found.loglik == pytest.approx(exact, abs=1e-6)


def test_05_one_dominant_cluster():
    rng = np.random.default_rng(5)
    g = np.r_[np.zeros(3000, int), np.repeat(np.arange(1, 15), 2)]
    x = rng.standard_normal(len(g))
    y = rng.binomial(1, 1 / (1 + np.exp(-(0.2 + 0.5 * x + rng.standard_normal(15)[g]))))
    made = problem_of("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g.astype(str)}), "binomial")
    found = right(fit_marginal(made, nodes=15))
    assert found.loglik == pytest.approx(brute(made, found.beta, found.theta[0], bernoulli(y), 8.0, 6001), abs=1e-3)


def test_06_rows_barely_more_than_coefficients():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((12, 5))
    data = pd.DataFrame(X, columns=list("abcde")).assign(g=np.repeat(list("pqrs"), 3))
    data["y"] = rng.standard_normal(12) + 2 * np.repeat(rng.standard_normal(4), 3)
    made = problem_of("y ~ a + b + c + d + e + (1 | g)", data)
    found = fit_marginal(made)
    exact = fit_working(made, method="ml")
    assert found.status.converged
    assert found.loglik == pytest.approx(exact.loglik, abs=1e-6)
    np.testing.assert_allclose(found.beta, exact.beta, rtol=1e-4, atol=1e-6)


def test_07_as_many_coefficients_as_groups_leave_no_variance():
    """A factor coarser than the groups takes all that is between them: the variance is zero, and said to be."""
    rng, data = data_of(4, 12, seed=7)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    found = right(fit_marginal(problem_of("y ~ g + x + (1 | g)", data, "poisson")))
    glm = fit_irls(problem_of("y ~ g + x", data, "poisson"))
    assert found.theta[0] == 0.0
    assert "the sd of Intercept in g is zero" in found.status.boundary
    np.testing.assert_allclose(found.beta, glm.beta, rtol=1e-5, atol=1e-7)


# --- variances and correlations at their edges ------------------------------------------------------------------------


def test_08_perfectly_balanced_without_any_between_variance():
    data = pd.DataFrame({"y": np.tile([0, 1, 2, 3], 10), "g": np.repeat(np.arange(10), 4).astype(str)})
    for family in ("poisson", "gaussian"):
        found = right(fit_marginal(problem_of("y ~ 1 + (1 | g)", data, family)))
        glm = fit_marginal(problem_of("y ~ 1", data, family))
        assert found.theta[0] == 0.0
        assert found.loglik == pytest.approx(glm.loglik, abs=1e-9)


def test_09_correlation_of_minus_one():
    rng, data = data_of(25, 10, seed=9, sd=0.0)
    b = rng.standard_normal(25)[data["g"].astype(int)]
    data["y"] = rng.poisson(np.exp(data["eta"] + 0.6 * b - 0.4 * b * data["x"]))
    found = right(fit_marginal(problem_of("y ~ x + (1 + x | g)", data, "poisson")))
    L = np.array([[found.theta[0], 0.0], found.theta[1:]])
    assert L[1, 0] / np.hypot(*L[1]) < -0.95
    # The same on the line of perfect correlation: one effect b with design 1 + r x.
    block = problem_of("y ~ x + (1 | g)", data, "poisson")

    def on_the_line(v):
        z = (1.0 + v[3] * data["x"].to_numpy())[:, None]
        from dataclasses import replace

        moved = replace(block.design.blocks[0], z=z)
        made = replace(block, design=replace(block.design, blocks=(moved,)))
        return marginal_loglik(made, v[:2], np.abs(v[2:3]), NONE)

    start = np.r_[found.beta, found.theta[0], L[1, 0] / L[0, 0]]
    best = on_the_line(maximum(on_the_line, start, np.full(4, 0.02)))
    assert found.loglik >= best - 1e-6


def test_10_collinear_slopes():
    """Two slopes that are nearly one: their variances cannot be told apart; the likelihood is that of their sum."""
    rng, data = data_of(20, 12, seed=10)
    data["w"] = data["x"] + 1e-6 * rng.standard_normal(len(data))
    data["y"] = rng.poisson(np.exp(data["eta"] + 0.4 * rng.standard_normal(20)[data["g"].astype(int)] * data["x"]))
    both = fit_marginal(problem_of("y ~ x + (0 + x | g) + (0 + w | g)", data, "poisson"))
    one = right(fit_marginal(problem_of("y ~ x + (0 + x | g)", data, "poisson")))
    assert both.loglik == pytest.approx(one.loglik, abs=1e-4)
    said = " ".join([*both.status.boundary, *both.status.notes, both.status.message])
    assert "zero" in said or "hardly tell apart" in said


def test_11_three_correlated_columns_of_nothing():
    rng, data = data_of(15, 10, seed=11, sd=0.0)
    data["w"] = rng.standard_normal(len(data))
    data["y"] = rng.binomial(1, 1 / (1 + np.exp(-data["eta"])))
    found = fit_marginal(problem_of("y ~ x + (1 + x + w | g)", data, "binomial"))
    glm = fit_irls(problem_of("y ~ x", data, "binomial"))
    assert found.status.converged, str(found.status)
    assert found.status.boundary
    assert glm.loglik - 1e-8 <= found.loglik < glm.loglik + 6


def test_12_the_same_factor_twice():
    rng, data = data_of(15, 8, seed=12)
    data["h"] = data["g"]
    data["y"] = rng.poisson(np.exp(data["eta"]))
    twice = fit_marginal(problem_of("y ~ x + (1 | g) + (1 | h)", data, "poisson"))
    once = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson")))
    assert twice.loglik == pytest.approx(once.loglik, abs=1e-6)
    assert "hardly tell apart" in str(twice.status) or "zero" in str(twice.status)
    assert np.hypot(*twice.theta) == pytest.approx(once.theta[0], rel=1e-4)


# --- separation and no variation --------------------------------------------------------------------------------------


def test_13_groups_of_nothing_but_zeros():
    rng, data = data_of(20, 10, seed=13)
    data["y"] = np.where(data["g"].astype(int) < 8, 0, rng.poisson(np.exp(data["eta"])))
    made = problem_of("y ~ x + (1 | g)", data, "poisson")
    found = right(fit_marginal(made, nodes=25))
    exact = brute(made, found.beta, found.theta[0], poisson(data["y"].to_numpy()), 12.0, 6001)
    assert found.loglik == pytest.approx(exact, abs=2e-3)


def test_14_a_factor_level_of_nothing_but_zeros_is_separated():
    rng, data = data_of(20, 10, seed=14)
    data["arm"] = np.where(np.arange(200) % 2, "b", "a")
    data["y"] = np.where(data["arm"] == "b", 0, rng.poisson(np.exp(data["eta"])))
    with pytest.warns(SeparationWarning, match=r"arm\[T.b\]"):
        found = fit_marginal(problem_of("y ~ arm + (1 | g)", data, "poisson"))
    assert not found.status.converged
    assert "separation" in found.status.message


def test_15_one_success_in_all():
    rng, data = data_of(20, 10, seed=15)
    data["y"] = (np.arange(200) == 17).astype(int)
    assert rng is not None
    found = fit_marginal(problem_of("y ~ 1 + (1 | g)", data, "binomial"), nodes=9)
    made = problem_of("y ~ 1 + (1 | g)", data, "binomial")
    assert found.status.converged, str(found.status)
    glm = fit_irls(problem_of("y ~ 1", data, "binomial"))
    assert found.loglik >= glm.loglik - 1e-8
    if found.theta[0] < 5:
        exact = brute(made, found.beta, found.theta[0], bernoulli(data["y"].to_numpy()))
        assert found.loglik == pytest.approx(exact, abs=0.05)


def test_16_complementary_log_log_at_both_ends():
    rng = np.random.default_rng(16)
    x = np.linspace(-4, 3, 160)
    g = np.arange(160) % 16
    eta = x + 0.5 * rng.standard_normal(16)[g]
    y = rng.binomial(1, -np.expm1(-np.exp(eta)))
    data = pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})
    made = problem_of("y ~ x + (1 | g)", data, "binomial", link="cloglog")
    found = right(fit_marginal(made, nodes=25))

    def density(i, e):
        return np.log(-np.expm1(-np.exp(np.minimum(e, 700)))) if y[i] else -np.exp(np.minimum(e, 700))

    with np.errstate(all="ignore"):
        assert found.loglik == pytest.approx(brute(made, found.beta, found.theta[0], density, 8.0), abs=1e-4)
