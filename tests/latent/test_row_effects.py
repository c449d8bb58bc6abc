"""As many random effects as rows: refused where no data could show their variances, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from latent_cases import block, problem_of

from bayesglmm.errors import DataError
from bayesglmm.latent.row_effects import check_row_effects

N = 24
RNG = np.random.default_rng(1)
ONES, X = np.ones((N, 1)), np.c_[np.ones(N), RNG.standard_normal(N)]
EACH, PAIRS = np.arange(N), np.arange(N) // 2
SAME = np.c_[np.ones(N), EACH % 2]


def made(codes, z, family="gaussian", **given):
    y = {"gaussian": RNG.standard_normal(N), "binomial": EACH % 2, "poisson": EACH % 4}[family]
    return problem_of([block("g", codes, z)], X, np.asarray(y, dtype=float), family, **given)


@pytest.mark.parametrize(
    ("codes", "z", "given"),
    [
        (EACH, ONES, {}),
        (EACH, np.where(EACH % 2, 1.0, -1.0)[:, None], {}),  # a slope whose square is constant
        (EACH, X, {}),
        (PAIRS, SAME, {}),
        (EACH, ONES, {"weights": np.full(N, 2.0)}),
        (EACH, ONES, {"family": "binomial"}),
        (EACH, X, {"family": "binomial", "trials": np.ones(N)}),
    ],
)
def test_refused(codes, z, given):
    with pytest.raises(DataError, match=r"per level.*Leave"):
        check_row_effects(made(codes, z, **given))


@pytest.mark.parametrize(
    ("codes", "z", "given"),
    [
        (PAIRS, ONES, {}),
        (EACH, X[:, 1:], {}),  # the variance grows with x²: that shows
        (PAIRS, X, {}),  # covariances at different x show
        (PAIRS, SAME, {"covariance": {"g": "diagonal"}}),
        (EACH, ONES, {"weights": np.linspace(0.5, 2.0, N)}),
        (EACH, ONES, {"family": "binomial", "trials": np.full(N, 3.0)}),
        (EACH, ONES, {"family": "poisson"}),
        (PAIRS, ONES, {"family": "binomial"}),
    ],
)
def test_borne(codes, z, given):
    check_row_effects(made(codes, z, **given))


def test_what_is_refused_has_a_flat_likelihood():
    """Another residual variance and a Σ that makes up for it: the same density for any response."""
    from bayesglmm.latent import marginal_loglik

    problem = made(PAIRS, SAME)
    beta, sigma = np.array([0.2, -0.1]), np.array([[1.0, 0.3], [0.3, 2.0]])
    values = []
    for more in (0.0, 0.4):  # residual variance 1 − more; more·[[1, −1], [−1, 2]] is what independent rows look like
        L = np.linalg.cholesky(sigma + more * np.array([[1.0, -1.0], [-1.0, 2.0]]))
        theta, psi = L[np.tril_indices(2)], np.array([0.5 * np.log(1.0 - more)])
        values.append(marginal_loglik(problem, beta, theta, psi))
    assert np.isclose(*values, rtol=1e-12)
    check_row_effects(replace(problem, design=replace(problem.design, blocks=()), covariance=()))
