"""Kernels far out: every number that a double can hold is right, up to |η| = 700."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from exact import CASES, PROPORTION, Exact, derivatives
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import bound

LARGEST = float(np.finfo(float).max)
PAIRS = [
    (case, link)
    for case in CASES
    for link in case.links
    if link in (PROPORTION if case.response in ("trials", "proportion") else ("log", "identity"))
    and not (link == "identity" and case.response not in ("real",))
]
IDS = ["-".join((c.name, *(k for k, _ in c.options), link)) for c, link in PAIRS]
RESPONSES = {
    "trials": ((0.0, 1.0), (1.0, 1.0), (3.0, 8.0), (0.0, 5.0)),
    "proportion": ((0.3, None), (0.99, None)),
    "count": ((0.0, None), (1.0, None), (7.0, None)),
    "positive": ((0.2, None), (5.0, None)),
    "nonnegative": ((0.0, None), (1.5, None)),
    "real": ((-1.0, None), (2.0, None)),
}


def representable(value: object) -> bool:
    return abs(value) <= LARGEST  # type: ignore[operator]


@pytest.mark.parametrize(("case", "link"), PAIRS, ids=IDS)
@pytest.mark.parametrize("eta", [-700.0, -250.0, -45.0, -9.0, 9.0, 45.0, 250.0, 700.0])
def test_tails_are_exact_wherever_a_double_can_hold_them(case: Exact, link: str, eta: float) -> None:
    if case.name == "student_t" and link == "log":
        # Its formulas are in μ: beyond e^230 the third derivative in μ underflows before it is scaled back to η.
        eta = float(np.clip(eta, -700.0, 200.0))
    psi = np.full(len(case.aux), 0.3)
    exact_psi = tuple(mp.mpf(float(p)) for p in psi)
    for y, m in RESPONSES[case.response]:
        got = bound(case, link, y, m, 1.0).derivatives(np.array([eta]), psi)
        f = lambda e, y=y, m=m: case.log_density(link, y, m, 1.0, e, exact_psi)  # noqa: E731
        want = [mp.diff(f, mp.mpf(eta), k) for k in range(4)]
        # What is lost to rounding is relative to the largest term that makes up the log-density.
        size = max([1.0, *(float(abs(v)) for v in want[1:] if representable(v))])
        for name, a, b in zip(("value", "d1", "d2", "d3"), got, want, strict=True):
            if not representable(b):
                assert a[0] == (np.inf if b > 0 else -np.inf) or abs(a[0]) > 1e300, (y, name, a[0])
                continue
            error = abs(float(a[0]) - float(b))
            assert error <= 1e-11 * abs(float(b)) or error <= 2e-13 * size, (y, m, name, float(a[0]), float(b))


@pytest.mark.parametrize(("case", "link"), PAIRS, ids=IDS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(eta=st.floats(-700.0, 700.0), psi=st.floats(-4.0, 4.0), which=st.integers(0, 3))
def test_nothing_is_nan_within_700(case: Exact, link: str, eta: float, psi: float, which: int) -> None:
    responses = RESPONSES[case.response]
    y, m = responses[which % len(responses)]
    kernel = bound(case, link, y, m, 1.0)
    values = np.full(kernel.n_aux, psi)
    found = [*kernel.derivatives(np.array([eta]), values), kernel.expected_weight(np.array([eta]), values)]
    found += list(kernel.aux_derivatives(np.array([eta]), values))
    assert not any(np.isnan(a).any() for a in found), (y, eta, psi, found)
    assert found[0][0] < np.inf
    assert found[4][0] >= 0.0


def test_derivatives_helper_differentiates() -> None:
    np.testing.assert_allclose(derivatives(lambda x: mp.exp(2 * x), 0.5), np.e * np.array([1.0, 2.0, 4.0, 8.0]))
