"""Every family × link: value, derivatives and auxiliary derivatives against mpmath's own differentiation."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from exact import CASES, IDS, PAIRS, Exact, derivatives, draw_eta, draw_response
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.families import get_family
from bayesglmm.families.base import BoundKernel

RELATIVE = 1e-12


def bound(case: Exact, link: str, y: float, m: float | None, w: float) -> BoundKernel:
    family = get_family(case.name, **dict(case.options))
    assert family.kernel is not None
    factory = family.kernel(link)
    assert factory is not None
    trials = None if m is None else np.array([m])
    return factory(np.array([y]), trials, np.array([w]))


def close(got: float, want: float, size: float) -> bool:
    return abs(got - want) <= RELATIVE * (abs(want) + size)


@pytest.mark.parametrize(("case", "link"), PAIRS, ids=IDS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_kernel_equals_textbook_density_and_its_derivatives(case: Exact, link: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, m = draw_response(case.response, rng)
    proportion = case.response in ("trials", "proportion")
    eta, w = draw_eta(link, rng, proportion), float(rng.uniform(0.3, 3.0))
    psi = rng.uniform(-1.5, 1.5, len(case.aux))
    kernel = bound(case, link, y, m, w)
    assert kernel.n_aux == len(case.aux)
    exact_psi = tuple(mp.mpf(float(p)) for p in psi)

    got = kernel.derivatives(np.array([eta]), psi)
    want = derivatives(lambda e: case.log_density(link, y, m, w, e, exact_psi), eta)
    size = 1.0 + max(map(abs, want))
    for name, a, b in zip(("value", "d1", "d2", "d3"), got, want, strict=True):
        assert close(float(a[0]), b, size), (name, float(a[0]), b)

    aux = kernel.aux_derivatives(np.array([eta]), psi)
    assert aux.value.shape == (kernel.n_aux, 1)
    for j in range(kernel.n_aux):

        def shifted(e: object, p: object, j: int = j) -> object:
            return case.log_density(link, y, m, w, e, (*exact_psi[:j], p, *exact_psi[j + 1 :]))

        for k, a in enumerate(aux):
            b = float(mp.diff(shifted, (mp.mpf(eta), exact_psi[j]), (k, 1)))
            assert close(float(a[j, 0]), b, size), (j, k, float(a[j, 0]), b)


@pytest.mark.parametrize(("case", "link"), PAIRS, ids=IDS)
def test_shapes_subsets_and_row_auxiliaries(case: Exact, link: str) -> None:
    """Leading axes of η, one ψ per row, and a subset of the rows give the same numbers row by row."""
    rng = np.random.default_rng(7)
    n = 6
    drawn = [draw_response(case.response, rng) for _ in range(n)]
    y, m = np.array([d[0] for d in drawn]), [d[1] for d in drawn]
    w = rng.uniform(0.5, 2.0, n)
    family = get_family(case.name, **dict(case.options))
    assert family.kernel is not None
    factory = family.kernel(link)
    assert factory is not None
    kernel = factory(y, None if m[0] is None else np.array(m, dtype=float), w)
    proportion = case.response in ("trials", "proportion")
    eta = np.array([[draw_eta(link, rng, proportion) for _ in range(n)] for _ in range(3)])
    psi = rng.uniform(-1.0, 1.0, kernel.n_aux)
    rows = np.array([4, 1])
    part = kernel.subset(rows)
    for method in ("derivatives", "aux_derivatives"):
        whole = getattr(kernel, method)(eta, psi)
        per_row = getattr(kernel, method)(eta, np.repeat(psi[:, None], n, axis=1))
        few = getattr(part, method)(eta[:, rows], psi)
        for a, b, c in zip(whole, per_row, few, strict=True):
            assert a.shape == ((kernel.n_aux,) if method == "aux_derivatives" else ()) + eta.shape
            np.testing.assert_allclose(b, a, rtol=1e-13, atol=1e-300)
            np.testing.assert_allclose(c, a[..., rows], rtol=1e-13, atol=1e-300)
    weight = kernel.expected_weight(eta, psi)
    assert weight.shape == eta.shape
    assert np.all(weight >= 0.0)
    np.testing.assert_allclose(part.expected_weight(eta[:, rows], psi), weight[:, rows], rtol=1e-13)
    one_by_one = np.stack([kernel.derivatives(e, psi).value for e in eta])
    np.testing.assert_array_equal(kernel.derivatives(eta, psi).value, one_by_one)


@pytest.mark.parametrize("case", [c for c in CASES if c.response == "count"], ids=lambda c: c.name)
def test_outside_the_domain_the_value_is_minus_infinity(case: Exact) -> None:
    if "identity" not in case.links:
        assert case.links[0] == "log"
        return
    kernel = bound(case, "identity", 2.0, None, 1.0)
    found = kernel.derivatives(np.array([-0.5]), np.zeros(kernel.n_aux))
    assert found.value[0] == -np.inf
    assert np.isnan(found.d1[0])


def test_fixed_auxiliary_equals_the_free_one_at_that_value() -> None:
    y, eta = np.array([0.0, 3.0, 11.0]), np.array([0.2, -1.0, 2.0])
    free = get_family("negative_binomial").kernel
    fixed = get_family("negative_binomial", theta=1.7).kernel
    assert free is not None
    assert fixed is not None
    a = free("log")(y, None, None).derivatives(eta, np.array([np.log(1.7)]))  # type: ignore[misc]
    b = fixed("log")(y, None, None).derivatives(eta, np.empty(0))  # type: ignore[misc]
    np.testing.assert_allclose(a, b, rtol=1e-14)
