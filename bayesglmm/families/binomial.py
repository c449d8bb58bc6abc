"""Binomial family: the mean is a proportion, the trials act as weights (one trial a row: Bernoulli)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from bayesglmm.families.base import Family, KernelFactory, Support

Floats = NDArray[np.float64]

LINKS = ("logit", "probit", "cloglog", "loglog", "cauchit", "log", "identity")


def unit_deviance(y: Floats, mu: Floats, aux: tuple[float, ...]) -> Floats:
    """2(y log(y/μ) + (1−y) log((1−y)/(1−μ))) of a proportion y, McCullagh & Nelder (1989), table 2.3."""
    success = y == 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        if (success | (y == 0.0)).all():  # single trials: one logarithm a row
            return -2.0 * np.log(np.where(success, mu, 1.0 - mu))
        return np.maximum(2.0 * (_part(y, mu) + _part(1.0 - y, 1.0 - mu)), 0.0)


def _part(y: Floats, mu: Floats) -> Floats:
    return np.where(y > 0.0, xlogy(y, y / mu), 0.0)


def _kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.binomial import factory

    return factory(link)


def _distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    p = {"p": mu} if eta is None else {"logit_p": eta}
    return pm.Bernoulli.dist(**p) if trials is None else pm.Binomial.dist(n=trials, **p)


BINOMIAL = Family(
    name="binomial",
    support=Support(0.0, 1.0, False, False, True, "0 or 1, or successes out of trials"),
    links=LINKS,
    variance=lambda mu, aux: mu * (1.0 - mu),
    unit_deviance=unit_deviance,
    initial_mean=lambda y, weights: (weights * y + 0.5) / (weights + 1.0),
    kernel=_kernel,
    distribution=_distribution,
    mean_range=(0.0, 1.0),
    trials=True,
    categories="two",
)
