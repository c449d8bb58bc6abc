"""What must hold of any scoring fit, whatever the data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from arrays import array_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.families.negative_binomial import NegativeBinomial
from bayesglmm.families.quasi import Quasi
from bayesglmm.families.tweedie import Tweedie
from bayesglmm.scores import fit_irls
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.scoring import score_equations
from bayesglmm.scores.sums import block_sums, sweep, upper_triangle

RNG = np.random.default_rng(20240611)
N = 60
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 2)), RNG.integers(0, 2, N)])
ETA = X @ np.array([0.4, 0.5, -0.3, 0.6])
COUNTS = RNG.poisson(np.exp(ETA)).astype(float)
TRIALS = RNG.integers(1, 9, N).astype(float)
SUCCESSES = RNG.binomial(TRIALS.astype(int), 1 / (1 + np.exp(-ETA))).astype(float)
POSITIVE = RNG.gamma(3.0, np.exp(ETA) / 3.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def agree(a, b, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(a.beta, b.beta, rtol=rtol, atol=1e-11)
    np.testing.assert_allclose(a.cov_beta, b.cov_beta, rtol=10 * rtol, atol=1e-13)


@given(st.permutations(range(N)))
@settings(max_examples=10, deadline=None)
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    rows = np.array(order)
    a = fit_irls(array_problem(X, COUNTS, "poisson"))
    b = fit_irls(array_problem(X[rows], COUNTS[rows], "poisson"))
    agree(a, b)
    assert a.loglik == pytest.approx(b.loglik, rel=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_splitting_binomial_rows_into_single_trials(link: str) -> None:
    whole = fit_irls(array_problem(X, SUCCESSES, "binomial", link, trials=TRIALS))
    rows = np.repeat(np.arange(N), TRIALS.astype(int))
    y = np.concatenate([np.r_[np.ones(int(s)), np.zeros(int(m - s))] for s, m in zip(SUCCESSES, TRIALS)])
    agree(whole, fit_irls(array_problem(X[rows], y, "binomial", link)), rtol=1e-8)


def test_whole_weights_are_replicates_for_the_estimates(rng: np.random.Generator) -> None:
    w = rng.integers(1, 5, N)
    rows = np.repeat(np.arange(N), w)
    a = fit_irls(array_problem(X, COUNTS, "poisson", weights=w))
    b = fit_irls(array_problem(X[rows], COUNTS[rows], "poisson"))
    agree(a, b)
    assert a.loglik == pytest.approx(b.loglik, rel=1e-12)


def test_offset_is_a_column_with_coefficient_one(rng: np.random.Generator) -> None:
    shift = rng.normal(size=N)
    full = fit_irls(array_problem(np.column_stack([X, shift]), COUNTS, "poisson"))
    held = fit_irls(array_problem(X, COUNTS, "poisson", offset=shift * full.beta[-1]))
    np.testing.assert_allclose(held.beta, full.beta[:-1], rtol=1e-9, atol=1e-11)


def test_scaling_the_response_of_a_linear_model(rng: np.random.Generator) -> None:
    y = ETA + rng.normal(size=N)
    a, b = fit_irls(array_problem(X, y)), fit_irls(array_problem(X, 7.0 * y))
    np.testing.assert_allclose(b.beta, 7.0 * a.beta, rtol=1e-12)
    assert b.scale == pytest.approx(49.0 * a.scale, rel=1e-12)
    assert b.loglik == pytest.approx(a.loglik - N * np.log(7.0), rel=1e-12)


def test_generalized_least_squares_by_weights(rng: np.random.Generator) -> None:
    y, w = ETA + rng.normal(size=N), rng.uniform(0.2, 3.0, N)
    result = fit_irls(array_problem(X, y, weights=w))
    direct = np.linalg.solve(X.T @ (X * w[:, None]), X.T @ (w * y))
    np.testing.assert_allclose(result.beta, direct, rtol=1e-11)


@pytest.mark.parametrize(
    ("family", "likelihood", "y"),
    [
        ("quasipoisson", "poisson", COUNTS),
        (Tweedie(power=1.0), "poisson", COUNTS),
        (Quasi(variance=lambda mu: mu, link="log"), "poisson", COUNTS),
        (Tweedie(power=2.0), "gamma", POSITIVE),
        (Tweedie(power=3.0), "inverse_gaussian", POSITIVE),
        (Quasi(variance=lambda mu: mu**2, link="log"), "gamma", POSITIVE),
        ("quasi_negative_binomial", NegativeBinomial(theta=1.0), COUNTS),
    ],
)
def test_quasi_families_solve_the_same_equations(family: object, likelihood: object, y: np.ndarray) -> None:
    a, b = fit_irls(array_problem(X, y, family, "log")), fit_irls(array_problem(X, y, likelihood, "log"))
    np.testing.assert_allclose(a.beta, b.beta, rtol=1e-8, atol=1e-10)
    assert a.extras["deviance"] == pytest.approx(b.extras["deviance"], rel=1e-8)
    assert a.loglik is None
    assert a.use_t
    assert a.extras["quasi_loglik"] == pytest.approx(-0.5 * a.extras["deviance"] / a.scale)


def test_fractional_responses() -> None:
    """Scoring needs no whole numbers: half of twice the data is the data."""
    a = fit_irls(array_problem(X, COUNTS / 3.0, "quasipoisson"))
    b = fit_irls(array_problem(X, COUNTS, "quasipoisson", offset=np.full(N, np.log(3.0))))
    np.testing.assert_allclose(a.beta, b.beta, rtol=1e-9, atol=1e-11)
    assert a.scale == pytest.approx(b.scale / 3.0, rel=1e-9)


def test_negative_binomial_is_the_joint_maximum(rng: np.random.Generator) -> None:
    """The derivative of the profile log-likelihood in every parameter is zero."""
    from bayesglmm.scores.likelihood import loglik_at

    problem = array_problem(X, rng.poisson(np.exp(ETA) * rng.gamma(1.5, 1 / 1.5, N)), "negative_binomial")
    result = fit_irls(problem)
    point = np.r_[result.beta, result.psi]

    def loglik(q: np.ndarray) -> float:
        return loglik_at(problem, X @ q[:-1], q[-1:])

    assert loglik(point) == pytest.approx(result.loglik, rel=1e-13)
    h = 1e-4
    for j in range(len(point)):
        e = h * np.eye(len(point))[j]
        assert abs(loglik(point + e) - loglik(point - e)) / (2 * h) < 1e-5


def test_negative_binomial_without_overdispersion(rng: np.random.Generator) -> None:
    y = rng.binomial(40, 0.3, 200).astype(float)  # less variable than a Poisson
    result = fit_irls(array_problem(np.ones((200, 1)), y, "negative_binomial"))
    assert result.status.boundary == ("theta",)
    assert result.beta[0] == pytest.approx(np.log(y.mean()), rel=1e-6)


def test_power_of_the_variance_by_profile_likelihood() -> None:
    from bayesglmm.families.tweedie import draw

    rng = np.random.default_rng(5)
    eta = 0.5 + 0.4 * rng.normal(size=1500)
    y = draw(np.exp(eta), 0.8, 1.6, rng)
    columns = np.column_stack([np.ones(1500), (eta - 0.5) / 0.4])
    free = fit_irls(array_problem(columns, y, Tweedie()))
    power = free.extras["profile"][free.extras["profile"][:, 1].argmax(), 0]
    assert power == pytest.approx(1.6, abs=0.06)
    for nearby in (power - 0.03, power + 0.03):
        assert fit_irls(array_problem(columns, y, Tweedie(power=nearby))).loglik < free.loglik
    assert free.df_model == 4


def test_normal_equations_and_triangles_agree() -> None:
    problem = array_problem(X, COUNTS, "poisson")
    source = problem_rows(problem, size=7)
    a = score_equations(source, problem.family, problem.link, qr=True)
    b = score_equations(replace(source, n=None), problem.family, problem.link, qr=False)
    np.testing.assert_allclose(a.beta, b.beta, rtol=1e-12)
    np.testing.assert_allclose(a.factor.inverse(), b.factor.inverse(), rtol=1e-11)


@given(st.lists(st.integers(1, N - 1), min_size=1, max_size=4, unique=True), st.booleans())
@settings(max_examples=20, deadline=None)
def test_sums_merge_in_any_cut(cuts: list[int], qr: bool) -> None:
    problem = array_problem(X, COUNTS, "poisson")
    beta = np.array([0.1, 0.2, 0.3, -0.1])
    whole = sweep(problem_rows(problem), problem.family, problem.link, (), beta, qr=qr)
    (rows,) = problem_rows(problem).blocks()
    edges = [0, *sorted(cuts), N]
    total = None
    for low, high in itertools.pairwise(edges):
        part = replace(rows, **{k: getattr(rows, k)[low:high] for k in ("X", "y", "w", "offset")})
        sums = block_sums(part, part.X @ beta, problem.family, problem.link, qr=qr)
        total = sums if total is None else total + sums
    assert total.n == whole.n
    assert total.deviance == pytest.approx(whole.deviance, rel=1e-12)
    np.testing.assert_allclose(total.score, whole.score, rtol=1e-10, atol=1e-10)
    if qr:
        np.testing.assert_allclose(total.triangle.T @ total.triangle, whole.triangle.T @ whole.triangle, rtol=1e-10)
    else:
        np.testing.assert_allclose(total.gram, whole.gram, rtol=1e-12)


def test_triangle_has_the_gram_matrix_of_its_rows() -> None:
    R = upper_triangle(X)
    assert np.array_equal(R, np.triu(R))
    np.testing.assert_allclose(R.T @ R, X.T @ X, rtol=1e-12)


@pytest.mark.parametrize(
    ("family", "link", "y"),
    [
        ("inverse_gaussian", "log", "skewed"),
        ("gamma", "log", "skewed"),
        ("gaussian", "log", "skewed"),
        ("binomial", "cauchit", "binary"),
    ],
)
def test_slow_sequences_are_mixed(
    family: str, link: str, y: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where plain scoring shrinks its steps by a constant factor, leaps find the same root in fewer of them."""
    responses = {"skewed": np.exp(ETA + 0.9 * rng.normal(size=N)), "binary": (ETA + rng.normal(size=N) > 0.7) * 1.0}
    problem = array_problem(X, responses[y], family, link)
    mixed = fit_irls(problem)
    monkeypatch.setattr("bayesglmm.scores.acceleration.Path.leap", lambda path, factor: None)
    plain = fit_irls(problem, max_iterations=1000)
    agree(mixed, plain, rtol=1e-8)
    assert mixed.status.converged
    assert mixed.status.iterations < plain.status.iterations


