"""R-hat and bulk effective sizes are ArviZ's."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.methods.convergence import bulk_size, r_hat


def chains(count: int, length: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """First-order autoregressions."""
    noise = rng.standard_normal((count, length))
    x = np.zeros((count, length))
    x[:, 0] = noise[:, 0]
    for t in range(1, length):
        x[:, t] = slope * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("slope", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_the_numbers_are_those_of_arviz(slope: float, ties: bool) -> None:
    from arviz_stats.base import array_stats

    rng = np.random.default_rng(3)
    for count, length in ((2, 4), (2, 27), (4, 100), (5, 33), (1, 60), (8, 250)):
        x = chains(count, length, slope, rng)
        x = np.round(x) if ties else x
        axes = {"chain_axis": 0, "draw_axis": 1}
        assert r_hat(x) == pytest.approx(float(array_stats.rhat(x, **axes)), rel=1e-10, nan_ok=True)
        assert bulk_size(x) == pytest.approx(float(array_stats.ess(x, method="bulk", **axes)), rel=1e-10)


def test_chains_apart_and_draws_that_say_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 200)) + np.array([0.0, 0.0, 0.0, 2.0])[:, None]
    assert r_hat(x) > 1.2
    assert bulk_size(x) < 20
    # The same mean, another spread: only the tails tell.
    assert r_hat(rng.standard_normal((4, 200)) * np.array([1.0, 1.0, 1.0, 5.0])[:, None]) > 1.1
    assert np.isnan(r_hat(x[:, :3]))
    assert np.isnan(bulk_size(np.where(x > 4.0, np.inf, x) + np.inf))
    assert bulk_size(np.ones((4, 50))) == 200
