"""The fixed-effects matrix: R's columns on the reference data, formulaic's values, R's treatment of rank."""

from __future__ import annotations

import warnings

import formulaic
import numpy as np
import pandas as pd
import pytest
from reference_data import HERE, coefficient_name, fit, frame, reference

from bayesglmm.design import build_design
from bayesglmm.design.columns import Factor, read_column
from bayesglmm.design.evaluate import _ELEMENTWISE
from bayesglmm.errors import DataError, DataWarning
from bayesglmm.formula import parse_formula
from bayesglmm.formula.functions import FUNCTIONS

DATASETS = sorted(path.stem for path in (HERE / "reference" / "fits").glob("*.json"))


def sorted_parts(name: str) -> str:
    """R orders the factors of an interaction by where they first stand in the formula, formulaic as written."""
    return ":".join(sorted(name.split(":")))


def sorted_group(name: str) -> frozenset[str]:
    """lme4 writes ``a/b`` as ``b:a``."""
    return frozenset(name.split(":"))


@pytest.mark.parametrize("name", DATASETS)
def test_columns_and_groups_are_those_of_the_trusted_fits(name):
    fits = sorted(reference(name)["fits"], key=lambda f: len(f.get("ngroups") or {}))
    for formula, wanted in {f["formula"]: f for f in fits}.items():  # of several, one that counts its groups
        design = build_design(formula, frame(name))
        ours = [sorted_parts(coefficient_name(c)) for c in design.columns]
        theirs = [sorted_parts(c) for c in wanted["fixed"]]
        assert ours == theirs or ("educ + res*educ" in formula + " " and set(ours) == set(theirs)), formula
        sizes = {sorted_group(block.group): len(block.levels) for block in design.blocks}
        expected = {sorted_group(g): size for g, size in (wanted.get("ngroups") or {}).items()}
        assert sizes == (expected or sizes), formula  # some fits do not say
        for group, terms in (wanted.get("varcomp") or {}).items():
            matching = [b for b in design.blocks if sorted_group(b.group) == sorted_group(group)]
            if matching:  # lme4 numbers the terms of one group: Subject, Subject.1
                assert set(terms["names"]) <= {coefficient_name(c) for c in matching[0].columns}, formula


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("anorexia", "gaussian-offset"),
        ("anorexia", "gaussian-interaction"),
        ("dietox", "gau-geepack-independence"),
        ("dietox", "gau-cutime-geepack-independence"),
    ],
)
def test_least_squares_on_the_design_gives_the_reference(name, id):
    wanted = fit(name, id)
    design = build_design(wanted["formula"], frame(name))
    beta = np.linalg.lstsq(design.X, design.response.y - design.offset)[0]
    for column, value in zip(design.columns, beta):
        assert value == pytest.approx(wanted["fixed"][coefficient_name(column)]["estimate"], rel=1e-8)


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "w": rng.uniform(1, 2, n),
            "k": rng.integers(1, 4, n),
            "g": rng.choice(list("abcd"), n),
            "h": pd.Categorical(rng.choice(["lo", "mid", "hi"], n), categories=["lo", "mid", "hi"]),
        }
    )


@pytest.mark.parametrize(
    "right",
    [
        "x",
        "0 + x",
        "x + g",
        "0 + g + h",
        "g*h",
        "g:h",
        "0 + g:h",
        "h + g:h",
        "h/x",
        "h*x - x",
        "x:w + h:x",
        "(x + g + h)**2",
        "C(k)",
        "C(k) + C(g, Treatment('b'))",
        "C(g, Sum)",
        "C(g, Helmert) + C(h, Diff)",
        "C(g, contr.SAS)",
        "C(h, Poly):x",
        "poly(x, 3)",
        "bs(x, df=5)",
        "bs(x, df=5, degree=2, include_intercept=True)",
        "0 + bs(x, knots=[-1, 0, 1])",
        "cr(x, df=4, constraints='center')",
        "scale(x) + center(w)",
        "standardize(x)",
        "log(w) + exp(x) + log2(x + 10) + log10(x + 9)",
        "I(x ** 2) + {w / 2 + x}",
    ],
)
def test_matrix_is_formulaics(right):
    data = table()
    theirs = formulaic.model_matrix(right, data)
    design = build_design(f"y ~ {right}", data)
    assert list(design.columns) == list(theirs.columns)
    np.testing.assert_allclose(design.X, theirs.to_numpy(dtype=float), rtol=1e-12, atol=1e-14)
    assert design.X.flags.c_contiguous
    assert design.X.flags.writeable


def test_r_spellings_mean_the_same_as_pythons():
    data = table()
    a = build_design("y ~ I(x^2) + factor(k) + C(g, contr.treatment(base='b')) + ceiling(w * 3)", data)
    b = build_design("y ~ I(x**2) + C(k) + C(g, Treatment('b')) + ceil(w * 3)", data)
    np.testing.assert_array_equal(a.X, b.X)
    assert a.columns[1] == "I(x^2)"
    assert coefficient_name(a.columns[2]) == "factor(k)2"


