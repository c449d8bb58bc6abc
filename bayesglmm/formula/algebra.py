"""Wilkinson and Rogers' algebra of model terms: ``a*b``, ``a:b``, ``a/b``, ``(a + b)^2``, ``-1``.

Reference: Wilkinson and Rogers (1973), "Symbolic description of factorial models for analysis of variance",
Applied Statistics 22, 392-399; precedence and meaning as in R's ``formula``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bayesglmm.errors import FormulaError
from bayesglmm.formula.expressions import Binary, Call, Constant, Expr, Name, Paren, Sign, Sum, render
from bayesglmm.formula.functions import check_expression

MAX_WORK = 100_000
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

    Raises
    ------
    FormulaError
        For what is not a model term, and for formulas that expand to more than can be meant.
    """
    terms = _Algebra(text).collect(node, {frozenset(): ModelTerm(())})
    return tuple(sorted(terms.values(), key=lambda term: len(term.factors)))


class _Algebra:
    """Expansion of one formula, with a limit on the work it may cost."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.work = 0

    def fail(self, message: str, node: Expr) -> FormulaError:
        return FormulaError(message, self.text, node.position)

    def spend(self, work: int, node: Expr) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise self.fail("The formula multiplies out to too many terms. Leave some out.", node)

    def collect(self, node: Expr, terms: _Terms) -> _Terms:
        """Add up the items of a sum, starting from `terms`."""
        items = node.items if isinstance(node, Sum) else (("+", node),)
        for operator, item in items:
            while isinstance(item, Sign):
                operator = operator if item.operator == "+" else "-" if operator == "+" else "+"
                item = item.operand
            if isinstance(item, Constant) and item.value in (0, 1) and not isinstance(item.value, bool):
                new: _Terms = {frozenset(): ModelTerm(())}
                removes = (item.value == 0) == (operator == "+")
            else:
                new, removes = self.expand(item), operator == "-"
            self.spend(len(new), item)
            for key, term in new.items():
                if removes:
                    terms.pop(key, None)
                else:
                    terms.setdefault(key, term)
        return terms

    def expand(self, node: Expr) -> _Terms:
        """Expand anything but a sum."""
        match node:
            case Constant(1):
                return {frozenset(): ModelTerm(())}
            case Constant():
                message = f"{node.text} is not a model term. A multiple of a column is written I({node.text} * x)."
                raise self.fail(message, node)
            case Paren(inner):
                return self.collect(inner, {})
            case Sum() | Sign():
                return self.collect(node, {})
            case Name() | Call():
                check_expression(node, self.text)
                return _only(ModelTerm((node,)))
            case Binary("^" | "**", base, exponent):
                return self.power(self.expand(base), exponent, node)
            case Binary("*" | ":" | "%in%" | "/" as operator, left, right):
                return self.combine(operator, self.expand(left), self.expand(right), node)
        if node.operator in ("|", "||"):
            raise self.fail("A random term stands in parentheses of its own and is added: … + (1 | g).", node)
        message = f"{node.operator!r} is not a model term. For a computed column write I({render(node)})."
        raise self.fail(message, node)

    def combine(self, operator: str, first: _Terms, second: _Terms, node: Expr) -> _Terms:
        """Cross (``*``), multiply (``:``) or nest (``/``) two sets of terms."""
        if operator == "*":
            return first | second | self.product(first, second, node)
        if operator == "/":
            whole = ModelTerm(tuple(factor for term in first.values() for factor in term.factors))
            return first | self.product(_only(whole), second, node)
        return self.product(first, second, node)

    def product(self, first: _Terms, second: _Terms, node: Expr) -> _Terms:
        self.spend(len(first) * len(second), node)
        terms: _Terms = {}
        for key_a, a in first.items():
            for key_b, b in second.items():
                key = key_a | key_b
                if len(key) > MAX_ORDER:
                    raise self.fail(f"An interaction of more than {MAX_ORDER} factors.", node)
                if key not in terms:
                    terms |= _only(ModelTerm(a.factors + b.factors))
        return terms

    def power(self, base: _Terms, exponent: Expr, node: Expr) -> _Terms:
        """Cross a set of terms with itself."""
        if not (isinstance(exponent, Constant) and isinstance(exponent.value, int) and exponent.value >= 1):
            message = "A power of model terms is a positive whole number. For a square of a column write I(x^2)."
            raise self.fail(message, exponent)
        terms = base
        for _ in range(exponent.value - 1):
            larger = terms | self.product(terms, base, node)
            if len(larger) == len(terms):  # nothing new can come any more
                break
            terms = larger
        return terms


def _only(term: ModelTerm) -> _Terms:
    unique = {render(factor): factor for factor in term.factors}
    return {frozenset(unique): ModelTerm(tuple(unique.values()))}
