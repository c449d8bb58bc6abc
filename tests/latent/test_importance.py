"""Weighted draws: proposal, weights, resampling, and whether they end where the posterior is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.weights.conditional import Work, solve_at
from bayesglmm.latent.weights.importance import Weights, resample, smooth, weigh
from bayesglmm.latent.weights.pareto import fit_pareto
from bayesglmm.latent.weights.proposal import make_proposal

SHIPPED = Path(__file__).parents[2] / "models"


def bent(covariance, free=None):
    """A stand-in for a curvature."""
    covariance = np.asarray(covariance, dtype=float)
    free = np.ones(len(covariance), dtype=bool) if free is None else np.asarray(free)
    return SimpleNamespace(free=free, covariance=covariance, definite=True)


def quadratic(centre, covariance):
    precision = np.linalg.inv(covariance)
    return lambda x: -0.5 * np.einsum("ni,ij,nj->n", x - centre, precision, x - centre)


COVARIANCE = np.array([[2.0, 0.3, -0.5], [0.3, 0.5, 0.1], [-0.5, 0.1, 1.0]])
CENTRE = np.array([1.0, -2.0, 0.5])


def test_a_normal_target_has_equal_weights():
    target = quadratic(CENTRE, COVARIANCE)
    proposal = make_proposal(CENTRE, bent(COVARIANCE), target, df=np.inf)
    np.testing.assert_allclose([proposal.left, proposal.right], 1.0, rtol=1e-10)
    x, log_q = proposal.draw(500, np.random.default_rng(0))
    log_evidence = 0.5 * np.linalg.slogdet(2.0 * np.pi * COVARIANCE)[1]
    np.testing.assert_allclose(target(x) - log_q, log_evidence, atol=1e-9)
    weights = smooth(target(x) - log_q)
    assert weights.pareto_k == -np.inf
    np.testing.assert_allclose(weights.ess, 500.0)


@pytest.mark.parametrize("df", [8.0, np.inf])
def test_a_skewed_target_is_integrated(df):
    """Evidence and mean of a product of a normal and two log-gamma densities, by weights: known in closed form."""
    a = np.array([2.0, 5.0])

    def target(x):
        return np.sum(a * x[:, 1:] - np.exp(x[:, 1:]), axis=1) - 0.5 * np.square(x[:, 0])

    centre = np.concatenate([[0.0], np.log(a)])
    proposal = make_proposal(centre, bent(np.diag(np.concatenate([[1.0], 1.0 / a]))), target, df=df)
    assert np.all(proposal.left[1:] > 1.1)
    assert np.all(proposal.right[1:] < 0.95)
    x, log_q = proposal.draw(20_000, np.random.default_rng(1))
    ratio = target(x) - log_q
    from scipy.special import digamma, gammaln

    evidence = gammaln(a).sum() + 0.5 * np.log(2.0 * np.pi)
    raw = np.exp(ratio - evidence)
    assert abs(raw.mean() - 1.0) < 4.0 * raw.std() / np.sqrt(len(raw))
    weights = smooth(ratio)
    assert weights.pareto_k < 0.5
    means = weights.values @ x
    errors = np.sqrt(weights.values @ np.square(x - means) / weights.ess)
    np.testing.assert_array_less(np.abs(means - np.concatenate([[0.0], digamma(a)])), 4.0 * errors)


def test_parameters_at_an_edge_stay_there():
    free = np.array([True, False, True])
    proposal = make_proposal(CENTRE, bent(COVARIANCE, free), None)
    x, log_q = proposal.draw(50, np.random.default_rng(0))
    np.testing.assert_array_equal(x[:, 1], CENTRE[1])
    own = np.ix_(free, free)
    there = make_proposal(CENTRE[free], bent(COVARIANCE[own]), None).draw(50, np.random.default_rng(0))
    np.testing.assert_allclose(x[:, free], there[0])
    np.testing.assert_allclose(log_q, there[1])


def test_no_proposal_around_a_saddle():
    curvature = SimpleNamespace(free=np.ones(3, dtype=bool), covariance=COVARIANCE, definite=False)
    with pytest.raises(MethodError, match="not positive definite"):
        make_proposal(CENTRE, curvature, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-30.0, 3.0), min_size=2, max_size=60), st.integers(1, 200), st.integers(0, 2**31))
def test_resampling_takes_each_draw_as_often_as_its_weight_says(logs, count, seed):
    logs = np.array(logs) - logsumexp(logs)
    taken = resample(Weights(logs, 0.0, 1.0), count, np.random.default_rng(seed))
    assert len(taken) == count
    times = np.bincount(taken, minlength=len(logs))
    expected = count * np.exp(logs)
    assert np.all(times >= np.floor(expected - 1e-6))
    assert np.all(times <= np.ceil(expected + 1e-6))


def test_smoothing_tells_good_weights_from_bad():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(4000)
    narrow_target = smooth(-0.5 * (z / 0.8) ** 2 + 0.5 * z**2)
    assert narrow_target.pareto_k < 0.5
    # The target's variance is four times the proposal's: raw weights have an infinite variance.
    wide_target = smooth(-0.5 * (z / 2.0) ** 2 + 0.5 * z**2)
    assert wide_target.pareto_k > 0.6
    for weights in (narrow_target, wide_target):
        np.testing.assert_allclose(weights.values.sum(), 1.0)
    assert wide_target.ess < narrow_target.ess
    lost = smooth(np.where(z > 0, 0.0, -np.inf))
    np.testing.assert_allclose(lost.values[z <= 0], 0.0, atol=1e-12)
    assert smooth(np.full(10, -np.inf)).ess == 0.0


@pytest.mark.parametrize("count", [60, 101, 226, 1000, 4001])
@pytest.mark.parametrize("scale", [0.8, 1.3, 2.0, 4.0])
def test_smoothing_gives_the_numbers_of_arviz(count, scale):
    from arviz_stats.base import array_stats

    z = np.random.default_rng(count).standard_normal(count)
    ratios = 0.5 * z**2 - 0.5 * (z / scale) ** 2
    ours = smooth(ratios)
    theirs, k = array_stats.psislw(-ratios)
    np.testing.assert_allclose(ours.pareto_k, float(k), rtol=1e-10)
    np.testing.assert_allclose(ours.log_weights, theirs - logsumexp(theirs), atol=1e-10)


def test_the_shape_of_a_tail():
    """Quantiles of generalized Pareto distributions: exponential (k = 0) and heavier ones."""
    p = (np.arange(5000) + 0.5) / 5000
    for k in (0.0, 0.3, 0.9):
        x = -np.log1p(-p) if k == 0 else np.expm1(-k * np.log1p(-p)) / k
        found, sigma = fit_pareto(2.0 * x)
        np.testing.assert_allclose([found, sigma], [k, 2.0], atol=0.05)
    assert smooth(np.arange(10.0)).pareto_k == np.inf  # too few to tell


def posterior_by_grid(model):
    """Means and sds of (Intercept, sd) of a model with just these two, by a fine product rule."""
    target, optimum = found_optimum(model.problem, model.fit("agq", nodes=31).result)
    x = optimum.point.x
    sd = np.sqrt(np.diag(optimum.curvature.covariance))
    first = x[0] + sd[0] * np.linspace(-7, 7, 41)
    second = np.linspace(x[1] - 14 * sd[1], x[1] + 7 * sd[1], 61)
    x = np.stack([v.ravel() for v in np.meshgrid(first, second, indexing="ij")], axis=1)
    solved = solve_at(target, optimum, x, np.random.default_rng(0), Work(0, 31))
    values = (solved.log_prior + solved.quadrature).reshape(len(first), len(second))
    weights = np.exp(values - values.max())
    weights /= weights.sum()
    a, b = first, np.exp(second)
    across, along = weights.sum(axis=1), weights.sum(axis=0)
    means = np.array([across @ a, along @ b])
    return means, np.sqrt(np.array([across @ a**2, along @ b**2]) - means**2)


def test_weighted_means_are_integrals():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(12), 4)
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-0.4 - 1.2 * rng.standard_normal(12)[g])))
    model = bg.Model("y ~ 1 + (1 | g)", {"y": y, "g": [f"g{k}" for k in g]}, "binomial")
    means, sds = posterior_by_grid(model)
    weighted = weigh(model.problem, model.fit("laplace").result, seed=4, proposals=4_000)
    assert weighted.weights.pareto_k < 0.5
    x = weighted.x.copy()
    x[:, 1] = np.exp(x[:, 1])
    weights = weighted.weights.values
    found = weights @ x
    spread = np.sqrt(weights @ np.square(x - found))
    np.testing.assert_array_less(np.abs(found - means) / sds, 4.0 / np.sqrt(weighted.weights.ess))
    np.testing.assert_allclose(spread, sds, rtol=0.06)
    # Laplace's own posterior, from the same draws, is somewhere else: binary data, four to a group.
    laplace = weighted.laplace_weights().values @ x
    assert np.max(np.abs(laplace - means) / sds) > 0.1


def test_weights_do_not_depend_on_where_the_draws_come_from():
    """Around the Laplace mode or the quadrature mode: the same posterior, within Monte-Carlo error."""
    model = bg.load_model(SHIPPED / "cbpp.toml")
    found = []
    for method in ("laplace", "agq"):
        weighted = weigh(model.problem, model.fit(method).result, seed=3)
        weights = weighted.weights.values
        mean = weights @ weighted.x
        found.append((mean, weights @ np.square(weighted.x - mean), weighted.weights.ess))
    (one, variance, ess), (other, _, _) = found
    np.testing.assert_array_less(np.abs(one - other) / np.sqrt(variance), 4.0 * np.sqrt(2.0 / ess))


def test_more_noise_takes_more_candidates_or_quadrature():
    """Hundreds of small binary clusters: four pairs are too noisy, quadrature is affordable."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(200), 3)
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-2.5 * rng.standard_normal(200)[g])))
    model = bg.Model("y ~ 1 + (1 | g)", {"y": y, "g": [f"g{k:03d}" for k in g]}, "binomial")
    fit = model.fit("agq")
    weighted = weigh(model.problem, fit.result, draws=250, seed=1)
    assert weighted.work.nodes > 0
    noise = np.std((weighted.solved.averaged - weighted.solved.quadrature)[np.isfinite(weighted.solved.laplace)])
    assert noise > 0.3
    assert weighted.weights.pareto_k < 0.5
    # Random effects straight from their Gaussian are no posterior of this model, and say so.
    assert weighted.joint_weights().pareto_k > 0.7
    assert weighted.joint_weights().ess < 10
    # With candidates alone the weights are noisier, and their effective size smaller.
    noisy = weigh(model.problem, fit.result, draws=250, seed=1, pairs=4)
    assert noisy.work.nodes == 0
    assert noisy.weights.ess < 0.5 * weighted.weights.ess


