"""A = log μ and B = log(1 − μ) of a proportion's link, with three derivatives in η each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]
Logs = tuple[Floats, Floats, Floats, Floats]


def log_pair(link: str) -> Callable[[Floats], tuple[Logs, Logs]]:
    """The function η → (A, A', A'', A'''), (B, B', B'', B''') of one link.

    Parameters
    ----------
    link : str
        Name of a link whose mean is a proportion.

    Returns
    -------
    callable
    """
    return _by_chain_rule(get_link(link))


def _of(mu: Floats, m1: Floats, m2: Floats, m3: Floats) -> Logs:
    r1, r2, r3 = m1 / mu, m2 / mu, m3 / mu
    return np.log(mu), r1, r2 - r1**2, r3 - 3.0 * r1 * r2 + 2.0 * r1**3


def _by_chain_rule(link: Link) -> Callable[[Floats], tuple[Logs, Logs]]:
    """For links with algebraic tails (cauchit), where the quotients neither underflow nor cancel."""
    third, complement = link.third, link.complement
    assert third is not None
    assert complement is not None

    def pair(eta: Floats) -> tuple[Logs, Logs]:
        m1, m2, m3 = link.slope(eta), link.curvature(eta), third(eta)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _of(link.mean(eta), m1, m2, m3), _of(complement(eta), -m1, -m2, -m3)

    return pair
