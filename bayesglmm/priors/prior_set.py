"""The priors of a whole model, one per parameter, and their joint log-density with exact gradient.

Coordinates. The density is over β, over θ in the natural coordinates of :mod:`bayesglmm.covariance`, and over the
unconstrained ψ. For an unstructured term θ is the packed Cholesky factor L = diag(s) C of the covariance: priors
on the sds s and LKJ(η) on the correlation matrix R = CC' become

    log p(L) = Σ log p(s_i) + log c(η, q) + Σ_i (2η − 2 + q − i) log(L_ii / s_i) − Σ_i i log s_i,   i = 0 … q − 1,

with the Jacobians of (s, R) → Σ → L, and c of Lewandowski, Kurowicka & Joe (2009), eq. 16. This is the density of
PyMC's ``LKJCholeskyCov``. A Wishart prior of the whole covariance matrix: :mod:`bayesglmm.priors.wishart`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from bayesglmm.links import Link, get_link
from bayesglmm.priors.heights import Density, Height, density_of
from bayesglmm.priors.prior import Batch, Prior, batches, evaluate
from bayesglmm.priors.wishart import factor_density

if TYPE_CHECKING:
    import pandas as pd

    from bayesglmm.covariance import BlockCovariance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TermPriors:
    """Priors of one random term's covariance.

    Parameters
    ----------
    scales : tuple of Prior
        One per standard deviation.
    correlation : Prior or None
        ``LKJ`` for a correlation matrix, a univariate prior for a single correlation, None without any.
    scale_names, correlation_name : tuple of str, str
        How tables and errors call them.
    covariance : Prior or None
        ``Wishart`` or ``InverseWishart`` of the whole matrix; sds and correlation then have none of their own.
    covariance_name : str
        How tables and errors call it.
    """

    scales: tuple[Prior, ...]
    correlation: Prior | None
    scale_names: tuple[str, ...]
    correlation_name: str = ""
    covariance: Prior | None = None
    covariance_name: str = ""

    @property
    def is_cholesky(self) -> bool:
        """Whether θ of the term is a packed Cholesky factor, under an LKJ or a Wishart prior."""
        return self.covariance is not None or (self.correlation is not None and self.correlation.name == "LKJ")

    @cached_property
    def parts(self) -> tuple[Batch, ...]:
        """Univariate densities: of the sds, then (for a single correlation) of the correlation."""
        last = () if self.correlation is None or self.is_cholesky else (self.correlation,)
        return batches((*self.scales, *last))


@dataclass(frozen=True)
class PriorSet:
    """The priors of a model.

    Parameters
    ----------
    columns : tuple of str
        Names of the coefficients.
    coefficients : tuple of Prior
        One per coefficient.
    blocks : tuple of tuple of TermPriors
        Per grouping factor, per term.
    auxiliary_names : tuple of str
        Names of the family's auxiliaries.
    auxiliaries : tuple of Prior
        One per auxiliary, on its natural scale.
    heights, auxiliary_heights : tuple of Height
        For the coefficients, and for coefficients of auxiliaries' own linear predictors: the Intercepts whose priors
        are of the line's height at the columns' means.
    """

    columns: tuple[str, ...]
    coefficients: tuple[Prior, ...]
    blocks: tuple[tuple[TermPriors, ...], ...] = ()
    auxiliary_names: tuple[str, ...] = ()
    auxiliaries: tuple[Prior, ...] = ()
    heights: tuple[Height, ...] = ()
    auxiliary_heights: tuple[Height, ...] = ()

    def items(self) -> tuple[tuple[str, Prior], ...]:
        """Parameter names and their priors, in table order."""
        out = list(zip(self.columns, self.coefficients))
        for term in (t for block in self.blocks for t in block):
            out += zip(term.scale_names, term.scales)
            if term.correlation is not None:
                out.append((term.correlation_name, term.correlation))
            if term.covariance is not None:
                out.append((term.covariance_name, term.covariance))
        return (*out, *zip(self.auxiliary_names, self.auxiliaries))

    def table(self) -> pd.DataFrame:
        """One row per parameter: its prior, printed."""
        import pandas as pd

        names, priors = zip(*self.items()) if self.items() else ((), ())
        return pd.DataFrame({"prior": [str(p) for p in priors]}, index=pd.Index(names, name="parameter", dtype=object))

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.items()), default=0)
        return "\n".join(f"{name:<{width}}  {prior}" for name, prior in self.items())

    @cached_property
    def coefficient_density(self) -> Density:
        """The coefficients' density."""
        return density_of(self.coefficients, self.heights)

    @cached_property
    def auxiliary_density(self) -> Density:
        """The auxiliaries' density, on their natural scales."""
        return density_of(self.auxiliaries, self.auxiliary_heights)

    def with_coefficients(self, columns: tuple[str, ...], priors: tuple[Prior, ...]) -> PriorSet:
        """The same with other coefficients, or none, independent of each other."""
        return replace(self, columns=columns, coefficients=priors, heights=())


