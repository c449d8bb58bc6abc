"""What a model file may say: a table of checks, one per key. Data, never code.

A check is a function ``(value, place) -> value``; it raises :class:`~bayesglmm.SpecError` naming the place, what was
found and what is expected. :data:`SCHEMA` is the whole language; ``models/README.md`` says the same in words.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bayesglmm.errors import SpecError, shorten
from bayesglmm.methods.registry import METHODS

Check = Callable[[Any, str], Any]

#: Numbers that an option may list.
MOST_IN_A_LIST = 10

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list", dict: "a table"}


def _wrong(value: Any, place: str, expected: str) -> SpecError:
    try:
        shown = shorten(repr(value))
    except ValueError:  # Python refuses to print integers beyond some thousands of digits
        shown = "too long to print"
    found = _NAMES.get(type(value), f"a {type(value).__name__}")
    return SpecError(f"{place} is {found}, {shown}; expected {expected}.")


def near(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` when a known name is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {match[0]!r}?" if match else ""


def text(value: Any, place: str) -> str:
    """A non-empty text."""
    if not isinstance(value, str) or not value.strip():
        raise _wrong(value, place, "a non-empty text")
    return value


def number(value: Any, place: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise _wrong(value, place, "a finite number")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest double
        return False


def whole(value: Any, place: str) -> int:
    """A whole number, zero or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or not _finite(value):
        raise _wrong(value, place, "a whole number, 0 or more")
    return value


def positive(value: Any, place: str) -> float:
    """A number above zero."""
    if number(value, place) <= 0:
        raise _wrong(value, place, "a number above zero")
    return float(value)


def option(value: Any, place: str) -> Any:
    """The value of an option: a text, a finite number, true or false."""
    return value if isinstance(value, bool | str) else _integer_or_number(value, place)


def method_option(value: Any, place: str) -> Any:
    """The same, or whole numbers in a list (nodes of two nested factors), given as a tuple."""
    if isinstance(value, list) and 0 < len(value) <= MOST_IN_A_LIST:
        return tuple(whole(v, f"{place}[{k}]") for k, v in enumerate(value))
    return option(value, place)


