"""Quantiles and tails are those of scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesglmm import quantiles

P = np.array([0.0, 1e-12, 0.001, 0.025, 0.3, 0.5, 0.77, 0.975, 1.0 - 1e-9, 1.0])
X = np.array([0.0, 1e-8, 0.3, 1.0, 2.5, 9.0, 40.0])
DF = np.array([0.7, 1.0, 3.0, 12.5, 1e3, 1e7])[:, None]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("norm", ()), ("t", (DF,)), ("t", (np.inf,)), ("chi2", (DF,)), ("f", (2.0, DF)), ("f", (DF, 7.0))],
)
def test_quantiles_and_tails_are_those_of_scipy(name: str, shape: tuple) -> None:
    ours, theirs = getattr(quantiles, name), getattr(stats, name)
    np.testing.assert_allclose(ours.ppf(P, *shape), theirs.ppf(P, *shape), rtol=1e-10, atol=1e-300)
    x = np.concatenate([-X[::-1], X]) if name in ("norm", "t") else X
    np.testing.assert_allclose(ours.sf(x, *shape), theirs.sf(x, *shape), rtol=1e-10, atol=1e-300)


def test_density_and_distribution_function_of_the_normal() -> None:
    x = np.concatenate([-X[::-1], X])
    np.testing.assert_allclose(quantiles.norm.pdf(x), stats.norm.pdf(x), rtol=1e-13)
    np.testing.assert_allclose(quantiles.norm.pdf(x, 1.5, 0.7), stats.norm.pdf(x, 1.5, 0.7), rtol=1e-12)
    np.testing.assert_allclose(quantiles.norm.cdf(x), stats.norm.cdf(x), rtol=1e-13)


def test_infinite_denominators_are_the_chi_square() -> None:
    np.testing.assert_allclose(quantiles.f.sf(X, 3.0, np.inf), stats.chi2.sf(3.0 * X, 3.0), rtol=1e-12)
    np.testing.assert_allclose(3.0 * quantiles.f.ppf(P, 3.0, np.inf), stats.chi2.ppf(P, 3.0), rtol=1e-12)
    mixed = quantiles.f.sf(2.0, 3.0, np.array([5.0, np.inf]))
    np.testing.assert_allclose(mixed, [stats.f.sf(2.0, 3.0, 5.0), stats.chi2.sf(6.0, 3.0)], rtol=1e-12)


def test_negative_statistics_are_certain() -> None:
    assert quantiles.chi2.sf(-1e-9, 2.0) == 1.0
    assert quantiles.f.sf(-1e-9, 2.0, 7.0) == 1.0


def test_scalars_stay_scalars() -> None:
    for value in (quantiles.t.ppf(0.975, 7.0), quantiles.f.sf(2.0, 1.0, 5.0), quantiles.norm.sf(1.0)):
        assert np.ndim(value) == 0
        assert float(value) == value
