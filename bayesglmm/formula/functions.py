"""The closed list of what a formula may call, and the check that an expression keeps to it.

A formula is data. It is never handed to Python's ``eval``; ``bayesglmm.design.evaluate`` walks the tree and knows these
functions only. The check is done when the formula is read, so that the error can point at the character.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

from bayesglmm.errors import FormulaError
from bayesglmm.formula.expressions import COMPARISONS, Binary, Call, Constant, Expr, Name, Paren, Sign, Sum, walk

MAX_COUNT = 100


@dataclass(frozen=True)
class Function:
    """One allowed function.

    Parameters
    ----------
    kind : {"elementwise", "transform", "identity", "category"}
        How it is evaluated: value by value, with state learned from the data, as it stands, or as a factor.
    options : mapping of str to str
        Its further arguments, in order, each with what it accepts: ``"count"`` (a whole number up to `MAX_COUNT`),
        ``"number"``, ``"numbers"``, ``"bool"``, ``"bool or number"``, ``"text"``, ``"labels"`` or ``"contrasts"``.
    """

    kind: str
    options: dict[str, str] = field(default_factory=dict)


_ELEMENTWISE = "log log2 log10 log1p exp expm1 sqrt abs sin cos tan tanh floor ceil ceiling round sign"
_BOUNDS = {"lower_bound": "number", "upper_bound": "number"}
_CUBIC = {"df": "count", "knots": "numbers", **_BOUNDS, "constraints": "text", "extrapolation": "text"}
_BASIS = {"df": "count", "knots": "numbers", "degree": "count", "include_intercept": "bool", **_BOUNDS}
_SCALE = {"center": "bool or number", "scale": "bool or number", "ddof": "count"}
_CATEGORY = Function("category", {"contrasts": "contrasts", "levels": "labels"})

FUNCTIONS: dict[str, Function] = {
    **{name: Function("elementwise") for name in _ELEMENTWISE.split()},
    "I": Function("identity"),
    "{": Function("identity"),
    "C": _CATEGORY,
    "factor": _CATEGORY,
    "poly": Function("transform", {"degree": "count", "raw": "bool"}),
    "bs": Function("transform", {**_BASIS, "extrapolation": "text"}),
    "cr": Function("transform", _CUBIC),
    "cs": Function("transform", _CUBIC),
    "cc": Function("transform", _CUBIC),
    "scale": Function("transform", _SCALE),
    "center": Function("transform"),
    "standardize": Function("transform", {"center": "bool", "rescale": "bool", "ddof": "count"}),
}

# Contrast codings by R's and by patsy's name; the value names the coding, the option is its reference level.
CONTRASTS: dict[str, str] = {
    "contr.treatment": "treatment",
    "Treatment": "treatment",
    "contr.SAS": "sas",
    "contr.sum": "sum",
    "Sum": "sum",
    "contr.helmert": "helmert",
    "Helmert": "helmert",
    "contr.poly": "poly",
    "Poly": "poly",
    "contr.sdif": "diff",
    "Diff": "diff",
}
_ARITHMETIC = frozenset({"*", "/", "^", "**"}) | COMPARISONS


def check_expression(node: Expr, text: str) -> None:
    """Refuse whatever an arithmetic expression may not hold.

    Raises
    ------
    FormulaError
        Pointing at the first part that is not a column, a number, arithmetic, a comparison or an allowed function.
    """
    match node:
        case Name("."):
            raise FormulaError("The dot for 'all columns' is not supported. Name the columns.", text, node.position)
        case Name():
            return
        case Constant(value):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise FormulaError(f"{node.text} cannot be computed with; expected a column.", text, node.position)
        case Paren(inner) | Sign(_, inner):
            check_expression(inner, text)
        case Binary(operator, left, right):
            if operator not in _ARITHMETIC:
                raise FormulaError(_misplaced(operator), text, node.position)
            for side, other in ((left, right), (right, left)):
                label = isinstance(side, Constant) and isinstance(side.value, str)
                if not (label and operator in ("==", "!=") and isinstance(other, Name)):
                    check_expression(side, text)
        case Sum(items):
            for _, item in items:
                check_expression(item, text)
        case Call():
            _check_call(node, text)


def _misplaced(operator: str) -> str:
    if operator in ("|", "||"):
        return f"A random term cannot stand inside another expression: '{operator}' belongs at the top level, (1 | g)."
    return f"The operator {operator!r} combines model terms and has no arithmetic meaning here."


def _check_call(node: Call, text: str) -> None:
    function = FUNCTIONS.get(node.function)
    if function is None:
        raise FormulaError(_unknown(node.function), text, node.position)
    if not node.arguments:
        raise FormulaError(f"{node.function}() needs a column as its first argument.", text, node.position)
    check_expression(node.arguments[0], text)
    if function.kind in ("transform", "category") and not any(isinstance(n, Name) for n in walk(node.arguments[0])):
        raise FormulaError(f"{node.function}() needs a column as its first argument.", text, node.arguments[0].position)
    read_options(node, text)


def _unknown(name: str) -> str:
    shown = [key for key in FUNCTIONS if key != "{"]
    if name == "[":
        return "Square brackets only hold a list inside a function's arguments."
    if name in ("offset", "p", "cbind"):
        where = "a term of its own on the right side" if name == "offset" else "the whole left side"
        return f"{name}() can only be {where}."
    near = get_close_matches(name.rsplit(".", 1)[-1], shown, n=1)
    hint = f" Did you mean {near[0]}()?" if near else ""
    return (
        f"A formula cannot call {name}().{hint} Allowed: {', '.join(shown)}. "
        "Compute anything else as a column of the table."
    )


def read_options(node: Call, text: str = "") -> dict[str, object]:
    """Give a call's arguments after the first as plain values by name.

    Raises
    ------
    FormulaError
        For an unknown, doubled or ill-typed argument.
    """
    options = FUNCTIONS[node.function].options
    given = [*zip(options, node.arguments[1:]), *node.keywords]
    if len(node.arguments) - 1 > len(options):
        extra = node.arguments[len(options) + 1]
        raise FormulaError(f"Too many arguments for {node.function}().", text, extra.position)
    values: dict[str, object] = {}
    for name, value in given:
        if name not in options:
            accepted = f"It takes {', '.join(options)}." if options else "It takes one argument only."
            raise FormulaError(f"{node.function}() has no argument {name!r}. {accepted}", text, value.position)
        if name in values:
            raise FormulaError(f"The argument {name!r} of {node.function}() is given twice.", text, value.position)
        values[name] = _plain(value, options[name], f"{name} of {node.function}()", text)
    return values


def _plain(node: Expr, kind: str, what: str, text: str) -> object:
    if kind == "contrasts":
        return _contrasts(node, text)
    if kind in ("numbers", "labels"):
        if not (isinstance(node, Call) and node.function in ("[", "c") and not node.keywords):
            raise FormulaError(f"Expected a list such as [1, 2] for {what}.", text, node.position)
        return tuple(_plain(item, "number" if kind == "numbers" else "label", what, text) for item in node.arguments)
    value = _literal(node)
    accepts = {
        "count": isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT,
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "bool or number": isinstance(value, bool | int | float),
        "text": isinstance(value, str),
        "label": isinstance(value, str | int | float),
    }
    if not accepts[kind]:
        expected = {"count": f"a whole number from 0 to {MAX_COUNT}", "bool": "True or False"}.get(kind, f"a {kind}")
        raise FormulaError(f"Expected {expected} for {what}.", text, node.position)
    return value


def _literal(node: Expr) -> object:
    match node:
        case Constant(value):
            return value
        case Sign(operator, Constant(int() | float() as value)) if not isinstance(value, bool):
            return -value if operator == "-" else value
    return node


def _contrasts(node: Expr, text: str) -> tuple[str, object]:
    reference: object = None
    match node:
        case Name(name) | Call(name, (), ()):
            pass
        case Call(name, (base,), ()) | Call(name, (), ((_, base),)):
            reference = _plain(base, "label", f"the reference level of {name}", text)
        case _:
            name = ""
    if name not in CONTRASTS or (reference is not None and CONTRASTS[name] != "treatment"):
        message = f'Expected a contrast coding such as Treatment("b"); there are {", ".join(CONTRASTS)}.'
        raise FormulaError(message, text, node.position)
    return CONTRASTS[name], reference
