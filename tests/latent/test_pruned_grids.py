"""Quadrature grids without their negligible nodes."""

from __future__ import annotations

import numpy as np
import pytest
from building import problem_of
from latent_cases import a_point, difference, made_up, value_of
from reference_data import frame

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.latent import fit_marginal, marginal_loglik
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.quadrature.grid import grid


@pytest.mark.parametrize("q", [2, 3])
@pytest.mark.parametrize("count", [3, 9, 15])
@pytest.mark.parametrize("prune", [1e-2, 1e-6, 1e-9])
def test_dropped_nodes_have_no_more_weight_than_allowed(count, q, prune):
    full, pruned = grid(count, q), grid(count, q, prune)
    there = {tuple(x) for x in pruned.nodes}
    gone = np.array([tuple(x) not in there for x in full.nodes])
    weights = np.exp(full.log_weights)
    assert weights[gone].sum() <= prune
    assert not gone.any() or weights[gone].max() < weights[~gone].min()
    lightest = np.isclose(weights, weights[~gone].min(), rtol=1e-6)
    assert weights[gone | lightest].sum() > prune  # the next ones would have been too many
    assert np.isclose(np.exp(pruned.log_weights).sum(), 1.0)
    np.testing.assert_allclose(np.exp(pruned.log_weights) @ pruned.nodes, 0.0, atol=1e-12)  # mirror images together


def test_counts_that_the_documentation_names():
    assert (len(grid(15, 2, 1e-6)), len(grid(15, 3, 1e-6))) == (129, 1213)


def test_one_dimension_has_nothing_to_drop():
    assert len(grid(25, 1, 1e-2)) == 25


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
@pytest.mark.parametrize(
    ("q", "nodes", "prune", "per_level"), [(2, 15, 1e-6, 3e-5), (2, 15, 1e-9, 1e-6), (3, 9, 1e-5, 1e-4)]
)
def test_pruned_value_agrees_to_the_tolerance_stated(family, q, nodes, prune, per_level):
    """Ten rows a level: densities far enough from normal that the tails weigh more than in a normal density."""
    problem = made_up(family, [(6, q)])
    beta, theta, psi = a_point(problem, make_objective(problem).kernel.n_aux)
    full = marginal_loglik(problem, beta, theta, psi, nodes=nodes)
    pruned = marginal_loglik(problem, beta, theta, psi, nodes=nodes, prune=prune)
    assert len(make_objective(problem, nodes, prune=prune).integral.grid) < 0.95 * nodes**q
    assert pruned != full
    assert abs(pruned - full) < 6 * per_level


def test_gradient_of_a_pruned_grid():
    problem = made_up("negative_binomial", [(6, 3)])
    objective = make_objective(problem, 5, prune=1e-2)
    assert len(objective.integral.grid) == 81
    beta, theta, psi = a_point(problem, 1)
    found = objective.evaluate(beta, theta, psi)
    numeric = difference(value_of(objective, (3, len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(np.concatenate([found.beta, found.theta, found.psi]), numeric, rtol=1e-7, atol=1e-7)


def test_a_fit_by_a_pruned_grid_is_the_fit():
    data = frame("contraception")
    model = bg.Model("use ~ age + urban + (1 + urban | district)", data, "binomial", priors="flat")
    full, pruned = model.fit("agq", nodes=11), model.fit("agq", nodes=11, prune=1e-6)
    assert pruned.loglik == pytest.approx(full.loglik, abs=60 * 3e-6)
    np.testing.assert_allclose(pruned.fixed["estimate"], full.fixed["estimate"], atol=1e-4 * full.fixed["se"].min())
    np.testing.assert_allclose(pruned.fixed["se"], full.fixed["se"], rtol=1e-4)
    assert pruned.result.options["prune"] == 1e-6
    assert model.loglik(full.params, "agq", nodes=11, prune=1e-6) == pytest.approx(full.loglik, abs=60 * 3e-6)


def test_pruning_makes_room_for_more_nodes():
    data = frame("cbpp").assign(x=np.linspace(0, 1, 56), w=np.cos(np.arange(56)))
    made = problem_of("p(incidence, size) ~ x + (1 + x + w | herd)", data, "binomial")
    with pytest.raises(MethodError, match=r"41 nodes in 3 dimensions are 68921 .* at most 27 nodes.*prune=1e-6"):
        make_objective(made, 41)
    with pytest.raises(MethodError, match=r"61 nodes in 3 dimensions are \d+ .* at most 44 nodes fit here"):
        make_objective(made, 61, prune=1e-14)
    assert len(make_objective(made, 41, prune=1e-6).integral.grid) < 20_000


@pytest.mark.parametrize("prune", [-1e-3, 0.5, "a little", True, None])
def test_shares_that_cannot_be(prune):
    with pytest.raises(MethodError, match="the share of the weight that dropped nodes may have"):
        fit_marginal(made_up("poisson", [(6, 2)]), nodes=5, prune=prune)
