"""Link functions: η = g(μ) and its inverse with derivatives, as functions of η (never of a clipped μ)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """One link.

    Parameters
    ----------
    name : str
        As typed by the user.
    eta : callable
        μ → η.
    mean : callable
        η → μ.
    slope : callable
        η → dμ/dη.
    curvature : callable
        η → d²μ/dη².
    symbolic : callable
        (pytensor.tensor module, η tensor) → μ tensor.
    domain : tuple of float
        Values of η for which μ is in the family's mean range, as (low, high).
    """

    name: str
    eta: Callable[[Floats], Floats]
    mean: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    curvature: Callable[[Floats], Floats]
    symbolic: Callable[..., object]
    domain: tuple[float, float] = (-np.inf, np.inf)