# --- domains ------------------------------------------------------------------------------------------------------


def test_identity_link_of_a_poisson_stays_positive(rng: np.random.Generator) -> None:
    x = np.linspace(0, 1, 80)
    y = rng.poisson(0.3 + 6 * x).astype(float)
    problem = array_problem(np.column_stack([np.ones(80), x]), y, "poisson", "identity")
    result = fit_irls(problem)
    assert result.status.converged
    assert (result.eta > 0).all()
    score = problem.design.X.T @ ((y - result.eta) / result.eta)
    np.testing.assert_allclose(score, 0.0, atol=1e-6)


def test_log_binomial_against_its_score(rng: np.random.Generator) -> None:
    x = np.linspace(0, 1, 200)
    y = (rng.uniform(size=200) < np.exp(-2 + 1.4 * x)).astype(float)
    result = fit_irls(array_problem(np.column_stack([np.ones(200), x]), y, "binomial", "log"))
    assert result.status.converged
    assert (result.eta < 0).all()
    mu = np.exp(result.eta)
    assert abs(((y - mu) / (1 - mu)).sum()) < 1e-6


def test_a_solution_at_the_edge_of_the_domain_is_said_to_be_one(rng: np.random.Generator) -> None:
    x = np.linspace(0, 1, 50)
    y = np.r_[np.zeros(20), rng.poisson(5 * x[20:])].astype(float)
    result = fit_irls(array_problem(np.column_stack([np.ones(50), x]), y, "poisson", "identity"))
    assert not result.status.converged
    assert "edge of what the identity link allows" in result.status.message
    assert (result.eta > 0).all()


