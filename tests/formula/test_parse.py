"""The formula reader: what it understands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesglmm.errors import FormulaError
from bayesglmm.formula import Formula, parse_formula
from bayesglmm.formula.expressions import render


def random(text: str) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(term.lhs, term.factors, term.correlated) for term in parse_formula(text).random]


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ("1", "1"),
        ("x", "1 + x"),
        ("0 + x", "0 + x"),
        ("x - 1", "0 + x"),
        ("-1 + x", "0 + x"),
        ("x + 0 + 1", "1 + x"),
        ("a*b", "1 + a + b + a:b"),
        ("a:b + a", "1 + a + a:b"),
        ("a*b*c - a:b:c", "1 + a + b + c + a:b + a:c + b:c"),
        ("(a + b + c)^2", "1 + a + b + c + a:b + a:c + b:c"),
        ("(a + b)**3 - a:b", "1 + a + b"),
        ("a/b", "1 + a + a:b"),
        ("(a + b)/c", "1 + a + b + a:b:c"),
        ("a/(b + c)", "1 + a + a:b + a:c"),
        ("b %in% a", "1 + b:a"),
        ("a + b:a + a:b", "1 + a + b:a"),
        ("a:a + x^2", "1 + a + x"),
        ("`my col` + log( x )", "1 + `my col` + log(x)"),
        ('C(k,Treatment( "b" ))', "1 + C(k, Treatment('b'))"),
        ("poly(x,degree = 2,raw=TRUE)", "1 + poly(x, degree=2, raw=TRUE)"),
        ("I(x^2) + {x**2}", "1 + I(x^2) + x ** 2"),
        ("-(a + b) + a + c", "1 + a + c"),
        ("my.col + .hidden", "1 + my.col + .hidden"),
    ],
)
def test_fixed_terms_follow_the_algebra_of_wilkinson_and_rogers(right, expected):
    assert parse_formula(f"y ~ {right}").fixed == expected


@pytest.mark.parametrize(
    ("bars", "expected"),
    [
        ("(1 | g)", [("1", ("g",), True)]),
        ("(x | g)", [("1 + x", ("g",), True)]),
        ("(1 + x | g)", [("1 + x", ("g",), True)]),
        ("(x || g)", [("1 + x", ("g",), False)]),
        ("(0 + x | g)", [("0 + x", ("g",), True)]),
        ("(x - 1 | g)", [("x - 1", ("g",), True)]),
        ("(1 | a/b)", [("1", ("a",), True), ("1", ("a", "b"), True)]),
        ("(1 | a/b/c)", [("1", ("a",), True), ("1", ("a", "b"), True), ("1", ("a", "b", "c"), True)]),
        ("(1 | a:b)", [("1", ("a", "b"), True)]),
        ("(x | (a:b)/c)", [("1 + x", ("a", "b"), True), ("1 + x", ("a", "b", "c"), True)]),
        ("(1|g) + (0+x|g)", [("1", ("g",), True), ("0 + x", ("g",), True)]),
        ("(log(x) | `my group`)", [("1 + log(x)", ("my group",), True)]),
    ],
)
def test_random_terms(bars, expected):
    assert random(f"y ~ x + {bars}") == expected
    assert random(f"y ~ {bars} + x") == expected  # wherever they stand at the top level


def test_a_random_term_knows_its_place_and_label():
    formula = parse_formula("y ~ x + (x || g) + (1 | a/b)")
    assert [formula.text[slice(*term.span)] for term in formula.random] == ["(x || g)", "(1 | a/b)", "(1 | a/b)"]
    assert [term.label for term in formula.random] == ["1 + x || g", "1 | a", "1 | a:b"]
    assert [term.group for term in formula.random] == ["g", "a", "a:b"]
    assert [len(term.terms) for term in formula.random] == [2, 1, 1]


def test_left_sides():
    assert parse_formula("log(y) ~ x").response.label == "log(y)"
    assert parse_formula("`a b` ~ x").response.label == "a b"
    response = parse_formula("p(s, n - 1) ~ x").response
    assert (response.label, render(response.value), render(response.trials)) == ("p(s, n - 1)", "s", "n - 1")
    response = parse_formula("cbind(s, n - s) ~ x").response
    assert (render(response.value), render(response.trials)) == ("s", "s + (n - s)")
    assert parse_formula("~ x", require_response=False).response is None


def test_offsets_are_pulled_out_of_the_fixed_part():
    formula = parse_formula("y ~ offset(log(n)) + x + offset(z)")
    assert formula.fixed == "1 + x"
    assert [render(offset) for offset in formula.offsets] == ["log(n)", "z"]


def test_variables_are_the_columns_in_order_of_appearance():
    formula = parse_formula("p(s, n) ~ C(k, Treatment) + poly(x, 2) + (z | a:b) + offset(log(e))")
    assert formula.variables == ("s", "n", "k", "x", "z", "a", "b", "e")


def test_arithmetic_keeps_precedence():
    spell = {
        "I(a + b*c^2)": "I(a + b * c^2)",
        "I(-x^2)": "I(-x^2)",
        "I((a + b)/c)": "I((a + b) / c)",
        "I(a - (b - c))": "I(a - (b - c))",
        "I(x >= 2)": "I(x >= 2)",
        "I(g == 'it\\'s')": 'I(g == "it\'s")',
    }
    for given_text, expected in spell.items():
        formula = parse_formula(f"y ~ {given_text}")
        assert formula.terms[1].label == expected
        assert parse_formula(f"y ~ {expected}").terms == formula.terms


names = st.sampled_from(["x", "z", "a.b", "`odd name`", "log(w)", "poly(x, 2)", "I(v^2)"])
operators = st.sampled_from([" + ", "*", ":", "/", " - ", " %in% "])
groups = st.sampled_from(["g", "a/b", "a:b", "`my g`"])


@st.composite
def formulas(draw) -> str:
    parts = [draw(names)]
    for _ in range(draw(st.integers(0, 5))):
        parts += [draw(operators), draw(names)]
    text = "y ~ " + "".join(parts)
    for group in draw(st.lists(groups, max_size=2)):
        text += f" + ({draw(names)} {draw(st.sampled_from(['|', '||']))} {group})"
    return text + draw(st.sampled_from(["", " + offset(log(e))", " - 1"]))


@settings(deadline=None)
@given(formulas())
def test_writing_a_formula_and_reading_it_back_changes_nothing(text):
    formula = parse_formula(text)
    again = parse_formula(str(formula))
    assert (again.terms, again.random, again.offsets, again.response) == (
        formula.terms,
        formula.random,
        formula.offsets,
        formula.response,
    )
    assert str(again) == str(formula)


WORDS = [
    "**",
    "||",
    "==",
    "%in%",
    "2.5",
    "1e9",
    "log",
    "poly",
    "offset",
    "p",
    "C",
    "I",
    "__class__",
    "Treatment",
    "True",
]
pieces = st.sampled_from([*"yx~+-*/:^|()[]{},=<`\"'%01.\\@λ\n", *WORDS])


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=30).map(" ".join), st.lists(pieces).map("".join)))
def test_any_text_is_a_formula_or_a_formula_error(text):
    try:
        formula = parse_formula(text)
    except FormulaError as raised:
        error = raised
    else:
        assert isinstance(formula, Formula)
        assert "~" in text
        return
    assert str(error)
    assert error.position is None or 0 <= error.position <= len(error.text)
