"""Odd tables: the fit of the plain float64 table, or one error of the package. Through what users call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import bayesglmm as bg

N = 48
GROUPS = list("abcdefgh")


def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    x, effect = rng.normal(size=N), np.repeat(rng.normal(0, 0.7, 8), 6)
    return pd.DataFrame(
        {
            "y": rng.poisson(np.exp(1 + 0.3 * x + effect)).astype(float),
            "r": 1 + 0.5 * x + effect + rng.normal(0, 0.8, N),
            "b": (rng.uniform(size=N) < 0.5).astype(float),
            "x": x,
            "k": rng.integers(-3, 4, N).astype(float),
            "g": np.repeat(GROUPS, 6),
        }
    )


#: What is fitted: formula, family, method.
FITS = {
    "irls": ("y ~ x + k", "poisson", "irls"),
    "laplace": ("y ~ x + k + (1 | g)", "poisson", "laplace"),
    "reml": ("r ~ x + k + (1 | g)", "gaussian", "reml"),
}


def numbers(fit: Any, new: Any) -> np.ndarray:
    """Estimates, standard errors, standard deviations and predictions."""
    parts = [fit.fixed[["estimate", "se"]].to_numpy(float).ravel(), fit.predict(new)["estimate"].to_numpy(float)]
    parts += [effects["Intercept"].to_numpy(float) for effects in (fit.random or {}).values()]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def plain() -> dict[str, np.ndarray]:
    data = table()
    found = {}
    for name, (formula, family, method) in FITS.items():
        found[name] = numbers(bg.Model(formula, data, family, priors="flat").fit(method), data.head(5))
    return found


def readonly(data: pd.DataFrame) -> dict[str, np.ndarray]:
    arrays = {name: np.array(data[name]) for name in data}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def unused(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(g=pd.Categorical(data.g, categories=["aa", *GROUPS, "zz"]))


NUMBERS = ["y", "r", "b", "x", "k"]
SAME: dict[str, Callable[[pd.DataFrame], Any]] = {
    "objects": lambda d: d.astype(object),
    "objects of both kinds": lambda d: d.assign(k=[int(v) if i % 2 else v for i, v in enumerate(d.k)]),
    "numpy scalars in objects": lambda d: d.assign(x=pd.Series([np.float64(v) for v in d.x], dtype=object)),
    "whole numbers": lambda d: d.assign(y=d.y.astype("int64"), k=d.k.astype("int8")),
    "unsigned counts": lambda d: d.assign(y=d.y.astype("uint8")),
    "nullable": lambda d: d.assign(y=d.y.astype("Int64"), k=d.k.astype("Int8"), x=d.x.astype("Float64")),
    "nullable texts": lambda d: d.assign(g=d.g.astype("string")),
    "objects of texts": lambda d: d.assign(g=d.g.astype(object)),
    "python texts": lambda d: d.assign(g=d.g.astype(pd.StringDtype("python"))),
    "convert_dtypes": lambda d: d.convert_dtypes(),
    "pyarrow-backed": lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
    "big-endian": lambda d: d.assign(**{c: d[c].to_numpy().astype(">f8") for c in NUMBERS}),
    "big-endian counts": lambda d: d.assign(y=d.y.to_numpy().astype(">i4")),
    "sparse": lambda d: d.assign(**{c: pd.arrays.SparseArray(d[c].to_numpy()) for c in NUMBERS}),
    "categories": lambda d: d.assign(g=d.g.astype("category")),
    "unused categories": unused,
    "strided": lambda d: d.assign(x=np.repeat(d.x.to_numpy(), 2)[::2]),
    "Fortran block": lambda d: pd.concat(
        [pd.DataFrame(np.asfortranarray(d[NUMBERS]), columns=NUMBERS), d[["g"]]], axis=1
    ),
    "read-only": lambda d: pd.DataFrame(readonly(d), copy=False),
    "read-only dict": readonly,
    "dict of lists": lambda d: d.to_dict("list"),
    "duplicated index": lambda d: d.set_axis([0] * len(d)),
    "shuffled index": lambda d: d.set_axis(np.random.default_rng(0).permutation(len(d))),
    "index of texts": lambda d: d.set_axis([f"é{i}" for i in range(len(d))]),
    "missing in the index": lambda d: d.set_axis([np.nan] * len(d)),
    "MultiIndex": lambda d: d.set_axis(pd.MultiIndex.from_arrays([d.g, range(len(d))])),
    "MultiIndex with a column's name": lambda d: d.set_axis(pd.MultiIndex.from_arrays([d.g, d.x], names=["g", "x"])),
    "index with a column's name": lambda d: d.set_axis(pd.Index(range(len(d)), name="x")),
    "dates in the index": lambda d: d.set_axis(pd.date_range("2020", periods=len(d), tz="Europe/Paris")),
    "unhashed extra columns": lambda d: d.assign(
        z=[[1]] * len(d), c=d.x + 1j, t=pd.date_range("2020", periods=len(d), tz="UTC"), n=np.nan, i=np.inf
    ),
    "a column's name that is no text": lambda d: d.assign(**{"z": 1}).rename(columns={"z": 3}),
    "polars": pl.from_pandas,
    "polars categories": lambda d: pl.from_pandas(d).with_columns(pl.col("g").cast(pl.Categorical)),
    "polars whole numbers": lambda d: pl.from_pandas(d).with_columns(pl.col("y").cast(pl.UInt16)),
    "pyarrow": lambda d: pa.Table.from_pandas(d, preserve_index=False),
    "pyarrow in chunks": lambda d: pa.concat_tables(
        [pa.Table.from_pandas(part, preserve_index=False) for part in (d.head(5), d.tail(len(d) - 5))]
    ),
    "pyarrow dictionary": lambda d: pa.Table.from_pandas(d.assign(g=d.g.astype("category")), preserve_index=False),
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kind", SAME)
def test_the_same_numbers_whatever_holds_them(kind: str, fit: str, plain: dict[str, np.ndarray]) -> None:
    formula, family, method = FITS[fit]
    odd = SAME[kind](table())
    found = bg.Model(formula, odd, family, priors="flat").fit(method)
    np.testing.assert_allclose(numbers(found, table().head(5)), plain[fit], rtol=1e-10, atol=1e-12)
    new = SAME[kind](table())
    np.testing.assert_allclose(
        found.predict(new)["estimate"].to_numpy(float)[:5], found.predict(table())["estimate"].head(5), rtol=1e-12
    )


@pytest.mark.parametrize("kind", ["bool", "boolean", "object", "category", "string", "bool[pyarrow]", "Int64", ">i2"])
def test_yes_and_no_as_responses(kind: str) -> None:
    data = table()
    expected = bg.Model("b ~ x", data, "binomial").fit("irls").fixed
    values: Any = data.b.astype(bool)
    if kind in {"category", "string"}:
        values = values.map({False: "no", True: "yes"})
    values = values.to_numpy().astype(kind) if kind == ">i2" else values.astype(kind)
    found = bg.Model("b ~ x", data.assign(b=values), "binomial").fit("irls").fixed
    np.testing.assert_allclose(found, expected, rtol=1e-10)


NAMES = [
    "log",
    "C",
    "0",
    "2",
    "a b",
    "a'b",
    'a"b',
    "é",
    "数",
    "😀",
    "a:b",
    "x + k",
    "a|b",
    "(1 | g)",
    "n" * 5000,
    "__class__",
    "import",
    "p",
    "θ.sd",
    "\\",
    "{x}",
    "<b>",
]


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_any_name(name: str, tmp_path: Path) -> None:
    data = table()
    odd = data.rename(columns={"x": name})
    fit = bg.Model(f"r ~ `{name}` + (1 | g)", odd, "gaussian", priors="flat").fit("reml")
    expected = bg.Model("r ~ x + (1 | g)", data, "gaussian", priors="flat").fit("reml")
    np.testing.assert_allclose(fit.fixed["estimate"], expected.fixed["estimate"], rtol=1e-10)
    fit.save(tmp_path / "fit.nc")
    again = bg.load_fit(tmp_path / "fit.nc")
    assert list(again.fixed.index) == list(fit.fixed.index)
    np.testing.assert_allclose(again.predict(odd)["estimate"], expected.predict(data)["estimate"], rtol=1e-10)
    assert str(fit) == str(again) or name in str(fit)


@pytest.mark.parametrize(
    "levels", [["é", "数", "😀", "a b", "a[b]", "", "\n", "n" * 3000], [1.5, 2, 3, 4, 5, 6, 7, 1e300]]
)
def test_levels_of_any_name(levels: list[Any], tmp_path: Path) -> None:
    data = table()
    odd = data.assign(g=data.g.map(dict(zip(GROUPS, levels, strict=True))))
    fit = bg.Model("r ~ x + (1 | g)", odd, "gaussian", priors="flat").fit("reml")
    expected = bg.Model("r ~ x + (1 | g)", data, "gaussian", priors="flat").fit("reml")
    fit.save(tmp_path / "fit.nc")
    for one in (fit, bg.load_fit(tmp_path / "fit.nc")):
        np.testing.assert_allclose(one.predict(odd)["estimate"], expected.predict(data)["estimate"], rtol=1e-10)


@pytest.mark.parametrize("name", [" ", "\t", "x\ny"])
def test_names_of_white_space_are_refused(name: str) -> None:
    """A formula is one line; white space in a name is one blank."""
    with pytest.raises((bg.FormulaError, bg.DataError), match=r"empty name|no column"):
        bg.Model(f"r ~ `{name}`", table().rename(columns={"x": name}), "gaussian")


@pytest.mark.parametrize("name", ["1", "Intercept"])
@pytest.mark.parametrize("formula", ["r ~ `{}`", "r ~ x:`{}`", "r ~ 0 + `{}`", "r ~ x + (0 + `{}` | g)"])
def test_a_column_named_like_the_intercept_is_refused(formula: str, name: str) -> None:
    with pytest.raises(bg.DataError, match=rf"'{name}' cannot be told from the intercept"):
        bg.Model(formula.format(name), table().assign(**{name: table().k}), "gaussian")


SCALED = ["estimate", "se"]


@pytest.mark.parametrize("power", [-150, -100, -12, 12, 100, 150])
@pytest.mark.parametrize("method", ["irls", "ml", "reml"])
def test_a_response_of_any_scale(power: int, method: str) -> None:
    data, scale = table(), 10.0**power
    formula = "r ~ x" if method == "irls" else "r ~ x + (1 | g)"
    expected = bg.Model(formula, data, "gaussian", priors="flat").fit(method).fixed[SCALED]
    found = bg.Model(formula, data.assign(r=data.r * scale), "gaussian", priors="flat").fit(method).fixed[SCALED]
    np.testing.assert_allclose(found / scale, expected, rtol=1e-6)


@pytest.mark.parametrize("power", [-150, -100, -20, -8, -3, 3, 8, 12, 30, 100, 150])
@pytest.mark.parametrize("family", ["gaussian", bg.families.StudentT(nu=4)], ids=["gaussian", "t"])
def test_laplace_at_any_scale(family: Any, power: int) -> None:
    data, scale = table(), 10.0**power
    expected = bg.Model("r ~ x + (1 | g)", data, family, priors="flat").fit("laplace")
    found = bg.Model("r ~ x + (1 | g)", data.assign(r=data.r * scale), family, priors="flat").fit("laplace")
    assert found.status.converged
    np.testing.assert_allclose(found.fixed[SCALED] / scale, expected.fixed[SCALED], rtol=1e-6)
    np.testing.assert_allclose(found.varcomp["sd"] / scale, expected.varcomp["sd"], rtol=1e-6)
    np.testing.assert_allclose(found.loglik + N * np.log(scale), expected.loglik, rtol=1e-9)


def test_weights_of_draws_in_absurd_units_are_refused() -> None:
    fit = bg.Model("r ~ x + (1 | g)", table().assign(r=lambda d: d.r * 1e30), "gaussian").fit("laplace")
    with pytest.raises(bg.DataError, match=r"has values of size .* other units"):
        fit.check()


@pytest.mark.parametrize("power", [-150, -100, -12, 12, 100, 150])
@pytest.mark.parametrize("fit", FITS)
def test_a_predictor_of_any_scale(power: int, fit: str) -> None:
    formula, family, method = FITS[fit]
    data, scale = table(), 10.0**power
    expected = bg.Model(formula, data, family, priors="flat").fit(method)
    odd = data.assign(x=data.x * scale)
    found = bg.Model(formula, odd, family, priors="flat").fit(method)
    wanted = expected.fixed[["estimate", "se"]].to_numpy(float)
    got = found.fixed[["estimate", "se"]].to_numpy(float) * np.where(found.fixed.index == "x", scale, 1.0)[:, None]
    # The curvature of a marginal likelihood is taken where the quasi-Newton search hands over to Newton steps, up to
    # 1e-4 standard errors from the optimum: standard errors are that much off, and where it does depends on rounding.
    np.testing.assert_allclose(got, wanted, rtol=2e-5 if method == "laplace" else 1e-6)
    np.testing.assert_allclose(found.predict(odd)["estimate"], expected.predict(data)["estimate"], rtol=1e-6)


def test_a_hundred_thousand_levels() -> None:
    rng = np.random.default_rng(2)
    levels, each = 100_000, 2
    group = np.repeat(np.arange(levels), each)
    data = pd.DataFrame({"x": rng.normal(size=levels * each), "g": group.astype(str)})
    data["r"] = 1 + 0.5 * data.x + rng.normal(0, 0.7, levels)[group] + rng.normal(size=len(data))
    fit = bg.Model("r ~ x + (1 | g)", data, "gaussian", priors="flat").fit("reml")
    assert fit.fixed["estimate"].to_numpy() == pytest.approx([1.0, 0.5], abs=0.02)
    assert fit.result.theta[0] == pytest.approx(0.7, abs=0.02)


def test_a_table_of_many_columns() -> None:
    data = table()
    wide = pd.concat([data, pd.DataFrame(np.zeros((N, 100_000)), columns=[f"c{i}" for i in range(100_000)])], axis=1)
    expected = bg.Model("y ~ x", data, "poisson").fit("irls").fixed
    found = bg.Model("y ~ x", wide, "poisson").fit("irls").fixed
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("fit", FITS)
def test_new_tables_of_no_row_and_of_one(rows: int, fit: str) -> None:
    formula, family, method = FITS[fit]
    found = bg.Model(formula, table(), family, priors="flat").fit(method)
    if rows:
        np.testing.assert_allclose(
            found.predict(table().head(1))["estimate"], found.predict(table())["estimate"].head(1)
        )
        return
    assert found.predict(table().head(0)).shape == (0, 4)


def test_constant_columns_are_named() -> None:
    with pytest.warns(bg.DataWarning, match="c"):
        fit = bg.Model("y ~ x + c", table().assign(c=2.0), "poisson").fit("irls")
    assert np.isnan(fit.fixed.loc["c", "estimate"])
