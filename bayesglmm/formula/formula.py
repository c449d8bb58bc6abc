"""The parsed formula: response, fixed terms, random terms, offsets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bayesglmm.errors import FormulaError
from bayesglmm.formula.algebra import ModelTerm, expand_terms, factor_name
from bayesglmm.formula.bars import RandomTerm, read_bar
from bayesglmm.formula.expressions import Binary, Call, Constant, Expr, ExpressionReader, Name, Paren, Sum, render, walk
from bayesglmm.formula.functions import check_expression


@dataclass(frozen=True)
class ResponseTerm:
    """The left side.

    Parameters
    ----------
    label : str
        As written.
    value : expression
        The response, or the number of successes.
    trials : expression or None
        The number of trials of ``p(successes, trials)``.
    """

    label: str
    value: Expr
    trials: Expr | None = None


@dataclass(frozen=True)
class Formula:
    """A formula, read and checked, but not yet applied to a table.

    Parameters
    ----------
    text : str
        As given.
    response : ResponseTerm or None
        The left side; None for a one-sided formula.
    terms : tuple of ModelTerm
        The fixed part, expanded: ``a*b`` is the intercept, ``a``, ``b`` and ``a:b``.
    random : tuple of RandomTerm
        The random terms, with ``a/b`` already expanded.
    offsets : tuple of expression
        What stood inside ``offset(...)``.
    """

    text: str
    response: ResponseTerm | None
    terms: tuple[ModelTerm, ...]
    random: tuple[RandomTerm, ...] = ()
    offsets: tuple[Expr, ...] = field(default=())

    @property
    def fixed(self) -> str:
        """The fixed part as text, ``"1 + a + b + a:b"``; ``"0 + …"`` without an intercept."""
        return terms_text(self.terms)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of every column the formula uses, in the order of the formula."""
        expressions: list[Expr] = []
        if self.response is not None:
            expressions += [self.response.value]
            expressions += [self.response.trials] if self.response.trials is not None else []
        expressions += term_factors(self.terms)
        for term in self.random:
            expressions += term_factors(term.terms)
            expressions += [Name(name) for name in term.factors]
        return column_names([*expressions, *self.offsets])

    def __str__(self) -> str:
        parts = [self.fixed, *(f"({term.label})" for term in self.random)]
        parts += [f"offset({render(offset)})" for offset in self.offsets]
        return f"{self._left()}~ {' + '.join(parts)}"

    def _left(self) -> str:
        if self.response is None:
            return ""
        return f"{render(self.response.value) if self.response.trials is None else self.response.label} "


def terms_text(terms: Iterable[ModelTerm]) -> str:
    """Write model terms as a sum, with ``0`` when there is no intercept."""
    labels = [term.label for term in terms]
    return " + ".join(labels if "1" in labels else ["0", *labels])


def term_factors(terms: Iterable[ModelTerm]) -> list[Expr]:
    """List the factors of model terms, in order."""
    return [factor for term in terms for factor in term.factors]


def column_names(expressions: Iterable[Expr]) -> tuple[str, ...]:
    """Names of the columns that expressions use, each once, in order."""
    contrasts = {id(option) for node in expressions for option in _contrast_names(node)}
    names = (n for node in expressions for n in walk(node) if isinstance(n, Name) and id(n) not in contrasts)
    return tuple(dict.fromkeys(name.name for name in names))


def _contrast_names(node: Expr) -> list[Expr]:
    """List the nodes in options of calls: ``C(x, Sum)`` does not use a column called Sum."""
    calls = [call for call in walk(node) if isinstance(call, Call)]
    return [
        inner
        for call in calls
        for option in (*call.arguments[1:], *(value for _, value in call.keywords))
        for inner in walk(option)
    ]


