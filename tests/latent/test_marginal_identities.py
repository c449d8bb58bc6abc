"""Identities between methods, and invariances of the estimates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from latent_cases import a_point, block, made_up, problem_of
from scipy.integrate import quad
from scipy.special import gammaln, roots_hermitenorm
from scipy.stats import multivariate_normal

from bayesglmm.latent import fit_marginal, marginal_loglik
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.quadrature import integral as quadrature
from bayesglmm.latent.quadrature.grid import grid, hermite
from bayesglmm.latent.quadrature.integral import OneFactor

LIKELIHOODS = ["gaussian", "binomial", "poisson", "negative_binomial", "gamma"]


def dense_covariance(problem, theta, sigma):
    """Covariance of y of a Gaussian model, by the textbook."""
    design = problem.design
    weights = np.ones(design.nobs) if design.weights is None else design.weights
    V = np.diag(sigma**2 / weights)
    start = 0
    for b, cov in zip(design.blocks, problem.covariance):
        L = cov.factor(theta[start : start + cov.n_params])
        start += cov.n_params
        same = b.codes[:, None] == b.codes[None, :]
        V += np.where(same, b.z @ L @ L.T @ b.z.T, 0.0)
    return V


@pytest.mark.parametrize("shape", [[(7, 1)], [(6, 2)], [(9, 2), (5, 1)]])
def test_gaussian_laplace_is_the_multivariate_normal_density(shape):
    problem = made_up("gaussian", shape)
    beta, theta, psi = a_point(problem, 1)
    mean = problem.design.X @ beta + problem.design.offset
    exact = multivariate_normal(mean, dense_covariance(problem, theta, np.exp(psi[0]))).logpdf(problem.response.y)
    assert np.isclose(marginal_loglik(problem, beta, theta, psi), exact, rtol=1e-12)
    if len(shape) == 1:
        for nodes in (2, 7):
            assert np.isclose(marginal_loglik(problem, beta, theta, psi, nodes=nodes), exact, rtol=1e-12)


@pytest.mark.parametrize("shape", [[(7, 1)], [(6, 2)]])
@pytest.mark.parametrize("family", LIKELIHOODS)
def test_quadrature_with_one_node_is_laplace(family, shape):
    problem = made_up(family, shape)
    objective = make_objective(problem)
    beta, theta, psi = a_point(problem, objective.kernel.n_aux)
    laplace = objective.evaluate(beta, theta, psi)
    fixed = objective.offset + objective.X @ beta
    one = OneFactor(objective.structure, objective.kernel, 1).sums(fixed, psi, laplace.mode)
    assert np.isclose(one.value, laplace.value, rtol=1e-12)
    np.testing.assert_allclose(one.curvature, 0.5 * laplace.mode.factor.row_quad, rtol=1e-11)
    np.testing.assert_allclose(one.direction, laplace.mode.factor.row_inverse, rtol=1e-11)
    np.testing.assert_allclose(one.pull, 0.0, atol=1e-9)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_quadrature_converges_to_the_integral(family):
    """Level by level against adaptive integration of the product of the rows' densities."""
    problem = made_up(family, [(5, 1)], n=25)
    beta, theta, psi = a_point(problem, 0)
    kernel, design = problem.kernel(), problem.design
    fixed = design.X @ beta + design.offset
    total = 0.0
    for j in range(5):
        rows = np.flatnonzero(design.blocks[0].codes == j)
        part = kernel.subset(rows)

        def density(u, part=part, rows=rows):
            value = part.derivatives(fixed[rows] + theta[0] * u, psi).value.sum()
            return np.exp(value - 0.5 * u * u) / np.sqrt(2 * np.pi)

        total += np.log(quad(density, -12, 12, epsabs=0, epsrel=1e-12)[0])
    assert np.isclose(marginal_loglik(problem, beta, theta, psi, nodes=40), total, rtol=1e-10)


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_zero_variance_is_the_glm(family):
    problem = made_up(family, [(7, 1), (4, 1)])
    kernel = problem.kernel()
    beta, theta, psi = a_point(problem, kernel.n_aux)
    glm = kernel.derivatives(problem.design.X @ beta + problem.design.offset, psi).value.sum()
    assert np.isclose(marginal_loglik(problem, beta, 0 * theta, psi), glm, rtol=1e-13)
    without = replace(problem, design=replace(problem.design, blocks=()), covariance=())
    assert np.isclose(marginal_loglik(without, beta, np.empty(0), psi), glm, rtol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 5, 20, 51])
def test_nodes_integrate_polynomials_of_the_normal(count):
    nodes, log_weights = hermite(count)
    moments = np.cumprod(np.r_[1.0, np.arange(1.0, 2 * count, 2)])  # 1, 1, 3, 15, ...
    for k in range(min(count, 12)):
        assert np.isclose(np.sum(np.exp(log_weights) * nodes ** (2 * k)), moments[k], rtol=1e-10)
        assert np.isclose(np.sum(np.exp(log_weights) * nodes ** (2 * k + 1)), 0.0, atol=1e-9 * moments[k])


