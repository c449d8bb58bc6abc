"""The comparison as a whole, on fits made to order and on a real data set."""

from __future__ import annotations

import html
import json
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from fake_fits import FakeModel, normal_result, sampled_result, usual_model

import bayesglmm as bg
from bayesglmm.comparison import Comparison, Event
from bayesglmm.errors import ConvergenceWarning

METHODS = ["mql", "pql", "laplace", "agq", "mcmc"]


@pytest.fixture(scope="module")
def usual() -> Comparison:
    """agq fails; the others do not."""
    return bg.compare(usual_model(), METHODS)


def cell(cmp: Comparison, parameter: str, method: str) -> pd.Series:
    table = cmp.table
    return table[(table["parameter"] == parameter) & (table["method"] == method)].iloc[0]


def test_a_row_per_parameter_and_method_that_has_it(usual):
    assert len(usual.table) == 3 * 4
    assert list(dict.fromkeys(usual.table["parameter"])) == ["Intercept", "x", "g.sd"]
    assert list(usual.table["method"][:4]) == ["mql", "pql", "laplace", "mcmc"]


def test_scores_are_the_definitions(usual):
    base, pql = cell(usual, "g.sd", "mcmc"), cell(usual, "g.sd", "pql")
    assert pql["bias"] == pytest.approx((0.42 - base["estimate"]) / base["sd"], rel=1e-12)
    assert pql["sd_ratio"] == pytest.approx(0.09 / base["sd"], rel=1e-12)
    # 4000 independent draws: their mean is known to 1/√4000 of an sd
    assert pql["mcse"] == pytest.approx(1 / np.sqrt(4000), rel=0.15)


def test_the_reference_is_its_own_measure(usual):
    own = usual.table[usual.table["method"] == "mcmc"]
    assert (own["bias"] == 0).all()
    assert (own["sd_ratio"] == 1).all()
    assert (own["w1"] == 0).all()


def test_estimands_stand_in_the_table_and_in_the_verdict(usual):
    assert set(usual.table.loc[usual.table["method"] == "mql", "estimand"]) == {"marginal"}
    sentences = usual.verdict.set_index("method")["sentence"]
    assert "population-averaged" in sentences["mql"]
    assert "population-averaged" not in sentences["pql"]


def test_verdict_has_a_row_per_method_in_order(usual):
    assert list(usual.verdict["method"]) == METHODS
    assert list(usual.verdict["grade"]) == ["off", "rough", "same", "failed", "reference"]


def test_a_failure_is_a_row_with_its_reason(usual):
    assert usual.failures == {"agq": "'agq' does not apply here."}
    assert list(usual.fits) == ["mql", "pql", "laplace", "mcmc"]
    row = usual.verdict.set_index("method").loc["agq"]
    assert row["sentence"] == "Failed: 'agq' does not apply here."
    assert np.isnan(row["worst_bias"])


def test_an_accident_in_one_engine_does_not_stop_the_others():
    cmp = bg.compare(usual_model(pql=np.linalg.LinAlgError("Singular matrix")), ["pql", "laplace", "mcmc"])
    assert cmp.failures == {"pql": "LinAlgError: Singular matrix"}
    assert cmp.verdict.set_index("method").loc["laplace", "grade"] == "same"


@pytest.mark.parametrize("status", [{"r_hat": 1.05}, {"ess": 100.0}, {"converged": False, "divergences": 30}])
def test_a_reference_that_has_not_converged_may_not_judge(status):
    cmp = bg.compare(usual_model(mcmc=sampled_result(**status)), ["pql", "laplace"])
    assert cmp.objections
    assert cmp.table[["bias", "sd_ratio", "w1", "mcse", "within_mc_error"]].isna().all(axis=None)
    assert cmp.table["estimate"].notna().all()
    verdict = cmp.verdict.set_index("method")
    assert verdict.loc["mcmc", "grade"] == "unfit"
    assert cmp.objections[0] in verdict.loc["mcmc", "sentence"]
    assert verdict.loc["pql", "sentence"] == "Not scored: the reference (mcmc) has not converged."
    assert verdict[["worst_bias", "worst_sd_ratio"]].isna().all(axis=None)


def test_a_reference_that_failed_leaves_the_estimates():
    cmp = bg.compare(usual_model(mcmc=ValueError("no sampler")), ["pql", "laplace"])
    assert set(cmp.table["method"]) == {"pql", "laplace"}
    assert cmp.table["bias"].isna().all()
    verdict = cmp.verdict.set_index("method")["sentence"]
    assert verdict["mcmc"] == "Failed: ValueError: no sampler"
    assert verdict["pql"] == "Not scored: the reference (mcmc) failed."


