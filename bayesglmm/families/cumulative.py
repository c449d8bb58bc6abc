"""Cumulative family for an ordered categorical response (proportional odds for the logit link).

McCullagh (1980), Journal of the Royal Statistical Society B 42, 109-142. P(y > k) = G(η − τ_k) with G the inverse
link, so that two categories give the binomial. The design's intercept stands for the first threshold: τ_0 = 0.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError, FamilyError
from bayesglmm.families.base import Auxiliary, Family, KernelFactory, Support, unknown_moments
from bayesglmm.families.beta import LINKS
from bayesglmm.families.check import ResponseLike
from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]


def Cumulative(levels: int | None = None) -> Family:
    """Cumulative-link family.

    Parameters
    ----------
    levels : int, optional
        Number of categories K ≥ 2. Left out, it is read from the response by ``Family.adapt``.

    Returns
    -------
    Family
        With K − 2 auxiliaries ``gap_1``, …: the distances between thresholds.

    Raises
    ------
    FamilyError
        For a number of levels below 2.

    Examples
    --------
    >>> [a.name for a in Cumulative(levels=4).auxiliaries]
    ['gap_1', 'gap_2']
    """
    if levels is not None and not (isinstance(levels, int) and levels >= 2):
        raise FamilyError(f"levels = {levels!r}; a whole number of at least 2 is expected.")
    return _cumulative(levels, "logit")


def category_probabilities(link: Link, eta: Floats, gaps: tuple[Any, ...]) -> Floats:
    """Probability of every category.

    Parameters
    ----------
    link : Link
        Of the cumulative probabilities.
    eta : ndarray, shape (..., n)
        Linear predictors.
    gaps : tuple of float or ndarray
        Distances between thresholds, each broadcasting against `eta`.

    Returns
    -------
    ndarray, shape (..., n, K)

    Examples
    --------
    >>> category_probabilities(get_link("logit"), np.array([0.0]), (1.0,)).round(3)
    array([[0.5  , 0.231, 0.269]])
    """
    above = [np.ones(np.shape(eta))]
    threshold: Any = 0.0
    for gap in (0.0, *gaps):
        threshold = threshold + gap
        above.append(link.mean(eta - threshold))
    above.append(np.zeros(np.shape(eta)))
    return -np.diff(np.stack(np.broadcast_arrays(*above), axis=-1), axis=-1)


def _adapt(response: ResponseLike, link: Link) -> Family:
    """The family for a response's levels, with the chosen link as its usual one."""
    if response.levels is None or len(response.levels) < 2:
        raise DataError(
            f"family 'cumulative' takes an ordered response of two or more levels; {response.name!r} is not."
        )
    return _cumulative(len(response.levels), link.name)


@lru_cache(maxsize=64)
def _cumulative(levels: int | None, link: str) -> Family:
    def kernel(name: str) -> KernelFactory | None:
        from bayesglmm.families.kernels.ordinal import factory

        return None if levels is None else factory(name, levels)

    def distribution(pm: Any, eta: Any, mu: Any, aux: Any, trials: Any, weights: Any) -> Any:
        if eta is None or levels is None:
            raise FamilyError("the cumulative family was not adapted to its response and link.")
        pt, inverse = pm.math.pt, get_link(link)
        tau = [pt.zeros_like(eta)]
        for j in range(1, levels - 1):
            tau.append(tau[-1] + aux[f"gap_{j}"])
        above = [pt.ones_like(eta), *(inverse.symbolic(pt, eta - t) for t in tau), pt.zeros_like(eta)]
        return pm.Categorical.dist(p=pt.stack([a - b for a, b in pairwise(above)], axis=-1))

    count = 0 if levels is None else levels - 2
    gaps = tuple(Auxiliary(f"gap_{j}", "log", lambda y, mu, weights: 1.0) for j in range(1, count + 1))
    return Family(
        name="cumulative",
        support=Support(0.0, np.inf, False, True, True, "an ordered categorical response"),
        links=(link, *(name for name in LINKS if name != link)),
        variance=unknown_moments,
        unit_deviance=unknown_moments,
        initial_mean=lambda y, weights: np.where(y > 0.0, 0.75, 0.25),
        auxiliaries=gaps,
        kernel=kernel,
        distribution=distribution,
        options={} if levels is None else {"levels": levels},
        mean_range=(0.0, 1.0),
        categories="ordered",
        exponential=False,
        adapt=_adapt,
    )
