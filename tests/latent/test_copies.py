"""Many parameter vectors at once: the same numbers as one at a time, whatever the structure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bayesglmm as bg
from bayesglmm.latent.copies import Points, find_units, how_many, make_copies
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.target import make_target
from bayesglmm.latent.weights.conditional import Work, solve_at
from bayesglmm.latent.weights.ratio import Ratio

SHIPPED = Path(__file__).parents[2] / "models"

MODELS = {
    "cbpp": 15,  # one factor: its levels
    "sleepstudy": 18,  # two effects a level
    "epilepsy": 59,  # rows nested in subjects
    "grouseticks": 63,  # three nested factors
    "shun1995": 1,  # crossed: one unit
    "salamanders": 23,  # a linear predictor of the zeros
    "owls": 27,  # two auxiliaries
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model = bg.load_model(SHIPPED / f"{request.param}.toml")
    fit = model.fit("laplace")
    return request.param, *found_optimum(model.problem, fit.result)


def vectors(optimum, count, seed=0):
    spread = np.linalg.cholesky(optimum.curvature.covariance)
    rng = np.random.default_rng(seed)
    return optimum.point.x + rng.standard_normal((count, len(optimum.point.x))) @ spread.T


def test_laplace_of_copies_is_laplace(case):
    name, target, optimum = case
    x = vectors(optimum, 7)
    solved = solve_at(target, optimum, x, np.random.default_rng(1), Work(1))
    one_by_one = [target.at(row, optimum.point.mode, with_gradient=False).value for row in x]
    np.testing.assert_allclose(solved.log_prior + solved.laplace, one_by_one, rtol=0, atol=1e-8)
    assert make_copies(target.objective, 1).units.count == MODELS[name]


def test_units_share_no_row_and_add_up(case):
    name, target, optimum = case
    count = min(how_many(target.objective, 3), 3)
    copies = make_copies(target.objective, count)
    points = Points.of(target.coordinates, vectors(optimum, count))
    mode = copies.mode(points, np.repeat(optimum.point.mode.u[None], count, axis=0))
    by_unit = copies.laplace(mode)
    assert by_unit.shape == (count, MODELS[name])
    # A unit's integral does not know the other units' random effects: no entry of H joins two of them.
    unit = copies.units.of_unknown
    chosen = np.flatnonzero(unit == unit[len(unit) // 2])
    column = np.zeros(copies.structure.m)
    column[chosen[0]] = 1.0
    touched = np.flatnonzero(np.abs(mode.factor.solve(column)) > 1e-14)
    assert set(touched) <= set(chosen)
    np.testing.assert_allclose(by_unit.sum(), mode.value - 0.5 * mode.factor.logdet, rtol=1e-12)


def test_a_known_covariance_makes_one_unit():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(6), 4)
    K = 0.5 * np.eye(6) + 0.5
    data = {"y": rng.poisson(3.0, 24), "g": [str(k) for k in g]}
    levels = [str(k) for k in range(6)]
    model = bg.Model("y ~ 1 + (1 | g)", data, "poisson", covariance={"g": bg.Known(K, levels=levels)})
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    assert find_units(target.objective.structure).count == 1
    x = vectors(optimum, 5)
    solved = solve_at(target, optimum, x, rng, Work(4))
    one_by_one = [target.at(row, optimum.point.mode, with_gradient=False).value for row in x]
    np.testing.assert_allclose(solved.log_prior + solved.laplace, one_by_one, atol=1e-8)


def test_a_vector_without_a_mode_does_not_spoil_the_others():
    model = bg.load_model(SHIPPED / "cbpp.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = vectors(optimum, 50)
    bad = x.copy()
    bad[17, 0] = 1e6  # far outside: the density underflows
    bad[23, -1] = np.nan
    fine = np.setdiff1d(np.arange(50), [17, 23])
    alone = solve_at(target, optimum, x, np.random.default_rng(1), Work(2))
    mixed = solve_at(target, optimum, bad, np.random.default_rng(1), Work(2))
    np.testing.assert_allclose(mixed.laplace[fine], alone.laplace[fine], atol=1e-8)
    np.testing.assert_allclose(mixed.u[fine], alone.u[fine], atol=1e-6)
    assert mixed.laplace[23] == -np.inf
    assert np.all(np.isfinite(mixed.u[17]))


@pytest.mark.parametrize(("name", "nodes"), [("cbpp", 9), ("contraception_slope", 5)])
def test_quadrature_of_copies_is_quadrature(name, nodes):
    model = bg.load_model(SHIPPED / f"{name}.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = vectors(optimum, 3)
    solved = solve_at(target, optimum, x, np.random.default_rng(1), Work(0, nodes))
    quadrature = replace(target, objective=replace(target.objective, nodes=nodes))
    expected = [quadrature.at(row, optimum.point.mode, with_gradient=False).value for row in x]
    np.testing.assert_allclose(solved.log_prior + solved.quadrature, expected, atol=1e-7)


def test_a_gaussian_model_has_no_error_to_weight():
    """Laplace is exact there: every draw of the random effects has the same ratio, the marginal likelihood."""
    model = bg.load_model(SHIPPED / "sleepstudy.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    solved = solve_at(target, optimum, vectors(optimum, 40), np.random.default_rng(1), Work(3))
    np.testing.assert_allclose(solved.single, solved.laplace, atol=1e-8)
    np.testing.assert_allclose(solved.averaged, solved.laplace, atol=1e-8)
    np.testing.assert_allclose(solved.halves, np.stack([solved.laplace] * 2), atol=1e-8)
    np.testing.assert_allclose(solved.unit_ratios, 0.0, atol=1e-8)


def test_candidates_estimate_the_integral_without_bias():
    """The mean of exp(ratio) over many draws is the integral, unit by unit, within four standard errors."""
    model = bg.load_model(SHIPPED / "cbpp.toml")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    copies = make_copies(target.objective, 1)
    points = Points.of(target.coordinates, optimum.point.x[None])
    mode = copies.mode(points, optimum.point.mode.u[None])
    ratio = Ratio(copies, mode, copies.fixed(points), copies.psi(points))
    exact = ratio.quadrature(61)[0]
    ratios, draws = ratio.candidates(np.random.default_rng(5).standard_normal((4000, 1, 15)), antithetic=True)
    share = np.exp(ratios[:, 0] - exact).reshape(4000, 2, 15).mean(axis=1)
    error = share.std(axis=0, ddof=1) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(share.mean(axis=0) - 1.0), 4.0 * error)
    # Pairs mirror each other at the mode.
    np.testing.assert_allclose(draws[0] + draws[1], 2.0 * mode.u[None], atol=1e-10)


@pytest.mark.parametrize("name", [*MODELS, "contraception_slope"])
def test_priors_of_many_vectors_are_those_of_each(name):
    model = bg.load_model(SHIPPED / f"{name}.toml")
    target = make_target(model.problem)
    x = np.random.default_rng(0).normal(0.0, 0.02, (5, target.coordinates.p + target.coordinates.n_aux))
    theta = np.random.default_rng(1).normal(0.0, 0.7, (5, len(target.coordinates.entries)))
    x = np.concatenate([x[:, : target.coordinates.p], theta, x[:, target.coordinates.p :]], axis=1)
    for many, one in zip(target.coordinates.split_many(x), zip(*map(target.coordinates.split, x))):
        np.testing.assert_allclose(many, np.stack(one), rtol=1e-14)
    zero = target.objective.evaluate
    expected = [target.at(v, with_gradient=False).value - zero(*target.coordinates.split(v)).value for v in x]
    np.testing.assert_allclose(target.log_priors(x), expected, atol=1e-7)


@pytest.mark.parametrize("form", ["diagonal", "cs", "ar1", "unstructured"])
def test_priors_of_many_vectors_under_every_covariance(form):
    rng = np.random.default_rng(3)
    data = {
        "y": rng.poisson(3.0, 30),
        "t": np.tile(["a", "b", "c"], 10),
        "g": np.repeat([f"g{k}" for k in range(10)], 3),
    }
    priors = {"g.sd": bg.Prior("Gamma", alpha=2.0, beta=1.0, on="precision")}
    model = bg.Model("y ~ 1 + (0 + t | g)", data, "poisson", covariance={"g": form}, priors=priors)
    target = make_target(model.problem)
    x = rng.normal(0.0, 0.5, (6, 1 + len(target.coordinates.entries)))
    expected = [target.at(v, with_gradient=False).value for v in x]
    likelihood = [target.objective.evaluate(*target.coordinates.split(v), with_gradient=False).value for v in x]
    np.testing.assert_allclose(target.log_priors(x), np.subtract(expected, likelihood), atol=1e-7)
