"""Fits of lme4, glmmTMB and of dense quadrature in R, reproduced."""

from __future__ import annotations

import numpy as np
import pytest
from building import problem_of
from reference_data import coefficient_name, frame, published, reference

from bayesglmm.latent import fit_marginal, marginal_loglik
from bayesglmm.parameters import pack

DATASETS = [
    *("bacteria", "cbpp", "contraception", "epil", "epil_long", "grouseticks", "insteval", "ohio", "owls", "petrol"),
    *("salamanders", "sleepstudy", "verbagg", "bonds", "cake", "dietox", "dyestuff", "machines", "penicillin"),
]
FAMILIES = {
    "binomial": "binomial",
    "poisson": "poisson",
    "gaussian": "gaussian",
    "nbinom2": "negative_binomial",
    "nbinom1": "negative_binomial_1",
    "Gamma": "gamma",
}
CANONICAL = {("binomial", "logit"), ("poisson", "log")}
SPELLING = {"cbind(incidence, size - incidence)": "p(incidence, size)", "I(Time^2)": "I(Time**2)"}

#: Not the same model here: their `period` is rescaled before the fit.
OTHER_DATA = {("epil", "slope-glmer"), ("epil", "slope-glmmTMB")}


def is_target(name, f) -> bool:
    if (name, f["id"]) in OTHER_DATA or f["family"] not in FAMILIES or f.get("zi") or f.get("disp_model"):
        return False
    if f["method"] in ("glmer-laplace", "glmer-agq") and nodes_of(f) < 25:  # elsewhere lme4 takes another determinant
        return (f["family"], f["link"]) in CANONICAL
    return f["method"] in ("glmmTMB-laplace", "glmer-agq", "exact-ml", "glmmTMB-ml")


def targets():
    for name in DATASETS:
        for f in reference(name)["fits"]:
            if is_target(name, f):
                heavy = name == "insteval" and f["id"] != "bin-glmmTMB"
                yield pytest.param(name, f, id=f"{name}:{f['id']}", marks=pytest.mark.slow if heavy else ())


def nodes_of(f) -> int:
    if f["method"] == "exact-ml":
        return 61
    return int(f["settings"].get("nAGQ", 1)) if f["method"] == "glmer-agq" else 1


@pytest.mark.parametrize(("name", "f"), list(targets()))
def test_fit(name, f):
    formula = f["formula"]
    for theirs, ours in SPELLING.items():
        formula = formula.replace(theirs, ours)
    problem = problem_of(formula, frame(name), FAMILIES[f["family"]], link=f["link"])
    found = fit_marginal(problem, nodes=nodes_of(f))
    # glmer stops a little short of its optimum, and differences its deviance for the standard errors.
    glmer = f["method"] == "glmer-laplace"
    assert found.status.converged
    assert found.status.gradient_norm < 1e-5
    assert f["loglik"] - 1e-5 <= found.loglik <= f["loglik"] + (2e-4 if glmer else 1e-5)
    theirs = [f["fixed"][coefficient_name(c).replace(" ** ", "^")] for c in problem.design.columns]
    estimate, se = (np.array([row[key] for row in theirs]) for key in ("estimate", "se"))
    np.testing.assert_allclose((found.beta - estimate) / se, 0.0, atol=1e-3 if glmer else 2e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(found.cov_beta)) / se, 1.0, rtol=3e-3 if glmer else 1e-3)
    assert_varcomp(problem, found, f)


def assert_varcomp(problem, found, f):
    start = 0
    for block, cov, effects in zip(problem.design.blocks, problem.covariance, found.effects):
        sd, corr = cov.sd_corr(found.theta[start : start + cov.n_params])
        start += cov.n_params
        theirs = f["varcomp"].get(block.group)
        if theirs is None:
            continue  # nested groups are named the other way round in R
        np.testing.assert_allclose(sd, theirs["sd"], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(corr, theirs["corr"], atol=1e-4)
        for level, values in f["random_effects_first"].get(block.group, {}).items():
            own = effects[block.levels.index(level)]
            np.testing.assert_allclose(own, list(values.values()), atol=2e-4 * float(sd.max()))


@pytest.mark.parametrize("row", published()["shun_mccullagh_1995"]["first_order_laplace"])
def test_crossed_binary_array_at_given_parameters(row):
    table = published_frame()
    problem = problem_of("y ~ 1 + (1 | row) + (1 | col)", table, "binomial")
    sd_row, sd_col, intercept = row["at"]
    point = pack(problem, {"row.sd": sd_row, "col.sd": sd_col, "Intercept": intercept})
    value = marginal_loglik(problem, point.beta, point.theta, point.psi)
    assert np.isclose(value, row["value"], atol=1.1e-4)


def published_frame():
    import pandas as pd
    from reference_data import DATA

    return pd.read_csv(DATA / "shun1995.csv")


def test_seeds_by_quadrature():
    import pandas as pd
    from reference_data import DATA

    ml = published()["seeds"]["ml"]
    problem = problem_of(published()["seeds"]["formula"], pd.read_csv(DATA / "seeds.csv"), "binomial")
    found = fit_marginal(problem, nodes=25)
    np.testing.assert_allclose(np.sort(found.beta), np.sort(ml["coef"]), atol=6e-4)
    np.testing.assert_allclose(np.sort(np.sqrt(np.diag(found.cov_beta))), np.sort(ml["se"]), atol=1e-3)
    assert np.isclose(found.theta[0], ml["sd"], atol=6e-4)
