"""More fits that go wrong elsewhere: awkward units, shapes at their limits, too much of everything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from difficult_cases import data_of, right
from scipy import stats

from bayesglmm.errors import MethodError
from bayesglmm.families import NegativeBinomial
from bayesglmm.latent import fit_marginal, fit_working, marginal_loglik
from bayesglmm.scores import fit_irls

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
    assert np.sqrt(np.diag(far.cov_beta)[1]) * unit == pytest.approx(se, rel=1e-3 if origin == 0 else 1e-4)


@pytest.mark.parametrize(("sds", "close"), [(1e3, 1e-6), (1e5, 1e-4)])
def test_the_origin_of_a_predictor_does_not_matter_to_standard_errors(sds, close):
    rng, data = data_of(30, 8, seed=40)
    data["y"] = rng.poisson(np.exp(data["eta"]))
    data["far"] = data["x"] + sds
    near, far = (fit_marginal(problem_of(f"y ~ {x} + (1 | g)", data, "poisson")) for x in ("x", "far"))
    assert far.status.converged
    assert far.beta[1] == pytest.approx(near.beta[1], rel=1e-7)
    assert far.cov_joint[1, 1] == pytest.approx(near.cov_joint[1, 1], rel=close)
    assert far.cov_joint[2, 2] == pytest.approx(near.cov_joint[2, 2], rel=close)
    moved = np.array([[1.0, -sds], [0.0, 1.0]])  # (intercept, slope) seen from the other origin
    np.testing.assert_allclose(far.cov_beta, moved @ near.cov_beta @ moved.T, rtol=10 * close)


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
