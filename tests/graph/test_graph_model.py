"""The PyMC graph as a user meets it: names, dims, coords, prior and predictive draws, size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from building import problem_of
from keystone_cases import bound_problem, crossed_problem, three_column_problem
from pytensor.compile.mode import Mode
from pytensor.graph.traversal import ancestors
from pytensor.tensor.basic import TensorConstant
from scipy.special import gammaln

from bayesglmm import names
from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.graph import build_model
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.rows import row_distribution
from bayesglmm.priors import Prior, resolve_priors

#: Plain numpy: C code would look for a BLAS library, and PyTensor warns where it finds none.
FAST = Mode(linker="py", optimizer=None)


def data(n: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": rng.poisson(3.0, n),
            "x": rng.normal(size=n),
            "g": [f"g{i % 7}" for i in range(n)],
            "obs": [f"o{i % 5}" for i in range(n)],
            "sigma": [f"s{i % 4}" for i in range(n)],
            "w": rng.uniform(0.5, 2.0, n),
        }
    )


def test_names_dims_and_coords() -> None:
    model = build_model(problem_of("y ~ x + (1 + x | g)", data(), "poisson"))
    assert set(model.named_vars_to_dims) >= {"beta", "g", "g.sd", "g.corr", "g.u", "y"}
    assert model.named_vars_to_dims["g"] == ("g.level", "g.column")
    assert model.named_vars_to_dims["g.corr"] == ("g.column", "g.column_bis")
    assert tuple(model.coords["coefficient"]) == ("Intercept", "x")
    assert tuple(model.coords["g.level"]) == tuple(f"g{i}" for i in range(7))
    assert tuple(model.coords["g.column"]) == ("Intercept", "x")
    assert [v.name for v in model.free_RVs] == ["beta", "g.chol", "g.u"]


def test_scalar_groups_have_one_sd_variable_and_no_correlation() -> None:
    model = build_model(problem_of("y ~ x + (1 | g) + (1 | obs)", data(), "poisson"))
    assert [v.name for v in model.free_RVs] == ["beta", "g.sd", "g.u", "obs.sd", "obs.u"]
    assert "g.corr" not in model.named_vars


def test_a_column_called_like_a_variable_of_ours() -> None:
    model = build_model(problem_of("x ~ 1 + (1 | sigma)", data()))
    assert {"sigma", "sigma_", "sigma_.sd"} <= set(model.named_vars)


def test_response_is_named_after_its_successes() -> None:
    table = data().assign(n=9)
    model = build_model(problem_of("p(y, n) ~ x", table[table.y <= 9], "binomial"))
    assert [v.name for v in model.observed_RVs] == ["y"]
    assert names.response_variable("log(y)") == "log(y)"
    assert names.response_variable("p(incidence, size)") == "incidence"
    assert names.group_variable("a/b") == "a:b"


def test_prior_draws_follow_the_priors() -> None:
    """Their moments, within five Monte Carlo errors."""
    count = 500
    problem = crossed_problem(
        get_family("gaussian"),
        "identity",
        priors={"fixed": Prior("Normal", sigma=2), "g.corr": Prior("LKJ", eta=1), "h.sd": Prior("Exponential", lam=2)},
    )
    draws = pm.sample_prior_predictive(count, model=build_model(problem), random_seed=3, compile_kwargs={"mode": FAST})
    prior = draws["prior"]
    beta = prior["beta"].values.reshape(-1, 3)
    np.testing.assert_allclose(beta[:, 1:].std(axis=0), 2.0, rtol=5 / np.sqrt(2 * count))
    sd = prior["h.sd"].values.ravel()
    assert sd.mean() == pytest.approx(0.5, rel=5 / np.sqrt(count))
    corr = prior["g.corr"].values[0, :, 0, 1]  # LKJ(1) of two columns: uniform on (-1, 1)
    assert corr.var() == pytest.approx(1 / 3, rel=5 * np.sqrt(0.8 / count))
    assert prior["h"].dims[-2:] == ("h.level", "h.column")


@pytest.mark.parametrize("on", ["precision", "value"])
def test_prior_draws_follow_a_wishart_prior(on: str) -> None:
    """E(W) = df · scale, within five Monte Carlo errors; √(df (S_ij² + S_ii S_jj)) is the sd of an entry."""
    count, scale = 400, np.array([[0.5, 0.2], [0.2, 0.9]])
    problem = crossed_problem(
        get_family("gaussian"), "identity", priors={"g.cov": Prior("Wishart", df=6, scale=scale, on=on)}
    )
    draws = pm.sample_prior_predictive(count, model=build_model(problem), random_seed=3, compile_kwargs={"mode": FAST})
    sd, corr = (draws["prior"][name].values[0] for name in ("g.sd", "g.corr"))
    cov = sd[:, :, None] * corr * sd[:, None, :]
    mean = (np.linalg.inv(cov) if on == "precision" else cov).mean(axis=0)
    spread = np.sqrt(6 * (scale**2 + np.outer(np.diag(scale), np.diag(scale))) / count)
    np.testing.assert_array_less(np.abs(mean - 6 * scale), 5 * spread)


def test_powered_weights_multiply_the_log_density_and_leave_the_draws() -> None:
    family = get_family("poisson")
    weighted, plain = (crossed_problem(family, "log", weights=w) for w in (True, False))
    point = {}
    elementwise = []
    for problem in (weighted, plain):
        model = build_model(problem)
        point = point or {k: 0.1 + 0.0 * v for k, v in model.initial_point(random_seed=1).items()}
        logp = model.logp(vars=model.observed_RVs, sum=False)[0]
        elementwise.append(model.compile_fn(logp, mode=FAST, on_unused_input="ignore")(point))
    np.testing.assert_allclose(elementwise[0], weighted.design.weights * elementwise[1], rtol=1e-12)
    draws = pm.sample_prior_predictive(5, model=build_model(weighted), random_seed=1, compile_kwargs={"mode": FAST})
    y = draws["prior_predictive"]["y"].values
    assert y.shape == (1, 5, weighted.design.nobs)
    np.testing.assert_array_equal(y, np.round(y))


def test_fractional_counts_continue_the_factorial() -> None:
    problem = crossed_problem(get_family("poisson"), "log", weights=False)
    y = problem.response.y + 0.5
    design = replace(problem.design, response=replace(problem.response, y=y))
    model = build_model(bound_problem(design, problem.family, "log", {}, "default"))
    start = {k: 0.0 * v for k, v in model.initial_point(random_seed=1).items()}
    logp = model.logp(vars=model.observed_RVs, sum=False)[0]
    value = model.compile_fn(logp, mode=FAST, on_unused_input="ignore")(start)
    eta = design.offset  # everything else is zero there
    np.testing.assert_allclose(value, y * eta - np.exp(eta) - gammaln(y + 1), rtol=1e-10)


def test_whitening_makes_the_design_orthogonal_and_has_its_jacobian() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(50), 40.0 + rng.normal(size=50), rng.normal(size=50)])
    change = Whitening(X)
    np.testing.assert_allclose((X @ change.inverse).T @ (X @ change.inverse), 50 * np.eye(3), atol=1e-7)
    beta = rng.normal(size=3)
    np.testing.assert_allclose(change.backward(change.forward(beta)).eval(mode=FAST), beta, rtol=1e-10)
    exact = np.linalg.slogdet(change.inverse)[1]
    assert float(change.log_jac_det(beta).eval(mode=FAST)) == pytest.approx(exact)


def test_nothing_in_the_graph_is_larger_than_the_data() -> None:
    """Random effects enter by indexing: no rows × levels matrix among the constants, nor made when evaluated."""
    rng = np.random.default_rng(1)
    n, levels = 3000, 500
    table = pd.DataFrame({"y": rng.poisson(2.0, n), "x": rng.normal(size=n), "g": np.arange(n) % levels})
    model = build_model(problem_of("y ~ x + (x | g)", table, "poisson"))
    outputs = [model.logp(), *model.deterministics]
    sizes = [v.data.size for v in ancestors(outputs) if isinstance(v, TensorConstant)]
    assert max(sizes) <= 2 * n


def test_two_terms_of_a_group_are_block_diagonal() -> None:
    model = build_model(three_column_problem("unstructured"))
    start = model.initial_point(random_seed=1)
    outputs = model.replace_rvs_by_values([model["g.corr"], model["g.sd"]])
    function = pytensor.function(model.value_vars, outputs, mode=FAST, on_unused_input="ignore")
    corr, sd = function(*(0.3 + 0.0 * start[v.name] for v in model.value_vars))
    np.testing.assert_array_equal(corr[3], [0, 0, 0, 1])
    assert abs(corr[0, 1]) > 0.05
    assert sd.shape == (4,)


def test_quasi_families_have_no_graph() -> None:
    with pytest.raises(MethodError, match="no likelihood"):
        build_model(problem_of("y ~ x", data(), "quasipoisson"))


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_draws_of_rows_have_the_mean_of_the_link(link: str) -> None:
    from bayesglmm.links import get_link

    family = get_family("binomial")
    eta = np.repeat([-1.0, 0.3, 1.1], 4000)
    dist = row_distribution(family, get_link(link), pytensor.tensor.as_tensor(eta), {}, None, None)
    drawn = pm.draw(dist, random_seed=4, mode=FAST).reshape(3, -1).mean(axis=1)
    mu = get_link(link).mean(np.array([-1.0, 0.3, 1.1]))
    np.testing.assert_allclose(drawn, mu, atol=5 * 0.5 / np.sqrt(4000))


def test_draws_of_coefficients_whose_intercept_has_a_prior_at_the_means() -> None:
    """Of the graph: the height at the means and the slopes are independent, each as its own prior says."""
    problem = problem_of("y ~ x", data().assign(x=lambda d: d.x + 20.0), "gaussian")
    for request in ({}, {"x": Prior("Logistic", mu=1, s=0.5)}):
        priors = resolve_priors(request, problem.design, problem.family, problem.link, ())
        beta = pm.draw(build_model(replace(problem, priors=priors))["beta"], draws=4000, random_seed=1, mode=FAST)
        mean, sd = (dict(priors.coefficients[0].params)[k] for k in ("mu", "sigma"))
        height = beta @ problem.design.X.mean(axis=0)
        assert height.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(4000))
        assert height.std() == pytest.approx(sd, rel=0.05)
        assert abs(np.corrcoef(height, beta[:, 1])[0, 1]) < 0.06
    assert beta[:, 1].std() == pytest.approx(0.5 * np.pi / np.sqrt(3), rel=0.06)
