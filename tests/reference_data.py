"""Read the data sets and the trusted fits that tests compare against."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
DATA = HERE.parent / "models" / "data"


@cache
def reference(name: str) -> dict[str, Any]:
    """The whole reference file of a data set."""
    return json.loads((HERE / "reference" / "fits" / f"{name}.json").read_text())


@cache
def published() -> dict[str, Any]:
    """Numbers printed in the literature."""
    return tomllib.loads((HERE / "reference" / "published.toml").read_text())


@cache
def _frame(name: str) -> pd.DataFrame:
    columns = reference(name)["columns"]
    path = next(p for p in (DATA / f"{name}.csv", DATA / f"{name}.csv.gz") if p.exists())
    factors = {c: str for c, info in columns.items() if info["type"] == "factor"}
    data = pd.read_csv(
        path, dtype=factors, keep_default_na=False, na_values={c: ["NA"] for c in columns if c not in factors}
    )
    for column in factors:
        levels = [str(v) for v in columns[column]["levels"]]
        if len(levels) != columns[column]["nlevels"]:  # the reference lists only the first hundred levels
            levels = list(dict.fromkeys(data[column]))
        data[column] = pd.Categorical(data[column], categories=levels)
    return data


def frame(name: str) -> pd.DataFrame:
    """A data set with its factors in the reference's level order (a fresh copy)."""
    return _frame(name).copy()


def fit(name: str, id: str) -> dict[str, Any]:
    """One reference fit by its id."""
    return next(f for f in reference(name)["fits"] if f["id"] == id)


def fits(name: str, *methods: str) -> list[dict[str, Any]]:
    """All reference fits of a data set with one of the given methods."""
    return [f for f in reference(name)["fits"] if f["method"] in methods]


def coefficient_name(column: str) -> str:
    """R's name of one of our coefficients: ``period[T.2]`` → ``period2``, ``Intercept`` → ``(Intercept)``."""
    return "(Intercept)" if column == "Intercept" else column.replace("[T.", "").replace("[", "").replace("]", "")
