"""The same columns from new data."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_data import HERE, frame, reference

from bayesglmm.design import Design, build_design, rebind
from bayesglmm.errors import DataWarning

DATASETS = sorted(path.stem for path in (HERE / "reference" / "fits").glob("*.json"))


def assert_same(a: Design, b: Design) -> None:
    assert (a.columns, a.aliased) == (b.columns, b.aliased)
    np.testing.assert_allclose(a.X, b.X, rtol=1e-14, atol=0)  # products of three columns round by their order
    np.testing.assert_array_equal(a.offset, b.offset)
    np.testing.assert_array_equal(a.index, b.index)
    assert (a.weights is None) == (b.weights is None)
    if a.weights is not None:
        np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.response.y, b.response.y)
    assert a.response.levels == b.response.levels
    for one, other in zip(a.blocks, b.blocks, strict=True):
        assert (one.group, one.levels, one.columns, one.terms) == (
            other.group,
            other.levels,
            other.columns,
            other.terms,
        )
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.z, other.z)


def table(seed: int = 1, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "w": rng.uniform(1, 2, n),
            "k": rng.integers(1, 4, n),
            "g": rng.choice(list("abcd"), n),
            "h": pd.Categorical(rng.choice(["lo", "mid", "hi"], n), categories=["lo", "mid", "hi", "unused"]),
            "b": rng.random(n) > 0.5,
        }
    )
    # every level within the first rows, and the range of x too, so that pieces below know as much as the whole
    data.loc[:11, "g"], data.loc[:11, "k"], data.loc[:11, "b"] = list("aabbccddaabb"), [1, 2, 3] * 4, [True, False] * 6
    data.loc[:2, "h"] = ["lo", "mid", "hi"]
    return data


RIGHT = ["x", "h", "g", "b", "C(k)", "poly(x, 2)", "bs(x, df=5)", "scale(x)", "center(w)", "I(x > 0)", "log(w)"]
RIGHT += ["C(h, Sum)", "cr(w, df=4)", "standardize(x)", "I(g == 'a')", "C(g, Treatment('c'))"]
BARS = ["(1 | g)", "(x | g)", "(x || k)", "(0 + h | k)", "(scale(x) | g:k)", "(1 | g/k)", "(1 | b)", "(poly(x, 2) | h)"]


@st.composite
def models(draw) -> str:
    parts = draw(st.lists(st.sampled_from(RIGHT), min_size=1, max_size=3, unique=True))
    right = draw(st.sampled_from([" + ", "*", ":"])).join(parts)
    bar = draw(st.sampled_from(["", *(f" + {bar}" for bar in BARS)]))
    return f"y ~ {draw(st.sampled_from(['', '0 + ']))}{right}{bar} + offset(x / 2)"


def build(text: str, data: pd.DataFrame, **arguments) -> Design:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # products of bases are not of full rank
        return build_design(text, data, **arguments)


@settings(deadline=None, max_examples=60)
@given(models(), st.integers(0, 50), st.data())
def test_rebinding_rows_of_the_data_gives_rows_of_the_design(text, seed, draw):
    data = table(seed, 400)
    design = build(text, data, weights="w", exposure="w")
    assert_same(rebind(design, data), design)
    rows = draw.draw(st.lists(st.integers(0, 399), max_size=5))
    part = rebind(design, data.iloc[rows])
    assert part.columns == design.columns
    np.testing.assert_allclose(part.X, design.X[rows], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(part.offset, design.offset[rows], rtol=1e-14)
    for a, b in zip(part.blocks, design.blocks):
        assert (a.levels, a.columns) == (b.levels, b.columns)
        np.testing.assert_array_equal(a.codes, b.codes[rows])
        np.testing.assert_allclose(a.z, b.z[rows], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DATASETS)
def test_rebinding_the_reference_data_is_the_identity(name):
    for formula in {f["formula"] for f in reference(name)["fits"]}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            design = build_design(formula, frame(name))
            assert_same(rebind(design, frame(name), require_response=True), design)


def test_transforms_keep_what_they_learned():
    data = table()
    design = build_design("y ~ scale(x) + poly(w, 2) + (center(x) | g)", data)
    new = rebind(design, data.assign(x=data.x + 10))
    np.testing.assert_allclose(new.X[:, 1], (data.x + 10 - data.x.mean()) / data.x.std(), rtol=1e-12)
    np.testing.assert_allclose(new.blocks[0].z[:, 1], data.x + 10 - data.x.mean(), rtol=1e-12)
    one = rebind(design, data.iloc[[4]])
    np.testing.assert_allclose(one.X, design.X[[4]], rtol=1e-12)


def test_unseen_and_absent_groups_have_negative_codes():
    data = table()
    design = build_design("y ~ x + (x | g) + (1 | g:k)", data)
    new = data.iloc[:4].assign(g=["a", "new", "b", "new"], k=[1, 1, 99, 99])
    g, gk = rebind(design, new).blocks
    assert [g.levels[c] if c >= 0 else None for c in g.codes] == ["a", None, "b", None]
    assert [gk.levels[c] if c >= 0 else None for c in gk.codes] == ["a:1", None, None, None]
    assert g.levels == design.blocks[0].levels
    g, gk = rebind(design, data.drop(columns="k")).blocks
    np.testing.assert_array_equal(g.codes, design.blocks[0].codes)
    assert gk.codes.tolist() == [-1 - i for i in range(60)]
    for block in rebind(design, data[["x"]]).blocks:
        assert block.codes.tolist() == [-1 - i for i in range(60)]


def test_rows_of_one_unseen_level_have_one_code():
    data = table()
    design = build_design("y ~ x + (1 | g) + (1 | g:k)", data)
    new = data.iloc[:6].assign(g=["zz", "a", "yy", "zz", "yy", "a"], k=[7, 99, 8, 9, 8, 99])
    g, gk = rebind(design, new).blocks
    assert g.codes.tolist() == [-1, 0, -2, -1, -2, 0]
    assert gk.codes.tolist() == [-1, -2, -3, -4, -3, -2]


def test_a_combination_that_was_not_seen_is_unseen_even_when_its_parts_were():
    data = pd.DataFrame({"y": [1.0, 2, 3, 5], "a": list("ppqq"), "b": list("rsrr")})
    design = build_design("y ~ 1 + (1 | a:b)", data)
    assert design.blocks[0].levels == ("p:r", "p:s", "q:r")
    new = pd.DataFrame({"a": list("qqpp"), "b": list("srsr")})
    assert rebind(design, new).blocks[0].codes.tolist() == [-1, 2, 1, 0]


def test_the_response_is_taken_along_when_it_is_complete():
    data = table()
    design = build_design("y ~ x", data)
    assert rebind(design, data.drop(columns="y")).response is None
    gap = data.assign(y=data.y.where(data.index != 3))
    assert rebind(design, gap).response is None
    assert rebind(design, gap).nobs == 60
    with pytest.warns(DataWarning, match="Dropped 1 of 60 rows"):
        assert rebind(design, gap, require_response=True).response.y.shape == (59,)
    with pytest.warns(DataWarning, match="x: 1"):
        assert rebind(design, data.assign(x=data.x.where(data.index != 3))).response.y.shape == (59,)


def test_a_text_response_keeps_its_codes():
    design = build_design("h ~ x", table())
    new = pd.DataFrame({"x": [0.0, 1.0], "h": ["hi", "mid"]})
    response = rebind(design, new).response
    assert (response.y.tolist(), response.levels) == ([2.0, 1.0], ("lo", "mid", "hi"))


def test_arguments_are_found_in_the_new_data_or_given_anew():
    data = table()
    design = build_design("y ~ x", data, weights="w", offset="k", exposure=3.0)
    new = data.iloc[:5]
    np.testing.assert_allclose(rebind(design, new).offset, new.k + np.log(3))
    np.testing.assert_array_equal(rebind(design, new).weights, new.w)
    assert rebind(design, new.drop(columns="w")).weights is None
    np.testing.assert_allclose(rebind(design, new, offset=np.ones(5), exposure="w").offset, 1 + np.log(new.w))
    design = build_design("y ~ x", data, offset=data.w)
    np.testing.assert_array_equal(rebind(design, new, offset=new.w).offset, new.w)


def test_dropped_columns_stay_dropped():
    data = table().assign(twice=lambda d: 2 * d.x)
    with pytest.warns(DataWarning, match="twice"):
        design = build_design("y ~ x + twice + w", data)
    new = rebind(design, data.assign(twice=0.0))
    assert (new.columns, new.aliased) == (("Intercept", "x", "w"), ("twice",))
    np.testing.assert_array_equal(new.X, design.X)


def test_labels_match_across_types():
    data = table()
    design = build_design("y ~ C(k) + (1 | k)", data)
    for new in (data.assign(k=data.k.astype(float)), data.assign(k=data.k.astype(str)), pl.from_pandas(data)):
        again = rebind(design, new)
        np.testing.assert_array_equal(again.X, design.X)
        np.testing.assert_array_equal(again.blocks[0].codes, design.blocks[0].codes)


def test_no_rows():
    design = build_design("y ~ h*poly(x, 2) + (x | g:k)", table())
    empty = rebind(design, table().head(0))
    assert (empty.X.shape, empty.blocks[0].z.shape, empty.blocks[0].codes.shape) == ((0, 9), (0, 2), (0,))


def test_a_design_survives_pickling():
    data = table()
    design = build("y ~ h*bs(x, df=5) + C(k, Sum) + (poly(x, 2) | g) + (1 | g:k)", data, exposure="w")
    again = pickle.loads(pickle.dumps(design))
    assert_same(rebind(again, data), design)
    assert again.formula == design.formula


def test_building_a_design_loads_nothing_heavy():
    code = """
import sys
import pandas as pd
from bayesglmm.design import build_design
build_design("y ~ x + (1 | g)", pd.DataFrame({"y": [1.0, 2, 4], "x": [1.0, 3, 2], "g": list("aab")}))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pymc", "pytensor", "arviz", "matplotlib", "numba"} & set(loaded)
