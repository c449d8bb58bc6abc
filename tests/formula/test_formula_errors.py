"""The formula reader: what it refuses, where it points, and that refusing is quick."""

from __future__ import annotations

import sys
import time

import pytest

from bayesglmm.errors import FormulaError
from bayesglmm.formula import parse_formula


@pytest.mark.parametrize(
    ("text", "pointed", "says"),
    [
        ("y ~ x + (1 | g", "(", "never closed"),
        ("y ~ x)", ")", "closes nothing"),
        ("y ~ x + ", "", "ends where a term was expected"),
        ("y ~ x z", "z", "operator"),
        ("y ~ x + 1 | g", "|", "parentheses of its own"),
        ("y ~ x*(1 | g)", "|", "parentheses of its own"),
        ("y ~ (1 | a + b)", "+", "(1 | a) + (1 | b)"),
        ("y ~ (1 | a | b)", "| b", "one bar"),
        ("y ~ (1 | log(g))", "log", "read as labels"),
        ("y ~ (0 | g)", "(0", "Nothing varies"),
        ("y ~ x - (1 | g)", "(1", "cannot be subtracted"),
        ("y ~ (offset(x) | g)", "offset", "outside"),
        ("y ~ x ~ z", "~ z", "one '~'"),
        ("y + x", "", "no '~'"),
        ("~ x", "~", "no response"),
        ("y ~ @x", "@", "backticks"),
        ("y ~ 'x", "'", "never closed"),
        ("y ~ `x", "`", "never closed"),
        ("y ~ ``", "``", "empty name"),
        ("y ~ 2*x", "2", "I(2 * x)"),
        ("y ~ 'x'", "'x'", "not a model term"),
        ("y ~ x == 2", "==", "I(x == 2)"),
        ("y ~ a^b", "b", "positive whole number"),
        ("y ~ a^2.5", "2.5", "positive whole number"),
        ("y ~ .", ".", "Name the columns"),
        ("y ~ logg(x)", "logg", "Did you mean log()"),
        ("y ~ np.log(x)", "np.log", "Did you mean log()"),
        ("y ~ log(x, 2)", "2", "Too many arguments"),
        ("y ~ log()", "log", "needs a column"),
        ("y ~ bs(2 + 3)", "+ 3", "needs a column"),
        ("y ~ poly(x, 2.5)", "2.5", "whole number"),
        ("y ~ poly(x, degree=101)", "101", "whole number from 0 to 100"),
        ("y ~ poly(x, z)", "z", "whole number"),
        ("y ~ poly(x, raw='yes')", "'yes'", "True or False"),
        ("y ~ poly(x, 2, degree=3)", "3", "twice"),
        ("y ~ poly(x, n=3)", "3", "no argument 'n'"),
        ("y ~ poly(degree=3, x)", "x)", "without a name"),
        ("y ~ bs(x, knots=3)", "3", "list"),
        ("y ~ C(k, contr.nothing)", "contr", "contrast coding"),
        ("y ~ C(k, Sum('a'))", "Sum", "contrast coding"),
        ("y ~ log(a:b)", ":", "no arithmetic meaning"),
        ("y ~ I(x + 'a')", "'a'", "cannot be computed"),
        ("y ~ offset(a, b)", "offset", "one argument"),
        ("y ~ x:offset(z)", "offset", "term of its own"),
        ("p(s) ~ x", "p", "p(successes, trials)"),
        ("y ~ p(s, n)", "p(", "left side"),
        ("1 ~ x", "1", "expected a column"),
        ("y ~ y + x", "y + x", "cannot also predict"),
        ("y ~ log(x) + `log(x)`", "`log(x)`", "Two different terms"),
        ("y ~ x[0]", "[", "operator"),
        ("y ~ [x]", "[", "list"),
        ("y ~ lambda x: x", "x: x", "operator"),
    ],
)
def test_errors_point_at_the_character_and_say_what_to_do(text, pointed, says):
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    error = caught.value
    assert says in str(error)
    assert error.position == (text.rindex(pointed) if pointed else len(error.text))
    lines = str(error).split("\n")
    assert lines[-1].index("^") == 4 + error.position
    assert lines[-2] == "    " + text


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch /tmp/pwned')",
        "open('/etc/passwd')",
        "eval('1')",
        "exec('1')",
        "getattr(x, '__class__')",
        "x.__class__()",
        "().__class__",
        "(lambda: 1)()",
        "[i for i in x]",
        "{__import__('os')}",
        "{x.__class__.__mro__}",
        "log(__import__('os'))",
        "I(open('/etc/passwd'))",
        "I(x).__class__",
        "`x`.__class__",
        "poly(x, __import__('os'))",
        "poly(x, _state=x)",
        "scale(x, _context=x)",
        "C(k, levels=open('x'))",
        "C(k, contrasts=exec('1'))",
        "Q('x')",
        "hashed(x, 2)",
        "np.fromfile('x')",
        "pd.read_csv('x')",
        "x if y else z",
        "(x := 3)",
        "f'{x}'",
        "log(*x)",
        "log(**x)",
        "x; y",
        "x and y",
        "not x",
        "x \\\n y",
    ],
)
def test_a_formula_can_run_nothing(expression):
    for text in (f"y ~ {expression}", f"y ~ (1 + {expression} | g)", f"{expression} ~ x", f"y ~ offset({expression})"):
        with pytest.raises(FormulaError):
            parse_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "(" * 10_000,
        "y ~ " + "(" * 9_000 + "x" + ")" * 9_000,
        "y ~ " + "log(" * 3_000 + "x" + ")" * 3_000,
        "y ~ " + "-" * 15_000 + "x",
        "y ~ " + "{" * 15_000,
        "y ~ " + "a*" * 5_000 + "a",
        "y ~ I(" + "x/" * 5_000 + "x)",
        "y ~ I(" + "x^" * 5_000 + "x)",
        "y ~ (" + " + ".join(f"x{i}" for i in range(60)) + ")**50",
        "y ~ " + "*".join(f"x{i}" for i in range(50)),
        "y ~ " + "*".join(["(a+b+c+d+e+f+g+h+i)^9"] * 50),
        "y ~ " + " + ".join(["(a+b+c+d+e+f+g+h+i)^9:(a+b+c+d+e+f+g+h+i)^9"] * 300),
        "y ~ (1 | " + ":".join(f"g{i}" for i in range(50)) + ")",
        "y ~ (1 | " + "(" * 5_000 + "g" + ")" * 5_000 + ")",
        "y ~ " + "x" * 30_000,
        "y ~ " + "`" * 15_001,
        "y ~ a(" + "," * 15_000,
    ],
)
def test_monstrous_formulas_are_refused_at_once(text):
    start = time.process_time()
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    assert time.process_time() - start < 2.0
    assert len(str(caught.value)) < 1_000


