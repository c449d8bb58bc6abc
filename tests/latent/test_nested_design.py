"""Integration points, interpolation and mixtures: exact where they should be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bayesglmm.latent.nested_laplace import density
from bayesglmm.latent.nested_laplace.axes import Axes, Spot, make_axes
from bayesglmm.latent.nested_laplace.explore import lay_out, two_level
from bayesglmm.latent.nested_laplace.mixture import (
    curve_quantiles,
    mixture_curve,
    sample_curve,
    skew_normal,
)


def normal_posterior(d: int, seed: int = 1):  # type: ignore[no-untyped-def]
    """A normal log-density of known integral, its mode and covariance."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) + 2.0 * np.eye(d)
    covariance, mean = root @ root.T, rng.standard_normal(d)
    law = stats.multivariate_normal(mean, covariance)

    def evaluate(x: np.ndarray, near: Spot) -> Spot:
        return Spot(x, float(law.logpdf(x)) + 3.7, near.field)

    return evaluate, Spot(mean, float(law.logpdf(mean)) + 3.7, np.empty(0)), covariance


@pytest.mark.parametrize(("kind", "d"), [("grid", 1), ("grid", 2), ("grid", 3), *(("ccd", d) for d in range(1, 9))])
def test_a_normal_density_is_integrated_with_its_moments(kind: str, d: int) -> None:
    evaluate, mode, covariance = normal_posterior(d)
    axes, center = make_axes(mode, covariance, evaluate)
    design = lay_out(kind, axes, center, evaluate)
    # The grid is cut where 1e-3 of the mode's density is left; the composite design is exact.
    tolerance = {"ccd": 1e-9, "grid": 3e-3}[kind] * d
    assert design.log_integral == pytest.approx(3.7, abs=tolerance)
    x, w = axes.point(design.z), design.weights
    assert w.sum() == pytest.approx(1.0, abs=1e-12)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((w @ x - mode.x) / sd, 0.0, atol=1e-7)
    spread = (x - mode.x).T @ (w[:, None] * (x - mode.x))
    np.testing.assert_allclose(spread / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=10 * tolerance)


def test_the_mode_alone_is_laplaces_integral() -> None:
    evaluate, mode, covariance = normal_posterior(3)
    axes, center = make_axes(mode, covariance, evaluate)
    assert lay_out("eb", axes, center, evaluate).log_integral == pytest.approx(3.7, abs=1e-9)


def test_a_center_off_the_mode_is_moved() -> None:
    evaluate, mode, covariance = normal_posterior(2)
    aside = evaluate(mode.x + np.linalg.cholesky(covariance) @ np.array([0.9, -0.6]), mode)
    axes, center = make_axes(aside, covariance, evaluate)
    gap = np.linalg.solve(np.linalg.cholesky(covariance), center.x - mode.x)
    assert np.linalg.norm(gap) < 0.1
    assert lay_out("grid", axes, center, evaluate).log_integral == pytest.approx(3.7, abs=0.01)


@pytest.mark.parametrize("d", range(1, 12))
def test_two_level_designs_tell_pairs_apart(d: int) -> None:
    signs = two_level(d)
    pairs = [signs[:, j] * signs[:, k] for j, k in itertools.combinations(range(d), 2)]
    columns = np.column_stack([np.ones(len(signs)), signs, *pairs])
    np.testing.assert_array_equal(columns.T @ columns, len(signs) * np.eye(columns.shape[1]))


def test_a_skew_density_is_sampled_where_it_is() -> None:
    """Log of a gamma variable: mean digamma, variance trigamma."""
    from scipy.special import polygamma, psi

    shape = 3.0

    def evaluate(x: np.ndarray, near: Spot) -> Spot:
        return Spot(x, float(stats.loggamma(shape).logpdf(x[0])), near.field)

    mode = evaluate(np.array([np.log(shape)]), Spot(np.zeros(1), 0.0, np.empty(0)))
    axes, center = make_axes(mode, np.array([[1.0 / shape]]), evaluate)
    design = lay_out("grid", axes, center, evaluate)
    found = density.sample(design)
    z, w = found.z, found.weights
    x = axes.point(z)[:, 0]
    sd = np.sqrt(polygamma(1, shape))
    assert w @ x == pytest.approx(psi(shape), abs=0.01 * sd)
    assert np.sqrt(w @ (x - w @ x) ** 2) == pytest.approx(sd, rel=0.01)
    even = axes.point(density.equally_weighted(z, w, 2048))[:, 0]
    assert even.mean() == pytest.approx(w @ x, abs=0.005 * sd)
    assert even.std() == pytest.approx(np.sqrt(w @ (x - w @ x) ** 2), rel=0.01)
    assert found.log_integral == pytest.approx(0.0, abs=0.005)
    shared = density.share_out(design, found)
    at = axes.point(shared.z)[:, 0]
    assert shared.weights @ at == pytest.approx(psi(shape), abs=0.02 * sd)


