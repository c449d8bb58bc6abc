"""Tables of every make, columns of every type, missing values, weights, offsets, exposure."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bayesglmm.design import build_design
from bayesglmm.errors import DataError, DataWarning

FORMULA = "y ~ x*h + k + b + t + (x | g) + (1 | g:k) + offset(w)"


def table(n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.poisson(3, n),
            "x": rng.normal(size=n),
            "w": rng.uniform(1, 2, n),
            "k": rng.integers(1, 4, n),
            "g": rng.choice(list("abcd"), n),
            "h": pd.Categorical(rng.choice(["mid", "hi", "lo"], n), categories=["lo", "mid", "unused", "hi"]),
            "b": rng.random(n) > 0.5,
            "t": rng.choice(["yes", "no"], n),
        }
    )


def assert_same(a, b) -> None:
    assert (a.columns, a.aliased) == (b.columns, b.aliased)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.offset, b.offset)
    np.testing.assert_array_equal(a.response.y, b.response.y)
    assert a.response.levels == b.response.levels
    for one, other in zip(a.blocks, b.blocks):
        assert (one.group, one.levels, one.columns, one.terms) == (
            other.group,
            other.levels,
            other.columns,
            other.terms,
        )
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.z, other.z)


def read_only(data: pd.DataFrame) -> dict:
    arrays = {name: np.asarray(data[name]).copy() for name in data if name != "h"}
    for array in arrays.values():
        array.flags.writeable = False
    return {**arrays, "h": pd.Categorical(data.h)}


MAKES = {
    "pandas, object": lambda d: d.astype({"g": object, "t": object, "b": object}),
    "pandas, nullable": lambda d: d.convert_dtypes(),
    "pandas, pyarrow": lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, big-endian": lambda d: d.assign(x=d.x.to_numpy().astype(">f8"), k=d.k.to_numpy().astype(">i2")),
    "pandas, small": lambda d: d.astype({"k": "int8", "y": "uint16"}),
    "pandas, sparse": lambda d: d.assign(x=pd.arrays.SparseArray(d.x)),
    "pandas, text categories": lambda d: d.astype({"t": "category", "g": "category"}),
    "polars": lambda d: pl.from_pandas(d).with_columns(pl.col("h").cast(pl.Enum(["lo", "mid", "unused", "hi"]))),
    "polars, categorical text": lambda d: MAKES["polars"](d).with_columns(pl.col("t").cast(pl.Categorical)),
    "pyarrow": pa.Table.from_pandas,
    "pyarrow, chunked": lambda d: pa.concat_tables([pa.Table.from_pandas(d[:30]), pa.Table.from_pandas(d[30:])]),
    "dict of read-only arrays": read_only,
}


@pytest.mark.parametrize("make", MAKES)
def test_every_kind_of_table_gives_the_same_design(make):
    assert_same(build_design(FORMULA, MAKES[make](table())), build_design(FORMULA, table()))


@pytest.mark.parametrize("make", ["pandas, nullable", "pandas, pyarrow", "polars", "pyarrow"])
def test_missing_values_of_every_kind_of_table_are_dropped(make):
    data = table()
    gaps = data.convert_dtypes()
    for row, name in enumerate(["y", "x", "k", "g", "h", "b", "t", "w"]):
        gaps.loc[row, name] = None
    given = gaps if make == "pandas, nullable" else MAKES[make](gaps)
    with pytest.warns(DataWarning, match=r"Dropped 8 of 80 rows .*y: 1.*g: 1"):
        design = build_design(FORMULA, given)
    assert design.n_dropped == 8
    assert list(design.index) == list(range(8, 80))
    assert_same(design, build_design(FORMULA, data[8:]))


def test_dropped_rows_are_counted_in_total_and_by_column():
    data = table()
    data.loc[[2, 5], "x"] = np.nan
    data.loc[[5, 7], "g"] = None
    data["unrelated"] = np.nan
    data.index = data.index + 1000
    with pytest.warns(DataWarning, match=r"Dropped 3 of 80 rows with missing values \(x: 2, g: 2\)"):
        design = build_design("y ~ x + (1 | g)", data)
    assert design.index[:4].tolist() == [1000, 1001, 1003, 1004]
    weights = np.ones(80)
    weights[0] = np.nan
    with pytest.warns(DataWarning, match=r"Dropped 1 of 80 rows with missing values \(weights: 1\)"):
        assert len(build_design("y ~ w", data, weights=weights).weights) == 79


def test_levels_that_only_dropped_rows_have_are_dropped():
    data = table()
    data["t"] = data.t.astype(object)
    data.loc[3, "t"], data.loc[3, "g"], data.loc[3, "x"] = "rare", "z", np.nan
    with pytest.warns(DataWarning, match="1 of 80 rows"):
        design = build_design("y ~ t + x + (1 | g)", data)
    assert design.columns == ("Intercept", "t[T.yes]", "x")
    assert design.blocks[0].levels == ("a", "b", "c", "d")


def test_responses():
    data = table()
    assert build_design("y ~ x", data).response.levels is None
    for name, levels in (("b", ("False", "True")), ("t", ("no", "yes")), ("h", ("lo", "mid", "hi"))):
        response = build_design(f"{name} ~ x", data).response
        assert (response.name, response.levels) == (name, levels)
        assert [levels[int(code)] for code in response.y] == [str(v) for v in data[name]]
    response = build_design("p(y, y + k) ~ x", data).response
    assert response.name == "p(y, y + k)"
    np.testing.assert_array_equal(response.trials, data.y + data.k)
    response = build_design("cbind(y, k) ~ x", data).response
    np.testing.assert_array_equal(response.trials, data.y + data.k)
    np.testing.assert_array_equal(build_design("p(y, 20) ~ x", data).response.trials, np.full(80, 20.0))
    np.testing.assert_array_equal(build_design("log(y + 1) ~ x", data).response.y, np.log(data.y + 1.0))
    assert build_design("I(y > 3) ~ x", data).response.levels == ("False", "True")


def test_offsets_add_up_with_the_log_of_the_exposure():
    data = table()
    design = build_design("y ~ x + offset(log(w)) + offset(k)", data, offset="x", exposure=data.w.to_numpy())
    np.testing.assert_allclose(design.offset, 2 * np.log(data.w) + data.k + data.x, rtol=1e-14)
    assert not build_design("y ~ x", data).offset.any()
    np.testing.assert_allclose(build_design("y ~ x", data, exposure=10).offset, np.log(10))
    np.testing.assert_array_equal(build_design("y ~ x", data, offset=list(data.w)).offset, data.w)


def test_weights():
    data = table()
    assert build_design("y ~ x", data).weights is None
    np.testing.assert_array_equal(build_design("y ~ x", data, weights="w").weights, data.w)
    np.testing.assert_array_equal(build_design("y ~ x", data, weights=data.k).weights, data.k)


def test_the_design_is_the_users_no_more():
    y, w = np.arange(1.0, 21), np.arange(1.0, 21)
    design = build_design("y ~ x", {"y": y, "x": np.sqrt(y), "w": w}, weights=w, offset=w)
    y[:], w[:] = -1, -1
    for array in (design.response.y, design.weights, design.offset):
        np.testing.assert_array_equal(array, np.arange(1.0, 21))
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, "a", 2.5, "b"], "mixes values of different types"),
        ([[1], [2], [3], [4]], "holds|mixes"),
        ([datetime.datetime(2024, 1, d) for d in range(1, 5)], "datetime"),
        (pd.to_timedelta([1, 2, 3, 4], unit="D"), "timedelta"),
        ([1j, 2j, 3j, 4j], "complex"),
    ],
)
def test_columns_that_are_neither_numbers_nor_labels(values, said):
    with pytest.raises(DataError, match=said):
        build_design("y ~ x", pd.DataFrame({"y": [1.0, 2, 3, 5], "x": values}))


def test_objects_that_are_numbers_are_numbers():
    for values in ([Decimal("1.5"), Decimal("2"), Decimal("4"), None, Decimal("3")], [1, 2.5, 4, None, 3]):
        with pytest.warns(DataWarning, match="x: 1"):
            design = build_design("y ~ x", pd.DataFrame({"y": [1.0, 2, 3, 7, 5], "x": pd.Series(values, dtype=object)}))
        assert design.X[:, 1].tolist() == [float(v) for v in values if v is not None]


def test_measurements_stored_as_text_are_pointed_out():
    data = pd.DataFrame({"y": [1.0, 2, 3, 5, 4], "x": ["1.5", "2", "1.5", None, "2"], "k": ["1", "2", "1", "2", "1"]})
    with pytest.warns(DataWarning) as caught:
        design = build_design("y ~ x", data)
    said = [str(warning.message) for warning in caught]
    assert "'x' holds numbers stored as text (1.5, 2, …) and is read as 2 categories" in said[0]
    assert len(said) == 2  # and the missing value
    assert design.columns == ("Intercept", "x[T.2]")
    assert build_design("y ~ k", data).columns == ("Intercept", "k[T.2]")  # whole numbers are ordinary labels


def test_names_that_need_backticks():
    data = pd.DataFrame(
        {"my y": [1.0, 2, 3, 5], "log": [1.0, 3, 2, 4], "a.b": [1.0, 2, 2, 4], "x+1": list("abab"), 7: 1}
    )
    design = build_design("`my y` ~ log + a.b + (1 | `x+1`)", data)
    assert (design.response.name, design.columns) == ("my y", ("Intercept", "log", "a.b"))
    assert design.blocks[0].group == "x+1"
    np.testing.assert_array_equal(build_design("`my y` ~ log(log)", data).X[:, 1], np.log(data["log"]))
    with pytest.warns(DataWarning, match="linear combinations"):
        assert build_design("`my y` ~ `7`", data).aliased == ("7",)
