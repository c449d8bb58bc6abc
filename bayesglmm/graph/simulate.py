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
    """One response per linear predictor, shape (draws, n), by PyMC.

    The arguments are those of :func:`bayesglmm.simulate.draw_rows`, which comes here for families whose distribution
    NumPy does not have.
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
