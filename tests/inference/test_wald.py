"""Linear hypotheses in words and numbers, Wald tests, regions and intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from arrays import array_problem
from glm_references import CASES, by_column, problem
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_data import fit
from scipy import stats

from bayesglmm.errors import MethodError
from bayesglmm.inference.contrasts import contrast_table, wald_ellipsoid, wald_test
from bayesglmm.inference.hypotheses import read_hypotheses
from bayesglmm.inference.intervals import confint
from bayesglmm.predict import predict
from bayesglmm.scores import fit_irls

NAMES = ["Intercept", "period[T.2]", "period[T.3]", "x", "x:period[T.2]", "log(u + 1)", "educ[T.sec+]", "x2"]


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "right"),
    [
        ("x", {"x": 1}, 0),
        ("x = 2", {"x": 1}, 2),
        ("x2 = x", {"x2": 1, "x": -1}, 0),
        ("period[T.2] = period[T.3]", {"period[T.2]": 1, "period[T.3]": -1}, 0),
        ("2*x - 3 * x2 = 1/2", {"x": 2, "x2": -3}, 0.5),
        ("x:period[T.2] + x", {"x:period[T.2]": 1, "x": 1}, 0),
        ("x/2 + 1 = 0.5*log(u + 1)", {"x": 0.5, "log(u + 1)": -0.5}, -1),
        ("-educ[T.sec+] = -1e-3", {"educ[T.sec+]": -1}, -1e-3),
        ("educ[T.sec+]+x=1", {"educ[T.sec+]": 1, "x": 1}, 1),
        ("`log(u + 1)` = x + x", {"log(u + 1)": 1, "x": -2}, 0),
        ("0 = x", {"x": -1}, 0),
        ("- - x", {"x": 1}, 0),
    ],
)
def test_hypotheses_in_words(text: str, expected: dict[str, float], right: float) -> None:
    L, c, labels = read_hypotheses(text, NAMES)
    assert {n: v for n, v in zip(NAMES, L[0]) if v} == expected
    assert c[0] == pytest.approx(right)
    assert len(labels) == 1


def test_several_hypotheses() -> None:
    for given_as in ("x = 0, x2 = 1", ["x = 0", "x2 = 1"], ("x", "x2 = 1")):
        L, c, _ = read_hypotheses(given_as, NAMES)
        assert L.shape == (2, 8)
        assert c.tolist() == [0.0, 1.0]
    L, c, labels = read_hypotheses([[0, 1, -1, 0, 0, 0, 0, 0]], NAMES)
    assert labels == ("period[T.2] - period[T.3] = 0",)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-9, 9)), min_size=1, max_size=5), st.integers(-5, 5))
@settings(max_examples=60, deadline=None)
def test_sums_of_products_are_read_back(terms: list[tuple[str, int]], constant: int) -> None:
    text = " + ".join(f"{value}*{name}" for name, value in terms).replace("+ -", "- ")
    expected = np.zeros(len(NAMES))
    for name, value in terms:
        expected[NAMES.index(name)] += value
    if not expected.any():
        return
    L, c, _ = read_hypotheses(f"{text} = {constant}", NAMES)
    np.testing.assert_array_equal(L[0], expected)
    assert c[0] == constant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y = 0", "no coefficient is named 'y'"),
        ("period[T.4]", "Did you mean 'period"),
        ("x * x2", "not linear"),
        ("1/x", "not linear"),
        ("x = 0 = x2", "more than one '='"),
        ("x x2", "'\\+' or '-' is expected"),
        ("x,", "empty part"),
        ("1 = 2", "holds no coefficient"),
        ("x =", "nothing on one side"),
        ([[1.0, 2.0]], "matrix with 8 columns"),
    ],
)
def test_what_is_not_a_hypothesis(text: object, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        read_hypotheses(text, NAMES)


# --- tests --------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(8)
N = 60
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 3))])
Y = X @ np.array([1.0, 0.5, 0.5, 0.0]) + RNG.normal(size=N)
LINEAR = array_problem(X, Y)


def test_joint_test_of_a_linear_model_is_the_f_test() -> None:
    result = fit_irls(LINEAR)
    found = wald_test(LINEAR, result, ["x1 = x2", "x3 = 0"])
    small = np.column_stack([np.ones(N), X[:, 1] + X[:, 2]])
    rss = [float(np.square(Y - A @ np.linalg.lstsq(A, Y, rcond=None)[0]).sum()) for A in (small, X)]
    F = (rss[0] - rss[1]) / 2 / (rss[1] / (N - 4))
    assert found.statistic == pytest.approx(F, rel=1e-10)
    assert (found.df, found.df_denominator) == (2, N - 4)
    assert found.p == pytest.approx(stats.f.sf(F, 2, N - 4), rel=1e-10)
    assert "F(2, 56)" in str(found)


def test_one_contrast_is_the_squared_t() -> None:
    result = fit_irls(LINEAR)
    found = wald_test(LINEAR, result, "x1 = x2")
    row = found.extras["contrasts"].iloc[0]
    assert found.statistic == pytest.approx(row["t"] ** 2, rel=1e-12)
    assert found.p == pytest.approx(row["p"], rel=1e-10)


def test_hypotheses_may_be_redundant_but_not_contradictory() -> None:
    result = fit_irls(LINEAR)
    once = wald_test(LINEAR, result, ["x1 = x2", "x3 = 0"])
    twice = wald_test(LINEAR, result, ["x1 = x2", "x3 = 0", "x1 + x3 = x2"])
    assert twice.statistic == pytest.approx(once.statistic, rel=1e-9)
    assert twice.df == 2
    with pytest.raises(MethodError, match="contradict"):
        wald_test(LINEAR, result, ["x1 = 0", "x1 = 1"])


def test_matrix_with_right_hand_sides() -> None:
    result = fit_irls(LINEAR)
    a = wald_test(LINEAR, result, np.eye(4)[1:3], value=[0.5, 0.25])
    b = wald_test(LINEAR, result, "x1 = 0.5, x2 = 0.25")
    assert a.statistic == pytest.approx(b.statistic, rel=1e-12)


def test_chi_square_where_the_scale_is_known() -> None:
    made = problem("quine", "poisson-main")
    result = fit_irls(made)
    found = wald_test(made, result, ["Age[T.F1]", "Age[T.F2]", "Age[T.F3]"])
    where = [made.design.columns.index(f"Age[T.F{k}]") for k in (1, 2, 3)]
    b, V = result.beta[where], result.cov_beta[np.ix_(where, where)]
    assert found.reference == "chi2"
    assert found.statistic == pytest.approx(float(b @ np.linalg.solve(V, b)), rel=1e-9)


# --- regions ------------------------------------------------------------------------------------------------------


def test_ellipsoid() -> None:
    result = fit_irls(LINEAR)
    region = wald_ellipsoid(LINEAR, result, ["x1", "x2"])
    edge = region.boundary(50)
    F = [wald_test(LINEAR, result, np.eye(4)[1:3], value=point).statistic for point in edge]
    np.testing.assert_allclose(F, stats.f.ppf(0.95, 2, N - 4), rtol=1e-9)
    shadows = region.intervals()
    fine = region.boundary(4001)
    np.testing.assert_allclose(shadows["ci_low"], fine.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose(shadows["ci_high"], fine.max(axis=0), rtol=1e-5)
    assert region.contains(region.centre)
    assert not region.contains(region.centre + 1.01 * region.axes[:, 0])
    assert region.contains(region.centre + 0.99 * region.axes[:, 0])
    assert wald_ellipsoid(LINEAR, result).V.shape == (4, 4)
    with pytest.raises(MethodError, match="linearly dependent"):
        wald_ellipsoid(LINEAR, result, ["x1", "x2", "x1 + x2"])
    with pytest.raises(MethodError, match="2 coordinates"):
        wald_ellipsoid(LINEAR, result).boundary()


def test_simultaneous_intervals() -> None:
    result = fit_irls(LINEAR)
    single, scheffe, bonferroni = (
        confint(LINEAR, result, parameters=["x1", "x2"], simultaneous=kind) for kind in (None, "scheffe", "bonferroni")
    )
    shadows = wald_ellipsoid(LINEAR, result, ["x1", "x2"]).intervals()
    np.testing.assert_allclose(scheffe[["ci_low", "ci_high"]], shadows[["ci_low", "ci_high"]], rtol=1e-12)
    width = lambda table: (table["ci_high"] - table["ci_low"]).iloc[0]  # noqa: E731
    assert width(single) < width(bonferroni) < width(scheffe)
    assert width(bonferroni) / width(single) == pytest.approx(stats.t.ppf(0.9875, 56) / stats.t.ppf(0.975, 56))
    with pytest.raises(MethodError, match="simultaneous"):
        confint(LINEAR, result, simultaneous="tukey")


WITH_WALD = [(n, i) for n, i in CASES if "confint_wald" in fit(n, i)]


@pytest.mark.parametrize(("name", "id"), WITH_WALD)
def test_reference_wald_intervals(name: str, id: str) -> None:
    """R's confint.default takes the normal quantile even where φ is estimated."""
    made = problem(name, id)
    table = confint(made, replace(fit_irls(made), use_t=False))
    expected = by_column(made, fit(name, id)["confint_wald"], "lower", "upper")
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], expected, rtol=1e-7, atol=1e-9)


