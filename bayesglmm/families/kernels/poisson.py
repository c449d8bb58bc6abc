"""Poisson log-density, in log μ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesglmm.families.base import KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Psi, along, compiled_formulas, row_weights
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _weight(s: Floats, psi: Psi, data: Data) -> Floats:
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
    formulas = along(compiled_formulas("rows_poisson", _weight), log_mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        w = row_weights(y, weights)
        return ClosedKernel(formulas, (y, w, w * gammaln(y + 1.0)))

    return bind