def test_equal_weights_keep_means_and_covariances_in_three_dimensions() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((8192, 3))
    w = np.exp(-0.2 * z[:, 0] ** 2 + 0.4 * z[:, 1] * z[:, 2])
    w /= w.sum()
    even = density.equally_weighted(z, w, 2048)
    mean = w @ z
    np.testing.assert_allclose(even.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(even.T), (z - mean).T @ (w[:, None] * (z - mean)), atol=0.06)


def test_interpolation_is_exact_at_its_nodes_and_for_planes() -> None:
    rng = np.random.default_rng(0)
    nodes = rng.standard_normal((12, 2))
    plane = 0.3 + nodes @ np.array([1.0, -2.0])
    values = np.column_stack([plane, np.sin(nodes[:, 0])])
    found = density.Interpolant(nodes, values)
    np.testing.assert_allclose(found(nodes), values, atol=1e-10)
    new = rng.standard_normal((5, 2))
    np.testing.assert_allclose(found(new)[:, 0], 0.3 + new @ np.array([1.0, -2.0]), atol=1e-9)
    alone = density.Interpolant(nodes[:1], np.array([[4.0]]))
    np.testing.assert_allclose(alone(new), 4.0)


def test_points_can_be_traced_back() -> None:
    rng = np.random.default_rng(2)
    basis, stretch = rng.standard_normal((3, 3)), rng.uniform(0.5, 2.0, (2, 3))
    for warp in (np.zeros((2, 3)), rng.uniform(0.0, 1.5, (2, 3))):
        axes = Axes(rng.standard_normal(3), basis, stretch, warp)
        z = rng.standard_normal((20, 3))
        np.testing.assert_allclose(axes.standardise(axes.point(z)), z, atol=1e-9)
        numeric = [
            np.column_stack([(axes.point(at + h) - axes.point(at - h)) / 2e-6 for h in 1e-6 * np.eye(3)]) for at in z
        ]
        np.testing.assert_allclose(axes.log_volume(z), np.linalg.slogdet(np.stack(numeric))[1], atol=1e-6)


def test_an_sd_that_may_be_zero_is_not_cut_off() -> None:
    """A half-normal sd in its logarithm, tied to a second hyperparameter over its bulk and not in its tail."""

    def evaluate(x: np.ndarray, near: Spot) -> Spot:
        s = np.exp(x[0])
        tied = stats.norm(0.6 * s, 0.2).logpdf(x[1])
        return Spot(x, float(stats.halfnorm.logpdf(s) + x[0] + tied), near.field)

    mode = evaluate(np.array([0.0, 0.6]), Spot(np.zeros(2), 0.0, np.empty(0)))
    covariance = np.linalg.inv(np.array([[2.0 + 9.0, -15.0], [-15.0, 25.0]]))
    axes, center = make_axes(mode, covariance, evaluate)
    design = lay_out("grid", axes, center, evaluate)
    found = density.sample(design)
    s = np.exp(axes.point(found.z)[:, 0])
    assert found.log_integral == pytest.approx(0.0, abs=0.02)
    assert found.weights @ s == pytest.approx(stats.halfnorm.mean(), abs=0.02)
    assert found.weights @ (s < 0.1) == pytest.approx(stats.halfnorm.cdf(0.1), abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 4), st.floats(-0.9, 0.9))
def test_a_skew_normal_has_its_moments(mean: float, sd: float, skew: float) -> None:
    x = mean + sd * np.linspace(-9, 9, 6001)
    p = skew_normal(x, np.array(mean), np.array(sd), np.array(skew))
    total = np.trapezoid(p, x)
    first = np.trapezoid(p * x, x)
    second = np.trapezoid(p * (x - mean) ** 2, x)
    third = np.trapezoid(p * (x - mean) ** 3, x)
    assert total == pytest.approx(1.0, abs=1e-9)
    assert first == pytest.approx(mean, abs=1e-7 * sd)
    assert second == pytest.approx(sd**2, rel=1e-6)
    assert third / sd**3 == pytest.approx(skew, abs=1e-5)


def curve_moments(curve: np.ndarray) -> tuple[float, float]:
    x, density = curve
    mass = np.trapezoid(density, x)
    mean = np.trapezoid(density * x, x) / mass
    return float(mean), float(np.sqrt(np.trapezoid(density * (x - mean) ** 2, x) / mass))


def test_mixtures_have_the_moments_and_quantiles_of_mixtures() -> None:
    w, mean, sd = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 0.0, 0.7]), np.array([0.5, 1.0, 0.8])
    curve = mixture_curve(w, mean, sd, np.zeros(3))
    center = w @ mean
    assert curve_moments(curve) == pytest.approx((center, np.sqrt(w @ (sd**2 + (mean - center) ** 2))), rel=1e-5)
    for p in (0.025, 0.5, 0.9):
        (x,) = curve_quantiles(curve, [p])
        assert w @ stats.norm.cdf((x - mean) / sd) == pytest.approx(p, abs=2e-4)


def test_a_smoothed_sample_keeps_its_mean_and_sd() -> None:
    values = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    there = np.linspace(-6, 6, 601)
    curve = sample_curve(values, there, np.ones(601), there)
    assert curve_moments(curve) == pytest.approx((values.mean(), values.std()), abs=1e-6)
    np.testing.assert_allclose(curve[1], stats.norm.pdf(there), atol=0.004)
