"""Negative binomial families: NB2, Var = μ + μ²/θ, and NB1, Var = μ(1 + φ)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from bayesglmm.arguments import is_number
from bayesglmm.errors import FamilyError
from bayesglmm.families.base import Auxiliary, Family, KernelFactory
from bayesglmm.families.poisson import COUNT
from bayesglmm.families.poisson import unit_deviance as poisson_deviance

Floats = NDArray[np.float64]

LINKS = ("log", "sqrt", "identity")


def initial_mean(y: Floats, weights: Floats) -> Floats:
    """The counts, zeros raised to 1/6."""
    return np.where(y == 0.0, 1.0 / 6.0, y)


def unit_deviance(y: Floats, mu: Floats, theta: float) -> Floats:
    """2(y log(y/μ) − (y + θ) log((y + θ)/(μ + θ))), Venables & Ripley (2002), section 7.4."""
    return np.maximum(2.0 * (xlogy(y, y / mu) - (y + theta) * np.log1p((y - mu) / (mu + theta))), 0.0)


def start_theta(y: Floats, mu: Floats, weights: Floats) -> float:
    """θ by moments: E (y/μ − 1)² = 1/μ + 1/θ."""
    excess = float(np.average(np.square(y / mu - 1.0) - 1.0 / mu, weights=weights))
    return 1.0 / max(excess, 1e-2)


def positive(name: str, value: float | None) -> float | None:
    """A parameter that must be positive where it is given.

    Raises
    ------
    FamilyError
        It is not.
    """
    if value is None:
        return None
    if not is_number(value) or value <= 0.0:
        raise FamilyError(f"{name} = {value!r}; a positive number is expected.")
    return float(value)


def NegativeBinomial(theta: float | None = None) -> Family:
    """Negative binomial family (NB2), Var(y) = μ + μ²/θ.

    Parameters
    ----------
    theta : float, optional
        A fixed θ > 0. Estimated when left out.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For a theta that is not positive.

    Examples
    --------
    >>> NegativeBinomial(theta=2.0).variance(np.array([4.0]), ())
    array([12.])
    """
    return _nb2(positive("theta", theta))


@lru_cache(maxsize=64)
def _nb2(theta: float | None) -> Family:
    # One object for one theta: compiled graphs are kept by the identity of `distribution`.
    def kernel(link: str) -> KernelFactory | None:
        from bayesglmm.families.kernels.counts import nb2_factory

        return nb2_factory(link, theta)

    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        return pm.NegativeBinomial.dist(mu=mu, alpha=aux["theta"] if theta is None else np.array(theta))

    def value(aux: tuple[float, ...]) -> float:
        return aux[0] if theta is None else theta

    return Family(
        name="negative_binomial",
        support=COUNT,
        links=LINKS,
        variance=lambda mu, aux: mu + mu**2 / value(aux),
        unit_deviance=lambda y, mu, aux: unit_deviance(y, mu, value(aux)),
        initial_mean=initial_mean,
        auxiliaries=() if theta is not None else (Auxiliary("theta", "log", start_theta),),
        dispersion=value,
        kernel=kernel,
        distribution=distribution,
        options={} if theta is None else {"theta": theta},
        mean_range=(0.0, np.inf),
    )


def _start_phi(y: Floats, mu: Floats, weights: Floats) -> float:
    return max(float(np.average(np.square(y - mu) / mu, weights=weights)) - 1.0, 1e-2)


def _nb1_kernel(link: str) -> KernelFactory | None:
    from bayesglmm.families.kernels.counts import nb1_factory

    return nb1_factory(link)


def _nb1_distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
    return pm.NegativeBinomial.dist(mu=mu, alpha=mu / aux["phi"])


NEGATIVE_BINOMIAL_1 = Family(
    name="negative_binomial_1",
    support=COUNT,
    links=LINKS,
    variance=lambda mu, aux: mu * (1.0 + aux[0]),
    unit_deviance=lambda y, mu, aux: poisson_deviance(y, mu, ()) / (1.0 + aux[0]),
    initial_mean=initial_mean,
    auxiliaries=(Auxiliary("phi", "log", _start_phi),),
    dispersion=lambda aux: aux[0],
    kernel=_nb1_kernel,
    distribution=_nb1_distribution,
    mean_range=(0.0, np.inf),
    exponential=False,
)
