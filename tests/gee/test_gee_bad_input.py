"""Bad input: one clear error each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from gee_cases import clustered, gee

import bayesglmm as bg

DATA = clustered("binomial", clusters=30)
N = len(DATA)
LONGEST = int(DATA.groupby("g").size().max())

CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"groups": None}, bg.MethodError, "gee needs to know the clusters"),
    ({"groups": "h"}, bg.DataError, "h"),
    ({"groups": np.zeros(N)}, bg.DataError, "single cluster"),
    ({"groups": DATA["g"][:-1].to_numpy()}, bg.DataError, f"{N - 1} labels for the {N} rows"),
    ({"groups": DATA["g"].where(DATA.index != 4)}, bg.DataError, "1 missing labels"),
    ({"time": np.zeros(N)}, bg.DataError, "time 0.0 is there twice in cluster"),
    ({"time": DATA["t"].where(DATA.index != 4)}, bg.DataError, "time has 1 missing values"),
    ({"time": DATA["t"][:-2].to_numpy()}, bg.DataError, "time has"),
    ({"time": DATA["t"].astype(float).where(DATA.index != 4, np.inf)}, bg.DataError, "infinite"),
    ({"corr": "exchangable"}, bg.MethodError, "Did you mean 'exchangeable'"),
    ({"corr": "exchangeable", "alpha": -0.4}, bg.MethodError, r"must lie between -0.25 and 1"),
    ({"corr": "ar1", "alpha": 1.0}, bg.MethodError, "must lie between -1 and 1"),
    ({"corr": "exchangeable", "alpha": [0.1, 0.2]}, bg.MethodError, "alpha has shape"),
    ({"corr": "independence", "alpha": 0.1}, bg.MethodError, "no parameter to hold"),
    (
        {"corr": "stationary", "m": LONGEST},
        bg.MethodError,
        f"m is {LONGEST}, and the longest cluster has {LONGEST} rows",
    ),
    ({"corr": "stationary", "m": 0}, bg.MethodError, "m is 0"),
    ({"corr": "stationary", "m": 1.5}, bg.MethodError, "whole number"),
    ({"corr": "ar1", "m": 2}, bg.MethodError, "order of corr='stationary'"),
    ({"corr": "fixed"}, bg.MethodError, "needs R="),
    ({"corr": "ar1", "R": np.eye(5)}, bg.MethodError, "R= is the matrix of corr='fixed'"),
    ({"corr": "fixed", "R": np.eye(LONGEST + 1)}, bg.MethodError, f"there are {LONGEST} occasions"),
    ({"corr": "fixed", "R": 2 * np.eye(LONGEST)}, bg.MethodError, "ones on its diagonal"),
    ({"corr": "fixed", "R": np.where(np.eye(LONGEST), 1.0, -0.9)}, bg.MethodError, "not positive definite"),
    ({"corr": "nested"}, bg.MethodError, "subgroups="),
    ({"corr": "ar1", "subgroups": "t"}, bg.MethodError, "no other corr does"),
    ({"corr": "nested", "subgroups": np.arange(N)}, bg.DataError, "no pair of rows within subgroups"),
    ({"corr": "nested", "subgroups": "g"}, bg.DataError, "no pair of rows between subgroups"),
    ({"cov": "HC3"}, bg.MethodError, "cov is 'HC3'"),
    ({"scale": "deviance"}, bg.MethodError, "scale is 'deviance'"),
    ({"scale": -1.0}, bg.MethodError, "scale is -1.0"),
    ({"df": "satterthwaite"}, bg.MethodError, "df is"),
    ({"convention": "sas"}, bg.MethodError, "convention is 'sas'"),
    ({"start": [1.0]}, bg.MethodError, "3 finite coefficients"),
]


@pytest.mark.parametrize(("options", "error", "words"), CASES, ids=[w for _, _, w in CASES])
def test_one_clear_error_each(options: dict[str, Any], error: type[Exception], words: str) -> None:
    model = bg.Model("y ~ x + z", DATA, "binomial")
    with pytest.raises(error, match=words):
        model.fit("gee", **{"groups": "g", **options})


def test_one_row_per_cluster_has_no_correlation() -> None:
    single = DATA.drop_duplicates("g")
    for corr in ("exchangeable", "ar1"):
        with pytest.raises(bg.DataError, match="every cluster has a single row"):
            gee("binomial", single, corr=corr)


def test_few_clusters() -> None:
    few = clustered("gaussian", clusters=4, seed=3, largest=6)
    with pytest.raises(bg.MethodError, match="jackknife over 4 clusters"):
        gee("gaussian", few, cov="jackknife")
    with pytest.raises(bg.MethodError, match="jackknife over 4 clusters"):
        gee("gaussian", few, cov="one-step-jackknife")
    three = few[few["g"] < 3]
    with pytest.raises(bg.MethodError, match="more clusters than coefficients"):
        gee("gaussian", three, corr="independence", df="clusters")


def test_an_infeasible_estimate_is_named() -> None:
    """Rows of pairs that are each other's opposites, and a larger cluster that cannot be so correlated."""
    rng = np.random.default_rng(3)
    half = rng.normal(size=40)
    y = np.concatenate([half, -half + 0.1 * rng.normal(size=40), rng.normal(size=5)])
    data = pd.DataFrame({"y": y, "x": rng.normal(size=85), "g": np.r_[np.arange(40), np.arange(40), np.full(5, 40)]})
    with pytest.raises(bg.ConvergenceError, match=r"exchangeable working correlation is not .* alpha is -0\.\d+"):
        bg.Model("y ~ x", data).fit("gee", groups="g")


def test_counts_with_more_variance_than_a_held_scale_have_a_correlation_all_the_same() -> None:
    fit = gee("poisson", clustered("poisson", clusters=300), scale="fixed")
    assert fit.status.converged
    assert 0.0 < fit.result.extras["alpha"]["alpha"] < 1.0


def test_models_it_does_not_take() -> None:
    crossed = bg.Model("y ~ x + (1 | g) + (1 | t)", DATA, "binomial")
    with pytest.raises(bg.MethodError, match="reads one grouping factor as the clusters"):
        crossed.fit("gee")
    with pytest.raises(bg.MethodError, match=r"name different clusters|leave one of them out"):
        bg.Model("y ~ x + (1 | g)", DATA, "binomial").fit("gee", groups="t")
    with pytest.raises(bg.MethodError, match="mean and variance alone"):
        bg.Model("v ~ x", DATA.assign(v=lambda d: 0.5 + 0.2 * np.tanh(d["x"])), "beta").fit("gee", groups="g")


def test_what_a_marginal_fit_does_not_have() -> None:
    fit = gee("binomial", DATA)
    for missing in ("loglik", "aic", "bic"):
        with pytest.raises(bg.MethodError, match="no likelihood"):
            getattr(fit, missing)
    with pytest.raises(bg.MethodError, match="no likelihood ratio"):
        bg.anova(fit, test="LR")
    with pytest.raises(bg.MethodError, match="for fits by 'gee'"):
        fit.model.fit("irls").correlation_diagnostics()


def test_separation_is_said() -> None:
    separated = DATA.assign(y=(DATA["x"] > 0).astype(int))
    with pytest.warns(bg.SeparationWarning), pytest.raises(bg.ConvergenceError, match="complete separation"):
        gee("binomial", separated, corr="exchangeable")
