"""Dependent columns: the rule, its accuracy, and that it needs no copy of the matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.design.rank import independent_columns


def slow_rule(X: np.ndarray) -> list[bool]:
    """The rule, column by column with a least-squares fit each."""
    keep: list[bool] = []
    for j in range(X.shape[1]):
        earlier = X[:, [i for i in range(j) if keep[i]]]
        rest = X[:, j] - (earlier @ np.linalg.lstsq(earlier, X[:, j])[0] if earlier.shape[1] else 0.0)
        keep.append(bool(np.linalg.norm(rest) > 1e-7 * np.linalg.norm(X[:, j])))
    return keep


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4))
def test_agrees_with_least_squares_of_each_column_on_those_before(seed, independent, dependent):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(40, independent))
    X = np.column_stack([base, base @ rng.integers(-2, 3, (independent, dependent))])
    X = X[:, rng.permutation(X.shape[1])]
    keep = independent_columns(X)
    assert keep.tolist() == slow_rule(X)
    assert keep.sum() == np.linalg.matrix_rank(X)
    assert independent_columns(X * 10.0 ** rng.uniform(-9, 9, X.shape[1])).tolist() == keep.tolist()


@pytest.mark.parametrize(("distance", "kept"), [(1e-5, True), (1e-6, True), (1e-8, False), (1e-12, False)])
def test_tolerance_is_rs(distance, kept):
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=(2, 50_000))
    X = np.column_stack([np.ones(50_000), x, x + distance * noise])
    assert independent_columns(X).tolist() == [True, True, kept]


def test_scale_of_columns_does_not_matter():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(30, 3))
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    for power in (-150, -8, 0, 8, 150):
        assert independent_columns(X * [1.0, 10.0**power, 1.0, 1.0]).tolist() == [True, True, True, False]


def test_more_columns_than_rows_and_none():
    X = np.random.default_rng(5).normal(size=(4, 9))
    assert independent_columns(X).tolist() == [True] * 4 + [False] * 5
    assert independent_columns(np.empty((5, 0))).shape == (0,)
    assert independent_columns(np.zeros((5, 2))).tolist() == [False, False]


def test_no_copy_of_the_matrix_is_made():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(200_000, 10))
    X[:, 9] = X[:, 0]
    tracemalloc.start()
    assert not independent_columns(X)[9]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2
