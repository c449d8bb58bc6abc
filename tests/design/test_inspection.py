"""Rows kept for starting values are evenly spaced, however the data are cut; numbers are bound without formulaic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesglmm.design import build_design
from bayesglmm.design import inspection as module
from bayesglmm.design.inspection import Inspection
from bayesglmm.design.matrix import bind_columns, bind_matrix, build_matrix
from bayesglmm.design.rank import clearly_independent
from bayesglmm.design.rows import read_rows
from bayesglmm.design.tables import Table


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_sample(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "SAMPLE_ROWS", 20)
    monkeypatch.setattr(module, "SAMPLE_ROWS_PER_COLUMN", 1)
    monkeypatch.setattr(module, "CHUNK_VALUES", 1)
    data = pd.DataFrame({"x": np.arange(1000.0), "y": np.arange(1000.0)})
    design = build_design("y ~ x", data)
    seen = Inspection(design, lambda response: None)
    for start in range(0, 1000, size):
        seen.look(data.iloc[start : start + size])
    y = seen.sample.response.y
    assert 20 <= len(y) <= 40
    assert np.ptp(np.diff(y)) == 0
    assert y[0] == 0
    assert sorted(seen.extremes.y) == [0.0, 999.0]
    assert seen.independent


@pytest.mark.parametrize("right", ["x + z", "0 + x:z + z", "log(x) + I(x**2):z", "scale(x) + center(z)", "poly(x, 2)"])
def test_binding_is_building(right: str) -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"x": rng.random(9000) + 0.1, "z": rng.normal(size=9000)})
    data["y"] = rng.normal(size=9000)
    design = build_design(f"y ~ {right}", data)
    table = Table(data.iloc[:5000])
    rows = read_rows(table, ["x", "z"], (), {})
    spec = design.binding.spec
    parts = (design.formula.terms, rows.columns, rows.index, spec)
    bound, built = bind_matrix(*parts), build_matrix(*parts)[0]
    assert np.array_equal(bound, built)
    assert np.array_equal(bound, design.X[:5000])
    apart = bind_columns(*parts)
    assert (apart is None) == ("poly" in right)  # what gives several columns is left to formulaic
    if apart is not None:
        assert np.array_equal(np.column_stack(apart), bound)
        assert all(column.flags.c_contiguous for column in apart)


def test_some_rows_and_all_lengths_tell_independent_columns() -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(4000, 3))
    lengths = np.sqrt(np.sum(X * X, axis=0))
    few = X[::40]
    assert clearly_independent(few.T @ few, lengths)
    X[7, 2] = 1e9  # beside this row what the others show of the column is nothing
    assert not clearly_independent(few.T @ few, np.sqrt(np.sum(X * X, axis=0)))
    assert clearly_independent(few.T @ few)
