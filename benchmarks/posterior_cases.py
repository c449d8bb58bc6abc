"""Models on which approximate posteriors are held against long NUTS runs, and the summaries of those runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import bayesglmm as bg

HERE = Path(__file__).parent
MODELS = HERE.parent / "models"
REFERENCES = HERE / "references"

#: Quantiles that are kept.
PROBABILITIES = (0.025, 0.25, 0.5, 0.75, 0.975)


def _shipped(name: str) -> Callable[[], bg.Model]:
    return lambda: bg.load_model(MODELS / f"{name}.toml")


def _of_table(table: str, formula: str, family: str, link: str | None = None) -> Callable[[], bg.Model]:
    return lambda: bg.Model(formula, pd.read_csv(MODELS / "data" / f"{table}.csv"), family, link=link)


#: Name → the model under its default priors. What each is there for stands behind it.
CASES: dict[str, Callable[[], bg.Model]] = {
    "seeds": _shipped("seeds"),  # 21 binomial rows, one random effect each: the variance is hardly identified
    "cbpp": _shipped("cbpp"),  # small binomial clusters
    "ohio": _shipped("ohio"),  # 537 children with four binary answers each: Laplace's hardest ordinary case
    "contraception": _shipped("contraception"),  # binary, clusters of two to 118
    "contraception_slope": _shipped("contraception_slope"),  # a correlated slope
    "shun1995": _shipped("shun1995"),  # crossed binary, 10 by 10
    "epilepsy": _shipped("epilepsy"),  # overdispersed Poisson: an effect per subject and one per row
    "grouseticks": _shipped("grouseticks"),  # overdispersed Poisson, three factors
    "salamanders": _shipped("salamanders"),  # zero-inflated Poisson with a linear predictor of the zeros
    "owls": _shipped("owls"),  # zero-inflated NB1
    "epil_nb": _of_table("epil", "y ~ lbase * trt + lage + V4 + (1 | subject)", "negative_binomial"),
    "sleepstudy_gamma": _of_table("sleepstudy", "Reaction ~ Days + (1 | Subject)", "gamma", "log"),
    "sleepstudy": _shipped("sleepstudy"),  # gaussian with correlated slopes
}


def reference(name: str) -> dict | None:
    """The stored summary of a long NUTS run, or None when there is none."""
    path = REFERENCES / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def score(found: dict[str, tuple[float, float]], name: str) -> dict[str, float | str]:
    """Worst bias in reference sds, and the sd ratio furthest from one, over the parameters; worst bias of coefficients.

    Parameters
    ----------
    found : dict
        Parameter → (mean, sd).
    name : str
        Case whose stored reference to compare with.
    """
    truth = reference(name)
    assert truth is not None
    rows = truth["parameters"]
    bias = {k: (found[k][0] - rows[k]["mean"]) / rows[k]["sd"] for k in rows}
    ratio = {k: found[k][1] / rows[k]["sd"] for k in rows}
    worst = max(bias, key=lambda k: abs(bias[k]))
    widest = max(ratio, key=lambda k: abs(np.log(ratio[k])))
    fixed = max((abs(bias[k]) for k in rows if rows[k]["kind"] == "fixed"), default=0.0)
    return {
        "bias": bias[worst],
        "bias_of": worst,
        "sd_ratio": ratio[widest],
        "sd_ratio_of": widest,
        "fixed_bias": fixed,
    }
