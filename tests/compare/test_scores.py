"""Scores against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesglmm.comparison.scores import NOISE, score, wasserstein, yardstick
from bayesglmm.marginals import Marginal


def normal(estimate: float, sd: float) -> Marginal:
    return Marginal("b", "fixed", estimate, sd)


def sampled(draws: np.ndarray) -> Marginal:
    return Marginal("b", "fixed", draws.mean(), draws.std(ddof=1), draws)


@given(shift=st.floats(-5, 5), sd=st.floats(0.01, 100))
def test_distance_of_shifted_normals_is_the_shift(shift, sd):
    assert wasserstein(normal(shift * sd, sd), normal(0.0, sd)) == pytest.approx(abs(shift), abs=1e-9)


@given(ratio=st.floats(0.2, 5))
def test_distance_of_scaled_normals_is_the_mean_of_the_absolute_normal(ratio):
    # ∫|ratio z − z| over the normal = |ratio − 1| √(2/π); the grid leaves out 1/4000 of the mass in the tails.
    expected = abs(ratio - 1.0) * np.sqrt(2.0 / np.pi)
    assert wasserstein(normal(0.0, ratio), normal(0.0, 1.0)) == pytest.approx(expected, rel=2e-3, abs=1e-12)


@given(a=st.floats(-3, 3), b=st.floats(-3, 3), scale=st.floats(0.1, 10), origin=st.floats(-10, 10))
def test_scores_do_not_depend_on_the_unit_of_the_parameter(a, b, scale, origin):
    plain = score(normal(a, 0.7), yardstick(normal(b, 1.3)))
    moved = score(normal(origin + scale * a, scale * 0.7), yardstick(normal(origin + scale * b, scale * 1.3)))
    assert [moved[k] for k in ("bias", "sd_ratio", "w1")] == pytest.approx(
        [plain[k] for k in ("bias", "sd_ratio", "w1")], rel=1e-6, abs=1e-9
    )


def test_distance_of_samples_agrees_with_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1.0, 2.0, (4, 1000)), rng.gamma(3.0, size=(4, 1000))
    ours = wasserstein(sampled(a), sampled(b)) * b.std(ddof=1)
    assert ours == pytest.approx(stats.wasserstein_distance(a.ravel(), b.ravel()), rel=1e-12)


def test_monte_carlo_error_of_independent_draws():
    draws = np.random.default_rng(5).normal(2.0, 3.0, (4, 2500))
    stick = yardstick(sampled(draws))
    # mean: 1/√n; sd: 1/√(2n), both in units of the sd
    assert stick.mcse == pytest.approx(1.0 / 100.0, rel=0.1)
    assert stick.mcse_sd == pytest.approx(1.0 / np.sqrt(2.0 * 10_000), rel=0.1)


def test_autocorrelated_draws_have_a_larger_error():
    rng = np.random.default_rng(7)
    noise, chain = rng.normal(size=(4, 2000)), np.zeros((4, 2000))
    for t in range(1, 2000):
        chain[:, t] = 0.9 * chain[:, t - 1] + noise[:, t]
    # AR(1): effective size n (1 − ρ)/(1 + ρ) = n / 19
    assert yardstick(sampled(chain)).mcse == pytest.approx(np.sqrt(19.0 / 8000.0), rel=0.2)


def test_only_a_sampled_reference_has_monte_carlo_error():
    exact = yardstick(normal(1.0, 2.0))
    assert (exact.mcse, exact.mcse_sd) == (0.0, 0.0)


@pytest.mark.parametrize(("shift", "inside"), [(0.9, True), (1.1, False), (-0.9, True), (-1.1, False)])
def test_noise_is_told_from_a_difference_at_two_standard_errors(shift, inside):
    base = sampled(np.random.default_rng(11).normal(size=(4, 500)))
    stick = yardstick(base)
    other = normal(base.estimate + shift * NOISE * stick.mcse * base.sd, base.sd)
    assert score(other, stick)["within_mc_error"] is inside


def test_no_standard_error_gives_a_bias_and_no_ratio():
    found = score(normal(1.0, float("nan")), yardstick(normal(0.0, 2.0)))
    assert found["bias"] == 0.5
    assert np.isnan(found["sd_ratio"])
    assert np.isnan(found["w1"])
