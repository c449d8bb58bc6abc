"""Text from the command line → names and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayesglmm.errors import MethodError


def split_names(text: str) -> list[str]:
    """Names separated by commas.

    Raises
    ------
    MethodError
        When there are none.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise MethodError(f"no method in {text!r}; give names separated by commas, e.g. pql,laplace,mcmc.")
    return names


def parse_options(texts: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``METHOD.NAME=VALUE`` → method → name → value.

    Parameters
    ----------
    texts : sequence of str
        As typed.
    methods : sequence of str
        The methods that are run; with one of them ``NAME=VALUE`` is enough.

    Returns
    -------
    dict
        Every method, with its options (perhaps none).

    Raises
    ------
    MethodError
        A text of another form, or a method that is not run.

    Examples
    --------
    >>> parse_options(["agq.nodes=25", "mcmc.sampler=nutpie"], ["agq", "mcmc"])
    {'agq': {'nodes': 25}, 'mcmc': {'sampler': 'nutpie'}}
    """
    found: dict[str, dict[str, Any]] = {m: {} for m in methods}
    for text in texts:
        target, equals, value = text.partition("=")
        method, dot, name = target.strip().rpartition(".")
        method = method if dot else methods[0] if len(methods) == 1 else ""
        if not equals or not name or not method:
            raise MethodError(f"cannot read the option {text!r}; expected METHOD.NAME=VALUE, e.g. agq.nodes=25.")
        if method not in found:
            raise MethodError(f"the option {text!r} is for {method!r}, which is not run here: {', '.join(methods)}.")
        found[method][name] = parse_value(value.strip())
    return found


def parse_value(text: str) -> Any:
    """A number, whole numbers with commas between them, true, false or none; any other text as it is."""
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    parts = text.split(",")
    if len(parts) > 1 and all(part.strip().isdecimal() for part in parts):
        return tuple(int(part) for part in parts)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
