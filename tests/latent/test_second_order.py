"""Laplace's second-order correction against the integral itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bayesglmm as bg
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.second_order import _cubes, fourth_derivative, second_order
from bayesglmm.latent.target import make_target
from bayesglmm.latent.unit_errors import unit_errors
from bayesglmm.parameters import pack

SHIPPED = Path(__file__).parents[2] / "models"


def at(model, params):
    """Laplace's log-likelihood, its correction by unit, and the mode."""
    target, point = make_target(model.problem), pack(model.problem, params)
    found = target.objective.evaluate(point.beta, point.theta, point.psi, with_gradient=False)
    return found.value, second_order(target.objective.kernel, point.psi, found.mode), found.mode


# Exact values by importance sampling with 40,000 draws; standard errors 0.001, 0.003, 0.013.
CROSSED = {0.5: -70.0101, 1.0: -72.2868, 3.0: -85.5952}


@pytest.mark.parametrize("sd", CROSSED)
def test_crossed_binary_array(sd):
    model = bg.load_model(SHIPPED / "shun1995.toml", priors="flat")
    value, correction, _ = at(model, {"row.sd": sd, "col.sd": sd, "Intercept": 1.0})
    assert correction.shape == (1,)
    left = abs(value + correction.sum() - CROSSED[sd])
    assert left < 0.1 * abs(value - CROSSED[sd])


@pytest.mark.parametrize(("name", "nodes", "share"), [("cbpp", 41, 0.05), ("contraception_slope", 15, 0.05)])
def test_clusters_against_quadrature(name, nodes, share):
    model = bg.load_model(SHIPPED / f"{name}.toml", priors="flat")
    fit = model.fit("laplace")
    value, correction, _ = at(model, fit.params)
    exact = model.loglik(fit.params, method="agq", nodes=nodes)
    assert abs(value + correction.sum() - exact) < share * abs(value - exact)


def test_every_cluster_is_nearer():
    """Cluster by cluster, where the correction is small; the errors are those of quadrature with many nodes."""
    model = bg.load_model(SHIPPED / "cbpp.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    found = unit_errors(target, optimum)
    assert found.how == "quadrature, 61 nodes"
    before, after = found.laplace - found.exact, found.laplace + found.second_order - found.exact
    assert np.all(np.abs(after) < 0.2 * np.abs(before))
    np.testing.assert_array_equal(found.rows, np.bincount(model.design.blocks[0].codes))


def test_importance_sampling_serves_where_quadrature_does_not():
    model = bg.load_model(SHIPPED / "shun1995.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    found = unit_errors(target, optimum, seed=1)
    assert found.mc_error[0] < 0.01
    assert abs(found.laplace + found.second_order - found.exact) < abs(found.laplace - found.exact)


def test_nothing_to_correct_in_a_gaussian_model():
    model = bg.load_model(SHIPPED / "sleepstudy.toml", priors="flat")
    _, correction, _ = at(model, model.fit("laplace").params)
    np.testing.assert_allclose(correction, 0.0, atol=1e-12)


def test_tensors_by_level_are_the_double_sum():
    model = bg.load_model(SHIPPED / "contraception_slope.toml", priors="flat")
    params = {"Intercept": -1.7, "age": -0.03, "urban[T.Y]": 0.8, "livch[T.1]": 1.1, "livch[T.2]": 1.4}
    params |= {"livch[T.3+]": 1.3, "district.sd": [0.6, 0.8], "district.corr": -0.5}
    _, correction, mode = at(model, params)
    layout = mode.factor.plan.structure.layouts[0]
    cubes = _cubes(mode, layout.codes, layout.levels) / 12.0
    spread = mode.factor.row_quad
    third = mode.derivatives.d3
    g = mode.factor.loadings.collect(third * spread)
    kernel = make_target(model.problem).objective.kernel
    rest = fourth_derivative(kernel, mode.eta, np.empty(0)) * spread**2 / 8.0
    expected = cubes + np.bincount(layout.codes, rest) + (g * mode.factor.solve(g)).reshape(-1, 2).sum(axis=1) / 8.0
    np.testing.assert_allclose(correction, expected, atol=1e-13)


def test_fourth_derivative():
    """Poisson with a log link: ℓ'''' = −e^η."""
    model = bg.load_model(SHIPPED / "ceb.toml")
    kernel = model.problem.kernel()
    eta = np.linspace(-3.0, 5.0, model.design.nobs)
    np.testing.assert_allclose(fourth_derivative(kernel, eta, np.empty(0)), -np.exp(eta), rtol=1e-7)
