"""What a link is."""

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
        Values of η for which the inverse is defined and one-to-one, as (low, high). A family may allow less:
        see :func:`bayesglmm.families.eta_domain`.
    third : callable, optional
        η → d³μ/dη³. A link without it has no closed-form kernel (the PyMC graph serves instead).
    complement : callable, optional
        η → 1 − μ without cancellation, for links whose mean is a proportion.
    """

    name: str
    eta: Callable[[Floats], Floats]
    mean: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    curvature: Callable[[Floats], Floats]
    symbolic: Callable[..., object]
    domain: tuple[float, float] = (-np.inf, np.inf)
    third: Callable[[Floats], Floats] | None = None
    complement: Callable[[Floats], Floats] | None = None
