"""The joint mode: stationary for the numpy joint density, exact where it is known, honest where it does not exist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from building import problem_of
from reference_data import frame

from bayesglmm.joint import joint_logp
from bayesglmm.methods import map as joint_mode
from bayesglmm.priors import Prior, resolve_priors
from bayesglmm.problem import Problem


def with_priors(problem: Problem, request: object = "default") -> Problem:
    priors = resolve_priors(request, problem.design, problem.family, problem.link, problem.covariance)  # type: ignore[arg-type]
    return replace(problem, priors=priors)


def test_gaussian_regression_under_flat_priors_is_least_squares() -> None:
    """Without random effects and with sd flat: β is least squares, σ² = RSS/n, and their information is known."""
    problem = problem_of("dist ~ speed", _cars())
    result = joint_mode.run(problem)
    X, y = problem.design.X, problem.response.y
    beta, rss = np.linalg.lstsq(X, y, rcond=None)[:2]
    sigma = np.sqrt(rss[0] / len(y))
    np.testing.assert_allclose(result.beta, beta, rtol=1e-7)
    assert np.exp(result.psi[0]) == pytest.approx(sigma, rel=1e-7)
    np.testing.assert_allclose(result.cov_beta, sigma**2 * np.linalg.inv(X.T @ X), rtol=1e-5)
    assert result.cov_joint is not None
    assert result.cov_joint[2, 2] == pytest.approx(1 / (2 * len(y)), rel=1e-5)  # of log σ
    assert result.status.converged


def _cars() -> object:
    import pandas as pd

    rng = np.random.default_rng(3)
    speed = rng.uniform(4.0, 25.0, 50)
    return pd.DataFrame({"speed": speed, "dist": 4.0 * speed - 17.0 + 15.0 * rng.normal(size=50)})


def test_mode_is_stationary_for_the_joint_density() -> None:
    """Every direction of (β, θ, u): the central difference of our own joint density vanishes."""
    problem = with_priors(problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial"))
    result = joint_mode.run(problem)
    assert result.status.converged
    assert result.estimand == "joint-mode"
    u = result.effects[0] / result.theta[0]
    x = np.concatenate([result.beta, result.theta, u.ravel()])

    def value(x: np.ndarray) -> float:
        return joint_logp(problem, x[:4], x[4:5], np.empty(0), [x[5:, None]])

    assert value(x) == pytest.approx(result.extras["log_density"], abs=1e-8)
    hessian = np.empty((len(x), len(x)))
    h = 1e-4

    def gradient(x: np.ndarray) -> np.ndarray:
        steps = h * np.eye(len(x))
        return np.array([(value(x + s) - value(x - s)) / (2 * h) for s in steps])

    np.testing.assert_allclose(gradient(x), 0.0, atol=1e-5)
    for i, s in enumerate(h * np.eye(len(x))):
        hessian[i] = (gradient(x + s) - gradient(x - s)) / (2 * h)
    covariance = np.linalg.inv(-0.5 * (hessian + hessian.T))
    np.testing.assert_allclose(result.cov_joint, covariance[:5, :5], rtol=2e-4, atol=1e-6)
    # b = sd·u by the delta method
    J = np.zeros((15, len(x)))
    J[:, 4], J[:, 5:] = u[:, 0], result.theta[0] * np.eye(15)
    np.testing.assert_allclose(result.effects_sd[0][:, 0], np.sqrt(np.diag(J @ covariance @ J.T)), rtol=2e-4)


def test_correlated_slopes_reach_a_mode() -> None:
    problem = with_priors(problem_of("Reaction ~ Days + (Days | Subject)", frame("sleepstudy")))
    result = joint_mode.run(problem)
    assert result.status.converged
    assert result.status.gradient_norm is not None
    assert result.status.gradient_norm < 1e-5
    L = problem.covariance[0].factor(result.theta)
    u = np.linalg.solve(L, result.effects[0].T).T
    at = joint_logp(problem, result.beta, result.theta, result.psi, [u])
    rng = np.random.default_rng(0)
    for _ in range(20):  # psi carries its Jacobian in joint_logp: leave it where it is
        step = [1e-2 * rng.normal(size=np.shape(v)) for v in (result.beta, result.theta, u)]
        moved = joint_logp(problem, result.beta + step[0], result.theta + step[1], result.psi, [u + step[2]])
        assert moved < at


def test_flat_priors_have_no_joint_mode() -> None:
    problem = problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial")
    result = joint_mode.run(problem)
    assert not result.status.converged
    assert "flat priors" in result.status.message
    assert result.theta[0] > 5.0  # where the maximum likelihood estimate is 0.64


def test_a_tight_prior_holds_the_sd() -> None:
    problem = problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial")
    result = joint_mode.run(with_priors(problem, {"herd.sd": Prior("TruncatedNormal", mu=0.6, sigma=0.001, lower=0)}))
    assert result.theta[0] == pytest.approx(0.6, abs=0.001)
