"""Data in chunks give the fit of the whole table, and memory is that of a chunk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm.design.tables import ColumnBatch, Table

ROWS, CHUNK = 1_500, 211


def whole(seed: int = 1) -> pd.DataFrame:
    """Counts, proportions and positive responses; one category appears in late rows only."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "x": rng.normal(size=ROWS) * 3.0 + 50.0,
            "z": rng.random(ROWS),
            "g": rng.choice(["b", "c", "d"], ROWS),
            "k": rng.choice([2, 10, 30], ROWS),
            "old": rng.random(ROWS) < 0.4,
            "size": rng.integers(2, 9, ROWS),
            "w": rng.integers(1, 4, ROWS).astype(float),
            "time": rng.random(ROWS) + 0.5,
            "herd": rng.integers(0, 40, ROWS),
            "vet": rng.choice(["p", "q", "r"], ROWS),
        }
    )
    data.loc[ROWS - 40 :, "g"] = "a late one"
    data.loc[ROWS - 30 :, "k"] = 9
    eta = 0.2 + 0.1 * (data.x - 50) - 0.5 * (data.g == "c") + 0.4 * data.z
    data["count"] = rng.poisson(np.exp(eta))
    data["over"] = rng.negative_binomial(2.0, 1.0 / (1.0 + np.exp(eta) / 2.0))
    data["hits"] = rng.binomial(data["size"], 1.0 / (1.0 + np.exp(-eta)))
    data["answer"] = np.where(rng.random(ROWS) < 1.0 / (1.0 + np.exp(-eta)), "yes", "no")
    data["amount"] = rng.gamma(2.0, np.exp(eta))
    return data


def chunks(data: pd.DataFrame, size: int = CHUNK) -> list[pd.DataFrame]:
    return [data.iloc[start : start + size] for start in range(0, len(data), size)]


def both(formula: str, data: Any, pieces: Any, options: dict[str, Any] | None = None, **model: Any) -> list[bg.Fit]:
    return [bg.Model(formula, d, **model).fit("irls", **(options or {})) for d in (data, pieces)]


