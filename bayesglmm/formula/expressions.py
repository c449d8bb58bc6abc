"""Tokens → one expression tree, read with R's operator precedence.

The same tree serves model terms (``a*b`` means main effects and interaction) and arithmetic inside calls
(``I(a*b)`` is a product); which of the two it is, is decided by who reads it. Nothing here is ever handed to Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bayesglmm.errors import FormulaError
from bayesglmm.formula.tokens import Token, tokenize

MAX_DEPTH = 60

# Binding powers, weakest first, as in R's ?Syntax; a power binds tighter than a sign, and to the right.
_BINARY = {"||": 10, "|": 10, "==": 20, "!=": 20, "<": 20, "<=": 20, ">": 20, ">=": 20, "+": 30, "-": 30}
_BINARY |= {"*": 40, "/": 40, "%in%": 45, ":": 50, "^": 70, "**": 70}
_SIGN = 60
_CLOSING = {"(": ")", "[": "]", "{": "}"}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
CONSTANTS = {"True": True, "TRUE": True, "False": False, "FALSE": False, "None": None, "NULL": None}


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Constant:
    """A number, a string, True, False or None, as written in `text`."""

    value: float | int | str | bool | None
    text: str
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Call:
    """``function(arguments, name=argument)``; curly braces are a call of ``{``, square brackets of ``[``."""

    function: str
    arguments: tuple[Expr, ...]
    keywords: tuple[tuple[str, Expr], ...]
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Paren:
    """An expression in parentheses; `end` is the index after the closing one."""

    inner: Expr
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Sign:
    """A leading plus or minus."""

    operator: str
    operand: Expr
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Binary:
    """Two operands; `position` is the operator's."""

    operator: str
    left: Expr
    right: Expr
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Sum:
    """``a + b - c``, flat so that a formula of a thousand terms is not a thousand levels deep."""

    items: tuple[tuple[str, Expr], ...]
    position: int = field(default=0, compare=False)
    depth: int = field(default=0, compare=False)


Expr = Name | Constant | Call | Paren | Sign | Binary | Sum


class ExpressionReader:
    """Precedence-climbing reader over the tokens of one formula.

    Parameters
    ----------
    text : str
        The formula; errors show it with a caret.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0
        self.nesting = 0

    @property
    def token(self) -> Token:
        """The token that is read next."""
        return self.tokens[self.index]

    def fail(self, message: str, position: int) -> FormulaError:
        """Make the error that points at a position."""
        return FormulaError(message, self.text, position)

    def advance(self) -> Token:
        """Take the next token."""
        token = self.token
        self.index += 1
        return token

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these operators or brackets."""
        return self.token.kind in ("operator", "bracket") and self.token.text in texts

    def expect(self, closing: str, opened: Token) -> Token:
        """Take a closing bracket, or say which opening one misses it."""
        if self.at(closing):
            return self.advance()
        if self.token.kind == "end":
            raise self.fail(f"The {opened.text!r} here is never closed. Add {closing!r}.", opened.position)
        raise self.fail(f"Expected an operator or {closing!r}, found {self.token.text!r}.", self.token.position)

    def expression(self, power: int = 0) -> Expr:
        """Read an expression whose operators all bind at least as tightly as `power`."""
        self.nesting += 1
        if self.nesting > MAX_DEPTH:
            raise self.fail(
                f"The formula is nested more than {MAX_DEPTH} levels deep. Simplify it.", self.token.position
            )
        left = self.prefix()
        while self.token.kind == "operator" and _BINARY.get(self.token.text, -1) >= max(power, 0):
            if self.at("+", "-"):
                left = self.sum(left)
                continue
            operator = self.advance()
            binding = _BINARY[operator.text]
            right_associative = operator.text in ("^", "**")
            right = self.expression(_SIGN if right_associative else binding + 1)
            left = self.deep(Binary(operator.text, left, right, operator.position, 1 + max(left.depth, right.depth)))
        self.nesting -= 1
        return left

    def deep(self, node: Binary) -> Binary:
        """Refuse a tree that later recursions could not walk."""
        if node.depth > MAX_DEPTH:
            raise self.fail(f"More than {MAX_DEPTH} operators in a row. Split the term.", node.position)
        return node

    def sum(self, first: Expr) -> Sum:
        """Read ``+ b - c …`` after the first item."""
        items, position = [("+", first)], self.token.position
        while self.at("+", "-"):
            operator = self.advance()
            items.append((operator.text, self.expression(_BINARY["+"] + 1)))
        return Sum(tuple(items), position, 1 + max(item.depth for _, item in items))

    def prefix(self) -> Expr:
        """Read what can start an expression."""
        token = self.advance()
        if token.kind == "number":
            whole = token.text.isdigit() and len(token.text) < 16
            return Constant(int(token.text) if whole else float(token.text), token.text, token.position)
        if token.kind == "string":
            return Constant(token.text, repr(token.text), token.position)
        if token.kind == "quoted":
            return Name(token.text, token.position)
        if token.kind == "name":
            return self.name(token)
        if token.kind == "operator" and token.text in "+-":
            operand = self.expression(_SIGN)
            return Sign(token.text, operand, token.position, operand.depth + 1)
        if token.kind == "bracket" and token.text == "(":
            inner = self.expression()
            end = self.expect(")", token).position + 1
            return Paren(inner, token.position, inner.depth + 1, end)
        if token.kind == "bracket" and token.text == "{":
            inner = self.expression()
            self.expect("}", token)
            return Call("{", (inner,), (), token.position, inner.depth + 1)
        if token.kind == "bracket" and token.text == "[":
            return self.call("[", token, token)
        if token.kind == "end":
            raise self.fail("The formula ends where a term was expected.", token.position)
        raise self.fail(f"Expected a term, found {token.text!r}.", token.position)

    def name(self, token: Token) -> Expr:
        """Read a name: a column, a constant, or a call when a parenthesis follows."""
        if re.search(r"(^|\.)__\w+__(\.|$)", token.text):
            raise self.fail(f"{token.text!r} is a name of Python's own; a formula names columns.", token.position)
        if self.at("("):
            return self.call(token.text, token, self.advance())
        if token.text in CONSTANTS:
            return Constant(CONSTANTS[token.text], token.text, token.position)
        return Name(token.text, token.position)

    def call(self, function: str, start: Token, opened: Token) -> Call:
        """Read the arguments up to the closing bracket."""
        closing = _CLOSING[opened.text]
        arguments: list[Expr] = []
        keywords: list[tuple[str, Expr]] = []
        while not self.at(closing):
            following = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
            if self.token.kind == "name" and following.kind == "operator" and following.text == "=":
                keyword = self.advance()
                self.advance()
                keywords.append((keyword.text, self.expression(_BINARY["=="])))
            elif keywords:
                raise self.fail("An argument without a name after one with a name.", self.token.position)
            else:
                arguments.append(self.expression(_BINARY["=="]))
            if not self.at(closing, ","):
                self.expect(closing, opened)
            if self.at(","):
                self.advance()
        self.expect(closing, opened)
        inner = [*arguments, *(value for _, value in keywords)]
        depth = 1 + max((argument.depth for argument in inner), default=0)
        return Call(function, tuple(arguments), tuple(keywords), start.position, depth)


def render(node: Expr) -> str:
    """Write an expression back as text, with one spelling of the white space; names of coefficients come from here."""
    match node:
        case Name(name):
            plain = name.replace(".", "_").replace("_", "a").isidentifier() and name not in CONSTANTS
            return name if plain else f"`{name}`"
        case Constant():
            return node.text
        case Paren(inner):
            return f"({render(inner)})"
        case Sign(operator, operand):
            return f"{operator}{render(operand)}"
        case Binary("^" | ":" as operator, left, right):
            return f"{render(left)}{operator}{render(right)}"
        case Binary(operator, left, right):
            return f"{render(left)} {operator} {render(right)}"
        case Sum(items):
            rest = "".join(f" {operator} {render(item)}" for operator, item in items[1:])
            return render(items[0][1]) + rest
        case Call("{", (inner,)):
            return render(inner)
        case Call("[", items):
            return f"[{', '.join(map(render, items))}]"
        case Call(function, arguments, keywords):
            inside = [*map(render, arguments), *(f"{key}={render(value)}" for key, value in keywords)]
            return f"{function}({', '.join(inside)})"
    raise AssertionError(node)  # every kind of node is above


def children(node: Expr) -> tuple[Expr, ...]:
    """Give the operands or arguments of a node."""
    match node:
        case Paren(inner):
            return (inner,)
        case Sign(_, operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Sum(items):
            return tuple(item for _, item in items)
        case Call(_, arguments, keywords):
            return (*arguments, *(value for _, value in keywords))
    return ()


def walk(node: Expr) -> Iterator[Expr]:
    """Go through a tree from left to right, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))
