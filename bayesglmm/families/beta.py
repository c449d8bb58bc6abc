"""Beta family: a proportion strictly between 0 and 1, precision φ, Var = μ(1 − μ)/(1 + φ).

Ferrari & Cribari-Neto (2004), Journal of Applied Statistics 31, 799-815.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support
from bayesglmm.families.binomial import unit_deviance as binomial_deviance

Floats = NDArray[np.float64]

LINKS = ("logit", "probit", "cloglog", "loglog", "cauchit")


def start_phi(y: Floats, mu: Floats, weights: Floats) -> float:
    """φ by moments, at least 1/2."""
    ratio = float(np.average(np.square(y - mu) / (mu * (1.0 - mu)), weights=weights))
    return max(1.0 / max(ratio, 1e-8) - 1.0, 0.5)


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.proportions import beta_factory

    return beta_factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    return pm.Beta.dist(alpha=mu * aux["phi"], beta=(1.0 - mu) * aux["phi"])


BETA = Family(
    name="beta",
    support=Support(0.0, 1.0, True, True, False, "a number strictly between 0 and 1"),
    links=LINKS,
    variance=lambda mu, aux: mu * (1.0 - mu) / (1.0 + aux[0]),
    unit_deviance=lambda y, mu, aux: (1.0 + aux[0]) * binomial_deviance(y, mu, ()),
    initial_mean=lambda y, weights: np.array(y, dtype=float),
    auxiliaries=(Auxiliary("phi", "log", start_phi),),
    dispersion=lambda aux: aux[0],
    kernel=_kernel,
    distribution=_distribution,
    mean_range=(0.0, 1.0),
    exponential=False,
)
