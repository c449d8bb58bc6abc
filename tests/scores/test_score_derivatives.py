"""Score and information of every family and link against finite differences of its (quasi-)likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.families import eta_domain, get_family
from bayesglmm.families.quasi import Quasi
from bayesglmm.families.tweedie import Tweedie
from bayesglmm.links import get_link, power_link
from bayesglmm.scores.scale import variance_slope
from bayesglmm.scores.working import deviance_terms, working_quantities

PAIRS = [
    ("gaussian", "identity"),
    ("gaussian", "log"),
    ("gaussian", "inverse"),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("binomial", "loglog"),
    ("binomial", "cauchit"),
    ("binomial", "log"),
    ("poisson", "log"),
    ("poisson", "sqrt"),
    ("poisson", "identity"),
    ("gamma", "log"),
    ("gamma", "inverse"),
    ("gamma", "identity"),
    ("inverse_gaussian", "inverse_squared"),
    ("inverse_gaussian", "log"),
    ("negative_binomial", "log"),
    ("quasipoisson", "log"),
    ("quasibinomial", "logit"),
    ("quasi_negative_binomial", "log"),
    (Tweedie(power=1.0), "log"),
    (Tweedie(power=1.4), "log"),
    (Tweedie(power=2.0), "log"),
    (Quasi(variance=lambda mu: mu + 0.3 * mu**1.5, link="log"), "log"),
    (Quasi(variance="mu^2(1-mu)^2"), "logit"),
    ("gamma", power_link(-0.5)),
]
NAMES = [f"{getattr(f, 'name', f)}-{getattr(k, 'name', k)}-{i}" for i, (f, k) in enumerate(PAIRS)]
AUX = {"negative_binomial": (1.7,), "gaussian": (1.0,), "gamma": (1.0,), "inverse_gaussian": (1.0,)}


def made(pair: tuple) -> tuple:
    row = get_family(pair[0])
    aux = AUX.get(row.name, ()) if row.auxiliaries else ()
    aux = (1.0,) if row.name == "tweedie" and row.auxiliaries else aux
    return row, get_link(pair[1], row), aux


def inside(low: float, high: float, u: float) -> float:
    """A linear predictor well inside its domain."""
    if np.isfinite(low) and np.isfinite(high):
        return low + (0.1 + 0.8 * u) * (high - low)
    if np.isfinite(low):
        return low + 0.3 + 3.0 * u
    return high - 0.3 - 3.0 * u if np.isfinite(high) else -1.5 + 3.0 * u


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(u=st.floats(0, 1), v=st.floats(0.02, 0.98), w=st.floats(0.2, 5.0))
@settings(max_examples=30, deadline=None)
def test_score_is_minus_half_the_derivative_of_the_deviance(pair: tuple, u: float, v: float, w: float) -> None:
    row, link, aux = made(pair)
    low, high = eta_domain(row, link)
    eta = np.array([inside(low, high, u)])
    y = np.array([float(link.mean(np.array([inside(low, high, v)]))[0])])
    weight = np.array([w])
    work = working_quantities(row, link, eta, y, weight, aux)

    def deviance(e: np.ndarray) -> float:
        return float(deviance_terms(row, link.mean(e), y, weight, aux)[0])

    h = 1e-4
    slope = (8 * (deviance(eta + h) - deviance(eta - h)) - (deviance(eta + 2 * h) - deviance(eta - 2 * h))) / (12 * h)
    scale = float(abs(work.score[0]) + work.weight[0])
    assert work.score[0] == pytest.approx(-0.5 * slope, rel=1e-6, abs=1e-7 * scale)
    assert work.score[0] == pytest.approx(work.weight[0] * work.residual[0], rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
@given(u=st.floats(0, 1), w=st.floats(0.2, 5.0))
@settings(max_examples=20, deadline=None)
def test_weight_is_the_expected_curvature(pair: tuple, u: float, w: float) -> None:
    """At y = μ the observed curvature of half the deviance is the expected one."""
    row, link, aux = made(pair)
    eta = np.array([inside(*eta_domain(row, link), u)])
    y, weight = link.mean(eta), np.array([w])
    h = 1e-4

    def score(e: np.ndarray) -> float:
        return float(working_quantities(row, link, e, y, weight, aux).score[0])

    curvature = -(8 * (score(eta + h) - score(eta - h)) - (score(eta + 2 * h) - score(eta - 2 * h))) / (12 * h)
    mu = link.mean(eta)
    assert working_quantities(row, link, eta, mu, weight, aux).weight[0] == pytest.approx(curvature, rel=1e-6)


def test_slope_of_the_variance() -> None:
    mu = np.array([0.1, 0.5, 3.0, 40.0])
    np.testing.assert_allclose(variance_slope(get_family("poisson"), mu), 1.0, rtol=1e-10)
    np.testing.assert_allclose(variance_slope(get_family("gamma"), mu, (1.0,)), 2 * mu, rtol=1e-10)
    np.testing.assert_allclose(variance_slope(get_family("inverse_gaussian"), mu, (1.0,)), 3 * mu**2, rtol=1e-8)
    p = np.array([1e-4, 0.3, 0.999])
    np.testing.assert_allclose(variance_slope(get_family("binomial"), p), 1 - 2 * p, rtol=1e-8)


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_nothing_breaks_at_extreme_linear_predictors(pair: tuple) -> None:
    row, link, aux = made(pair)
    low, high = eta_domain(row, link)
    eta = np.array([v for v in (-700.0, -40.0, 40.0, 700.0) if low < v < high])
    y = np.full(len(eta), float(link.mean(np.array([inside(low, high, 0.5)]))[0]))
    work = working_quantities(row, link, eta, y, np.ones(len(eta)), aux)
    for values in (work.weight, work.residual, work.score):
        assert np.isfinite(values).all()
    assert (work.weight >= 0).all()
