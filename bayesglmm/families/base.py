"""What a family is: one row of facts, with the places its numbers come from.

A family file builds one :class:`Family`. The mean is μ = g⁻¹(η); for the binomial it is the mean *proportion*,
with the trials acting as weights. The extra parameters of a likelihood (residual sd, shape) are its
*auxiliaries*; everywhere in the engines they are on an unconstrained scale ψ (``Auxiliary.link``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import mapping, optional
from bayesglmm.errors import FamilyError

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


def unknown_moments(*arguments: Any) -> Any:
    """Stand in for the variance and the deviance of a family that states neither.

    Raises
    ------
    FamilyError
        Always.
    """
    raise FamilyError(
        "a family made from a PyMC distribution states no variance function and no deviance: use a method and a "
        "residual that need only the likelihood (laplace, agq, map, mcmc; residuals 'response' or 'quantile')."
    )


class Profile(NamedTuple):
    """An auxiliary that methods built on mean and variance hold fixed, and find by profile likelihood.

    `at` makes the family with the auxiliary `parameter` fixed at a value between `low` and `high`.
    """

    parameter: str
    at: Callable[[float], Family]
    low: float
    high: float


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
    exponential : bool
        Whether scoring with weights μ'²/V solves the likelihood equations given the auxiliaries: true of exponential
        dispersion families, and by definition of quasi-families. Where it is False, methods built on mean and
        variance alone (irls, gee, pql, mql) do not apply; `variance` is then still the variance, if known.
    profile : Profile or None
        An auxiliary of the variance function that irls estimates by profile likelihood (the power of Tweedie).
    expectation : callable or None
        (mu, aux) → E(y) where μ, the mean that the link models, is not it (zero inflation, hurdles).
    trials_variance : callable or None
        (trials, aux) → factor by which the variance of a proportion out of that many trials exceeds V(μ)/trials
        (beta-binomial).
    adapt : callable or None
        (response, link) → the family for that response, where its auxiliaries depend on the data (the number of
        ordered categories). None where nothing depends on them.
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
    exponential: bool = True
    profile: Profile | None = None
    expectation: Callable[[Floats, tuple[float, ...]], Floats] | None = None
    trials_variance: Callable[[Floats, tuple[float, ...]], Floats] | None = None
    adapt: Callable[[Any, Any], Family] | None = None

    @classmethod
    def from_pymc(
        cls,
        name: str,
        builder: Callable[..., Any],
        link: str = "identity",
        auxiliaries: Mapping[str, str] | None = None,
    ) -> Family:
        """A family whose likelihood is any PyMC distribution.

        Its kernel comes from the PyMC graph by automatic differentiation.

        Parameters
        ----------
        name : str
            What to call it.
        builder : callable
            ``builder(mu, **auxiliaries)`` → PyMC distribution (``.dist(...)``). The names of its parameters after
            the first, those with a default left out, are the auxiliaries.
        link : str
            Name of the link of μ.
        auxiliaries : mapping of str to str, optional
            Name → link that makes it unconstrained. Those not named get ``"log"``: they are positive.

        Returns
        -------
        Family

        Raises
        ------
        FamilyError
            For a builder whose parameters cannot be read, or auxiliaries that it does not take.

        Examples
        --------
        >>> Family.from_pymc("student4", lambda mu, sigma: pm.StudentT.dist(nu=4, mu=mu, sigma=sigma)).links
        ('identity',)
        """
        from bayesglmm.families.brought import family_from_builder

        given = optional(mapping)("auxiliaries", auxiliaries)
        return family_from_builder(cls, name, builder, link, dict(given or {}))
