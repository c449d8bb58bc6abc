"""Pictures of one fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_fits import normal_result, sampled_result, usual_model

import bayesglmm as bg
from bayesglmm import plots, plots_predictive
from bayesglmm.fit import Fit
from bayesglmm.look import look


@pytest.fixture
def sampled() -> Fit:
    return Fit(usual_model(), sampled_result())


@pytest.fixture
def estimated() -> Fit:
    return Fit(usual_model(), normal_result("pql", [0.5, 0.3], [0.2, 0.1], 0.4, 0.1))


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    assert plt.get_fignums() == []


def test_a_forest_of_the_tables_needs_no_draws(estimated):
    axes = estimated.plot_forest().axes[0]
    points = axes.lines[0]
    assert list(points.get_xdata()) == pytest.approx([0.5, 0.3, 0.4])
    labels = dict(zip(axes.get_yticks(), (t.get_text() for t in axes.get_yticklabels())))
    assert [labels[y] for y in points.get_ydata()] == ["Intercept", "x", "g.sd"]
    ends = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ends[1] == pytest.approx(estimated.fixed.loc["x", ["ci_low", "ci_high"]].tolist())


@pytest.mark.parametrize("plot", ["plot_dist", "plot_trace", "plot_rank"])
def test_draws_have_a_panel_per_parameter(sampled, plot):
    figure = getattr(sampled, plot)()
    assert {a.get_title(loc="left") or a.get_title() for a in figure.axes} >= {"Intercept", "x", "g.sd"}


def test_panels_of_a_nested_fit_are_called_as_in_the_tables():
    """It has densities and draws; a name may divide."""
    rng = np.random.default_rng(0)
    data = {"y": rng.normal(size=40), "x": rng.uniform(1.0, 2.0, 40), "g": [f"g{i % 8}" for i in range(40)]}
    fit = bg.Model("y ~ log(x / 4) + (1 | g)", data).fit("inla")
    titles = {a.get_title(loc="left") or a.get_title() for a in fit.plot_trace().axes}
    assert titles >= {"Intercept", "log(x / 4)", "g.sd"}
    assert fit.idata["posterior"].sizes["chain"] == 4


def test_ranks_have_a_panel_per_parameter(sampled):
    assert len(plots.plot_rank(sampled).axes) == 3


def test_named_variables_come_from_the_datatree(sampled):
    assert len([a for a in sampled.plot_dist(var_names=["g"]).axes if a.lines]) == 8


def test_named_parameters_come_from_the_tables(sampled):
    titles = [a.get_title(loc="left") or a.get_title() for a in sampled.plot_dist(var_names=["g.sd", "x"]).axes]
    assert titles == ["g.sd", "x"]


@pytest.mark.parametrize("plot", ["plot_dist", "plot_trace", "plot_rank"])
def test_a_fit_without_draws_says_so(estimated, plot):
    with pytest.raises(bg.MethodError, match="gives no draws"):
        getattr(estimated, plot)()


def test_the_parameter_tree_holds_the_draws_under_the_tables_names(sampled):
    tree = plots.parameter_tree(sampled)["posterior"]
    assert list(tree.data_vars) == ["Intercept", "x", "g.sd"]
    assert (tree["x"].to_numpy() == sampled.result.draws.beta[..., 1]).all()


def with_response(fit: Fit, y: np.ndarray, family: str = "poisson") -> Fit:
    problem = fit.model.problem
    design = replace(problem.design, response=replace(problem.response, y=y))
    fit.model.problem = replace(problem, design=design, family=bg.families.get_family(family))
    return fit


@pytest.mark.parametrize(
    ("y", "family", "kind"),
    [
        (np.arange(40.0) % 2, "binomial", "calibration"),
        (np.arange(40.0), "poisson", "rootogram"),
        (10 * np.arange(40.0), "poisson", "distribution"),
        (np.arange(40.0), "gaussian", "distribution"),
    ],
)
def test_the_check_that_suits_the_response(sampled, y, family, kind):
    assert plots_predictive.ppc_kind(with_response(sampled, y, family)) == kind


def test_a_predictive_check_shows_the_observed_counts(sampled):
    axes = sampled.plot_ppc(draws=50, seed=2).axes[0]
    y = sampled.model.problem.response.y
    counts = np.bincount(y.astype(int))
    shown = [line for line in axes.collections if line.get_offsets().shape[0] == len(np.unique(y))]
    heights = {float(x): float(h) for points in shown for x, h in points.get_offsets()}
    assert heights == pytest.approx({float(k): counts[k] for k in np.unique(y).astype(int)}, rel=1e-9)


def test_the_look_is_put_back():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with look():
        assert mpl.rcParams["axes.spines.top"] is False
    assert dict(mpl.rcParams) == before
