"""The latent field (u, β): its factor against dense algebra, its integral and gradient against exact ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from latent_cases import difference, made_up
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

from bayesglmm.latent.nested_laplace.field import FieldFactor, Rows
from bayesglmm.latent.nested_laplace.fit import hyper_target
from bayesglmm.latent.nested_laplace.hyper import HyperTarget, field_value
from bayesglmm.latent.objective import make_objective
from bayesglmm.priors import Prior, resolve_priors
from bayesglmm.problem import Problem

SHAPES = {
    "none": [],
    "one": [(7, 1)],
    "slopes": [(6, 2)],
    "crossed": [(9, 1), (5, 2)],
}


def with_priors(problem: Problem, **priors: Prior) -> Problem:
    request = {"Intercept": Prior("StudentT", nu=4, mu=0.2, sigma=1.5), "a": Prior("Logistic", mu=0, s=0.7)}
    found = resolve_priors(request | priors, problem.design, problem.family, problem.link, problem.covariance)
    return replace(problem, priors=found)


def dense_rows(rows: Rows) -> np.ndarray:
    """(A, X) with a column per unknown."""
    unit = np.eye(rows.m + rows.X.shape[1])
    return np.column_stack([rows.expand(e) for e in unit])


def somewhere(target: HyperTarget, seed: int = 2) -> np.ndarray:
    d = len(target.coordinates.entries) + target.coordinates.n_aux
    return 0.3 * np.random.default_rng(seed).standard_normal(d)


@pytest.mark.parametrize("shape", SHAPES)
def test_factor_is_that_of_the_dense_information(shape: str) -> None:
    problem = made_up("poisson", SHAPES[shape])
    target = hyper_target(problem)
    field = target.field(somewhere(target))
    rng = np.random.default_rng(5)
    weights, half = rng.uniform(0.5, 2.0, len(field.fixed)), rng.normal(size=(field.X.shape[1], field.X.shape[1]))
    precision = half @ half.T
    C = dense_rows(field.rows)
    J = C.T @ (weights[:, None] * C) + block_diag(np.eye(field.rows.m), precision)
    inverse = np.linalg.inv(J)
    factor = field.rows.factorize(weights, precision)
    np.testing.assert_allclose(factor.logdet, np.linalg.slogdet(J)[1], rtol=1e-12)
    right = rng.standard_normal((len(J), 3))
    np.testing.assert_allclose(factor.solve(right), inverse @ right, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(factor.solve(right[:, 0]), inverse @ right[:, 0], rtol=1e-9, atol=1e-12)
    G = inverse @ C.T
    np.testing.assert_allclose(factor.row_quad, np.einsum("ij,ji->i", C, G), rtol=1e-10)
    np.testing.assert_allclose(factor.beta_rows, G[field.rows.m :].T, rtol=1e-9, atol=1e-12)
    for b, own in zip(factor.plan.structure.layouts, factor.level_covariances()):
        at = b.start + b.codes[:, None] * b.size + np.arange(b.size)
        mine = factor.row_inverse[:, b.column : b.column + b.size]
        np.testing.assert_allclose(mine, np.take_along_axis(G.T, at, axis=1), rtol=1e-9, atol=1e-12)
        for j in range(b.levels):
            here = slice(b.start + j * b.size, b.start + (j + 1) * b.size)
            np.testing.assert_allclose(own[j], inverse[here, here], rtol=1e-9, atol=1e-12)


def test_draws_of_the_field_have_its_covariance() -> None:
    target = hyper_target(made_up("poisson", SHAPES["crossed"]))
    field = target.field(somewhere(target))
    factor = field.rows.factorize(np.full(len(field.fixed), 1.3), np.zeros((field.X.shape[1], field.X.shape[1])))
    draws = factor.sample(np.random.default_rng(1), 60_000)
    covariance = factor.solve(np.eye(draws.shape[1]))
    sd = np.sqrt(np.diag(covariance))
    # A sample correlation is off by 1/√60000 = 0.004.
    assert np.abs((np.cov(draws.T) - covariance) / np.outer(sd, sd)).max() < 0.025


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma", "negative_binomial", "gaussian"])
@pytest.mark.parametrize("shape", ["one", "slopes", "crossed"])
def test_gradient_in_the_hyperparameters(family: str, shape: str) -> None:
    target = hyper_target(with_priors(made_up(family, SHAPES[shape])))
    x = somewhere(target)
    point = target.at(x)
    numeric = difference(lambda at: target.at(at, point.mode, with_gradient=False).value, x)
    np.testing.assert_allclose(point.gradient, numeric, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_integral_is_exact(shape: str) -> None:
    problem = made_up("gaussian", SHAPES[shape])
    wide = {c: Prior("Normal", mu=0.3, sigma=1.5 + j) for j, c in enumerate(problem.design.columns)}
    problem = replace(
        problem,
        priors=resolve_priors(wide, problem.design, problem.family, problem.link, problem.covariance),
        design=replace(problem.design, weights=None),
    )
    target = hyper_target(problem)
    x = somewhere(target)
    field = target.field(x)
    mode = field.mode()
    C = dense_rows(field.rows)
    prior = np.r_[np.ones(field.rows.m), [(1.5 + j) ** 2 for j in range(field.X.shape[1])]]
    sigma = np.exp(field.psi[0])
    covariance = C @ (prior[:, None] * C.T) + sigma**2 * np.eye(len(C))
    mean = field.fixed + 0.3 * field.X.sum(axis=1)
    y = problem.response.y[target.objective.order]
    exact = multivariate_normal(mean, covariance).logpdf(y)
    np.testing.assert_allclose(field_value(field, mode), exact, rtol=1e-11)


def test_without_coefficients_it_is_the_laplace_likelihood() -> None:
    problem = made_up("binomial", SHAPES["crossed"])
    problem = replace(problem, design=replace(problem.design, X=np.empty((60, 0)), columns=()))
    target = hyper_target(problem)
    x = somewhere(target)
    _, theta, psi = target.coordinates.split(x)
    field = target.field(x)
    value = make_objective(problem).evaluate(np.empty(0), theta, psi, with_gradient=False).value
    np.testing.assert_allclose(field_value(field, field.mode()), value, rtol=1e-12)


def test_mode_is_found_from_anywhere_and_is_a_maximum() -> None:
    target = hyper_target(with_priors(made_up("binomial", SHAPES["slopes"])))
    field = target.field(somewhere(target))
    modes = [field.mode(start) for start in (None, _warm(field, 3.0), _warm(field, -2.0))]
    for mode in modes:
        assert mode.found
        assert isinstance(mode.factor, FieldFactor)
        np.testing.assert_allclose(mode.u, modes[0].u, atol=1e-8)
    numeric = difference(lambda at: field.at(at).value, modes[0].u)
    np.testing.assert_allclose(numeric, 0.0, atol=1e-7)


def _warm(field: Any, size: float) -> Any:
    from bayesglmm.latent.mode import Warm

    return Warm(np.full(len(field.origin), size))