# --- means --------------------------------------------------------------------------------------------------------


def test_mean_intervals_by_the_delta_method() -> None:
    made = problem("quine", "poisson-main")
    result = fit_irls(made)
    table = predict(made, result)
    x = made.design.X[5]
    h = 1e-6
    slope = np.array(
        [(np.exp(x @ (result.beta + h * e)) - np.exp(x @ (result.beta - h * e))) / (2 * h) for e in np.eye(7)]
    )
    se = np.sqrt(slope @ result.cov_beta @ slope)
    assert table["se"].iloc[5] == pytest.approx(se, rel=1e-7)
    eta_se = np.sqrt(x @ result.cov_beta @ x)
    ends = np.exp(x @ result.beta + stats.norm.ppf([0.025, 0.975]) * eta_se)
    np.testing.assert_allclose(table[["ci_low", "ci_high"]].iloc[5], ends, rtol=1e-10)


def test_mean_intervals_on_the_link_scale_stay_in_range() -> None:
    made = problem("budworm", "logit-main")
    table = predict(made, fit_irls(made), ci=0.9999)
    assert ((table["ci_low"] > 0) & (table["ci_high"] < 1)).all()
    assert (table["ci_low"] < table["estimate"]).all()
    inverse = problem("clotting", "lot1-gamma-inverse")
    table = predict(inverse, fit_irls(inverse))
    assert (table["ci_low"] < table["estimate"]).all()
    assert (table["ci_high"] > table["estimate"]).all()


def test_contrast_table_has_a_row_per_contrast() -> None:
    table = contrast_table(fit_irls(LINEAR), np.eye(4), tuple("abcd"))
    assert list(table.index) == list("abcd")
    assert table["estimate"].tolist() == fit_irls(LINEAR).beta.tolist()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: confint(LINEAR, r, "bayes"), "unknown interval method"),
        (lambda r: confint(LINEAR, r, level=95), "between 0 and 1"),
        (lambda r: confint(LINEAR, r, parameters=["z"]), "no coefficient is named 'z'"),
    ],
)
def test_wrong_calls(call: object, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        call(fit_irls(LINEAR))