def test_draws_of_random_effects_follow_their_posterior():
    """Chosen among candidates: the mean of a skewed random effect is the integral's, not the mode."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(10), 2)
    y = rng.binomial(1, 0.15, 20)
    priors = {"g.sd": bg.Prior("LogNormal", mu=0.7, sigma=0.01), "Intercept": bg.Prior("Normal", mu=-1.7, sigma=0.01)}
    model = bg.Model("y ~ 1 + (1 | g)", {"y": y, "g": [f"g{k}" for k in g]}, "binomial", priors=priors)
    weighted = weigh(model.problem, model.fit("laplace").result, seed=1)
    weights, u = weighted.weights.values, weighted.solved.u
    grid = np.linspace(-7, 7, 2001)
    beta, sd = -1.7, np.exp(0.7)
    rows = np.array([y[g == k].sum() for k in range(10)])
    eta = beta + sd * grid
    density = np.exp(rows[:, None] * eta - 2.0 * np.logaddexp(0.0, eta) - 0.5 * grid**2)
    density /= density.sum(axis=1, keepdims=True)
    mean = density @ grid
    spread = np.sqrt(density @ grid**2 - mean**2)
    z = (weights @ u - mean) / (spread / np.sqrt(weighted.weights.ess))
    assert np.max(np.abs(z)) < 4.5
    mode = weighted.optimum.point.mode.u
    assert np.max(np.abs(mode - mean) / spread) > 0.1


def test_a_model_without_random_effects_is_weighted_too():
    model = bg.load_model(SHIPPED / "ceb.toml")
    weighted = weigh(model.problem, model.fit("laplace").result, seed=1)
    np.testing.assert_allclose(weighted.solved.single, weighted.solved.laplace, atol=1e-8)
    assert weighted.weights.pareto_k < 0.5
    assert weighted.weights.ess > 0.5 * len(weighted.x)
    assert weighted.work.pairs == 0


def test_the_proposal_is_not_fitted_to_the_noise_of_single_candidates() -> None:
    """With an effect per row one candidate says little of the likelihood; the proposal does without it."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(30), 4)
    eta = 1.2 + 0.5 * rng.normal(size=30)[g] + 0.5 * rng.normal(size=120)
    data = pd.DataFrame({"y": rng.poisson(np.exp(eta)), "g": g, "row": np.arange(120)})
    model = bg.Model("y ~ 1 + (1 | g) + (1 | row)", data, family="poisson")
    result = model.fit("laplace").result
    few, many = (weigh(model.problem, result, draws=400, proposals=400, pairs=k, seed=1) for k in (0, 16))
    assert few.x.std(axis=0) == pytest.approx(many.x.std(axis=0), rel=0.15)
    assert few.laplace_weights().pareto_k < 0.5
