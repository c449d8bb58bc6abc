"""What callers pass, checked in one way: counts, seeds, probabilities, words, names, files.

A check takes an argument's name and what was given, and returns it in the type that is meant, or raises with the name,
what was given and what is expected. :func:`takes` says what a function's arguments are, and has them checked before it
runs.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from bayesglmm.errors import ArgumentError, BayesGLMMError, MethodError, SpecError, shorten

#: (name of the argument, what was given) → what is meant
Check = Callable[[str, Any], Any]

#: Seeds are stored in 64 bits.
LARGEST_SEED = 2**63 - 1
#: More of anything is a slip of the pen, and would not fit in any memory.
LARGEST_COUNT = 10**12

#: Arguments that a method hands on to the function that does its work.
OURS = ("self", "problem", "result", "base")


def takes[**P, R](**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check arguments of a function, by name, before it runs; those left out are not looked at.

    Examples
    --------
    >>> @takes(level=probability, seed=seed_or_none)
    ... def interval(level=0.95, seed=None):
    ...     return level
    >>> interval(0.9)
    0.9
    >>> interval("a")
    Traceback (most recent call last):
    bayesglmm.errors.MethodError: level is 'a'; a number between 0 and 1 is expected.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        unknown = set(checks) - set(signature.parameters)
        assert not unknown, f"{function.__name__} has no {', '.join(sorted(unknown))}"
        made = function.__name__ == "__init__"
        called = function.__qualname__.removesuffix(".__init__") if made else function.__name__
        misfit = functools.partial(_misfit, called, signature)

        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise misfit(kwargs, str(error)) from None
            for name in checks.keys() & bound.arguments.keys():
                bound.arguments[name] = checks[name](name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        # In the function's own module, where doctest looks for what belongs to it.
        own = types.FunctionType(checked.__code__, function.__globals__, closure=checked.__closure__)
        return functools.wraps(function)(cast("Callable[P, R]", own))

    return decorate


def taught[T](cls: type[T]) -> type[T]:
    """Let a class and its public methods say which arguments they have, where a call gives others."""
    for name, member in list(vars(cls).items()):
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
            setattr(cls, name, takes()(member))
    return cls


def _misfit(name: str, signature: inspect.Signature, given: Mapping[str, Any], said: str) -> ArgumentError:
    """The error for a call whose arguments are not those of the function, from what Python says of it."""
    own = [p for p in signature.parameters.values() if p.name not in OURS]
    named = [p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [key for key in given if key not in named]
    known = f"its arguments are {', '.join(named)}" if named else "it takes no arguments"
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in own):
        near = difflib.get_close_matches(unknown[0], named, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return ArgumentError(f"{name}() has no argument {unknown[0]!r}.{hint} {known[0].upper()}{known[1:]}.")
    return ArgumentError(f"{name}(): {said}; {known}.")


def refused(name: str, value: Any, expected: str, error: type[BayesGLMMError] = MethodError) -> BayesGLMMError:
    """Make the error for an argument that is not what is expected."""
    shown = shorten(" ".join(repr(value).split())).encode("utf-8", "backslashreplace").decode()
    return error(f"{name} is {shown}; {expected} is expected.")


def optional(check: Check) -> Check:
    """None, or what another check takes."""
    return lambda name, value: None if value is None else check(name, value)


def whole(least: int = 1) -> Check:
    """A whole number of at least `least`."""

    def check(name: str, value: Any) -> int:
        real = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not real or not least <= int(value) <= LARGEST_COUNT:
            raise refused(name, value, f"a whole number, {least} or more,")
        return int(value)

    return check


def seed_or_none(name: str, value: Any) -> int | None:
    """A seed, or None for a new one every time."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= int(value) <= LARGEST_SEED:
        raise refused(name, value, "a whole number, 0 or more, or None")
    return int(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not True or False."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number of at least `low` and at most `high`."""

    def check(name: str, value: Any) -> float:
        if not is_number(value) or not low <= value <= high:
            ends = [f"{low:g} or more"] * (low > -math.inf) + [f"{high:g} or less"] * (high < math.inf)
            raise refused(name, value, ", ".join(["a number", *ends]) + "," * bool(ends))
        return float(value)

    return check


def probability(name: str, value: Any) -> float:
    """A number strictly between 0 and 1."""
    if not is_number(value) or not 0.0 < value < 1.0:
        raise refused(name, value, "a number between 0 and 1")
    return float(value)


def word_or_positive(name: str, value: Any) -> Any:
    """A word (or None), to be looked up by the caller, or a positive number."""
    if value is None or isinstance(value, str):
        return value
    if not is_number(value) or value <= 0:
        raise refused(name, value, "a word, or a positive number,")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise refused(name, value, "True or False")
    return bool(value)


def plain(name: str, value: Any) -> Any:
    """Anything that can be looked up among words, where it is refused in the words' own terms: no array, no list."""
    try:
        hash(value)
        bool(value == "")
    except (TypeError, ValueError):
        raise refused(name, value, "a word") from None
    return value


def texts(name: str, value: Any) -> list[str]:
    """One text, or several, as a list."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, Collection) or not all(isinstance(one, str) for one in several):
        raise refused(name, value, "a name, or a list of names,")
    return list(several)


def listed(name: str, value: Any) -> Any:
    """A collection of things, such as a list or a tuple; a text is none, and its caller says so."""
    if not isinstance(value, Collection):
        raise refused(name, value, "a list")
    return value


def mapping(name: str, value: Any) -> Any:
    """A mapping, as it is."""
    if not isinstance(value, Mapping):
        raise refused(name, value, "a dict")
    return value


def numeric(name: str, value: Any) -> Any:
    """Numbers in whatever shape."""
    try:
        if value is not None and not isinstance(value, str | bytes):
            return np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        pass
    raise refused(name, value, "a number, or an array of numbers,")


def executor(name: str, value: Any) -> Any:
    """A concurrent.futures Executor, or what works like one."""
    if not callable(getattr(value, "submit", None)):
        raise refused(name, value, "a concurrent.futures Executor")
    return value


def place(name: str, value: Any) -> Path:
    """A path: a text that is not empty, or any path object."""
    try:
        path = os.fspath(value)
        if isinstance(path, str) and path and "\0" not in path:
            os.fsencode(path)
            return Path(path)
    except (TypeError, UnicodeEncodeError):
        pass
    raise refused(name, value, "a path", SpecError)
