"""Estimates of the scale, and covariances that do not trust the variance function."""

from __future__ import annotations

import numpy as np
import pytest
from arrays import array_problem
from scipy import integrate, stats

from bayesglmm.errors import DataError, MethodError
from bayesglmm.scores import fit_irls
from bayesglmm.scores.scale import HUBER_C, huber_scale

RNG = np.random.default_rng(77)
N = 90
X = np.column_stack([np.ones(N), RNG.normal(size=N), RNG.integers(0, 2, N)])
MU = np.exp(X @ np.array([0.8, 0.3, -0.4]))
Y = RNG.poisson(MU * RNG.gamma(2.0, 0.5, N)).astype(float)
PROBLEM = array_problem(X, Y, "quasipoisson")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def scores(result) -> np.ndarray:
    return X * (Y - np.exp(result.eta))[:, None]


def bread(result) -> np.ndarray:
    return np.linalg.inv(X.T @ (X * np.exp(result.eta)[:, None]))


def test_pearson_and_deviance_scale() -> None:
    result = fit_irls(PROBLEM)
    mu = np.exp(result.eta)
    assert result.scale == pytest.approx((np.square(Y - mu) / mu).sum() / (N - 3), rel=1e-12)
    by_deviance = fit_irls(PROBLEM, scale="deviance")
    assert by_deviance.scale == pytest.approx(result.extras["deviance"] / (N - 3), rel=1e-12)
    np.testing.assert_allclose(result.cov_beta, result.scale * bread(result), rtol=1e-8)
    np.testing.assert_allclose(by_deviance.cov_beta / by_deviance.scale, result.cov_beta / result.scale, rtol=1e-12)


def test_fletcher_scale() -> None:
    result = fit_irls(PROBLEM, scale="fletcher")
    mu = np.exp(result.eta)
    s = (Y - mu) / mu  # V' / V = 1 / μ
    pearson = (np.square(Y - mu) / mu).sum() / (N - 3)
    assert result.scale == pytest.approx(pearson / (1 + s.mean()), rel=1e-9)


def test_fletcher_scale_of_proportions_does_not_depend_on_how_they_are_written(rng: np.random.Generator) -> None:
    m = rng.integers(5, 12, N).astype(float)
    s = rng.binomial(m.astype(int), 1 / (1 + np.exp(-X @ [0.1, 0.4, 0.2]))).astype(float)
    a = fit_irls(array_problem(X, s, "quasibinomial", trials=m), scale="fletcher")
    b = fit_irls(array_problem(X, s / m, "quasibinomial", weights=m), scale="fletcher")
    assert a.scale == pytest.approx(b.scale, rel=1e-10)


def test_huber_scale_solves_its_equation() -> None:
    result = fit_irls(PROBLEM, scale="huber")
    mu = np.exp(result.eta)
    r2 = np.square(Y - mu) / mu / result.scale
    k = integrate.quad(lambda z: min(z * z, HUBER_C**2) * stats.norm.pdf(z), -12, 12, points=[-HUBER_C, HUBER_C])[0]
    assert np.minimum(r2, HUBER_C**2).sum() == pytest.approx((N - 3) * k, rel=1e-10)


def test_huber_scale_is_consistent_and_resists_outliers() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(scale=2.0, size=20000)
    ones = np.ones_like(y)
    problem = array_problem(np.zeros((20000, 1)) + 1.0, y)
    estimate = lambda values: huber_scale(problem.family, 0 * ones, values, ones, 20000.0, (1.0,))  # noqa: E731
    assert estimate(y) == pytest.approx(4.0, rel=0.04)
    spoilt = y.copy()
    spoilt[:400] += 1e4
    assert estimate(spoilt) == pytest.approx(4.0, rel=0.12)


def test_a_given_scale() -> None:
    result = fit_irls(PROBLEM, scale=2.5)
    assert result.scale == 2.5
    assert not result.use_t
    assert fit_irls(PROBLEM).use_t


def test_freeing_the_scale_of_a_likelihood_family_makes_it_a_quasi_likelihood() -> None:
    poisson = array_problem(X, Y, "poisson")
    assert fit_irls(poisson).loglik is not None
    freed = fit_irls(poisson, scale="pearson")
    assert freed.loglik is None
    assert freed.scale == pytest.approx(fit_irls(PROBLEM).scale, rel=1e-10)


def test_no_degrees_of_freedom_left() -> None:
    with pytest.raises(MethodError, match="more rows than coefficients"):
        fit_irls(array_problem(np.eye(3), [1.0, 2.0, 3.0]))


