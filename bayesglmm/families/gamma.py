"""Gamma family: shape α w, Var = μ²/(α w)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support

Floats = NDArray[np.float64]

POSITIVE = Support(0.0, np.inf, True, True, False, "a positive number")
LINKS = ("log", "inverse", "identity", "sqrt", "inverse_squared")


def unit_deviance(y: Floats, mu: Floats, aux: tuple[float, ...]) -> Floats:
    """2((y − μ)/μ − log(y/μ)), McCullagh & Nelder (1989), table 2.3."""
    r = y / mu
    return np.maximum(2.0 * (r - 1.0 - np.log(r)), 0.0)


def _shape(y: Floats, mu: Floats, weights: Floats) -> float:
    phi = float(np.mean(weights * np.square(y / mu - 1.0)))
    return 1.0 / phi if phi > 0.0 else 1.0


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.positive import gamma_factory

    return gamma_factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    shape = aux["shape"] if weights is None else aux["shape"] * weights
    return pm.Gamma.dist(alpha=shape, beta=shape / mu)


GAMMA = Family(
    name="gamma",
    support=POSITIVE,
    links=LINKS,
    variance=lambda mu, aux: np.square(mu),
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
