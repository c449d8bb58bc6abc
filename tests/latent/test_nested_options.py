"""What nested Laplace refuses, chooses and says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_data import frame

import bayesglmm as bg
from bayesglmm.errors import MethodError, SpecError
from bayesglmm.latent.nested_laplace.fit import hyper_target
from bayesglmm.latent.nested_laplace.strategy import choose

P = bg.Prior


def cbpp(**arguments: object) -> bg.Model:
    data = frame("cbpp").astype({"herd": str, "period": str})
    return bg.Model("p(incidence, size) ~ period + (1 | herd)", data, family="binomial", **arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "skew"}, "strategy is 'skew'; expected one of 'auto', 'laplace'"),
        ({"integration": "qmc"}, "integration is 'qmc'; expected one of"),
        ({"strategy": "simplified", "nodes": 9}, "nodes=9 is for strategy='laplace'"),
        ({"nodes": 0}, "nodes"),
    ],
)
def test_options_are_checked(options: dict, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        cbpp().fit("inla", **options)


def test_a_grid_is_for_few_hyperparameters() -> None:
    model = bg.Model("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy").astype({"Subject": str}))
    with pytest.raises(MethodError, match="at most 3 hyperparameters, and the model has 4"):
        model.fit("inla", integration="grid")


def test_a_prior_with_a_corner_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="Laplace prior of a coefficient"):
        cbpp(priors={"period[T.2]": P("Laplace", mu=0, b=1)}).fit("inla")


def test_a_quasi_family_has_other_methods() -> None:
    data = pd.DataFrame({"y": [1.0, 2, 3, 4], "g": list("aabb")})
    with pytest.raises(MethodError, match="needs a likelihood"):
        bg.Model("y ~ 1 + (1 | g)", data, family="quasipoisson").fit("inla")


def test_flat_priors_have_a_posterior_but_no_evidence() -> None:
    fit = cbpp(priors="flat").fit("inla")
    assert any("flat priors" in note for note in fit.status.notes)
    with pytest.raises(MethodError, match="under flat ones"):
        _ = fit.log_evidence
    # The likelihood's own width, not a prior's: a posterior mean above the maximum, for a variance near zero.
    ml = cbpp(priors="flat").fit("laplace")
    assert fit.varcomp["sd"][0] > ml.varcomp["sd"][0]
    partly = cbpp(priors={"Intercept": P("Flat")}).fit("inla")
    with pytest.raises(MethodError, match="under proper priors"):
        _ = partly.log_evidence


def test_evidence_and_densities_of_other_methods() -> None:
    fit = cbpp().fit("laplace")
    with pytest.raises(MethodError, match="this fit is by 'laplace'"):
        _ = fit.log_evidence
    curve = fit.marginal("herd.sd")
    assert np.trapezoid(curve["density"], curve["x"]) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(MethodError, match="given by 'inla', not by 'laplace'"):
        fit.marginal("herd[1]")
    with pytest.raises(MethodError, match=r"Did you mean 'herd\.sd'"):
        fit.marginal("herd.sdd")
    flat = cbpp(priors="flat").fit("laplace")
    with pytest.raises(MethodError, match="no posterior"):
        flat.marginal("herd.sd")


def test_the_choice_of_strategy_is_by_size() -> None:
    def chosen(model: bg.Model, strategy: str = "auto", nodes: int | None = None) -> tuple:
        return choose(model.problem, hyper_target(model.problem), strategy, nodes)

    assert chosen(cbpp()) == ("laplace", 15)
    assert chosen(cbpp(), "simplified") == ("simplified", None)
    assert chosen(cbpp(), "auto", 5) == ("laplace", 5)
    sleep = frame("sleepstudy").astype({"Subject": str})
    assert chosen(bg.Model("Reaction ~ Days + (1 | Subject)", sleep)) == ("simplified", None)
    ticks = frame("grouseticks").astype({"BROOD": str, "INDEX": str, "LOCATION": str})
    crossed = bg.load_model(Path(__file__).parents[2] / "models" / "shun1995.toml")
    assert chosen(crossed) == ("simplified", None)
    assert chosen(crossed, "laplace") == ("laplace", 1)
    # Where there is quadrature, but not at once, the mode is looked at first.
    nested = bg.Model("TICKS ~ cHEIGHT + (1 | BROOD) + (1 | LOCATION)", ticks, family="poisson")
    assert chosen(nested) == ("auto", None)
    assert chosen(nested, "laplace") == ("laplace", (7, 5))
    many = pd.concat([frame("cbpp").astype({"herd": str, "period": str})] * 800, ignore_index=True)
    large = bg.Model("p(incidence, size) ~ period + (1 | herd)", many, family="binomial")
    assert chosen(large) == ("auto", None)


def test_a_coefficient_s_prior_of_any_smooth_kind() -> None:
    """A very heavy prior about the wrong place moves the estimate there, a light-tailed one less than it would."""
    pulled = {
        kind.name: cbpp(priors={"period[T.2]": kind}).fit("inla").result.beta[1]
        for kind in (P("Normal", mu=2, sigma=0.2), P("StudentT", nu=3, mu=2, sigma=0.2), P("Cauchy", alpha=2, beta=0.2))
    }
    free = cbpp().fit("inla").result.beta[1]
    assert free < pulled["Cauchy"] < pulled["StudentT"] < pulled["Normal"] < 2.0


def test_it_is_a_method_like_the_others() -> None:
    model = cbpp()
    assert "inla" in model.methods
    comparison = bg.compare(model, ["laplace"], reference="inla")
    assert set(comparison.verdict["method"]) == {"laplace", "inla"}
    row = comparison.table.query("method == 'laplace' and parameter == 'herd.sd'").iloc[0]
    assert abs(row["bias"]) < 0.5
    assert row["mcse"] == 0.0
    fit = comparison.fits["inla"]
    text = str(fit)
    assert "nested Laplace, 1 hyperparameter at" in text
    assert "z" not in fit.fixed.columns
    assert fit.predict(level="marginal").shape == (56, 4)
    responses = fit.predict(kind="response", draws=40, seed=1)
    assert responses.shape == (56, 40)
