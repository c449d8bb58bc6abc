"""Prior densities: PyMC's values, derivatives by finite differences, total mass one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from bayesglmm.errors import SpecError
from bayesglmm.priors import DISTRIBUTIONS, Prior

EXAMPLES = {
    "Normal": {"mu": 0.3, "sigma": 1.7},
    "StudentT": {"nu": 4.5, "mu": -0.2, "sigma": 1.3},
    "Cauchy": {"alpha": 0.4, "beta": 1.2},
    "Laplace": {"mu": 0.1, "b": 0.8},
    "Logistic": {"mu": 0.2, "s": 0.7},
    "Flat": {},
    "HalfNormal": {"sigma": 1.4},
    "HalfStudentT": {"nu": 3.5, "sigma": 1.4},
    "HalfCauchy": {"beta": 1.4},
    "HalfFlat": {},
    "Exponential": {"lam": 1.6},
    "PC": {"upper": 1.2, "probability": 0.1},
    "Gamma": {"alpha": 1.7, "beta": 0.9},
    "InverseGamma": {"alpha": 2.3, "beta": 0.9},
    "LogNormal": {"mu": 0.2, "sigma": 0.7},
    "Weibull": {"alpha": 1.8, "beta": 1.1},
    "Uniform": {"lower": 0.1, "upper": 2.4},
    "Beta": {"alpha": 1.6, "beta": 2.2},
    "TruncatedNormal": {"mu": 0.5, "sigma": 0.8, "lower": 0.2, "upper": 1.9},
}


def points(prior: Prior) -> np.ndarray:
    low, high = max(prior.support[0], -3.0), min(prior.support[1], 3.0)
    return low + (high - low) * np.array([0.07, 0.23, 0.41, 0.66, 0.9])


def test_examples_cover_the_table() -> None:
    assert set(EXAMPLES) == set(DISTRIBUTIONS)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_value_is_pymc_value(name: str) -> None:
    import pymc as pm

    prior = Prior(name, **EXAMPLES[name])
    x = points(prior)
    given = {k: np.asarray(v) for k, v in EXAMPLES[name].items()}
    named = pm.Exponential.dist(lam=-np.log(0.1) / 1.2) if name == "PC" else getattr(pm, name).dist(**given)
    theirs = pm.logp(named, x).eval(mode="FAST_COMPILE")
    np.testing.assert_allclose(prior.log_density(x)[0], theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("on", ["value", "precision", "variance"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_slope_is_the_finite_difference(name: str, on: str) -> None:
    if on != "value" and Prior(name, **EXAMPLES[name]).support[0] < 0:
        with pytest.raises(SpecError, match="below zero"):
            Prior(name, on=on, **EXAMPLES[name])
        return
    if on != "value" and name == "PC":
        with pytest.raises(SpecError, match="of the sd itself"):
            Prior(name, on=on, **EXAMPLES[name])
        return
    prior = Prior(name, on=on, **EXAMPLES[name])
    x = points(prior)
    h = 1e-6
    numeric = (prior.log_density(x + h)[0] - prior.log_density(x - h)[0]) / (2 * h)
    np.testing.assert_allclose(prior.log_density(x)[1], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("on", ["value", "precision", "variance"])
@pytest.mark.parametrize("name", [n for n, d in DISTRIBUTIONS.items() if d.proper])
def test_mass_is_one(name: str, on: str) -> None:
    if on != "value" and (name == "PC" or Prior(name, **EXAMPLES[name]).support[0] < 0):
        return
    prior = Prior(name, on=on, **EXAMPLES[name])
    low, high = prior.support
    middle = float(points(prior)[2])
    mass = sum(
        quad(lambda x: float(np.exp(prior.log_density(x)[0])), a, b, limit=200)[0]
        for a, b in ((low, middle), (middle, high))
    )
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_outside_the_support() -> None:
    value, slope = Prior("Uniform", lower=0, upper=10).log_density([-0.1, 5.0, 10.1])
    np.testing.assert_array_equal(np.isneginf(value), [True, False, True])
    np.testing.assert_array_equal(slope, 0.0)


def test_gamma_on_the_precision_is_the_change_of_variable() -> None:
    """σ⁻² ~ Ga(a, b) is σ² ~ inverse gamma (a, b), hence p(σ) = 2σ IG(σ²)."""
    sigma = np.array([0.1, 0.5, 2.0])
    on_precision = Prior("Gamma", alpha=0.5, beta=0.0164, on="precision").log_density(sigma)[0]
    on_variance = Prior("InverseGamma", alpha=0.5, beta=0.0164, on="variance").log_density(sigma)[0]
    by_hand = Prior("InverseGamma", alpha=0.5, beta=0.0164).log_density(sigma**2)[0] + np.log(2 * sigma)
    np.testing.assert_allclose(on_precision, on_variance, rtol=1e-12)
    np.testing.assert_allclose(on_precision, by_hand, rtol=1e-12)


def test_support_on_another_scale() -> None:
    assert Prior("Uniform", lower=0, upper=4, on="variance").support == (0.0, 2.0)
    assert Prior("Uniform", lower=0.25, upper=4, on="precision").support == (0.5, 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prior("Norml", mu=0), "unknown prior distribution: 'Norml'. Did you mean 'Normal'"),
        (lambda: Prior("Normal", mean=0), "unknown parameter of Normal: 'mean'"),
        (lambda: Prior("StudentT", mu=0), "StudentT needs nu"),
        (lambda: Prior("HalfNormal", sigma=0), "sigma of HalfNormal is 0; a positive number"),
        (lambda: Prior("HalfNormal", sigma="a"), "a number is expected"),
        (lambda: Prior("Uniform", lower=2, upper=1), "lower < upper"),
        (lambda: Prior("Normal", mu=float("nan")), "mu of Normal is nan"),
        (lambda: Prior("Gamma", alpha=1, beta=1, on="log"), "stated on 'log'"),
        (lambda: Prior("LKJ"), "LKJ needs eta"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        make()
    assert message in str(error.value)


def test_prints_and_compares() -> None:
    prior = Prior("Normal", mu=0, sigma=2.5)
    assert str(prior) == "Normal(mu=0, sigma=2.5)"
    assert repr(prior) == "Prior('Normal', mu=0.0, sigma=2.5)"
    assert eval(repr(prior)) == prior
    assert prior == Prior("Normal", sigma=2.5)
    assert len({prior, Prior("Normal", sigma=2.5), Prior("Normal")}) == 2


def test_complexity_prior_says_what_it_says() -> None:
    """P(sd > upper) = probability, by the draws and by the density's integral."""
    prior = Prior("PC", upper=0.8, probability=0.2)
    x = np.linspace(0.8, 30.0, 200_001)
    assert np.trapezoid(np.exp(prior.log_density(x)[0]), x) == pytest.approx(0.2, abs=1e-6)
    with pytest.raises(SpecError, match="probability=1 was given"):
        Prior("PC", upper=1, probability=1)
