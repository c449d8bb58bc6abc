"""The distribution of the rows given the linear predictor: where a family's PyMC distribution is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymc as pm
import pytensor.tensor as pt

from bayesglmm.families.base import Family
from bayesglmm.links import Link


def row_distribution(
    family: Family, link: Link, eta: Any, aux: Mapping[str, Any], trials: Any = None, weights: Any = None
) -> Any:
    """Unnamed PyMC distribution of the responses.

    Parameters
    ----------
    family, link : Family, Link
        The likelihood.
    eta : tensor
        Linear predictors.
    aux : mapping
        Auxiliaries by name, natural scale.
    trials : array_like or None
        Binomial denominators.
    weights : array_like or None
        Prior weights; passed on where they scale the dispersion, and left to the caller where they multiply the
        log-density (``family.weighted == "power"``).

    Returns
    -------
    tensor
        A ``.dist()`` variable of the shape of `eta`.
    """
    assert family.distribution is not None
    stable = eta if link.name == family.links[0] else None
    inside = weights if family.weighted == "scale" else None
    return family.distribution(pm, stable, link.symbolic(pt, eta), aux, trials, inside)
