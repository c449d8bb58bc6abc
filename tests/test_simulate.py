"""Simulated responses have the moments their families state, with and without random effects."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from scipy import sparse

from bayesglmm.covariance import Known
from bayesglmm.errors import MethodError
from bayesglmm.families import NegativeBinomial, get_family
from bayesglmm.links import get_link
from bayesglmm.simulate import NumpyDistributions, simulate, simulate_predictor

N = 60
X = np.linspace(-1.0, 1.0, N)
G = np.arange(N) % 6
DRAWS = 4000
AUX = {"gaussian": [-0.3], "gamma": [1.0], "inverse_gaussian": [1.5], "negative_binomial": [0.5], "beta": [1.5],
       "negative_binomial_1": [0.2], "beta_binomial": [1.0], "student_t": [-0.2, 2.0],
       "zero_inflated_poisson": [-0.5], "hurdle_poisson": [-0.5], "zero_inflated_negative_binomial": [0.7, -0.5],
       "hurdle_negative_binomial": [0.7, -0.5]}  # fmt: skip
FAMILIES = ["gaussian", "binomial", "poisson", *[f for f in AUX if f != "gaussian"]]


def made(family, formula="y ~ x", weights=None, **options):
    row = get_family(family)
    y = np.where(np.arange(N) == 0, 2.0, 1.0) / (4.0 if row.name == "beta" else 1.0)
    data = {"x": X, "g": G.astype(str), "y": y, "t": 7.0}
    if row.trials:
        formula = formula.replace("y ~", "p(y, t) ~")
    link = "log" if row.name in ("gamma", "inverse_gaussian") else None
    return problem_of(formula, pd.DataFrame(data), row, link=link, weights=weights, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_and_variance_are_the_familys(family):
    problem = made(family)
    row, rng = problem.family, np.random.default_rng(5)
    psi = np.array(AUX.get(family, []))
    beta = np.array([0.3, 0.4])
    y = simulate(problem, beta, np.empty(0), psi, rng, DRAWS)
    assert y.shape == (DRAWS, N)
    aux = tuple(float(get_link(a.link).mean(v)) for a, v in zip(row.auxiliaries, psi))
    mu = problem.link.mean(beta[0] + beta[1] * X)
    mean = mu if row.expectation is None else row.expectation(mu, aux)
    phi = row.dispersion(aux) if row.scale is None else 1.0
    trials = 7.0 if row.trials else 1.0
    variance = phi * row.variance(mu, aux) / trials
    if family == "beta_binomial":
        variance = mu * (1.0 - mu) / trials * (1.0 + (trials - 1.0) / (aux[0] + 1.0))
    z = (y.mean(axis=0) / trials - mean) / np.sqrt(variance / DRAWS)
    assert np.mean(z**2) < 2.0
    if family != "student_t":  # its fourth moment is too large for a comparison of variances
        np.testing.assert_allclose((y / trials).var(axis=0).mean(), variance.mean(), rtol=0.05)


@pytest.mark.parametrize("family", ["gaussian", "gamma", "inverse_gaussian"])
def test_weights_divide_the_dispersion(family):
    weights = np.where(np.arange(N) < 30, 1.0, 16.0)
    problem = made(family, "y ~ 1", weights=weights)
    y = simulate(problem, np.array([0.3]), np.empty(0), np.array(AUX[family]), np.random.default_rng(1), DRAWS)
    assert y[:, :30].var() / y[:, 30:].var() == pytest.approx(16.0, rel=0.1)


def test_random_effects_are_new_and_have_their_covariance():
    problem = made("gaussian", "y ~ 1 + (1 + x | g)")
    corr = np.array([[1.0, -0.5], [-0.5, 1.0]])
    theta = problem.covariance[0].from_sd_corr(np.array([0.8, 1.5]), corr)
    eta = simulate_predictor(problem, np.array([2.0]), theta, np.random.default_rng(3), 20000) - 2.0
    Z = np.c_[np.ones(N), X]
    D = np.outer([0.8, 1.5], [0.8, 1.5]) * corr
    expected = (Z @ D @ Z.T) * (G[:, None] == G)
    np.testing.assert_allclose(eta.T @ eta / len(eta), expected, atol=0.08)


def test_a_known_covariance_between_levels_is_drawn_from():
    K = 0.3 * np.ones((6, 6)) + 0.7 * np.eye(6)
    problem = made("gaussian", "y ~ 1 + (1 | g)", covariance={"g": Known(K, levels=[str(j) for j in range(6)])})
    eta = simulate_predictor(problem, np.zeros(1), np.array([2.0]), np.random.default_rng(3), 20000)
    np.testing.assert_allclose(eta.T @ eta / len(eta), 4.0 * K[np.ix_(G, G)], atol=0.15)
    assert sparse.issparse(problem.covariance[0].precision)


def test_families_of_other_distributions_are_drawn_by_pymc():
    problem = problem_of("y ~ x", pd.DataFrame({"y": 1.0 + X**2, "x": X}), get_family("tweedie", power=1.5))
    psi = np.zeros(len(problem.family.auxiliaries))
    y = simulate(problem, np.array([0.3, 0.4]), np.empty(0), psi, np.random.default_rng(2), 300)
    assert y.mean() == pytest.approx(np.exp(0.3 + 0.4 * X).mean(), rel=0.05)
    assert (y == 0).any()


@pytest.mark.parametrize("name", ["negative_binomial", "hurdle_poisson"])
def test_no_pymc_is_loaded_for_the_others(name):
    code = (
        "import sys, numpy as np, pandas as pd, bayesglmm as bg\n"
        "from bayesglmm.simulate import simulate\n"
        f"m = bg.Model('y ~ 1', pd.DataFrame({{'y': [1, 2, 3]}}), {name!r})\n"
        "simulate(m.problem, np.zeros(1), np.empty(0), np.zeros(len(m.family.auxiliaries)), np.random.default_rng(1))\n"
        "assert 'pymc' not in sys.modules and 'pytensor' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_no_distribution_is_refused():
    rng, none = np.random.default_rng(0), np.empty(0)
    with pytest.raises(MethodError, match="quasi-family"):
        simulate(made("quasipoisson"), np.zeros(2), none, none, rng)
    with pytest.raises(MethodError, match="prior weights multiply the log-density of poisson"):
        simulate(made("poisson", weights=np.full(N, 2.0)), np.zeros(2), none, none, rng)


def test_hurdles_are_above_zero_even_for_the_smallest_means():
    draw = NumpyDistributions(np.random.default_rng(0)).HurdlePoisson.dist
    assert set(draw(psi=1.0, mu=np.full(1000, 1e-20))) == {1.0}
    y = draw(psi=1.0, mu=np.full(20000, 0.5))
    assert y.min() == 1.0
    assert y.mean() == pytest.approx(0.5 / (1 - np.exp(-0.5)), rel=0.02)
    assert NegativeBinomial(2.0).name == "negative_binomial"


def test_auxiliaries_with_their_own_predictors():
    import bayesglmm as bg

    data = pd.DataFrame({"y": 1.0 + X**2, "x": X})
    problem = bg.Model("y ~ 1", data, "gaussian", dispersion="~ x", priors="flat").problem
    psi = np.array([0.2, 0.7])
    y = simulate(problem, np.array([1.0]), np.empty(0), psi, np.random.default_rng(2), DRAWS)
    np.testing.assert_allclose(y.std(axis=0), np.exp(0.2 + 0.7 * X), rtol=0.06)
