"""Binomial log-density in η.

With A = log μ and B = log(1 − μ) the log-density is y A + (m − y) B + log C(m, y), linear in A and B; a link enters
by A, B and their derivatives (``logs``), and −A'B' is the Fisher information of one trial.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr

from bayesglmm.families.base import Derivatives, KernelFactory
from bayesglmm.families.kernels.arrays import (
    binomial_logit,
    binomial_logit_shifts,
    binomial_logit_slopes,
    binomial_logit_value,
)
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, row_weights
from bayesglmm.families.kernels.jit import compiled
from bayesglmm.families.kernels.logs import log_pair

Floats = NDArray[np.float64]


def _logit_information(eta: Floats) -> Floats:
    e = np.exp(-np.abs(eta))
    return e / np.square(1.0 + e)


def _probit_information(eta: Floats) -> Floats:
    # φ²/(Φ(η) Φ(−η)), in logarithms: each factor alone underflows.
    return np.exp(-np.square(eta) - log_ndtr(eta) - log_ndtr(-eta)) / (2.0 * np.pi)


def _cloglog_information(eta: Floats) -> Floats:
    # t²/(e^t − 1) with t = e^η.
    t = np.exp(np.minimum(eta, 7.0))
    return np.where(eta < 6.5, t * t / np.expm1(np.minimum(t, 700.0)), 0.0)


def _by_rows(link: str, information: Callable[[Floats], Floats]) -> Formulas:
    """A link with its own row formulas, and the Fisher information of one trial."""
    rows = binomial_logit if link == "logit" else compiled("rows_binomial", link)

    def derivatives(eta: Floats, psi: Psi, data: Data) -> Derivatives:
        return Derivatives(*rows(eta, *data))

    def weight(eta: Floats, psi: Psi, data: Data) -> Floats:
        y, f, w, _ = data
        return w * (y + f) * information(eta)

    def value(eta: Floats, psi: Psi, data: Data) -> Floats:
        return binomial_logit_value(eta, *data)

    if link != "logit":
        return Formulas(derivatives, weight)
    return Formulas(
        derivatives,
        weight,
        value=value,
        slopes=lambda eta, data: binomial_logit_slopes(eta, *data),
        shifts=binomial_logit_shifts,
    )


def _by_logs(link: str) -> Formulas:
    """Any link, through the logs of its mean and complement."""
    pair = log_pair(link)

    def derivatives(eta: Floats, psi: Psi, data: Data) -> Derivatives:
        y, f, w, c = data
        up, down = pair(eta)
        terms = [w * (_times(y, a) + _times(f, b)) for a, b in zip(up, down, strict=True)]
        value = np.where(np.isnan(terms[0]) & ~np.isnan(eta), -np.inf, terms[0] + w * c)
        return Derivatives(value, *terms[1:])

    def weight(eta: Floats, psi: Psi, data: Data) -> Floats:
        y, f, w, _ = data
        up, down = pair(eta)
        return w * (y + f) * -(up[1] * down[1])

    return Formulas(derivatives, weight)


def _times(count: Floats, log: Floats) -> Floats:
    """The product count × log, with 0 × inf = 0: no trials, no contribution."""
    return np.where(count == 0.0, 0.0, count * log)


_INFORMATION = {"logit": _logit_information, "probit": _probit_information, "cloglog": _cloglog_information}


def factory(link: str) -> KernelFactory:
    """Kernel factory for one link.

    Parameters
    ----------
    link : str
        Any link for a proportion.

    Returns
    -------
    KernelFactory
        Trials of None mean one per row.
    """
    formulas = _by_rows(link, _INFORMATION[link]) if link in _INFORMATION else _by_logs(link)

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        m = np.ones(len(y)) if trials is None else np.asarray(trials, dtype=float)
        w = row_weights(y, weights)
        if trials is None and ((y == 0.0) | (y == 1.0)).all():
            log_choose = np.zeros(len(y))
        else:
            log_choose = gammaln(m + 1.0) - gammaln(y + 1.0) - gammaln(m - y + 1.0)
        return ClosedKernel(formulas, (y, m - y, w, log_choose))

    return bind