def test_nothing_fitted_is_still_a_comparison():
    cmp = bg.compare(FakeModel({}), ["pql", "mcmc"])
    assert cmp.fits == {}
    assert cmp.table.empty
    assert list(cmp.verdict["grade"]) == ["failed", "failed"]


def test_the_reference_is_added_when_it_is_not_named():
    model = usual_model()
    cmp = bg.compare(model, ["laplace"])
    assert cmp.methods == ["laplace", "mcmc"]
    assert [m for m, _ in model.calls] == ["laplace", "mcmc"]


def test_a_method_named_twice_runs_once():
    model = usual_model()
    bg.compare(model, ["pql", "laplace", "pql"], reference="laplace")
    assert [m for m, _ in model.calls] == ["pql", "laplace"]


def test_the_seed_goes_to_methods_that_draw_and_options_to_their_own():
    model = usual_model()
    bg.compare(model, ["pql", "mcmc"], seed=5, options={"pql": {"reml": True}, "mcmc": {"draws": 10}})
    assert dict(model.calls) == {"pql": {"reml": True}, "mcmc": {"draws": 10, "seed": 5}}
    model = usual_model()
    bg.compare(model, ["mcmc"], seed=5, options={"mcmc": {"seed": 8}})
    assert model.calls == [("mcmc", {"seed": 8})]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["pqll"]}, "unknown method 'pqll'. Did you mean 'pql'"),
        ({"methods": ["pql"], "reference": "mcmcc"}, "unknown method 'mcmcc'"),
        ({"methods": []}, "no methods given"),
        ({"methods": "pql"}, "give a list"),
        ({"methods": ["pql"], "options": {"laplace": {}}}, "options are given for 'laplace'"),
    ],
)
def test_mistakes_in_the_call_stop_it_before_anything_runs(arguments, message):
    model = usual_model()
    with pytest.raises(bg.MethodError, match=message):
        bg.compare(model, **arguments)
    assert model.calls == []


def test_progress_is_told_of_every_start_and_end():
    events: list[Event] = []
    bg.compare(usual_model(), ["pql", "agq", "mcmc"], progress=events.append)
    assert all(e.fraction is None for e in events)
    assert [(e.method, e.outcome is None) for e in events] == [
        (m, start) for m in ("pql", "agq", "mcmc") for start in (True, False)
    ]
    assert events[3].outcome.error == "'agq' does not apply here."


def test_a_method_that_can_tell_says_how_far_it_is():
    class Telling(FakeModel):
        def fit(self, method, **options):
            if method == "mcmc":
                options.pop("progress")(0.5, "sampling")
            return super().fit(method, **options)

    events: list[Event] = []
    model = Telling(usual_model().results)
    bg.compare(model, ["pql", "mcmc"], progress=events.append)
    assert [(e.method, e.fraction, e.text) for e in events if e.fraction is not None] == [("mcmc", 0.5, "sampling")]
    assert model.calls == [("pql", {}), ("mcmc", {})]


def test_an_executor_gives_the_same_table():
    with ThreadPoolExecutor(2) as pool:
        side_by_side = bg.compare(usual_model(), METHODS, executor=pool)
    in_turn = bg.compare(usual_model(), METHODS)
    pd.testing.assert_frame_equal(side_by_side.table.drop(columns="seconds"), in_turn.table.drop(columns="seconds"))
    assert side_by_side.methods == METHODS


def test_an_executor_that_cannot_take_the_model_is_a_failure_with_a_reason():
    class Refusing(ThreadPoolExecutor):
        def submit(self, function, /, *arguments, **keywords):
            return super().submit(pickle.dumps, lambda: None)

    with Refusing(1) as pool:
        cmp = bg.compare(usual_model(), ["pql"], executor=pool)
    assert list(cmp.failures) == ["pql", "mcmc"]
    assert "local object" in cmp.failures["pql"]


def test_warnings_of_a_method_become_notes_and_are_not_lost():
    class Warning_(FakeModel):  # noqa: N801
        def fit(self, method, **options):
            if method == "pql":
                warnings.warn("pql did not converge: it oscillates", ConvergenceWarning, stacklevel=2)
            return super().fit(method, **options)

    cmp = bg.compare(Warning_(usual_model().results), ["pql", "mcmc"])
    assert "pql did not converge: it oscillates" in cmp.notes


