"""Posterior modes, standard deviations of the random effects, and draws from the Gaussian approximation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from building import problem_of
from reference_data import frame
from scipy.stats import multivariate_normal

from bayesglmm.latent import fit_marginal
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.target import Coordinates, Target
from bayesglmm.priors import resolve_priors

CASES = {
    "cbpp": ("p(incidence, size) ~ period + (1 | herd)", "binomial"),
    "sleepstudy": ("Reaction ~ Days + (1 + Days | Subject)", "gaussian"),
    "grouseticks": ("TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", "poisson"),
}


def with_priors(name):
    formula, family = CASES[name]
    p = problem_of(formula, frame(name), family)
    return replace(p, priors=resolve_priors("default", p.design, p.family, p.link, p.covariance))


def target_of(p):
    objective = make_objective(p)
    coordinates = Coordinates(p.design.X.shape[1], objective.kernel.n_aux, p.covariance, p.priors is not None)
    return Target(objective, coordinates, p.priors, tuple(a.link for a in p.family.auxiliaries))


@pytest.mark.parametrize("name", CASES)
def test_the_posterior_mode_is_a_mode(name):
    p = with_priors(name)
    found = fit_marginal(p)
    target = target_of(p)
    x = target.coordinates.join(found.beta, found.theta, found.psi)
    top = target.at(x)
    assert np.isclose(top.value, found.extras["log_density"], rtol=1e-12)
    slope = target.coordinates.slope(found.theta)
    spread = found.cov_joint / np.outer(slope, slope)
    assert np.sqrt(top.gradient @ spread @ top.gradient) < 1e-6
    rng = np.random.default_rng(1)
    for _ in range(10):
        step = np.linalg.cholesky(spread) @ rng.standard_normal(len(x))
        assert target.at(x + 0.1 * step, with_gradient=False).value < top.value
    assert found.loglik > top.value  # the likelihood alone, at the same point
    assert not found.status.boundary


def test_sds_of_random_effects_given_the_parameters():
    """Gaussian: Cov(b | y) = G − GZ'V⁻¹ZG by the textbook; with the uncertainty of β, Henderson's."""
    formula, family = CASES["sleepstudy"]
    p = problem_of(formula, frame("sleepstudy"), family)
    found = fit_marginal(p)
    b = p.design.blocks[0]
    levels, q = len(b.levels), 2
    Z = np.zeros((p.design.nobs, levels * q))
    for c in range(q):
        Z[np.arange(p.design.nobs), b.codes * q + c] = b.z[:, c]
    L = p.covariance[0].factor(found.theta)
    G = np.kron(np.eye(levels), L @ L.T)
    V = Z @ G @ Z.T + np.exp(2 * found.psi[0]) * np.eye(p.design.nobs)
    GZV = np.linalg.solve(V, Z @ G).T
    conditional = G - GZV @ Z @ G
    np.testing.assert_allclose(found.effects_sd[0].ravel(), np.sqrt(np.diag(conditional)), rtol=1e-9)
    residual = p.response.y - p.design.X @ found.beta
    np.testing.assert_allclose(found.effects[0].ravel(), GZV @ residual, rtol=1e-7, atol=1e-8)
    bent = GZV @ p.design.X
    henderson = conditional + bent @ np.linalg.inv(p.design.X.T @ np.linalg.solve(V, p.design.X)) @ bent.T
    full = found.extras["effects_sd_full"][0].ravel()
    assert np.all(full > np.sqrt(np.diag(henderson)) - 1e-9)  # θ's uncertainty comes on top
    np.testing.assert_allclose(full, np.sqrt(np.diag(henderson)), rtol=0.25)


@pytest.mark.parametrize("resolve", [True, False])
@pytest.mark.parametrize("name", ["cbpp", "sleepstudy"])
def test_draws_have_the_moments_of_the_approximation(name, resolve):
    p = with_priors(name)
    count = 4000
    found = fit_marginal(p, draws=count, seed=1, resolve=resolve)
    draws = found.draws
    assert draws is not None
    assert draws.independent
    assert draws.beta.shape == (4, count // 4, len(found.beta))
    assert draws.effects[0].shape == (4, count // 4, *found.effects[0].shape)
    beta, theta, psi = (v.reshape(count, -1) for v in (draws.beta, draws.theta, draws.psi))
    coordinates = target_of(p).coordinates
    x = np.array([coordinates.join(b, t, s) for b, t, s in zip(beta, theta, psi)])
    centre = coordinates.join(found.beta, found.theta, found.psi)
    slope = coordinates.slope(found.theta)
    spread = found.cov_joint / np.outer(slope, slope)
    error = np.sqrt(np.diag(spread) / count)
    np.testing.assert_allclose((x.mean(axis=0) - centre) / error, 0.0, atol=4.5)
    size = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    np.testing.assert_allclose(np.cov(x.T) / size, spread / size, atol=0.2)
    density = multivariate_normal(centre, spread).logpdf(x)
    np.testing.assert_allclose(draws.stats["log_q"].ravel(), density, rtol=1e-6, atol=1e-6)
    # The spread of u at each draw's own parameters differs from that at the mode, hence the wide margin.
    np.testing.assert_allclose(draws.effects[0].std(axis=(0, 1)), found.extras["effects_sd_full"][0], rtol=0.25)
    if resolve:
        target = target_of(p)
        np.testing.assert_allclose(
            draws.stats["log_p"][0, :5], [target.at(v, with_gradient=False).value for v in x[:5]], rtol=1e-9
        )
    else:
        assert "log_p" not in draws.stats


def test_the_same_seed_gives_the_same_draws():
    p = with_priors("cbpp")
    one, same, other = (fit_marginal(p, draws=5, seed=s).draws for s in (7, 7, 8))
    np.testing.assert_array_equal(one.effects[0], same.effects[0])
    assert not np.array_equal(one.beta, other.beta)


def test_draws_keep_a_zero_variance_at_zero():
    from test_marginal_hard import NOTHING, problem

    draws = fit_marginal(problem("y ~ x + (1 | g)", NOTHING), draws=50, seed=1).draws
    np.testing.assert_array_equal(draws.theta, 0.0)
    np.testing.assert_array_equal(draws.effects[0], 0.0)
    assert draws.beta.std() > 0