# --- sandwiches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "power"), [("HC0", 0), ("HC2", 1), ("HC3", 2)])
def test_heteroscedastic_meat(kind: str, power: int) -> None:
    result = fit_irls(PROBLEM, cov=kind)
    A, mu = bread(result), np.exp(result.eta)
    h = mu * np.einsum("ij,jk,ik->i", X, A, X)
    s = scores(result) / np.sqrt(1 - h)[:, None] ** power
    np.testing.assert_allclose(result.cov_beta, A @ (s.T @ s) @ A, rtol=1e-7)


def test_hc1_is_hc0_with_a_factor() -> None:
    a, b = fit_irls(PROBLEM, cov="HC0"), fit_irls(PROBLEM, cov="HC1")
    np.testing.assert_allclose(b.cov_beta, a.cov_beta * N / (N - 3), rtol=1e-12)


def test_sandwich_does_not_depend_on_the_scale() -> None:
    a, b = fit_irls(PROBLEM, cov="HC0"), fit_irls(PROBLEM, cov="HC0", scale=9.0)
    np.testing.assert_allclose(a.cov_beta, b.cov_beta, rtol=1e-12)


def test_hc3_of_a_linear_model_is_nearly_the_jackknife(rng: np.random.Generator) -> None:
    """MacKinnon & White (1985): the jackknife covariance is HC3 up to terms of order 1/n."""
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=N) * np.exp(X[:, 1] / 2)
    full = fit_irls(array_problem(X, y), cov="HC3")
    left_out = np.array([np.linalg.lstsq(np.delete(X, i, 0), np.delete(y, i), rcond=None)[0] for i in range(N)])
    jackknife = (left_out - full.beta).T @ (left_out - full.beta)
    np.testing.assert_allclose(full.cov_beta, jackknife, rtol=1e-8)


GROUPS = RNG.integers(0, 12, N)
OTHER = RNG.integers(0, 7, N)


def cluster_meat(s: np.ndarray, g: np.ndarray) -> np.ndarray:
    u = np.array([s[g == k].sum(axis=0) for k in np.unique(g)])
    G = len(u)
    return G / (G - 1) * (N - 1) / (N - 3) * u.T @ u


def test_one_way_clusters() -> None:
    result = fit_irls(PROBLEM, cov="cluster", groups=GROUPS)
    A = bread(result)
    np.testing.assert_allclose(result.cov_beta, A @ cluster_meat(scores(result), GROUPS) @ A, rtol=1e-7)
    assert result.extras["clusters"] == (12,)
    labels = np.array([f"village {g}" for g in GROUPS])
    same = fit_irls(PROBLEM, cov="cluster", groups=labels)
    np.testing.assert_allclose(same.cov_beta, result.cov_beta, rtol=1e-12)


def test_two_way_clusters() -> None:
    result = fit_irls(PROBLEM, cov="cluster", groups=(GROUPS, OTHER))
    s, A = scores(result), bread(result)
    both = GROUPS * 7 + OTHER
    V = A @ (cluster_meat(s, GROUPS) + cluster_meat(s, OTHER) - cluster_meat(s, both)) @ A
    values, vectors = np.linalg.eigh(V)
    expected = (vectors * np.maximum(values, 0)) @ vectors.T
    np.testing.assert_allclose(result.cov_beta, expected, rtol=1e-6, atol=1e-12)
    paired = fit_irls(PROBLEM, cov="cluster", groups=np.column_stack([GROUPS, OTHER]))
    np.testing.assert_allclose(paired.cov_beta, result.cov_beta, rtol=1e-12)


def test_clusters_of_one_row_are_hc0() -> None:
    a = fit_irls(PROBLEM, cov="cluster", groups=np.arange(N), small_sample="CR0")
    b = fit_irls(PROBLEM, cov="HC0")
    np.testing.assert_allclose(a.cov_beta, b.cov_beta, rtol=1e-10)
    c = fit_irls(PROBLEM, cov="cluster", groups=np.arange(N), small_sample="CR1")
    np.testing.assert_allclose(c.cov_beta, b.cov_beta * N / (N - 1), rtol=1e-10)


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        (np.zeros(N), DataError, "single cluster"),
        (np.arange(N - 1), DataError, f"{N - 1} labels for the {N} rows"),
        (np.r_[np.nan, np.ones(N - 1)], DataError, "missing"),
        (np.zeros((N, 3)), MethodError, "3 columns"),
    ],
)
def test_wrong_groups(groups: np.ndarray, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        fit_irls(PROBLEM, cov="cluster", groups=groups)


def test_wrong_small_sample_factor() -> None:
    with pytest.raises(MethodError, match="small_sample"):
        fit_irls(PROBLEM, cov="cluster", groups=GROUPS, small_sample="CR9")
