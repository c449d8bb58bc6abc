"""Separation is found, named, and cured by bias reduction."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from arrays import array_problem
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.special import ndtr

from bayesglmm.errors import SeparationWarning
from bayesglmm.scores import fit_irls
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.separation import find_separation

# Histology of the endometrium (HG) by neovasculation, pulsatility index and endometrium height, 79 patients:
# Heinze & Schemper (2002), Statistics in Medicine 21, 2409-2419; printed in Agresti (2015). NV is quasi-separated.
_DATA = """
0 13 1.64 0 0 16 2.26 0 0 8 3.14 0 0 34 2.68 0 0 20 1.28 0 0 5 2.31 0 0 17 1.80 0 0 10 1.68 0 0 26 1.56 0
0 17 2.31 0 0 8 2.01 0 0 7 1.89 0 0 20 3.15 0 0 10 1.23 0 0 18 1.27 0 0 16 1.76 0 0 18 2.00 0 0 8 2.64 1
0 29 0.88 1 0 12 1.27 1 0 20 1.37 1 1 38 0.97 1 1 22 1.14 1 1 7 0.88 1 1 25 0.91 1 1 15 0.58 1 0 7 0.97 1
0 28 1.50 0 0 11 1.33 0 0 19 2.37 0 0 10 1.82 0 0 10 3.13 0 0 18 1.31 0 0 14 1.92 0 0 21 1.64 0 0 11 2.01 0
0 17 1.88 0 0 25 1.93 0 0 16 2.11 0 0 19 1.29 0 0 15 1.72 0 0 33 0.75 0 0 24 1.92 0 0 48 1.84 1 0 12 1.11 1
0 19 1.61 1 0 2 1.18 1 1 22 1.44 1 1 40 1.18 1 1 5 0.93 1 1 0 1.17 1 0 21 1.19 1 0 15 1.06 1 0 29 2.02 0
0 15 2.29 0 0 12 2.33 0 0 3 2.90 0 0 20 1.70 0 0 23 1.41 0 0 12 2.25 0 0 22 1.54 0 0 42 1.97 0 0 15 1.75 0
0 13 2.16 0 0 14 2.57 0 0 19 1.37 0 0 12 3.61 0 0 13 2.04 0 0 10 2.17 0 0 12 1.69 1 1 49 0.27 1 0 6 1.84 1
0 5 1.30 1 0 17 0.96 1 1 11 1.01 1 1 21 0.98 1 0 5 0.35 1 1 19 1.02 1 0 33 0.85 1
"""
ENDOMETRIAL = np.array([float(v) for v in _DATA.split()]).reshape(79, 4)
LINKS = ["logit", "probit", "cloglog", "loglog", "cauchit"]


def endometrial(**options: object):
    X = np.column_stack([np.ones(79), ENDOMETRIAL[:, :3]])
    return fit_irls(array_problem(X, ENDOMETRIAL[:, 3], "binomial", columns=("Intercept", "NV", "PI", "EH")), **options)


def line(y: list[float], link: str = "logit", x: np.ndarray | None = None):
    x = np.arange(len(y), dtype=float) if x is None else x
    return array_problem(np.column_stack([np.ones(len(y)), x]), y, "binomial", link)


def test_published_quasi_complete_separation() -> None:
    """Heinze & Schemper: only neovasculation has no estimate, because its 13 patients all have a high grade."""
    with pytest.warns(SeparationWarning, match=r"quasi-complete .* exists for NV \(13 rows"):
        result = endometrial()
    assert not result.status.converged
    assert "NV" in result.status.message
    np.testing.assert_allclose(result.beta[[0, 2, 3]], [4.305, -0.042, -2.903], atol=6e-4)


def test_published_bias_reduced_estimates() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = endometrial(penalty="firth")
    np.testing.assert_allclose(result.beta, [3.77456, 2.92927, -0.03475, -2.60416], atol=6e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(result.cov_beta)), [1.48869, 1.55076, 0.03958, 0.77602], atol=6e-6)


@pytest.mark.parametrize("link", LINKS)
def test_complete_separation(link: str) -> None:
    with pytest.warns(SeparationWarning, match="complete separation: no finite estimate exists for x0, x1 .10 rows"):
        result = fit_irls(line([0.0] * 5 + [1.0] * 5, link))
    assert not result.status.converged


@pytest.mark.parametrize("link", LINKS)
def test_one_value_shared_by_both_outcomes(link: str) -> None:
    x = np.array([0.0, 1, 2, 3, 4.5, 4.5, 6, 7, 8, 9])
    with pytest.warns(SeparationWarning, match="quasi-complete separation"):
        result = fit_irls(line([0.0] * 5 + [1.0] * 5, link, x))
    assert "0, 1, 2, 3, 6, 7" in result.status.message


@pytest.mark.parametrize("link", LINKS)
def test_overlap_gives_no_warning(link: str) -> None:
    assert fit_irls(line([0, 0, 1, 0, 1, 0, 1, 1, 0, 1], link)).status.converged


def test_empty_cell_of_counts() -> None:
    g = np.repeat([0, 1, 2], 4)
    y = [1.0, 2, 3, 2, 0, 0, 0, 0, 4, 5, 3, 6]
    X = np.column_stack([np.ones(12), g == 1, g == 2])
    with pytest.warns(SeparationWarning, match=r"exists for x1 \(4 rows are fitted perfectly: 4, 5, 6"):
        result = fit_irls(array_problem(X, y, "poisson"))
    np.testing.assert_allclose(result.beta[[0, 2]], np.log([2.0, 2.25]), rtol=1e-8)


def test_zeros_under_an_identity_link_do_not_separate() -> None:
    problem = array_problem(np.ones((6, 1)), [0.0, 0, 1, 2, 0, 3], "poisson", "identity")
    assert fit_irls(problem).beta[0] == pytest.approx(1.0)


def test_a_rare_level_far_out_is_not_separation() -> None:
    """Fitted probabilities of 1e-9 with an overlapping outcome elsewhere: finite estimates, no warning."""
    x = np.r_[np.linspace(-1, 1, 40), 60.0]
    y = np.r_[(np.arange(40) * 7 % 11 < 5).astype(float), 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_irls(line(list(y), x=x)).status.converged


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-2, 2), st.booleans()), min_size=6, max_size=14))
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_linear_program_over_all_rows(rows: list[tuple[int, int, bool]]) -> None:
    """Konis (2007): the data are separated if and only if max Σ s x'b over s x'b ≥ 0, |b| ≤ 1 is positive."""
    data = np.array(rows, dtype=float)
    X, y = np.column_stack([np.ones(len(data)), data[:, :2]]), data[:, 2]
    assume(np.linalg.matrix_rank(X) == 3)
    signed = X * (2 * y - 1)[:, None]
    answer = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(y)), bounds=[(-1, 1)] * 3)
    separated = -answer.fun > 1e-9
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_irls(array_problem(X, y, "binomial"))
    assert any(issubclass(w.category, SeparationWarning) for w in caught) == separated


def test_rows_at_the_point_of_divergence() -> None:
    problem = line([0.0] * 5 + [1.0] * 5)
    found = find_separation(problem_rows(problem), problem.family, problem.link, np.array([-90.0, 20.0]))
    assert found is not None
    assert found.complete
    assert found.rows.tolist() == list(range(10))
    assert found.columns == ("x0", "x1")


# --- bias reduction -----------------------------------------------------------------------------------------------


def test_firth_in_a_saturated_model_adds_half_to_every_cell() -> None:
    s, m = np.array([0.0, 3, 7]), np.array([5.0, 9, 7])
    result = fit_irls(array_problem(np.eye(3), s, "binomial", trials=m), penalty="firth")
    np.testing.assert_allclose(result.beta, np.log((s + 0.5) / (m - s + 0.5)), rtol=1e-8)


def test_firth_maximises_the_likelihood_times_jeffreys_prior() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    y = (rng.uniform(size=30) < 0.4).astype(float)

    def loss(b: np.ndarray) -> float:
        eta = X @ b
        mu = 1 / (1 + np.exp(-eta))
        information = X.T @ (X * (mu * (1 - mu))[:, None])
        return -float(y @ eta - np.logaddexp(0, eta).sum() + 0.5 * np.linalg.slogdet(information)[1])

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    result = fit_irls(array_problem(X, y, "binomial"), penalty="firth")
    np.testing.assert_allclose(result.beta, best, rtol=1e-5)
    assert result.status.converged


@pytest.mark.parametrize(("family", "link"), [("poisson", "log"), ("gamma", "log"), ("binomial", "probit")])
def test_bias_reduction_removes_first_order_bias(family: str, link: str) -> None:
    """The mean over samples is closer to the truth than that of maximum likelihood."""
    rng = np.random.default_rng(11)
    X = np.column_stack([np.ones(24), np.repeat([0.0, 1.0], 12)])
    truth = np.array([-0.4, 0.9])
    ml, reduced = [], []
    for _ in range(150):
        eta = X @ truth
        if family == "poisson":
            y = rng.poisson(np.exp(eta)).astype(float)
        elif family == "gamma":
            y = rng.gamma(0.7, np.exp(eta) / 0.7)
        else:
            y = (rng.uniform(size=24) < ndtr(eta)).astype(float)
        if len(set(y[:12])) == 1 or len(set(y[12:])) == 1:
            continue
        problem = array_problem(X, y, family, link)
        ml.append(fit_irls(problem).beta)
        reduced.append(fit_irls(problem, penalty="firth").beta)
    bias = lambda b: np.abs(np.mean(b, axis=0) - truth)  # noqa: E731
    assert bias(reduced)[0] < bias(ml)[0] + 1e-3
    assert bias(reduced).sum() < bias(ml).sum()
