"""MCMC: against published BUGS results, and every draw against the joint density."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from keystone_cases import crossed_problem
from pytensor.compile.mode import Mode
from reference_data import DATA, published

import bayesglmm as bg
from bayesglmm.design.types import Response
from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.graph import build_model
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.start import initial_values
from bayesglmm.graph.variables import scalars, to_values, users_variables, variable_names
from bayesglmm.idata import to_datatree
from bayesglmm.joint import joint_logp
from bayesglmm.methods import mcmc
from bayesglmm.methods.marginalized import sample
from bayesglmm.methods.mcmc_setup import data_shares, set_up
from bayesglmm.parameters import theta_slices
from bayesglmm.priors import Prior, resolve_priors
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.storage.tree import decode, encode

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
    hear = lambda f, s: heard.append((f, s))  # noqa: E731
    return mcmc.run(problem, draws=1500, seed=11, progress=hear, parametrisation="non-centred")


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
    assert "of 4 chains done" in heard[-1][1]
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
    heard: list[tuple[float, str]] = []
    started = time.perf_counter()
    other = mcmc.run(problem, seed=1, sampler="pymc", progress=lambda f, s: heard.append((f, s)))
    whole = time.perf_counter() - started
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose((other.beta - result.beta) / se, 0.0, atol=0.12)
    # The first guess of what is left is from draws, not from the seconds of compiling.
    first = next(s for _, s in heard if "s left" in s)
    assert float(first.split("about ")[1].split()[0]) < 5.0 * whole
    assert heard[-1][0] == 1.0
    assert other.draws is not None
    assert {"diverging", "energy", "lp"} <= set(other.draws.stats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "stan"}, "unknown sampler 'stan'. Known samplers: nutpie, pymc"),
        ({"draws": 0}, "draws=0; a whole number of at least 1"),
        ({"chains": 1.5}, "chains=1.5"),
        ({"target_accept": 1.0}, "target_accept=1.0; a number between 0 and 1"),
        ({"init": "zero"}, "init='zero'; one of 'auto', 'prior', 'laplace'"),
        ({"parametrisation": "noncentred"}, "parametrisation of plate is 'noncentred'"),
        ({"parametrisation": {"plot": "centred"}}, "names 'plot'; grouping factors: plate"),
    ],
)
def test_bad_options(problem: Problem, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError) as error:
        mcmc.run(problem, **options)
    assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["numpyro", "blackjax"])
def test_jax_samplers_agree(sampler: str, problem: Problem, result: Result) -> None:
    pytest.importorskip("jax")
    pytest.importorskip(sampler)
    heard: list[tuple[float, str]] = []
    other = mcmc.run(problem, seed=1, sampler=sampler, progress=lambda f, s: heard.append((f, s)))
    assert heard[-1] == (1.0, f"4 of 4 chains done, 8000 of 8000 draws, {other.status.divergences} divergences")
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose((other.beta - result.beta) / se, 0.0, atol=0.15)
    assert other.theta[0] == pytest.approx(result.theta[0], abs=0.03)


def test_a_sampler_that_is_not_installed_is_named(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numpyro" else found(name))
    with pytest.raises(MethodError, match=r"which is not installed: pip install 'bayesglmm\[mcmc\]'"):
        mcmc.run(problem, sampler="numpyro")


def test_a_graph_that_a_sampler_cannot_run_is_said(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX knows nothing of the integral over random effects."""
    from bayesglmm.graph import sample as samplers

    def refuses(*args: Any) -> Any:
        raise NotImplementedError("No JAX conversion for the given `Op`: MarginalLoglikOp")

    monkeypatch.setitem(samplers.SAMPLERS, "pymc", refuses)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"pymc cannot run this graph: No JAX conversion .* nutpie and pymc can"):
        mcmc.run(problem, sampler="pymc")


