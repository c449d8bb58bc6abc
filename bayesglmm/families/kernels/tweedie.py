"""Kernel of the Tweedie family with 1 < p < 2, in log μ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from bayesglmm.families.base import KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Psi, along, compiled_formulas, fix, row_weights
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _weight(s: Floats, psi: Psi, data: Data) -> Floats:
    below = 1.0 / (1.0 + np.exp(psi[1]))
    return data[1] * np.exp(below * s - psi[0])


def factory(link: str, power: float | None = None) -> KernelFactory:
    """Kernel factory for one link; ψ = (log φ, log odds of p − 1), or log φ alone when the power is given."""
    formulas = compiled_formulas("rows_tweedie", _weight, 2)
    formulas = fix(formulas, {} if power is None else {1: float(logit(power - 1.0))})
    formulas = along(formulas, log_mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        return ClosedKernel(formulas, (y, row_weights(y, weights)))

    return bind
