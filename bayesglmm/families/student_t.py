"""Student-t family: scale σ, degrees of freedom ν; Var = σ²ν/(ν − 2) for ν > 2.

Lange, Little & Taylor (1989), Journal of the American Statistical Association 84, 881-896.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support
from bayesglmm.families.negative_binomial import positive

Floats = NDArray[np.float64]

START_NU = 5.0


def _sigma(y: Floats, mu: Floats, weights: Floats) -> float:
    """Median absolute deviation, as a normal sd."""
    return 1.4826 * float(np.median(np.abs(y - mu))) or float(np.std(y)) or 1.0


def StudentT(nu: float | None = None) -> Family:
    """Student-t family with location μ and scale σ.

    Parameters
    ----------
    nu : float, optional
        Fixed degrees of freedom ν > 0. Estimated when left out.

    Returns
    -------
    Family

    Raises
    ------
    FamilyError
        For a nu that is not positive.

    Examples
    --------
    >>> [a.name for a in StudentT(nu=4).auxiliaries]
    ['sigma']
    """
    return _student(positive("nu", nu))


@lru_cache(maxsize=64)
def _student(nu: float | None) -> Family:
    # One object for one nu: compiled graphs are kept by the identity of `distribution`.
    def kernel(link: str) -> KernelFactory | None:
        from bayesglmm.families.kernels.student import factory

        return factory(link, nu)

    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        return pm.StudentT.dist(nu=aux["nu"] if nu is None else np.array(nu), mu=mu, sigma=aux["sigma"])

    def value(aux: tuple[float, ...]) -> float:
        return aux[1] if nu is None else nu

    def variance(mu: Floats, aux: tuple[float, ...]) -> Floats:
        k = value(aux)
        return np.full_like(mu, aux[0] ** 2 * k / (k - 2.0) if k > 2.0 else np.inf)

    def unit_deviance(y: Floats, mu: Floats, aux: tuple[float, ...]) -> Floats:
        k = value(aux)
        return (k + 1.0) * np.log1p(np.square((y - mu) / aux[0]) / k)

    auxiliaries = (Auxiliary("sigma", "log", _sigma), Auxiliary("nu", "log", lambda y, mu, weights: START_NU))
    return Family(
        name="student_t",
        support=Support(-np.inf, np.inf, True, True, False, "a real number"),
        links=("identity", "log", "inverse"),
        variance=variance,
        unit_deviance=unit_deviance,
        initial_mean=lambda y, weights: np.array(y, dtype=float),
        auxiliaries=auxiliaries if nu is None else auxiliaries[:1],
        dispersion=lambda aux: aux[0],
        kernel=kernel,
        distribution=distribution,
        options={} if nu is None else {"nu": nu},
        exponential=False,
    )
