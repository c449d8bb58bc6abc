"""Trust in a Laplace fit, and its refinement, against long NUTS runs kept as summaries."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posterior_cases import CASES

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.marginals import marginals

ROOT = Path(__file__).parents[2]


def shipped(name, **arguments):
    return bg.load_model(ROOT / "models" / f"{name}.toml", **arguments)


def reference(name):
    found = json.loads((ROOT / "benchmarks" / "references" / f"{name}.json").read_text())
    assert found["good"]
    return found


@pytest.fixture(scope="module")
def fit():
    return shipped("cbpp").fit("laplace")


@pytest.fixture(scope="module")
def trust(fit):
    return fit.check(seed=1)


@pytest.fixture(scope="module")
def refined(fit):
    return fit.refine(seed=1)


def errors(fit, name):
    """Largest bias in sds and worst sd ratio of a fit's marginals against a long NUTS run."""
    found = marginals(fit.model.problem, fit.result)
    rows = reference(name)["parameters"]
    assert set(found) == set(rows)
    bias = [(m.estimate - rows[k]["mean"]) / rows[k]["sd"] for k, m in found.items()]
    ratio = [m.sd / rows[k]["sd"] for k, m in found.items()]
    return np.max(np.abs(bias)), np.exp(np.max(np.abs(np.log(ratio))))


@pytest.mark.parametrize("name", ["seeds", "cbpp", "shun1995", "epilepsy"])
def test_good_weights_are_good_draws(name):
    plain = CASES[name]().fit("laplace")
    fit = plain.refine(draws=2000, seed=1)
    assert fit.status.pareto_k < 0.5
    bias, ratio = errors(fit, name)
    assert bias < 0.1
    assert ratio < 1.1
    own_bias, _ = errors(plain, name)
    assert own_bias > 0.2  # what was there to be put right
    # Random effects as well: the worst of them all within five standard errors.
    for (group, truth), effects in zip(reference(name)["effects"].items(), fit.result.effects):
        z = (effects - np.array(truth["mean"])) / np.array(truth["sd"]) * np.sqrt(min(fit.status.ess, 2000))
        assert np.max(np.abs(z)) < 5.5, group


def test_few_binary_answers_a_child():
    """537 clusters of four: joint draws are useless, Laplace's mode is a sd off, and quadrature at each draw helps."""
    plain = shipped("ohio").fit("agq", nodes=25)
    trust = plain.check(draws=300, seed=1)
    assert trust.joint_pareto_k > 0.7
    assert trust.laplace_spread > 0.5
    assert trust.verdict in ("good as MCMC", "fine for means, not tails")


def test_the_tables_are_held_against_the_draws(trust):
    truth = reference("cbpp")["parameters"]
    table = trust.parameters
    assert list(table.index) == list(truth)
    for name, row in table.iterrows():
        assert abs(row["mean"] - truth[name]["mean"]) < 0.1 * truth[name]["sd"]
        np.testing.assert_allclose(row["weighted_sd"], truth[name]["sd"], rtol=0.1)
    assert table["bias"].abs().idxmax() == "herd.sd"
    assert -0.35 < table.loc["herd.sd", "bias"] < -0.1


def test_clusters(trust, fit):
    clusters = trust.clusters
    assert list(clusters.index) == list(fit.model.design.blocks[0].levels)
    assert clusters["rows"].sum() == 56
    assert np.all(clusters["error"].abs() < 0.01)
    assert clusters["second_order"].abs().sum() < 0.1 * clusters["error"].abs().sum()
    assert clusters["pareto_k"].max() < 0.7
    np.testing.assert_allclose(trust.loglik["laplace"], fit.loglik, rtol=1e-10)
    exact = fit.model.loglik(fit.params, method="agq", nodes=61)
    np.testing.assert_allclose(trust.loglik["exact"], exact, rtol=1e-9)
    np.testing.assert_allclose(clusters["laplace"].sum(), fit.loglik, rtol=1e-10)


