"""Kernel of the Student-t family, in μ.

With the log link its derivatives are exact while |y − μ|/σ < e^230; beyond, the third is lost to underflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, along, fix, row_weights
from bayesglmm.families.kernels.jit import compiled
from bayesglmm.families.kernels.paths import mean_path

Floats = NDArray[np.float64]


def _weight(mu: Floats, psi: Psi, data: Data) -> Floats:
    # Lange, Little & Taylor (1989), appendix B: (ν + 1)/((ν + 3) σ²).
    nu = np.exp(psi[1])
    weight = data[1] * (nu + 1.0) / (nu + 3.0) * np.exp(-2.0 * np.asarray(psi[0]))
    return np.broadcast_to(weight, np.shape(mu)).copy()


def _formulas() -> Formulas:
    rows, aux_rows, normaliser = (compiled("rows_student", name) for name in ("derivatives", "aux", "normaliser"))

    def derivatives(mu: Floats, psi: Psi, data: Data) -> Derivatives:
        return Derivatives(*rows(mu, *psi, normaliser(psi[1])[0], *data))

    def aux(mu: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        found = aux_rows(mu, *psi, normaliser(psi[1])[1], *data)
        return AuxDerivatives(*(np.stack(found[k::3]) for k in range(3)))

    return Formulas(derivatives, _weight, aux, 2)


def factory(link: str, nu: float | None = None) -> KernelFactory:
    """Kernel factory for one link; ψ = (log σ, log ν), or log σ alone when ν is given."""
    formulas = fix(_formulas(), {} if nu is None else {1: float(np.log(nu))})
    formulas = along(formulas, mean_path(link))

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        return ClosedKernel(formulas, (y, row_weights(y, weights)))

    return bind
