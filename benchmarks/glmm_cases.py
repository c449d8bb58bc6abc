"""The models of the GLMM benchmark: shipped data sets and simulated large ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).parent.parent / "models" / "data"


@dataclass(frozen=True)
class Case:
    """One model to be timed.

    Parameters
    ----------
    name : str
        Label.
    table : callable
        Makes the data.
    formula, r_formula : str
        Ours, and the same for R.
    family : str
        Ours; R's family expression follows from it.
    factors : tuple of str
        Columns to be read as labels.
    large : bool
        Takes minutes in some peer; only run when asked for.
    """

    name: str
    table: Callable[[], pd.DataFrame]
    formula: str
    family: str
    factors: tuple[str, ...]
    r_formula: str = ""
    large: bool = False


def _shipped(name: str, factors: tuple[str, ...]) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        path = next(p for p in (DATA / f"{name}.csv", DATA / f"{name}.csv.gz") if p.exists())
        data = pd.read_csv(path, dtype=dict.fromkeys(factors, str), keep_default_na=False)
        return data.assign(**{f: pd.Categorical(data[f]) for f in factors})

    return read


def poisson(rows: int = 1_000_000, levels: int = 100_000) -> pd.DataFrame:
    """One grouping factor, Poisson counts."""
    rng = np.random.default_rng(1)
    g = rng.integers(levels, size=rows)
    x = rng.normal(size=rows)
    eta = 0.2 + 0.3 * x + 0.6 * rng.normal(size=levels)[g]
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "g": g})


def crossed(rows: int = 1_000_000, first: int = 50_000, second: int = 5_000) -> pd.DataFrame:
    """Two crossed factors, binary response."""
    rng = np.random.default_rng(2)
    a, b = rng.integers(first, size=rows), rng.integers(second, size=rows)
    x = rng.normal(size=rows)
    eta = -0.3 + 0.5 * x + 0.7 * rng.normal(size=first)[a] + 0.5 * rng.normal(size=second)[b]
    return pd.DataFrame({"y": (rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(int), "x": x, "a": a, "b": b})


_INSTEVAL = ("s", "d", "dept", "service")

CASES = {
    c.name: c
    for c in (
        Case(
            "cbpp",
            _shipped("cbpp", ("herd", "period")),
            "p(incidence, size) ~ period + (1 | herd)",
            "binomial",
            ("herd", "period"),
            "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        ),
        Case(
            "grouseticks",
            _shipped("grouseticks", ("YEAR", "BROOD", "INDEX", "LOCATION")),
            "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
            "poisson",
            ("YEAR", "BROOD", "INDEX", "LOCATION"),
        ),
        Case(
            "verbagg",
            _shipped("verbagg", ("id", "item", "Gender", "btype", "situ", "r2")),
            "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
            "binomial",
            ("id", "item", "Gender", "btype", "situ", "r2"),
        ),
        Case(
            "contraception",
            _shipped("contraception", ("district", "urban", "livch", "use")),
            "use ~ age + urban + livch + (1 | district)",
            "binomial",
            ("district", "urban", "livch", "use"),
        ),
        Case(
            "contraception-slope",
            _shipped("contraception", ("district", "urban", "livch", "use")),
            "use ~ age + urban + livch + (1 + urban | district)",
            "binomial",
            ("district", "urban", "livch", "use"),
        ),
        Case(
            "epilepsy",
            _shipped("epil", ("subject", "obs", "trt")),
            "y ~ lbase*trt + lage + V4 + (1 | subject) + (1 | obs)",
            "poisson",
            ("subject", "obs", "trt"),
        ),
        Case(
            "salamanders-nb2",
            _shipped("salamanders", ("site", "spp", "mined")),
            "count ~ spp*mined + (1 | site)",
            "negative_binomial",
            ("site", "spp", "mined"),
        ),
        Case(
            "insteval-lmm",
            _shipped("insteval", _INSTEVAL),
            "y ~ service + (1 | s) + (1 | d)",
            "gaussian",
            _INSTEVAL,
        ),
        Case(
            "insteval-binary",
            _shipped("insteval", _INSTEVAL),
            "y4 ~ service + (1 | s) + (1 | d)",
            "binomial",
            _INSTEVAL,
            large=True,
        ),
        Case("poisson-1e6-1e5", poisson, "y ~ x + (1 | g)", "poisson", ("g",), large=True),
        Case("crossed-1e6", crossed, "y ~ x + (1 | a) + (1 | b)", "binomial", ("a", "b"), large=True),
    )
}
