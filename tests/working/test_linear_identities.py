"""The structured linear mixed model against the dense textbook formulas, and its derivatives against differences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from dense_textbook import dense

from bayesglmm.covariance import Known, bind_covariance
from bayesglmm.design.types import Design, RandomBlock, Response, Term
from bayesglmm.latent.elimination.level_sums import LevelSums
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.linear.criterion import LinearModel
from bayesglmm.latent.linear.curvature import curvature, joint_covariance, rough_errors
from bayesglmm.latent.linear.fit import fit_linear
from bayesglmm.latent.linear.start import absolute, relative

N = 48


def block(rng, group, levels, q, *, terms=None):
    z = np.column_stack([np.ones(N), rng.normal(size=(N, q - 1))])
    codes = np.concatenate([np.arange(levels), rng.integers(0, levels, N - levels)])
    terms = terms or (Term("t", 0, q, True),)
    return RandomBlock(group, tuple(map(str, range(levels))), codes, z, tuple(f"c{j}" for j in range(q)), terms)


def kinship(rng, m):
    root = rng.normal(size=(m, m))
    return Known(root @ root.T / m + np.eye(m), levels=[str(j) for j in range(m)])


def structures(rng):
    """name → (blocks, requested covariance, θ)."""
    return {
        "intercept": ((block(rng, "a", 7, 1),), None, [0.8]),
        "slope": ((block(rng, "a", 7, 2),), None, [0.7, 0.3, 0.5]),
        "uncorrelated": ((block(rng, "a", 7, 3, terms=(Term("t", 0, 3, False),)),), None, [0.7, 0.3, 0.5]),
        "two terms": (
            (block(rng, "a", 6, 3, terms=(Term("t", 0, 2, True), Term("s", 2, 3, True))),),
            None,
            [0.7, 0.3, 0.5, 0.4],
        ),
        "crossed": ((block(rng, "a", 8, 2), block(rng, "b", 5, 1)), None, [0.7, 0.3, 0.5, 1.2]),
        "three crossed": (
            (block(rng, "a", 8, 1), block(rng, "b", 5, 1), block(rng, "c", 4, 2)),
            None,
            [1, 0.5, 0.4, -0.2, 0.3],
        ),
        "exchangeable": ((block(rng, "a", 10, 3),), {"a": "cs"}, [0.7, 0.4, 0.5, 0.3]),
        "autoregressive": ((block(rng, "a", 7, 3),), {"a": "ar1"}, [0.7, -0.4]),
        "known": ((block(rng, "k", 6, 2),), {"k": kinship(rng, 6)}, [0.7, 0.3, 0.5]),
        "known and crossed": ((block(rng, "k", 6, 1), block(rng, "b", 5, 1)), {"k": kinship(rng, 6)}, [0.7, 1.1]),
        "at zero": ((block(rng, "a", 7, 2), block(rng, "b", 5, 1)), None, [0.6, 0.2, 0.0, 0.0]),
    }


NAMES = tuple(structures(np.random.default_rng(0)))


def random_part(rng, blocks, covariance, theta):
    """One draw of Zb with independent levels, so that the variances are not estimated at zero."""
    total, at = np.zeros(N), 0
    for b, c in zip(blocks, covariance):
        effects = rng.normal(size=(len(b.levels), c.size)) @ c.factor(theta[at : at + c.n_params]).T
        total += np.sum(b.z * effects[b.codes], axis=1)
        at += c.n_params
    return total


def make(name, *, reml=False, scale=None):
    rng = np.random.default_rng(11)
    blocks, request, theta = structures(rng)[name]
    covariance = bind_covariance(blocks, request)
    X = np.column_stack([np.ones(N), rng.normal(size=(N, 2))])
    y = 5.0 + rng.normal(size=N) + 2.0 * random_part(rng, blocks, covariance, np.array(theta))
    weights, offset = rng.uniform(0.5, 2.0, N), rng.normal(size=N)
    design = Design(None, Response("y", y), X, ("a", "b", "c"), (), offset, weights, blocks, None)
    problem = SimpleNamespace(design=design, covariance=covariance, case_weights=weights, mean_response=y)
    model = LinearModel(analyse(blocks, covariance), covariance, X, y - offset, weights, reml, scale)
    return problem, model, np.array(theta, dtype=float)


def differences(f, x, h=1e-4):
    """Central differences of fourth order along every coordinate."""
    steps = h * np.eye(len(x))
    return np.array([(8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * h) for e in steps])


@pytest.mark.parametrize("scale", [None, 1.7])
@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_criterion_coefficients_and_modes_are_the_dense_ones(name, reml, scale):
    problem, model, theta = make(name, reml=reml, scale=scale)
    at = model.solve(theta)
    oracle = dense(problem, absolute(model, theta, at.scale), at.scale)
    assert at.criterion == pytest.approx(oracle.reml_criterion if reml else oracle.deviance, abs=1e-9)
    np.testing.assert_allclose(at.beta, oracle.beta, rtol=1e-10)
    np.testing.assert_allclose(np.concatenate([b.ravel() for b in at.effects]), oracle.blup, atol=1e-11)
    np.testing.assert_allclose(at.cov_beta, np.linalg.inv(oracle.information), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_profiled_scale_is_the_minimising_one(name):
    _, model, theta = make(name, reml=True)
    at = model.solve(theta)
    low, high = (model.solve(theta, factor * at.scale).criterion for factor in (0.99, 1.01))
    assert min(low, high) > at.criterion
    # −2ℓ = ν log σ² + r²/σ² + ...: its second derivative in log σ² at the minimum is ν, its slope nothing.
    down, up = (model.solve(theta, np.exp(h) * at.scale).criterion for h in (-1e-3, 1e-3))
    assert (up - down) / 2e-3 == pytest.approx(0.0, abs=1e-6 * model.nu)
    assert (up - 2.0 * at.criterion + down) / 1e-6 == pytest.approx(model.nu, rel=1e-5)


@pytest.mark.parametrize("scale", [None, 1.7])
@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_in_theta_is_the_difference_quotient(name, reml, scale):
    _, model, theta = make(name, reml=reml, scale=scale)
    slope = differences(lambda t: model.solve(t).criterion, theta)
    np.testing.assert_allclose(model.solve(theta).gradient, slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("reml", [False, True])
def test_gradient_in_the_weights_is_the_difference_quotient(reml):
    _, model, theta = make("crossed", reml=reml)
    at = model.solve(theta)

    def criterion(w):
        moved = LinearModel(model.structure, model.covariance, model.X, model.y, w, reml, at.scale)
        return moved.solve(theta).criterion

    np.testing.assert_allclose(at.weight_gradient, differences(criterion, model.weights), rtol=1e-7, atol=1e-7)


def test_a_singular_z_and_badly_scaled_columns_cost_no_digits():
    _, model, theta = make("slope", reml=True)
    X = model.X * np.array([1.0, 1e6, 1e-6])
    scaled = LinearModel(model.structure, model.covariance, X, model.y + 1e6, model.weights, True, None)
    moved, at = scaled.solve(theta), model.solve(theta)
    np.testing.assert_allclose(moved.beta[1:] * [1e6, 1e-6], at.beta[1:], rtol=1e-8)
    assert moved.criterion == pytest.approx(at.criterion + 2 * np.log(1e6) + 2 * np.log(1e-6), rel=1e-10)


# --- second derivatives -------------------------------------------------------------------------------------------


def hessian(f, x, h):
    """Second differences of a criterion, fourth order: for an oracle only."""
    return differences(lambda t: differences(f, t, h), x, h)


@pytest.mark.parametrize("scale", [None, 1.7])
@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", ["slope", "crossed", "autoregressive", "known and crossed"])
def test_curvature_is_the_dense_second_derivative(name, reml, scale):
    problem, model, _ = make(name, reml=reml, scale=scale)
    fit = fit_linear(model)
    at = fit.solution
    point = fit.theta if scale is not None else np.append(fit.theta, 0.5 * np.log(at.scale))

    def oracle(x):
        return dense(problem, x[: len(fit.theta)], at.scale if scale is not None else np.exp(2 * x[-1]))

    def criterion(x):
        return oracle(x).reml_criterion if reml else oracle(x).deviance

    curve = curvature(at, rough_errors(fit))
    size = np.sqrt(np.abs(np.diag(curve.hessian)))
    expected = hessian(criterion, point, 2e-3)
    np.testing.assert_allclose(curve.hessian / np.outer(size, size), expected / np.outer(size, size), atol=3e-6)
    np.testing.assert_allclose(curve.beta_slope, differences(lambda x: oracle(x).beta, point), atol=1e-6)
    covariances = differences(lambda x: np.linalg.inv(oracle(x).information), point)
    np.testing.assert_allclose(curve.cov_slope, covariances, atol=1e-6 * np.abs(covariances).max() + 1e-8)


def test_joint_covariance_is_the_inverse_of_the_joint_observed_information():
    problem, model, _ = make("slope")
    fit = fit_linear(model)
    k = len(fit.theta)
    point = np.concatenate([fit.solution.beta, fit.theta, [0.5 * np.log(fit.solution.scale)]])

    def minus_loglik(x):
        return -dense(problem, x[3 : 3 + k], np.exp(2 * x[-1])).log_density(x[:3])

    expected = np.linalg.inv(hessian(minus_loglik, point, 2e-3))
    joint = joint_covariance(fit.solution, curvature(fit.solution, rough_errors(fit)), np.zeros(k, dtype=bool))
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(joint / np.outer(size, size), expected / np.outer(size, size), atol=1e-5)


# --- the search ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "at zero"])
def test_the_fit_is_a_minimum_of_the_dense_criterion(name, reml):
    problem, model, _ = make(name, reml=reml)
    fit = fit_linear(model)
    assert fit.minimum.converged
    best = fit.solution.criterion

    def criterion(theta):
        moved = dense(problem, absolute(model, theta, fit.solution.scale), fit.solution.scale)
        return moved.reml_criterion if reml else moved.deviance

    assert criterion(fit.solution.theta) == pytest.approx(best, abs=1e-8)
    for k, c in enumerate(c for cov in model.covariance for c in cov.coordinates):
        for step in (-0.02, 0.02):
            theta = fit.solution.theta.copy()
            theta[k] += step
            if c.low < theta[k] < c.high and (c.kind != "scale" or theta[k] >= 0):
                assert criterion(theta) > best - 1e-9


def test_absolute_and_relative_are_inverse_and_leave_correlations():
    _, model, theta = make("exchangeable")
    there = absolute(model, theta, 4.0)
    np.testing.assert_allclose(there, [1.4, 0.8, 1.0, 0.3])
    np.testing.assert_allclose(relative(model, there, 4.0), theta)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_sums_by_level_and_sums_over_rows_agree(name, reml, monkeypatch):
    _, model, theta = make(name, reml=reml)
    short = model.solve(theta)
    assert short.by_level
    monkeypatch.setattr(LevelSums, "condense", lambda *_: None)
    long = model.solve(theta)
    assert not long.by_level
    assert short.criterion == pytest.approx(long.criterion, rel=1e-12)
    for field in ("beta", "u", "root", "residual", "R"):
        np.testing.assert_allclose(getattr(short, field), getattr(long, field), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(short.gradient, long.gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["intercept", "slope", "crossed"])
def test_where_the_random_effects_explain_nearly_everything_the_rows_are_summed(name):
    problem, model, theta = make(name, reml=True)
    far = 300.0 * theta
    at = model.solve(far)
    assert not at.by_level
    oracle = dense(problem, absolute(model, far, at.scale), at.scale)
    assert at.criterion == pytest.approx(oracle.reml_criterion, rel=1e-9)
    np.testing.assert_allclose(at.beta, oracle.beta, rtol=1e-5)
