"""Random effects integrated out: the graph's density and gradient, the sampler and the effects drawn afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from keystone_cases import crossed_problem, three_column_problem
from pytensor.compile.mode import Mode
from scipy.stats import multivariate_normal, norm

import bayesglmm as bg
from bayesglmm import names
from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.variables import to_values
from bayesglmm.latent.nuts.chart import make_chart
from bayesglmm.latent.target import make_target
from bayesglmm.methods import mcmc
from bayesglmm.methods.marginalized import complete, marginal_graph, nodes_of, sample
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

PLAIN = Mode(linker="py", optimizer=None)


def flat_function(model: Any) -> tuple[Any, list[np.ndarray]]:
    """Log-density and gradient of a model as a function of one vector, and the shapes of its pieces."""
    start = model.initial_point()
    pieces = [np.atleast_1d(start[v.name]) for v in model.value_vars]
    both = model.compile_fn([model.logp(), model.dlogp()], mode=PLAIN)

    def at(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point, used = {}, 0
        for v, piece in zip(model.value_vars, pieces):
            point[v.name] = flat[used : used + piece.size].reshape(np.shape(start[v.name]))
            used += piece.size
        value, gradient = both(point)
        return float(value), np.asarray(gradient)

    return at, pieces


CASES = {
    "poisson, correlated slopes, crossed": lambda: crossed_problem(get_family("poisson"), "log"),
    "negative binomial, compound symmetry": lambda: crossed_problem(get_family("negative_binomial"), "log", "cs"),
    "gaussian, AR(1)": lambda: crossed_problem(get_family("gaussian"), "identity", "ar1"),
    "binomial, known covariance": lambda: crossed_problem(get_family("binomial"), "probit", "known"),
    "gaussian, two terms of one group": lambda: three_column_problem("unstructured"),
}


@pytest.mark.parametrize("case", CASES)
def test_density_and_gradient(case: str) -> None:
    """The graph's density is the latent target's, Jacobians included; its gradient that of the density."""
    problem = CASES[case]()
    model = marginal_graph(problem)
    at, pieces = flat_function(model)
    rng = np.random.default_rng(3)
    flat = np.concatenate([p.ravel() for p in pieces]) + 0.2 * rng.normal(size=sum(p.size for p in pieces))
    value, gradient = at(flat)
    h = 3e-5
    differences = [(at(flat + h * e)[0] - at(flat - h * e)[0]) / (2 * h) for e in np.eye(len(flat))]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-5)

    point, used = {}, 0
    for v, piece in zip(model.value_vars, pieces):
        point[v] = flat[used : used + piece.size].reshape(np.shape(model.initial_point()[v.name]))
        used += piece.size
    wanted = [v.name for v in (*model.free_RVs, *model.deterministics)]
    natural = model.compile_fn(
        model.replace_rvs_by_values([model[w] for w in wanted]), mode=PLAIN, on_unused_input="ignore"
    )
    found = dict(zip(wanted, natural({v.name: x for v, x in point.items()})))
    values = to_values(problem, found.__getitem__, with_effects=False)
    target = make_target(problem)
    theirs = target.at(target.coordinates.join(values.beta, values.theta, values.psi)).value
    whitening = np.log(np.diag(Whitening(problem.design.X).matrix)).sum()
    assert value == pytest.approx(theirs - whitening, abs=1e-8)


def test_parameters_are_those_of_the_full_graph() -> None:
    data = pd.DataFrame({"y": [1.0, 2, 0, 4, 3, 5], "x": [0.0, 1, 2, 0, 1, 2], "g": list("aabbcc")})
    model = bg.Model("y ~ x + (1 + x | g)", data, family="poisson")
    full, marginal = model.to_pymc(), model.to_pymc(marginalize=True)
    random = {names.standardised_variable("g"), names.group_variable("g"), "y"}
    assert set(full.named_vars) - set(marginal.named_vars) == random | {
        v.name for v in full.value_vars if "g.u" in v.name
    }
    kept = [v.name for v in full.value_vars if "g.u" not in v.name]
    assert [v.name for v in marginal.value_vars] == kept
    assert full.named_vars_to_dims["g.sd"] == marginal.named_vars_to_dims["g.sd"]


def test_gaussian_marginal_is_exact() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.normal(size=12), "g": np.repeat(list("abcd"), 3)})
    model = bg.Model("y ~ 1 + (1 | g)", data)
    graph = model.to_pymc(marginalize="laplace")
    values = {"beta": np.array([0.3]), "g.sd": np.array([0.8]), "sigma": np.array(0.6)}
    marginal = graph.potentials[0]
    inputs = [graph[n] for n in values]
    import pytensor

    ours = pytensor.function(inputs, marginal, mode=PLAIN)(*values.values())
    Z = np.equal.outer(data["g"].to_numpy(), np.array(list("abcd"))).astype(float)
    exact = multivariate_normal(np.full(12, 0.3), 0.64 * Z @ Z.T + 0.36 * np.eye(12)).logpdf(data["y"])
    assert float(ours) == pytest.approx(exact, rel=1e-10)


# --- the sampler, against brute-force integration ---------------------------------------------------------------

GROUPS = 6


def binary() -> bg.Model:
    """Three rows of yes or no in each of six groups: as far from Gaussian as random effects get."""
    successes = [0, 0, 1, 2, 3, 3]
    y = np.concatenate([np.arange(3) < s for s in successes]).astype(float)
    data = pd.DataFrame({"y": y, "g": np.repeat(list("abcdef"), 3)})
    priors = {"Intercept": bg.Prior("Normal", mu=0, sigma=1.5), "g.sd": bg.Prior("HalfNormal", sigma=2)}
    return bg.Model("y ~ 1 + (1 | g)", data, family="binomial", priors=priors)


def truth() -> dict[str, np.ndarray]:
    """Posterior means and sds of the intercept, the sd and the effects, on a grid."""
    beta, log_sd = np.linspace(-6, 6, 121), np.linspace(-7, 2.5, 141)
    u = np.linspace(-7, 7, 281)
    sd = np.exp(log_sd)
    eta = beta[:, None, None] + sd[None, :, None] * u
    p = 1.0 / (1.0 + np.exp(-eta))
    weights = norm.pdf(u) * (u[1] - u[0])
    moments = []  # by number of successes: ∫ p^s (1 − p)^(3 − s) b^k φ(u) du
    for s in range(4):
        own = p**s * (1.0 - p) ** (3 - s) * weights
        b = sd[None, :, None] * u
        moments.append([np.sum(own * b**k, axis=2) for k in range(3)])
    counts = {0: 2, 1: 1, 2: 1, 3: 2}
    log_prior = norm.logpdf(beta / 1.5)[:, None] + norm.logpdf(sd / 2)[None, :] + log_sd[None, :]
    density = np.exp(log_prior + sum(k * np.log(moments[s][0]) for s, k in counts.items()))
    density /= density.sum()
    mean = [np.sum(density * beta[:, None]), np.sum(density * sd)]
    square = [np.sum(density * beta[:, None] ** 2), np.sum(density * sd**2)]
    for s in (0, 0, 1, 2, 3, 3):
        mean.append(np.sum(density * moments[s][1] / moments[s][0]))
        square.append(np.sum(density * moments[s][2] / moments[s][0]))
    return {"mean": np.array(mean), "sd": np.sqrt(np.array(square) - np.square(mean))}


@pytest.fixture(scope="module")
def result() -> Result:
    return sample(binary().problem, draws=400, tune=150, seed=4, nodes=15)


def test_against_integration_on_a_grid(result: Result) -> None:
    exact, draws = truth(), result.draws
    assert draws is not None
    flat = np.concatenate([draws.beta, draws.theta, draws.effects[0][..., 0]], axis=2).reshape(-1, 2 + GROUPS)
    error = 4.0 / np.sqrt(0.5 * len(flat))  # effective sizes are above half the draws
    np.testing.assert_allclose((flat.mean(axis=0) - exact["mean"]) / exact["sd"], 0.0, atol=error)
    np.testing.assert_allclose(flat.std(axis=0) / exact["sd"], 1.0, atol=1.5 * error)


def test_result_says_what_it_is(result: Result) -> None:
    draws = result.draws
    assert draws is not None
    assert not draws.independent
    assert draws.effects[0].shape == (4, 400, GROUPS, 1)
    assert result.method == "mcmc"
    assert result.options["marginalize"] == "agq"
    assert result.options["nodes"] == 15
    assert "nodes=15" in result.objective
    assert result.status.converged
    assert result.status.ess is not None
    assert result.status.ess > 600
    target = make_target(binary().problem, 15)
    for c, d in ((0, 0), (3, 399)):
        x = target.coordinates.join(draws.beta[c, d], draws.theta[c, d], np.empty(0))
        assert target.at(x).value == pytest.approx(float(draws.stats["lp"][c, d]), abs=1e-3)


def test_effects_given_parameters_are_exact() -> None:
    """At fixed parameters draws of b have the conditional's own mean, sd and skewness; the Gaussian's skewness is 0."""
    count, beta, sd = 2500, 0.2, 2.5
    at = np.full((1, count, 1), beta), np.full((1, count, 1), sd), np.empty((1, count, 0))
    fixed, problem = Draws(*at, (), independent=False), binary().problem
    u = np.linspace(-8, 8, 2001)
    p = 1.0 / (1.0 + np.exp(-(beta + sd * u)))
    exact, gaussian = (complete(problem, fixed, 1, how).effects[0][0, :, :, 0] for how in ("exact", "gaussian"))
    own = p**3 * norm.pdf(u)
    own /= own.sum()
    mean = np.sum(own * sd * u)
    spread = np.sqrt(np.sum(own * (sd * u - mean) ** 2))
    skew = np.sum(own * ((sd * u - mean) / spread) ** 3)
    last = exact[:, 5]
    assert last.mean() == pytest.approx(mean, abs=0.07 * spread)
    assert last.std() == pytest.approx(spread, rel=0.05)
    assert np.mean(((last - mean) / spread) ** 3) == pytest.approx(skew, abs=0.15)
    centred = gaussian[:, 5] - gaussian[:, 5].mean()
    assert abs(np.mean((centred / centred.std()) ** 3)) < 0.12 < abs(skew)


def test_same_seed_same_draws_and_start_is_used() -> None:
    problem = binary().problem
    start = binary().fit("agq", nodes=7).result
    one, two = (sample(problem, start, draws=30, tune=40, chains=2, seed=9) for _ in range(2))
    assert one.options["nodes"] == 7
    np.testing.assert_array_equal(one.draws.effects[0], two.draws.effects[0])  # type: ignore[union-attr]


def test_flat_priors_are_flat_on_the_natural_scale() -> None:
    """``lp`` is the log marginal likelihood plus the Jacobian of the log of the sd."""
    data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 0, 1, 9, 7], "g": list("aabbccddee")})
    model = bg.Model("y ~ 1 + (1 | g)", data, family="poisson", priors="flat")
    result = sample(model.problem, draws=20, tune=40, chains=1, seed=2)
    draws = result.draws
    assert draws is not None
    params = {"Intercept": draws.beta[0, 7, 0], "g.sd": draws.theta[0, 7, 0]}
    expected = model.loglik(params) + np.log(params["g.sd"])
    assert float(draws.stats["lp"][0, 7]) == pytest.approx(expected, abs=1e-3)
    assert any("flat priors" in note for note in result.status.notes)


CHARTS = {
    "signed": bg.Prior("HalfNormal", sigma=2),
    "logged": bg.Prior("InverseGamma", alpha=2, beta=1),
    "ending above": bg.Prior("Uniform", lower=0, upper=1.5),
    "ending below": bg.Prior("TruncatedNormal", mu=0, sigma=2, lower=0.3),
    "ending twice": bg.Prior("Uniform", lower=0.2, upper=2),
}


@pytest.mark.parametrize("case", CHARTS)
def test_charts_keep_the_density(case: str) -> None:
    """Slopes are derivatives, log-slopes those of the slopes; there and back is where one was."""
    data = binary().data
    model = bg.Model("y ~ 1 + (1 | g)", data, family="binomial", priors={"g.sd": CHARTS[case]})
    target = make_target(model.problem)
    chart = make_chart(target)
    assert chart.signed.tolist() == [False, case == "signed"]
    assert chart.bounded.tolist() == [False, case.startswith("ending")]
    y, h = np.array([0.3, 0.7]), 1e-6
    x, slope, log_slope, bend = chart.target(y)
    assert np.isfinite(target.at(x).value)
    up, down = (chart.target(y + np.array([0.0, s])) for s in (h, -h))
    assert slope[1] == pytest.approx((up[0][1] - down[0][1]) / (2 * h), rel=1e-6)
    assert bend[1] == pytest.approx((up[2] - down[2]) / (2 * h), rel=1e-6, abs=1e-8)
    assert log_slope == pytest.approx(np.log(abs(slope[1])), rel=1e-12, abs=1e-12)
    assert chart.log_slope(x) == pytest.approx(log_slope, abs=1e-10)
    np.testing.assert_allclose(chart.sampler(x), y, rtol=1e-10)


def test_a_prior_that_ends_where_the_likelihood_rises() -> None:
    """The mode is at the end of the support; the posterior is not."""
    model = bg.Model(
        "y ~ 1 + (1 | g)", binary().data, family="binomial", priors={"g.sd": bg.Prior("Uniform", lower=0, upper=1.0)}
    )
    result = sample(model.problem, draws=200, seed=1, chains=2)
    assert result.draws is not None
    sd = result.draws.theta[..., 0]
    assert result.status.divergences == 0
    assert 0.0 < sd.min() < 0.2
    assert 0.95 < sd.max() < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nutpie", "pymc"])
def test_extended_graph_comes_back_as_a_fit(sampler: str) -> None:
    """A potential that all but fixes the intercept; random effects are drawn given the parameters."""
    import pymc as pm

    model = binary()
    with model.to_pymc(marginalize=True, method="agq", nodes=15) as graph:
        pm.Potential("pin", -0.5 * ((graph["beta"][0] - 1.0) / 0.01) ** 2)
    fit = model.fit("mcmc", pymc_model=graph, sampler=sampler, seed=3, draws=500, tune=500)
    assert fit.fixed.loc["Intercept", "estimate"] == pytest.approx(1.0, abs=0.002)
    assert fit.random["g"].shape[0] == GROUPS
    assert fit.result.draws is not None
    assert fit.result.draws.effects[0].shape == (4, 500, GROUPS, 1)


@pytest.mark.slow
def test_agrees_with_the_full_graph(result: Result) -> None:
    full = mcmc.run(binary().problem, seed=5)
    se = np.sqrt(np.diag(full.cov_joint))  # type: ignore[arg-type]
    ours = np.concatenate([result.beta, result.theta])
    theirs = np.concatenate([full.beta, full.theta])
    np.testing.assert_allclose((ours - theirs) / se, 0.0, atol=0.15)


def test_which_nodes() -> None:
    problem = binary().problem
    assert [nodes_of(problem, True, None), nodes_of(problem, "laplace", None), nodes_of(problem, True, 7)] == [1, 1, 7]
    assert nodes_of(problem, "agq", None) == 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"marginalize": "exactly"}, "marginalize='exactly'; True, 'laplace' or 'agq'"),
        ({"marginalize": "laplace", "nodes": 5}, "use marginalize='agq'"),
        ({"marginalize": True, "sampler": "pymc"}, "sampled by nutpie"),
        ({"marginalize": True, "effects": "normal"}, "'exact' or 'gaussian'"),
        ({"nodes": 5}, "goes with marginalize"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError) as error:
        mcmc.run(binary().problem, **options)
    assert message in str(error.value)


def problem_without_random_effects() -> Problem:
    data = pd.DataFrame({"y": [1.0, 2, 0, 4, 3, 5], "x": [0.0, 1, 2, 0, 1, 2]})
    return bg.Model("y ~ x", data, family="poisson").problem


def test_without_random_effects() -> None:
    result = sample(problem_without_random_effects(), draws=400, tune=100, seed=1)
    laplace = bg.Model(
        "y ~ x", pd.DataFrame({"y": [1.0, 2, 0, 4, 3, 5], "x": [0.0, 1, 2, 0, 1, 2]}), family="poisson"
    ).fit("laplace")
    assert result.draws is not None
    assert result.draws.effects == ()
    np.testing.assert_allclose((result.beta - laplace.result.beta) / laplace.fixed["se"], 0.0, atol=0.25)
