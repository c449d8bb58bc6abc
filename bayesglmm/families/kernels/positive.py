"""Kernels of the gamma and inverse Gaussian families, in log μ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, along, compiled_formulas, row_weights
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _gamma_weight(s: Floats, psi: Psi, data: Data) -> Floats:
    return np.broadcast_to(data[1] * np.exp(psi[0]), np.shape(s)).copy()


def gamma_factory(link: str) -> KernelFactory:
    """Kernel factory of the gamma family with shape α w, ψ = log α, for a link of a positive mean."""
    formulas = along(compiled_formulas("rows_gamma", _gamma_weight, 1), log_mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        return ClosedKernel(formulas, (np.log(y), row_weights(y, weights)))

    return bind


# Inverse Gaussian with λ = w e^ψ: ½ log(λ/(2π y³)) − λ (y/μ − 1)²/(2y).


def _ig_derivatives(s: Floats, psi: Psi, data: Data) -> Derivatives:
    y, w, constant = data
    shape = w * np.exp(psi[0])
    v = np.exp(-s)
    residual = y * v - 1.0
    yvv = y * v * v
    return Derivatives(
        constant + 0.5 * psi[0] - 0.5 * shape * residual**2 / y,
        shape * v * residual,
        shape * (v - 2.0 * yvv),
        shape * (4.0 * yvv - v),
    )


def _ig_aux(s: Floats, psi: Psi, data: Data) -> AuxDerivatives:
    y, w, _ = data
    shape = w * np.exp(psi[0])
    v = np.exp(-s)
    residual = y * v - 1.0
    value = 0.5 - 0.5 * shape * residual**2 / y
    return AuxDerivatives(value[None], (shape * v * residual)[None], (shape * (v - 2.0 * y * v * v))[None])


def _ig_weight(s: Floats, psi: Psi, data: Data) -> Floats:
    return data[1] * np.exp(psi[0] - s)


def inverse_gaussian_factory(link: str) -> KernelFactory:
    """Kernel factory of the inverse Gaussian with shape λ w, ψ = log λ, for a link of a positive mean."""
    formulas = along(Formulas(_ig_derivatives, _ig_weight, _ig_aux, 1), log_mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        w = row_weights(y, weights)
        return ClosedKernel(formulas, (y, w, 0.5 * np.log(w / (2.0 * np.pi)) - 1.5 * np.log(y)))

    return bind
