"""Log prior densities by parameter, log-likelihoods of all draws, and what power-scaling makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from keystone_cases import FORMS, crossed_problem, three_column_problem

import bayesglmm as bg
from bayesglmm import names
from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.idata import log_likelihood, log_prior
from bayesglmm.joint import linear_predictor
from bayesglmm.links import get_link
from bayesglmm.parameters import posterior_variables
from bayesglmm.priors import log_prior as joint_log_prior
from bayesglmm.problem import Problem
from bayesglmm.result import Draws


def some_draws(problem: Problem, chains: int = 2, count: int = 3) -> Draws:
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return 0.3 * rng.normal(size=(chains, count, *shape))

    theta = [
        np.stack([[cov.from_working(w, True) for w in chain] for chain in normal(cov.n_params)])
        for cov in problem.covariance
    ]
    effects = tuple(normal(len(b.levels), len(b.columns)) for b in problem.design.blocks)
    return Draws(
        normal(problem.design.X.shape[1]), np.concatenate(theta, axis=-1), normal(len(problem.auxiliaries)), effects
    )


def log_slope_of_cholesky(problem: Problem, theta: np.ndarray) -> float:
    """Log Jacobian of (sds, correlations) in the packed Cholesky factors of unstructured terms (LKJ 2009, eq. 11)."""
    total, start = 0.0, 0
    for cov, priors in zip(problem.covariance, problem.priors.blocks):  # type: ignore[union-attr]
        L = cov.factor(theta[start : start + cov.n_params])
        start += cov.n_params
        for term, prior in zip(cov.terms, priors):
            if prior.is_cholesky:
                own = L[term.start : term.stop, term.start : term.stop]
                sd, i = np.sqrt(np.sum(own**2, axis=1)), np.arange(len(own))
                total += float(np.sum((len(own) - i) * np.log(np.diag(own) / sd) - i * np.log(sd)))
    return total


@pytest.mark.parametrize("form", [*FORMS, "wishart"])
def test_parts_sum_to_the_joint_prior(form: str) -> None:
    family, priors = get_family("negative_binomial"), "default"
    if form == "wishart":
        form, priors = "unstructured", {"g.cov": bg.Prior("Wishart", df=5, scale=0.7, on="precision")}
    for problem in (crossed_problem(family, "log", form, priors), three_column_problem(form, priors)):
        draws = some_draws(problem)
        parts = log_prior(problem, posterior_variables(problem, draws))
        total = sum(v.reshape(2, 3, -1).sum(axis=2) for v in parts.values())
        links = [get_link(a.link) for a in problem.auxiliaries]
        for c, d in ((0, 0), (1, 2)):
            at = draws.beta[c, d], draws.theta[c, d], draws.psi[c, d]
            assert problem.priors is not None
            joint = joint_log_prior(problem.priors, problem.covariance, *at, links)[0]
            slope = sum(float(np.log(abs(link.slope(v)))) for link, v in zip(links, at[2]))
            assert total[c, d] == pytest.approx(joint - slope - log_slope_of_cholesky(problem, at[1]), abs=1e-9)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_log_likelihood_of_all_draws_is_that_of_each(family: str) -> None:
    problem = crossed_problem(get_family(family), "log")
    draws = some_draws(problem)
    every = log_likelihood(problem, draws)
    assert every.shape == (2, 3, problem.design.nobs)
    eta = linear_predictor(problem, draws.beta[1, 2], [b[1, 2] for b in draws.effects])
    one = problem.kernel().derivatives(eta, draws.psi[1, 2]).value
    np.testing.assert_allclose(every[1, 2], one, rtol=1e-12)


def gaussian_model(**priors: bg.Prior) -> bg.Model:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=40), "g": np.repeat(list("abcdefgh"), 5)})
    data["y"] = 1.0 + 0.5 * data["x"] + rng.normal(size=40)
    return bg.Model("y ~ x + (1 + x | g)", data, priors=dict(priors))


@pytest.mark.parametrize("method", ["laplace", "agq"])
def test_groups_of_every_posterior_method(method: str) -> None:
    fit = gaussian_model().fit(method, **({"nodes": 3} if method == "agq" else {}), draws=200, seed=1)
    tree = fit.idata
    posterior, prior = tree["posterior"].dataset, tree["log_prior"].dataset
    assert set(prior.data_vars) == {"beta", "g.sd", "g.corr", "sigma"}
    for name in ("beta", "g.sd", "sigma"):
        assert prior[name].dims == posterior[name].dims
    assert prior["g.corr"].dims == ("chain", "draw")
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", names.OBS_DIM)
    expected = dict(fit.model.problem.priors.items())["x"].log_density(posterior["beta"].sel(coefficient="x"))[0]  # type: ignore[union-attr]
    np.testing.assert_allclose(prior["beta"].sel(coefficient="x"), expected)


def test_sensitivity_tells_a_strong_prior_from_a_weak_one() -> None:
    conflicting = gaussian_model(x=bg.Prior("Normal", mu=3.0, sigma=0.2)).fit("laplace", draws=2000, seed=1)
    weak = gaussian_model().fit("laplace", draws=2000, seed=1)
    strong, plain = conflicting.sensitivity(), weak.sensitivity()
    assert list(plain.columns) == ["prior", "likelihood", "diagnosis"]
    assert set(plain.index) == {"Intercept", "x", "g.sd[Intercept]", "g.sd[x]", "g.corr[x, Intercept]", "sigma"}
    assert plain["prior"].max() < 0.05 < plain.loc["sigma", "likelihood"]
    assert strong.loc["x", "prior"] > 0.1
    assert "strong prior" in strong.loc["x", "diagnosis"] or "conflict" in strong.loc["x", "diagnosis"]
    assert plain.loc["x", "diagnosis"] == "✓"


def test_names_with_a_slash_have_a_sensitivity() -> None:
    """Formulas may divide; the groups of a DataTree are paths."""
    model = gaussian_model()
    data = model.data.assign(x=np.exp(model.data["x"]))
    found = bg.Model("y ~ log(x / 4) + (1 | g)", data).fit("laplace", draws=400, seed=1).sensitivity()
    assert list(found.index) == ["Intercept", "log(x / 4)", "g.sd", "sigma"]
    assert (found["likelihood"] > found["prior"]).all()


def test_what_has_no_sensitivity() -> None:
    data = gaussian_model().data
    data["y"] = data["y"] + data["g"].map(dict(zip("abcdefgh", np.linspace(-3, 3, 8))))
    with pytest.raises(MethodError, match="no prior to be sensitive to"):
        bg.Model("y ~ x + (1 | g)", data, priors="flat").fit("laplace").sensitivity()
    with pytest.raises(MethodError, match="no posterior draws"):
        bg.Model("y ~ x + (1 | g)", data).fit("reml").sensitivity()
