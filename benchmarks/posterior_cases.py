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


def independent(model: bg.Model) -> dict[str, bg.Prior]:
    """Priors of Intercepts themselves, independent of the slopes, that are as wide as the default priors imply.

    The references were sampled under these: where the height of a line at the means of its columns is Normal(m, s) and
    slopes are Normal(0, s_j), the Intercept has an sd of √(s² + Σ (x̄_j s_j)²).
    """
    priors = model.problem.priors
    assert priors is not None
    own = {name: dict(prior.params) for name, prior in priors.items()}
    out = {}
    lines = ((priors.columns, priors.heights), (priors.auxiliary_names, priors.auxiliary_heights))
    for names, height in ((names, height) for names, heights in lines for height in heights):
        name = names[height.index]
        tilt = [mean * own[slope]["sigma"] for slope, mean in zip(names, height.means) if mean]
        sigma = float(np.hypot(own[name]["sigma"], np.linalg.norm(tilt)))
        out[name] = bg.Prior("Normal", mu=own[name]["mu"], sigma=sigma)
    return out


def _case(make: Callable[..., bg.Model]) -> Callable[[], bg.Model]:
    return lambda: make(priors=independent(make()) or "default")


def _shipped(name: str) -> Callable[[], bg.Model]:
    return _case(lambda priors=None: bg.load_model(MODELS / f"{name}.toml", priors=priors))


def _of_table(table: str, formula: str, family: str, link: str | None = None) -> Callable[[], bg.Model]:
    data = MODELS / "data" / f"{table}.csv"
    return _case(lambda priors="default": bg.Model(formula, pd.read_csv(data), family, link=link, priors=priors))


#: Name → the model, all priors the default ones but those of Intercepts. What each is there for stands behind it.
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
