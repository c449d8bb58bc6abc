"""Links with a parameter: powers of the mean, and the logit between two bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import FamilyError
from bayesglmm.links.base import Link
from bayesglmm.links.fixed import logit

Floats = NDArray[np.float64]


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


def interval_link(low: float, high: float) -> Link:
    """The logit of (μ − low)/(high − low), for a parameter between two bounds.

    Parameters
    ----------
    low, high : float
        Finite, low < high.

    Returns
    -------
    Link
        Named ``"interval(low,high)"``.

    Raises
    ------
    FamilyError
        For bounds that are not finite and increasing.

    Examples
    --------
    >>> interval_link(1, 2).mean(np.array([0.0]))
    array([1.5])
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise FamilyError(f"interval_link got ({low}, {high}); two finite numbers low < high are expected.")
    base, width = logit(), float(high) - float(low)
    third = base.third
    assert third is not None
    return Link(
        f"interval({low:g},{high:g})",
        eta=lambda mu: np.log((mu - low) / (high - mu)),
        mean=lambda eta: low + width * base.mean(eta),
        slope=lambda eta: width * base.slope(eta),
        curvature=lambda eta: width * base.curvature(eta),
        third=lambda eta: width * third(eta),
        symbolic=lambda pt, eta: low + width * pt.sigmoid(eta),
    )
