"""Text → tokens, each with its position, so that an error can point at the character."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bayesglmm.errors import FormulaError

MAX_LENGTH = 20_000

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>(?:[^\W\d]|\.(?!\d))[\w.]*)
    | (?P<quoted>`[^`]*`)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<operator>%in%|\*\*|\|\||==|!=|<=|>=|[-+*/:^~|<>=])
    | (?P<bracket>[()\[\]{},])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """One word of a formula.

    Parameters
    ----------
    kind : {"number", "name", "string", "operator", "bracket", "end"}
        What it is; a name in backticks has kind ``"quoted"``.
    text : str
        The characters (without the backticks or quotes).
    position : int
        Zero-based index of its first character in the formula.
    """

    kind: str
    text: str
    position: int

    @property
    def end(self) -> int:
        """Index after its last character, for tokens written without quotes."""
        return self.position + len(self.text)


def tokenize(text: str) -> list[Token]:
    """Split a formula into tokens, ending with one of kind ``"end"``.

    Raises
    ------
    FormulaError
        At a character that no formula may hold, an unclosed quote, or a text beyond `MAX_LENGTH` characters.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"The formula has {len(text)} characters; at most {MAX_LENGTH} are read. Shorten it.")
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FormulaError(_unreadable(text[position]), text, position)
        kind, word = str(match.lastgroup), match.group()
        if kind == "quoted":
            word = word[1:-1]
            if not word.strip():
                raise FormulaError("An empty name in backticks. Write the column's name between them.", text, position)
        elif kind == "string":
            word = re.sub(r"\\(.)", r"\1", word[1:-1])
        if kind != "space":
            tokens.append(Token(kind, word, position))
        position = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _unreadable(character: str) -> str:
    if character in "\"'`":
        return f"The quote {character} is never closed. Add its partner."
    if character == "%":
        return "The only operator with percent signs is %in%."
    return (
        f"The character {character!r} has no meaning in a formula. A column whose name holds it is written in "
        "backticks: `my column`."
    )
