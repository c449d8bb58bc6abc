"""Likelihood and estimates along growing quadratures, and what a fit's status says about its own nodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of, reference_problem
from reference_data import fit, frame

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.inference.quadrature_path import _fitting, quadrature_path
from bayesglmm.latent import fit_marginal, fit_working
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.quadrature import enough_nodes
from bayesglmm.latent.quadrature.nodes import evaluations
from bayesglmm.methods import agq
from bayesglmm.result import Status

EXACT = fit("ohio", "glmm-exact")
BY_NODES = {int(k): v for k, v in EXACT["loglik_at_estimate_by_quadrature_points"].items()}


@pytest.fixture(scope="module")
def ohio():
    return reference_problem("ohio", EXACT)


def test_the_path_of_the_ohio_children(ohio):
    """lme4's fits with 5, 9, 15 and 25 nodes, and the likelihood at the exact estimate by independent quadrature."""
    exact = agq.run(ohio, nodes=61)
    path = quadrature_path(ohio, exact, nodes=[1, 5, 9, 15, 25])
    for k, f in ((1, "laplace"), (5, "agq5"), (9, "agq9"), (15, "agq15"), (25, "agq25")):
        reference = fit("ohio", f"glmm-glmer-{f}")
        assert path.loc[k, "loglik"] == pytest.approx(reference["loglik"], abs=2e-4)
        assert path.loc[k, "loglik"] >= reference["loglik"] - 1e-5
        assert path.loc[k, "loglik_at_estimate"] == pytest.approx(BY_NODES[k], abs=1e-5)
        assert path.loc[k, "id.sd"] == pytest.approx(reference["varcomp"]["id"]["sd"][0], rel=2e-3)
    assert path["converged"].all()
    assert (path["loglik"] >= path["loglik_at_estimate"] - 1e-9).all()


def test_a_row_of_the_path_is_the_fit_with_those_nodes():
    made = problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial")
    path = quadrature_path(made, fit_marginal(made))
    assert list(path.index) == [1, 3, 5, 9, 15, 25, 51]
    again = fit_marginal(made, nodes=9)
    assert path.loc[9, "loglik"] == pytest.approx(again.loglik, abs=1e-9)
    np.testing.assert_allclose(path.loc[9, list(made.design.columns)].astype(float), again.beta, rtol=1e-6)
    assert path.loc[51, "loglik"] == pytest.approx(path.loc[25, "loglik"], abs=1e-8)


def test_only_numbers_of_nodes_that_fit_are_shown():
    data = frame("cbpp").assign(x=np.linspace(0, 1, 56), w=np.cos(np.arange(56)))
    made = problem_of("p(incidence, size) ~ x + (1 + x + w | herd)", data, "binomial")
    assert _fitting(make_objective(made)) == [1, 3, 5, 9, 15, 25]  # 51³ nodes are too many
    with pytest.raises(MethodError, match="at most 27 nodes fit here"):
        quadrature_path(made, fit_marginal(made), nodes=[1, 51])


@pytest.mark.parametrize(("nodes", "more", "said"), [(9, 15, True), (15, 25, True), (25, 41, False), (41, 65, False)])
def test_the_status_says_when_nodes_are_too_few(ohio, nodes, more, said):
    notes = " ".join(fit_marginal(ohio, nodes=nodes).status.notes)
    assert (f"{nodes} quadrature nodes are too few: with {more} the log-likelihood" in notes) == said


def test_laplace_of_binary_responses_of_small_clusters_says_how_far_it_is_off(ohio):
    (note,) = fit_marginal(ohio).status.notes
    assert note.startswith("the Laplace approximation is poor here: held against 7 quadrature nodes at the optimum")


def test_what_has_no_path_is_refused():
    made = problem_of("Reaction ~ Days + (1 | Subject)", frame("sleepstudy"))
    with pytest.raises(MethodError, match="by 'laplace' or 'agq'; this one is by 'ml'"):
        quadrature_path(made, fit_working(made, method="ml"))
    crossed = frame("cbpp").assign(h=(np.arange(56) % 7).astype(str))
    two = problem_of("p(incidence, size) ~ 1 + (1 | herd) + (1 | h)", crossed, "binomial")
    with pytest.raises(MethodError, match="exactly one grouping factor"):
        quadrature_path(two, fit_marginal(two), nodes=[1, 5])
    assert list(quadrature_path(two, fit_marginal(two)).index) == [1]


def test_the_status_of_a_fit_prints_the_whole_story(ohio):
    text = str(fit_marginal(ohio, nodes=9).status).splitlines()
    assert text[0].startswith("converged: Newton decrement")
    assert "iterations" in text[1]
    assert "evaluations" in text[1]
    assert text[2].startswith("largest gradient × standard error: ")
    assert text[3].startswith("information positive definite, condition number ")
    assert text[4].startswith("note: 9 quadrature nodes are too few")


def test_a_status_says_first_whether_it_converged():
    assert str(Status(True, "score equations solved")) == "converged: score equations solved"
    bad = Status(False, "stopped at the cap", 200, 300, notes=("look here",), r_hat=1.2, ess=31.0, divergences=4)
    assert str(bad).splitlines() == [
        "not converged: stopped at the cap",
        "200 iterations, 300 evaluations",
        "R-hat 1.200, smallest effective size 31",
        "divergent transitions: 4",
        "note: look here",
    ]


