"""Families made from a PyMC distribution that the user brings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import FamilyError
from bayesglmm.families.base import Auxiliary, Family, Support, unknown_moments
from bayesglmm.families.registry import FAMILIES
from bayesglmm.links import get_link

Floats = NDArray[np.float64]


def family_from_builder(
    cls: type[Family], name: str, builder: Callable[..., Any], link: str, links: dict[str, str]
) -> Family:
    """See :meth:`Family.from_pymc`."""
    if not isinstance(name, str) or not name.isidentifier():
        raise FamilyError(f"a family's name is a word (letters, digits, underscores), and {name!r} is not.")
    if name in FAMILIES:
        raise FamilyError(f"{name!r} is a family of the package: give yours a name of its own.")
    inverse = get_link(link)
    names = _parameters(builder)
    extra = sorted(set(links) - set(names))
    if extra:
        raise FamilyError(f"auxiliaries {', '.join(extra)} are not parameters of the builder ({', '.join(names)}).")

    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        return builder(mu, **{a: aux[a] for a in names})

    def initial_mean(y: Floats, weights: Floats) -> Floats:
        with np.errstate(all="ignore"):
            mean = np.array([np.average(y, weights=weights)])
            # A mean the link cannot reach (a negative one under a log link) gives way to the link's middle.
            if not np.isfinite(inverse.eta(mean)[0]):
                mean = inverse.mean(np.zeros(1))
        return np.full(len(y), mean[0])

    return cls(
        name=name,
        support=Support(-np.inf, np.inf, False, False, False, "a number"),
        links=(inverse.name,),
        variance=unknown_moments,
        unit_deviance=unknown_moments,
        initial_mean=initial_mean,
        auxiliaries=tuple(Auxiliary(a, get_link(links.get(a, "log")).name, _start(a, links)) for a in names),
        distribution=distribution,
        exponential=False,
    )


def _parameters(builder: Callable[..., Any]) -> list[str]:
    """Names of the auxiliaries: parameters after the first that have no default."""
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except (TypeError, ValueError):
        raise FamilyError(f"the parameters of {builder!r} cannot be read; give a function of (mu, ...).") from None
    if not parameters or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise FamilyError("the builder must name its parameters: mu first, then the auxiliaries, as in (mu, sigma).")
    return [p.name for p in parameters[1:] if p.default is p.empty]


def _start(name: str, links: dict[str, str]) -> Callable[[Floats, Floats, Floats], float]:
    """A rough starting value: a residual sd for a parameter that is one, else the middle of its range."""
    if name in ("sigma", "sd", "scale") and links.get(name, "log") == "log":
        return lambda y, mu, weights: float(np.sqrt(np.average(np.square(y - mu), weights=weights))) or 1.0
    middle = float(get_link(links.get(name, "log")).mean(np.zeros(1))[0])
    return lambda y, mu, weights: middle
