"""Families by name, and which links go with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import numpy as np

from bayesglmm.errors import FamilyError, shorten
from bayesglmm.families.base import Auxiliary, Family
from bayesglmm.links import Link, get_link

# name → (module of this package, attribute): a Family, or a function that makes one without arguments.
_WHERE: dict[str, tuple[str, str]] = {
    "gaussian": ("gaussian", "GAUSSIAN"),
    "binomial": ("binomial", "BINOMIAL"),
    "poisson": ("poisson", "POISSON"),
    "negative_binomial": ("negative_binomial", "NegativeBinomial"),
    "negative_binomial_1": ("negative_binomial", "NEGATIVE_BINOMIAL_1"),
    "gamma": ("gamma", "GAMMA"),
    "inverse_gaussian": ("inverse_gaussian", "INVERSE_GAUSSIAN"),
    "beta": ("beta", "BETA"),
    "beta_binomial": ("beta_binomial", "BETA_BINOMIAL"),
    "student_t": ("student_t", "StudentT"),
    "tweedie": ("tweedie", "Tweedie"),
    "zero_inflated_poisson": ("zeros", "ZERO_INFLATED_POISSON"),
    "zero_inflated_negative_binomial": ("zeros", "ZERO_INFLATED_NEGATIVE_BINOMIAL"),
    "zero_inflated_negative_binomial_1": ("zeros", "ZERO_INFLATED_NEGATIVE_BINOMIAL_1"),
    "hurdle_poisson": ("zeros", "HURDLE_POISSON"),
    "hurdle_negative_binomial": ("zeros", "HURDLE_NEGATIVE_BINOMIAL"),
    "cumulative": ("cumulative", "Cumulative"),
    "quasipoisson": ("quasi", "QuasiPoisson"),
    "quasibinomial": ("quasi", "QuasiBinomial"),
    "quasi_negative_binomial": ("quasi", "QuasiNegativeBinomial"),
    "quasi": ("quasi", "Quasi"),
}
_ALIASES = {
    "normal": "gaussian",
    "bernoulli": "binomial",
    "nbinom": "negative_binomial",
    "nb": "negative_binomial",
    "nb2": "negative_binomial",
    "nbinom1": "negative_binomial_1",
    "nb1": "negative_binomial_1",
    "quasi_poisson": "quasipoisson",
    "quasi_binomial": "quasibinomial",
    "betabinomial": "beta_binomial",
    "zip": "zero_inflated_poisson",
    "zinb": "zero_inflated_negative_binomial",
    "student": "student_t",
    "t": "student_t",
}

#: Names that :func:`get_family` knows.
FAMILIES: tuple[str, ...] = tuple(_WHERE)


def get_family(family: str | Family | Callable[[], Family], **options: Any) -> Family:
    """Look a family up by name.

    Parameters
    ----------
    family : str or Family
        A name of `FAMILIES`, or a :class:`Family`, which is returned as it is. A constructor that needs no
        argument (``NegativeBinomial``) is called.
    **options
        With a name: what the family's constructor takes, e.g. ``get_family("negative_binomial", theta=2.0)``.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For an unknown name or option; the message lists the known ones.

    Examples
    --------
    >>> get_family("poisson").links[0]
    'log'
    """
    if not isinstance(family, str):
        return _made(family, {})
    known = ", ".join(FAMILIES)
    name = family.strip().lower().replace("-", "_").replace(" ", "_")
    name = _ALIASES.get(name, name)
    if name not in _WHERE:
        near = get_close_matches(name, (*FAMILIES, *_ALIASES), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = shorten(repr(family))
        raise FamilyError(f"unknown family {shown}.{hint} Known families: {known}; or bg.Family.from_pymc(...).")
    module, attribute = _WHERE[name]
    found = getattr(import_module(f"bayesglmm.families.{module}"), attribute)
    taken = tuple(inspect.signature(found).parameters) if callable(found) else ()
    for option in options:
        if option not in taken:
            near = get_close_matches(option, taken, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            takes = ", ".join(taken) or "none"
            raise FamilyError(f"family {name!r} has no option {shorten(repr(option))}.{hint} Its options: {takes}.")
    return _made(found, options)


def _made(given: Any, options: dict[str, Any]) -> Family:
    """A family itself, or what its constructor makes."""
    made = given(**options) if callable(given) else given
    if not isinstance(made, Family):
        known = ", ".join(FAMILIES)
        raise FamilyError(f"family is {given!r}; a name ({known}) or a bg.Family is expected.")
    return made


def auxiliary_range(auxiliary: Auxiliary) -> tuple[float, float]:
    """Open interval in which an auxiliary lies: what its link can reach.

    Parameters
    ----------
    auxiliary : Auxiliary
        One of a family's.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> auxiliary_range(get_family("gaussian").auxiliaries[0])
    (0.0, inf)
    """
    low, high = get_link(auxiliary.link).mean(np.array([-np.inf, np.inf]))
    return float(low), float(high)


def eta_domain(family: Family, link: Link) -> tuple[float, float]:
    """Open interval of η whose mean lies in the family's range.

    Parameters
    ----------
    family, link : Family, Link
        A pair that goes together.

    Returns
    -------
    tuple of float
        (low, high), possibly infinite.

    Examples
    --------
    >>> from bayesglmm.links import get_link
    >>> eta_domain(get_family("poisson"), get_link("identity"))
    (0.0, inf)
    """
    low, high = family.mean_range
    if low == -np.inf:
        return link.domain
    with np.errstate(all="ignore"):
        ends = sorted(float(e) for e in link.eta(np.array([low, high])))
    return max(ends[0], link.domain[0]), min(ends[1], link.domain[1])
