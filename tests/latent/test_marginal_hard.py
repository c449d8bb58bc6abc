"""Fits at the edge: zero variances, correlations of one, separation, flat directions, awkward scales."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from reference_data import fit as reference_fit
from reference_data import frame

from bayesglmm.errors import MethodError, SeparationWarning
from bayesglmm.latent import fit_marginal, marginal_loglik
from bayesglmm.latent.curvature import _differences

N = 200
RNG = np.random.default_rng(0)
G = np.arange(N) % 20
X = RNG.standard_normal(N)
NOTHING = RNG.poisson(np.exp(0.5 + 0.3 * X))  # no group effect, a little less spread than Poisson
B = RNG.standard_normal(20)
SLOPES = RNG.poisson(np.exp(0.5 + 0.3 * X + 0.5 * B[G] + 0.3 * B[G] * X))  # intercept and slope in step
X3 = RNG.standard_normal(N)
COIN = RNG.integers(0, 2, N)


def problem(formula, y, family="poisson", **options):
    table = pd.DataFrame(
        {"y": y, "x": X, "w": X3, "far": 1e4 * X + 1e6, "g": G.astype(str), "o": np.arange(N).astype(str)}
    )
    table["first"] = np.where(np.arange(N) < 20, "a", "b")
    return problem_of(formula, table, family, **options)


@pytest.mark.parametrize(
    ("random", "form", "zeros"),
    [("(1 | g)", None, 1), ("(1 + x | g)", None, 3), ("(x || g)", None, 2), ("(1 + x | g)", "ar1", 1)],
)
def test_a_variance_of_zero_is_reached_and_is_the_glm(random, form, zeros):
    glm = fit_marginal(problem("y ~ x", NOTHING))
    found = fit_marginal(problem(f"y ~ x + {random}", NOTHING, covariance={"g": form} if form else None))
    assert found.status.converged
    assert any("the sd of Intercept in g is zero" in term for term in found.status.boundary)
    assert np.isclose(found.loglik, glm.loglik, rtol=1e-12)
    np.testing.assert_allclose(found.beta, glm.beta, rtol=1e-6)
    np.testing.assert_allclose(found.cov_beta, glm.cov_beta, rtol=1e-4)
    assert np.all(found.theta[:zeros] == 0.0)
    assert np.all(np.isnan(np.diag(found.cov_joint)[2 : 2 + zeros]))
    np.testing.assert_array_equal(found.effects[0], 0.0)


def test_compound_symmetry_has_its_zero_at_an_edge():
    glm = fit_marginal(problem("y ~ x", NOTHING))
    found = fit_marginal(problem("y ~ x + (1 + x | g)", NOTHING, covariance={"g": "cs"}))
    assert found.status.converged
    assert found.status.boundary
    assert np.isclose(found.loglik, glm.loglik, atol=1e-6)


@pytest.mark.parametrize("form", [None, "cs"])
def test_a_correlation_of_one(form):
    found = fit_marginal(problem("y ~ x + (1 + x | g)", SLOPES, covariance={"g": form} if form else None))
    assert found.status.converged
    assert found.status.boundary == ("a correlation of Intercept, x in g is at ±1",)
    assert np.isclose(found.loglik, -364.2243799620407, atol=1e-6)
    assert np.isnan(found.cov_joint[-1, -1])
    assert np.all(np.isfinite(found.cov_joint[:4, :4]))


def test_three_columns_of_which_one_direction_varies():
    two = fit_marginal(problem("y ~ x + (1 + x | g)", SLOPES))
    three = fit_marginal(problem("y ~ x + (1 + x + w | g)", SLOPES))
    assert three.status.converged
    assert three.status.boundary
    assert two.loglik <= three.loglik <= two.loglik + 0.1


def test_the_scale_and_origin_of_a_predictor_do_not_matter():
    near, far = (fit_marginal(problem(f"y ~ {x} + (1 + {x} | g)", SLOPES)) for x in ("x", "far"))
    assert far.status.converged
    assert np.isclose(near.loglik, far.loglik, atol=1e-6)
    assert np.isclose(near.beta[1], 1e4 * far.beta[1], rtol=1e-6)


def test_complete_separation_is_said():
    with pytest.warns(SeparationWarning, match="complete separation: no finite estimate exists for Intercept, x"):
        found = fit_marginal(problem("y ~ x + (1 | g)", (X > 0).astype(int), "binomial"))
    assert not found.status.converged
    assert "complete separation" in found.status.message


@pytest.mark.parametrize("nodes", [1, 9])
def test_quasi_complete_separation_is_said(nodes):
    y = np.where(np.arange(N) < 20, 1, COIN)
    with pytest.warns(SeparationWarning, match=r"quasi-complete separation.*first\[T.b\]"):
        found = fit_marginal(problem("y ~ first + (1 | g)", y, "binomial"), nodes=nodes)
    assert not found.status.converged


def test_one_row_per_level_under_a_gaussian_is_not_identified():
    found = fit_marginal(problem("y ~ x + (1 | o)", SLOPES + X, "gaussian"))
    assert not found.status.converged
    assert "not positive definite" in found.status.message
    assert "the covariance of o, sigma" in found.status.notes[-1]


def test_one_row_per_level_under_a_poisson_is_fine():
    found = fit_marginal(problem("y ~ x + (1 | o)", SLOPES))
    assert found.status.converged
    assert not found.status.boundary


def test_a_shape_that_runs_to_infinity_is_at_its_edge():
    poisson = fit_marginal(problem("y ~ x", NOTHING))
    found = fit_marginal(problem("y ~ x + (1 | g)", NOTHING, "negative_binomial"))
    assert found.status.converged
    assert "theta is at the edge of its range" in found.status.boundary
    assert np.isclose(found.loglik, poisson.loglik, atol=1e-5)


def test_huge_counts():
    y = np.random.default_rng(3).poisson(np.exp(12 + 0.3 * X + B[G]))
    found = fit_marginal(problem("y ~ x + (1 | g)", y))
    assert found.status.converged
    assert np.isclose(found.beta[1], 0.3, atol=1e-3)
    assert np.isclose(found.theta[0], B.std(), rtol=1e-3)  # every level's effect is known to 1e-3


def test_groups_without_any_variation_within():
    """All successes or all failures in every group: the variance is large but finite."""
    y = (np.random.default_rng(5).random(20) < 0.5).astype(int)[G]
    found = fit_marginal(problem("y ~ x + (1 | g)", y, "binomial"))
    assert found.status.converged
    assert found.theta[0] > 10


def test_a_link_whose_range_is_limited():
    y = np.random.default_rng(6).poisson(5 + 0.5 * X + 0.8 * B[G])
    found = fit_marginal(problem("y ~ x + (1 | g)", y, link="identity"))
    assert found.status.converged
    assert found.eta.min() > 0


def test_two_levels_are_enough():
    table = pd.DataFrame({"y": SLOPES, "x": X, "h": (np.arange(N) % 2).astype(str)})
    made = problem_of("y ~ x + (1 | h)", table, "poisson")
    found = fit_marginal(made)
    assert found.status.converged
    assert found.theta[0] > 0.0
    for move in (0.9, 1.1):
        assert marginal_loglik(made, found.beta, move * found.theta, found.psi) < found.loglik


@pytest.mark.parametrize("name", ["quine", "warpbreaks"])
def test_without_random_effects_it_is_plain_maximum_likelihood(name):
    """Negative binomial regression, shape estimated: MASS::glm.nb."""
    from reference_data import fits

    f = fits(name, "glm.nb")[0]
    found = fit_marginal(problem_of(f["formula"], frame(name), "negative_binomial"))
    assert np.isclose(found.loglik, f["loglik"], atol=1e-5)
    np.testing.assert_allclose(np.sort(found.beta), np.sort([v["estimate"] for v in f["fixed"].values()]), rtol=1e-4)
    assert np.isclose(np.exp(found.psi[0]), f["theta"], rtol=1e-4)


def test_covariance_of_all_estimates_is_the_inverse_information():
    """Central differences of the exact gradient, four points, instead of the fit's own two."""
    from latent_cases import difference

    from bayesglmm.latent.objective import make_objective

    f = reference_fit("salamanders", "main-nbinom2-glmmTMB")
    p = problem_of(f["formula"], frame("salamanders"), "negative_binomial")
    found = fit_marginal(p)
    objective = make_objective(p)
    k = len(found.beta)
    scale = np.sqrt(np.diag(found.cov_joint))
    x = np.concatenate([found.beta, found.theta, found.psi])

    def gradient(v):
        at = objective.evaluate(v[:k], v[k : k + 1], v[k + 1 :])
        return np.concatenate([at.beta, at.theta, at.psi])

    information = np.array(
        [
            difference(lambda z, i=i: gradient(x + scale * z)[i] * scale[i], np.zeros(len(x)), 1e-3)
            for i in range(len(x))
        ]
    )
    exact = np.linalg.inv(-0.5 * (information + information.T)) * np.outer(scale, scale)
    np.testing.assert_allclose(found.cov_joint, exact, rtol=1e-4, atol=1e-5 * np.outer(scale, scale).max())


