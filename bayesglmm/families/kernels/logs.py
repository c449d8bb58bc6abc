"""A = log μ and B = log(1 − μ) of a proportion's link, with three derivatives in η each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from bayesglmm.families.kernels.jit import compiled
from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]
Logs = tuple[Floats, Floats, Floats, Floats]
Pair = tuple[Logs, Logs]


def log_pair(link: str) -> Callable[[Floats], Pair]:
    """The function η → (A, A', A'', A'''), (B, B', B'', B''') of one link.

    Parameters
    ----------
    link : str
        Name of a link whose mean is a proportion.

    Returns
    -------
    callable
        Outside the link's domain A or B is −inf or NaN.
    """
    return _PAIRS.get(link, lambda: _by_chain_rule(get_link(link)))()


def _mirrored(logs: Logs) -> Logs:
    """Derivatives in η of a function of −η."""
    return logs[0], -logs[1], logs[2], -logs[3]


def _logit() -> Callable[[Floats], Pair]:
    def pair(eta: Floats) -> Pair:
        p, q = expit(eta), expit(-eta)
        d2 = -p * q
        d3 = d2 * (q - p)
        return (log_expit(eta), q, d2, d3), (log_expit(-eta), -p, d2, d3)

    return pair


def _probit() -> Callable[[Floats], Pair]:
    rows = compiled("rows_logs", "probit")
    return lambda eta: (rows(eta), _mirrored(rows(-eta)))


def _cloglog() -> Callable[[Floats], Pair]:
    rows = compiled("rows_logs", "cloglog")

    def pair(eta: Floats) -> Pair:
        down = -np.exp(eta)
        return rows(eta), (down, down, down, down)

    return pair


def _loglog() -> Callable[[Floats], Pair]:
    mirror = _cloglog()

    def pair(eta: Floats) -> Pair:
        up, down = mirror(-eta)
        return _mirrored(down), _mirrored(up)

    return pair


def _log() -> Callable[[Floats], Pair]:
    def pair(eta: Floats) -> Pair:
        eta = np.where(eta < 0.0, eta, np.nan)
        r = 1.0 / np.expm1(-eta)
        one, zero = np.ones_like(eta), np.zeros_like(eta)
        s = r * (1.0 + r)
        return (eta, one, zero, zero), (np.log(-np.expm1(eta)), -r, -s, -s * (1.0 + 2.0 * r))

    return pair


def _identity() -> Callable[[Floats], Pair]:
    def of(mu: Floats) -> Logs:
        r = 1.0 / mu
        return np.log(mu), r, -r * r, 2.0 * r**3

    def pair(eta: Floats) -> Pair:
        eta = np.where((eta > 0.0) & (eta < 1.0), eta, np.nan)
        return of(eta), _mirrored(of(1.0 - eta))

    return pair


def _by_chain_rule(link: Link) -> Callable[[Floats], Pair]:
    """For links with algebraic tails (cauchit), where the quotients neither underflow nor cancel."""
    third, complement = link.third, link.complement
    assert third is not None
    assert complement is not None

    def of(mu: Floats, m1: Floats, m2: Floats, m3: Floats) -> Logs:
        r1, r2, r3 = m1 / mu, m2 / mu, m3 / mu
        return np.log(mu), r1, r2 - r1**2, r3 - 3.0 * r1 * r2 + 2.0 * r1**3

    def pair(eta: Floats) -> Pair:
        m1, m2, m3 = link.slope(eta), link.curvature(eta), third(eta)
        return of(link.mean(eta), m1, m2, m3), of(complement(eta), -m1, -m2, -m3)

    return pair


_PAIRS: dict[str, Callable[[], Callable[[Floats], Pair]]] = {
    "logit": _logit,
    "probit": _probit,
    "cloglog": _cloglog,
    "loglog": _loglog,
    "log": _log,
    "identity": _identity,
}