def test_the_report(trust):
    text = str(trust)
    assert text.startswith("Weighted draws of the LAPLACE fit: good as MCMC\n")
    for part in ("Pareto k-hat", "second-order correction", "61 nodes", "herd.sd", "worst log integrals"):
        assert part in text
    bias = trust.parameters["bias"]
    assert f"In the fit's own tables {bias.abs().idxmax()} is {bias.abs().max():.2g} sd too low" in text
    right = replace(trust, parameters=trust.parameters.assign(bias=0.01), laplace_spread=0.3)
    assert "No estimate of the fit's own is 0.1 sd off the weighted draws." in str(right)
    assert "no posterior mean by more than about that many sds" in str(right)
    page = trust._repr_html_()
    assert page.count("<table") == 2
    assert "good as MCMC" in page
    crossed = shipped("shun1995").fit("laplace").check(draws=250, seed=1)
    assert "±" in str(crossed)
    assert list(crossed.clusters.index) == ["all"]
    assert crossed.loglik["mc_error"] > 0


def test_the_check_option_fills_the_status(trust):
    fit = shipped("cbpp").fit("laplace", check=True, seed=1)
    assert fit.status.pareto_k == pytest.approx(trust.pareto_k)
    assert trust.sentence in fit.status.notes
    assert "Pareto k-hat" in str(fit.status)
    assert fit.method == "laplace"
    by_quadrature = shipped("cbpp").fit("agq", check=True, seed=1)
    assert by_quadrature.status.pareto_k < 0.5


def test_a_refined_fit_is_a_fit(fit, refined):
    assert isinstance(refined, bg.Fit)
    assert refined.method == "laplace+psis"
    assert list(refined.fixed.index) == list(fit.fixed.index)
    assert list(refined.varcomp["term"]) == list(fit.varcomp["term"])
    assert "p" not in refined.fixed
    assert set(refined.params) == set(fit.params)
    # The sds of a posterior have the uncertainty of the parameters in them.
    assert list(refined.random["herd"].columns) == ["Intercept", "Intercept_sd"]
    assert list(fit.random["herd"].columns) == ["Intercept", "Intercept_sd", "Intercept_sd_full"]
    assert refined.predict(ci=0.9).shape == fit.predict(ci=0.9).shape
    assert refined.status.converged
    own, old = refined.idata, fit.idata
    assert set(own["posterior"].data_vars) == set(old["posterior"].data_vars)
    assert own["posterior"].sizes == old["posterior"].sizes
    assert {"log_p", "log_q", "log_weight"} == set(own["sample_stats"].data_vars)
    again = fit.refine(seed=1)
    np.testing.assert_array_equal(again.result.draws.beta, refined.result.draws.beta)
    assert not np.array_equal(fit.refine(seed=2).result.draws.beta, refined.result.draws.beta)


def test_draws_are_laid_out_for_arviz(refined):
    import arviz_stats

    tree = refined.idata
    assert tree["posterior"].sizes["chain"] == 4
    table = arviz_stats.summary(tree, var_names=["beta", "herd.sd"], round_to="none")
    r_hat, ess = (table[c].to_numpy(dtype=float) for c in ("r_hat", "ess_bulk"))
    assert np.all(r_hat < 1.01)
    assert np.all(ess > 700)
    np.testing.assert_allclose(table["mean"].to_numpy(dtype=float)[:4], refined.fixed["estimate"], rtol=1e-9)


def test_a_refined_fit_by_its_name(refined):
    by_name = refined.model.fit("laplace+psis", seed=1)
    np.testing.assert_array_equal(by_name.result.draws.beta, refined.result.draws.beta)
    assert "laplace+psis" not in refined.model.methods
    comparison = bg.compare(refined.model, ["laplace", "agq+psis"], reference="agq+psis", seed=1)
    assert list(comparison.verdict["method"]) == ["laplace", "agq+psis"]
    assert comparison.table.set_index(["parameter", "method"]).loc[("herd.sd", "laplace"), "bias"] < -0.1


