"""A saved fit, loaded again, says the same; a damaged, altered or newer file is refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bayesglmm as bg
from bayesglmm.storage import file as storage_file
from bayesglmm.storage.tree import decode, encode

RNG = np.random.default_rng(20)


def table(n: int = 60) -> pd.DataFrame:
    g = np.repeat(np.arange(12), n // 12)
    x = RNG.normal(size=n)
    eta = 0.3 + 0.4 * x + RNG.normal(size=12)[g]
    return pd.DataFrame(
        {
            "count": RNG.poisson(np.exp(eta)),
            "y": eta + RNG.normal(size=n),
            "hit": RNG.random(n) < 0.5,
            "x": x,
            "f": pd.Categorical(np.tile(["low", "high", "mid"], n // 3), categories=["low", "mid", "high"]),
            "g": np.array([f"gruppe {k}" for k in g]),
            "year": 1990 + g,
            "w": RNG.uniform(0.5, 2.0, n),
            "when": pd.date_range("2020-01-01", periods=n),
        },
        index=pd.Index([f"row {i}" for i in range(n)], name="id"),
    )


DATA = table()

CASES = {
    "irls": ("count ~ x * f", {"family": "poisson"}, "irls", {}),
    "irls spline": ("y ~ bs(x, df=5) + poly(w, 2) + scale(x)", {"weights": "w"}, "irls", {"cov": "HC3"}),
    "irls cluster": ("count ~ x", {"family": "quasipoisson"}, "irls", {"cov": "cluster", "groups": "g"}),
    "irls profile": ("count ~ x", {"family": "negative_binomial"}, "irls", {}),
    "gee": ("hit ~ x + (1 | g)", {"family": "binomial"}, "gee", {"corr": "ar1", "time": "when"}),
    "reml": ("y ~ x + f + (1 + x | g)", {}, "reml", {"df": "satterthwaite"}),
    "pql": ("count ~ x + (1 | year)", {"family": "quasipoisson"}, "pql", {}),
    "laplace": ("count ~ x + (1 | g)", {"family": "poisson", "exposure": "w"}, "laplace", {"seed": 1}),
    "laplace own priors": (
        "count ~ x + (1 | g)",
        {"family": "poisson", "priors": {"x": bg.Prior("Normal", mu=0, sigma=0.5)}},
        "laplace",
        {"draws": 50, "seed": 1},
    ),
    "known": (
        "y ~ x + (1 | year)",
        {"covariance": {"year": bg.Known(np.eye(12) + 0.2, levels=[str(1990 + k) for k in range(12)])}},
        "ml",
        {},
    ),
    "agq": ("count ~ x + (1 | g)", {"family": "poisson", "priors": "flat"}, "agq", {"nodes": 7}),
    "dispersion model": ("y ~ x + (1 | g)", {"priors": "flat", "dispersion": "~ f"}, "laplace", {}),
    "array arguments": ("count ~ x", {"family": "poisson", "offset": DATA["w"].to_numpy() / 10}, "irls", {}),
}


def made(name: str) -> bg.Fit:
    formula, arguments, method, options = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGLMMWarning)
        return bg.Model(formula, DATA, **arguments).fit(method, **options)


def same(a: object, b: object) -> None:
    """Equal to the last bit."""
    x, y = [], []
    assert encode(a, x) == encode(b, y)
    assert len(x) == len(y)
    assert all(np.array_equal(p, q, equal_nan=True) for p, q in zip(x, y))


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_fit_says_the_same(name: str, tmp_path: Path) -> None:
    fit = made(name)
    again = bg.load_fit(fit.save(tmp_path / "fit.nc"))
    assert again.summary() == fit.summary()
    assert again._repr_html_() == fit._repr_html_()
    for kind in ("pearson", "deviance", "response"):
        assert np.array_equal(fit.residuals(kind), again.residuals(kind))
    pd.testing.assert_frame_equal(again.fixed, fit.fixed)
    pd.testing.assert_frame_equal(again.varcomp, fit.varcomp)
    pd.testing.assert_frame_equal(again.predict(), fit.predict())
    new = DATA.iloc[[3, 30]].copy()
    offset = {} if name != "array arguments" else {"offset": [0.1, 0.2]}
    pd.testing.assert_frame_equal(again.predict(new, **offset), fit.predict(new, **offset))
    if fit.result.method in ("laplace", "agq"):
        pd.testing.assert_frame_equal(again.confint(), fit.confint())
    marks = [k for k in fit.result.extras if k not in again.result.extras]
    assert marks == (["marginal"] if name == "gee" else [])


def test_in_a_fresh_process_without_the_data(tmp_path: Path) -> None:
    fit = made("laplace")
    path = fit.save(tmp_path / "fit.nc")
    code = (
        "import sys, bayesglmm as bg\n"
        "bg.Model.fit = None\n"  # nothing is fitted again
        "fit = bg.load_fit(sys.argv[1])\n"
        "print(fit.summary()); print(fit.predict()['estimate'].sum().hex()); print(fit.residuals().sum().hex())\n"
        "print('pymc' in sys.modules, 'pickle' in str(bg.load_fit.__code__.co_names))\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    total, residual = fit.predict()["estimate"].sum().hex(), fit.residuals().sum().hex()
    assert out == f"{fit.summary()}\n{total}\n{residual}\nFalse False\n"


def test_draws_and_their_labels_come_back(tmp_path: Path) -> None:
    fit = made("laplace own priors")
    again = bg.load_fit(fit.save(tmp_path / "fit.nc"))
    posterior, kept = (f.idata["posterior"].to_dataset() for f in (fit, again))
    assert posterior.identical(kept)


def test_loaded_fits_are_compared_without_fitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bg.Model("count ~ x + (1 | g)", DATA, family="poisson", priors="flat")
    fits = [model.fit("pql"), model.fit("laplace"), model.fit("agq")]
    fresh = bg.compare(model, ["pql", "laplace"], reference="agq")
    loaded = [bg.load_fit(f.save(tmp_path / f"{f.method}.nc")) for f in fits]
    monkeypatch.setattr(bg.Model, "fit", None)
    cmp = bg.compare(loaded[0].model, reference="agq", fits=loaded)
    drop = ["seconds", "speedup"]
    pd.testing.assert_frame_equal(cmp.table.drop(columns="seconds"), fresh.table.drop(columns="seconds"))
    pd.testing.assert_frame_equal(cmp.verdict.drop(columns=drop), fresh.verdict.drop(columns=drop))


def test_only_the_columns_in_use_are_stored(tmp_path: Path) -> None:
    again = bg.load_fit(made("gee").save(tmp_path / "fit.nc"))
    assert sorted(again.model.data.columns) == ["g", "hit", "when", "x"]


def test_a_brought_family_must_be_brought_again(tmp_path: Path) -> None:
    family = bg.families.Quasi(variance=lambda mu: mu**1.5, mean_range=(0.0, np.inf))
    fit = bg.Model("count ~ x", DATA, family=family, link="log").fit("irls")
    path = fit.save(tmp_path / "fit.nc")
    with pytest.raises(bg.SpecError, match=r"family 'quasi' was made of functions: give family="):
        bg.load_fit(path)
    with pytest.raises(bg.SpecError, match=r"family is 'quasi', and family= is 'poisson'"):
        bg.load_fit(path, family=bg.families.get_family("poisson"))
    assert bg.load_fit(path, family=family).summary() == fit.summary()


def test_rows_in_chunks_must_be_said_again(tmp_path: Path) -> None:
    chunks = [DATA.iloc[:30], DATA.iloc[30:]]
    fit = bg.Model("count ~ x + f", chunks, family="poisson").fit("irls")
    path = fit.save(tmp_path / "fit.nc")
    with pytest.raises(bg.SpecError, match="give data="):
        bg.load_fit(path)
    again = bg.load_fit(path, data=chunks)
    pd.testing.assert_frame_equal(again.predict(DATA), fit.predict(DATA))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bg.Fit]:
    fit = made("laplace")
    path = fit.save(tmp_path_factory.mktemp("saved") / "fit.nc")
    return path, path.read_bytes(), fit


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0.0, 1.0), flip=st.integers(1, 255))
def test_an_altered_byte_is_noticed_or_means_nothing(
    saved: tuple[Path, bytes, bg.Fit], tmp_path: Path, where: float, flip: int
) -> None:
    _, content, fit = saved
    changed = bytearray(content)
    changed[int(where * (len(content) - 1))] ^= flip
    path = tmp_path / "changed.nc"
    path.write_bytes(changed)
    try:
        again = bg.load_fit(path)
    except bg.SpecError:
        return
    # Blanks after the first line are the only bytes that nobody looks at.
    assert int(where * (len(content) - 1)) < storage_file.HEAD
    same(again.result, bg.load_fit(saved[0]).result)
    assert again.summary() == fit.summary()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: tuple[Path, bytes, bg.Fit], tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.nc"
    path.write_bytes(saved[1][: int(share * len(saved[1]))])
    with pytest.raises(bg.SpecError, match=r"cut off|not a saved fit"):
        bg.load_fit(path)


def rewritten(path: Path, content: bytes) -> h5py.File:
    path.write_bytes(content)
    return h5py.File(path, "r+")


def test_refusals_say_why(saved: tuple[Path, bytes, bg.Fit], tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    with pytest.raises(bg.SpecError, match="there is no file"):
        bg.load_fit(path)
    path.write_text("formula = 'y ~ x'")
    with pytest.raises(bg.SpecError, match="not a saved fit: fit"):
        bg.load_fit(path)
    with h5py.File(path, "w") as file:
        file["x"] = [1.0]
    with pytest.raises(bg.SpecError, match="not a saved fit: fit"):
        bg.load_fit(path)
    path.write_bytes(saved[1])
    storage_file.seal(path, storage_file.SCHEMA + 1)
    with pytest.raises(bg.SpecError, match=r"saved by bayesglmm .* in format 2; .* Install a newer"):
        bg.load_fit(path)
    with rewritten(path, saved[1]) as file:
        file["array_0"][0] += 1
    with pytest.raises(bg.SpecError, match="altered after it was saved"):
        bg.load_fit(path)


def forged(path: Path, content: bytes, change) -> Path:
    """A file with another manifest, sealed: what a stranger could send."""
    path.write_bytes(content)
    manifest, arrays = storage_file.read_file(path)
    change(manifest, arrays)
    storage_file.write_file(path, manifest, arrays)
    return path


FORGERIES = {
    "no model": lambda m, a: m.pop("model"),
    "unknown kind": lambda m, a: m["model"].update(family={"$": "object", "module": "os", "call": "system"}),
    "unknown record": lambda m, a: m["result"].update(record="Popen"),
    "unknown field": lambda m, a: m["result"]["fields"].update(shell=True),
    "array out of range": lambda m, a: m["result"]["fields"].update(beta={"$": "array", "at": 10**6, "shape": [2]}),
    "wrong shape": lambda m, a: m["result"]["fields"]["beta"].update(shape=[99]),
    "formula that calls": lambda m, a: m["model"].update(formula="count ~ __import__('os').system('x')"),
    "another column": lambda m, a: m["model"].update(formula="count ~ nothing"),
    "family of another world": lambda m, a: m["model"].update(
        family={"$": "dict", "keys": ["name", "options"], "items": ["evil", {"$": "dict", "keys": [], "items": []}]}
    ),
    "dtype of objects": lambda m, a: m["result"]["fields"]["beta"].update(dtype="object"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_runs_nothing(saved: tuple[Path, bytes, bg.Fit], tmp_path: Path, name: str) -> None:
    path = forged(tmp_path / "fit.nc", saved[1], FORGERIES[name])
    with pytest.raises(bg.SpecError):
        bg.load_fit(path)


def test_arrays_elsewhere_are_not_followed(saved: tuple[Path, bytes, bg.Fit], tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["array_0"] = [1.0]
    for link in (h5py.ExternalLink(str(other), "/array_0"), h5py.SoftLink("/array_1")):
        path = tmp_path / "fit.nc"
        with rewritten(path, saved[1]) as file:
            del file["array_0"]
            file["array_0"] = link
        storage_file.seal(path)
        with pytest.raises(bg.SpecError, match="not stored in the file itself"):
            bg.load_fit(path)


def test_a_small_file_cannot_ask_for_much_memory(saved: tuple[Path, bytes, bg.Fit], tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    with rewritten(path, saved[1]) as file:
        del file["array_0"]
        file.create_dataset("array_0", shape=(10**12,), dtype="f8")
    storage_file.seal(path)
    with pytest.raises(bg.SpecError, match="not a plain array"):
        bg.load_fit(path)


def test_saving_replaces_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    fit = made("irls")
    path = tmp_path / "fit.nc"
    for _ in range(2):
        fit.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.nc"]
    with pytest.raises(bg.SpecError, match="could not be written"):
        fit.save(tmp_path / "no folder" / "fit.nc")


def test_any_netcdf_reader_opens_it(saved: tuple[Path, bytes, bg.Fit]) -> None:
    import xarray as xr

    with xr.open_dataset(saved[0], engine="h5netcdf") as dataset:
        assert json.loads(dataset["manifest"].to_numpy().tobytes())["model"]["formula"] == "count ~ x + (1 | g)"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back_as_they_were(value: object) -> None:
    arrays: list[np.ndarray] = []
    there = json.loads(json.dumps(encode(value, arrays), allow_nan=False))
    assert decode(there, arrays) == value


COLUMNS = {
    "nullable": pd.array([1, None, 3], dtype="Int64"),
    "text": pd.Series(["b", None, "a"], dtype="str"),
    "objects": np.array([1, "a", 2.5], dtype=object),
    "decimals": np.array([__import__("decimal").Decimal("1.5")] * 3, dtype=object),
    "big-endian": np.array([1.0, 2.0, np.nan], dtype=">f8"),
    "dates": np.array(["2020-01-01", "2021-05-05", "NaT"], dtype="datetime64[s]"),
    "with a zone": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
    "ordered": pd.Categorical(["b", "a", None], categories=["c", "b", "a"], ordered=True),
    "years": pd.Categorical([2001, 1999, 2001]),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("index", [None, ["p", "q", "q"], pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])])
def test_columns_are_read_alike(name: str, index: object) -> None:
    frame = pd.DataFrame({"c": pd.Series(COLUMNS[name])})
    if index is not None:
        frame.index = pd.Index(index)
    arrays: list[np.ndarray] = []
    again = decode(json.loads(json.dumps(encode(frame, arrays))), arrays)
    assert again.index.equals(frame.index)
    # As values: the reader of columns takes both for the same.
    assert again["c"].isna().tolist() == frame["c"].isna().tolist()
    assert [str(v) for v in again["c"].dropna()] == [
        str(float(v)) if name == "nullable" else str(v) for v in frame["c"].dropna()
    ]
    if isinstance(frame["c"].dtype, pd.CategoricalDtype):
        assert again["c"].dtype.categories.tolist() == frame["c"].dtype.categories.tolist()
        assert again["c"].dtype.ordered == frame["c"].dtype.ordered
