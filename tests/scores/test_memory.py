"""A fit takes hardly more memory than its data, and few passes over them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from arrays import array_problem

from bayesglmm.problem import Problem
from bayesglmm.scores import fit_irls

N, P = 400_000, 50


@pytest.fixture(scope="module")
def columns() -> np.ndarray:
    X = np.random.default_rng(0).standard_normal((N, P))
    X[:, 0] = 1.0
    return X


def poisson(X: np.ndarray) -> Problem:
    rng = np.random.default_rng(1)
    return array_problem(X, rng.poisson(np.exp(X[:, :5] @ np.full(5, 0.1))), "poisson")


def linear(X: np.ndarray) -> Problem:
    return array_problem(X, X[:, 1] + np.random.default_rng(1).standard_normal(N))


@pytest.mark.parametrize(("make", "options"), [(poisson, {}), (poisson, {"cov": "HC3"}), (linear, {})])
def test_peak_memory_beyond_the_data(columns: np.ndarray, make, options: dict) -> None:
    problem = make(columns)
    fit_irls(array_problem(columns[:100], problem.response.y[:100], problem.family), **options)  # imports, compilation
    tracemalloc.start()
    try:
        result = fit_irls(problem, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.status.converged
    assert peak < 0.05 * columns.nbytes
    # a start from a sample of the rows leaves two to four steps on all of them
    assert result.status.evaluations <= 5


def test_starting_from_a_sample_changes_nothing(columns: np.ndarray) -> None:
    problem = poisson(columns)
    quick = fit_irls(problem)
    slow = fit_irls(problem, start=np.zeros(P))
    np.testing.assert_allclose(quick.beta, slow.beta, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(quick.cov_beta, slow.cov_beta, rtol=1e-8, atol=1e-14)
