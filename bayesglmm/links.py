"""Link functions: η = g(μ) and its inverse with derivatives, as functions of η (never of a clipped μ).

Every inverse is written so that small means, and small complements 1 − μ of a proportion, keep full relative
accuracy far into the tails; ``complement`` gives 1 − μ where the mean is a proportion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesglmm.errors import FamilyError, shorten

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """One link.

    Parameters
    ----------
    name : str
        As typed by the user.
    eta : callable
        μ → η.
    mean : callable
        η → μ.
    slope : callable
        η → dμ/dη.
    curvature : callable
        η → d²μ/dη².
    symbolic : callable
        (pytensor.tensor module, η tensor) → μ tensor.
    domain : tuple of float
        Values of η for which the inverse is defined and one-to-one, as (low, high). A family may allow less:
        see :func:`bayesglmm.families.eta_domain`.
    third : callable, optional
        η → d³μ/dη³. A link without it has no closed-form kernel (the PyMC graph serves instead).
    complement : callable, optional
        η → 1 − μ without cancellation, for links whose mean is a proportion.
    """

    name: str
    eta: Callable[[Floats], Floats]
    mean: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    curvature: Callable[[Floats], Floats]
    symbolic: Callable[..., object]
    domain: tuple[float, float] = (-np.inf, np.inf)
    third: Callable[[Floats], Floats] | None = None
    complement: Callable[[Floats], Floats] | None = None


SQRT2 = np.sqrt(2.0)
SQRT2PI = np.sqrt(2.0 * np.pi)
# exp(-exp(η)) is zero from here on, so that a polynomial in exp(η) beside it need not follow it to infinity.
GUMBEL_END = 7.0


def _identity() -> Link:
    return Link(
        "identity",
        eta=lambda mu: np.array(mu, dtype=float),
        mean=lambda eta: np.array(eta, dtype=float),
        slope=np.ones_like,
        curvature=np.zeros_like,
        third=np.zeros_like,
        symbolic=lambda pt, eta: eta,
        complement=lambda eta: 1.0 - eta,
    )


def _log() -> Link:
    return Link(
        "log",
        eta=np.log,
        mean=np.exp,
        slope=np.exp,
        curvature=np.exp,
        third=np.exp,
        symbolic=lambda pt, eta: pt.exp(eta),
        complement=lambda eta: -np.expm1(eta),
    )


def _logit() -> Link:
    def slope(eta: Floats) -> Floats:
        return special.expit(eta) * special.expit(-eta)

    return Link(
        "logit",
        eta=special.logit,
        mean=special.expit,
        slope=slope,
        curvature=lambda eta: slope(eta) * np.tanh(-0.5 * eta),
        third=lambda eta: slope(eta) * (1.0 - 6.0 * slope(eta)),
        symbolic=lambda pt, eta: pt.sigmoid(eta),
        complement=lambda eta: special.expit(-eta),
    )


def _probit() -> Link:
    def density(eta: Floats) -> Floats:
        return np.exp(-0.5 * np.square(eta)) / SQRT2PI

    return Link(
        "probit",
        eta=special.ndtri,
        mean=special.ndtr,
        slope=density,
        curvature=lambda eta: -eta * density(eta),
        third=lambda eta: (np.square(eta) - 1.0) * density(eta),
        symbolic=lambda pt, eta: 0.5 * pt.erfc(-eta / SQRT2),
        complement=lambda eta: special.ndtr(-eta),
    )


def _gumbel(eta: Floats) -> tuple[Floats, Floats]:
    """exp(η) where it matters, and the density exp(η − exp(η))."""
    t = np.exp(np.minimum(eta, GUMBEL_END))
    return t, np.exp(np.minimum(eta, GUMBEL_END) - t)


def _cloglog() -> Link:
    def curvature(eta: Floats) -> Floats:
        t, f = _gumbel(eta)
        return f * (1.0 - t)

    def third(eta: Floats) -> Floats:
        t, f = _gumbel(eta)
        return f * (1.0 - 3.0 * t + t * t)

    return Link(
        "cloglog",
        eta=lambda mu: np.log(-np.log1p(-mu)),
        mean=lambda eta: -np.expm1(-np.exp(eta)),
        slope=lambda eta: _gumbel(eta)[1],
        curvature=curvature,
        third=third,
        symbolic=lambda pt, eta: -pt.expm1(-pt.exp(eta)),
        complement=lambda eta: np.exp(-np.exp(eta)),
    )


def _loglog() -> Link:
    mirror = _cloglog()
    third = mirror.third
    assert third is not None
    return Link(
        "loglog",
        eta=lambda mu: -np.log(-np.log(mu)),
        mean=lambda eta: np.exp(-np.exp(-eta)),
        slope=lambda eta: mirror.slope(-eta),
        curvature=lambda eta: -mirror.curvature(-eta),
        third=lambda eta: third(-eta),
        symbolic=lambda pt, eta: pt.exp(-pt.exp(-eta)),
        complement=lambda eta: mirror.mean(-eta),
    )


def _cauchit() -> Link:
    def mean(eta: Floats) -> Floats:
        eta = np.asarray(eta, dtype=float)
        # arctan2(1, −η) is the angle whose cotangent is −η: small, not a difference, far to the left.
        return np.arctan2(1.0, -eta) / np.pi

    def slope(eta: Floats) -> Floats:
        return 1.0 / (np.pi * (1.0 + np.square(eta)))

    def third(eta: Floats) -> Floats:
        s = np.square(eta)
        return (6.0 * s - 2.0) / (np.pi * (1.0 + s) ** 3)

    return Link(
        "cauchit",
        eta=lambda mu: np.where(np.asarray(mu) < 0.5, -1.0 / np.tan(np.pi * mu), 1.0 / np.tan(np.pi * (1.0 - mu))),
        mean=mean,
        slope=slope,
        curvature=lambda eta: -2.0 * eta / (np.pi * np.square(1.0 + np.square(eta))),
        third=third,
        symbolic=lambda pt, eta: pt.arctan2(1.0, -eta) / np.pi,
        complement=lambda eta: mean(-np.asarray(eta)),
    )


def power_link(p: float, name: str | None = None) -> Link:
    """The link η = μ^p for a positive mean.

    Parameters
    ----------
    p : float
        The exponent, not zero (use ``"log"`` for the limit).
    name : str, optional
        Its name; ``"power(p)"`` when left out.

    Returns
    -------
    Link
        Defined for η > 0.

    Raises
    ------
    FamilyError
        For p = 0 or a p that is not finite.

    Examples
    --------
    >>> power_link(0.5).mean(np.array([3.0]))
    array([9.])
    """
    if not np.isfinite(p) or p == 0.0:
        raise FamilyError(f"power_link got p = {p}; a finite exponent other than 0 is expected (p → 0 is 'log').")
    k = 1.0 / float(p)

    def monomial(order: int) -> Callable[[Floats], Floats]:
        factor = float(np.prod([k - j for j in range(order)]))

        def derivative(eta: Floats) -> Floats:
            return factor * np.power(eta, k - order) if factor else np.zeros_like(eta, dtype=float)

        return derivative

    return Link(
        f"power({float(p)!r})" if name is None else name,
        eta=lambda mu: np.power(mu, float(p)),
        mean=monomial(0),
        slope=monomial(1),
        curvature=monomial(2),
        third=monomial(3),
        symbolic=lambda pt, eta: eta**k,
        domain=(0.0, np.inf),
    )


_MAKERS: dict[str, Callable[[], Link]] = {
    "identity": _identity,
    "log": _log,
    "logit": _logit,
    "probit": _probit,
    "cloglog": _cloglog,
    "loglog": _loglog,
    "cauchit": _cauchit,
    "inverse": lambda: power_link(-1.0, "inverse"),
    "inverse_squared": lambda: power_link(-2.0, "inverse_squared"),
    "sqrt": lambda: power_link(0.5, "sqrt"),
}
_ALIASES = {"1/mu^2": "inverse_squared", "1/mu": "inverse", "logistic": "logit"}
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
    >>> get_link("logit").mean(np.array([0.0]))
    array([0.5])
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
