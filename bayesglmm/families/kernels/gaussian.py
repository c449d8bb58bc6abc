"""Gaussian log-density with sd exp(ψ)/√w, in μ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, along, row_weights
from bayesglmm.families.kernels.paths import mean_path

Floats = NDArray[np.float64]
HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


def _derivatives(mu: Floats, psi: Psi, data: Data) -> Derivatives:
    y, w, constant = data
    precision = w * np.exp(-2.0 * psi[0])
    residual = y - mu
    d1 = precision * residual
    d2 = np.broadcast_to(-precision, d1.shape).copy()
    return Derivatives(constant - psi[0] - 0.5 * d1 * residual, d1, d2, np.zeros_like(d1))


def _aux(mu: Floats, psi: Psi, data: Data) -> AuxDerivatives:
    y, w, _ = data
    precision = w * np.exp(-2.0 * psi[0])
    residual = y - mu
    d1 = precision * residual
    d2 = np.broadcast_to(2.0 * precision, d1.shape).copy()
    return AuxDerivatives((d1 * residual - 1.0)[None], (-2.0 * d1)[None], d2[None])


def _weight(mu: Floats, psi: Psi, data: Data) -> Floats:
    return np.broadcast_to(data[1] * np.exp(-2.0 * psi[0]), np.shape(mu)).copy()


def factory(link: str) -> KernelFactory:
    """Kernel factory for one link.

    Parameters
    ----------
    link : str
        Any link with a third derivative.

    Returns
    -------
    KernelFactory
    """
    formulas = along(Formulas(_derivatives, _weight, _aux, 1), mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        w = row_weights(y, weights)
        return ClosedKernel(formulas, (np.asarray(y, dtype=float), w, 0.5 * np.log(w) - HALF_LOG_2PI))

    return bind
