"""Fits that go wrong elsewhere: each ends right, against another route to the same number, or says why it cannot.

The other routes are quadrature with many nodes on a grid, the dense multivariate normal likelihood, the model without
the random term, another parameterisation of the same model, or the limit of the family.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from scipy import optimize, stats
from scipy.special import logsumexp

from bayesglmm.errors import MethodError, SeparationWarning
from bayesglmm.families import NegativeBinomial
from bayesglmm.latent import fit_marginal, fit_working, marginal_loglik
from bayesglmm.scores import fit_irls

NONE = np.empty(0)


def data_of(levels, per_level, seed=0, slope=0.3, sd=0.5, intercept=0.5):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), per_level)
    x = rng.standard_normal(len(g))
    b = sd * rng.standard_normal(levels)
    return rng, pd.DataFrame({"x": x, "g": g.astype(str), "eta": intercept + slope * x + b[g]})


def brute(problem, beta, sd, logdensity, half_width=12.0, points=4001):
    """Log-likelihood of one scalar factor by the trapezoidal rule on a grid of effects, level by level."""
    u = np.linspace(-half_width, half_width, points)
    prior = stats.norm.logpdf(u)
    block = problem.design.blocks[0]
    eta = problem.design.X @ beta + problem.design.offset
    total = 0.0
    for level in range(len(block.levels)):
        rows = block.codes == level
        values = prior.copy()
        for i in np.flatnonzero(rows):
            values = values + logdensity(i, eta[i] + sd * block.z[i, 0] * u)
        total += logsumexp(values) + np.log(u[1] - u[0])
    return total


def bernoulli(y):
    return lambda i, eta: -np.logaddexp(0.0, -eta) if y[i] == 1 else -np.logaddexp(0.0, eta)


def poisson(y):
    return lambda i, eta: stats.poisson.logpmf(y[i], np.exp(eta))


def maximum(function, start, scale):
    """A maximum by Nelder-Mead, restarted."""
    x = np.zeros(len(start))
    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}
    for _ in range(3):
        x = optimize.minimize(lambda z: -function(start + scale * z), x, method="Nelder-Mead", options=options).x
    return start + scale * x


def right(found):
    assert found.status.converged, str(found.status)
    assert found.status.gradient_norm < 1e-5
    assert np.all(np.isfinite(found.beta))
    assert np.all(np.isfinite(np.diag(found.cov_beta)))
    return found


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


# --- awkward numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "unit", "origin"), [(17, 1e6, 0.0), (18, 1e-6, 0.0), (19, 1e3, 1e6)])
def test_17_to_19_predictors_in_awkward_units(number, unit, origin):
    rng, data = data_of(20, 8, seed=17)
    data["y"] = rng.poisson(np.exp(data["eta"] + 0.3 * rng.standard_normal(20)[data["g"].astype(int)] * data["x"]))
    data["far"] = unit * data["x"] + origin
    near = right(fit_marginal(problem_of("y ~ x + (x | g)", data, "poisson")))
    far = fit_marginal(problem_of("y ~ far + (far | g)", data, "poisson"))
    assert far.status.converged, (number, str(far.status))
    assert far.loglik == pytest.approx(near.loglik, abs=1e-5)
    assert far.beta[1] * unit == pytest.approx(near.beta[1], rel=1e-5)
    se = np.sqrt(np.diag(near.cov_beta)[1])
    # Differences of the gradient lose digits a thousand standard deviations from the origin.
    assert np.sqrt(np.diag(far.cov_beta)[1]) * unit == pytest.approx(se, rel=1e-3 if origin == 0 else 1e-2)


def test_20_huge_counts():
    rng, data = data_of(30, 5, seed=20, intercept=16.0, sd=0.8)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    found = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson")))
    # With such counts log y is exact: a linear model of the logs with variances 1/y.
    y = data["y"].to_numpy()
    lmm = problem_of("z ~ x + (1 | g)", data.assign(z=np.log(y)), weights=y / y.mean())
    assert found.theta[0] == pytest.approx(fit_working(lmm, method="ml").theta[0], rel=2e-3)
    assert found.beta[1] == pytest.approx(0.3, abs=1e-3)


def test_21_an_enormous_offset():
    rng, data = data_of(20, 8, seed=21)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    near = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson")))
    far = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson", offset=np.full(160, 60.0))))
    assert far.loglik == pytest.approx(near.loglik, abs=1e-7)
    assert far.beta[0] == pytest.approx(near.beta[0] - 60.0, abs=1e-6)
    assert far.theta[0] == pytest.approx(near.theta[0], rel=1e-5)


def test_22_weights_over_twelve_orders_of_magnitude():
    rng, data = data_of(15, 8, seed=22)
    weights = 10.0 ** rng.uniform(-6, 6, 120)
    data["y"] = data["eta"] + rng.standard_normal(120) / np.sqrt(weights)
    made = problem_of("y ~ x + (1 | g)", data, weights=weights)
    found = fit_marginal(made)
    assert found.status.converged, str(found.status)
    Z = (data["g"].to_numpy()[:, None] == np.unique(data["g"])[None]).astype(float)
    V = found.theta[0] ** 2 * Z @ Z.T + found.scale * np.diag(1.0 / weights)
    e = data["y"].to_numpy() - made.design.X @ found.beta
    dense = -0.5 * (np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e) + 120 * np.log(2 * np.pi))
    assert found.loglik == pytest.approx(dense, rel=1e-7)
    assert found.loglik == pytest.approx(fit_working(made, method="ml").loglik, abs=1e-5)


def test_23_a_gamma_with_a_tiny_dispersion_is_gaussian_on_the_log_scale():
    rng, data = data_of(20, 8, seed=23)
    data["y"] = np.exp(data["eta"]) * rng.gamma(1e6, 1e-6, 160)
    found = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "gamma", link="log")))
    lmm = fit_working(problem_of("z ~ x + (1 | g)", data.assign(z=np.log(data["y"])), "gaussian"), method="ml")
    np.testing.assert_allclose(found.beta, lmm.beta, rtol=1e-4, atol=1e-5)
    assert found.theta[0] == pytest.approx(lmm.theta[0], rel=1e-4)
    assert found.scale == pytest.approx(1e-6, rel=0.3)


@pytest.mark.parametrize("residual", [1.0, 0.1, 1e-3])
def test_24_a_residual_much_smaller_than_the_random_effect(residual):
    """Up to four orders of magnitude it is sure of itself; beyond, it finds the maximum but doubts it, and says so."""
    rng, data = data_of(10, 6, seed=24, sd=1000.0)
    data["y"] = data["eta"] + residual * rng.standard_normal(60)
    made = problem_of("y ~ x + (1 | g)", data)
    found, exact = fit_marginal(made), fit_working(made, method="ml")
    assert exact.status.converged
    assert found.loglik == pytest.approx(exact.loglik, abs=1e-5)
    assert found.theta[0] == pytest.approx(exact.theta[0], rel=1e-3)
    assert np.exp(found.psi[0]) == pytest.approx(np.sqrt(exact.scale), rel=1e-4)
    if residual >= 0.1:
        assert found.status.converged, str(found.status)
    elif not found.status.converged:
        assert "not identified by the data" in str(found.status)


# --- shapes at their limits -------------------------------------------------------------------------------------------


def test_25_a_negative_binomial_of_poisson_counts():
    rng, data = data_of(20, 10, seed=25)
    data["y"] = stats.poisson.ppf((rng.permutation(200) + 0.5) / 200, np.exp(data["eta"]))  # less spread than Poisson
    found = fit_marginal(problem_of("y ~ x + (1 | g)", data, "negative_binomial"))
    limit = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson")))
    assert found.status.converged, str(found.status)
    if np.exp(found.psi[0]) > 1e4:
        assert "theta is at the edge of its range" in found.status.boundary
        assert found.loglik == pytest.approx(limit.loglik, abs=1e-4)
        np.testing.assert_allclose(found.beta, limit.beta, atol=1e-4)
    assert found.loglik >= limit.loglik - 1e-6


def test_26_a_negative_binomial_of_hardly_any_shape():
    rng, data = data_of(30, 10, seed=26, intercept=2.0)
    data["y"] = rng.negative_binomial(0.05, 0.05 / (0.05 + np.exp(data["eta"])))
    found = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "negative_binomial")))
    theta = float(np.exp(found.psi[0]))
    assert theta == pytest.approx(0.05, rel=0.5)
    fixed = fit_marginal(problem_of("y ~ x + (1 | g)", data, NegativeBinomial(theta=theta)))
    assert fixed.loglik == pytest.approx(found.loglik, abs=1e-6)


def test_27_a_near_saturated_mean():
    rng = np.random.default_rng(27)
    cells = np.arange(40)
    data = pd.DataFrame({"cell": (cells // 2).astype(str), "g": (cells % 8).astype(str)})
    data["y"] = rng.poisson(np.exp(2 + 0.4 * rng.standard_normal(8)[cells % 8]))
    found = fit_marginal(problem_of("y ~ cell + (1 | g)", data, "poisson"))
    assert found.status.converged, str(found.status)
    assert found.df_resid == 20
    for nudge in (1.02, 0.98):
        made = problem_of("y ~ cell + (1 | g)", data, "poisson")
        assert marginal_loglik(made, found.beta, nudge * found.theta + (nudge - 1) * 1e-3, found.psi) <= found.loglik


# --- crossing, many random effects, limited links ---------------------------------------------------------------------


def test_28_crossed_factors_with_one_row_per_cell():
    rng = np.random.default_rng(28)
    a, b = np.divmod(np.arange(225), 15)
    eta = 0.3 + 0.8 * rng.standard_normal(15)[a] + 0.5 * rng.standard_normal(15)[b]
    data = pd.DataFrame({"y": eta + rng.standard_normal(225), "a": a.astype(str), "b": b.astype(str)})
    made = problem_of("y ~ 1 + (1 | a) + (1 | b)", data)
    found = right(fit_marginal(made))
    A = (a[:, None] == a).astype(float)
    B = (b[:, None] == b).astype(float)
    e = data["y"].to_numpy() - found.beta[0]

    def dense(v):
        V = v[0] ** 2 * A + v[1] ** 2 * B + np.exp(2 * v[2]) * np.eye(225)
        return stats.multivariate_normal.logpdf(e, cov=V)

    v = np.r_[found.theta, found.psi]
    assert found.loglik == pytest.approx(dense(v), abs=1e-7)
    steps = np.eye(3) * 1e-4
    assert max(abs(dense(v + s) - dense(v - s)) / 2e-4 for s in steps) < 1e-3


def test_29_an_identity_link_beside_the_edge_of_its_range():
    rng = np.random.default_rng(29)
    g = np.arange(200) % 20
    x = rng.uniform(0, 1, 200)
    y = rng.poisson(np.maximum(0.2 + 3 * x + 0.1 * rng.standard_normal(20)[g], 0.01))
    data = pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})
    found = fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson", link="identity"))
    assert found.status.converged, str(found.status)
    assert found.eta.min() > 0
    glm = fit_irls(problem_of("y ~ x", data, "poisson", link="identity"))
    assert found.loglik >= glm.loglik - 1e-6


def test_30_more_random_effects_than_rows():
    rng, data = data_of(30, 2, seed=30)
    data["w"] = rng.standard_normal(60)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    made = problem_of("y ~ x + (1 + x + w | g)", data, "poisson")
    found = fit_marginal(made)
    assert found.status.converged, str(found.status)
    one = right(fit_marginal(problem_of("y ~ x + (1 | g)", data, "poisson")))
    assert found.loglik >= one.loglik - 1e-7
    with pytest.raises(MethodError, match="nodes fit here"):
        fit_marginal(made, nodes=101)


def test_31_student_residuals_with_gross_outliers():
    rng, data = data_of(15, 10, seed=31)
    data["y"] = data["eta"] + 0.3 * rng.standard_normal(150)
    data.loc[[3, 70, 140], "y"] += [300.0, -500.0, 1e4]
    found = fit_marginal(problem_of("y ~ x + (1 | g)", data, "student_t"))
    assert found.status.converged, str(found.status)
    assert found.beta[1] == pytest.approx(0.3, abs=0.15)
    clean = fit_working(problem_of("y ~ x + (1 | g)", data.drop([3, 70, 140]), "gaussian"), method="ml")
    np.testing.assert_allclose(found.beta, clean.beta, atol=0.15)


@pytest.mark.parametrize("seed", [0, 6, 7, 21, 25, 46])
def test_33_two_maxima_of_few_rows(seed):
    """Eight coefficients and twelve rows: one maximum without random effects, a higher one nearly without residual."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((12, 7))
    data = pd.DataFrame(X, columns=list("abcdefh")).assign(g=np.repeat(list("pqrs"), 3), y=rng.standard_normal(12))
    found = fit_marginal(problem_of("y ~ a + b + c + d + e + f + h + (1 | g)", data))
    zero = fit_irls(problem_of("y ~ a + b + c + d + e + f + h", data))
    exact = fit_working(problem_of("y ~ a + b + c + d + e + f + h + (1 | g)", data), method="ml")
    assert found.status.converged
    assert found.loglik == pytest.approx(exact.loglik, abs=1e-6)
    assert found.loglik > zero.loglik + 0.1
    assert "a second search, from larger variances, found this higher maximum" in found.status.notes


def test_32_one_row_per_group_cannot_be_told_from_the_residual():
    rng, data = data_of(40, 1, seed=32)
    data["y"] = data["eta"] + rng.standard_normal(40)
    found = fit_marginal(problem_of("y ~ x + (1 | g)", data))
    assert not found.status.converged
    assert "not identified by the data, alone or apart from each other: the covariance of g, sigma" in str(found.status)
