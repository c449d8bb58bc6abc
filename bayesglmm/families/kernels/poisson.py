"""Poisson log-density, in log μ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesglmm.families.base import Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, along
from bayesglmm.families.kernels.jit import compiled
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _weight(s: Floats, psi: Floats, data: Data) -> Floats:
    return data[1] * np.exp(s)


def factory(link: str) -> KernelFactory:
    """Kernel factory for one link.

    Parameters
    ----------
    link : str
        The log, or any link for a positive mean.

    Returns
    -------
    KernelFactory
    """
    rows = compiled("rows_poisson", "derivatives")

    def derivatives(s: Floats, psi: Floats, data: Data) -> Derivatives:
        return Derivatives(*rows(s, *data))

    formulas = along(Formulas(derivatives, _weight), log_mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
        return ClosedKernel(formulas, (y, w, w * gammaln(y + 1.0)))

    return bind
