"""Bad input: one clear error each, saying what was given and what to do."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.design import build_design, check_constant_response, rebind
from bayesglmm.design.types import Response
from bayesglmm.errors import BayesGLMMError, DataError, DataWarning, FormulaError


def table(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    data = pd.DataFrame({"y": rng.normal(size=n), "Days": rng.normal(size=n), "w": rng.uniform(1, 2, n)})
    data["n"] = rng.integers(5, 9, n)
    data["s"] = rng.integers(0, 5, n)
    data["g"] = rng.choice(list("abcd"), n)
    data.index = [f"row{i}" for i in range(n)]
    return data


def fails(said: str, formula: str, data=None, **arguments) -> None:
    with pytest.raises(DataError, match=said):
        build_design(formula, table() if data is None else data, **arguments)


def test_unknown_columns_suggest_near_names():
    fails("no column 'days'. Did you mean Days", "y ~ days")
    fails("no column 'Dayz'. Did you mean Days", "y ~ log(Dayz)")
    fails("no column 'gg'. Did you mean g", "y ~ Days + (1 | gg)")
    fails("no column 'ww'. Did you mean w", "y ~ Days", weights="ww")
    fails("no column 'quite_other'. It has y, Days, w, n, s, g", "y ~ Days", offset="quite_other")
    fails("no column 'np.log'", "y ~ np.log")


def test_duplicate_and_missing_columns():
    data = table()
    fails("2 columns named 'w'", "y ~ w", pd.concat([data, data[["w"]]], axis=1))
    assert build_design("y ~ Days", pd.concat([data, data[["w"]]], axis=1)).nobs == 40  # not used, not in the way
    fails(r"Every row has a missing value.*column 'e' has no values at all", "y ~ e", data.assign(e=np.nan))
    fails(r"Every row has a missing value.*column 'e' has no values at all", "y ~ 1 + (1 | e)", data.assign(e=None))
    with pytest.raises(FormulaError, match="empty name"):
        build_design("y ~ ``", data.assign(**{"": 1.0}))


def test_tables():
    fails("no rows", "y ~ Days", table().head(0))
    fails("Expected a pandas, polars or pyarrow table", "y ~ Days", [1, 2, 3])
    fails("Expected a pandas, polars or pyarrow table", "y ~ Days", "data.csv")
    fails("do not fit together", "y ~ Days", {"y": [1.0, 2], "Days": [1.0]})


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(value):
    data = table()
    data.loc[["row3", "row7"], "Days"] = value
    fails("'Days' is infinite in 2 rows .row3, row7", "y ~ Days", data)
    fails("'Days' is infinite in 2 rows", "Days ~ w", data)
    fails("'Days' is infinite in 2 rows", "y ~ w + offset(Days)", data)
    fails("'Days' is infinite in 2 rows", "y ~ w + (Days | g)", data)
    fails("'offset' is infinite in 2 rows", "y ~ w", data, offset="Days")
    fails("'weights' is infinite in 2 rows", "y ~ w", data, weights=np.abs(data.Days))
    fails("'exposure' is infinite in 2 rows", "y ~ w", data, exposure=np.abs(data.Days))


def test_expressions_that_overflow_or_do_not_exist():
    data = table()
    data.loc[["row0", "row4"], "w"] = 0.0
    data["Days"] = data.Days.abs() + 1
    fails(r"log\(w\) is not a finite number in 2 rows .row0, row4", "y ~ log(w)", data)
    fails(r"I\(1 / w\) is not a finite number in 2 rows", "y ~ I(1/w)", data)
    fails(
        r"sqrt\(-Days\) is not a finite number in 40 rows .first: row0, row1, row2, row3, row4\)",
        "y ~ sqrt(-Days)",
        data,
    )
    fails("not a finite number in 40 rows", "y ~ I((Days + 1)^99999)", data)
    fails("not a finite number in 40 rows", "y ~ I(2^9^9^9)", data)
    fails(r"response log\(w - 1\) cannot be computed in 2 rows", "log(w - 1) ~ Days", data)
    fails(r"'log\(w\)' is infinite in 2 rows", "log(w) ~ Days", data)
    fails(r"offset is not a finite number in 2 rows", "y ~ Days + offset(log(w))", data)
    fails(r"log\(w\) is not a finite number in 2 rows", "y ~ Days + (log(w) | g)", data)
    fails(r"scale\(e\) is not a finite number", "y ~ scale(e)", data.assign(e=1.0))


def test_weights_and_exposure_must_be_positive():
    data = table()
    data.loc["row5", "w"] = 0.0
    fails("weights must be positive, and is not in 1 row .row5", "y ~ Days", data, weights="w")
    fails("exposure must be positive, and is not in 1 row .row5", "y ~ Days", data, exposure="w")
    fails("weights must be positive", "y ~ Days", data, weights=-np.ones(40))
    fails(r"weights has shape \(3,\), but the table has 40 rows", "y ~ Days", data, weights=[1, 2, 3])
    fails(r"offset has shape \(40, 1\)", "y ~ Days", data, offset=np.ones((40, 1)))
    fails("holds labels; expected numbers", "y ~ Days", data, weights="g")
    fails("weights cannot be read as numbers", "y ~ Days", data, weights=["a"] * 40)


def test_successes_and_trials():
    data = table()
    data.loc[["row1", "row2"], "s"] = 20
    fails(r"p\(s, n\) has more successes than trials in 2 rows .row1, row2", "p(s, n) ~ Days", data)
    data.loc["row1", "s"], data.loc["row2", "s"] = -1, 0
    fails(r"negative successes in 1 row .row1", "p(s, n) ~ Days", data)
    fails(r"negative successes in 1 row .row1", "cbind(s, n) ~ Days", data)
    data.loc["row1", "s"], data.loc["row9", "n"] = 0, 0
    fails(r"trials that are not positive in 1 row .row9", "p(s, n) ~ Days", data)
    fails("holds labels", "p(g, n) ~ Days", data)
    fails("holds labels", "p(s, g) ~ Days", data)


def test_too_few_rows():
    fails("2 rows cannot determine 2 coefficients", "y ~ Days", table().head(2))
    fails("4 rows cannot determine 5 coefficients", "y ~ Days*w + n", table().head(4))
    assert build_design("y ~ Days", table().head(3)).nobs == 3


def test_constant_response():
    data = table().assign(c=2.0, t="yes", zero=0, full=table().n)
    fails("response c is constant: 2 in all 40 rows", "c ~ Days", data)
    fails("response t is constant: 'yes' in all 40 rows", "t ~ Days", data)
    fails(r"response p\(zero, n\) has no successes in all 40 rows", "p(zero, n) ~ Days", data)
    fails(r"response p\(full, n\) has no failures in all 40 rows", "p(full, n) ~ Days", data)
    check_constant_response(Response("r", np.array([1.0, 2.0]), np.array([2.0, 4.0])))  # one half twice is information


def test_factors_of_one_level():
    data = table().assign(one="a", many=[f"l{i}" for i in range(40)])
    fails(r"one has one level only \('a'\)", "y ~ one", data)
    fails(r"one has one level only", "y ~ Days*one", data)
    fails(r"one has one level only", "y ~ 0 + one", data)
    fails(r"'one' has one level only", "y ~ (1 | one)", data)
    assert len(build_design("y ~ 1 + (1 | many)", data).blocks[0].levels) == 40


def test_levels_that_print_alike():
    data = table()
    data["c"] = pd.Categorical([1, "1"] * 20)
    fails("print alike", "y ~ c", data)
    data["a"], data["b"] = ["x:y", "x"] * 20, ["z", "y:z"] * 20
    fails("print alike", "y ~ (1 | a:b)", data)


def test_new_data():
    data = table().assign(k=["u", "v"] * 20)
    design = build_design("y ~ Days + k + (1 | g)", data)
    for new, said in (
        (data.assign(k="w"), "k has levels the model was not built with: w. It knows u, v"),
        (data.assign(k=1.0), "k held labels when the model was built, and now holds numbers"),
        (data.assign(Days="a"), "Days held numbers when the model was built, and now holds labels"),
        (data.drop(columns="Days"), "no column 'Days'"),
        (data.assign(Days=np.inf), "'Days' is infinite"),
    ):
        with pytest.raises(DataError, match=said):
            rebind(design, new)
    with pytest.raises(DataError, match="no column 'y'"):
        rebind(design, data.drop(columns="y"), require_response=True)
    design = build_design("k ~ Days", data, offset=np.ones(40))
    with pytest.raises(DataError, match="Give offset= for the new data"):
        rebind(design, data)
    with pytest.raises(DataError, match="levels the model was not built with in 40 rows"):
        rebind(design, data.assign(k="w"), offset=0.0, require_response=True)


ATOMS = [
    "y",
    "Days",
    "w",
    "n",
    "s",
    "g",
    "b",
    "h",
    "e",
    "0",
    "1",
    "2.5",
    "'a'",
    "(",
    ")",
    "I(",
    "log(",
    "poly(",
    "C(",
    "{",
    "}",
]
ATOMS += [
    "bs(",
    "scale(",
    ", 2",
    ", df=4",
    "(1 | g)",
    "(w | g/b)",
    "(h || s)",
    "offset(",
    "|",
    "==",
    ">",
    "^2",
    "p(s, n)",
]
ATOMS += ["+", "+", "+", "*", ":", "/", "-", "~", "~"]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=12), st.sampled_from(["", "y ~ ", "p(s, n) ~ ", "b ~ "]))
def test_any_formula_gives_a_design_or_an_error_of_the_package(parts, left):
    data = table().assign(b=lambda d: d.w > 1.5, h=pd.Categorical(["u", "v"] * 20), e=np.nan)
    text = left + " ".join(parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            design = build_design(text, data)
        except BayesGLMMError:
            return
        again = rebind(design, data)
    assert np.isfinite(design.X).all()
    assert design.X.shape == (design.nobs, len(design.columns))
    assert len(set(design.columns)) == len(design.columns)
    np.testing.assert_array_equal(again.X, design.X)


@pytest.mark.parametrize("call", ["bs(g, df=4)", "cr(w)", "bs(w, degree=90)", "bs(w, df=1)"])
def test_transforms_that_cannot_be_fail_with_an_error_of_the_package(call):
    with pytest.raises(BayesGLMMError):
        build_design(f"y ~ {call}", table())
