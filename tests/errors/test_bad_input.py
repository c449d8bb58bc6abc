"""Bad input, one clear error each: what was given, what was expected, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

N = 24


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.poisson(3.0, N),
            "x": rng.normal(size=N),
            "g": np.repeat(list("abcdef"), 4),
            "h": np.tile(list("wxyz"), 6),
            "s": rng.integers(0, 6, N),
            "t": np.full(N, 6),
            "w": rng.uniform(0.5, 2.0, N),
            "b": rng.integers(0, 2, N),
            "r": rng.normal(size=N),
            "p": rng.uniform(0.1, 0.9, N),
        }
    )


def put(column: str, rows: int | list[int], value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A table with some entries replaced."""

    def edit(data: pd.DataFrame) -> pd.DataFrame:
        data[column] = data[column].astype(object if isinstance(value, str) else float)
        data.loc[rows, column] = value
        return data

    return edit


def make(**columns: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A table with columns added or replaced."""
    return lambda data: data.assign(**columns)


def first(rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda data: data.iloc[:rows]


MIXED = "y ~ x + (1 | g)"
P = "p(s, t) ~ x"
GROUP_CODE = np.repeat(np.arange(6.0), 4)

# name: (formula, family, edit of the table, arguments of Model, method and its options, exception, message)
CASES: dict[str, tuple[Any, Any, Any, dict[str, Any], tuple[Any, dict[str, Any]], type[Exception], str]] = {}


def case(
    name: str,
    error: type[Exception],
    message: str,
    formula: Any = MIXED,
    family: Any = "poisson",
    edit: Any = None,
    fit: Any = None,
    options: dict[str, Any] | None = None,
    **arguments: Any,
) -> None:
    assert name not in CASES
    CASES[name] = (formula, family, edit, arguments, (fit, options or {}), error, message)


# --- columns --------------------------------------------------------------------------------------------------
case("unknown column", bg.DataError, r"no column 'ww'. Did you mean w", formula="y ~ ww")
case("unknown column, no near one", bg.DataError, r"no column 'zebra'. It has y, x, g", formula="y ~ zebra")
case("unknown response", bg.DataError, r"no column 'yy'. Did you mean y", formula="yy ~ x")
case("unknown grouping factor", bg.DataError, r"no column 'gg'. Did you mean g", formula="y ~ x + (1 | gg)")
case("unknown slope", bg.DataError, r"no column 'xx'", formula="y ~ x + (xx | g)")
case("unknown nested factor", bg.DataError, r"no column 'zz'", formula="y ~ x + (1 | g/zz)")
case("unknown trials", bg.DataError, r"no column 'tt'", formula="p(s, tt) ~ x", family="binomial")
case("unknown column in a function", bg.DataError, r"no column 'zz'", formula="y ~ log(zz)")
case("unknown column in an offset", bg.DataError, r"no column 'zz'", formula="y ~ x + offset(zz)")
case("unknown weights", bg.DataError, r"no column 'ww'", weights="ww")
case("unknown offset", bg.DataError, r"no column 'oo'", offset="oo")
case("unknown exposure", bg.DataError, r"no column 'ee'", exposure="ee")
case("a column twice", bg.DataError, r"2 columns named 'x'", edit=lambda d: pd.concat([d, d[["x"]]], axis=1))
case("an empty column", bg.DataError, r"'x' has no values", edit=make(x=np.nan))
case("an empty column of objects", bg.DataError, r"'x' has no values", edit=make(x=None))
case("no rows", bg.DataError, r"no rows", edit=first(0))
case("no columns", bg.DataError, r"no column|no rows", edit=lambda d: d[[]])
case("no table", bg.DataError, r"Expected a pandas, polars or pyarrow table.*NoneType", edit=lambda d: None)
case("a list for a table", bg.DataError, r"Expected a pandas.*got list", edit=lambda d: [1, 2])
case("a text for a table", bg.DataError, r"no file or directory 'data.csv'", edit=lambda d: "data.csv")
case("columns of unequal length", bg.DataError, r"same length", edit=lambda d: {"y": [1, 2], "x": [1], "g": [1]})
case("mixed types", bg.DataError, r"'x' mixes values of different types \(int, str\)", edit=make(x=[1, "a"] * 12))
case("lists in a column", bg.DataError, r"'x' mixes values|'x' holds", edit=make(x=[[1]] * N))
case("complex numbers", bg.DataError, r"'x' holds complex numbers", edit=lambda d: d.assign(x=d.x + 1j))
case("dates", bg.DataError, r"'x' holds datetime64", edit=make(x=pd.date_range("2020-01-01", periods=N)))
case("numbers in texts", bg.DataError, r"cannot determine", formula="y ~ x", edit=lambda d: d.assign(x=d.x.astype(str)))

# --- NaN, inf -------------------------------------------------------------------------------------------------
case("inf in the response", bg.DataError, r"'y' is infinite in 1 row \(3\)", edit=put("y", 3, np.inf))
case("inf in X", bg.DataError, r"'x' is infinite in 2 rows", edit=put("x", [3, 5], -np.inf))
case("inf in a slope", bg.DataError, r"'w' is infinite", formula="y ~ x + (w | g)", edit=put("w", 3, np.inf))
case("inf in the weights", bg.DataError, r"'?weights'? is infinite in 1 row", weights="w", edit=put("w", 3, np.inf))
case("inf in the offset", bg.DataError, r"'?offset'? is infinite in 1 row", offset="w", edit=put("w", 3, np.inf))
case("inf in trials", bg.DataError, r"'t' is infinite", formula=P, family="binomial", edit=put("t", 3, np.inf))
case("log of a negative", bg.DataError, r"log\(x\) is not a finite number in \d+ rows", formula="y ~ log(x)")
case("log of zero", bg.DataError, r"log\(w\) is not a finite", formula="y ~ log(w)", edit=put("w", 3, 0.0))
case("offset not finite", bg.DataError, r"offset is not a finite", formula="y ~ offset(log(w))", edit=put("w", 3, 0.0))
case("everything missing", bg.DataError, r"Every row has a missing value", edit=lambda d: d.assign(y=np.nan))

# --- weights, offset, exposure --------------------------------------------------------------------------------
case("weight zero", bg.DataError, r"weights must be positive.*row \(3\)", weights="w", edit=put("w", 3, 0.0))
case("weight negative", bg.DataError, r"weights must be positive", weights="w", edit=put("w", 3, -1.0))
case("weights of labels", bg.DataError, r"weights is the column 'h', which holds labels", weights="h")
case("weights too short", bg.DataError, r"weights has shape \(3,\), but the table has 24 rows", weights=np.ones(3))
case("weights of a matrix", bg.DataError, r"weights has shape \(24, 1\)", weights=np.ones((N, 1)))
case("weights of texts", bg.DataError, r"weights", weights=["a"] * N)
case("offset too short", bg.DataError, r"offset has shape", offset=np.ones(3))
case("exposure zero", bg.DataError, r"exposure must be positive", exposure="w", edit=put("w", 3, 0.0))
case("exposure negative", bg.DataError, r"exposure must be positive", exposure="w", edit=put("w", 3, -1.0))

# --- response -------------------------------------------------------------------------------------------------
case(
    "a negative count", bg.DataError, r"outside the support.*'poisson'.*row 2 \(-1\), row 5", edit=put("y", [2, 5], -1)
)
case(
    "a count for a binary", bg.DataError, r"outside the support.*0 or 1.*rows in all", formula=MIXED, family="binomial"
)
case("gamma at zero", bg.DataError, r"outside the support.*row 0 \(0\)", family="gamma", edit=put("y", 0, 0))
case("negative for inverse Gaussian", bg.DataError, r"outside the support", "r ~ x", "inverse_gaussian")
case("negative for NB", bg.DataError, r"outside the support", MIXED, "negative_binomial", put("y", 0, -2))
case(
    "a proportion above one",
    bg.DataError,
    r"outside the support|more successes",
    "p ~ x",
    "quasibinomial",
    put("p", 1, 2),
)
case(
    "more successes than trials",
    bg.DataError,
    r"more successes than trials in 1 row \(4\)",
    P,
    "binomial",
    put("s", 4, 7),
)
case("negative successes", bg.DataError, r"negative successes in 1 row \(4\)", P, "binomial", put("s", 4, -1))
case("no trials", bg.DataError, r"trials that are not positive in 1 row \(4\)", P, "binomial", put("t", 4, 0))
case("negative trials", bg.DataError, r"trials that are not positive|more successes", P, "binomial", put("t", 4, -6))
case("trials for Poisson", bg.DataError, r"'poisson' takes no trials", P, "poisson")
case("labels for Poisson", bg.DataError, r"categorical .*'poisson' takes", "g ~ x", "poisson")
case("labels for gaussian", bg.DataError, r"categorical", "g ~ x", "gaussian")
case("four levels for binomial", bg.DataError, r"'h' has 4 levels .*takes two", "h ~ x", "binomial")
case("a constant response", bg.DataError, r"response y is constant: 3 in all 24 rows", edit=make(y=3))
case("all zero", bg.DataError, r"response y is constant: 0", edit=make(y=0))
case("constant gaussian", bg.DataError, r"response r is constant", "r ~ x", "gaussian", make(r=1.5))
case("constant binary", bg.DataError, r"response b is constant: 1", "b ~ x + (1 | g)", "binomial", make(b=1))
case("all successes", bg.DataError, r"no failures in all 24 rows", P, "binomial", make(s=6))
case("one level of two", bg.DataError, r"constant|one level", "g ~ x", "binomial", make(g="a"))

# --- sizes ----------------------------------------------------------------------------------------------------
case(
    "rows as many as columns",
    bg.DataError,
    r"5 rows cannot determine 5",
    "y ~ x + r + w + s",
    edit=first(5),
    fit="irls",
)
case("fewer rows than columns", bg.DataError, r"4 rows cannot determine 5", "y ~ x + r + w + p", edit=first(4))
case("one row", bg.DataError, r"constant|cannot determine", edit=first(1))
case("a factor of one level", bg.DataError, r"h has one level only", "y ~ h", edit=make(h="a"))
case("a group of one level", bg.DataError, r"'g' has one level only \('a'\)", edit=make(g="a"))
case("a second group of one level", bg.DataError, r"'h' has one level", "y ~ x + (1 | g) + (1 | h)", edit=make(h="a"))
case(
    "a slope constant in groups",
    bg.DataError,
    r"slope of 'c'.*'c' is constant within",
    "y ~ c + (c | g)",
    edit=make(c=GROUP_CODE),
)
case("a slope constant, alone", bg.DataError, r"constant within", "y ~ x + (0 + c || g)", edit=make(c=GROUP_CODE + 1))
case(
    "an intercept and a slope that leave no residual",
    bg.DataError,
    r"'o' has 2 rows on average per level and 2 random effect.s.: in a Gaussian model these effects and the residual",
    "r ~ c + (1 + c | o)",
    "gaussian",
    make(o=np.arange(N) // 2, c=np.arange(N) % 2),
    "laplace",
)
case(
    "an effect per single trial",
    bg.DataError,
    r"'o' has one row per level: one trial, .* variance of an effect per row is not in the data. Leave the term out",
    "b ~ x + (1 | g) + (1 | o)",
    "binomial",
    make(o=np.arange(N)),
    "laplace",
)
case(
    "a residual that is a group",
    bg.DataError,
    r"'o' has one row per level.*residual",
    "r ~ x + (1 | o)",
    "gaussian",
    make(o=np.arange(N)),
    "reml",
)

# --- names ----------------------------------------------------------------------------------------------------
case(
    "unknown family",
    bg.FamilyError,
    r"unknown family 'poison'. Did you mean 'poisson'\? Known families: gauss",
    family="poison",
)
case("a number for a family", bg.FamilyError, r"family is 3; a name", family=3)
case("no family", bg.FamilyError, r"family is None", family=None)
case("unknown link", bg.FamilyError, r"unknown link 'logg'. Did you mean 'log'", link="logg")
case(
    "a link of another family",
    bg.FamilyError,
    r"'probit' does not go with family 'poisson'. Its links: log",
    link="probit",
)
case("a number for a link", bg.FamilyError, r"link is 3", link=3)
case(
    "unknown method",
    bg.MethodError,
    r"unknown method 'lapace'. Did you mean 'laplace'\? Known methods: irls",
    fit="lapace",
)
case("a number for a method", bg.MethodError, r"unknown method 3. Known methods", fit=3)
case("a list for a method", bg.MethodError, r"unknown method \['laplace'\]", fit=["laplace"])
case(
    "unknown option",
    bg.MethodError,
    r"'agq' has no option 'node'. Did you mean 'nodes'",
    fit="agq",
    options={"node": 3},
)
case(
    "unknown covariance group", bg.MethodError, r"group 'h', but the model's groups are g", covariance={"h": "diagonal"}
)
case(
    "unknown covariance form", bg.MethodError, r"'g' is 'diag'; known forms are unstructured", covariance={"g": "diag"}
)
case(
    "a matrix for a covariance",
    bg.MethodError,
    r"'g' is a ndarray; known forms .*; a matrix is given as bg.Known\(K",
    covariance={"g": np.eye(3)},
)
case("covariance no dict", bg.MethodError, r"covariance is 'diagonal'; a dict", covariance="diagonal")
case("unknown prior target", bg.SpecError, r"unknown prior target 'z'. .*Intercept, x", priors={"z": bg.Prior("Flat")})
case("a number for a prior", bg.SpecError, r"the prior of 'x' is 3", priors={"x": 3})
case("a word for priors", bg.SpecError, r"priors='vague'; expected 'default', 'flat'", priors="vague")
case("a number for priors", bg.SpecError, r"priors is a int", priors=3)
case(
    "a prior below zero for an sd",
    bg.SpecError,
    r"cannot be the prior of 'g.sd'",
    priors={"g.sd": bg.Prior("Normal", mu=0, sigma=1)},
)
case("parameter unknown to loglik", bg.MethodError, r"no option", fit="laplace", options={"nodse": 1})

# --- methods that do not apply --------------------------------------------------------------------------------
case("irls with random effects", bg.MethodError, r"takes no random effects.*apply to this model: .*laplace", fit="irls")
case("reml of a Poisson", bg.MethodError, r"gaussian family with identity link.*apply", fit="reml")
case("ml without random effects", bg.MethodError, r"for mixed models", "r ~ x", "gaussian", fit="ml")
case(
    "agq of crossed effects",
    bg.MethodError,
    r"exactly one grouping factor.*g, h.*laplace",
    "y ~ (1 | g) + (1 | h)",
    fit="agq",
)
case(
    "agq of three nested levels",
    bg.MethodError,
    r"or two of which one is strictly nested in the other, and the model has g, g:h, g:h:b. .*: .*laplace",
    "y ~ (1 | g / h / b)",
    fit="agq",
)
case("agq without random effects", bg.MethodError, r"one grouping factor.* the model has none", "y ~ x", fit="agq")
case(
    "too many nodes for the dimension",
    bg.MethodError,
    r"50 nodes in 3 dimensions are 125000 evaluations for each of 24 rows; at most 27 nodes fit here.*prune=1e-6",
    "y ~ (1 + x + w | g)",
    fit="agq",
    options={"nodes": 50},
)
case(
    "too many nodes for nested effects",
    bg.MethodError,
    r"200 and 200 nodes in 1 outer and 1 inner dimensions are 40000.*at most nodes=141 \(at both levels\) fit here",
    "y ~ (1 | g / h)",
    fit="agq",
    options={"nodes": 200},
)
case(
    "agq of levels with a known covariance",
    bg.MethodError,
    r"a known covariance ties the levels together. Methods that apply to this model: .*laplace",
    covariance={"g": bg.Known(np.eye(6) + 0.1, levels=list("abcdef"))},
    fit="agq",
)
case(
    "a pair of nodes for one factor",
    bg.MethodError,
    r"\(outer, inner\) numbers of nodes are for two nested grouping factors; the model has one",
    fit="agq",
    options={"nodes": (3, 5)},
)
case("pruning everything", bg.MethodError, r"prune=1.0: the share", fit="agq", options={"prune": 1.0})
case(
    "laplace of a quasi-family",
    bg.MethodError,
    r"needs a likelihood.*quasi-family.*pql",
    family="quasipoisson",
    fit="laplace",
)
case("mcmc of a quasi-family", bg.MethodError, r"needs a likelihood", family="quasipoisson", fit="mcmc")
case("no nodes", bg.MethodError, r"nodes", fit="agq", options={"nodes": 0})
case("half a node", bg.MethodError, r"nodes", fit="agq", options={"nodes": 2.5})
case("nodes in words", bg.MethodError, r"nodes", fit="agq", options={"nodes": "many"})
case("an unknown kernel", bg.MethodError, r"kernel", fit="laplace", options={"kernel": "fast"})
case("an unknown scale", bg.MethodError, r"scale", "y ~ x", fit="irls", options={"scale": "big"})
case("an unknown covariance", bg.MethodError, r"cov", "y ~ x", fit="irls", options={"cov": "HC9"})
case("cluster without groups", bg.MethodError, r"groups", "y ~ x", fit="irls", options={"cov": "cluster"})

# --- formulas -------------------------------------------------------------------------------------------------
for _text, _message in {
    "": "ends where a term was expected",
    "~": "ends where a term was expected",
    "y": r"no '~' between response and predictors",
    "y ~": "ends where a term was expected",
    "y ~ x +": "ends where a term was expected",
    "y ~ (x": r"never closed",
    "y ~ x)": r"closes nothing",
    "y ~ (1 | )": r"Expected a term, found '\)'",
    "y ~ ( | g)": r"Expected a term, found '\|'",
    "y ~ (1 | g": "never closed",
    "y ~ x ~ w": "one '~' only",
    "y ~ 1 | g": "parentheses of its own",
    "y ~ x @ w": "'@' has no meaning",
    'y ~ "a': "quote .* is never closed",
    "y ~ `a": "never closed|backtick",
    "y ~ (1 || g || h)": "one bar",
    "y ~ x; w": "';' has no meaning",
    "y ~ 3x": "Expected an operator before 'x'",
    "y ~ ((1 | g))": "parentheses of its own",
    "y ~ (1 | (1 | g))": "is not a grouping factor",
    "p(s) ~ x": "p\\(\\) takes two arguments",
    "p(s, t, w) ~ x": "p\\(\\) takes two arguments",
    "y ~ p(s, t)": "p\\(\\) can only be the whole left side",
    "y ~ offset()": "offset\\(\\) takes one argument",
    "y ~ nofunction(x)": "nofunction",
    "y ~ lag(x)": "'?lag",
    "y ~ x**": "ends where a term was expected",
    "y ~ ∞": "has no meaning",
}.items():
    case(f"formula {_text!r}", bg.FormulaError, _message, formula=_text)
case("no formula", bg.FormulaError, r"formula is None; a text such as", formula=None)
case("a number for a formula", bg.FormulaError, r"formula is 3; a text", formula=3)


def build(formula: Any, data: Any, family: Any, arguments: Any, method: Any, options: Any) -> None:
    model = bg.Model(formula, data, family, **arguments)
    if method is not None:
        model.fit(method, **options)


@pytest.mark.filterwarnings("ignore::bayesglmm.errors.DataWarning")
@pytest.mark.parametrize("name", CASES)
def test_bad_input_gives_one_clear_error(name: str) -> None:
    formula, family, edit, arguments, (method, options), error, message = CASES[name]
    data: Any = table() if edit is None else edit(table())
    with pytest.raises(error) as caught:
        build(formula, data, family, arguments, method, options)
    text = str(caught.value)
    assert type(caught.value) is error
    assert re.search(message, text, re.DOTALL), text
    assert 15 < len(text) < 500


def test_a_formula_error_points_at_the_character() -> None:
    with pytest.raises(bg.FormulaError) as caught:
        bg.Model("y ~ x + (1 | g", table(), "poisson")
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == "y ~ x + (1 | g"
    assert lines[2].index("^") == lines[1].index("(")


@pytest.mark.parametrize(
    ("edit", "arguments", "dropped"),
    [
        (put("y", [3, 4], np.nan), {}, "y: 2"),
        (put("x", 3, np.nan), {}, "x: 1"),
        (make(g=[None, *np.repeat(list("abcdef"), 4)[1:]]), {}, "g: 1"),
        (put("w", 3, np.nan), {"weights": "w"}, "weights: 1"),
        (put("w", 3, np.nan), {"offset": "w"}, "offset: 1"),
        (put("w", 3, np.nan), {"exposure": "w"}, "exposure: 1"),
    ],
)
def test_missing_values_are_dropped_and_counted(edit: Any, arguments: dict[str, Any], dropped: str) -> None:
    with pytest.warns(bg.DataWarning, match=rf"Dropped {dropped[-1]} .*rows? with missing values \({dropped}\)"):
        model = bg.Model(MIXED, edit(table()), "poisson", **arguments)
    assert model.design.nobs == N - int(dropped[-1])
    assert model.design.n_dropped == int(dropped[-1])


def test_aliased_columns_are_named_and_not_estimable() -> None:
    data = table().assign(x2=lambda d: 2 * d.x - 1, g2=lambda d: d.g.str.upper())
    with pytest.warns(bg.DataWarning, match=r"linear combinations of earlier columns: x2\b"):
        model = bg.Model("y ~ x + x2 + w", data, "poisson")
    assert model.design.aliased == ("x2",)
    aliased, plain = model.fit("irls"), bg.Model("y ~ x + w", table(), "poisson").fit("irls")
    assert aliased.fixed.loc["x2"].isna().all()
    assert "x2" in str(aliased)
    kept = ["Intercept", "x", "w"]
    assert aliased.fixed.loc[kept, "estimate"].to_numpy() == pytest.approx(plain.fixed["estimate"], rel=1e-9)
    assert aliased.loglik == pytest.approx(plain.loglik, abs=1e-9)
    with pytest.warns(bg.DataWarning, match=r"g2\[T.B\], g2\[T.C\]"):
        assert len(bg.Model("y ~ g + g2 + (1 | h)", data, "poisson").design.aliased) == 5


def test_fractional_counts_warn_and_name_the_quasi_family() -> None:
    with pytest.warns(bg.DataWarning, match=r"not whole numbers.*row 3 \(1.5\).*'quasipoisson'"):
        bg.Model(MIXED, put("y", 3, 1.5)(table()), "poisson")


def test_parameters_of_loglik_are_checked() -> None:
    model = bg.Model(MIXED, table(), "poisson", priors="flat")
    good = {"Intercept": 1.0, "x": 0.1, "g.sd": 0.5}
    assert np.isfinite(model.loglik(good))
    for wrong, message in (
        ({**good, "z": 1.0}, r"unknown parameter 'z'"),
        ({"Intercept": 1.0, "x": 0.1}, r"no value given for g.sd"),
        ({**good, "g.sd": -1.0}, r"expected 1 non-negative"),
        ({**good, "g.sd": [1.0, 2.0]}, r"expected 1 non-negative"),
    ):
        with pytest.raises(bg.MethodError, match=message):
            model.loglik(wrong)
    with pytest.raises(bg.MethodError, match="loglik evaluates"):
        model.loglik(good, method="irls")


def test_priors_given_to_a_method_without_a_posterior_are_named() -> None:
    model = bg.Model("y ~ x", table(), "poisson", priors={"x": bg.Prior("Normal", mu=0, sigma=1)})
    with pytest.warns(bg.BayesGLMMWarning, match="'irls' has no posterior: the priors given are left aside"):
        model.fit("irls")
