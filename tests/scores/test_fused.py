"""Sums from one compiled reading of the rows are the sums array by array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.families import get_family
from bayesglmm.links import get_link
from bayesglmm.scores.fused import fused_kind, fused_sums
from bayesglmm.scores.rows import ColumnRows, Rows, RowSource
from bayesglmm.scores.sums import block_sums, sweep

AUX = {"negative_binomial": (1.7,), "gamma": (2.0,), "gaussian": (1.3,)}
PAIRS = [
    ("poisson", "log"),
    ("quasipoisson", "log"),
    ("binomial", "logit"),
    ("quasibinomial", "logit"),
    ("gamma", "log"),
    ("gaussian", "identity"),
    ("negative_binomial", "log"),
]


def _rows(name: str, m: int, p: int, seed: int, spread: float) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(seed)
    X, beta = rng.normal(size=(m, p)), spread * rng.normal(size=p)
    offset, w = rng.normal(size=m), rng.random(m) + 0.1
    y = {
        "poisson": rng.poisson(2.0, m),
        "quasipoisson": rng.exponential(size=m) * (rng.random(m) < 0.7),
        "binomial": rng.integers(0, 2, m),
        "quasibinomial": np.where(rng.random(m) < 0.3, rng.integers(0, 2, m), rng.random(m)),
        "gamma": rng.exponential(size=m) + 1e-3,
        "gaussian": rng.normal(size=m),
        "negative_binomial": rng.poisson(3.0, m),
    }[name].astype(float)
    return Rows(X, y, w, offset, (y, None, w)), beta


@pytest.mark.parametrize(("name", "link"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(
    m=st.integers(1, 200),
    p=st.integers(0, 19),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 0.1, 1.0]),
    layout=st.sampled_from(["rows", "columns", "apart", "strided", "fixed"]),
)
def test_fused_sums_are_those_array_by_array(
    name: str, link: str, m: int, p: int, seed: int, spread: float, layout: str
) -> None:
    family, at = get_family(name), get_link(link)
    rows, beta = _rows(name, m, p, seed, spread)
    aux = AUX.get(name, ())
    eta = rows.X @ beta + rows.offset
    expected = block_sums(rows, eta, family, at, aux)
    given_rows = _laid_out(rows, layout)
    kind = fused_kind(family, at, aux)
    assert kind is not None
    assert fused_sums(given_rows, beta, kind) is not None or np.abs(eta).max() > 29
    found = sweep(RowSource(lambda: iter([given_rows]), tuple("x" * p)), family, at, aux, beta)
    # array by array, 1 − μ of a proportion is a difference
    rtol = 1e-11 + (1e-15 * np.exp(np.abs(eta).max()) if link == "logit" else 0.0)
    length = np.sqrt(np.diag(expected.gram))
    assert np.all(np.abs(found.gram - expected.gram) <= rtol * np.outer(length, length))
    assert np.all(np.abs(found.score - expected.score) <= rtol * length * np.sqrt(expected.pearson))
    for what in ("deviance", "objective", "pearson", "eta_norm", "weight"):
        assert getattr(found, what) == pytest.approx(getattr(expected, what), rel=rtol, abs=1e-13), what
    assert found.edge == pytest.approx(expected.edge, rel=1e-6)
    assert found.inside == expected.inside
    assert found.n == m


def _laid_out(rows: Rows, layout: str) -> Rows:
    if layout == "apart":
        columns = tuple(np.ascontiguousarray(column) for column in rows.X.T)
        return ColumnRows(columns, rows.y, rows.w, rows.offset, rows.raw) if columns else rows
    if layout == "columns":
        return replace(rows, X=np.asfortranarray(rows.X))
    if layout == "strided":
        wide = np.full((2 * len(rows.y), rows.X.shape[1] + 3), np.nan)
        wide[::2, 1:-2] = rows.X
        return replace(rows, X=wide[::2, 1:-2])
    if layout == "fixed":
        X, y = rows.X.copy(), rows.y.copy()
        X.flags.writeable = y.flags.writeable = False
        return replace(rows, X=X, y=y)
    return rows


@pytest.mark.parametrize(("name", "link"), [pair for pair in PAIRS if pair[1] != "identity"])
def test_rows_far_out_are_left_to_the_careful_way(name: str, link: str) -> None:
    family, at = get_family(name), get_link(link)
    rows, beta = _rows(name, 50, 2, 3, 0.1)
    kind = fused_kind(family, at, AUX.get(name, ()))
    for bad in (800.0, -800.0, np.nan, np.inf):
        offset = rows.offset.copy()
        offset[17] = bad
        assert fused_sums(replace(rows, offset=offset), beta, kind) is None


def test_a_family_that_only_shares_the_name_is_not_taken_for_it() -> None:
    poisson, log = get_family("poisson"), get_link("log")
    assert fused_kind(poisson, log, ()) is not None
    assert fused_kind(replace(poisson, variance=lambda mu, aux: mu**1.5), log, ()) is None
    assert fused_kind(replace(poisson, unit_deviance=lambda y, mu, aux: np.square(y - mu)), log, ()) is None
    assert fused_kind(poisson, replace(log, mean=np.exp2), ()) is None
    assert fused_kind(get_family("inverse_gaussian"), log, ()) is None
    fixed = get_family("negative_binomial", theta=3.0)
    assert fused_kind(fixed, log, ()).theta == 3.0
    assert fused_kind(get_family("negative_binomial"), log, (0.5,)).theta == 0.5


@pytest.mark.parametrize("name", ["exponential", "logarithm"])
def test_elementary_functions_are_right_to_the_last_places(name: str) -> None:
    from numba import njit

    from bayesglmm.scores import fused_rows

    scalar = getattr(fused_rows, name)

    @njit
    def over(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = scalar(x[i])
        return out

    rng = np.random.default_rng(1)
    near = 1.0 + np.r_[0.0, 1e-15, -1e-15, 0.05 * rng.normal(size=20_000)]
    wide = rng.uniform(-700, 700, 20_000)
    x = np.r_[near, wide, 0.0, -1e-20] if name == "exponential" else np.r_[near, np.exp(wide), 1e-300, 1e300]
    exact = getattr(np, {"exponential": "exp", "logarithm": "log"}[name])(x.astype(np.longdouble))
    gap = np.abs(over(x) - exact).astype(float)
    assert np.all(gap <= 2.5 * np.finfo(float).eps * np.abs(exact).astype(float))