def assert_same(memory: bg.Fit, streamed: bg.Fit, rtol: float = 1e-10) -> None:
    assert list(streamed.fixed.index) == list(memory.fixed.index)
    se = np.sqrt(np.diag(memory.result.cov_beta))
    np.testing.assert_allclose(streamed.result.beta, memory.result.beta, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(streamed.result.cov_beta, memory.result.cov_beta, rtol=rtol, atol=rtol * se.max() ** 2)
    for name in ("deviance", "nobs", "df_resid"):
        assert getattr(streamed, name) == pytest.approx(getattr(memory, name), rel=rtol)
    assert streamed.result.scale == pytest.approx(memory.result.scale, rel=rtol)
    assert streamed.result.loglik == (None if memory.result.loglik is None else pytest.approx(memory.loglik, rel=rtol))
    assert streamed.result.df_model == memory.result.df_model
    np.testing.assert_allclose(streamed.result.psi, memory.result.psi, rtol=1e-9, atol=1e-12)


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "poisson": ("count ~ x + g*old", {"family": "poisson"}, {}),
    "sqrt": ("count ~ z + g", {"family": "poisson", "link": "sqrt"}, {}),
    "weights": ("count ~ x + C(k) + offset(z)", {"family": "poisson", "weights": "w"}, {"cov": "HC0"}),
    "exposure": ("count ~ I(z > 0.5) + log(x)", {"family": "quasipoisson", "exposure": "time"}, {"cov": "HC3"}),
    "trials": ("p(hits, size) ~ x + C(g, Sum)", {"family": "binomial", "link": "cloglog"}, {}),
    "levels": ("answer ~ x + g", {"family": "binomial", "link": "probit"}, {}),
    "firth": ("answer ~ z + g", {"family": "binomial"}, {"penalty": "firth"}),
    "gamma": ("amount ~ x + z", {"family": "gamma", "link": "log"}, {"scale": "fletcher", "cov": "HC1"}),
    "inverse gaussian": ("amount ~ x + z", {"family": "inverse_gaussian", "link": "log"}, {"scale": "deviance"}),
    "gaussian": ("amount ~ 0 + g + x", {"family": "gaussian", "weights": "w"}, {"cov": "HC2"}),
    "negative binomial": ("over ~ x + g", {"family": "negative_binomial"}, {}),
    "quasibinomial": ("p(hits, size) ~ x", {"family": "quasibinomial"}, {"cov": "cluster", "groups": "herd"}),
    "numbers as arguments": ("count ~ x", {"family": "poisson", "weights": 2.5, "offset": 0.3, "exposure": 2.0}, {}),
    "two-way": ("count ~ x", {"family": "poisson"}, {"cov": "cluster", "groups": ["herd", "vet"]}),
    "scale": ("count ~ scale(x):g + standardize(z) + center(time)", {"family": "poisson"}, {}),
    "poly": ("count ~ poly(x, 3) + poly(z, 2, raw=True) + g", {"family": "poisson"}, {}),
    "splines": ("count ~ bs(x, knots=[49, 52]) + cr(z, knots=[0.3, 0.6])", {"family": "poisson"}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_chunks_give_the_fit_of_the_table(name: str) -> None:
    formula, model, options = CASES[name]
    data = whole()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.DataWarning)  # the natural spline's columns add up to the intercept
        memory, streamed = both(formula, data, chunks(data), options, **model)
    assert_same(memory, streamed)
    new = data.iloc[-50:]
    np.testing.assert_allclose(streamed.predict(new), memory.predict(new), rtol=1e-9)
    assert streamed.summary().splitlines()[:-1] == memory.summary().splitlines()[:-1]


def test_shape_and_coefficients_are_found_in_the_same_passes() -> None:
    memory, streamed = both("over ~ x + g", whole(), chunks(whole()), family="negative_binomial")
    assert_same(memory, streamed)
    assert streamed.status.converged
    assert streamed.status.evaluations <= 6


def test_a_shape_at_infinity_is_found_by_turns() -> None:
    rng = np.random.default_rng(12)
    data = pd.DataFrame({"x": rng.normal(size=300)})
    data["y"] = rng.binomial(6, 1.0 / (1.0 + np.exp(-data.x)))  # less variance than Poisson
    with pytest.warns(bg.SingularFitWarning):
        memory, streamed = both("y ~ x", data, chunks(data, 50), family="negative_binomial")
    assert memory.status.boundary == streamed.status.boundary == ("theta",)
    np.testing.assert_allclose(streamed.result.beta, memory.result.beta, rtol=1e-8)


def test_labels_after_chunks_of_numbers(tmp_path: Path) -> None:
    """A column of no value but gaps is one of numbers until labels come."""
    data = whole()
    late = [piece.assign(g=None) for piece in chunks(data)[:2]] + chunks(data)[2:]
    with pytest.warns(bg.DataWarning, match="Dropped"):
        memory = bg.Model("count ~ x + g", pd.concat(late), family="poisson").fit("irls")
    with pytest.warns(bg.DataWarning, match="Dropped"):
        streamed = bg.Model("count ~ x + g", late, family="poisson").fit("irls")
    assert_same(memory, streamed)


def test_numbers_are_read_once_before_the_fit() -> None:
    data, reads = whole(), []

    def counted() -> Iterator[Any]:
        reads.append(1)
        yield from chunks(data)

    model = bg.Model("count ~ x + z + x:z + I(x**2)", counted, family="poisson")
    assert len(reads) == 1
    fit = model.fit("irls")
    assert len(reads) == 1 + fit.status.evaluations
    assert_same(bg.Model("count ~ x + z + x:z + I(x**2)", data, family="poisson").fit("irls"), fit)


def test_missing_rows_are_dropped_and_counted_once() -> None:
    data = whole()
    data.loc[[3, 500, 501], "x"] = np.nan
    data.loc[[3, 1400], "g"] = None
    data.loc[CHUNK : 2 * CHUNK - 1, "z"] = np.nan  # a chunk with nothing left
    expected = rf"Dropped {CHUNK + 4} of {ROWS} rows with missing values \(x: 3, z: {CHUNK}, g: 2\)"
    fits = []
    for source in (data, chunks(data)):
        with pytest.warns(bg.DataWarning, match=expected) as seen:
            fits.append(bg.Model("count ~ x + z + g", source, family="poisson").fit("irls"))
        assert len(seen) == 1
    assert fits[0].nobs == fits[1].nobs == ROWS - CHUNK - 4
    assert fits[1].model.design.n_dropped == CHUNK + 4
    assert_same(*fits)


def test_aliased_columns_are_left_out_as_from_the_table() -> None:
    data = whole()
    data["twice"] = 2.0 * data.x
    fits = []
    for source in (data, chunks(data)):
        with pytest.warns(bg.DataWarning, match="twice"):
            fits.append(bg.Model("count ~ x + twice + g", source, family="poisson").fit("irls"))
    assert fits[1].model.design.aliased == ("twice",)
    np.testing.assert_allclose(fits[1].model.design.relations, fits[0].model.design.relations, atol=1e-12)
    assert_same(*fits)


def test_categories_in_their_declared_order() -> None:
    data = whole()
    data["g"] = pd.Categorical(data.g, categories=["d", "a late one", "unused", "c", "b"])
    assert_same(*both("count ~ g", data, chunks(data), family="poisson"))


def test_parquet_directory_dataset_and_file(tmp_path: Path) -> None:
    from pyarrow import dataset

    data = whole()
    parts = tmp_path / "parts"
    parts.mkdir()
    for k, piece in enumerate(chunks(data)):
        piece.to_parquet(parts / f"part-{k}.parquet")
    data.to_parquet(tmp_path / "one.parquet", row_group_size=400)
    memory = bg.Model("count ~ x + g + old", data, family="poisson").fit("irls")
    sources = [parts, str(tmp_path / "one.parquet"), dataset.dataset(parts), bg.Chunks(parts, rows=50)]
    for source in sources:
        assert_same(memory, bg.Model("count ~ x + g + old", source, family="poisson").fit("irls"))


def test_parquet_files_of_different_types(tmp_path: Path) -> None:
    """Whole numbers here, fractions there, and a name that looks like a field of another."""
    data = whole().rename(columns={"z": "x.z"})
    data["time"] = (10 * data["time"]).round()
    parts = tmp_path / "parts"
    parts.mkdir()
    for k, piece in enumerate(chunks(data)):
        typed = piece.astype({"time": int}) if k % 2 else piece
        typed.to_parquet(parts / f"part-{k}.parquet", row_group_size=150)
    assert_same(*both("count ~ x + time + g + `x.z`", data, parts, family="poisson"))


def test_columns_of_a_file_are_read_as_from_a_frame() -> None:
    frame = pd.DataFrame({"f": np.array([0.5, 1.5, np.nan], dtype=np.float32), "t": ["a", "b", "a"]})
    columns = {name: frame[name].array for name in frame} | {"n": np.arange(3)}
    batch = Table(ColumnBatch(columns, pd.RangeIndex(5, 8)))
    np.testing.assert_equal(batch.read("f"), Table(frame).read("f"))
    assert batch.read("t").levels == ("a", "b")
    assert batch.read("n").dtype == np.float64
    assert batch.column("t").index.tolist() == [5, 6, 7]
    with pytest.raises(bg.DataError, match="Did you mean n"):
        batch.read("N")


def test_partitioned_parquet(tmp_path: Path) -> None:
    data = whole()
    data.to_parquet(tmp_path / "by", partition_cols=["vet"])
    ordered = data.sort_values("vet", kind="stable")
    assert_same(*both("count ~ x + vet", ordered, tmp_path / "by", family="poisson"))


def test_polars_and_pyarrow_tables_and_a_function() -> None:
    import polars as pl
    import pyarrow as pa

    data = whole()[["count", "x", "g"]]
    kinds = [pl.from_pandas, lambda d: pa.Table.from_pandas(d, preserve_index=False), lambda d: d.to_dict("list")]

    def mixed() -> Iterator[Any]:
        for k, piece in enumerate(chunks(data)):
            yield kinds[k % 3](piece)

    assert_same(*both("count ~ x + g", data, mixed, family="poisson"))


def test_dask_frame() -> None:
    dask = pytest.importorskip("dask.dataframe")
    data = whole()
    frame = dask.from_pandas(data, npartitions=5)
    assert_same(*both("count ~ x + g", data, frame, family="poisson"))


def test_many_rows_start_from_a_sample() -> None:
    rng = np.random.default_rng(8)
    n = 210_000
    data = pd.DataFrame({"x": rng.normal(size=n), "g": rng.choice(["a", "b"], n)})
    data["y"] = rng.poisson(np.exp(0.3 + 0.2 * data.x + 0.1 * (data.g == "b")))
    memory, streamed = both("y ~ x + g", data, chunks(data, 50_001), family="poisson")
    assert_same(memory, streamed)
    assert streamed.status.evaluations <= 5


def test_separation_is_named() -> None:
    data = pd.DataFrame({"x": np.arange(40.0), "y": (np.arange(40) >= 20).astype(float)})
    data.loc[:, "u"] = np.cos(np.arange(40.0))
    for source in (data, chunks(data, 7)):
        model = bg.Model("y ~ x + u", source, family="binomial")
        with (
            pytest.warns(bg.SeparationWarning, match=r"complete separation.*Intercept, x"),
            pytest.warns(bg.ConvergenceWarning),
        ):
            assert not model.fit("irls").status.converged


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "negative count": ("count ~ x", {}, r"In chunk 3: .*outside the support"),
    "infinite": ("amount ~ z", {"family": "gaussian"}, r"In chunk 2: 'z' is infinite in 1 row"),
    "weights": ("answer ~ vet", {"family": "binomial", "weights": "w"}, r"In chunk 4: weights must be positive"),
    "no column": ("count ~ nope", {}, r"In chunk 1: The table has no column 'nope'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named_with_their_chunk(name: str) -> None:
    formula, options, message = BAD[name]
    data = whole()
    data.loc[2 * CHUNK + 5, "count"] = -1
    data.loc[CHUNK + 5, "z"] = np.inf
    data.loc[3 * CHUNK + 5, "w"] = 0.0
    with pytest.raises(bg.DataError, match=message):
        bg.Model(formula, chunks(data), **({"family": "poisson"} | options))


REFUSED: dict[str, tuple[str, str]] = {
    "quantile knots": ("count ~ bs(x, df=6)", r"Give the knots"),
    "nested": ("count ~ poly(scale(x), 2)", r"second pass"),
    "compared": ("count ~ I(center(x) > 0)", r"second pass"),
    "constraint": ("count ~ cr(x, knots=[50], constraints='center')", r"Leave constraints= out"),
    "random": ("count ~ x + (1 | g)", r"all rows in memory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_pass_cannot_settle_is_refused(name: str) -> None:
    formula, message = REFUSED[name]
    with pytest.raises(bg.FormulaError, match=message):
        bg.Model(formula, chunks(whole()), family="poisson")


def test_refused_sources() -> None:
    pieces = chunks(whole())
    with pytest.raises(bg.DataError, match="read once only"):
        bg.Model("count ~ x", iter(pieces), family="poisson")
    with pytest.raises(bg.DataError, match="no file or directory"):
        bg.Model("count ~ x", "nowhere.parquet", family="poisson")
    with pytest.raises(bg.DataError, match="name of a column, or a number"):
        bg.Model("count ~ x", pieces, family="poisson", weights=np.ones(ROWS))
    constant = [piece.assign(count=3) for piece in pieces]
    with pytest.raises(bg.DataError, match="is constant: 3"):
        bg.Model("count ~ x", constant, family="poisson")


def test_what_needs_all_rows_says_so() -> None:
    model = bg.Model("count ~ x + g", chunks(whole()), family="poisson")
    fit = model.fit("irls")
    assert model.methods == ("irls",)
    for ask in (fit.residuals, fit.influence, fit.predict, fit.plot_diagnostics, model.to_pymc):
        with pytest.raises(bg.MethodError, match=r"every row in memory.*come in chunks"):
            ask()
    with pytest.raises(bg.MethodError, match="needs all rows in memory"):
        model.fit("laplace")
    with pytest.raises(bg.MethodError, match="huber"):
        bg.Model("amount ~ x", chunks(whole()), family="gaussian").fit("irls", scale="huber")


MEMORY = """
import json, resource, sys, threading, time
import bayesglmm as bg

def resident():
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * resource.getpagesize()

def model(path):
    return bg.Model("y ~ a + b + c + d", bg.Chunks(path, rows=16_384), family="poisson").fit("irls", cov="HC0")

model(sys.argv[1])
before = peak = resident()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())
thread = threading.Thread(target=watch)
thread.start()
fit = model(sys.argv[2])
done.set()
thread.join()
print(json.dumps({"added": peak - before, "rows": fit.nobs}))
"""


def test_memory_is_that_of_a_chunk(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(4)
    rows, group = 1_500_000, 50_000
    for name, groups in (("small", 4), ("large", rows // group)):
        writer = None
        for _ in range(groups):
            columns = {c: rng.normal(size=group) for c in "abcd"}
            columns["y"] = rng.poisson(1.0, group)
            part = pa.table(columns)
            writer = writer or pq.ParquetWriter(tmp_path / f"{name}.parquet", part.schema)
            writer.write_table(part)
        assert writer is not None
        writer.close()
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "small.parquet"), str(tmp_path / "large.parquet")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["rows"] == rows
    assert figures["added"] < 0.3 * rows * 2 * 5 * 8  # of the columns and the design in memory
