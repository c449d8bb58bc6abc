"""Satterthwaite and Kenward-Roger against lmerTest and pbkrtest; type III tables; mixed-model equations."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from building import problem_of, reference_problem
from dense_textbook import dense
from reference_data import coefficient_name, fit, fits, frame, published

from bayesglmm.covariance import Known
from bayesglmm.errors import MethodError
from bayesglmm.inference.mixed_tests import f_test
from bayesglmm.inference.term_tests import term_table
from bayesglmm.inference.type3 import type3_hypotheses
from bayesglmm.latent.linear.mixed_equations import mixed_equations, prediction_errors_at
from bayesglmm.latent.linear.small_sample import small_sample
from bayesglmm.latent.prediction import linear_predictor_variance
from bayesglmm.latent.refit import solution_of
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.methods import ml, reml

DATA = ("bonds", "cake", "dyestuff", "machines", "pastes", "penicillin", "petrol", "sleepstudy")
KEYS = {"satterthwaite": "t_satterthwaite", "kenward-roger": "t_kenward_roger"}
TABLES = {"satterthwaite": "anova_type3_satterthwaite", "kenward-roger": "anova_type3_kenward_roger"}
RUN = {"lmer-ml": ml.run, "lmer-reml": reml.run}


def cases(keys):
    return [
        pytest.param(name, f["id"], kind, id=f"{name}-{f['id']}-{kind}")
        for name in DATA
        for f in fits(name, "lmer-ml", "lmer-reml")
        for kind, key in keys.items()
        if f.get(key)
    ]


@cache
def fitted(name, id, df=None):
    reference = fit(name, id)
    problem = reference_problem(name, reference)
    return reference, problem, RUN[reference["method"]](problem, **({} if df is None else {"df": df}))


@pytest.mark.parametrize(("name", "id", "kind"), cases(KEYS))
def test_degrees_of_freedom_and_t(name, id, kind):
    reference, problem, result = fitted(name, id, kind)
    rows = [reference[KEYS[kind]][coefficient_name(c)] for c in problem.design.columns]
    np.testing.assert_allclose(result.extras["df"], [r["df"] for r in rows], rtol=1e-5)
    se = np.sqrt(np.diag(result.cov_beta))
    if kind == "kenward-roger":
        np.testing.assert_allclose(se, [r["se_adjusted"] for r in rows], rtol=1e-6)
    np.testing.assert_allclose(result.beta / se, [r["t"] for r in rows], rtol=1e-5)
    assert result.use_t
    assert result.options["df"] == kind


@pytest.mark.parametrize(("name", "id", "kind"), cases(TABLES))
def test_type3_tables(name, id, kind):
    reference, problem, result = fitted(name, id)
    table = term_table(problem, result, "III", kind)
    for row in reference[TABLES[kind]]:
        own = table.loc[row["term"]]
        assert own["df"] == row["NumDF"]
        assert own["F"] == pytest.approx(row["F value"], rel=1e-6)
        assert own["df_denominator"] == pytest.approx(row["DenDF"], rel=1e-5)
        assert own["p"] == pytest.approx(row["Pr(>F)"], rel=1e-4, abs=1e-300)
    assert len(table) == len(reference[TABLES[kind]])


#: lmerTest 3.1-3, anova(type=), Satterthwaite: denominator df and F of Machine, half, Machine:half. Worker's effects by
#: machine correlated, or worker and machine in worker.
UNBALANCED = {
    "(0 + Machine | Worker)": {
        "I": ([5.0949485, 3.9967281, 4.1064197], [72.106366, 0.55110657, 9.7064471]),
        "II": ([4.2399659, 3.9967281, 4.1077062], [115.114819, 0.55110657, 9.7064471]),
        "III": ([4.1077062, 3.9972487, 4.1077062], [112.405657, 0.49759850, 9.7064471]),
    },
    "(1 | Worker/Machine)": {
        "I": ([9.4641157, 4.0049946, 8.0833524], [22.4177727, 0.59850525, 2.5150316]),
        "II": ([8.0597307, 4.0049946, 8.0833512], [32.4630478, 0.59850525, 2.5150316]),
        "III": ([8.0833512, 3.9977908, 8.0833512], [30.7562583, 0.51213856, 2.5150316]),
    },
}


@pytest.mark.parametrize("random", list(UNBALANCED))
def test_denominators_of_several_rows_in_an_unbalanced_design(random):
    data = frame("machines")
    row = np.arange(len(data))
    data = data[(row % 7 != 3) & (row % 11 != 4)].copy()
    data["half"] = np.where(data["Worker"].astype(str).isin(["1", "4", "5"]), "q", "p")
    for coding in ("Machine", "C(Machine, contr.sum)", "C(Machine, contr.poly)"):
        problem = problem_of(f"score ~ {coding} * half + {random}", data)
        result = reml.run(problem)
        for kind, (df, F) in UNBALANCED[random].items():
            table = term_table(problem, result, kind, "satterthwaite")
            if coding == "Machine" or kind == "III":
                np.testing.assert_allclose(table["df_denominator"], df, rtol=1e-5)
            np.testing.assert_allclose(table["F"], F, rtol=1e-5)


def test_balanced_designs_give_the_exact_anova_f_tests():
    _, problem, result = fitted("bonds", "int-reml")
    exact = published()["bonds"]["metal_test"]
    for kind in TABLES:
        row = term_table(problem, result, "III", kind).loc["metal"]
        assert row["F"] == pytest.approx(exact["F"], abs=1e-4)
        np.testing.assert_allclose([row["df"], row["df_denominator"]], exact["df"], rtol=1e-6)
        assert row["p"] == pytest.approx(exact["p"], abs=1e-5)
    _, problem, result = fitted("machines", "nested-reml")
    aggregated = published()["machines"]["aggregated_anova"]["Machine"]
    row = term_table(problem, result, "III", "kenward-roger").loc["Machine"]
    assert row["F"] == pytest.approx(aggregated["F"], abs=1e-4)
    assert row["df_denominator"] == pytest.approx(10.0, rel=1e-6)
    assert row["p"] == pytest.approx(aggregated["p"], abs=1e-7)


@pytest.mark.parametrize("kind", list(KEYS))
def test_an_f_test_of_one_contrast_is_the_square_of_its_t(kind):
    _, problem, result = fitted("petrol", "lmm-reml")
    approximation = small_sample(problem, result, kind)
    contrast = np.array([0.0, 1.0, -2.0, 0.0, 0.5])
    test = f_test(problem, result, contrast, df=kind)
    t = contrast @ result.beta / np.sqrt(contrast @ approximation.cov @ contrast)
    assert test.statistic == pytest.approx(t**2, rel=1e-9)
    assert test.df_denominator == pytest.approx(approximation.df(contrast), rel=1e-9)
    named = f_test(problem, result, "SG - 2*VP + 0.5*EP = 0", df=kind)
    assert named.statistic == pytest.approx(test.statistic, rel=1e-9)


@pytest.mark.parametrize("kind", list(KEYS))
def test_an_f_test_does_not_depend_on_how_the_hypothesis_is_written(kind):
    _, problem, result = fitted("cake", "linear-reml")
    L = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0]])
    mixed = np.array([[2.0, 1], [0, -3], [1, 1]]) @ L
    one, other = (f_test(problem, result, m, df=kind) for m in (L, mixed))
    assert other.statistic == pytest.approx(one.statistic, rel=1e-8)
    assert other.df == one.df == 2
    assert other.df_denominator == pytest.approx(one.df_denominator, rel=1e-6)


def test_units_of_the_columns_do_not_matter_to_degrees_of_freedom():
    data = frame("petrol")
    data["tiny"] = data["EP"] * 1e-6
    problem = problem_of("Y ~ SG + VP + V10 + tiny + (1 | No)", data)
    for kind in KEYS:
        expected = fitted("petrol", "lmm-reml", kind)[2].extras["df"]
        np.testing.assert_allclose(reml.run(problem, df=kind).extras["df"], expected, rtol=1e-4)


def test_known_kinship_dense_route_agrees_with_the_blockwise_one():
    # K = I given as a known covariance takes the dense route; the plain intercept the level-by-level one.
    data = frame("sleepstudy")
    names = list(data["Subject"].cat.categories)
    formula = "Reaction ~ Days + (1 + Days | Subject)"
    plain = problem_of(formula, data)
    known = problem_of(formula, data, covariance={"Subject": Known(np.eye(18), levels=names)})
    a, b = (small_sample(p, reml.run(p), "kenward-roger") for p in (plain, known))
    np.testing.assert_allclose(a.cov, b.cov, rtol=1e-6)
    for row in np.eye(2):
        assert a.df(row) == pytest.approx(b.df(row), rel=1e-6)


def test_a_variance_at_zero_leaves_the_degrees_of_freedom_of_the_simpler_model():
    data = frame("dyestuff")
    data["Yield"] = data["Yield"] - data.groupby("Batch", observed=True)["Yield"].transform("mean") + 1500.0
    data["x"] = np.tile(np.arange(5.0), 6)
    problem = problem_of("Yield ~ x + (1 | Batch)", data)
    result = reml.run(problem, df="satterthwaite")
    assert result.theta[0] == 0.0
    np.testing.assert_allclose(result.extras["df"], [28.0, 28.0], rtol=1e-6)


def test_type3_is_free_of_the_coding():
    # Unbalanced two-way data with a covariate: the hypotheses on cell means are the same whichever level comes first.
    rng = np.random.default_rng(5)
    n = 120
    data = pd.DataFrame(
        {
            "a": rng.choice(list("pqr"), n),
            "b": rng.choice(list("uv"), n),
            "x": rng.normal(size=n),
            "g": rng.integers(0, 12, n),
        }
    )
    data["y"] = rng.normal(size=n) + data["x"] + rng.normal(size=12)[data["g"]]
    data["g"] = data["g"].astype(str)
    tables = []
    for order in ("pqr", "rqp"):
        data["a"] = pd.Categorical(data["a"], categories=list(order))
        problem = problem_of("y ~ a * b + x + (1 | g)", data)
        tables.append(term_table(problem, reml.run(problem), "III"))
        L = type3_hypotheses(problem)["a"]
        # The hypothesis compares the rows' means over b: it gives nothing to a β with equal row means.
        cells = problem.design.columns.index("b[T.v]")
        np.testing.assert_allclose(L[:, cells], 0.0, atol=1e-12)
    np.testing.assert_allclose(tables[0]["F"], tables[1]["F"], rtol=1e-6)
    # Fai and Cornelius's denominator depends, slightly, on which contrasts span the hypothesis.
    np.testing.assert_allclose(tables[0]["df_denominator"], tables[1]["df_denominator"], rtol=1e-3)


def test_type3_without_the_main_effect_of_a_covariate_tests_all_slopes():
    data = frame("cake")
    problem = problem_of("angle ~ recipe + recipe:temp + (1 | replicate)", data)
    hypotheses = type3_hypotheses(problem)
    assert set(hypotheses) == {"recipe", "recipe:temp"}
    slopes = [j for j, c in enumerate(problem.design.columns) if c.endswith(":temp")]
    assert len(slopes) == 3
    np.testing.assert_allclose(hypotheses["recipe:temp"], np.eye(6)[slopes], atol=1e-12)


@pytest.mark.parametrize("kind", list(KEYS))
def test_contradictory_equations_are_refused(kind):
    _, problem, result = fitted("petrol", "lmm-reml")
    agreeing = f_test(problem, result, ["SG = 1", "2*SG = 2"], df=kind)
    assert agreeing.statistic == pytest.approx(f_test(problem, result, "SG = 1", df=kind).statistic)
    with pytest.raises(MethodError, match="contradict each other"):
        f_test(problem, result, ["SG = 1", "2*SG = 1"], df=kind)


def test_a_model_without_coefficients_has_no_degrees_of_freedom_and_no_trouble():
    problem = problem_of("score ~ 0 + (1 | Worker)", frame("machines"))
    for kind in KEYS:
        assert reml.run(problem, df=kind).extras["df"].shape == (0,)


def test_type3_says_when_it_has_no_hypothesis():
    data = frame("cake")
    only = problem_of("angle ~ 1 + (1 | replicate)", data)
    with pytest.raises(MethodError, match="only an intercept"):
        term_table(only, reml.run(only), "III")


# --- mixed-model equations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "id"), [("sleepstudy", "corr-reml"), ("pastes", "nested-reml"), ("penicillin", "crossed-reml")]
)
def test_mixed_model_equations_give_estimates_and_their_covariance(name, id):
    _, problem, result = fitted(name, id)
    equations = mixed_equations(problem, result)
    p = len(result.beta)
    expected = np.concatenate([result.beta, *(b.ravel() for b in result.effects)])
    np.testing.assert_allclose(equations.solve(), expected, rtol=1e-7, atol=1e-8)
    inverse = np.linalg.inv(equations.coefficients.toarray())
    np.testing.assert_allclose(inverse[:p, :p], result.cov_beta, rtol=1e-6)
    errors = np.concatenate([b.ravel() for b in prediction_errors_at(solution_of(problem, result))])
    np.testing.assert_allclose(errors, np.sqrt(np.diag(inverse)[p:]), rtol=1e-7)
    oracle = dense(problem, result.theta, result.scale)
    np.testing.assert_allclose(errors**2, np.diag(oracle.prediction_error), rtol=1e-7)
    assert len(equations.names) == len(expected)
    assert equations.names[p] == f"{problem.design.blocks[0].group}[{problem.design.blocks[0].levels[0]}] Intercept"


def test_mixed_model_equations_with_a_kinship():
    rng = np.random.default_rng(8)
    root = rng.normal(size=(6, 6))
    K = pd.DataFrame(root @ root.T / 6 + np.eye(6), index=list("ABCDEF"))
    problem = problem_of("Yield ~ 1 + (1 | Batch)", frame("dyestuff"), covariance={"Batch": Known(K)})
    result = reml.run(problem)
    oracle = dense(problem, result.theta, result.scale)
    np.testing.assert_allclose(mixed_equations(problem, result).solve(), [*oracle.beta, *oracle.blup], rtol=1e-7)
    errors = prediction_errors_at(solution_of(problem, result))[0].ravel()
    np.testing.assert_allclose(errors**2, np.diag(oracle.prediction_error), rtol=1e-7)


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_a_working_model_can_be_solved_again(method):
    problem = problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial")
    result = fit_working(problem, method=method, reml=True, scale="free")
    at = solution_of(problem, result)
    np.testing.assert_allclose(at.beta, result.beta, rtol=1e-7)
    np.testing.assert_allclose(at.cov_beta, result.cov_beta, rtol=1e-7)
    assert at.criterion == pytest.approx(result.extras["criterion"], abs=1e-7)
    table = term_table(problem, result, "III")
    assert 10.0 < table.loc["period", "df_denominator"] < 52.0


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_prediction_errors_of_the_linear_predictor_are_the_dense_ones(method):
    problem = problem_of("p(incidence, size) ~ period + (1 | herd)", frame("cbpp"), "binomial")
    result = fit_working(problem, method=method, scale="free")
    at = solution_of(problem, result)
    oracle = dense(problem, result.theta, result.scale, y=at.model.y + problem.design.offset, weights=at.model.weights)
    both = np.hstack([problem.design.X, oracle.Z])
    C = both.T @ (at.model.weights[:, None] / result.scale * both)
    C[4:, 4:] += np.linalg.inv(oracle.G)
    expected = np.einsum("ij,jk,ik->i", both, np.linalg.inv(C), both)
    np.testing.assert_allclose(linear_predictor_variance(problem, result, problem.design), expected, rtol=1e-7)


# --- what cannot be done says so --------------------------------------------------------------------------------------


def test_clear_refusals():
    _, problem, result = fitted("sleepstudy", "corr-ml")
    with pytest.raises(MethodError, match="defined for REML"):
        small_sample(problem, result, "kenward-roger")
    with pytest.raises(MethodError, match="'satterthwaite' or 'kenward-roger'"):
        reml.run(problem, df="residual")
    flat = frame("dyestuff")
    flat["Yield"] = flat["Yield"] - flat.groupby("Batch", observed=True)["Yield"].transform("mean")
    level = problem_of("Yield ~ 1 + (1 | Batch)", flat)
    with pytest.raises(MethodError, match="singular"):
        mixed_equations(level, reml.run(level))