def test_long_but_plain_formulas_are_read():
    formula = parse_formula("y ~ " + " + ".join(f"x{i}" for i in range(2_000)))
    assert len(formula.terms) == 2_001
    assert len(parse_formula("y ~ (a + b)^999").terms) == 4
    assert parse_formula("y ~ I(" + " + ".join(["x"] * 2_000) + ")").variables == ("y", "x")


def test_reading_needs_little_of_the_stack():
    """Any formula that is read at all is read within a quarter of Python's default recursion limit."""

    def read(text: str) -> None:
        limit = sys.getrecursionlimit()
        depth = 0
        frame = sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back
        sys.setrecursionlimit(depth + 400)
        try:
            parse_formula(text)
        finally:
            sys.setrecursionlimit(limit)

    read("y ~ " + "(" * 50 + "x" + ")" * 50)
    read("y ~ I(" + "(" * 50 + "x" + ")" * 50 + ")")
    read("y ~ " + "log(" * 50 + "x" + ")" * 50)
    read("y ~ " + "(z + " * 25 + "x" + ")" * 25)
    for opening in ("(", "log(", "(z + ", "-", "{", "(z*"):
        with pytest.raises(FormulaError):
            read("y ~ " + opening * 1_000)


def test_a_formula_is_a_text():
    with pytest.raises(FormulaError, match="got int"):
        parse_formula(3)