def test_starting_values() -> None:
    problem = array_problem(X, COUNTS, "poisson")
    plain = fit_irls(problem)
    again = fit_irls(problem, start=plain.beta)
    assert again.status.iterations <= 2
    agree(plain, again)
    agree(plain, fit_irls(problem, start=plain.beta + 3.0))


def test_a_cap_on_the_iterations_is_reported() -> None:
    result = fit_irls(array_problem(X, COUNTS, "poisson"), max_iterations=2)
    assert not result.status.converged
    assert "cap of 2 iterations" in result.status.message


# --- options that do not exist ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "median"}, "scale is 'median'"),
        ({"scale": -1.0}, "positive number"),
        ({"cov": "HC9"}, "cov is 'HC9'"),
        ({"cov": "cluster"}, "needs groups"),
        ({"penalty": "ridge"}, "penalty is 'ridge'"),
    ],
)
def test_wrong_options(options: dict, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        fit_irls(array_problem(X, COUNTS, "poisson"), **options)


def test_families_that_scoring_does_not_solve() -> None:
    with pytest.raises(MethodError, match="laplace"):
        fit_irls(array_problem(X, COUNTS, "negative_binomial_1"))


def test_no_admissible_start() -> None:
    """No coefficient gives positive means both for x = 1 and x = −1."""
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    with pytest.raises(ConvergenceError, match="inside its range"):
        fit_irls(array_problem(x, [1.0, 2.0, 3.0, 1.0], "poisson", "identity"))