def log_prior(
    priors: PriorSet,
    covariance: Sequence[BlockCovariance],
    beta: Floats,
    theta: Floats,
    psi: Floats,
    aux_links: Sequence[str | Link],
) -> tuple[float, Floats, Floats, Floats]:
    """Joint log prior density over (β, natural θ, unconstrained ψ), and its gradient.

    Parameters
    ----------
    priors : PriorSet
        One prior per parameter.
    covariance : sequence of BlockCovariance
        The model's covariance maps, in the order of θ.
    beta, theta, psi : ndarray
        The point: coefficients, covariance parameters (natural), auxiliaries (unconstrained).
    aux_links : sequence of str or Link
        Links of the auxiliaries; the Jacobian of ψ → natural scale is included.

    Returns
    -------
    value : float
        −inf outside the support of any prior.
    grad_beta, grad_theta, grad_psi : ndarray
        Exact gradient (zero entries where the value is −inf for that entry).
    """
    values, grad_beta = priors.coefficient_density(beta)
    value = float(values.sum())
    grad_theta = np.zeros(len(theta))
    start = 0
    for block, cov in zip(priors.blocks, covariance):
        for term, where in zip(block, cov.slices):
            here = slice(start + where.start, start + where.stop)
            density = cholesky_density if term.is_cholesky else _independent_density
            v, grad_theta[here] = density(term, theta[here])
            value += v
        start += cov.n_params
    if len(psi) == 0:
        return value, grad_beta, grad_theta, np.zeros(0)
    v, grad_psi = _auxiliary_density(priors, psi, aux_links)
    return value + v, grad_beta, grad_theta, grad_psi


def _independent_density(term: TermPriors, theta: Floats) -> tuple[float, Floats]:
    values, slope = evaluate(term.parts, theta)
    return float(values.sum()), slope


def cholesky_density(term: TermPriors, theta: Floats) -> tuple[float, Floats]:
    """Density of the packed Cholesky factor; see the module docstring."""
    if term.covariance is not None:
        return factor_density(term.covariance, theta)
    assert term.correlation is not None
    eta = term.correlation.params[0][1]
    q = len(term.scales)
    rows = np.tril_indices(q)
    L = np.zeros((q, q))
    L[rows] = theta
    diagonal, order = np.diag(L), np.arange(q)
    if np.any(diagonal <= 0):
        return -np.inf, np.zeros(len(theta))
    sd = np.sqrt(np.sum(L * L, axis=1))
    values, slope = evaluate(term.parts, sd)
    exponent = 2.0 * eta - 2.0 + q - order
    value = values.sum() + lkj_constant(eta, q) + exponent @ np.log(diagonal / sd) - order @ np.log(sd)
    # d sd_i / d L_ij = L_ij / sd_i
    grad = ((slope - (exponent + order) / sd) / sd)[:, None] * L
    grad[order, order] += exponent / diagonal
    return float(value), grad[rows]


@cache
def lkj_constant(eta: float, q: int) -> float:
    """Log of the normalising constant of the LKJ density of a q × q correlation matrix.

    Lewandowski, Kurowicka & Joe (2009), eq. 16: ∫ det(R)^(η − 1) dR = Π_k 2^((2η−2+q−k)(q−k)) B(…)^(q−k).
    """
    k = np.arange(1, q)
    half = eta + 0.5 * (q - k - 1)
    return -float(np.sum((2.0 * eta - 2.0 + q - k) * (q - k) * np.log(2.0) + (q - k) * betaln(half, half)))


def _auxiliary_density(priors: PriorSet, psi: Floats, aux_links: Sequence[str | Link]) -> tuple[float, Floats]:
    links = [get_link(a) for a in aux_links]
    natural = np.array([float(link.mean(v)) for link, v in zip(links, psi)])
    slope = np.array([float(link.slope(v)) for link, v in zip(links, psi)])
    curvature = np.array([float(link.curvature(v)) for link, v in zip(links, psi)])
    values, grad = priors.auxiliary_density(natural)
    return float(values.sum() + np.log(np.abs(slope)).sum()), grad * slope + curvature / slope
