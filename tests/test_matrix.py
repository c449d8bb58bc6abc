"""Every problem by every method that applies: what must hold whatever the numbers are."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_data import frame

import bayesglmm as bg

# name: (data set, formula, family, link, other arguments)
PROBLEMS: dict[str, tuple[str, str, str, str | None, dict[str, Any]]] = {
    "gaussian": ("anorexia", "Postwt ~ Prewt + Treat", "gaussian", None, {}),
    "binomial": ("budworm", "p(ndead, ntotal) ~ sex + ldose", "binomial", None, {}),
    "cloglog": ("budworm", "p(ndead, ntotal) ~ sex * ldose", "binomial", "cloglog", {}),
    "poisson with exposure": ("ceb", "round(y) ~ dur + res", "poisson", None, {"exposure": "n"}),
    "gamma": ("clotting", "lot1 ~ log(u)", "gamma", "inverse", {}),
    "inverse Gaussian": ("hills", "time ~ log(dist) + log(climb)", "inverse_gaussian", "log", {}),
    "negative binomial": ("quine", "Days ~ Eth + Sex + Age", "negative_binomial", None, {}),
    "quasi-Poisson": ("warpbreaks", "breaks ~ wool * tension", "quasipoisson", None, {}),
    "weights": ("anorexia", "Postwt ~ Prewt", "gaussian", None, {"weights": np.linspace(0.5, 2.0, 72)}),
    "gaussian, intercepts": ("sleepstudy", "Reaction ~ Days + (1 | Subject)", "gaussian", None, {}),
    "gaussian, slopes": ("sleepstudy", "Reaction ~ Days + (1 + Days | Subject)", "gaussian", None, {}),
    "gaussian, crossed": ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "gaussian", None, {}),
    "gaussian, nested": ("pastes", "strength ~ 1 + (1 | batch / cask)", "gaussian", None, {}),
    "binomial, intercepts": ("cbpp", "p(incidence, size) ~ period + (1 | herd)", "binomial", None, {}),
    "probit, intercepts": ("cbpp", "p(incidence, size) ~ period + (1 | herd)", "binomial", "probit", {}),
    "Bernoulli, text response": ("bacteria", "y ~ trt + late + (1 | ID)", "binomial", None, {}),
    "Bernoulli, slopes": ("contraception", "use ~ age + urban + (1 + urban | district)", "binomial", None, {}),
    "Bernoulli, interaction": ("contraception", "use ~ age + (1 | urban:district)", "binomial", None, {}),
    "Poisson, two factors": ("epil", "y ~ lbase * trt + (1 | subject) + (1 | obs)", "poisson", None, {}),
    "Poisson, offset": ("epil_long", "y ~ post * trt + (1 | subject) + offset(log(weeks))", "poisson", None, {}),
    "Poisson, uncorrelated": ("epil_long", "y ~ post + (post || subject) + offset(log(weeks))", "poisson", None, {}),
    "negative binomial, intercepts": ("epil", "y ~ lbase * trt + (1 | subject)", "negative_binomial", None, {}),
    "gamma, intercepts": ("sleepstudy", "Reaction ~ Days + (1 | Subject)", "gamma", "log", {}),
    "quasi-binomial, intercepts": ("cbpp", "p(incidence, size) ~ period + (1 | herd)", "quasibinomial", None, {}),
    "compound symmetry": (
        "epil",
        "y ~ lbase + (0 + C(period) | subject)",
        "poisson",
        None,
        {"covariance": {"subject": "cs"}},
    ),
}
# Methods on the PyMC graph are slow, and estimating equations have neither random effects nor a likelihood: both are
# tested where they are made.
METHODS = ("irls", "ml", "reml", "pql", "mql", "laplace", "agq")
LIKELIHOOD = {"laplace", "agq", "ml", "reml"}


@cache
def model(problem: str, priors: str) -> bg.Model:
    dataset, formula, family, link, arguments = PROBLEMS[problem]
    return bg.Model(formula, frame(dataset), family, link=link, priors=priors, **arguments)


@cache
def fitted(problem: str, method: str, priors: str = "flat") -> bg.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.SingularFitWarning)
        return model(problem, priors).fit(method)


PAIRS = [(p, m) for p in PROBLEMS for m in model(p, "flat").methods if m in METHODS]
MARGINAL = [(p, m) for p, m in PAIRS if m in ("laplace", "agq")]


def test_the_matrix_is_wide() -> None:
    assert len(PAIRS) > 80
    assert {m for _, m in PAIRS} == set(METHODS)


@pytest.mark.parametrize(("problem", "method"), PAIRS)
def test_tables(problem: str, method: str) -> None:
    fit, design = fitted(problem, method), model(problem, "flat").design
    assert fit.status.converged
    assert fit.method == method
    assert fit.nobs == design.nobs
    assert list(fit.fixed.index) == list(design.columns)
    assert np.isfinite(fit.fixed[["estimate", "se", "ci_low", "ci_high"]]).all(axis=None)
    assert (fit.fixed["se"] > 0).all()
    assert (fit.fixed["ci_low"] < fit.fixed["estimate"]).all()
    assert (fit.fixed["estimate"] < fit.fixed["ci_high"]).all()
    assert np.sqrt(np.diag(fit.cov)) == pytest.approx(fit.fixed["se"].to_numpy(), rel=1e-12)
    assert np.linalg.eigvalsh(fit.cov).min() > 0
    assert fit.cov.to_numpy() == pytest.approx(fit.cov.to_numpy().T, rel=1e-10)
    p = fit.fixed["p"]
    assert ((p >= 0) & (p <= 1)).all()
    for block in design.blocks:
        table = fit.random[block.group]
        assert list(table.index) == list(block.levels)
        assert np.isfinite(table).all(axis=None)
        rows = fit.varcomp[fit.varcomp.group == block.group].dropna(subset=["sd"])
        assert list(rows.term) == list(block.columns)
        assert (rows.sd >= 0).all()
    text = str(fit)
    assert all(name in text for name in design.columns)


@pytest.mark.parametrize(("problem", "method"), PAIRS)
def test_likelihood_or_none(problem: str, method: str) -> None:
    fit = fitted(problem, method)
    if method in LIKELIHOOD:
        assert np.isfinite([fit.loglik, fit.aic, fit.bic]).all()
        assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * fit.result.df_model, abs=1e-9)
        parameters = len(fit.result.beta) + len(fit.result.theta) + len(fit.result.psi)
        assert fit.result.df_model == parameters
    elif model(problem, "flat").family.quasi or method in ("pql", "mql"):
        with pytest.raises(bg.MethodError, match="likelihood"):
            _ = fit.loglik


@pytest.mark.parametrize(("problem", "method"), MARGINAL)
def test_the_objective_at_the_estimate_is_the_fit(problem: str, method: str) -> None:
    fit = fitted(problem, method)
    options = {"nodes": fit.result.options["nodes"]} if method == "agq" else {}
    assert model(problem, "flat").loglik(fit.params, method=method, **options) == pytest.approx(fit.loglik, abs=1e-8)


@pytest.mark.parametrize(("problem", "method"), MARGINAL)
def test_no_neighbour_is_better(problem: str, method: str) -> None:
    """The maximum of the likelihood: a step of a tenth of a standard error in any direction loses."""
    fit = fitted(problem, method)
    options = {"nodes": fit.result.options["nodes"]} if method == "agq" else {}
    rng = np.random.default_rng(0)
    best = fit.params
    for _ in range(4):
        beta = rng.multivariate_normal(fit.fixed["estimate"], 0.01 * fit.cov)
        moved = {**best, **dict(zip(fit.fixed.index, map(float, beta)))}
        assert model(problem, "flat").loglik(moved, method=method, **options) < fit.loglik
    for name in [n for n in best if n.endswith(".sd") or n in ("sigma", "theta", "shape")]:
        for factor in (0.95, 1.05):
            value = np.maximum(np.asarray(best[name]) * factor, 1e-3)
            there = model(problem, "flat").loglik({**best, name: value}, method=method, **options)
            assert there < fit.loglik + 1e-9, name


@pytest.mark.parametrize(("problem", "method"), PAIRS)
def test_predictions_of_the_training_rows(problem: str, method: str) -> None:
    dataset, _, _, _, arguments = PROBLEMS[problem]
    fit, bound = fitted(problem, method), model(problem, "flat")
    linear, mean = fit.predict(kind="linear"), fit.predict()
    fixed = bound.design.X @ fit.fixed["estimate"].to_numpy() + bound.design.offset
    eta = fit.result.eta
    assert linear["estimate"].to_numpy() == pytest.approx(eta, rel=1e-9, abs=1e-9)
    assert mean["estimate"].to_numpy() == pytest.approx(bound.link.mean(eta), rel=1e-9)
    assert (linear["se"] > 0).all()
    assert ((mean["ci_low"] <= mean["estimate"]) & (mean["estimate"] <= mean["ci_high"])).all()
    new = {"exposure": frame(dataset)[arguments["exposure"]]} if "exposure" in arguments else {}
    again = fit.predict(frame(dataset), kind="linear", **new)
    pd.testing.assert_frame_equal(again, linear, rtol=1e-8)
    population = fit.predict(kind="linear", level="population")
    assert population["estimate"].to_numpy() == pytest.approx(fixed, rel=1e-9)


@pytest.mark.parametrize(("problem", "method"), PAIRS)
def test_residuals(problem: str, method: str) -> None:
    fit, bound = fitted(problem, method), model(problem, "flat")
    response = fit.residuals("response")
    y = bound.problem.mean_response
    assert response == pytest.approx(y - bound.link.mean(fit.result.eta), rel=1e-9, abs=1e-12)
    for kind in ("pearson", "deviance", "working"):
        values = fit.residuals(kind)
        assert np.isfinite(values).all()
        turned = np.sign(bound.link.slope(fit.result.eta)) if kind == "working" else 1.0
        assert (np.sign(values) * turned == np.sign(response))[np.abs(response) > 1e-12].all()
    assert (fit.residuals("deviance") ** 2).sum() == pytest.approx(fit.deviance, rel=1e-9)


@pytest.mark.parametrize(
    ("problem", "method"),
    [(p, m) for p, m in PAIRS if m in ("pql", "ml") and "laplace" in model(p, "flat").methods],
)
def test_methods_agree_where_they_should(problem: str, method: str) -> None:
    """Exact likelihoods are one number; PQL is within a standard error of Laplace on these data."""
    a, b = fitted(problem, method), fitted(problem, "laplace")
    apart = (a.fixed["estimate"] - b.fixed["estimate"]).abs() / b.fixed["se"]
    assert apart.max() < (1e-3 if method == "ml" else 1.0)


@pytest.mark.parametrize(("problem", "method"), MARGINAL)
def test_default_priors_move_the_estimates_a_little(problem: str, method: str) -> None:
    flat, bayes = fitted(problem, method), fitted(problem, method, "default")
    assert bayes.status.converged
    shift = (bayes.fixed["estimate"] - flat.fixed["estimate"]).abs() / flat.fixed["se"]
    assert shift.max() < 1.0
    # The sds move too, even where a balanced mean sits exactly at the centre of its prior.
    sds = (bayes.varcomp["sd"] / flat.varcomp["sd"] - 1.0).abs() if len(flat.varcomp) else shift
    assert max(shift.max(), sds.max()) > 1e-8
    assert "p" not in bayes.fixed.columns


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_method_that_does_not_apply_names_those_that_do(problem: str) -> None:
    bound = model(problem, "flat")
    for method in ("irls", "ml", "reml", "pql", "mql", "laplace", "agq", "map", "mcmc"):
        if method not in bound.methods:
            with pytest.raises(bg.MethodError, match=rf"apply to this model: .*{bound.natural_method}"):
                bound.fit(method)
