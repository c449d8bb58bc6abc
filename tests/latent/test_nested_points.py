"""Many parameter vectors at once where factors are nested: the numbers of the general way, or of dense algebra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bayesglmm as bg
from bayesglmm.latent.copies import Points
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.weights.conditional import NEAR, Work, solve_at
from bayesglmm.latent.weights.nested_levels import find_levels
from bayesglmm.latent.weights.nested_points import LAST_STEP, NestedPoints

SHIPPED = Path(__file__).parents[2] / "models"
RNG = np.random.default_rng(11)
GROUPS = np.repeat(np.arange(12), 8)
SMALL = {
    "x": RNG.standard_normal(96),
    "g": [f"g{k}" for k in GROUPS],
    "h": [f"h{k}" for k in GROUPS // 3],
    "y": RNG.negative_binomial(3.0, 0.3, 96),
    "t": RNG.gamma(2.0, 1.0, 96) + 0.1,
}
#: Name → formula and family on the small table: what the shipped models have not.
OWN = {
    "a slope alone": ("y ~ x + (0 + x | g)", "poisson"),
    "nested slopes": ("y ~ x + (0 + x | g) + (1 | h)", "poisson"),
    "an auxiliary": ("y ~ x + (1 | g) + (1 | h)", "negative_binomial"),
    "no short way": ("t ~ x + (1 | g)", "gamma"),
}
#: Its factors, from the finest to the coarsest.
SHIPPED_LEVELS = {
    "cbpp": (15,),
    "contraception": (60,),
    "epilepsy": (236, 59),
    "grouseticks": (403, 118, 63),
    "salamanders": (23,),
}


def model_of(name):
    if name in OWN:
        formula, family = OWN[name]
        return bg.Model(formula, SMALL, family, link="log" if family == "gamma" else None)
    return bg.load_model(SHIPPED / f"{name}.toml")


@pytest.fixture(scope="module", params=[*SHIPPED_LEVELS, *OWN])
def case(request):
    model = model_of(request.param)
    return request.param, *found_optimum(model.problem, model.fit("laplace").result)


def vectors(optimum, count, spread=1.0):
    root = np.linalg.cholesky(optimum.curvature.covariance)
    rng = np.random.default_rng(0)
    return optimum.point.x + spread * rng.standard_normal((count, len(optimum.point.x))) @ root.T


def test_levels_from_finest_to_coarsest(case):
    name, target, _ = case
    levels = find_levels(target.objective.structure)
    if name in SHIPPED_LEVELS:
        assert tuple(b.levels for b in levels.layouts) == SHIPPED_LEVELS[name]
    for (k, a), up in levels.up.items():
        np.testing.assert_array_equal(up[levels.layouts[k].codes], levels.layouts[a].codes)
    u = np.random.default_rng(0).standard_normal((target.objective.structure.m, 3))
    np.testing.assert_array_equal(levels.join(levels.split(u)), u)


def test_elimination_is_that_of_the_dense_matrix(case):
    _, target, _ = case
    structure = target.objective.structure
    levels, rng = find_levels(structure), np.random.default_rng(1)
    weights, scales = rng.uniform(0.1, 2.0, (structure.n, 2)), [rng.uniform(0.3, 2.0, 2) for _ in levels.layouts]
    factor = levels.eliminate(levels.collect_pairs(weights), scales)
    rhs = rng.standard_normal((structure.m, 2))
    assert factor.definite.all()
    solved, half = levels.join(factor.solve(levels.split(rhs))), levels.join(factor.half_solve(levels.split(rhs)))
    identity = np.repeat(np.eye(structure.m)[:, :, None], 2, axis=2)
    for j in range(2):
        A = np.zeros((structure.n, structure.m))
        for b, scale in zip(levels.layouts, scales):
            A[np.arange(structure.n), b.start + b.codes] = b.z[:, 0] * scale[j]
        H = A.T @ (weights[:, j, None] * A) + np.eye(structure.m)
        np.testing.assert_allclose(H @ solved[:, j], rhs[:, j], atol=1e-10)
        log_det = sum(np.log(own[:, j]).sum() for own in factor.pivots)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(H)[1], rtol=1e-12)
        # CC' = H⁻¹, column by column of C.
        one = [
            levels.join(factor.take(np.arange(2) == j).half_solve([z[:, None] for z in _split(levels, e)]))
            for e in identity[:, :, j].T
        ]
        C = np.concatenate(one, axis=1)
        np.testing.assert_allclose(H @ C @ C.T, np.eye(structure.m), atol=1e-9)
        np.testing.assert_allclose(half[:, j], C @ rhs[:, j], atol=1e-10)


def _split(levels, u):
    return [u[b.start : b.stop] for b in levels.layouts]


def test_the_same_as_one_model_side_by_side(case):
    """Around modes that are near, with the same noise, everything is near what it is around the modes."""
    _, target, optimum = case
    x = vectors(optimum, 40)
    exact = solve_at(target, optimum, x, np.random.default_rng(2), Work(2))
    near = solve_at(target, optimum, x, np.random.default_rng(2), Work(2, tolerance=NEAR))
    np.testing.assert_array_equal(near.log_prior, exact.log_prior)
    assert np.abs(near.laplace - exact.laplace).max() < 0.05
    assert np.abs(near.laplace - exact.laplace).mean() < 0.01
    assert np.abs(near.single - exact.single).mean() < 0.02
    assert np.corrcoef(near.unit_ratios.ravel(), exact.unit_ratios.ravel())[0, 1] > 0.98
    # Nearly the same draws, bent as the random effects are skewed: estimates of the same integrals, and better ones.
    assert np.corrcoef(near.u.ravel(), exact.u.ravel())[0, 1] > 0.8
    noise, own = (np.std(found.halves[0] - found.halves[1]) / 2.0 for found in (exact, near))
    assert own < max(noise, 0.03)
    assert abs(np.mean(near.averaged - exact.averaged)) < 4.0 * np.hypot(noise, own) / np.sqrt(40) + noise**2


def test_a_step_at_a_time_ends_near_the_modes(case):
    _, target, optimum = case
    objective = target.objective
    nested = NestedPoints.of(objective, optimum)
    x = vectors(optimum, 6, spread=1.5)
    points = Points.of(target.coordinates, x)
    at = nested.at(points)
    assert at.found.all()
    u = at.levels.join(at.centre).T
    for row, own in zip(x, u):
        mode = target.at(row, optimum.point.mode, with_gradient=False).mode
        off = mode.factor.loadings.structure.penalty(own - mode.u) * np.sqrt(np.diag(_dense(mode.factor)))
        assert np.abs(off).max() < LAST_STEP / 2


def _dense(factor):
    m = factor.plan.structure.m
    return np.linalg.inv(factor.solve(np.eye(m)))


@pytest.mark.parametrize("name", ["cbpp", "contraception", "no short way", "a slope alone"])
def test_quadrature_does_not_ask_where_its_centre_is(name):
    model = model_of(name)
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = vectors(optimum, 5)
    near = solve_at(target, optimum, x, np.random.default_rng(1), Work(0, 41, NEAR))
    quadrature = replace(target, objective=replace(target.objective, nodes=41))
    expected = [quadrature.at(row, optimum.point.mode, with_gradient=False).value for row in x]
    np.testing.assert_allclose(near.log_prior + near.quadrature, expected, atol=1e-6)


def test_candidates_average_to_the_integral():
    """Unbiased whatever the centre and the factor: the mean of exp(ratio) is the integral, unit by unit."""
    model = model_of("cbpp")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    nested = NestedPoints.of(target.objective, optimum)
    points = Points.of(target.coordinates, vectors(optimum, 1))
    at = nested.at(points)
    at.centre[0][:] += 0.3
    rng = np.random.default_rng(5)
    ratios, _ = at.candidates([[z] for z in rng.standard_normal((4000, 15, 1))], antithetic=True)
    share = np.exp(ratios[:, :, 0] - at.quadrature(61)[:, 0]).reshape(4000, 2, 15).mean(axis=1)
    error = share.std(axis=0, ddof=1) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(share.mean(axis=0) - 1.0), 4.0 * error)


def test_hopeless_vectors_leave_the_others_alone():
    model = model_of("epilepsy")
    target, optimum = found_optimum(model.problem, model.fit("laplace").result)
    x = vectors(optimum, 50)
    bad = x.copy()
    bad[17, 0] = 1e6
    bad[23, -1] = np.nan
    fine = np.setdiff1d(np.arange(50), [17, 23])
    work = Work(2, tolerance=NEAR)
    alone = solve_at(target, optimum, x, np.random.default_rng(1), work)
    mixed = solve_at(target, optimum, bad, np.random.default_rng(1), work)
    np.testing.assert_allclose(mixed.laplace[fine], alone.laplace[fine], atol=1e-9)
    np.testing.assert_allclose(mixed.u[fine], alone.u[fine], atol=1e-9)
    assert mixed.laplace[17] == mixed.laplace[23] == -np.inf
    assert np.all(np.isfinite(mixed.u[17]))


@pytest.mark.parametrize(
    ("formula", "why"),
    [("y ~ x + (1 + x | g)", "two columns"), ("y ~ x + (1 | g) + (1 | c)", "crossed")],
)
def test_other_structures_are_left_to_the_general_way(formula, why):
    data = SMALL | {"c": [f"c{k}" for k in np.arange(96) % 5]}
    model = bg.Model(formula, data, "poisson")
    target, _ = found_optimum(model.problem, model.fit("laplace").result)
    assert find_levels(target.objective.structure) is None, why
