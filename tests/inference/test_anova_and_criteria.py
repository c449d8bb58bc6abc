"""Analysis of deviance, score tests, criteria and estimability."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from arrays import array_problem
from glm_references import CASES, problem
from reference_data import fit
from scipy import stats

from bayesglmm.design import build_design
from bayesglmm.errors import DataWarning, MethodError
from bayesglmm.families import get_family
from bayesglmm.inference.anova import anova
from bayesglmm.inference.contrasts import wald_test
from bayesglmm.inference.criteria import aic, aicc, bic, qaic, qic, quasi_loglik
from bayesglmm.inference.estimability import estimable, optimality
from bayesglmm.inference.score import score_test
from bayesglmm.links import get_link
from bayesglmm.problem import Problem
from bayesglmm.scores import fit_irls


def reference_rows(name: str, id: str, key: str) -> dict[str, dict]:
    return {row["term"].replace(" ", ""): row for row in fit(name, id)[key]}


def found_rows(table: pd.DataFrame) -> dict[str, pd.Series]:
    return {term.replace(" ", ""): row for term, row in table.iterrows()}


def having(key: str) -> list[tuple[str, str]]:
    return [(n, i) for n, i in CASES if key in fit(n, i)]


@pytest.mark.parametrize(("name", "id"), having("anova_sequential_F"))
def test_sequential_f(name: str, id: str) -> None:
    made = problem(name, id)
    found = found_rows(anova((made, fit_irls(made)), test="F"))
    expected = reference_rows(name, id, "anova_sequential_F")
    assert set(found) == set(expected)
    for term, row in expected.items():
        assert found[term]["deviance"] == pytest.approx(row["Resid. Dev"], rel=1e-8, abs=1e-10)
        assert found[term]["df_resid"] == row["Resid. Df"]
        if row["F"] is not None:
            assert found[term]["change"] == pytest.approx(row["Deviance"], rel=1e-6, abs=1e-9)
            assert found[term]["F"] == pytest.approx(row["F"], rel=1e-6)
            assert found[term]["p"] == pytest.approx(row["Pr(>F)"], rel=1e-4, abs=1e-14)


@pytest.mark.parametrize(("name", "id"), having("anova_sequential_Chisq"))
def test_sequential_chi_square(name: str, id: str) -> None:
    made = problem(name, id)
    found = found_rows(anova((made, fit_irls(made)), test="chi2"))
    for term, row in reference_rows(name, id, "anova_sequential_Chisq").items():
        assert found[term]["deviance"] == pytest.approx(row["Resid. Dev"], rel=1e-8, abs=1e-10)
        if row["Pr(>Chi)"] is not None:
            assert found[term]["p"] == pytest.approx(row["Pr(>Chi)"], rel=1e-5, abs=1e-14)


@pytest.mark.parametrize(("name", "id"), having("drop1_F"))
def test_marginal_f(name: str, id: str) -> None:
    """R's drop1 divides by deviance/df whatever the summary's dispersion."""
    made = problem(name, id)
    found = found_rows(anova((made, fit_irls(made, scale="deviance")), test="F", kind="marginal"))
    expected = reference_rows(name, id, "drop1_F")
    assert set(found) == set(expected)
    for term, row in expected.items():
        assert found[term]["deviance"] == pytest.approx(row["Deviance"], rel=1e-8)
        if row["F value"] is not None:
            assert found[term]["F"] == pytest.approx(row["F value"], rel=1e-6)
            assert found[term]["p"] == pytest.approx(row["Pr(>F)"], rel=1e-4, abs=1e-14)


@pytest.mark.parametrize(("name", "id"), having("drop1_Chisq"))
def test_marginal_likelihood_ratio(name: str, id: str) -> None:
    made = problem(name, id)
    found = found_rows(anova((made, fit_irls(made)), test="LR", kind="marginal"))
    expected = reference_rows(name, id, "drop1_Chisq")
    assert set(found) == set(expected)
    for term, row in expected.items():
        value = next((row[k] for k in ("LRT", "scaled dev.") if row.get(k) is not None), None)
        if value is not None:
            assert found[term]["chi2"] == pytest.approx(value, rel=1e-7, abs=1e-9)


def nested() -> tuple[tuple, tuple]:
    full = problem("quine", "poisson-inter")
    small = problem("quine", "poisson-main")
    return (small, fit_irls(small)), (full, fit_irls(full))


def test_two_fits() -> None:
    small, full = nested()
    table = anova(full, small)  # order does not matter
    change = small[1].extras["deviance"] - full[1].extras["deviance"]
    assert table["chi2"].iloc[1] == pytest.approx(change, rel=1e-10)
    assert table["df"].iloc[1] == full[1].df_model - small[1].df_model
    by_likelihood = anova(small, full, test="LR")
    assert by_likelihood["chi2"].iloc[1] == pytest.approx(change, rel=1e-9)
    assert np.isnan(table["p"].iloc[0])


def test_likelihood_ratio_of_negative_binomials_uses_each_fits_shape() -> None:
    small, full = problem("quine", "nb2-main"), problem("quine", "nb2-inter")
    table = anova((small, fit_irls(small)), (full, fit_irls(full)))
    expected = 2 * (fit("quine", "nb2-inter")["loglik"] - fit("quine", "nb2-main")["loglik"])
    assert table["chi2"].iloc[1] == pytest.approx(expected, rel=1e-9)


def test_quasi_fits_are_compared_by_f() -> None:
    small, full = problem("quine", "quasipoisson-main"), problem("quine", "quasipoisson-inter")
    pairs = (small, fit_irls(small)), (full, fit_irls(full))
    table = anova(*pairs)
    drop = pairs[0][1].extras["deviance"] - pairs[1][1].extras["deviance"]
    df = table["df"].iloc[1]
    assert table["F"].iloc[1] == pytest.approx(drop / df / pairs[1][1].scale, rel=1e-9)
    with pytest.raises(MethodError, match="quasi-likelihood"):
        anova(*pairs, test="LR")


# --- score tests --------------------------------------------------------------------------------------------------


def test_score_test_of_a_linear_model() -> None:
    """U'I⁻¹U/φ of least squares is the drop in the residual sum of squares over the smaller model's variance."""
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(40), rng.normal(size=(40, 3))])
    y = rng.normal(size=40)
    small, full = array_problem(X[:, :2], y), array_problem(X, y)
    a, b = fit_irls(small), fit_irls(full)
    found = score_test((small, a), full)
    assert found.df == 2
    assert found.statistic == pytest.approx((a.extras["deviance"] - b.extras["deviance"]) / a.scale, rel=1e-9)


def test_score_test_of_two_proportions_is_pearsons_chi_square() -> None:
    s, m = np.array([18.0, 9.0]), np.array([40.0, 35.0])
    small = array_problem(np.ones((2, 1)), s, "binomial", trials=m)
    full = array_problem([[1.0, 0.0], [1.0, 1.0]], s, "binomial", trials=m)
    found = score_test((small, fit_irls(small)), full)
    table = np.column_stack([s, m - s])
    assert found.statistic == pytest.approx(stats.chi2_contingency(table, correction=False)[0], rel=1e-9)


def test_three_tests_agree_in_large_samples() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(20000), rng.normal(size=(20000, 2))])
    y = rng.poisson(np.exp(0.5 + 0.3 * X[:, 1] + 0.02 * X[:, 2])).astype(float)
    small, full = array_problem(X[:, :2], y, "poisson"), array_problem(X, y, "poisson")
    pairs = (small, fit_irls(small)), (full, fit_irls(full))
    ratio = anova(*pairs)["chi2"].iloc[1]
    score = anova(*pairs, test="score")["chi2"].iloc[1]
    wald = wald_test(*pairs[1], "x2").statistic
    assert score == pytest.approx(ratio, rel=0.01)
    assert wald == pytest.approx(ratio, rel=0.01)


def test_terms_by_score() -> None:
    made = problem("quine", "poisson-main")
    table = anova((made, fit_irls(made)), test="score", kind="marginal")
    rest = [j for j, c in enumerate(made.design.columns) if not c.startswith("Age")]
    small = array_problem(made.design.X[:, rest], made.response.y, "poisson")
    expected = score_test((small, fit_irls(small)), made)
    assert table.loc["Age", "chi2"] == pytest.approx(expected.statistic, rel=1e-9)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_fits_that_cannot_be_compared() -> None:
    small, full = nested()
    with pytest.raises(MethodError, match="at least one fit"):
        anova()
    with pytest.raises(MethodError, match="unknown test 'wald'"):
        anova(full, test="wald")
    with pytest.raises(MethodError, match="kind is 'typeIII'"):
        anova(full, kind="typeIII")
    with pytest.raises(MethodError, match="same number of parameters"):
        anova(full, full)
    other = problem("quine", "quasipoisson-main")
    with pytest.raises(MethodError, match="different families"):
        anova((other, fit_irls(other)), full)
    fewer = array_problem(full[0].design.X[:100], full[0].response.y[:100], "poisson")
    with pytest.raises(MethodError, match="same responses"):
        anova((fewer, fit_irls(fewer)), full)
    stranger = array_problem(np.random.default_rng(0).normal(size=(146, 2)), small[0].response.y, "poisson")
    with pytest.raises(MethodError, match="not nested"):
        anova((stranger, fit_irls(stranger)), full)
    with pytest.raises(MethodError, match="anova compares fits; got str"):
        anova("fit")
    plain = array_problem(np.ones((146, 1)), small[0].response.y, "poisson")
    with pytest.raises(MethodError, match="made from a formula"):
        anova((plain, fit_irls(plain)))


# --- criteria -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "id"), [("quine", "nb2-main"), ("hills", "gamma-log"), ("dobson", "poisson")])
def test_information_criteria(name: str, id: str) -> None:
    made, reference = problem(name, id), fit(name, id)
    result = fit_irls(made)
    assert aic(made, result) == pytest.approx(reference["aic"], rel=1e-10)
    assert bic(made, result) == pytest.approx(reference["bic"], rel=1e-10)
    k, n = result.df_model, made.design.nobs
    assert aicc(made, result) - aic(made, result) == pytest.approx(2 * k * (k + 1) / (n - k - 1), rel=1e-9)


def test_criteria_of_a_quasi_likelihood() -> None:
    made = problem("quine", "quasipoisson-main")
    result = fit_irls(made)
    for criterion in (aic, aicc, bic):
        with pytest.raises(MethodError, match="quasi-likelihood"):
            criterion(made, result)
    assert quasi_loglik(made, result) == pytest.approx(result.extras["quasi_loglik"], rel=1e-12)


def test_quasi_likelihood_differs_from_the_likelihood_by_a_constant() -> None:
    """With φ = 1 the quasi-likelihood of a Poisson is its log-likelihood up to a function of y alone."""
    small, full = nested()
    gap = full[1].loglik - small[1].loglik
    assert quasi_loglik(*full) - quasi_loglik(*small) == pytest.approx(gap, rel=1e-9)


def test_qaic_with_a_stated_parent() -> None:
    small, full = nested()
    c = full[1].extras["pearson_chi2"] / full[1].df_resid
    expected = -2 * small[1].loglik / c + 2 * (len(small[1].beta) + 1)
    assert qaic(*small, parent=full) == pytest.approx(expected, rel=1e-10)
    quasi = problem("quine", "quasipoisson-main"), fit_irls(problem("quine", "quasipoisson-main"))
    larger = problem("quine", "quasipoisson-inter"), fit_irls(problem("quine", "quasipoisson-inter"))
    # the same comparison from quasi fits: the constants in y drop out of differences
    gap = qaic(*small, parent=full) - qaic(*full, parent=full)
    assert qaic(*quasi, parent=larger) - qaic(*larger, parent=larger) == pytest.approx(gap, rel=1e-9)


def test_qic_is_qaic_like_when_the_model_holds() -> None:
    """tr(Ω V_R) is p when the variance function is right."""
    rng = np.random.default_rng(6)
    X = np.column_stack([np.ones(20000), rng.normal(size=(20000, 2))])
    made = array_problem(X, rng.poisson(np.exp(X @ [0.3, 0.2, 0.1])), "poisson")
    result = fit_irls(made)
    assert qic(made, result) - result.extras["deviance"] == pytest.approx(2 * 3, rel=0.1)
    robust = fit_irls(made, cov="HC0")
    assert qic(made, robust) == pytest.approx(qic(made, result), rel=1e-10)


def test_qic_at_a_common_scale() -> None:
    """At a given φ both terms are divided by it: it changes with 1/φ, and differences of candidates with it."""
    made = problem("quine", "quasipoisson-main")
    result = fit_irls(made)
    assert qic(made, result, result.scale) == pytest.approx(qic(made, result), rel=1e-12)
    assert qic(made, result, 3.0) == pytest.approx(qic(made, result) * result.scale / 3.0, rel=1e-12)
    fixed = fit_irls(made, scale=1.0)
    assert qic(made, fixed, result.scale) == pytest.approx(qic(made, result), rel=1e-10)
    with pytest.raises(MethodError, match="positive number"):
        qic(made, result, 0.0)


# --- estimability -------------------------------------------------------------------------------------------------


def overparametrised() -> Problem:
    data = pd.DataFrame({"y": [1.0, 2, 4, 3, 6, 5], "a": [0.0, 1, 0, 1, 0, 1], "b": [0.0, 0, 1, 1, 2, 2]})
    data["sum"] = data["a"] + 2 * data["b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        design = build_design("y ~ a + b + sum", data)
    row = get_family("gaussian")
    return Problem(design, row, get_link("identity"), (), None)


def test_functions_of_aliased_columns() -> None:
    made = overparametrised()
    assert made.design.aliased == ("sum",)
    np.testing.assert_allclose(made.design.relations[:, 0], [0.0, 1.0, 2.0], atol=1e-9)
    # with sum = a + 2b only β_a + β_sum, β_b + 2 β_sum and what they span can be told
    found = estimable(made, ["a", "sum", "a + sum", "b + 2*sum", "b - 2*a", "Intercept", "a - b"])
    assert found.tolist() == [False, False, True, True, True, True, False]
    assert estimable(made, np.eye(3)).all()
    assert estimable(problem("quine", "poisson-main"), "Sex[T.M]").all()


def test_estimable_functions_do_not_depend_on_what_was_left_out() -> None:
    """Their value is the same for every least-squares solution of the full design."""
    made = overparametrised()
    X = np.column_stack([made.design.X, made.design.X @ made.design.relations])
    shortest = np.linalg.lstsq(X, made.response.y, rcond=None)[0]
    ours = np.r_[fit_irls(made).beta, 0.0]
    for row, same in zip(np.array([[0, 1, 0, 1], [0, 0, 1, 2], [0, 1, 0, 0.0]]), (True, True, False)):
        assert bool(estimable(made, row[None])[0]) == same
        assert bool(abs(row @ shortest - row @ ours) < 1e-9) == same


def test_optimality_of_a_known_design() -> None:
    """Two points at ±1 with five runs each: M = diag(10, 10)."""
    X = np.column_stack([np.ones(10), np.repeat([-1.0, 1.0], 5)])
    table = optimality(array_problem(X, np.zeros(10)))
    assert table["A"] == pytest.approx(0.2)
    assert table["D"] == pytest.approx(10.0)
    assert table["E"] == pytest.approx(10.0)
    assert table["condition"] == pytest.approx(1.0)
    closer = optimality(array_problem(np.column_stack([np.ones(10), np.linspace(-1, 1, 10)]), np.zeros(10)))
    assert closer["A"] > table["A"]
    assert closer["D"] < table["D"]
    assert closer["E"] < table["E"]


def test_optimality_at_a_fit_weights_the_rows() -> None:
    made = problem("budworm", "logit-main")
    result = fit_irls(made)
    table = optimality(made, result)
    assert table["A"] == pytest.approx(np.trace(result.cov_beta), rel=1e-9)
    assert table["E"] == pytest.approx(1 / np.linalg.eigvalsh(result.cov_beta)[-1], rel=1e-8)
