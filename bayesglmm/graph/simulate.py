"""New responses from a family's own PyMC distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Family
from bayesglmm.graph.rows import row_distribution
from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]


def draw_family(
    family: Family,
    link: Link,
    eta: Floats,
    psi: Floats,
    trials: Any,
    weights: Floats | None,
    rng: np.random.Generator,
) -> Floats:
    """One response per linear predictor.

    Parameters
    ----------
    family : Family
        A family with a likelihood.
    link : Link
        Its link.
    eta : ndarray, shape (draws, n)
        Linear predictors.
    psi : ndarray, shape (draws, n_aux), or (n_aux, draws, n)
        Auxiliaries, unconstrained; one value per row where they have linear predictors.
    trials : array_like or None
        Binomial denominators.
    weights : ndarray, shape (n,), or None
        Prior weights; they act where they scale the dispersion.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (draws, n)
    """
    import pymc as pm
    import pytensor.tensor as pt

    by_name = psi if psi.ndim == 3 else psi.T[:, :, None]
    aux = {
        a.name: pt.as_tensor(np.asarray(get_link(a.link).mean(own), dtype=float))
        for a, own in zip(family.auxiliaries, by_name)
    }
    linear = pt.as_tensor(eta)
    trials = None if trials is None else np.broadcast_to(np.asarray(trials, dtype=float), eta.shape)
    w = None if weights is None else np.broadcast_to(weights, eta.shape)
    response = row_distribution(family, link, linear, aux, trials, w)
    # The draw is one vectorised numpy call per node of a tiny graph: compiling it would cost more than it saves.
    return np.asarray(pm.draw(response, random_seed=rng, mode="FAST_COMPILE"), dtype=float)
