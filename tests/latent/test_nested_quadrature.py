"""Quadrature over two nested grouping factors: identities, brute force, exact gradients, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from latent_cases import a_point, block, difference, problem_of, value_of
from nested_cases import nested
from scipy.integrate import dblquad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesglmm.errors import MethodError
from bayesglmm.latent import fit_marginal, marginal_loglik
from bayesglmm.latent.nesting import nesting
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.quadrature import nested_layout
from bayesglmm.latent.quadrature.nodes import default_nodes, settle_nodes
from bayesglmm.latent.target import make_target
from bayesglmm.priors import resolve_priors

FAMILIES = [
    ("gaussian", "identity"),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("poisson", "log"),
    ("negative_binomial", "log"),
    ("gamma", "log"),
]
SIZES = [(1, 1), (2, 1), (1, 2), (2, 2)]


def joined(e):
    return np.concatenate([e.beta, e.theta, e.psi])


# --- identities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("family", "link"), FAMILIES)
def test_one_node_at_both_levels_is_laplace(family, link, sizes):
    """Value and gradient, for the code that has no way of knowing: the inner then the outer determinant is |H|."""
    for seed in (1, 2):
        objective = make_objective(nested(family, sizes, link, seed=seed))
        beta, theta, psi = a_point(nested(family, sizes, link, seed=seed), objective.kernel.n_aux)
        laplace = objective.evaluate(beta, theta, psi)
        one = replace(objective, nodes=(1, 1)).evaluate(beta, theta, psi)
        assert np.isclose(one.value, laplace.value, rtol=1e-13)
        np.testing.assert_allclose(joined(one), joined(laplace), rtol=1e-8, atol=1e-8)
        again = replace(objective, nodes=(1, 1)).evaluate(beta, theta, psi, with_gradient=False)
        assert np.isclose(again.value, laplace.value, rtol=1e-13)


@pytest.mark.parametrize("nodes", [(1, 4), (3, 1), (2, 2), (5, 3)])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_gaussian_model_is_exact_with_any_nodes(sizes, nodes):
    problem = nested("gaussian", sizes)
    beta, theta, psi = a_point(problem, 1)
    d = problem.design
    V = np.diag(np.exp(2 * psi[0]) / d.weights)
    at = 0
    for b, cov in zip(d.blocks, problem.covariance):
        L = cov.factor(theta[at : at + cov.n_params])
        at += cov.n_params
        V += np.where(b.codes[:, None] == b.codes, b.z @ L @ L.T @ b.z.T, 0.0)
    exact = multivariate_normal(d.X @ beta + d.offset, V).logpdf(problem.response.y)
    assert np.isclose(marginal_loglik(problem, beta, theta, psi, nodes=nodes), exact, rtol=1e-12)
    pruned = marginal_loglik(problem, beta, theta, psi, nodes=nodes, prune=0.05)
    assert np.isclose(pruned, exact, rtol=1e-12)


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
def test_without_variance_at_one_level_the_other_is_integrated_alone(family):
    problem = nested(family)
    d = problem.design
    beta, theta, psi = a_point(problem, make_objective(problem).kernel.n_aux)
    for kept in (0, 1):
        alone = replace(problem, design=replace(d, blocks=(d.blocks[kept],)), covariance=(problem.covariance[kept],))
        one = marginal_loglik(alone, beta, theta[kept : kept + 1], psi, nodes=9)
        both = marginal_loglik(problem, beta, np.where(np.arange(2) == kept, theta, 0.0), psi, nodes=9)
        assert np.isclose(one, both, rtol=1e-12)


def test_one_inner_unit_per_outer_unit_is_one_factor_with_both_variances():
    rng = np.random.default_rng(4)
    n, g = 40, np.repeat(np.arange(8), 5)
    X = np.c_[np.ones(n), rng.standard_normal((n, 2))]
    y = rng.poisson(2.0, n).astype(float)
    ones = np.ones((n, 1))
    two = problem_of([block("a", g, ones), block("b", g, ones)], X, y, "poisson")
    one = problem_of([block("a", g, ones)], X, y, "poisson")
    beta = np.array([0.5, 0.1, -0.1])
    expected = marginal_loglik(one, beta, np.array([0.5]), np.empty(0), nodes=40)
    found = marginal_loglik(two, beta, np.array([0.3, 0.4]), np.empty(0), nodes=40)
    assert np.isclose(found, expected, rtol=1e-11)


def test_rows_levels_and_portions_in_any_order(monkeypatch):
    problem = nested("binomial", (1, 2))
    beta, theta, psi = a_point(problem, 0)
    whole = make_objective(problem, (3, 4))
    assert len(whole.integral.portions) == 1
    expected = whole.evaluate(beta, theta, psi)
    monkeypatch.setattr(nested_layout, "COPIED_ROWS", 30)
    cut = make_objective(problem, (3, 4))
    assert len(cut.integral.portions) == 4
    found = cut.evaluate(beta, theta, psi)
    assert np.isclose(found.value, expected.value, rtol=1e-13)
    np.testing.assert_allclose(joined(found), joined(expected), rtol=1e-9, atol=1e-9)
    order = np.random.default_rng(1).permutation(problem.design.nobs)
    d = problem.design
    blocks = [replace(b, codes=b.codes[order], z=b.z[order]) for b in d.blocks]
    trials = problem.response.trials[order]
    moved = problem_of(blocks, d.X[order], problem.response.y[order], "binomial", None, trials, None, d.offset[order])
    again = make_objective(moved, (3, 4)).evaluate(beta, theta, psi)
    assert np.isclose(again.value, expected.value, rtol=1e-12)
    np.testing.assert_allclose(joined(again), joined(expected), rtol=1e-8, atol=1e-8)


# --- against integrals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "sd"), [("binomial", (1.5, 2.0)), ("poisson", (0.5, 0.7))])
def test_two_inner_units_against_adaptive_integration(family, sd):
    """∫ φ(u) Π_k ∫ φ(v) Π_i p(y_i | u, v) dv du, the integral over (u, v) of each inner unit by itself, then over u."""
    problem = nested(family, n=14, outer=2, per=2, seed=3)
    beta, _, psi = a_point(problem, 0)
    theta = np.array(sd)
    kernel, d = problem.kernel(), problem.design
    fixed = d.X @ beta + d.offset
    outer, inner = (d.blocks[k].codes for k in nesting(d.blocks))
    total = 0.0
    v, dv = np.linspace(-12, 12, 481, retstep=True)  # the trapezoidal rule is exact to rounding
    u, du = np.linspace(-12, 12, 241, retstep=True)
    for j in range(2):
        log_f = -0.5 * u**2 - 0.5 * np.log(2 * np.pi)
        for k in np.unique(inner[outer == j]):
            rows = np.flatnonzero(inner == k)
            part = kernel.subset(rows)
            own = np.empty(len(u))
            for a, ua in enumerate(u):
                eta = fixed[rows] + sd[0] * ua + sd[1] * v[:, None]
                log_p = part.derivatives(eta, psi).value.sum(axis=1) - 0.5 * v**2 - 0.5 * np.log(2 * np.pi)
                own[a] = logsumexp(log_p) + np.log(dv)
            log_f = log_f + own
        total += logsumexp(log_f) + np.log(du)
    assert np.isclose(marginal_loglik(problem, beta, theta, psi, nodes=(60, 60)), total, rtol=1e-9)


def test_one_pair_of_units_against_dblquad():
    rng = np.random.default_rng(2)
    X, y = np.c_[np.ones(3), rng.standard_normal((3, 2))], np.array([1.0, 1.0, 0.0])
    codes, ones = np.zeros(3, dtype=np.int64), np.ones((3, 1))
    problem = problem_of([block("a", codes, ones), block("b", codes, ones)], X, y, "binomial")
    beta, theta = np.array([0.3, 0.4, -0.5]), np.array([1.2, 0.8])
    kernel, fixed = problem.kernel(), X @ beta

    def density(v, u):
        value = kernel.derivatives(fixed + theta[0] * u + theta[1] * v, np.empty(0)).value.sum()
        return np.exp(value - 0.5 * (u * u + v * v)) / (2 * np.pi)

    exact = np.log(dblquad(density, -9, 9, -9, 9, epsabs=0, epsrel=1e-9)[0])
    assert np.isclose(marginal_loglik(problem, beta, theta, np.empty(0), nodes=40), exact, rtol=1e-8)


def test_vector_effects_converge_to_the_integral_by_simulation():
    """Importance sampling from the Gaussian at the joint mode, ten standard errors wide at most."""
    problem = nested("binomial", (2, 2), n=40, outer=2, per=2)
    beta, theta, psi = a_point(problem, 0)
    objective = make_objective(problem)
    mode = objective.evaluate(beta, theta, psi).mode
    rng = np.random.default_rng(0)
    draws = 40_000
    z = rng.standard_normal((len(mode.u), draws))
    u = mode.u[:, None] + mode.factor.half_solve(z)
    fixed = objective.offset + objective.X @ beta
    eta = fixed[:, None] + mode.factor.loadings.expand(u)
    log_p = objective.kernel.derivatives(eta.T, psi).value.sum(axis=1) - 0.5 * np.sum(u**2, axis=0)
    log_w = log_p + 0.5 * np.sum(z**2, axis=0) - 0.5 * mode.factor.logdet
    estimate = logsumexp(log_w) - np.log(draws)
    error = np.std(np.exp(log_w - estimate)) / np.sqrt(draws)
    found = marginal_loglik(problem, beta, theta, psi, nodes=11)
    assert error < 5e-3
    assert abs(found - estimate) < 4 * error
    laplace = objective.evaluate(beta, theta, psi).value
    assert abs(laplace - estimate) > 20 * error  # the test can tell


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [(3, 4), (2, 1), (1, 3)])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("family", "link"), FAMILIES)
def test_exact_gradient_with_its_moving_nodes(family, link, sizes, nodes):
    problem = nested(family, sizes, link)
    objective = make_objective(problem, nodes)
    beta, theta, psi = a_point(problem, objective.kernel.n_aux)
    found = objective.evaluate(beta, theta, psi)
    numeric = difference(value_of(objective, (len(beta), len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(joined(found), numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("form", ["diagonal", "cs", "ar1"])
def test_gradient_of_every_covariance_form(form):
    problem = nested("poisson", (2, 2), covariance={"a": form, "b": form})
    objective = make_objective(problem, (3, 3))
    beta, theta, psi = a_point(problem, 0)
    numeric = difference(value_of(objective, (len(beta), len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(joined(objective.evaluate(beta, theta, psi)), numeric, rtol=1e-7, atol=1e-7)


def test_gradient_of_a_pruned_grid():
    problem = nested("binomial", (2, 2))
    objective = make_objective(problem, (5, 5), prune=1e-2)
    assert len(objective.integral.grid) == 21
    beta, theta, psi = a_point(problem, 0)
    numeric = difference(value_of(objective, (len(beta), len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(joined(objective.evaluate(beta, theta, psi)), numeric, rtol=1e-7, atol=1e-7)


def test_gradient_of_the_posterior_in_working_coordinates():
    problem = nested("negative_binomial", (1, 2))
    priors = resolve_priors("default", problem.design, problem.family, problem.link, problem.covariance)
    target = make_target(replace(problem, priors=priors), (3, 4))
    x = target.coordinates.join(*a_point(problem, 1))
    numeric = difference(lambda v: target.at(v, with_gradient=False).value, x)
    np.testing.assert_allclose(target.at(x).gradient, numeric, rtol=1e-7, atol=1e-7)


# --- outside the range of η -------------------------------------------------------------------------------------------


def test_nodes_outside_the_range_of_the_mean_have_density_zero():
    """A gamma with identity link: far nodes have a negative mean."""
    problem = nested("gamma", link="identity")
    beta, theta, psi = np.array([1.5, 0.0, 0.0]), np.array([0.6, 0.3]), np.array([0.7])
    few, many = (marginal_loglik(problem, beta, theta, psi, nodes=k) for k in (5, 15))
    assert np.isfinite(many)
    assert many == pytest.approx(few, abs=0.1)


# --- what is asked for, and refused -----------------------------------------------------------------------------------


def test_which_factor_is_nested_is_read_from_the_data():
    a, b = np.array([0, 0, 1, 1, 1]), np.array([3, 3, 0, 1, 0])
    one, other = (block(name, codes, np.ones((5, 1))) for name, codes in (("a", a), ("b", b)))
    assert nesting([one, other]) == (0, 1)
    assert nesting([other, one]) == (1, 0)
    crossed = block("c", np.array([0, 1, 0, 1, 1]), np.ones((5, 1)))
    assert nesting([one, crossed]) is None
    assert nesting([one]) is None
    assert nesting([one, other, other]) is None


@pytest.mark.parametrize(
    ("nodes", "settled"), [(1, 1), ((1, 1), 1), (5, (5, 5)), ((3, 7), (3, 7)), ([3, 7], (3, 7)), ((1, 7), (1, 7))]
)
def test_one_number_of_nodes_is_for_both_levels(nodes, settled):
    assert settle_nodes(make_objective(nested("poisson")).structure, nodes) == settled


def test_default_nodes():
    assert default_nodes(nested("poisson").design.blocks) == (15, 15)
    assert default_nodes(nested("poisson", (1, 2)).design.blocks) == (15, 7)
    assert default_nodes(nested("poisson", (2, 1), seed=2).design.blocks) == (7, 15)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((3, 4, 5), "whole number, 1 or more; for two nested grouping factors also a pair"),
        ((3, 0), "whole number, 1 or more"),
        ((3, 2.5), "whole number"),
        ((201, 201), r"201 and 201 nodes in 1 outer and 1 inner dimensions are 40401 evaluations.*at most nodes=141"),
    ],
)
def test_nodes_that_nested_effects_cannot_have(nodes, words):
    with pytest.raises(MethodError, match=words):
        fit_marginal(nested("poisson"), nodes=nodes)


def test_too_many_nodes_for_vector_effects_say_what_would_fit():
    with pytest.raises(MethodError, match=r"2 outer and 2 inner dimensions.*at most nodes=11 .*prune=1e-6"):
        fit_marginal(nested("poisson", (2, 2)), nodes=25)


def test_a_pair_of_nodes_is_for_two_factors():
    one = problem_of(
        [block("a", np.repeat(np.arange(5), 4), np.ones((20, 1)))], np.ones((20, 1)), np.ones(20), "poisson"
    )
    with pytest.raises(MethodError, match=r"\(outer, inner\) numbers of nodes are for two nested"):
        fit_marginal(one, nodes=(3, 5))


@pytest.mark.slow
def test_the_graph_kernel_gives_the_same_value_and_gradient():
    problem = nested("negative_binomial")
    closed, graph = (make_objective(problem, (3, 4), kernel) for kernel in ("auto", "graph"))
    point = a_point(problem, 1)
    one, other = closed.evaluate(*point), graph.evaluate(*point)
    assert np.isclose(one.value, other.value, rtol=1e-11)
    np.testing.assert_allclose(joined(other), joined(one), rtol=1e-7, atol=1e-8)


# --- fits -------------------------------------------------------------------------------------------------------------


def test_a_family_variance_of_zero_is_a_boundary():
    """Responses without any effect of the inner units: the fit is that of the outer factor alone."""
    rng = np.random.default_rng(8)
    n = 240
    X = np.c_[np.ones(n), rng.standard_normal((n, 2))]
    outer, inner = np.arange(n) // 20, np.arange(n) // 4
    # Every inner unit has the same counts: less variation between them than chance would give.
    y = np.tile([0.0, 1.0, 2.0, 3.0], n // 4) + (outer % 3)
    ones = np.ones((n, 1))
    both = fit_marginal(problem_of([block("a", outer, ones), block("b", inner, ones)], X, y, "poisson"), nodes=7)
    alone = fit_marginal(problem_of([block("a", outer, ones)], X, y, "poisson"), nodes=7)
    assert both.status.boundary == ("the sd of c0 in b is zero",)
    assert both.status.converged
    assert both.loglik == pytest.approx(alone.loglik, abs=1e-8)
    np.testing.assert_allclose(both.beta, alone.beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(both.cov_beta, alone.cov_beta, rtol=1e-3)


def test_standard_errors_are_those_of_the_likelihood():
    """Against second differences of the value, and the optimum against its slope."""
    rng = np.random.default_rng(3)
    n = 240
    X = np.c_[np.ones(n), rng.standard_normal((n, 2))]
    outer, inner = np.arange(n) // 20, np.arange(n) // 4
    eta = 0.5 + 0.3 * X[:, 1] + 0.7 * rng.standard_normal(12)[outer] + 0.6 * rng.standard_normal(60)[inner]
    ones = np.ones((n, 1))
    problem = problem_of(
        [block("a", outer, ones), block("b", inner, ones)], X, rng.poisson(np.exp(eta)).astype(float), "poisson"
    )
    found = fit_marginal(problem, nodes=5)
    assert found.status.converged
    assert found.status.boundary == ()
    value = value_of(make_objective(problem, 5), (3, 2))
    x, size = np.concatenate([found.beta, found.theta]), np.sqrt(np.diag(found.cov_joint))
    np.testing.assert_allclose(difference(lambda v: value(x + v * size), np.zeros(5)), 0.0, atol=1e-6)
    bent = np.empty((5, 5))
    for k in range(5):
        for j in range(5):
            e, f = 0.05 * np.eye(5)[[k, j]] * size
            bent[k, j] = (value(x + e + f) - value(x + e - f) - value(x - e + f) + value(x - e - f)) / (4 * 0.05**2)
    np.testing.assert_allclose(np.linalg.inv(-bent) * np.outer(size, size), found.cov_joint, rtol=0.02, atol=1e-5)
    assert np.isclose(np.sqrt(np.linalg.inv(-bent)[1, 1]), 1.0, rtol=2e-3)
