"""Inverse Gaussian family: shape λ w, Var = μ³/(λ w)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory
from bayesglmm.families.gamma import POSITIVE

Floats = NDArray[np.float64]


def unit_deviance(y: Floats, mu: Floats, aux: tuple[float, ...]) -> Floats:
    """(y − μ)²/(μ² y), McCullagh & Nelder (1989), table 2.3."""
    return np.square(y / mu - 1.0) / y


def _shape(y: Floats, mu: Floats, weights: Floats) -> float:
    phi = float(np.mean(weights * np.square(y - mu) / mu**3))
    return 1.0 / phi if phi > 0.0 else 1.0


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.positive import inverse_gaussian_factory

    return inverse_gaussian_factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    return pm.Wald.dist(mu=mu, lam=aux["shape"] if weights is None else aux["shape"] * weights)


INVERSE_GAUSSIAN = Family(
    name="inverse_gaussian",
    support=POSITIVE,
    links=("inverse_squared", "log", "inverse", "identity", "sqrt"),
    variance=lambda mu, aux: mu**3,
    unit_deviance=unit_deviance,
    initial_mean=lambda y, weights: np.array(y, dtype=float),
    auxiliaries=(Auxiliary("shape", "log", _shape),),
    scale=None,
    dispersion=lambda aux: 1.0 / aux[0],
    kernel=_kernel,
    distribution=_distribution,
    weighted="scale",
    mean_range=(0.0, np.inf),
)
