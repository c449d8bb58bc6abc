"""The cumulative family: category probabilities against mpmath, two categories are the binomial."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from exact import LOGS, PROPORTION
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.design.types import Response
from bayesglmm.errors import DataError, FamilyError
from bayesglmm.families import Cumulative, get_family
from bayesglmm.links import get_link

K = 4


def kernel(link: str, y: float, levels: int = K) -> Any:
    make = Cumulative(levels=levels).kernel
    assert make is not None
    factory = make(link)
    assert factory is not None
    return factory(np.array([y]), None, None)


def log_probability(link: str, y: int, eta: Any, psi: tuple[Any, ...]) -> Any:
    """log P(y) = log(P(> y − 1) − P(> y)), on the side where the two are small."""
    tau = [mp.mpf(0)]
    for p in psi:
        tau.append(tau[-1] + mp.exp(p))
    log_mean, log_complement = LOGS[link]
    if y == 0:
        return log_complement(eta)
    if y == K - 1:
        return log_mean(eta - tau[-1])
    a, b = eta - tau[y - 1], eta - tau[y]
    if log_mean(b) < log_complement(b):
        return mp.log(mp.exp(log_mean(a)) - mp.exp(log_mean(b)))
    return mp.log(mp.exp(log_complement(b)) - mp.exp(log_complement(a)))


@pytest.mark.parametrize("link", PROPORTION)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    eta=st.one_of(st.floats(-4.0, 4.0), st.sampled_from([-40.0, -12.0, 12.0, 40.0])),
    y=st.integers(0, K - 1),
    first=st.floats(-1.0, 1.0),
    second=st.floats(-1.0, 1.0),
)
def test_kernel_equals_the_probabilities_and_their_derivatives(
    link: str, eta: float, y: int, first: float, second: float
) -> None:
    psi = np.array([first, second])
    exact_psi = tuple(mp.mpf(p) for p in psi)
    bound = kernel(link, float(y))
    if link in ("cloglog", "loglog") and abs(eta) > 5.0:
        eta = float(np.sign(eta) * 5.0)
    with mp.workdps(40):
        f = lambda e, p, q: log_probability(link, y, e, (p, q))  # noqa: E731
        at = (mp.mpf(eta), *exact_psi)
        want = [mp.diff(f, at, (k, 0, 0)) for k in range(4)]
        aux = [[mp.diff(f, at, (k, int(j == 0), int(j == 1))) for j in range(2)] for k in range(3)]
        want, aux = [float(v) for v in want], [[float(v) for v in row] for row in aux]
    size = max(1.0, *(abs(v) for v in want[1:]))
    got = bound.derivatives(np.array([eta]), psi)
    np.testing.assert_allclose([float(g[0]) for g in got], want, rtol=1e-9, atol=1e-11 * size**3)
    for a, b in zip(bound.aux_derivatives(np.array([eta]), psi), aux, strict=True):
        np.testing.assert_allclose(a[:, 0], b, rtol=1e-9, atol=1e-11 * size**3)


@pytest.mark.parametrize("link", PROPORTION)
@pytest.mark.parametrize("eta", [-700.0, -45.0, 45.0, 700.0])
def test_nothing_is_nan_far_out(link: str, eta: float) -> None:
    for y in range(K):
        bound = kernel(link, float(y))
        psi, x = np.array([0.2, -0.5]), np.array([eta])
        found = [*bound.derivatives(x, psi), *bound.aux_derivatives(x, psi), bound.expected_weight(x, psi)]
        assert not any(np.isnan(f).any() for f in found), (y, found)


@pytest.mark.parametrize("link", PROPORTION)
def test_two_categories_are_the_binomial(link: str) -> None:
    eta = np.linspace(-6.0, 6.0, 25)
    y = (np.arange(25) % 2).astype(float)
    make, binomial = Cumulative(levels=2).kernel, get_family("binomial").kernel
    assert make is not None
    assert binomial is not None
    a, b = make(link)(y, None, None), binomial(link)(y, None, None)  # type: ignore[misc]
    for u, v in zip(a.derivatives(eta, np.empty(0)), b.derivatives(eta, np.empty(0)), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(a.expected_weight(eta, np.empty(0)), b.expected_weight(eta, np.empty(0)), rtol=1e-10)


def test_the_family_adapts_to_its_response() -> None:
    general = get_family("cumulative")
    assert general.adapt is not None
    response = Response("y", np.array([0.0, 2.0, 1.0]), None, ("low", "middle", "high"))
    family = general.adapt(response, get_link("probit"))
    assert family.links[0] == "probit"
    assert [a.name for a in family.auxiliaries] == ["gap_1"]
    assert family is general.adapt(response, get_link("probit"))
    with pytest.raises(DataError, match="two or more levels"):
        general.adapt(Response("y", np.zeros(2), None, ("only",)), get_link("logit"))
    with pytest.raises(FamilyError, match="levels = 1"):
        Cumulative(levels=1)
