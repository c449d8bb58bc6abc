"""MCMC: against published BUGS results, and every draw against the joint density."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from reference_data import DATA, published

from bayesglmm.errors import MethodError
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.joint import joint_logp
from bayesglmm.methods import mcmc
from bayesglmm.priors import Prior, resolve_priors
from bayesglmm.problem import Problem
from bayesglmm.result import Result

UPPER = 10.0


def seeds() -> Problem:
    """The seeds data with the priors of the BUGS analysis: vague normals, and a uniform sd."""
    problem = problem_of(published()["seeds"]["formula"], pd.read_csv(DATA / "seeds.csv"), "binomial")
    vague = Prior("Normal", mu=0, sigma=1000)
    request = {"Intercept": vague, "fixed": vague, "plate.sd": Prior("Uniform", lower=0, upper=UPPER)}
    design = problem.design
    return replace(problem, priors=resolve_priors(request, design, problem.family, problem.link, problem.covariance))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return seeds()


@pytest.fixture(scope="module")
def heard() -> list[tuple[float, str]]:
    return []


@pytest.fixture(scope="module")
def result(problem: Problem, heard: list[tuple[float, str]]) -> Result:
    return mcmc.run(problem, draws=1500, seed=11, progress=lambda f, s: heard.append((f, s)))


def test_bugs(result: Result, problem: Problem) -> None:
    """Posterior means and sds of WinBUGS as printed, within a tenth of a posterior sd (two Monte Carlo errors)."""
    theirs = published()["seeds"]["bugs_uniform_sd"]
    assert problem.design.columns == ("Intercept", "seed", "extract", "seed:extract")
    se = np.array(theirs["se"])
    assert np.all(np.abs(result.beta - theirs["coef"]) < 0.1 * se + 5e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(result.cov_beta)), se, rtol=0.08)
    assert result.theta[0] == pytest.approx(theirs["sd"], abs=0.015)


def test_every_draw_has_the_density_the_sampler_saw(result: Result, problem: Problem) -> None:
    """The sampler's own log-density, from the draws and our numpy pieces, with the Jacobians of its coordinates."""
    draws = result.draws
    assert draws is not None
    whitening = np.log(np.diag(Whitening(problem.design.X).matrix)).sum()
    for c, d in ((0, 0), (1, 700), (3, 1499)):
        sd = draws.theta[c, d]
        u = [draws.effects[0][c, d] / sd[0]]
        interval = np.log(sd[0] * (UPPER - sd[0]) / UPPER)
        ours = joint_logp(problem, draws.beta[c, d], sd, np.empty(0), u) + interval - whitening
        assert ours == pytest.approx(float(draws.stats["lp"][c, d]), abs=1e-6)


def test_result_is_the_summary_of_its_draws(result: Result, problem: Problem) -> None:
    draws = result.draws
    assert draws is not None
    assert not draws.independent
    assert draws.beta.shape == (4, 1500, 4)
    assert draws.effects[0].shape == (4, 1500, 21, 1)
    np.testing.assert_allclose(result.beta, draws.beta.mean(axis=(0, 1)), rtol=1e-12)
    flat = draws.beta.reshape(-1, 4)
    np.testing.assert_allclose(result.cov_beta, np.cov(flat.T), rtol=1e-10)
    np.testing.assert_allclose(result.effects_sd[0], draws.effects[0].reshape(-1, 21, 1).std(axis=0, ddof=1))
    assert result.cov_joint is not None
    assert result.cov_joint[4, 4] == pytest.approx(draws.theta.var(ddof=1))
    eta = problem.design.X @ result.beta + result.effects[0][problem.design.blocks[0].codes, 0]
    np.testing.assert_allclose(result.eta, eta, rtol=1e-10)
    assert (result.method, result.estimand, result.scale, result.loglik) == ("mcmc", "conditional", 1.0, None)


def test_status_judges_the_draws(result: Result) -> None:
    from arviz_stats.base import array_stats

    status, draws = result.status, result.draws
    assert draws is not None
    assert status.converged
    values = [draws.beta[..., j] for j in range(4)] + [draws.theta[..., 0]]
    ess = min(float(array_stats.ess(v, chain_axis=0, draw_axis=1)) for v in values)
    assert status.ess == pytest.approx(ess)
    assert status.r_hat is not None
    assert 0.99 < status.r_hat <= 1.01
    assert status.divergences == int(draws.stats["diverging"].sum())
    assert "R-hat at most" in status.message


def test_progress_is_told(result: Result, heard: list[tuple[float, str]]) -> None:
    assert result.options["sampler"] == "nutpie"
    fractions = [f for f, _ in heard]
    assert fractions == sorted(fractions)
    assert all(0.0 <= f <= 1.0 for f in fractions)
    assert fractions[-1] > 0.5
    assert "draws" in heard[-1][1]
    assert "divergences" in heard[-1][1]


def test_same_seed_same_draws_and_few_draws_do_not_pass(problem: Problem) -> None:
    runs = [mcmc.run(problem, draws=20, tune=60, chains=2, seed=s) for s in (5, 5, 6)]
    np.testing.assert_array_equal(runs[0].beta, runs[1].beta)
    assert np.any(runs[0].beta != runs[2].beta)
    status = runs[0].status
    assert not status.converged
    assert "bulk effective size of" in status.message
    assert status.ess is not None
    assert status.ess < 400


@pytest.mark.slow
def test_pymc_own_sampler_agrees(problem: Problem, result: Result) -> None:
    heard: list[float] = []
    other = mcmc.run(problem, seed=1, sampler="pymc", progress=lambda f, s: heard.append(f))
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose((other.beta - result.beta) / se, 0.0, atol=0.12)
    assert heard
    assert other.draws is not None
    assert {"diverging", "energy", "lp"} <= set(other.draws.stats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "stan"}, "unknown sampler 'stan'. Known samplers: nutpie, pymc"),
        ({"draws": 0}, "draws=0; a whole number of at least 1"),
        ({"chains": 1.5}, "chains=1.5"),
        ({"target_accept": 1.0}, "target_accept=1.0; a number between 0 and 1"),
    ],
)
def test_bad_options(problem: Problem, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError) as error:
        mcmc.run(problem, **options)
    assert message in str(error.value)