# --- parametrisation and start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1"])
def test_centred_graph_has_the_same_density(form: str) -> None:
    """Per level log p(b) = log N(u) − log|Λ| with b = Λu, everything else equal."""
    problem = crossed_problem(get_family("poisson"), "log", form)
    plain, centred = build_model(problem), build_model(problem, ("g", "h"))
    assert {v.name for v in plain.free_RVs} - {v.name for v in centred.free_RVs} == {"g.u", "h.u"}
    rng = np.random.default_rng(2)
    start = plain.initial_point()
    point = {k: np.asarray(v) + 0.3 * rng.normal(size=np.shape(v)) for k, v in start.items()}
    named = ["g", "h", *variable_names(problem, effects=False)]
    mode = Mode(linker="py", optimizer=None)
    graphs = [plain.logp(), *plain.replace_rvs_by_values([plain[n] for n in named])]
    value, *found = plain.compile_fn(graphs, mode=mode, on_unused_input="ignore")(point)
    at = dict(zip(named, found))
    moved = {k: v for k, v in point.items() if not k.endswith(".u")} | {"g": at["g"], "h": at["h"]}
    theirs = centred.compile_fn(centred.logp(), mode=mode)(moved)
    values = to_values(problem, at.__getitem__)
    log_det = 0.0
    for block, cov, where in zip(problem.design.blocks, problem.covariance, theta_slices(problem)):
        log_det += len(block.levels) * np.log(np.abs(np.diag(cov.factor(values.theta[where])))).sum()
    assert float(theirs) == pytest.approx(float(value) - log_det, abs=1e-8)


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1", "known"])
def test_initial_values_are_the_fit(form: str) -> None:
    """Every free variable is given, and gives the fit's parameters and random effects back."""
    problem = crossed_problem(get_family("negative_binomial"), "log", form)
    rng = np.random.default_rng(4)
    theta = np.concatenate([c.from_working(0.3 * rng.normal(size=c.n_params), True) for c in problem.covariance])
    effects = tuple(rng.normal(size=(len(b.levels), len(b.columns))) for b in problem.design.blocks)
    fit = Result(
        "laplace", "", "conditional", np.array([0.3, -0.2, 0.1]), np.eye(3), np.zeros(14), Status(True, ""), theta,
        np.array([0.4]), effects=effects,
    )  # fmt: skip
    model = build_model(problem)
    first = initial_values(problem, fit, [v.name for v in model.free_RVs])
    assert set(first) == {v.name for v in model.free_RVs}
    wanted = variable_names(problem)
    natural = dict(zip(wanted, pm_values(model, wanted, first)))
    values = to_values(problem, natural.__getitem__)
    for ours, theirs in ((values.beta, fit.beta), (values.theta, theta), (values.psi, fit.psi)):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    for ours, theirs in zip(values.effects, effects):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


def pm_values(model: Any, wanted: list[str], natural: dict[str, Any]) -> list[np.ndarray]:
    """Named variables of a graph when its free variables have the given natural values."""
    import pytensor

    inputs = [model[name] for name in natural]
    outputs = [model[name] for name in wanted]
    function = pytensor.function(inputs, outputs, mode=Mode(linker="py", optimizer=None), on_unused_input="ignore")
    return list(function(*(np.asarray(v, dtype=float).astype(i.dtype) for i, v in zip(inputs, natural.values()))))


def test_parametrisation_goes_by_the_information() -> None:
    """Many rows per group are centred, few are not; a wish is obeyed."""
    rng = np.random.default_rng(1)

    def grouped(rows: int) -> Problem:
        g = np.repeat(np.arange(10), rows)
        data = pd.DataFrame({"g": g, "y": rng.poisson(np.exp(1.5 + rng.normal(size=10)[g])).astype(float)})
        problem = problem_of("y ~ 1 + (1 | g)", data, "poisson")
        args = problem.design, problem.family, problem.link, problem.covariance
        return replace(problem, priors=resolve_priors("default", *args))

    many, few = grouped(30), grouped(1)
    rare = Response("y", rng.poisson(0.3, 10).astype(float))
    few = replace(few, design=replace(few.design, response=rare))
    assert set_up(many).centred == ("g",)
    assert set_up(few).centred == ()
    assert set_up(many, parametrisation="non-centred").centred == ()
    assert set_up(few, parametrisation={"g": "centred"}).centred == ("g",)
    assert set_up(many).start is None
    assert set_up(many, init="laplace").start is not None
    fit = set_up(many, init="laplace").start
    assert fit is not None
    sd = fit.theta[0]
    expected = np.mean(1.0 - (fit.effects_sd[0] / sd) ** 2)
    assert data_shares(many, fit)["g"] == pytest.approx(expected)


@pytest.mark.slow
def test_centred_chains_from_the_mode_agree(problem: Problem, result: Result) -> None:
    other = mcmc.run(problem, seed=2, init="laplace", parametrisation="centred", draws=2000)
    assert other.options["centred"] == ["plate"]
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose((other.beta - result.beta) / se, 0.0, atol=0.15)


# --- graphs of one's own ---------------------------------------------------------------------------------------------


def test_a_graph_without_the_models_variables_is_refused(problem: Problem) -> None:
    import pymc as pm

    with pm.Model() as other:
        pm.Normal("beta", shape=4)
    with pytest.raises(MethodError, match=r"has no plate\.sd: extend what model\.to_pymc\(\) returns"):
        mcmc.run(problem, pymc_model=other)
    with pytest.raises(MethodError, match="do not go together"):
        mcmc.run(problem, pymc_model=other, marginalize=True)