def test_arithmetic_is_computed_as_written():
    data = table()
    x, w, k = (data[c].to_numpy() for c in ("x", "w", "k"))
    design = build_design("y ~ 0 + I(-x^2 + w*k/2 - (x - w)) + {2^-1 * x} + abs(x) + I(k == 2) + I('a' != g)", data)
    expected = [-(x**2) + w * k / 2 - (x - w), 0.5 * x, np.abs(x), k != 2, k == 2, data.g != "a"]
    np.testing.assert_allclose(design.X, np.column_stack(expected).astype(float), rtol=1e-14)
    assert design.columns[3:] == ("I(k == 2)[False]", "I(k == 2)[True]", "I('a' != g)[T.True]")


def test_booleans_count_as_zero_and_one_in_arithmetic():
    data = table()
    data["b"] = data.x > 0
    design = build_design("y ~ I(w * b) + I((w > 1.5) * x) + I(1 - b)", data)
    np.testing.assert_array_equal(design.X[:, 1], data.w * data.b)
    np.testing.assert_array_equal(design.X[:, 2], (data.w > 1.5) * data.x)
    np.testing.assert_array_equal(design.X[:, 3], data.x <= 0)


def test_a_formula_without_a_response():
    design = build_design(parse_formula("~ x + offset(w)", require_response=False), table())
    assert design.response is None
    assert design.columns == ("Intercept", "x")


def test_every_function_of_the_closed_list_can_be_computed():
    elementwise = {name for name, function in FUNCTIONS.items() if function.kind == "elementwise"}
    assert elementwise == set(_ELEMENTWISE)
    data = table()
    for name, function in FUNCTIONS.items():
        if name not in ("{", "round", "floor", "ceil", "ceiling", "sign"):
            options = ", df=4" if "df" in function.options else ""
            call = f"{name}(k)" if function.kind == "category" else f"{name}(w{options})"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)  # cr() and cc() span the intercept
                columns = build_design(f"y ~ {call}", data).columns[1:]
            assert columns
            assert all(column.startswith(call) for column in columns)


def test_booleans_and_text_and_categories_become_treatment_contrasts():
    data = pd.DataFrame(
        {
            "y": [1.0, 2, 3, 4, 5, 7, 6, 9],
            "b": [True, False] * 4,
            "t": ["10", "9", "9", "10"] * 2,
            "c": pd.Categorical(list("zazazzaa"), categories=["z", "unused", "a"]),
        }
    )
    design = build_design("y ~ b + t + c", data)
    assert design.columns == ("Intercept", "b[T.True]", "t[T.9]", "c[T.a]")
    np.testing.assert_array_equal(design.X[:, 3], (data.c == "a").astype(float))


def test_dependent_columns_are_left_out_from_the_right_as_in_r():
    data = table()
    data["twice"] = 2 * data.x
    data["sum"] = data.x + data.w
    with pytest.warns(DataWarning, match="twice, sum"):
        design = build_design("y ~ x + twice + w + sum + h", data)
    assert design.aliased == ("twice", "sum")
    assert design.columns == ("Intercept", "x", "w", "h[T.mid]", "h[T.hi]")
    assert np.linalg.matrix_rank(design.X) == 5
    with pytest.warns(DataWarning, match="linear combinations"):
        assert build_design("y ~ twice + x", data).aliased == ("x",)
    data["constant"] = 3.0
    with pytest.warns(DataWarning, match="constant"):
        assert build_design("y ~ constant", data).columns == ("Intercept",)
    assert build_design("y ~ 0 + constant", data).columns == ("constant",)


def test_empty_cells_of_an_interaction_are_aliased():
    data = pd.DataFrame({"a": list("xxyyxxyyy"), "b": list("ppppqqppp"), "y": np.arange(9.0)})
    with pytest.warns(DataWarning, match=r"a\[T.y\]:b\[T.q\]"):
        design = build_design("y ~ a*b", data)
    assert design.columns == ("Intercept", "a[T.y]", "b[T.q]")


def test_no_columns_at_all():
    assert build_design("y ~ 0 + (1 | g)", table()).X.shape == (60, 0)


def test_factor_of_many_levels_is_not_expanded():
    data = pd.DataFrame({"y": np.arange(20_000.0), "id": np.arange(20_000).astype(str), "x": np.arange(20_000) % 7.0})
    for right in ("id", "x:id", "C(x):id"):
        with pytest.raises(DataError, match=r"grouping factor: \(1 \| g\)"):
            build_design(f"y ~ {right}", data)


def test_numbers_and_labels_do_not_mix():
    data = table()
    for right, said in (
        ("log(g)", "g holds labels"),
        ("I(x + g)", "g holds labels"),
        ("I(x == 'a')", "x holds numbers"),
        ("scale(poly(x, 2))", "several columns"),
        ("C(poly(x, 2))", "no column"),
        ("C(g, Treatment('q'))", "reference level 'q'"),
        ("C(g, levels=['a', 'b'])", "leaves out levels"),
        ("bs(x, df=2)", "cannot be computed"),
        ("offset(g)", "not a column of numbers"),
        ("log(x)", "not a finite number"),
    ):
        with pytest.raises(DataError, match=said):
            build_design(f"y ~ {right}", data)


def test_columns_are_read_by_what_they_hold():
    assert read_column(pd.Series([1, None, 2.5], dtype=object), "x").tolist()[::2] == [1.0, 2.5]
    factor = read_column(pd.Series(["b", None, "a"], dtype=object), "x")
    assert isinstance(factor, Factor)
    assert (factor.levels, factor.codes.tolist()) == (("a", "b"), [1, -1, 0])
