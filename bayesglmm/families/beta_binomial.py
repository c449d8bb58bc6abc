"""Beta-binomial family: successes out of m trials, Var(y/m) = μ(1 − μ)/m · (1 + (m − 1)/(1 + φ))."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support
from bayesglmm.families.beta import LINKS
from bayesglmm.families.binomial import unit_deviance

Floats = NDArray[np.float64]


def _phi(y: Floats, mu: Floats, weights: Floats) -> float:
    """φ by moments; the weights carry the trials m, and E m(y − μ)²/(μ(1 − μ)) = 1 + (m − 1)/(1 + φ)."""
    excess = float(np.mean(weights * np.square(y - mu) / (mu * (1.0 - mu)))) - 1.0
    return max(float(np.mean(weights) - 1.0) / max(excess, 1e-2) - 1.0, 0.5)


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.proportions import beta_binomial_factory

    return beta_binomial_factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    return pm.BetaBinomial.dist(alpha=mu * aux["phi"], beta=(1.0 - mu) * aux["phi"], n=1 if trials is None else trials)


BETA_BINOMIAL = Family(
    name="beta_binomial",
    support=Support(0.0, 1.0, False, False, True, "0 or 1, or successes out of trials"),
    links=LINKS,
    # Of one trial: the factor depends on the row's trials, which a variance function of μ does not.
    variance=lambda mu, aux: mu * (1.0 - mu),
    trials_variance=lambda trials, aux: 1.0 + (trials - 1.0) / (1.0 + aux[0]),
    unit_deviance=unit_deviance,
    initial_mean=lambda y, weights: (weights * y + 0.5) / (weights + 1.0),
    auxiliaries=(Auxiliary("phi", "log", _phi),),
    dispersion=lambda aux: aux[0],
    kernel=_kernel,
    distribution=_distribution,
    mean_range=(0.0, 1.0),
    trials=True,
    categories="two",
    exponential=False,
)