def parse_formula(text: str, *, require_response: bool = True) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text : str
        Wilkinson notation with random terms: ``"y ~ x + (1 + x | g)"``, ``"p(successes, trials) ~ a*b + (1 | a/b)"``.
    require_response : bool
        Whether the left side must be there; ``"~ x"`` is read when False.

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        When the text cannot be read, or asks for something a formula may not do; the message points at the character.

    Examples
    --------
    >>> formula = parse_formula("y ~ a*b + (x || g) + offset(log(n))")
    >>> formula.fixed
    '1 + a + b + a:b'
    >>> [term.label for term in formula.random]
    ['1 + x || g']
    """
    if not isinstance(text, str):
        raise FormulaError(f"A formula is a text such as 'y ~ x + (1 | g)'; got {type(text).__name__}.")
    text = "".join(" " if character.isspace() else character for character in text)
    reader = ExpressionReader(text)
    left = None if reader.at("~") else reader.expression()
    if not reader.at("~"):
        raise _no_tilde(reader)
    tilde = reader.advance()
    right = reader.expression()
    if reader.token.kind != "end":
        raise reader.fail(_left_over(reader.token.text), reader.token.position)
    if left is None and require_response:
        raise reader.fail("There is no response before '~'. Write y ~ …", tilde.position)
    response = None if left is None else _response(left, text)
    fixed, random, offsets = _split(right, text)
    terms = expand_terms(fixed, text)
    formula = Formula(text.strip(), response, terms, random, offsets)
    _check_names(formula, text)
    return formula


def _no_tilde(reader: ExpressionReader) -> FormulaError:
    if reader.token.kind == "end":
        message = "There is no '~' between response and predictors. Write response ~ predictors."
        return reader.fail(message, reader.token.position)
    return reader.fail(f"Expected an operator or '~', found {reader.token.text!r}.", reader.token.position)


def _left_over(word: str) -> str:
    if word == "~":
        return "A formula has one '~' only."
    if word in (")", "]", "}"):
        return f"This {word!r} closes nothing. Remove it, or add its partner."
    return f"Expected an operator before {word!r}."


def _response(node: Expr, text: str) -> ResponseTerm:
    label = factor_name(node)
    match node:
        case Call("p" | "cbind" as function, arguments, keywords):
            if len(arguments) != 2 or keywords:
                expected = "p(successes, trials)" if function == "p" else "cbind(successes, failures)"
                raise FormulaError(f"{function}() takes two arguments: {expected}.", text, node.position)
            for argument in arguments:
                check_expression(argument, text)
            successes, other = arguments
            trials = other if function == "p" else Sum((("+", successes), ("+", Paren(other))), node.position)
            return ResponseTerm(label, successes, trials)
        case Constant():
            raise FormulaError("The response is a number; expected a column.", text, node.position)
    check_expression(node, text)
    return ResponseTerm(label, node)


def _split(node: Expr, text: str) -> tuple[Expr, tuple[RandomTerm, ...], tuple[Expr, ...]]:
    """Take random terms and offsets out of the top-level sum; the rest is the fixed part."""
    items = node.items if isinstance(node, Sum) else (("+", node),)
    fixed: list[tuple[str, Expr]] = []
    random: list[RandomTerm] = []
    offsets: list[Expr] = []
    for operator, item in items:
        bar = isinstance(item, Paren) and isinstance(item.inner, Binary) and item.inner.operator in ("|", "||")
        is_offset = isinstance(item, Call) and item.function == "offset"
        if (bar or is_offset) and operator == "-":
            what = "A random term" if bar else "An offset"
            raise FormulaError(f"{what} cannot be subtracted. Leave it out instead.", text, item.position)
        if bar:
            random += read_bar(item, text)
        elif is_offset:
            offsets.append(_offset(item, text))
        else:
            fixed.append((operator, item))
    rest = Sum(tuple(fixed), node.position) if fixed else Constant(1, "1", node.position)
    return rest, tuple(random), tuple(offsets)


def _offset(node: Expr, text: str) -> Expr:
    assert isinstance(node, Call)
    if len(node.arguments) != 1 or node.keywords:
        raise FormulaError("offset() takes one argument.", text, node.position)
    check_expression(node.arguments[0], text)
    return node.arguments[0]


def _check_names(formula: Formula, text: str) -> None:
    """Refuse a response among the predictors and two different factors that print alike."""
    factors = term_factors([*formula.terms, *(term for bar in formula.random for term in bar.terms)])
    seen: dict[str, Expr] = {}
    for factor in factors:
        if seen.setdefault(factor_name(factor), factor) != factor:
            message = f"Two different terms are both written {factor_name(factor)!r}. Rename the column."
            raise FormulaError(message, text, factor.position)
        if formula.response is not None and factor == formula.response.value:
            message = f"{factor_name(factor)!r} is the response and cannot also predict it."
            raise FormulaError(message, text, factor.position)
