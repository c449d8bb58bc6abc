"""Formulas that leave out what is not asked for say the same as the whole ones."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.families.kernels.binomial import factory
from bayesglmm.families.kernels.counts import poisson_factory

RNG = np.random.default_rng(4)
N, GROUPS = 40, np.arange(40) % 7
TRIALS = RNG.integers(1, 9, N).astype(float)
ANSWERS = RNG.binomial(1, 0.4, N).astype(float)
WEIGHTS = RNG.uniform(0.5, 2.0, N)
KERNELS = {
    "poisson": poisson_factory("log")(RNG.poisson(3.0, N).astype(float), None, None),
    "poisson, weighted": poisson_factory("log")(RNG.poisson(3.0, N).astype(float), None, WEIGHTS),
    "binary": factory("logit")(ANSWERS, None, None),
    "binomial": factory("logit")(RNG.binomial(TRIALS.astype(int), 0.3).astype(float), TRIALS, None),
    "binomial, weighted": factory("logit")(RNG.binomial(TRIALS.astype(int), 0.3).astype(float), TRIALS, WEIGHTS),
}


def collect(values):
    return np.stack([values[k == GROUPS].sum(axis=0) for k in range(7)])


@pytest.fixture(params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


def test_two_derivatives_of_columns(kernel):
    eta = RNG.normal(0.0, 3.0, (N, 5))
    d1, d2 = kernel.formulas.slopes(eta, tuple(d[:, None] for d in kernel.data))
    for j in range(5):
        whole = kernel.derivatives(eta[:, j], np.empty(0))
        np.testing.assert_allclose(d1[:, j], whole.d1, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(d2[:, j], whole.d2, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_sums_by_group_as_they_are_shifted(kernel, size):
    eta, move = RNG.normal(0.0, size, (N, 5)), RNG.normal(0.0, 1.0, (7, 5))
    columns = tuple(d[:, None] for d in kernel.data)
    sums = kernel.formulas.shifts(eta, columns, collect, lambda values: values[GROUPS])
    for t in (None, move, -3.0 * move):
        by_row = eta if t is None else eta + t[GROUPS]
        expected = np.stack([kernel.derivatives(own, np.empty(0)).value for own in by_row.T], axis=1)
        np.testing.assert_allclose(sums(t), collect(expected), rtol=1e-11, atol=1e-11 * size)
