"""PQL and MQL of second order: dense formulas at the end, identities, and what is known of their biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from dense_textbook import dense
from reference_data import frame

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.latent.refit import solution_of
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.scores import fit_irls
from bayesglmm.scores.working import working_quantities

CBPP = "p(incidence, size) ~ period + (1 | herd)"
SEIZURES = "y ~ trt + base + (1 | subject)"


def cbpp():
    return problem_of(CBPP, frame("cbpp"), "binomial")


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_a_gaussian_model_has_nothing_of_second_order(method):
    problem = problem_of("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy"))
    first, second = (fit_working(problem, method=method, order=k) for k in (1, 2))
    np.testing.assert_allclose(second.beta, first.beta, rtol=1e-12)
    np.testing.assert_allclose(second.theta, first.theta, rtol=1e-10)
    assert second.extras["quasi_loglik"] == pytest.approx(first.extras["quasi_loglik"], abs=1e-9)


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_without_variance_both_are_irls(method):
    data = pd.DataFrame({"x": np.random.default_rng(2).normal(size=200), "g": np.repeat(list("abcdefghij"), 20)})
    data["y"] = np.tile(np.repeat([0, 1], 10), 10)  # less variation between groups than chance would give
    glm = fit_irls(problem_of("y ~ x", data, "binomial"))
    for formula in ("y ~ x", "y ~ x + (1 | g)"):
        result = fit_working(problem_of(formula, data, "binomial"), method=method, order=2)
        assert result.status.converged
        np.testing.assert_allclose(result.beta, glm.beta, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(result.extras["spread"], 0.0, atol=1e-12)
        assert result.extras["quasi_loglik"] == pytest.approx(-0.5 * glm.extras["deviance"], rel=1e-9)


@pytest.mark.parametrize("scale", ["fixed", "free"])
@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("method", ["pql", "mql"])
@pytest.mark.parametrize(
    ("formula", "data", "family", "link"),
    [
        (CBPP, "cbpp", "binomial", "logit"),
        (CBPP, "cbpp", "binomial", "cloglog"),
        (SEIZURES, "epil", "poisson", "log"),
    ],
)
def test_the_end_is_a_fixed_point_of_the_dense_formulas(method, reml, scale, formula, data, family, link):
    problem = problem_of(formula, frame(data), family, link=link)
    result = fit_working(problem, method=method, reml=reml, scale=scale, order=2)
    assert result.status.converged
    d = problem.design
    eta = d.X @ result.beta + d.offset if method == "mql" else result.eta
    v = result.extras["spread"]
    work = working_quantities(problem.family, problem.link, eta, problem.mean_response, problem.case_weights)
    bend = problem.link.curvature(eta) / problem.link.slope(eta)
    z = eta + work.residual - 0.5 * v * bend
    weights, stretch = work.weight, np.sqrt(1.0 + 0.5 * v * bend**2)
    if method == "pql":
        weights = 1.0 / (1.0 / weights + 0.5 * (v * bend) ** 2 / problem.case_weights / result.scale)
        stretch = np.ones(len(v))

    def at(theta):
        plain = dense(problem, theta, result.scale, y=z, weights=weights)
        Z = stretch[:, None] * plain.Z
        return replace(plain, Z=Z, V=Z @ plain.G @ Z.T + np.diag(result.scale / weights))

    oracle = at(result.theta)
    variance = oracle.G if method == "mql" else oracle.conditional_covariance
    Z = oracle.Z / stretch[:, None]
    np.testing.assert_allclose(v, np.einsum("ij,jk,ik->i", Z, variance, Z), rtol=1e-6)
    np.testing.assert_allclose(result.beta, oracle.beta, rtol=1e-7)
    np.testing.assert_allclose(np.concatenate([e.ravel() for e in result.effects]), oracle.blup, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.cov_beta, np.linalg.inv(oracle.information), rtol=1e-6)
    criterion = oracle.reml_criterion if reml else oracle.deviance
    assert result.extras["working_loglik"] == pytest.approx(-0.5 * criterion, abs=1e-7)
    for step in (0.98, 1.02):
        other = at(step * result.theta)
        assert (other.reml_criterion if reml else other.deviance) > criterion
    # what is computed from the result later solves the same model
    assert solution_of(problem, result).criterion == pytest.approx(criterion, abs=1e-7)


def test_the_quasi_likelihood_is_the_written_one():
    """With dense matrices, both orders and both methods."""
    problem = cbpp()
    for method in ("pql", "mql"):
        for order in (1, 2):
            r = fit_working(problem, method=method, order=order)
            fixed = problem.design.X @ r.beta
            eta = fixed if method == "mql" else r.eta
            v = r.extras["spread"] if order == 2 else np.zeros(len(eta))
            work = working_quantities(problem.family, problem.link, eta, problem.mean_response, problem.case_weights)
            bend = problem.link.curvature(eta) / problem.link.slope(eta)
            weights, stretch = work.weight, np.sqrt(1.0 + 0.5 * v * bend**2)
            if method == "pql":
                weights = 1.0 / (1.0 / weights + 0.5 * (v * bend) ** 2 / problem.case_weights)
                stretch = np.ones(len(v))
            mean = work.mu + 0.5 * v * problem.link.curvature(eta)
            deviance = (problem.case_weights * weights / work.weight) @ problem.family.unit_deviance(
                problem.mean_response, mean, ()
            )
            Z = stretch[:, None] * np.eye(15)[problem.design.blocks[0].codes]
            u = r.effects[0][:, 0] / r.theta[0]
            H = r.theta[0] ** 2 * (Z.T * weights) @ Z + np.eye(15)
            quadratic = u @ H @ u if method == "mql" else -u @ u
            expected = 0.5 * (quadratic - deviance - np.linalg.slogdet(H)[1])
            assert r.extras["quasi_loglik"] == pytest.approx(expected, abs=1e-7)


def test_splitting_a_binomial_row_changes_no_estimate():
    data = frame("cbpp")
    rows = [
        {"y": int(k < r.incidence), "period": r.period, "herd": r.herd}
        for r in data.itertuples()
        for k in range(r.size)
    ]
    split = pd.DataFrame(rows)
    split["period"] = pd.Categorical(split["period"], categories=data["period"].cat.categories)
    for method in ("pql", "mql"):
        whole = fit_working(cbpp(), method=method, order=2)
        parts = fit_working(problem_of("y ~ period + (1 | herd)", split, "binomial"), method=method, order=2)
        np.testing.assert_allclose(parts.beta, whole.beta, rtol=1e-7)
        np.testing.assert_allclose(parts.theta, whole.theta, rtol=1e-6)


def three_levels(seed: int, communities: int = 120, families: int = 8) -> pd.DataFrame:
    """Births in families in communities, in the manner of Rodriguez & Goldman (1995): every truth is one."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(communities * families), rng.choice([1, 2, 3], size=communities * families))
    community, n = family // families, len(family)
    columns = {"community": community.astype(str), "family": family.astype(str)}
    columns |= {"xc": rng.normal(size=communities)[community], "xf": rng.normal(size=family[-1] + 1)[family]}
    data = pd.DataFrame(columns | {"xb": rng.normal(size=n)})
    eta = data["xc"] + data["xf"] + data["xb"]
    eta += rng.normal(size=communities)[community] + rng.normal(size=family[-1] + 1)[family]
    return data.assign(y=(rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int))


