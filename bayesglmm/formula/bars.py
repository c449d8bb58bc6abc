"""Random terms: ``(1 + x | g)``, ``(x || g)``, ``(1 | a/b)``."""

from __future__ import annotations

from dataclasses import dataclass, field

from bayesglmm.errors import FormulaError
from bayesglmm.formula.algebra import ModelTerm, expand_terms
from bayesglmm.formula.expressions import Binary, Call, Expr, Name, Paren, Sum, render, walk

MAX_FACTORS = 8


@dataclass(frozen=True)
class RandomTerm:
    """One ``( … | g)``, after ``a/b`` is expanded.

    Parameters
    ----------
    label : str
        ``"1 + Days | Subject"``, without the parentheses.
    lhs : str
        What varies, ``"1 + Days"``.
    terms : tuple of ModelTerm
        The same, expanded as in the fixed part: an intercept is there unless removed.
    factors : tuple of str
        Columns whose combination is the grouping factor: ``("a", "b")`` for ``a:b``.
    correlated : bool
        False for ``||``.
    span : tuple of int
        Start and end of the term in the formula, parentheses included.
    """

    label: str
    lhs: str
    terms: tuple[ModelTerm, ...]
    factors: tuple[str, ...]
    correlated: bool
    span: tuple[int, int] = field(default=(0, 0), compare=False)

    @property
    def group(self) -> str:
        """Name of the grouping factor, ``"a:b"``."""
        return ":".join(self.factors)


def read_bar(node: Expr, text: str) -> list[RandomTerm]:
    """Read a parenthesised bar into one random term per grouping factor.

    Parameters
    ----------
    node : Paren
        ``( lhs | g)``.
    text : str
        The formula, for errors.
    """
    assert isinstance(node, Paren)
    assert isinstance(node.inner, Binary)
    bar = node.inner
    for inner in walk(bar.left):
        if isinstance(inner, Binary) and inner.operator in ("|", "||"):
            message = "A random term has one bar. Several grouping factors are several terms: (1 | a) + (1 | b)."
            raise FormulaError(message, text, bar.position)
        if isinstance(inner, Call) and inner.function == "offset":
            raise FormulaError("An offset stands outside random terms.", text, inner.position)
    terms = expand_terms(bar.left, text)
    if not terms:
        raise FormulaError("Nothing varies in this random term. Write (1 | g) or (0 + x | g).", text, node.position)
    lhs = _lhs(bar.left, terms)
    span = (node.position, node.end)
    return [
        RandomTerm(f"{lhs} {bar.operator} {_written(factors)}", lhs, terms, factors, bar.operator == "|", span)
        for factors in _groups(bar.right, text)
    ]


def _written(factors: tuple[str, ...]) -> str:
    return ":".join(render(Name(name)) for name in factors)


def _lhs(node: Expr, terms: tuple[ModelTerm, ...]) -> str:
    """Write the left side as given, with the intercept that is meant but not written."""
    written = render(node)
    plain = node.items if isinstance(node, Sum) else (("+", node),)
    mentions_intercept = any(render(item).lstrip("+-") in ("0", "1") for _, item in plain)
    return written if mentions_intercept or terms[0].factors else f"1 + {written}"


def _groups(node: Expr, text: str) -> list[tuple[str, ...]]:
    match node:
        case Name(name) if name != ".":
            return [(name,)]
        case Paren(inner):
            return _groups(inner, text)
        case Binary(":", left, right):
            return [_join(a, b, node, text) for a in _groups(left, text) for b in _groups(right, text)]
        case Binary("/", left, right):
            outer = _groups(left, text)
            return outer + [_join(outer[-1], b, node, text) for b in _groups(right, text)]
    what = render(node)
    if isinstance(node, Sum | Binary):
        hint = "Several grouping factors are several terms, (1 | a) + (1 | b); combinations are a:b, nesting is a/b."
    else:
        hint = "Grouping columns are always read as labels: name the column, and compute a new one in the table."
    raise FormulaError(f"{what!r} is not a grouping factor. {hint}", text, node.position)


def _join(a: tuple[str, ...], b: tuple[str, ...], node: Expr, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(a + b))
    if len(names) > MAX_FACTORS:
        raise FormulaError(f"A grouping factor of more than {MAX_FACTORS} columns.", text, node.position)
    return names