def _integer_or_number(value: Any, place: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise _wrong(value, place, "a text, a finite number, true or false")
    return value


def one_of(*names: str) -> Check:
    """One of a few words."""

    def check(value: Any, place: str) -> str:
        if value not in names:
            raise _wrong(value, place, " or ".join(repr(n) for n in names))
        return str(value)

    return check


def list_of(item: Check) -> Check:
    """A non-empty list, every entry passing `item`."""

    def check(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise _wrong(value, place, "a non-empty list")
        return [item(v, f"{place}[{k}]") for k, v in enumerate(value)]

    return check


def one_or_list(item: Check) -> Check:
    """One value or a list of them (lists may nest: the rows of a matrix)."""

    def check(value: Any, place: str) -> Any:
        if isinstance(value, list) and value:
            return [check(v, f"{place}[{k}]") for k, v in enumerate(value)]
        return item(value, place)

    return check


def table(
    keys: Mapping[str, Check] | None = None,
    *,
    required: tuple[str, ...] = (),
    rest: Check | None = None,
    names: Iterable[str] | None = None,
    what: str = "key",
) -> Check:
    """A table: known `keys`, and under any other key a value passing `rest` (refused when `rest` is None).

    `names` closes the other keys to a list (the methods, say); `what` is what a key is called in messages.
    """
    keys = keys or {}
    closed = None if rest is not None and names is None else [*keys, *(names or ())]

    def check(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(value, place, "a table")
        for name in value:
            if closed is not None and name not in closed:
                raise SpecError(
                    f"{place}: unknown {what} {shorten(repr(name))}.{near(name, closed)} Allowed: {', '.join(closed)}."
                )
        checked = {n: _pick(keys, rest, n)(v, _join(place, n)) for n, v in value.items()}
        missing = [n for n in required if n not in value]
        if missing:
            raise SpecError(f"{place}: the {what} {missing[0]!r} is required and missing.")
        return checked

    return check


def _pick(keys: Mapping[str, Check], rest: Check | None, name: str) -> Check:
    found = keys.get(name, rest)
    assert found is not None
    return found


def _join(place: str, name: str) -> str:
    return shorten(name) if place == TOP else f"{place}.{shorten(name)}"


TOP = "the model file"

_PRIOR = table({"dist": text, "on": text, "at": text}, required=("dist",), rest=one_or_list(number), what="parameter")
_FLAGS = one_of("default", "flat")
#: What can be compared with a fit, and whether its default tolerance is absolute.
QUANTITIES = ("loglik", "deviance", "aic", "dispersion", "coef", "se", "sd", "corr", "auxiliary", "auxiliary_se")
_PER_QUANTITY = table(rest=positive, names=QUANTITIES, what="quantity")

_PEDIGREE = table(
    {"file": text, "id": text, "sire": text, "dam": text},
    required=("file", "id", "sire", "dam"),
    what="key",
)
_KNOWN = table({"pedigree": _PEDIGREE}, required=("pedigree",))


def covariance(value: Any, place: str) -> Any:
    """A form's name, or a pedigree in a table beside the model file."""
    return _KNOWN(value, place) if isinstance(value, dict) else text(value, place)


_NUMBERS = table(
    {
        "source": text,
        "note": text,
        "priors": _FLAGS,
        "options": table(rest=method_option, what="option"),
        "at": table(rest=one_or_list(number), what="parameter"),
        "loglik": number,
        "deviance": number,
        "aic": number,
        "dispersion": number,
        "coef": table(rest=number, what="coefficient"),
        "se": table(rest=number, what="coefficient"),
        "sd": table(rest=one_or_list(number), what="group"),
        "corr": table(rest=one_or_list(number), what="group"),
        "auxiliary": table(rest=number, what="auxiliary"),
        "auxiliary_se": table(rest=number, what="auxiliary"),
        "relative": _PER_QUANTITY,
        "absolute": _PER_QUANTITY,
    },
    required=("source",),
)

_TRUTH = table(rest=one_or_list(number), what="parameter")


def _mean(value: Any, place: str) -> Any:
    """A number, or one per arm."""
    return table(rest=number, what="arm")(value, place) if isinstance(value, dict) else number(value, place)


_STUDY = table(
    {
        "truth": _TRUTH,
        "methods": list_of(text),
        "replicates": whole,
        "seed": whole,
        "reference": text,
        "options": table(rest=table(rest=method_option, what="option"), names=METHODS, what="method"),
        "arms": table(rest=table({"set": table(rest=option, what="column"), "truth": _TRUTH}), what="arm"),
        "published": list_of(
            table(
                {"source": text, "parameter": text, "method": text, "mean": _mean},
                required=("source", "parameter", "method", "mean"),
            )
        ),
    },
    required=("truth", "methods"),
)

SCHEMA: Check = table(
    {
        "model": table(
            {
                "title": text,
                "formula": text,
                "family": text,
                "link": text,
                "priors": _FLAGS,
                "weights": text,
                "offset": text,
                "exposure": text,
                "dispersion": text,
                "zi": text,
            },
            required=("formula", "family"),
        ),
        "data": table(
            {
                "file": text,
                "categories": table(rest=list_of(text), what="column"),
                "labels": list_of(text),
                "missing": list_of(lambda value, place: value if value == "" else text(value, place)),
            },
            required=("file",),
        ),
        "family_options": table(rest=option, what="option"),
        "priors": table(rest=_PRIOR, what="parameter"),
        "covariance": table(rest=covariance, what="group"),
        "errors": table({"ar1": table({"group": text, "time": text}, required=("group",))}, required=("ar1",)),
        "fit": table(rest=table(rest=method_option, what="option"), names=METHODS, what="method"),
        "about": table({"teaches": text, "source": text, "licence": text, "citation": text, "notes": text}),
        "numbers": table(rest=list_of(_NUMBERS), names=METHODS, what="method"),
        "study": _STUDY,
    },
    required=("model", "data"),
    what="section",
)
