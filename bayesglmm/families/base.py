"""What a family is: one row of facts, with the places its numbers come from.

A family file builds one :class:`Family`. The mean is μ = g⁻¹(η); for the binomial it is the mean *proportion*,
with the trials acting as weights. The extra parameters of a likelihood (residual sd, shape) are its
*auxiliaries*; everywhere in the engines they are on an unconstrained scale ψ (``Auxiliary.link``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Derivatives(NamedTuple):
    """Log-density and its first three derivatives in η, each of η's shape."""

    value: Floats
    d1: Floats
    d2: Floats
    d3: Floats


class AuxDerivatives(NamedTuple):
    """∂ψ_j of the log-density, of its first and of its second η-derivative; each shape (n_aux, *η.shape)."""

    value: Floats
    d1: Floats
    d2: Floats


class BoundKernel(Protocol):
    """A log-density per row as a function of η and ψ, with the data and its constants bound.

    `eta` has shape (..., n): leading axes are quadrature nodes or draws. `psi` has shape (n_aux,) or
    (n_aux, n) (one value per row, for dispersion models). Values keep every normalising constant. All of it is
    finite for \\|η\\| ≤ 700 wherever the exact value is representable.
    """

    @property
    def n_aux(self) -> int:
        """Number of auxiliaries."""
        ...

    def derivatives(self, eta: Floats, psi: Floats) -> Derivatives:
        """Value and three η-derivatives."""
        ...

    def aux_derivatives(self, eta: Floats, psi: Floats) -> AuxDerivatives:
        """ψ-derivatives of value, d1 and d2 (empty first axis when there are no auxiliaries)."""
        ...

    def expected_weight(self, eta: Floats, psi: Floats) -> Floats:
        """Expected −d2 (Fisher information in η), always ≥ 0."""
        ...

    def subset(self, rows: NDArray[np.int64]) -> BoundKernel:
        """The same kernel on some of the rows."""
        ...


#: (y, trials or None, weights or None) → BoundKernel
KernelFactory = Callable[[Floats, Floats | None, Floats | None], BoundKernel]


@dataclass(frozen=True)
class Support:
    """Where the response may lie.

    Parameters
    ----------
    low, high : float
        Ends of the interval (may be infinite).
    low_open, high_open : bool
        Whether the end itself is excluded.
    integer : bool
        Whether only whole numbers are allowed.
    words : str
        How an error message says it, e.g. ``"a count: 0, 1, 2, ..."``.
    """

    low: float
    high: float
    low_open: bool
    high_open: bool
    integer: bool
    words: str


@dataclass(frozen=True)
class Auxiliary:
    """An extra parameter of the likelihood.

    Parameters
    ----------
    name : str
        Its name in tables and in the graph: ``"sigma"``, ``"theta"``, ``"shape"``.
    link : str
        Name of the link that makes it unconstrained: ``"log"`` (positive), ``"logit"``, ``"identity"``.
    start : callable
        (y, mu, weights) → a rough value to start from, natural scale.
    """

    name: str
    link: str
    start: Callable[[Floats, Floats, Floats], float]


@dataclass(frozen=True)
class Family:
    """One family of response distributions (or, for a quasi-family, a mean-variance relation).

    Parameters
    ----------
    name : str
        As typed by the user.
    support : Support
        Allowed responses under the likelihood.
    links : tuple of str
        Names of the links that make sense; the first is the default.
    variance : callable
        (mu, aux) → V(μ), with Var(y_i) = φ V(μ_i) / w_i; `aux` is the tuple of auxiliary values, natural scale.
    unit_deviance : callable
        (y, mu, aux) → d_i; the deviance is Σ w_i d_i.
    initial_mean : callable
        (y, weights) → starting μ strictly inside the mean's range.
    auxiliaries : tuple of Auxiliary
        Parameters of the likelihood beyond the mean.
    scale : float or None
        φ where the family fixes it (binomial, Poisson, NB: 1.0), None where it is estimated.
    dispersion : callable or None
        (aux) → the number ``fit.dispersion`` shows for a likelihood fit (gaussian σ², gamma φ = 1/shape, NB θ).
    kernel : callable or None
        link name → KernelFactory, or None when there is no closed form for that link (then the graph serves).
        None altogether for a quasi-family.
    distribution : callable or None
        ``(pm, eta, mu, aux, trials, weights) → PyMC distribution`` (``.dist()``); `pm` is the pymc module, so
        that a family row needs no import of it. `eta` is the linear predictor when the link is the family's default
        (``links[0]``), so that a stabler parameterisation can be used (``logit_p=eta``), and None for any other
        link: use `mu` then. `aux` maps names to tensors. None for a quasi-family.
    weighted : str
        What prior weights do to the likelihood: ``"scale"`` (they divide φ inside `distribution`, as in
        gaussian and gamma) or ``"power"`` (they multiply the log-density).
    quasi : bool
        Only mean and variance are assumed; there is no likelihood.
    options : mapping
        Values the family was built with (a fixed theta, a power), for printing.
    mean_range : tuple of float
        Where the mean may lie, as an open interval (low, high).
    trials : bool
        Whether the response may be ``p(successes, trials)``; the mean is then a proportion.
    categories : str
        Whether a categorical response is allowed: ``"none"``, ``"two"`` (its second level is a success) or
        ``"ordered"``.
    """

    name: str
    support: Support
    links: tuple[str, ...]
    variance: Callable[[Floats, tuple[float, ...]], Floats]
    unit_deviance: Callable[[Floats, Floats, tuple[float, ...]], Floats]
    initial_mean: Callable[[Floats, Floats], Floats]
    auxiliaries: tuple[Auxiliary, ...] = ()
    scale: float | None = 1.0
    dispersion: Callable[[tuple[float, ...]], float] | None = None
    kernel: Callable[[str], KernelFactory | None] | None = None
    distribution: Callable[..., Any] | None = None
    weighted: str = "power"
    quasi: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    mean_range: tuple[float, float] = (-np.inf, np.inf)
    trials: bool = False
    categories: str = "none"
