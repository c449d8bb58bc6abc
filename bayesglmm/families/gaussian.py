"""Gaussian family: sd σ/√w."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support

Floats = NDArray[np.float64]


def _unit_deviance(y: Floats, mu: Floats, aux: tuple[float, ...]) -> Floats:
    return np.square(y - mu)


def _sigma(y: Floats, mu: Floats, weights: Floats) -> float:
    return float(np.sqrt(np.mean(weights * np.square(y - mu)))) or 1.0


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.gaussian import factory

    return factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    sigma = aux["sigma"] if weights is None else aux["sigma"] / np.sqrt(weights)
    return pm.Normal.dist(mu=mu, sigma=sigma)


GAUSSIAN = Family(
    name="gaussian",
    support=Support(-np.inf, np.inf, True, True, False, "a real number"),
    links=("identity", "log", "inverse"),
    variance=lambda mu, aux: np.ones_like(mu),
    unit_deviance=_unit_deviance,
    initial_mean=lambda y, weights: np.array(y, dtype=float),
    auxiliaries=(Auxiliary("sigma", "log", _sigma),),
    scale=None,
    dispersion=lambda aux: aux[0] ** 2,
    kernel=_kernel,
    distribution=_distribution,
    weighted="scale",
)
