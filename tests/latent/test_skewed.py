"""Bent noise: monotone, its density exact, and the skewness it is meant to have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from bayesglmm.latent.weights.skewed import Bend


@given(st.floats(-20.0, 20.0), st.floats(-8.0, 8.0))
def test_slopes_are_those_of_the_map_and_positive(skew, z):
    bend, h = Bend(np.array([skew])), 1e-5
    for sign, (_, slope) in zip((1.0, -1.0), bend.pair(np.array([z]))):
        up, down = (bend.pair(np.array([sign * z + d]))[0][0] for d in (h, -h))
        assert slope[0] > 0.0
        np.testing.assert_allclose(slope, (up - down) / (2.0 * h), rtol=1e-6, atol=1e-6)


def test_both_signs_at_once_are_one_after_the_other():
    z, bend = np.linspace(-3.0, 3.0, 7), Bend(np.full(7, 0.7))
    (t, slope), (other, other_slope) = bend.pair(z)
    np.testing.assert_allclose(other, t[::-1], atol=1e-14)
    np.testing.assert_allclose(other_slope, slope[::-1], atol=1e-14)
    assert np.array_equal(Bend(np.zeros(7)).pair(z)[0][0], z)


@pytest.mark.parametrize("skew", [-0.3, 0.1, 0.3])
def test_nearer_a_skewed_density_than_the_normal(skew):
    """A density whose log has derivatives 0, −1 and `skew` at its mode: the log weight hardly varies any more."""
    log_p = lambda t: (1.0 - skew * t - np.exp(-skew * t)) / skew**2  # noqa: E731
    bend = Bend(np.array([skew]))

    def spread(value):
        mean = [quad(lambda z, k=k: np.exp(-0.5 * z * z) * value(z) ** k, -7, 7)[0] for k in (0, 1, 2)]
        return mean[2] / mean[0] - (mean[1] / mean[0]) ** 2

    def bent(z):
        (t, slope), _ = bend.pair(np.array([z]))
        return float(log_p(t[0]) + 0.5 * z * z + np.log(slope[0]))

    assert spread(bent) < 0.1 * spread(lambda z: log_p(z) + 0.5 * z * z)