def test_idata_has_a_child_per_method(usual):
    tree = usual.idata
    assert list(tree.children) == ["mql", "pql", "laplace", "mcmc"]
    assert tree["mcmc"]["posterior"]["beta"].shape == (4, 1000, 2)


@pytest.mark.parametrize(("kind", "panels"), [("forest", 3), ("density", 3), ("overview", 1)])
def test_pictures_have_a_panel_per_parameter(usual, kind, panels):
    import matplotlib.pyplot as plt

    figure = usual.plot(kind)
    assert len([a for a in figure.axes if a.get_visible()]) == panels
    assert plt.get_fignums() == []


def test_a_forest_shows_each_method_at_its_estimate(usual):
    axes = usual.plot("forest", parameters=["g.sd"]).axes[0]
    points = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]
    expected = usual.table.loc[usual.table["parameter"] == "g.sd", "estimate"].tolist()
    assert points == pytest.approx(expected)


def test_the_overview_is_in_sds_of_the_reference(usual):
    axes = usual.plot("overview", parameters=["x", "g.sd"]).axes[0]
    pql = next(line for line in axes.lines if line.get_label() == "pql")
    expected = [cell(usual, p, "pql")["bias"] for p in ("x", "g.sd")]
    assert list(pql.get_xdata()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"kind": "pie"}, "forest, density, overview"), ({"parameters": ["z"]}, "Intercept, x")]
)
def test_a_picture_that_does_not_exist(usual, arguments, message):
    with pytest.raises(bg.MethodError, match=message):
        usual.plot(**arguments)


def test_seconds_are_in_the_table_and_make_the_speed_up(usual):
    verdict = usual.verdict.set_index("method")
    assert verdict.loc["pql", "speedup"] == pytest.approx(
        verdict.loc["mcmc", "seconds"] / verdict.loc["pql", "seconds"]
    )
    assert cell(usual, "x", "pql")["seconds"] == verdict.loc["pql", "seconds"]


def test_its_printed_faces_hold_whole_sentences(usual):
    for sentence in usual.verdict["sentence"]:
        assert sentence in " ".join(str(usual).split())
        assert html.escape(sentence, quote=False) in usual._repr_html_()
    assert repr(usual) == "<Comparison of 'y ~ x + (1 | g)': mql, pql, laplace, agq, mcmc against mcmc>"


def test_a_singular_fit_is_compared_where_it_can_be():
    singular = normal_result("laplace", [0.5, 0.3], [0.2, 0.1], 0.0, float("nan"))
    cmp = bg.compare(usual_model(laplace=singular), ["laplace", "mcmc"])
    row = cell(cmp, "g.sd", "laplace")
    assert row["bias"] < -4
    assert np.isnan(row["sd_ratio"])
    assert "no standard error for g.sd" in cmp.verdict.iloc[0]["sentence"]
    assert len(cmp.plot("density").axes) == 3


def test_methods_that_leave_priors_aside_are_named(cbpp_model):
    cmp = bg.compare(cbpp_model, ["pql", "laplace"], reference="laplace")
    assert any(n.startswith("pql leaves the priors aside") for n in cmp.notes)
    assert any(n.startswith("laplace: sds and the like are compared by the means") for n in cmp.notes)


@pytest.fixture(scope="module")
def cbpp_model() -> bg.Model:
    from reference_data import frame

    return bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), family="binomial")


def test_cbpp_against_quadrature(cbpp_model):
    """Maximum likelihood: Laplace is near 25-node quadrature, and the estimates are lme4's."""
    from reference_data import frame

    flat = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), family="binomial", priors="flat")
    cmp = bg.compare(flat, ["pql", "laplace"], reference="agq", options={"agq": {"nodes": 25}})
    assert cell(cmp, "herd.sd", "laplace")["estimate"] == pytest.approx(0.642262, abs=1e-4)
    assert cell(cmp, "Intercept", "laplace")["estimate"] == pytest.approx(-1.398532, abs=1e-4)
    verdict = cmp.verdict.set_index("method")
    assert verdict.loc["laplace", "grade"] == "same"
    assert verdict.loc["pql", "grade"] != "same"
    assert cell(cmp, "herd.sd", "pql")["bias"] < 0
    # agq has draws of its own only for its DataTree: it is exact as a reference
    assert (cmp.table["mcse"] == 0).all()
    assert json.loads(cmp.table.to_json(orient="records"))[0]["parameter"] == "Intercept"