@pytest.mark.parametrize(
    ("formula", "nodes", "words"),
    [
        ("y ~ x + (1 | g) + (1 | o) + (1 | g:o)", 5, "exactly one grouping factor, or two .* the model has 3 grouping"),
        ("y ~ x", 5, "the model has no random terms"),
        ("y ~ x + (1 | g)", 0, "whole number, 1 or more"),
        ("y ~ x + (1 + x + w | g)", 60, "at most 27 nodes fit here"),
    ],
)
def test_nodes_that_cannot_be(formula, nodes, words):
    with pytest.raises(MethodError, match=words):
        fit_marginal(problem(formula, SLOPES), nodes=nodes)


def test_quasi_families_have_nothing_to_integrate():
    p = problem("y ~ x + (1 | g)", SLOPES, "quasipoisson")
    with pytest.raises(MethodError, match="quasi-family"):
        marginal_loglik(p, np.zeros(2), np.ones(1), np.empty(0))


def test_a_gradient_that_is_not_finite_beside_the_optimum_is_no_maximum() -> None:
    """Neither side of a step has a value: the information is not definite, and nothing is raised."""
    point = SimpleNamespace(x=np.zeros(2), gradient=np.zeros(2), mode=SimpleNamespace(u=np.zeros(1)))
    off = SimpleNamespace(value=-np.inf, gradient=np.full(2, np.nan), mode=SimpleNamespace(u=np.zeros(1)))
    target = SimpleNamespace(at=lambda x, start: off)
    along, _ = _differences(target, point, np.eye(2), np.full(2, 1e-5))
    assert np.linalg.eigvalsh(along).max() < 0
