"""Marginals of a result: names, natural scales, delta-method errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_fits import make_problem, normal_result, sampled_result
from reference_data import frame
from scipy import stats

import bayesglmm as bg
from bayesglmm.covariance import bind_covariance
from bayesglmm.design.types import RandomBlock, Response, Term
from bayesglmm.families import get_family
from bayesglmm.graph.variables import scalar_parameters
from bayesglmm.links import get_link
from bayesglmm.marginals import FISHER, IDENTITY, LOG, Marginal, link_scale, marginals
from bayesglmm.parameters import posterior_variables
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result, Status
from bayesglmm.tables import varcomp_table

ROWS = 40


def slope_problem(family: str = "poisson", form: str | None = None, correlated: bool = True) -> Problem:
    """``y ~ x + (1 + x | g)``."""
    plain = make_problem()
    x = plain.design.X[:, 1]
    codes = plain.design.blocks[0].codes
    block = RandomBlock(
        "g",
        plain.design.blocks[0].levels,
        codes,
        np.column_stack([np.ones(ROWS), x]),
        ("Intercept", "x"),
        (Term("1 + x | g", 0, 2, correlated),),
    )
    row = get_family(family)
    y = plain.response.y + 0.5 if family != "poisson" else plain.response.y
    design = replace(plain.design, blocks=(block,), response=Response("y", y))
    request = None if form is None else {"g": form}
    return Problem(design, row, get_link(row.links[0], row), bind_covariance((block,), request), None)


def result_at(problem: Problem, theta: np.ndarray, cov: np.ndarray, **more: object) -> Result:
    return Result(
        "laplace", "", "conditional", np.array([0.1, 0.2]), cov[:2, :2], np.zeros(ROWS), Status(True, ""),
        theta=theta, cov_joint=cov, **more,
    )  # fmt: skip


def test_every_parameter_by_name():
    found = marginals(slope_problem(), result_at(slope_problem(), np.array([0.5, 0.1, 0.3]), np.eye(5)))
    assert list(found) == ["Intercept", "x", "g.sd[Intercept]", "g.sd[x]", "g.corr[x, Intercept]"]
    assert [m.kind for m in found.values()] == ["fixed", "fixed", "sd", "sd", "corr"]


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("diagonal", ["g.sd[Intercept]", "g.sd[x]"]),
        ("cs", ["g.sd[Intercept]", "g.sd[x]", "g.corr[x, Intercept]"]),
        ("ar1", ["g.sd", "g.corr[x, Intercept]"]),
    ],
)
def test_a_structured_covariance_has_only_its_own_parameters(form, names):
    problem = slope_problem(form=form)
    k = problem.covariance[0].n_params
    theta = problem.covariance[0].from_sd_corr(np.array([0.5, 0.5]), np.array([[1.0, 0.2], [0.2, 1.0]]))
    found = marginals(problem, result_at(problem, theta, np.eye(2 + k)))
    assert list(found)[2:] == names
    # Chains are judged by the same parameters under the same names.
    draws = Draws(np.zeros((2, 3, 2)), np.tile(theta, (2, 3, 1)), np.empty((2, 3, 0)), (np.zeros((2, 3, 8, 2)),))
    judged = scalar_parameters(problem, posterior_variables(problem, draws).__getitem__)
    assert list(judged) == list(found)
    assert {v.shape for v in judged.values()} == {(2, 3)}


def test_delta_method_errors_of_sds_and_correlation_are_those_of_finite_differences():
    problem = slope_problem()
    covariance = problem.covariance[0]
    theta = np.array([0.7, -0.2, 0.4])
    root = np.random.default_rng(0).normal(size=(5, 5))
    cov = root @ root.T
    found = marginals(problem, result_at(problem, theta, cov))

    def natural(t: np.ndarray) -> np.ndarray:
        sd, corr = covariance.sd_corr(t)
        return np.array([sd[0], sd[1], corr[1, 0]])

    step = 1e-6
    J = np.column_stack([(natural(theta + step * e) - natural(theta - step * e)) / (2 * step) for e in np.eye(3)])
    expected = np.sqrt(np.diag(J @ cov[2:, 2:] @ J.T))
    ours = [found[k].sd for k in ("g.sd[Intercept]", "g.sd[x]", "g.corr[x, Intercept]")]
    assert ours == pytest.approx(expected, rel=1e-7)


def test_a_method_that_reads_groups_as_clusters_has_no_sds():
    result = replace(normal_result("gee", [0.1, 0.2], [0.1, 0.1], 0.5, 0.1), theta=np.empty(0), cov_joint=None)
    assert list(marginals(make_problem(), result)) == ["Intercept", "x"]


def test_a_variance_of_zero_has_no_standard_error():
    found = marginals(make_problem(), normal_result("laplace", [0.1, 0.2], [0.1, 0.1], 0.0, float("nan")))
    assert found["g.sd"].estimate == 0.0
    assert np.isnan(found["g.sd"].sd)


def test_a_sampled_posterior_is_summarised_by_its_draws():
    result = sampled_result()
    found = marginals(make_problem(), result)
    sd = result.draws.theta[..., 0]
    assert found["g.sd"].estimate == pytest.approx(sd.mean(), rel=1e-12)
    assert found["g.sd"].sd == pytest.approx(sd.std(ddof=1), rel=1e-12)
    assert found["x"].draws.shape == (4, 1000)


def test_direct_draws_do_not_replace_the_estimate():
    result = sampled_result()
    direct = replace(result, draws=replace(result.draws, independent=True), beta=np.array([9.0, 8.0]))
    found = marginals(make_problem(), direct)
    assert [found["Intercept"].estimate, found["x"].estimate] == [9.0, 8.0]
    assert found["x"].draws is None


@pytest.mark.parametrize(
    ("scale", "estimate"), [(IDENTITY, -1.3), (LOG, 0.6), (link_scale("logit"), 0.7), (FISHER, -0.4)]
)
def test_a_normal_approximation_on_its_scale(scale, estimate):
    marginal = Marginal("a", "sd", estimate, 1e-3, None, scale)
    p = np.array([0.05, 0.5, 0.95])
    # a small standard error carries over to the natural scale as it is
    assert marginal.quantiles(p) == pytest.approx(estimate + 1e-3 * stats.norm.ppf(p), abs=1e-5)
    wide = Marginal("a", "sd", estimate, 0.1, None, scale)
    x = wide.quantiles(np.linspace(1e-9, 1 - 1e-9, 200_001))
    inside = (np.diff(x) * 0.5 * (wide.density(x)[1:] + wide.density(x)[:-1]))[100:-100].sum()
    assert inside == pytest.approx(1.0 - 200 / 200_000, rel=1e-4)


def test_sds_have_the_interval_that_the_variance_table_shows():
    problem = make_problem()
    result = normal_result("laplace", [0.1, 0.2], [0.1, 0.1], 0.6, 0.2)
    row = varcomp_table(problem, result).iloc[0]
    ends = marginals(problem, result)["g.sd"].quantiles(np.array([0.025, 0.975]))
    assert ends == pytest.approx([row["ci_low"], row["ci_high"]], rel=1e-9)


def test_a_gaussian_residual_is_shown_as_an_sd():
    problem = slope_problem("gaussian", correlated=False)
    cov = np.diag([1.0, 1.0, 1.0, 1.0, 0.04])
    result = result_at(problem, np.array([0.5, 0.3]), cov, psi=np.array([np.log(2.0)]), scale=4.0)
    found = marginals(problem, result)["Residual.sd"]
    # log σ has standard error 0.2, so σ = 2 has 0.4
    assert (found.kind, found.estimate, found.sd) == ("sd", pytest.approx(2.0), pytest.approx(0.4, rel=1e-6))


def test_a_gaussian_residual_without_auxiliaries_comes_from_the_scale():
    problem = slope_problem("gaussian", correlated=False)
    result = result_at(problem, np.array([0.5, 0.3]), np.eye(4), scale=9.0)
    assert marginals(problem, result)["Residual.sd"].estimate == pytest.approx(3.0)


def test_draws_of_an_auxiliary_are_on_its_natural_scale():
    problem = slope_problem("gaussian", correlated=False)
    rng = np.random.default_rng(2)
    psi = np.log(2.0) + 0.1 * rng.normal(size=(2, 300, 1))
    draws = Draws(
        rng.normal(size=(2, 300, 2)), np.abs(rng.normal(size=(2, 300, 2))), psi, (rng.normal(size=(2, 300, 8, 2)),),
        False,
    )  # fmt: skip
    result = result_at(problem, np.array([0.5, 0.3]), np.eye(5), psi=np.array([np.log(2.0)]), scale=4.0, draws=draws)
    found = marginals(problem, result)["Residual.sd"]
    assert found.draws == pytest.approx(np.exp(psi[..., 0]), rel=1e-12)


def test_an_approximate_posterior_is_compared_by_its_means():
    """The sd of a Laplace posterior is lognormal: its mean and sd in closed form, its quantiles untouched."""
    model = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), family="binomial")
    fit = model.fit("laplace")
    found = marginals(model.problem, fit.result)["herd.sd"]
    mode, se = fit.varcomp.loc[0, ["sd", "se"]].astype(float)
    width = se / mode
    mean = mode * np.exp(width**2 / 2)
    assert found.estimate == pytest.approx(mean, rel=1e-9)
    assert found.sd == pytest.approx(mean * np.sqrt(np.expm1(width**2)), rel=1e-7)
    assert found.quantiles(np.array([0.5])) == pytest.approx([mode], rel=1e-9)
