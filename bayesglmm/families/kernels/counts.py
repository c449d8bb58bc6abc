"""Kernels of the Poisson and negative binomial families."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln

from bayesglmm.families.base import Derivatives, KernelFactory
from bayesglmm.families.kernels.arrays import poisson, poisson_shifts, poisson_slopes, poisson_value
from bayesglmm.families.kernels.bound import (
    ClosedKernel,
    Data,
    Formulas,
    Psi,
    along,
    compiled_formulas,
    fix,
    row_weights,
)
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _poisson_weight(s: Floats, psi: Psi, data: Data) -> Floats:
    return data[1] * np.exp(s)


def _nb2_weight(s: Floats, psi: Psi, data: Data) -> Floats:
    return data[1] * np.exp(psi[0]) * expit(s - psi[0])


def _nb1_weight(s: Floats, psi: Psi, data: Data) -> Floats:
    # (dμ/ds)²/Var: the information of the mean alone, a lower bound of the Fisher information, which is a series.
    return data[1] * np.exp(s) * expit(-psi[0])


def bind_counts(formulas: Formulas) -> KernelFactory:
    """Factory of kernels with data (y, w, log y!)."""

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        return ClosedKernel(formulas, (y, row_weights(y, weights), gammaln(y + 1.0)))

    return bind


def poisson_formulas() -> Formulas:
    """Poisson in log μ."""
    return Formulas(
        lambda s, psi, data: Derivatives(*poisson(s, *data)),
        _poisson_weight,
        value=lambda s, psi, data: poisson_value(s, *data),
        slopes=lambda s, data: poisson_slopes(s, *data),
        shifts=poisson_shifts,
    )


def poisson_factory(link: str) -> KernelFactory:
    """Kernel factory of the Poisson for a link of a positive mean."""
    return bind_counts(along(poisson_formulas(), log_mean_path(link)))


def nb2_formulas(theta: float | None = None) -> Formulas:
    """NB2 in log μ; ψ = log θ unless θ is given."""
    formulas = compiled_formulas("rows_negative_binomial", _nb2_weight, 1)
    return fix(formulas, {} if theta is None else {0: float(np.log(theta))})


def nb2_factory(link: str, theta: float | None = None) -> KernelFactory:
    """Kernel factory of NB2, Var = μ + μ²/θ, for a link of a positive mean."""
    return bind_counts(along(nb2_formulas(theta), log_mean_path(link)))


def nb1_formulas() -> Formulas:
    """NB1 in log μ; ψ = log φ."""
    return compiled_formulas("rows_negative_binomial_1", _nb1_weight, 1)


def nb1_factory(link: str) -> KernelFactory:
    """Kernel factory of NB1, Var = μ(1 + φ), for a link of a positive mean."""
    return bind_counts(along(nb1_formulas(), log_mean_path(link)))