def test_nuts_on_the_marginal_is_the_next_step(refined):
    with warnings.catch_warnings(action="ignore", category=bg.ConvergenceWarning):  # a short run
        nuts = refined.refine(draws=150, tune=80, chains=2, seed=1, nodes=5)
    assert nuts.method == "mcmc"
    assert nuts.result.options["marginalize"] == "agq"
    gap = (nuts.fixed["estimate"] - refined.fixed["estimate"]) / refined.fixed["se"]
    assert gap.abs().max() < 0.5
    assert list(nuts.fixed.index) == list(refined.fixed.index)


def test_what_cannot_be_refined(fit, refined):
    with pytest.raises(MethodError, match="one of psis, marginal, full"):
        fit.refine("further")
    with pytest.raises(MethodError, match="'laplace' or 'agq'"):
        refined.refine("psis")
    with pytest.raises(MethodError, match="fit by 'laplace' first"):
        fit.model.fit("pql").refine()
    with pytest.raises(MethodError, match="foo"):
        fit.refine(foo=1)
    with pytest.raises(MethodError, match="draws is 3; a whole number, 10 or more"):
        fit.refine(draws=3)
    with pytest.raises(MethodError, match="'laplace' or 'agq'"):
        fit.model.fit("pql").check()


def test_crossed_binary_answers_with_large_effects_need_mcmc():
    """One binary answer a meeting, 90 rows by 90 columns: a hundred tied, skewed random effects at once."""
    rng = np.random.default_rng(1)
    rows, columns = np.repeat(np.arange(90), 3), rng.integers(0, 90, 270)
    eta = 3.0 * rng.standard_normal(90)[rows] + 3.0 * rng.standard_normal(90)[columns]
    data = {"y": rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))), "r": [f"r{k}" for k in rows]}
    data["c"] = [f"c{k}" for k in columns]
    fit = bg.Model("y ~ 1 + (1 | r) + (1 | c)", data, "binomial").fit("laplace")
    trust = fit.check(draws=250, seed=1)
    assert trust.pareto_k > 0.7
    assert trust.verdict == "use MCMC"
    with pytest.warns(bg.ConvergenceWarning, match="k-hat"):
        refined = fit.refine(draws=250, seed=1)
    assert not refined.status.converged
    assert refined.status.pareto_k == trust.pareto_k


def test_clusters_that_no_gaussian_fits():
    """All answers alike in every cluster: the parameters can be weighted, the random effects' tails cannot."""
    y = np.repeat([0, 1, 0, 1, 1, 0], 6)
    g = [f"g{k}" for k in np.repeat(np.arange(6), 6)]
    priors = {"g.sd": bg.Prior("HalfCauchy", beta=50.0), "Intercept": bg.Prior("Normal", mu=0.0, sigma=1.0)}
    fit = bg.Model("y ~ 1 + (1 | g)", {"y": y, "g": g}, "binomial", priors=priors).fit("laplace")
    trust = fit.check(seed=1)
    assert trust.clusters["pareto_k"].min() > 0.7
    assert trust.verdict == "fine for means, not tails"
    assert "no Gaussian fits" in trust.sentence


def test_a_variance_at_zero_is_no_posterior():
    rng = np.random.default_rng(0)
    data = {"y": rng.poisson(3.0, 40), "g": [f"g{k}" for k in np.repeat(range(8), 5)]}
    model = bg.Model("y ~ 1 + (1 | g)", data, "poisson", priors="flat")
    with pytest.warns(bg.SingularFitWarning):
        fit = model.fit("laplace")
    trust = fit.check(seed=1)
    assert trust.verdict == "use MCMC"
    assert "edge of its range" in trust.sentence
    assert trust.parameters.loc["g.sd", "mean"] == 0.0
    assert np.isnan(trust.parameters.loc["g.sd", "bias"])
    assert abs(trust.parameters.loc["Intercept", "bias"]) < 0.2
