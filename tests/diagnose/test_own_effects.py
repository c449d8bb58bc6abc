"""Rows with a random effect of their own: integrals, weights and moved draws against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayesglmm as bg
from bayesglmm.diagnose.loo import exact, pointwise
from bayesglmm.diagnose.moment_match import _Row, _vectors
from bayesglmm.diagnose.own_effects import alone, integrated, row_log_likelihood, with_fresh
from bayesglmm.idata import log_likelihood
from bayesglmm.latent.target import make_target
from bayesglmm.posterior import parameter_draws, with_draws
from bayesglmm.result import Draws

RNG = np.random.default_rng(4)
N = 60
G = np.repeat(np.arange(12), 5)
X = RNG.normal(size=N)
DATA = pd.DataFrame(
    {
        "y": RNG.poisson(np.exp(1.0 + 0.4 * X + 0.5 * RNG.normal(size=12)[G] + 0.7 * RNG.normal(size=N))),
        "x": X,
        "g": G,
        "obs": np.arange(N),
        # Two levels of one row each among larger ones.
        "h": np.r_[0, 1, 2 + np.arange(N - 2) % 6],
    }
)


@pytest.fixture(scope="module")
def overdispersed() -> bg.Fit:
    return bg.Model("y ~ x + (1 | g) + (1 | obs)", DATA, family="poisson").fit("laplace")


def test_which_rows_are_alone() -> None:
    problem = bg.Model("y ~ x + (1 + x | h) + (1 | g)", DATA, family="poisson").problem
    found = alone(problem)
    assert found.shape == (2, N)
    assert list(np.flatnonzero(found[0])) == [0, 1]
    assert not found[1].any()
    known = bg.Model(
        "y ~ x + (1 | obs)", DATA, family="poisson", covariance={"obs": bg.Known(np.eye(N), list(range(N)))}
    )
    assert not alone(known.problem).any()


@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_the_integral_is_that_of_a_textbook(family: str) -> None:
    """An intercept and slope of the row's own, with a correlation, given the effects it shares."""
    problem = bg.Model("y ~ x + (1 + x | h) + (1 | g)", DATA, family=family).problem
    rng = np.random.default_rng(2)
    theta = np.array([[[0.9, 0.3, 0.5, 0.6], [2.0, -0.5, 0.2, 0.1]]])
    effects = tuple(rng.normal(size=(1, 2, len(b.levels), len(b.columns))) for b in problem.design.blocks)
    psi = np.array([[[0.3], [1.5]]]) if family == "negative_binomial" else np.empty((1, 2, 0))
    draws = Draws(np.array([[[0.8, 0.3], [1.2, -0.2]]]), theta, psi, effects)
    found, plain = row_log_likelihood(problem, draws), log_likelihood(problem, draws)
    np.testing.assert_array_equal(found[..., 2:], plain[..., 2:])
    for s in range(2):
        L = problem.covariance[0].factor(theta[0, s, :3])
        for i in range(2):
            z = problem.design.blocks[0].z[i]
            rest = draws.beta[0, s] @ problem.design.X[i] + effects[1][0, s, problem.design.blocks[1].codes[i], 0]
            sd = float(np.linalg.norm(z @ L))
            y = DATA["y"][i]

            def density(v: float, y=y, rest=rest, sd=sd, s=s) -> float:
                mu = np.exp(rest + v)
                if family == "poisson":
                    value = stats.poisson.pmf(y, mu)
                else:
                    shape = np.exp(psi[0, s, 0])
                    value = stats.nbinom.pmf(y, shape, shape / (shape + mu))
                return float(value * stats.norm.pdf(v, scale=sd))

            total = integrate.quad(density, -8 * sd, 8 * sd, epsabs=0, epsrel=1e-9, limit=400)[0]
            assert found[0, s, i] == pytest.approx(np.log(total), abs=1e-5)


def test_fresh_effects_are_the_models_and_others_stay() -> None:
    problem = bg.Model("y ~ x + (1 + x | h) + (1 | g)", DATA, family="poisson").problem
    count = 20_000
    theta = np.broadcast_to([0.9, 0.3, 0.5, 0.6], (1, count, 4))
    effects = tuple(np.zeros((1, count, len(b.levels), len(b.columns))) for b in problem.design.blocks)
    draws = Draws(np.zeros((1, count, 2)), theta, np.empty((1, count, 0)), effects)
    fresh = with_fresh(problem, draws, np.random.default_rng(0))
    block = problem.design.blocks[0]
    L = problem.covariance[0].factor(theta[0, 0, :3])
    for level in block.codes[:2]:
        np.testing.assert_allclose(np.cov(fresh.effects[0][0, :, level].T), L @ L.T, atol=0.03)
    others = np.setdiff1d(np.arange(len(block.levels)), block.codes[:2])
    assert not fresh.effects[0][:, :, others].any()
    assert not fresh.effects[1].any()


def test_a_term_per_observation_does_not_predict_its_own_row(overdispersed: bg.Fit) -> None:
    """Against fits without the row, by weights of an approximation and of draws; likelihoods given the term do not."""
    import arviz as az

    draws = overdispersed.refine(draws=2000, seed=1)
    weighted, sampled = overdispersed.loo(seed=1), draws.loo()
    for found in (weighted, sampled):
        assert float((found.pareto_k < 0.7).mean()) > 0.95
    assert weighted.elpd == pytest.approx(sampled.elpd, abs=0.5)
    problem, result = overdispersed.model.problem, overdispersed.result
    held = pointwise(problem, result, "row", seed=1)
    for j in np.argsort(weighted.elpd_i.to_numpy())[:3]:  # the least expected rows are the hardest
        left = exact(problem, result, held, int(j), nodes=15, draws=1000, seed=1)
        assert float(weighted.elpd_i[j]) == pytest.approx(left, abs=0.1)
    with pytest.warns(UserWarning, match="Estimated shape parameter"):
        given = az.loo(draws.idata, pointwise=True)
    assert given.elpd > sampled.elpd + 3.0  # what leaving the integral out gets wrong


def test_moved_draws_of_a_row_leave_its_own_effect_out(overdispersed: bg.Fit) -> None:
    problem = overdispersed.model.problem
    draws = parameter_draws(problem, with_draws(problem, overdispersed.result), 5, np.random.default_rng(1))
    target = make_target(problem)
    row = _Row.of(problem, target, draws, 9)
    assert row.moves == (True, False)
    x = row.together(_vectors(target, draws))
    assert x.shape[2] == 2 + 2 + 1
    np.testing.assert_allclose(row.log_likelihood(x, 0), integrated(problem, draws, [9])[..., 0], rtol=1e-10)
    # Whatever was drawn for it, the density of all else is the same.
    b = draws.effects[1].copy()
    b[:, :, problem.design.blocks[1].codes[9]] += 1.0
    other = Draws(draws.beta, draws.theta, draws.psi, (draws.effects[0], b))
    again = _Row.of(problem, target, other, 9)
    np.testing.assert_allclose(again.log_density(x), row.log_density(x), rtol=1e-9)


def test_places_of_rows_left_out_are_uniform_with_a_term_per_observation(overdispersed: bg.Fit) -> None:
    """Given its own term every row would be where it was drawn to be: in the middle."""
    places = overdispersed.loo_pit(seed=1)
    assert stats.kstest(places, "uniform").pvalue > 0.05
    assert places.std() > 0.23
