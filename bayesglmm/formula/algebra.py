"""Wilkinson and Rogers' algebra of model terms: ``a*b``, ``a:b``, ``a/b``, ``(a + b)^2``, ``-1``.

Reference: Wilkinson and Rogers (1973), "Symbolic description of factorial models for analysis of variance",
Applied Statistics 22, 392-399; precedence and meaning as in R's ``formula``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bayesglmm.errors import FormulaError
from bayesglmm.formula.expressions import Binary, Call, Constant, Expr, Name, Paren, Sign, Sum, render
from bayesglmm.formula.functions import check_expression

MAX_TERMS = 2_000
MAX_ORDER = 12


@dataclass(frozen=True)
class ModelTerm:
    """A product of factors; the intercept is the empty product.

    Parameters
    ----------
    factors : tuple of expression
        Columns or function calls, in the order of the formula.
    """

    factors: tuple[Expr, ...]

    @property
    def label(self) -> str:
        """The term as text, ``"1"`` for the intercept."""
        return ":".join(render(factor) for factor in self.factors) or "1"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the factors as they appear in coefficient names."""
        return tuple(factor_name(factor) for factor in self.factors)


def factor_name(factor: Expr) -> str:
    """Name of a factor in coefficient names: the bare column name, or the call as written."""
    return factor.name if isinstance(factor, Name) else render(factor)


_Key = frozenset[str]
_Terms = dict[_Key, ModelTerm]


def expand_terms(node: Expr, text: str) -> tuple[ModelTerm, ...]:
    """Expand the right side (without random terms and offsets) into its model terms.

    Parameters
    ----------
    node : expression
        The side as read.
    text : str
        The formula, for errors.

    Returns
    -------
    tuple of ModelTerm
        Ordered by the number of factors, then as written, the intercept first; an intercept is there unless removed.
    """
    terms = _collect(node, text, {frozenset(): ModelTerm(())})
    return tuple(sorted(terms.values(), key=lambda term: len(term.factors)))


def _collect(node: Expr, text: str, terms: _Terms) -> _Terms:
    items = node.items if isinstance(node, Sum) else (("+", node),)
    for operator, item in items:
        while isinstance(item, Sign):
            operator = operator if item.operator == "+" else "-" if operator == "+" else "+"
            item = item.operand
        if isinstance(item, Constant) and item.value in (0, 1) and item.value is not False:
            removes = (item.value == 0) == (operator == "+")
            new, removes = {frozenset[str](): ModelTerm(())}, removes
        else:
            new, removes = _expand(item, text), operator == "-"
        for key, term in new.items():
            if removes:
                terms.pop(key, None)
            else:
                terms.setdefault(key, term)
        _check_count(terms, item, text)
    return terms


def _check_count(terms: _Terms, node: Expr, text: str) -> None:
    if len(terms) > MAX_TERMS:
        raise FormulaError(f"The formula expands to more than {MAX_TERMS} terms. Leave some out.", text, node.position)


def _expand(node: Expr, text: str) -> _Terms:
    match node:
        case Constant(1):
            return {frozenset(): ModelTerm(())}
        case Constant():
            message = f"{node.text} is not a model term. A multiple of a column is written I({node.text} * x)."
            raise FormulaError(message, text, node.position)
        case Paren(inner):
            return _collect(inner, text, {})
        case Sum() | Sign():
            return _collect(node, text, {})
        case Binary("^" | "**", base, exponent):
            return _power(_expand(base, text), exponent, node, text)
        case Binary("*", left, right):
            first, second = _expand(left, text), _expand(right, text)
            return first | second | _product(first, second, node, text)
        case Binary(":" | "%in%", left, right):
            return _product(_expand(left, text), _expand(right, text), node, text)
        case Binary("/", left, right):
            outer = _expand(left, text)
            whole = ModelTerm(tuple(factor for term in outer.values() for factor in term.factors))
            return outer | _product(_only(whole), _expand(right, text), node, text)
        case Name() | Call():
            check_expression(node, text)
            return _only(ModelTerm((node,)))
    if node.operator in ("|", "||"):
        message = "A random term stands in parentheses of its own and is added to the others: … + (1 | g)."
        raise FormulaError(message, text, node.position)
    wanted = f"I({render(node)})"
    raise FormulaError(
        f"{node.operator!r} is not a model term. For a computed column write {wanted}.", text, node.position
    )


def _only(term: ModelTerm) -> _Terms:
    unique = {render(factor): factor for factor in term.factors}
    return {frozenset(unique): ModelTerm(tuple(unique.values()))}


def _product(first: _Terms, second: _Terms, node: Expr, text: str) -> _Terms:
    if len(first) * len(second) > MAX_TERMS**2:
        raise FormulaError(f"The formula expands to more than {MAX_TERMS} terms. Leave some out.", text, node.position)
    terms: _Terms = {}
    for key_a, a in first.items():
        for key_b, b in second.items():
            key = key_a | key_b
            if len(key) > MAX_ORDER:
                raise FormulaError(f"An interaction of more than {MAX_ORDER} factors.", text, node.position)
            if key not in terms:
                terms |= _only(ModelTerm(a.factors + b.factors))
                _check_count(terms, node, text)
    return terms


def _power(base: _Terms, exponent: Expr, node: Expr, text: str) -> _Terms:
    if not (isinstance(exponent, Constant) and isinstance(exponent.value, int) and exponent.value >= 1):
        message = "A power of model terms is a positive whole number. For a square of a column write I(x^2)."
        raise FormulaError(message, text, exponent.position)
    terms = base
    for _ in range(min(exponent.value - 1, len(base))):  # beyond that nothing new can appear
        terms = terms | _product(terms, base, node, text)
    return terms
