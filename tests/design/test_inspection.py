"""Rows kept for starting values are evenly spaced, however the data are cut; numbers are bound without formulaic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesglmm.design import build_design
from bayesglmm.design import inspection as module
from bayesglmm.design.columns import Table
from bayesglmm.design.inspection import Inspection
from bayesglmm.design.matrix import bind_matrix, build_matrix
from bayesglmm.design.rows import read_rows


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
    np.testing.assert_allclose(seen.gram, design.X.T @ design.X, rtol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("right", ["x + z", "0 + x:z + z", "log(x) + I(x**2):z", "scale(x) + center(z)", "poly(x, 2)"])
def test_binding_is_building(right: str, order: str) -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"x": rng.random(9000) + 0.1, "z": rng.normal(size=9000)})
    data["y"] = rng.normal(size=9000)
    design = build_design(f"y ~ {right}", data)
    table = Table(data.iloc[:5000])
    rows = read_rows(table, ["x", "z"], (), {})
    spec = design.binding.spec
    bound = bind_matrix(design.formula.terms, rows.columns, rows.index, spec, order)
    built = build_matrix(design.formula.terms, rows.columns, rows.index, spec)[0]
    assert np.array_equal(bound, built)
    assert np.array_equal(bound, design.X[:5000])
