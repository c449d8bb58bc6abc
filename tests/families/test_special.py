"""The compiled special functions against mpmath."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.families.kernels import special

COMMON = settings(max_examples=80, deadline=None, derandomize=True)

# Hundreds of digits are needed for functions that vanish like e^−300.
FEW = settings(COMMON, max_examples=20)


def check(got: Any, want: Any, relative: float, absolute: float = 0.0) -> None:
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert abs(a - float(b)) <= relative * abs(float(b)) + absolute, (k, a, float(b))


@COMMON
@given(log_x=st.floats(-20.0, 25.0))
def test_polygamma(log_x: float) -> None:
    x = float(np.exp(log_x))
    check(special.polygamma(x), [mp.polygamma(k, mp.mpf(x)) for k in range(3)], 1e-14, 1e-15)


@COMMON
@given(log_x=st.floats(-20.0, 25.0))
def test_stirling_remainder(log_x: float) -> None:
    x = float(np.exp(log_x))
    with mp.workdps(60):
        X = mp.mpf(x)
        value = mp.loggamma(X) - (X - 0.5) * mp.log(X) + X - mp.log(2 * mp.pi) / 2
        slope = mp.digamma(X) - mp.log(X) + 1 / (2 * X)
    check(special.stirling(x), (value, slope), 1e-13, 2e-15)


@COMMON
@given(log_a=st.floats(-60.0, 20.0))
def test_log_gamma_in_log_scale(log_a: float) -> None:
    a = float(np.exp(log_a))
    with mp.workdps(80):
        A = mp.mpf(a)
        p = [mp.polygamma(k, A) for k in range(3)]
        want = (A * p[0], A * p[0] + A**2 * p[1], A * p[0] + 3 * A**2 * p[1] + A**3 * p[2])
    check(special.log_gamma_terms(a), want, 1e-13, 1e-15 * a)


@COMMON
@given(log_x=st.floats(-60.0, 60.0), d=st.sampled_from([0.0, 1.0, 2.0, 7.0, 40.0, 1000.0, 0.5, 2.7]))
def test_rising_factorial(log_x: float, d: float) -> None:
    x = float(np.exp(log_x))
    with mp.workdps(120):
        X = mp.mpf(x)
        diff = [X ** (k + 1) * (mp.polygamma(k, X + d) - mp.polygamma(k, X)) for k in range(3)]
        value = mp.loggamma(X + d) - mp.loggamma(X)
        g, h, k = diff
        want = (value, g, g + h, g + 3 * h + k)
    check(special.rise(x, d), (value, *diff), 1e-13, 4e-15 * max(d, 1.0))
    check(special.rise_terms(x, d), want, 1e-13, 1e-14 * max(d, 1.0))
    check(special.rise_from(log_x, d), want, 1e-13, 1e-12 * max(d, 1.0))


def test_rising_factorial_of_an_underflown_argument() -> None:
    np.testing.assert_allclose(special.rise_from(-1000.0, 3.0), (-1000.0 + np.log(2.0), 1.0, 0.0, 0.0), atol=1e-300)
    assert special.rise_from(-1000.0, 0.0) == (0.0, 0.0, 0.0, 0.0)


@FEW
@given(x=st.one_of(st.floats(-700.0, 30.0), st.floats(-4.0, 4.0)))
def test_log_normal_probability(x: float) -> None:
    with mp.workdps(350):
        want = [mp.diff(lambda t: mp.log(mp.erfc(-t / mp.sqrt(2)) / 2), mp.mpf(x), k) for k in range(4)]
    check(special.log_ndtr(x), want, 1e-12, 1e-300 if x < 8.0 else 1e-13 * float(abs(want[1])) * x * x)


@FEW
@given(x=st.one_of(st.floats(-300.0, 6.5), st.floats(-3.0, 3.0)))
def test_log_gumbel(x: float) -> None:
    with mp.workdps(350):
        want = [mp.diff(lambda t: mp.log(-mp.expm1(-mp.exp(t))), mp.mpf(x), k) for k in range(4)]
    # Relative accuracy of the vanishing part is that of exp(−e^x), whose exponent carries e^x rounding errors.
    check(special.log_gumbel(x), want, 1e-12 + 1e-15 * float(np.exp(x)), 1e-300)


@pytest.mark.parametrize("x", [-800.0, -5.0, 0.0, 5.0, 800.0])
def test_sigmoid_and_softplus(x: float) -> None:
    assert special.sigmoid(x) == pytest.approx(float(1 / (1 + mp.exp(-mp.mpf(x)))), rel=1e-15)
    assert special.softplus(x) == pytest.approx(float(mp.log1p(mp.exp(mp.mpf(x)))), rel=1e-15)
