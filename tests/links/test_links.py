"""Links: inverse, slope, curvature and third derivative against mpmath, the tails, the names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.errors import FamilyError
from bayesglmm.families import get_family
from bayesglmm.links import LINKS, get_link, interval_link, power_link

EXACT: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "log": mp.exp,
    "logit": lambda x: 1 / (1 + mp.exp(-x)),
    "probit": lambda x: mp.erfc(-x / mp.sqrt(2)) / 2,
    "cloglog": lambda x: -mp.expm1(-mp.exp(x)),
    "loglog": lambda x: mp.exp(-mp.exp(-x)),
    "cauchit": lambda x: mp.atan2(1, -x) / mp.pi,
    "inverse": lambda x: 1 / x,
    "inverse_squared": lambda x: 1 / mp.sqrt(x),
    "sqrt": lambda x: x**2,
    "power(0.3)": lambda x: x ** (1 / mp.mpf(0.3)),
    "interval(1,2)": lambda x: 1 + 1 / (1 + mp.exp(-x)),
}


def domain_point(name: str, u: float) -> float:
    """u in (−1, 1) carried into the link's domain."""
    return 8.0 * u if get_link(name).domain[0] < 0 else float(np.exp(2.0 * u))


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(u=st.floats(-0.99, 0.99))
def test_mean_and_three_derivatives(name: str, u: float) -> None:
    link, x = get_link(name), domain_point(name, u)
    assert link.third is not None
    with mp.workdps(40):
        want = [float(mp.diff(EXACT[name], mp.mpf(x), k)) for k in range(4)]
    got = [float(f(np.array([x]))[0]) for f in (link.mean, link.slope, link.curvature, link.third)]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13 * max(map(abs, want)))


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(u=st.floats(-0.5, 0.5))
def test_eta_undoes_mean(name: str, u: float) -> None:
    link = get_link(name)
    x = np.array([0.5 * domain_point(name, u)])
    np.testing.assert_allclose(link.eta(link.mean(x)), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in EXACT if LINKS.get(n) is not None and LINKS[n].complement is not None])
@pytest.mark.parametrize("x", [-700.0, -80.0, -6.0, -0.3])
def test_small_means_and_complements_keep_their_digits(name: str, x: float) -> None:
    link = get_link(name)
    assert link.complement is not None
    with mp.workdps(400):
        small = float(EXACT[name](mp.mpf(x)))
        mirrored = float(1 - EXACT[name](mp.mpf(-x)))
    np.testing.assert_allclose(link.mean(np.array([x]))[0], small, rtol=2e-13)
    if name not in ("log", "identity"):
        np.testing.assert_allclose(link.complement(np.array([-x]))[0], mirrored, rtol=2e-13)


@pytest.mark.parametrize("name", sorted(LINKS))
def test_derivatives_are_never_nan_far_out(name: str) -> None:
    link = get_link(name)
    x = np.array([-700.0, -100.0, -1.0, 1.0, 100.0, 700.0])
    x = x if link.domain[0] < 0 else np.abs(x)
    assert link.third is not None
    for f in (link.mean, link.slope, link.curvature, link.third):
        assert np.isfinite(f(x)).all()


@pytest.mark.parametrize("name", [*sorted(LINKS), "power(0.3)", "interval(1,2)"])
def test_symbolic_mean_is_the_same_function(name: str) -> None:
    import pytensor
    import pytensor.tensor as pt

    link = get_link(name)
    x = np.array([-3.0, -0.4, 0.2, 2.5])
    x = x if link.domain[0] < 0 else np.abs(x)
    eta = pt.dvector()
    function = pytensor.function([eta], link.symbolic(pt, eta), mode="FAST_COMPILE")
    np.testing.assert_allclose(function(x), link.mean(x), rtol=1e-14)


def test_names_aliases_and_powers() -> None:
    assert get_link("1/mu^2") is LINKS["inverse_squared"]
    assert get_link(" Logit ") is LINKS["logit"]
    assert get_link(LINKS["log"]) is LINKS["log"]
    assert get_link("power(1/3)").name == power_link(1 / 3).name
    assert get_link(power_link(1 / 3).name).mean(np.array([2.0]))[0] == pytest.approx(8.0)
    assert get_link("interval(-1, 3)").mean(np.array([0.0]))[0] == pytest.approx(1.0)
    assert get_link("identity").eta(np.array([2.0])) is not get_link("identity").mean(np.array([2.0]))


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("logt", r"unknown link 'logt'. Did you mean 'logit'\? Known links: identity, log, logit"),
        (3, r"link is 3; a name"),
        ("power(zero)", r"unknown link"),
        ("power(1.2.3)", r"not a power link"),
        ("power(0)", r"exponent other than 0"),
        ("interval(2,1)", r"two finite numbers low < high"),
        ("interval(a,b)", r"two numbers"),
    ],
)
def test_unknown_links(link: Any, words: str) -> None:
    with pytest.raises(FamilyError, match=words):
        get_link(link)


def test_a_link_that_does_not_go_with_the_family() -> None:
    with pytest.raises(
        FamilyError, match=r"'logit' does not go with family 'poisson'. Its links: log, sqrt, identity."
    ):
        get_link("logit", get_family("poisson"))
    assert get_link("power(0.5)", get_family("poisson")).domain == (0.0, np.inf)
    with pytest.raises(FamilyError, match="low < high"):
        interval_link(0.0, np.inf)