def test_the_facts_at_the_end_are_those_of_the_information(ohio):
    found = fit_marginal(ohio)
    scale = np.sqrt(np.diag(np.linalg.inv(found.cov_joint)))
    information = np.linalg.inv(found.cov_joint) / np.outer(scale, scale)
    assert found.status.condition == pytest.approx(np.linalg.cond(information), rel=1e-6)
    assert found.status.scaled_gradient <= found.status.gradient_norm * np.sqrt(found.status.condition)


def test_through_the_facade():
    found = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial", priors="flat").fit("agq")
    assert list(found.quadrature_path((1, 25)).index) == [1, 25]
    assert str(found.status).startswith("converged")


# --- two nested grouping factors --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def families():
    """Binary rows of 160 tiny families in 20 communities, with strong effects at both levels."""
    rng = np.random.default_rng(1)
    mother = np.repeat(np.arange(160), 1 + (rng.random(160) < 0.7))
    community = mother // 8
    eta = 0.5 + 2.5 * rng.standard_normal(20)[community] + 2.5 * rng.standard_normal(160)[mother]
    data = {"y": (rng.random(len(mother)) < 1 / (1 + np.exp(-eta))).astype(int), "c": community.astype(str)}
    return pd.DataFrame(data | {"m": mother.astype(str)})


@pytest.fixture(scope="module")
def tiny(families):
    return problem_of("y ~ 1 + (1 | c/m)", families, "binomial")


def test_the_path_of_nested_effects_settles(tiny):
    """Laplace is units away; from nine nodes on the log-likelihood is within a few hundredths, then it stands."""
    path = quadrature_path(tiny, agq.run(tiny, nodes=25), nodes=[1, 5, 9, (15, 25), 25, 41])
    assert list(path.index) == [1, 5, 9, (15, 25), 25, 41]
    assert path["converged"].all()
    error = (path["loglik_at_estimate"] - path.loc[41, "loglik_at_estimate"]).abs()
    assert error[1] > 2
    assert error[5] > 0.1
    assert error[25] < 3e-3 < error[9]
    assert path.loc[1, "c:m.sd"] < 0.8 * path.loc[25, "c:m.sd"]


def test_a_row_of_the_nested_path_is_the_fit_with_those_nodes(tiny):
    path = quadrature_path(tiny, fit_marginal(tiny), nodes=[(5, 7)])
    again = fit_marginal(tiny, nodes=(5, 7))
    assert path.iloc[0]["loglik"] == pytest.approx(again.loglik, abs=1e-8)


def test_the_status_of_nested_fits_says_how_far_off_they_are(tiny):
    laplace = fit_marginal(tiny)
    (note,) = laplace.status.notes
    assert "the Laplace approximation is poor here" in note
    assert "method='agq'" in note
    few = fit_marginal(tiny, nodes=(5, 7))
    (note,) = few.status.notes
    assert note.startswith("5 outer and 7 inner quadrature nodes are too few: with 9 outer and 11 inner")
    assert few.loglik > laplace.loglik + 1
    settled = fit_marginal(tiny, nodes=41)
    assert settled.status.notes == ()


def test_the_usual_path_stops_where_it_would_take_long(tiny, monkeypatch):
    from bayesglmm.inference import quadrature_path as module

    assert _fitting(make_objective(tiny)) == [1, 3, 5, 9, 15, 25, 51]
    assert evaluations(make_objective(tiny).structure, (25, 9)) == 25 * 9 * 270
    monkeypatch.setattr(module, "PATIENCE", 300 * 270)
    assert _fitting(make_objective(tiny)) == [1, 3, 5, 9, 15]


def test_laplace_has_no_note_where_it_is_good():
    data = frame("pastes").assign(count=lambda d: d["strength"].round().astype(int))
    assert fit_marginal(problem_of("count ~ 1 + (1 | batch/cask)", data, "poisson")).status.notes == ()


def test_nested_effects_through_the_facade(families):
    model = bg.Model("y ~ 1 + (1 | c) + (1 | c:m)", families, "binomial", priors="flat")
    found = model.fit("agq", nodes=(7, 9), draws=20)
    assert found.loglik == pytest.approx(model.loglik(found.params, "agq", nodes=[7, 9]), abs=1e-9)
    assert found.result.options["nodes"] == (7, 9)
    other = model.fit("agq", nodes=np.array([5, 7]).tolist())
    assert other.result.options["nodes"] == (5, 7)
    smaller = bg.Model("y ~ 1 + (1 | c)", families, "binomial", priors="flat").fit("agq", nodes=9)
    with pytest.raises(MethodError, match=r"different numbers of quadrature nodes \(\(7, 9\) and 9\)"):
        bg.anova(smaller, found)
    table = bg.anova(smaller, model.fit("agq", nodes=9))
    assert table["p"].iloc[-1] < 1e-3
    assert found.result.objective == "marginal likelihood (adaptive quadrature, 7 outer and 9 inner nodes)"
    interval = other.confint("profile", parameters=["c.sd"])
    assert interval.loc["c.sd", "ci_low"] < other.varcomp.loc[0, "sd"] < interval.loc["c.sd", "ci_high"]
    assert len(found.random["c:m"]) == 160
    assert found.idata.posterior["c:m"].shape[-2] == 160


def test_a_check_that_cannot_be_made_says_so(tiny, monkeypatch):
    monkeypatch.setattr(enough_nodes, "_change", lambda *_: -np.inf)
    (note,) = fit_marginal(tiny, nodes=3).status.notes
    assert note == (
        "whether 3 outer and 3 inner quadrature nodes are enough was not checked: with 5 outer and 5 inner there are "
        "nodes without modes"
    )
