"""The conditional modes: stationary, found from anywhere, and honest about failure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from latent_cases import a_point, block, made_up, problem_of

import bayesglmm as bg
from bayesglmm.families.base import AuxDerivatives, Derivatives
from bayesglmm.latent import fit_marginal
from bayesglmm.latent.mode import Warm, find_mode
from bayesglmm.latent.objective import make_objective

SHAPES = {"one": [(7, 1)], "slope": [(6, 2)], "crossed": [(9, 2), (5, 1)]}


def setting(family, shape):
    problem = made_up(family, shape)
    objective = make_objective(problem)
    beta, theta, psi = a_point(problem, objective.kernel.n_aux)
    return objective, objective.loadings(theta), objective.offset + objective.X @ beta, psi


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["gaussian", "binomial", "poisson", "negative_binomial", "gamma"])
def test_the_mode_is_stationary_and_does_not_depend_on_the_start(family, shape):
    objective, loadings, fixed, psi = setting(family, SHAPES[shape])
    mode = find_mode(loadings, objective.kernel, fixed, psi)
    assert mode.found
    np.testing.assert_allclose(loadings.collect(mode.derivatives.d1), mode.u, atol=1e-9)
    rng = np.random.default_rng(0)
    far = find_mode(loadings, objective.kernel, fixed, psi, Warm(3 * rng.standard_normal(len(mode.u))))
    np.testing.assert_allclose(far.u, mode.u, atol=1e-9)
    # A factor from elsewhere guides the search but not its result: H is that of the mode.
    other = objective.structure.at([2.0 * np.eye(b.size) for b in objective.structure.layouts])
    guide = other.factorize(np.ones(objective.structure.n))
    guided = find_mode(loadings, objective.kernel, fixed, psi, Warm(np.zeros(len(mode.u)), guide))
    np.testing.assert_allclose(guided.u, mode.u, atol=1e-9)
    assert np.isclose(guided.factor.logdet, mode.factor.logdet, rtol=1e-10)


def test_strong_binary_effects_do_not_oscillate():
    n = 40
    y = (np.arange(n) < 20).astype(float)
    blocks = [block("g", np.arange(n) // 10, np.ones((n, 1)))]
    objective = make_objective(problem_of(blocks, np.ones((n, 1)), y, "binomial"))
    for sd in (5.0, 50.0, 500.0):
        mode = find_mode(objective.loadings(np.array([sd])), objective.kernel, np.full(n, -3.0), np.empty(0))
        assert mode.found
        assert mode.decrement < 1e-8


@dataclass(frozen=True)
class Valley:
    """ℓ = −¼η⁴ + c η²: two maxima, and negative information between them."""

    c: float
    n_aux: int = 0

    def derivatives(self, eta, psi):
        return Derivatives(
            -0.25 * eta**4 + self.c * eta**2, -(eta**3) + 2 * self.c * eta, -3 * eta**2 + 2 * self.c, -6 * eta
        )

    def aux_derivatives(self, eta, psi):
        empty = np.empty((0, *eta.shape))
        return AuxDerivatives(empty, empty, empty)

    def expected_weight(self, eta, psi):
        return np.ones_like(eta)

    def subset(self, rows):
        return self


def four_rows():
    blocks = [block("g", np.arange(4) // 2, np.ones((4, 1)))]
    return make_objective(problem_of(blocks, np.ones((4, 1)), np.zeros(4), "gaussian"))


def test_negative_information_on_the_way_is_survived():
    objective = four_rows()
    loadings = objective.loadings(np.array([1.0]))
    mode = find_mode(loadings, Valley(2.0), np.zeros(4), np.empty(0), Warm(np.full(2, 0.1)))
    assert mode.found
    # −u³ + 4u (twice, two rows) = u
    np.testing.assert_allclose(mode.u, np.sqrt(3.5), rtol=1e-9)


def test_a_stationary_point_that_is_no_maximum_is_refused():
    objective = four_rows()
    mode = find_mode(objective.loadings(np.array([1.0])), Valley(2.0), np.zeros(4), np.empty(0))
    assert not mode.found
    assert mode.factor is None
    assert "not positive definite" in mode.message


def test_a_density_that_is_nowhere_finite_is_refused():
    objective = four_rows()

    class Nowhere(Valley):
        def derivatives(self, eta, psi):
            bad = np.full(eta.shape, np.nan)
            return Derivatives(bad, bad, bad, bad)

    mode = find_mode(objective.loadings(np.array([1.0])), Nowhere(0.0), np.zeros(4), np.empty(0))
    assert not mode.found
    assert "not finite at zero" in mode.message


@pytest.mark.parametrize("seed", range(10))
def test_no_other_optimiser_finds_a_higher_likelihood(seed):
    """Random models, many of them singular, against BFGS of SciPy from three starts."""
    from scipy.optimize import minimize

    from bayesglmm.latent.target import Coordinates, Target

    rng = np.random.default_rng(seed)
    n, q = 120, 1 + seed % 3
    X = np.c_[np.ones(n), rng.standard_normal((n, 2))]
    codes = rng.permutation(np.arange(n) % 12)
    eta = 0.5 * X[:, 0] + 0.4 * X[:, 1] + np.sum(X[:, :q] * (0.6 * rng.standard_normal((12, q)))[codes], axis=1)
    family = ("poisson", "negative_binomial", "gaussian")[seed % 3 - 1]
    y = rng.poisson(np.exp(eta)).astype(float) if family != "gaussian" else eta + rng.standard_normal(n)
    problem = problem_of([block("g", codes, X[:, :q].copy())], X, y, family)
    found = fit_marginal(problem)
    objective = make_objective(problem)
    target = Target(objective, Coordinates(3, objective.kernel.n_aux, problem.covariance, False), None, ())

    def negative(x):
        at = target.at(x)
        return (-at.value, -at.gradient) if np.isfinite(at.value) else (1e10, np.zeros(len(x)))

    assert found.status.converged
    for sd in (0.3, 0.8, 1.5):
        start = target.coordinates.join(found.beta, problem.covariance[0].from_sd_corr(np.full(q, sd)), found.psi)
        assert -minimize(negative, start, jac=True, method="BFGS").fun <= found.loglik + 1e-6


def test_a_mode_at_the_edge_of_the_predictors_range_is_given_up_soon() -> None:
    """A count above zero keeps η from zero under the square-root link; counts of zero and x may push it there."""
    rng = np.random.default_rng(0)
    g, x, effects = np.repeat(np.arange(30), 8), rng.normal(size=240), rng.normal(0, 0.5, 30)
    data = pd.DataFrame({"y": rng.poisson((1 + 0.3 * x + effects[g]) ** 2), "x": x, "g": g.astype(str)})
    objective = make_objective(bg.Model("y ~ x + (1 | g)", data, "poisson", link="sqrt", priors="flat").problem)
    fixed = 1.5 + 0.3 * np.abs(objective.X[:, 1])
    fixed[::8], fixed[1::8] = 0.02, -0.05
    mode = find_mode(objective.loadings(np.array([0.5])), objective.kernel, fixed, np.empty(0), Warm(np.ones(30)))
    assert not mode.found
    assert "edge of its range" in mode.message
    assert mode.iterations < 60
