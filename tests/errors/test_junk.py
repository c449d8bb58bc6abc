"""Every argument of every public call, given something that it cannot be: one clear error, never one of numpy's.

An array of the wrong shape, an object of no known kind and a not-a-number stand for all junk: comparing an array with a
word, or hashing a list, is what breaks checks that were written with texts in mind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

JUNK: dict[str, Any] = {"array": np.zeros((2, 3)), "object": object(), "NA": pd.NA, "list": [3]}
TRUTH = {"Intercept": 1.0, "x": 0.1, "g.sd": 0.5}
MODELS = Path(__file__).parents[2] / "models"


@functools.cache
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    counts, x, r = rng.poisson(3.0, 24), rng.normal(size=24), rng.normal(size=24)
    return pd.DataFrame({"y": counts, "x": x, "g": np.repeat(list("abcdef"), 4), "h": np.tile(list("wxyz"), 6), "r": r})


@functools.cache
def model(formula: str = "y ~ x + (1 | g)", family: str = "poisson", priors: str = "default") -> Any:
    return bg.Model(formula, table(), family, priors=priors)


@functools.cache
def fit(method: str) -> Any:
    if method == "irls":
        return model("y ~ x + h").fit("irls")
    if method == "reml":
        return model("r ~ x + h + (1 | g)", "gaussian", "flat").fit("reml")
    return model().fit(method, draws=50, seed=1)


@functools.cache
def results() -> dict[str, Any]:
    return {
        "comparison": bg.compare(model(), ["pql", "laplace"], reference="laplace"),
        "bootstrap": bg.bootstrap(model("y ~ h").fit("irls"), 5, seed=1),
        "study": bg.Study(model(), TRUTH, ["pql"], 2).run(workers=1),
        "posterior": bg.variance_posterior(model("r ~ x + (1 | g)", "gaussian")),
    }


def given(name: str) -> Callable[..., Any]:
    """A call on something that is made when it is needed: ``irls.emmeans``, ``comparison.plot``, ``model.fit``."""
    first, *rest = name.split(".")
    owner = bg if first == "bg" else model() if first == "model" else None
    if owner is None:
        owner = fit(first) if first in ("irls", "reml", "laplace") else results()[first]
    return functools.reduce(getattr, rest, owner)


# the call, its arguments, and those of them that junk is put in
CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("bg.Model", {"formula": "y ~ x + (1 | g)", "family": "poisson"}, "formula family link covariance about defaults"),
    ("bg.Model", {"formula": "y ~ x", "family": "poisson"}, "weights offset exposure dispersion zi errors"),
    ("model.fit", {}, "method"),
    ("model.fit", {"method": "laplace"}, "kernel draws seed check"),
    ("model.fit", {"method": "agq"}, "prune kernel draws seed check"),
    ("model.fit", {"method": "inla"}, "strategy integration kernel draws seed"),
    ("model.fit", {"method": "laplace+psis"}, "kernel draws seed proposals"),
    ("model.fit", {"method": "pql"}, "reml scale order max_iterations"),
    ("model.fit", {"method": "mql"}, "reml scale order max_iterations"),
    ("model.loglik", {"params": TRUTH}, "params method order kernel"),
    ("model.to_pymc", {"marginalize": True}, "method"),
    ("model.prior_predictive", {}, "draws seed"),
    ("laplace.predict", {}, "newdata kind level ci draws seed"),
    ("laplace.predict", {"kind": "response"}, "draws seed level"),
    ("laplace.average_effects", {}, "variables compare by level ci"),
    ("laplace.residuals", {}, "kind"),
    ("laplace.residuals", {"kind": "quantile"}, "seed predictive"),
    ("laplace.residuals", {"kind": "quantile", "predictive": True}, "seed draws level"),
    ("laplace.confint", {}, "method level parameters simultaneous"),
    ("laplace.marginal", {}, "name"),
    ("laplace.posterior_predictive", {}, "draws seed level"),
    ("laplace.predictive_tree", {}, "draws seed level"),
    ("laplace.ppc_statistics", {"draws": 20}, "statistics level draws seed"),
    ("laplace.sensitivity", {}, "threshold"),
    ("laplace.refine", {}, "to draws seed proposals"),
    ("laplace.loo", {}, "unit nodes draws moment_match seed"),
    ("laplace.waic", {}, "unit nodes draws seed"),
    ("laplace.evidence", {}, "draws seed"),
    ("laplace.check", {}, "draws seed"),
    ("laplace.loo_pit", {}, "draws seed"),
    ("laplace.icc", {}, "approximation mean null level"),
    ("laplace.r2", {}, "approximation mean null"),
    ("laplace.score_test", {"larger": "(1 | h)"}, "larger simulations seed"),
    ("laplace.plot_ppc", {}, "draws seed kind level statistics"),
    ("laplace.plot_loo_pit", {}, "draws seed coverage"),
    ("laplace.save", {}, "path"),
    ("irls.test", {"hypothesis": "x = 0"}, "hypothesis df"),
    ("irls.wald_ellipsoid", {}, "parameters level"),
    ("irls.estimable", {}, "functions"),
    ("irls.emmeans", {"factors": "h"}, "factors at type df level weights offset"),
    ("irls.contrasts", {"factors": "h"}, "factors at adjust type df level weights offset"),
    ("irls.qaic", {}, "parent"),
    ("irls.qic_at", {}, "scale"),
    ("irls.checks.shapiro_wilk", {}, "kind"),
    ("reml.mme", {}, "params"),
    ("reml.beta_posterior", {}, "sigma level"),
    ("reml.variance_posterior", {}, "grid"),
    ("comparison.plot", {}, "kind parameters"),
    ("comparison.report", {}, "path"),
    ("bootstrap.confint", {}, "method level"),
    ("study.plot", {}, "kind"),
    ("study.report", {}, "folder"),
    ("posterior.marginal", {}, "name"),
    ("posterior.quantile", {"name": "g.sd", "q": 0.5}, "name q"),
    ("posterior.summary", {}, "level"),
    ("bg.load_fit", {}, "path"),
    ("bg.load_model", {}, "path"),
    ("bg.load_study", {"path": MODELS / "breslow_clayton_d1.toml"}, "path replicates seed methods options"),
    ("bg.Prior", {"name": "Normal", "mu": 0, "sigma": 1}, "name on mu sigma"),
    ("bg.WorkingCorrelation", {}, "convention"),
    ("bg.families.NegativeBinomial", {}, "theta"),
    ("bg.families.QuasiNegativeBinomial", {}, "theta"),
    ("bg.families.Tweedie", {}, "power"),
    ("bg.families.StudentT", {}, "nu"),
    ("bg.families.Cumulative", {}, "levels"),
    ("bg.families.Quasi", {}, "link mean_range"),
    ("bg.families.get_family", {}, "family"),
    ("bg.Family.from_pymc", {"name": "a", "builder": lambda mu: None}, "name builder link auxiliaries"),
]


def more() -> dict[str, tuple[Callable[..., Any], str]]:
    """Calls whose arguments have to be made: the call as a function of one of them."""
    data, lines = table(), ["w", "x", "y", "z"]
    pedigree = pd.DataFrame({"i": [1, 2, 3], "s": [None, None, 1], "d": [None, None, 2]})
    columns = {"id": "i", "sire": "s", "dam": "d"}
    plain = model("y ~ x")
    errors = functools.partial(bg.Model, "r ~ x", data)
    run = bg.Study(model(), TRUTH, ["pql"], 1).run

    def known(**changes: Any) -> Any:
        matrix = bg.Known(**{"K": np.eye(4), "levels": lines, **changes})
        return bg.Model("y ~ x + (1 | h)", data, "poisson", covariance={"h": matrix})

    def study(**changes: Any) -> Any:
        return bg.Study(**{"model": model(), "truth": TRUTH, "methods": ["pql"], "replicates": 1, **changes})

    def sbc(**changes: Any) -> Any:
        return bg.sbc(**{"model": model(), "methods": "laplace", "replicates": 1, "draws": 9, "workers": 1, **changes})

    def compare(**changes: Any) -> Any:
        return bg.compare(**{"model": model(), "methods": ["pql"], "reference": "laplace", **changes})

    return {
        "irls": (functools.partial(plain.fit, "irls"), "scale cov max_iterations tolerance penalty start executor"),
        "gee": (
            lambda **k: plain.fit("gee", **{"groups": "g", **k}),
            "groups corr time scale cov df convention max_iterations tolerance start",
        ),
        "reml": (functools.partial(model("r ~ x + (1 | g)", "gaussian").fit, "reml"), "df"),
        "errors": (lambda **k: errors(errors=bg.AR1Errors(**{"group": "g", **k})).fit("reml"), "group time"),
        "known": (known, "K levels"),
        "pedigree": (lambda **k: bg.pedigree(pedigree, **{**columns, **k}), "id sire dam"),
        "chunks": (lambda **k: bg.Model("y ~ x", bg.Chunks(**{"source": [data], **k}), "poisson").fit(), "source rows"),
        "study": (study, "model truth methods replicates seed options ranks"),
        "run": (lambda **k: run(**{"workers": 1, "path": None, **k}), "path executor workers progress"),
        "sbc": (sbc, "model methods replicates draws seed options path executor workers progress"),
        "compare": (compare, "model methods reference fits seed options progress executor"),
        "anova": (lambda **k: bg.anova(fit("irls"), **k), "test kind df"),
        "bootstrap": (
            lambda **k: bg.bootstrap(**{"fit": fit("irls"), "replicates": 2, **k}),
            "fit replicates alternative seed executor progress",
        ),
        "ems": (bg.ems, "model"),
    }


def cases() -> Iterator[Any]:
    for name, arguments, parameters in CALLS:
        for parameter in parameters.split():
            yield pytest.param(name, arguments, parameter, id=f"{name}-{parameter}")
    for name, (_, parameters) in more().items():
        for parameter in parameters.split():
            yield pytest.param(f"more.{name}", {}, parameter, id=f"{name}-{parameter}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "arguments", "parameter"), list(cases()))
def test_junk_is_refused_by_name(
    name: str, arguments: dict[str, Any], parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = more()[name.removeprefix("more.")][0] if name.startswith("more.") else given(name)
    if name == "bg.Model":
        arguments = {"data": table(), **arguments}
    for junk in JUNK.values():
        with pytest.raises(bg.BayesGLMMError) as caught:
            call(**{**arguments, parameter: junk})
        assert 15 < len(str(caught.value)) < 600
