"""The exact gradient against fourth-order finite differences, for every family, covariance form and node count."""

from __future__ import annotations

import numpy as np
import pytest
from latent_cases import a_point, difference, made_up, value_of
from scipy import sparse

from bayesglmm.covariance import BlockCovariance, Known
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.target import Coordinates, Target
from bayesglmm.priors import resolve_priors

FAMILIES = [
    ("gaussian", "identity"),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("poisson", "log"),
    ("negative_binomial", "log"),
    ("gamma", "log"),
    ("gamma", "inverse"),
]
SHAPES = {
    "one": [(7, 1)],
    "slope": [(6, 2)],
    "three columns": [(6, 3)],
    "crossed": [(9, 2), (5, 1)],
    "three factors": [(9, 1), (5, 3), (4, 1)],
}


def assert_gradient(problem, nodes=1):
    objective = make_objective(problem, nodes)
    beta, theta, psi = a_point(problem, objective.kernel.n_aux)
    if problem.link.name == "inverse":
        beta = np.array([4.0, 0.3, -0.2])  # η > 0 with room to spare
        theta = theta / 15
    at = objective.evaluate(beta, theta, psi)
    found = np.concatenate([at.beta, at.theta, at.psi])
    numeric = difference(value_of(objective, (len(beta), len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(found, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("family", "link"), FAMILIES)
def test_laplace(family, link, shape):
    assert_gradient(made_up(family, SHAPES[shape], link))


@pytest.mark.parametrize("nodes", [2, 5])
@pytest.mark.parametrize("shape", ["one", "slope", "three columns"])
@pytest.mark.parametrize(("family", "link"), FAMILIES)
def test_quadrature_with_its_moving_nodes(family, link, shape, nodes):
    assert_gradient(made_up(family, SHAPES[shape], link), nodes)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("form", ["diagonal", "cs", "ar1"])
def test_every_covariance_form(form, nodes):
    assert_gradient(made_up("poisson", [(6, 3)], covariance={"g0": form}), nodes)


@pytest.mark.parametrize("family", ["binomial", "gaussian"])
def test_known_covariance_between_levels(family):
    rng = np.random.default_rng(0)
    root = np.tril(rng.standard_normal((8, 8))) / 3 + np.eye(8)
    K = Known(root @ root.T, levels=[f"g0{j}" for j in range(8)])
    assert_gradient(made_up(family, [(8, 2), (10, 1)], covariance={"g0": K}))


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1"])
@pytest.mark.parametrize("family", ["gaussian", "binomial", "negative_binomial"])
def test_posterior_in_working_coordinates(family, form):
    problem = made_up(family, [(8, 2), (5, 1)], covariance={"g0": form})
    priors = resolve_priors("default", problem.design, problem.family, problem.link, problem.covariance)
    objective = make_objective(problem)
    coordinates = Coordinates(3, objective.kernel.n_aux, problem.covariance, log_scales=True)
    target = Target(objective, coordinates, priors, tuple(a.link for a in problem.family.auxiliaries))
    x = coordinates.join(*a_point(problem, objective.kernel.n_aux))
    numeric = difference(lambda v: target.at(v, with_gradient=False).value, x)
    np.testing.assert_allclose(target.at(x).gradient, numeric, rtol=1e-7, atol=1e-7)


def test_log_determinant_of_a_known_covariance_is_counted():
    """K = 4I is the same model as K = I with twice the sd."""
    plain = made_up("poisson", [(8, 1)])
    objective = make_objective(plain)
    block = plain.covariance[0]
    scaled = BlockCovariance(block.terms, block.forms, sparse.csc_array(np.eye(8) / 4.0), -8 * np.log(4.0))
    known = make_objective(type(plain)(plain.design, plain.family, plain.link, (scaled,), None))
    beta, theta, psi = a_point(plain, 0)
    assert np.isclose(
        objective.evaluate(beta, 2 * theta, psi).value, known.evaluate(beta, theta, psi).value, rtol=1e-12
    )