def test_the_known_order_of_biases_with_small_families():
    """Goldstein & Rasbash (1996), table 2: MQL-1 is worst, PQL-2 by far the nearest to the truth."""
    found = {}
    for method in ("mql", "pql"):
        for order in (1, 2):
            values = []
            for seed in (1, 2):
                problem = problem_of(
                    "y ~ xc + xf + xb + (1 | community) + (1 | family)", three_levels(seed), "binomial"
                )
                result = fit_working(problem, method=method, order=order)
                values.append([np.mean(result.beta[1:]), result.theta[1]])
            found[method, order] = np.mean(values, axis=0)
    slopes, sds = ({k: v[j] for k, v in found.items()} for j in (0, 1))
    assert slopes["mql", 1] < slopes["pql", 1] < slopes["pql", 2]
    assert slopes["mql", 1] < slopes["mql", 2] < slopes["pql", 2]
    assert sds["mql", 1] < sds["pql", 1] < sds["pql", 2]
    assert slopes["mql", 1] < 0.85
    assert abs(slopes["pql", 2] - 1.0) < 0.5 * abs(slopes["pql", 1] - 1.0)


def test_an_expansion_without_a_solution_is_not_called_converged():
    """Counts whose variance all has to be the random part's: MQL-2's variance runs away."""
    data = frame("grouseticks").iloc[::4].reset_index(drop=True)
    result = fit_working(problem_of("TICKS ~ YEAR + (1 | LOCATION)", data, "poisson"), method="mql", order=2)
    assert not result.status.converged
    assert "run away" in result.status.message


def test_through_the_facade():
    model = bg.Model(CBPP, frame("cbpp"), family="binomial")
    fit = model.fit("pql", order=2)
    assert fit.estimand == "conditional"
    assert "second order" in fit.summary()
    assert "approximate marginal quasi-likelihood" in fit.summary()
    assert fit.quasi_loglik == fit.result.extras["quasi_loglik"]
    assert "conditional on the random effects" in fit.summary()
    assert "marginal-like" in model.fit("mql", order=2).summary()
    assert np.all(fit.predict(kind="linear")["se"] > 0.0)
    with pytest.raises(MethodError, match="order is 3"):
        model.fit("pql", order=3)


def test_small_clusters_and_rare_events_are_named():
    fit = bg.Model("y ~ xb + (1 | family)", three_levels(1), family="binomial").fit("pql")
    (note,) = [n for n in fit.status.notes if "little information" in n]
    assert "rows" in note
    assert "events" in note
    assert "'agq'" in note
    assert "order=2" in note
    quasi = bg.Model("y ~ xb + (1 | family)", three_levels(1), family="quasibinomial").fit("mql", order=2)
    (note,) = [n for n in quasi.status.notes if "little information" in n]
    assert "may still be biased" in note
    assert "a family with a likelihood" in note


def test_a_free_scale_beside_an_effect_for_every_row_is_said():
    data = frame("grouseticks")
    result = fit_working(problem_of("TICKS ~ YEAR + (1 | INDEX)", data, "poisson"), method="mql", scale="free")
    assert any("level for every row" in n for n in result.status.notes)


def test_extrapolation_halves_the_turns_of_effects_for_every_row():
    """Plain turns shrink η's moves by 0.3 each here (20 turns to 1e-10)."""
    problem = problem_of(
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", frame("grouseticks"), "poisson"
    )
    result = fit_working(problem, method="mql")
    assert result.status.converged
    assert result.status.iterations <= 13
