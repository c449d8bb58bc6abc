"""Mixed-model equations with labels: dense GLS, BLUP and PEV, and a textbook's animal model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_textbook import dense
from reference_data import frame
from scipy import sparse

import bayesglmm as bg
from bayesglmm.inference.mme import mixed_model_equations


@pytest.fixture(scope="module")
def sleep():
    return bg.Model("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy")).fit("reml")


def test_the_solution_and_the_inverse_are_the_dense_formulas(sleep):
    equations = sleep.mme()
    oracle = dense(sleep.model.problem, sleep.result.theta, sleep.result.scale)
    np.testing.assert_allclose(equations.solution.iloc[:2], oracle.beta, rtol=1e-8)
    np.testing.assert_allclose(equations.solution.iloc[2:], oracle.blup, atol=1e-7)
    np.testing.assert_allclose(equations.cov_fixed, np.linalg.inv(oracle.information), rtol=1e-7)
    np.testing.assert_allclose(equations.inverse("fixed"), equations.cov_fixed, rtol=1e-7)
    np.testing.assert_allclose(equations.inverse("Subject"), oracle.prediction_error, rtol=1e-6, atol=1e-9)
    table = equations.prediction_error
    np.testing.assert_allclose(table["pev"], np.diag(oracle.prediction_error), rtol=1e-7)
    np.testing.assert_allclose(table["variance"], np.diag(oracle.G), rtol=1e-7)
    np.testing.assert_allclose(table["blup"], equations.solution.iloc[2:], atol=1e-7)
    assert sparse.issparse(equations.coefficients)
    assert equations.names[:4] == ("Intercept", "Days", "Subject[308] Intercept", "Subject[308] Days")


def test_reliability_is_the_squared_correlation_of_prediction_and_effect(sleep):
    """Var(b̂) = Cov(b̂, b) = G − Var(b̂ − b) for a best linear unbiased predictor: checked with its dense matrix."""
    problem, result = sleep.model.problem, sleep.result
    oracle = dense(problem, result.theta, result.scale)
    Vi = np.linalg.inv(oracle.V)
    P = Vi - Vi @ oracle.X @ np.linalg.solve(oracle.information, oracle.X.T @ Vi)
    predicted = np.diag(oracle.G @ oracle.Z.T @ P @ oracle.Z @ oracle.G)
    np.testing.assert_allclose(sleep.mme().prediction_error["reliability"], predicted / np.diag(oracle.G), rtol=1e-6)


def test_some_rows_of_the_inverse_are_the_whole_inverses(sleep):
    equations = sleep.mme()
    whole = equations.inverse()
    np.testing.assert_allclose(whole, np.linalg.inv(equations.coefficients.toarray()), rtol=1e-7, atol=1e-10)
    some = equations.inverse(["Days", "Subject[310] Days"])
    np.testing.assert_allclose(some, whole.loc[some.index, some.columns])


def test_given_variances_replace_the_estimates(sleep):
    params = {"Subject.sd": [20.0, 5.0], "Subject.corr": 0.2, "sigma": 30.0}
    equations = sleep.mme(params)
    theta = sleep.model.problem.covariance[0].from_sd_corr(np.array([20.0, 5.0]), np.array([[1, 0.2], [0.2, 1]]))
    oracle = dense(sleep.model.problem, theta, 900.0)
    np.testing.assert_allclose(equations.solution, [*oracle.beta, *oracle.blup], rtol=1e-7, atol=1e-7)
    variances = {k: v for k, v in sleep.params.items() if "." in k or k == "sigma"}
    own, fitted = sleep.mme(variances).coefficients, sleep.mme().coefficients
    np.testing.assert_allclose(own.toarray(), fitted.toarray(), rtol=1e-6, atol=1e-9)


def mrode():
    """Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, example 3.1: weight gain of calves."""
    family = pd.DataFrame({"id": range(1, 9), "sire": [0, 0, 0, 1, 3, 1, 4, 3], "dam": [0, 0, 0, 0, 2, 2, 5, 6]})
    sex = ["male", "female", "female", "male", "male"]
    records = pd.DataFrame({"calf": [4, 5, 6, 7, 8], "sex": sex, "gain": [4.5, 2.9, 3.9, 3.5, 5.0]})
    return family, records


def test_the_textbooks_animal_model():
    """σ²_a = 20 and σ²_e = 40: the printed solutions."""
    family, records = mrode()
    known = bg.pedigree(family, id="id", sire="sire", dam="dam")
    model = bg.Model("gain ~ 0 + sex + (1 | calf)", records, covariance={"calf": known})
    equations = mixed_model_equations(model.problem, params={"calf.sd": np.sqrt(20.0), "sigma": np.sqrt(40.0)})
    assert equations.solution["sex[male]"] == pytest.approx(4.358, abs=0.0011)
    assert equations.solution["sex[female]"] == pytest.approx(3.404, abs=0.0011)
    table = equations.prediction_error.set_index("level")
    printed = [0.098, -0.019, -0.041, -0.009, -0.186, 0.177, -0.249, 0.183]
    np.testing.assert_allclose(table.loc[list("12345678"), "blup"], printed, atol=0.0006)
    # Diagonal of the inverse as printed (to be multiplied by σ²_e), and the reliabilities that follow from it.
    diagonal = np.array([0.471, 0.492, 0.456, 0.428, 0.428, 0.442, 0.442, 0.422])
    np.testing.assert_allclose(table.loc[list("12345678"), "pev"], 40 * diagonal, atol=0.03)
    np.testing.assert_allclose(table.loc[list("12345678"), "reliability"], 1 - 2 * diagonal, atol=0.002)


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_the_working_equations_of_pql_and_mql(method):
    fit = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial").fit(method)
    equations = fit.mme()
    np.testing.assert_allclose(equations.solution.iloc[:4], fit.result.beta, rtol=1e-6)
    np.testing.assert_allclose(equations.solution.iloc[4:], fit.result.effects[0].ravel(), atol=1e-6)
    np.testing.assert_allclose(equations.inverse("fixed"), fit.result.cov_beta, rtol=1e-6)


def test_errors_that_go_together_are_in_the_equations():
    """R = σ²(ρ^|lag|) within subjects: the dense formulas with it, at given parameters."""
    data = frame("sleepstudy")
    fit = bg.Model("Reaction ~ Days + (1 | Subject)", data, errors=bg.AR1Errors("Subject", time="Days")).fit("reml")
    equations = fit.mme({"Subject.sd": 20.0, "errors.rho": 0.4, "sigma": 30.0})
    X, block = fit.model.design.X, fit.model.design.blocks[0]
    Z = np.eye(18)[block.codes]
    same = block.codes[:, None] == block.codes
    R = 900.0 * same * 0.4 ** np.abs(np.subtract.outer(X[:, 1], X[:, 1]))
    V = 400.0 * Z @ Z.T + R
    y = data["Reaction"].to_numpy()
    information = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(information, X.T @ np.linalg.solve(V, y))
    blup = 400.0 * Z.T @ np.linalg.solve(V, y - X @ beta)
    np.testing.assert_allclose(equations.solution, [*beta, *blup], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(equations.inverse("fixed"), np.linalg.inv(information), rtol=1e-8)
    C = np.block([[X.T @ np.linalg.solve(R, X), X.T @ np.linalg.solve(R, Z)],
                  [Z.T @ np.linalg.solve(R, X), Z.T @ np.linalg.solve(R, Z) + np.eye(18) / 400.0]])  # fmt: skip
    np.testing.assert_allclose(equations.coefficients.toarray(), C, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(equations.prediction_error["pev"], np.diag(np.linalg.inv(C))[2:], rtol=1e-8)
    assert bg.anova(fit, kind="II", df="satterthwaite").loc["Days", "df_denominator"] < 160


def test_what_has_no_equations_says_so(sleep):
    flat = bg.Model("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial", priors="flat").fit("laplace")
    alone = bg.Model("Reaction ~ Days", frame("sleepstudy")).fit("irls")
    cases = [
        (lambda: alone.mme(), "this model has none"),
        (lambda: flat.mme(), "a fit by ml, reml, pql, mql"),
        (lambda: flat.mme({"herd.sd": 1.0}), "a Gaussian mixed model"),
        (lambda: sleep.mme({"Subject.sd": [0.0, 0.0], "sigma": 1.0}), "is singular"),
        (lambda: sleep.mme({"Subject.sd": [1.0, 1.0]}), "no value given for sigma"),
        (lambda: sleep.mme({"Days": 1.0, "sigma": 1.0}), "variance parameters only"),
        (lambda: sleep.mme().inverse("Batch"), "no equation is named 'Batch'"),
    ]
    for call, words in cases:
        with pytest.raises(bg.MethodError, match=words):
            call()
