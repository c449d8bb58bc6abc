"""Links by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Protocol

from bayesglmm.errors import FamilyError, shorten
from bayesglmm.links import fixed
from bayesglmm.links.base import Link
from bayesglmm.links.made import interval_link, power_link

_MAKERS: dict[str, Callable[[], Link]] = {
    "identity": fixed.identity,
    "log": fixed.log,
    "logit": fixed.logit,
    "probit": fixed.probit,
    "cloglog": fixed.cloglog,
    "loglog": fixed.loglog,
    "cauchit": fixed.cauchit,
    "inverse": lambda: power_link(-1.0, "inverse"),
    "inverse_squared": lambda: power_link(-2.0, "inverse_squared"),
    "sqrt": lambda: power_link(0.5, "sqrt"),
}
_ALIASES = {"1/mu^2": "inverse_squared", "1/mu": "inverse", "logistic": "logit"}
_INTERVAL = re.compile(r"interval\(\s*([^,()]+),\s*([^,()]+)\)")
_POWER = re.compile(r"power\(\s*([-+0-9.eE/]+)\s*\)")

#: Every link by name.
LINKS: dict[str, Link] = {name: make() for name, make in _MAKERS.items()}


class HasLinks(Protocol):
    """What :func:`get_link` asks of a family."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links that go with it."""
        ...


def get_link(link: str | Link, family: HasLinks | None = None) -> Link:
    """Look a link up by name.

    Parameters
    ----------
    link : str or Link
        A name of `LINKS`, ``"1/mu^2"``, ``"power(p)"``, or a :class:`Link`, which is returned as it is.
    family : Family, optional
        The family it is for. Power links and links made by the user are taken on trust.

    Returns
    -------
    Link

    Raises
    ------
    FamilyError
        For an unknown name (the message lists the known ones), or a link that does not go with the family (the
        message lists the family's).

    Examples
    --------
    >>> float(get_link("logit").mean(0.0))
    0.5
    """
    found = link if isinstance(link, Link) else _named(link)
    if family is not None and found.name in LINKS and found.name not in family.links:
        raise FamilyError(
            f"link {found.name!r} does not go with family {family.name!r}. Its links: {', '.join(family.links)}."
        )
    return found


def _named(link: str) -> Link:
    known = ", ".join(LINKS)
    if not isinstance(link, str):
        raise FamilyError(f"link is {link!r}; a name ({known}, power(p)) or a bg.Link is expected.")
    name = link.strip().lower()
    name = _ALIASES.get(name, name)
    if name in LINKS:
        return LINKS[name]
    interval = _INTERVAL.fullmatch(name)
    if interval:
        try:
            return interval_link(float(interval[1]), float(interval[2]))
        except ValueError:
            raise FamilyError(f"{link!r} is not a link; write interval(low,high) with two numbers.") from None
    power = _POWER.fullmatch(name)
    if power:
        top, _, bottom = power[1].partition("/")
        try:
            return power_link(float(top) / float(bottom or 1.0))
        except (ValueError, ZeroDivisionError):
            raise FamilyError(f"{link!r} is not a power link; write power(p) with a number p.") from None
    near = get_close_matches(name, LINKS, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise FamilyError(f"unknown link {shorten(repr(link))}.{hint} Known links: {known}, power(p).")
