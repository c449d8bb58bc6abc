"""Quasi-families: deviances against quadrature, variance functions of the user's, Tweedie powers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from bayesglmm.errors import FamilyError
from bayesglmm.families import Quasi, QuasiNegativeBinomial, Tweedie, eta_domain, get_family
from bayesglmm.families.base import Family
from bayesglmm.families.quadrature import quasi_deviance
from bayesglmm.links import get_link

POSITIVE = [
    get_family("quasipoisson"),
    get_family("quasi_negative_binomial", theta=0.7),
    *(Quasi(v) for v in ("mu", "mu^2", "mu^3")),
    *(Tweedie(p) for p in (1.0, 1.3, 1.9, 2.0, 2.5, 3.0)),
]
UNIT = [get_family("quasibinomial"), Quasi("mu(1-mu)"), Quasi("mu^2(1-mu)^2")]


def label(family: Family) -> str:
    return "-".join([family.name, *(str(v) for v in family.options.values())])


def integral(family: Family, y: float, mu: float) -> float:
    """2∫_μ^y (y − t)/V(t) dt by an adaptive rule."""
    f = lambda t: (y - t) / float(family.variance(np.array([t]), (1.0,))[0])  # noqa: E731
    return 2.0 * integrate.quad(f, mu, y, epsabs=0.0, epsrel=1e-11, limit=400)[0]


@pytest.mark.parametrize("family", POSITIVE, ids=label)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(y=st.floats(0.05, 20.0), mu=st.floats(0.05, 20.0))
def test_closed_forms_are_the_integral_positive(family: Family, y: float, mu: float) -> None:
    d = float(family.unit_deviance(np.array([y]), np.array([mu]), (1.0,))[0])
    assert d >= 0.0
    assert d == pytest.approx(integral(family, y, mu), rel=1e-7, abs=1e-13)


@pytest.mark.parametrize("family", UNIT, ids=label)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(y=st.floats(0.02, 0.98), mu=st.floats(0.02, 0.98))
def test_closed_forms_are_the_integral_unit(family: Family, y: float, mu: float) -> None:
    d = float(family.unit_deviance(np.array([y]), np.array([mu]), ())[0])
    assert d == pytest.approx(integral(family, y, mu), rel=1e-7, abs=1e-13)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(y=st.floats(0.0, 50.0), mu=st.floats(0.01, 50.0), p=st.floats(0.0, 1.5))
def test_quadrature_for_a_power_of_the_mean(y: float, mu: float, p: float) -> None:
    got = float(quasi_deviance(lambda m: m**p, np.array([y]), np.array([mu]))[0])
    if abs(p - 1.0) < 1e-3:
        want = 2.0 * ((y * np.log(y / mu) if y > 0 else 0.0) - (y - mu)) + 0.0
        assert got == pytest.approx(want, rel=0.02, abs=1e-9)
        return
    power = lambda x, k: x**k if x > 0 else 0.0  # noqa: E731
    want = 2.0 * (power(y, 2 - p) / ((1 - p) * (2 - p)) - y * mu ** (1 - p) / (1 - p) + mu ** (2 - p) / (2 - p))
    assert got == pytest.approx(want, rel=1e-7, abs=1e-9 * max(y, mu) ** 2 / max(abs(1 - p), 1e-3))


@pytest.mark.parametrize("family", [*POSITIVE, *UNIT], ids=label)
def test_slope_of_the_deviance_is_the_quasi_score(family: Family) -> None:
    """∂d/∂μ = −2(y − μ)/V, also where y is on the edge of the range."""
    mu = np.array([0.2, 0.35, 0.6])
    h = 1e-6
    edges = [0.0, 1.0] if family in UNIT else [0.0]
    edges = [e for e in edges if family.support.low < e or not family.support.low_open]
    for y in [*edges, 0.5]:
        up, down = (family.unit_deviance(np.full(3, y), mu + s * h, (1.0,)) for s in (1.0, -1.0))
        if y == 0.0 and family.variance(np.array([2.0]), ())[0] == 8.0:
            # Its deviance is infinite at zero; only a finite stand-in is given.
            assert np.isfinite(up).all()
            continue
        want = -2.0 * (y - mu) / family.variance(mu, (1.0,))
        np.testing.assert_allclose((up - down) / (2 * h), want, rtol=1e-6)


@pytest.mark.parametrize("family", [*POSITIVE, *UNIT, Quasi("constant")], ids=label)
def test_starting_means_are_inside(family: Family) -> None:
    y = np.array([0.0, 0.4, 1.0]) if family in UNIT else np.array([0.0, 0.4, 7.0])
    y = y[1:] if family.support.low_open and family.support.low == 0.0 else y
    mu = family.initial_mean(y, np.ones(len(y)))
    low, high = family.mean_range
    assert np.all((mu > low) & (mu < high))
    for name in family.links[: 2 if low == 0.0 else 1]:
        assert np.isfinite(get_link(name).eta(mu)).all()


def test_a_variance_function_of_the_users() -> None:
    family = Quasi(variance=lambda mu: mu + 0.3 * mu**2, link="log")
    assert family.quasi
    assert family.scale is None
    assert family.links[0] == "log"
    assert eta_domain(family, get_link("log")) == (-np.inf, np.inf)
    y, mu = np.array([0.0, 2.0, 9.0]), np.array([1.0, 3.0, 2.0])
    same = QuasiNegativeBinomial(theta=1.0 / 0.3)
    np.testing.assert_allclose(family.variance(mu, ()), same.variance(mu, ()), rtol=1e-14)
    np.testing.assert_allclose(family.unit_deviance(y, mu, ()), same.unit_deviance(y, mu, ()), rtol=1e-9)


def test_a_constant_variance_function_is_broadcast() -> None:
    family = Quasi(variance=lambda mu: 2.0)
    np.testing.assert_array_equal(family.variance(np.zeros(3), ()), np.full(3, 2.0))
    np.testing.assert_allclose(family.unit_deviance(np.ones(3), np.zeros(3), ()), 0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Quasi("mu4"), r"unknown variance 'mu4'. Known: constant, mu, mu\^2"),
        (lambda: Quasi("mu", link="logit"), r"'logit' does not go with family 'quasi'"),
        (lambda: Quasi(variance=lambda mu: mu, mean_range=(1.0, 0.0)), r"low < high"),
        (lambda: Quasi(variance=lambda mu: mu).variance(np.array([-1.0]), ()), r"gave -1 at mu = -1; it must be posit"),
        (lambda: QuasiNegativeBinomial(theta=-1.0), r"theta = -1.0; a positive number"),
        (lambda: Tweedie(0.5), r"Tweedie power 0.5; 0, or a number of at least 1"),
        (lambda: Tweedie("a"), r"Tweedie power 'a'"),
        (lambda: get_family("poison"), r"unknown family 'poison'. Did you mean 'poisson'\? Known families: gaussian,"),
        (lambda: get_family("quasipoisson", theta=2.0), r"has no option 'theta'"),
        (lambda: get_family(3), r"family is 3; a name"),
    ],
)
def test_mistakes(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(FamilyError, match=words):
        make()


def test_tweedie_is_a_likelihood_between_one_and_two_only() -> None:
    assert Tweedie(1.5).kernel is not None
    assert [a.name for a in Tweedie().auxiliaries] == ["phi", "power"]
    assert [a.name for a in Tweedie(1.5).auxiliaries] == ["phi"]
    for p in (0.0, 1.0, 2.0, 2.5, 3.0):
        assert Tweedie(p).quasi
        assert Tweedie(p).name == "tweedie"
        assert Tweedie(p).options["power"] == p
        np.testing.assert_allclose(Tweedie(p).variance(np.array([0.5, 3.0]), ()), np.array([0.5, 3.0]) ** p)


def test_mean_range_of_a_named_variance() -> None:
    family = Quasi("mu(1-mu)", mean_range=(0.1, 0.9))
    assert family.mean_range == (0.1, 0.9)
    assert family.trials
    start = family.initial_mean(np.array([0.0, 1.0, 0.4]), np.array([20.0, 20.0, 1.0]))
    assert ((start > 0.1) & (start < 0.9)).all()
    mu = np.array([0.3])
    assert family.variance(mu, ()) == get_family("quasibinomial").variance(mu, ())
    above = Quasi("mu^2", mean_range=(2.0, np.inf), link="identity")
    assert (above.initial_mean(np.array([0.5, 3.0, 10.0]), np.ones(3)) > 2.0).all()


@pytest.mark.parametrize("between", [(0.5, 1.5), (0.9, 0.1), (0.1,), "ab"])
def test_mean_ranges_that_do_not_go_with_the_variance(between: object) -> None:
    with pytest.raises(FamilyError, match="mean_range"):
        Quasi("mu(1-mu)", mean_range=between)