@pytest.mark.parametrize(
    "given",
    [
        {"formula": "y ~ x + (1 + x | g)", "family": "poisson", "zi": "~ x"},
        {
            "formula": "y ~ x + (1 + x | g)",
            "priors": {"x": Prior("Cauchy", alpha=0, beta=1), "g.x.sd": Prior("Uniform")},
        },
        {"formula": "y ~ x", "family": "negative_binomial", "dispersion": "~ x"},
    ],
)
@pytest.mark.parametrize("marginalize", [False, True])
def test_variables_of_the_model_are_told_from_a_users(given: dict[str, Any], marginalize: bool) -> None:
    import pymc as pm

    data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 0, 4, 3.0], "x": np.linspace(-1, 1, 9), "g": list("aaabbbccc")})
    model = bg.Model(data=data, **given)
    with model.to_pymc(marginalize=marginalize and bool(model.design.blocks)) as graph:
        pm.Normal("shift")
        pm.Normal("beta_of_mine", shape=2)
        pm.Deterministic("twice", 2.0 * graph["shift"])
    assert users_variables(model.problem, graph.free_RVs) == ["shift", "beta_of_mine"]
    assert users_variables(model.problem, graph.deterministics) == ["twice"]


def test_a_users_variables_are_labelled_and_stored(problem: Problem, result: Result, tmp_path: Any) -> None:
    assert result.draws is not None
    shape = result.draws.beta.shape[:2]
    others = {"shift": np.ones(shape), "knots": np.arange(np.prod(shape) * 2.0).reshape(*shape, 2)}
    assert list(scalars(others)) == ["shift", "knots[0]", "knots[1]"]
    np.testing.assert_array_equal(scalars(others)["knots[1]"], others["knots"][..., 1])
    kept = replace(result, draws=replace(result.draws, others=others))
    posterior = to_datatree(problem, kept)["posterior"]
    assert posterior["shift"].dims == ("chain", "draw")
    assert posterior["knots"].dims == ("chain", "draw", "knots_dim_0")
    arrays: list[Any] = []
    again = decode(encode(kept.draws, arrays), arrays)
    np.testing.assert_array_equal(again.others["knots"], others["knots"])


@pytest.mark.slow
def test_potential_and_another_likelihood_in_the_full_graph(problem: Problem) -> None:
    """The same data seen twice (a likelihood of the user's own) and one coefficient pinned."""
    import pymc as pm

    response = problem.response
    graph = build_model(problem)
    with graph:
        eta = pm.math.dot(problem.design.X, graph["beta"]) + graph["plate"][problem.design.blocks[0].codes, 0]
        pm.Binomial("again", n=response.trials.astype(int), logit_p=eta, observed=response.y.astype(int))  # type: ignore[union-attr]
        pm.Potential("pin", -0.5 * ((graph["beta"][1] - 0.3) / 0.001) ** 2)
        level = pm.Normal("level", mu=0.0, sigma=2.0)
        pm.Normal("measured", mu=level, sigma=1.0, observed=np.full(4, 3.0))
        pm.Deterministic("gap", level - graph["beta"][0])
    fit = mcmc.run(problem, pymc_model=graph, seed=1, draws=1500)
    # Variables of the user's own are kept: four observations of 3 with sd 1, and a prior with sd 2 about zero.
    assert fit.draws is not None
    assert set(fit.draws.others) == {"level", "gap"}
    own = fit.draws.others["level"]
    np.testing.assert_allclose(fit.draws.others["gap"], own - fit.draws.beta[..., 0], atol=1e-12)
    assert own.mean() == pytest.approx(4 * 3.0 / 4.25, abs=0.03)
    assert fit.beta[1] == pytest.approx(0.3, abs=3e-4)
    assert fit.effects[0].shape == (21, 1)
    seen = replace(problem.design, response=Response(response.name, 2.0 * response.y, 2.0 * response.trials))  # type: ignore[operator]
    vague = Prior("Normal", mu=0, sigma=1000)
    request = {"Intercept": vague, "fixed": vague, "seed": Prior("Normal", mu=0.3, sigma=0.001)}
    request["plate.sd"] = Prior("Uniform", lower=0, upper=UPPER)
    args = seen, problem.family, problem.link, problem.covariance
    twice = sample(replace(problem, design=seen, priors=resolve_priors(request, *args)), nodes=9, seed=2)
    se = np.sqrt(np.diag(twice.cov_beta))
    np.testing.assert_allclose((fit.beta - twice.beta) / se, 0.0, atol=0.15)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[[0, 2, 3]] / se[[0, 2, 3]], 1.0, atol=0.1)