@pytest.mark.parametrize("count", [3, 25, 51, 81, 151, 201])
def test_far_nodes_keep_the_relative_accuracy_of_their_weights(count):
    """They multiply exp(x²/2): a weight of 1e-100 counts as much as the others."""
    nodes, log_weights = hermite(count)
    expected, weights = roots_hermitenorm(count)
    np.testing.assert_allclose(nodes, expected, atol=1e-12)
    np.testing.assert_allclose(log_weights, np.log(weights / weights.sum()), atol=1e-10)


def test_a_thousand_nodes_do_not_overflow():
    nodes, log_weights = hermite(1001)
    level = log_weights + 0.5 * nodes**2  # the logs of the distances between the nodes, nearly
    assert np.isclose(np.exp(log_weights) @ nodes**4, 3.0, rtol=1e-10)
    middle = 0.5 * (nodes[2:] - nodes[:-2]) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(level[20:-20], np.log(middle)[19:-19], atol=1e-3)


@pytest.mark.parametrize("shape", [[(7, 1)], [(6, 2)]])
def test_the_cut_into_chunks_changes_nothing(shape, monkeypatch):
    problem = made_up("gamma", shape)
    beta, theta, psi = a_point(problem, 1)
    whole = make_objective(problem, 5)
    assert len(whole.integral.chunks) == 1
    monkeypatch.setattr(quadrature, "CHUNK_VALUES", 60)
    cut = make_objective(problem, 5)
    assert len(cut.integral.chunks) > 2
    one, other = (o.evaluate(beta, theta, psi) for o in (whole, cut))
    assert np.isclose(one.value, other.value, rtol=1e-13)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-10)
    np.testing.assert_allclose(one.psi, other.psi, rtol=1e-10)


def test_tensor_product_weights_sum_to_one():
    g = grid(4, 3)
    assert g.nodes.shape == (64, 3)
    assert np.isclose(np.exp(g.log_weights).sum(), 1.0)
    np.testing.assert_allclose(np.einsum("k,ki,kj->ij", np.exp(g.log_weights), g.nodes, g.nodes), np.eye(3), atol=1e-12)


def assert_same_fit(one, other):
    assert np.isclose(one.loglik, other.loglik, rtol=1e-11)
    np.testing.assert_allclose(one.beta, other.beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(one.psi, other.psi, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(one.cov_beta, other.cov_beta, rtol=1e-4)


@pytest.mark.parametrize("nodes", [1, 5])
def test_permuting_rows_and_relabelling_levels_change_nothing(nodes):
    problem = simulated()
    rng = np.random.default_rng(5)
    order = rng.permutation(problem.design.nobs)
    relabel = rng.permutation(len(problem.design.blocks[0].levels))
    d, b = problem.design, problem.design.blocks[0]
    moved = problem_of(
        [block("g0", relabel[b.codes][order], b.z[order])],
        d.X[order],
        problem.response.y[order],
        "binomial",
        trials=problem.response.trials[order],
    )
    one, other = fit_marginal(problem, nodes=nodes), fit_marginal(moved, nodes=nodes)
    assert_same_fit(one, other)
    np.testing.assert_allclose(other.effects[0][relabel], one.effects[0], atol=1e-7)
    np.testing.assert_allclose(other.eta, one.eta[order], atol=1e-7)


def simulated(n=160, levels=16, seed=4):
    """Binomial data with a variance well away from zero."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % levels
    X = np.c_[np.ones(n), rng.standard_normal(n)]
    eta = X @ [0.3, 0.5] + 0.9 * rng.standard_normal(levels)[codes]
    trials = rng.integers(1, 5, n)
    y = rng.binomial(trials, 1 / (1 + np.exp(-eta))).astype(float)
    return problem_of([block("g0", codes, np.ones((n, 1)))], X, y, "binomial", trials=trials.astype(float))


def test_splitting_binomial_rows_changes_the_likelihood_by_the_coefficients_only():
    problem = simulated()
    d, r = problem.design, problem.response
    rows = np.repeat(np.arange(d.nobs), r.trials.astype(int))
    within = np.concatenate([np.arange(t) for t in r.trials.astype(int)])
    b = d.blocks[0]
    split = problem_of(
        [block("g0", b.codes[rows], b.z[rows])], d.X[rows], (within < r.y[rows]).astype(float), "binomial"
    )
    one, other = fit_marginal(problem), fit_marginal(split)
    choose = np.sum(gammaln(r.trials + 1) - gammaln(r.y + 1) - gammaln(r.trials - r.y + 1))
    assert_same_fit(one, replace(other, loglik=other.loglik + choose))


def test_scaling_a_gaussian_response_scales_the_estimates():
    rng = np.random.default_rng(8)
    codes = np.arange(80) % 10
    X = np.c_[np.ones(80), rng.standard_normal(80)]
    y = X @ [1.0, 2.0] + 0.7 * rng.standard_normal(10)[codes] + 0.5 * rng.standard_normal(80)
    blocks = [block("g0", codes, np.ones((80, 1)))]
    one, other = (fit_marginal(problem_of(blocks, X, c * y, "gaussian")) for c in (1.0, 1000.0))
    np.testing.assert_allclose(other.beta, 1000 * one.beta, rtol=1e-7)
    np.testing.assert_allclose(other.theta, 1000 * one.theta, rtol=1e-6)
    np.testing.assert_allclose(other.psi, one.psi + np.log(1000), rtol=1e-7)
    assert np.isclose(other.loglik, one.loglik - 80 * np.log(1000), rtol=1e-11)
