"""Wishart priors of the covariance matrix Σ of one term's random effects: of its precision Σ⁻¹, or of Σ itself.

With W ~ Wishart(ν, S) of mean νS (as in SciPy; INLA and BUGS write S = R⁻¹) and q columns,

    log p(W) = (ν − q − 1)/2 log|W| − ½ tr(S⁻¹W) − νq/2 log 2 − ν/2 log|S| − log Γ_q(ν/2).

W = Σ⁻¹ brings the Jacobian |Σ|^−(q + 1), and Σ = LL' brings 2^q Π_i L_ii^(q − i), i = 0 … q − 1: θ of an
unstructured term is the packed L (Muirhead 1982, Aspects of Multivariate Statistical Theory, theorems 2.1.8, 2.1.9).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import multigammaln

from bayesglmm.errors import SpecError

if TYPE_CHECKING:
    from bayesglmm.priors.prior import Prior

Floats = NDArray[np.float64]

WISHART, INVERSE = "Wishart", "InverseWishart"
#: Priors of a whole covariance matrix.
NAMES = (WISHART, INVERSE)
#: Their parameters.
PARAMETERS = ("df", "scale")


class Law(NamedTuple):
    """Wishart(df, scale) of Σ⁻¹ (`of_precision`) or of Σ; scale is (q, q)."""

    of_precision: bool
    df: float
    scale: Floats


def law(prior: Prior) -> Law:
    """What a prior of a size says of a covariance matrix; Σ ~ InverseWishart(ν, Ψ) is Σ⁻¹ ~ Wishart(ν, Ψ⁻¹)."""
    values = dict(prior.params)
    scale = _square(values["scale"])
    if prior.name == INVERSE:
        return Law(True, values["df"], np.linalg.inv(scale))
    return Law(prior.on == "precision", values["df"], scale)


def checked_parameters(name: str, on: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Degrees of freedom, and a scale as a number, a tuple (a diagonal) or a tuple of rows.

    Raises
    ------
    SpecError
        Numbers that are none, a scale that is not symmetric and positive definite, a scale of the parameter that does
        not go with the distribution.
    """
    df = params["df"]
    if isinstance(df, bool) or not isinstance(df, int | float | np.number) or not 0 < df < np.inf:
        raise SpecError(f"df of {name} is {df!r}; a positive number is expected.")
    try:
        scale = np.asarray(params["scale"], dtype=float)
    except (TypeError, ValueError):
        scale = np.empty((0, 1))
    square = scale.ndim < 2 or (scale.ndim == 2 and scale.shape[0] == scale.shape[1])
    if not square or scale.size == 0 or not np.isfinite(scale).all():
        raise SpecError(
            f"scale of {name} is {params['scale']!r}; a positive number, a list of them (a diagonal) or a square "
            "matrix is expected."
        )
    full = _square(scale)
    if not np.allclose(full, full.T, rtol=1e-10, atol=0.0) or np.linalg.eigvalsh(full)[0] <= 0:
        raise SpecError(f"scale of {name} is {scale.tolist()}; it must be symmetric and positive definite.")
    if on not in (("value", "precision") if name == WISHART else ("value",)):
        raise SpecError(
            f"{name} is stated on the {on}; Wishart can be on the 'precision' or on the covariance itself ('value'), "
            "InverseWishart on the covariance itself."
        )
    return {"df": float(df), "scale": _tuples(scale.tolist())}


def _tuples(x: Any) -> Any:
    return tuple(map(_tuples, x)) if isinstance(x, list) else x


def _square(scale: Any) -> Floats:
    scale = np.atleast_1d(np.asarray(scale, dtype=float))
    return scale if scale.ndim == 2 else np.diag(scale)


def of_size(prior: Prior, q: int, target: str) -> Prior:
    """The same prior, of q × q matrices: a scale that is one number is repeated.

    Raises
    ------
    SpecError
        A scale of another size, or too few degrees of freedom for the distribution to exist.
    """
    values = dict(prior.params)
    shape = np.shape(values["scale"])
    if shape and shape[0] != q:
        raise SpecError(
            f"the scale of the prior of {target!r} is {' x '.join(map(str, shape))}; the term has {q} columns: give "
            f"a {q} x {q} matrix, {q} numbers (its diagonal), or one number (times the identity)."
        )
    if values["df"] <= q - 1:
        raise SpecError(
            f"df of the prior of {target!r} is {values['df']:g}; with {q} columns it must be above {q - 1}, such as "
            f"{q + 1}."
        )
    return prior if shape else type(prior)(prior.name, on=prior.on, df=values["df"], scale=(values["scale"],) * q)


def log_normaliser(own: Law) -> float:
    """The terms of the log-density of W that do not depend on it."""
    q = len(own.scale)
    log_det = np.linalg.slogdet(own.scale)[1]
    return float(-0.5 * own.df * (q * np.log(2.0) + log_det) - multigammaln(0.5 * own.df, q))


def exponents(own: Law) -> Floats:
    """Powers of the diagonal of L in the density of L."""
    q = len(own.scale)
    of_log_det = own.df - q - 1.0 if not own.of_precision else -(own.df + q + 1.0)
    return np.asarray(of_log_det + q - np.arange(q), dtype=float)


def factor_density(prior: Prior, theta: Floats) -> tuple[float, Floats]:
    """Log-density of the packed Cholesky factor L of Σ, and its gradient."""
    own = law(prior)
    q = len(own.scale)
    rows = np.tril_indices(q)
    L = np.zeros((q, q))
    L[rows] = theta
    diagonal, order = np.diag(L), np.arange(q)
    if np.any(diagonal <= 0):
        return -np.inf, np.zeros(len(theta))
    power = exponents(own)
    inner = np.linalg.inv(own.scale)
    if own.of_precision:
        inverse = np.linalg.solve(L, np.eye(q))  # tr(S⁻¹Σ⁻¹) = tr(L⁻¹S⁻¹L⁻ᵀ)
        middle = inverse @ inner @ inverse.T
        trace, pull = np.trace(middle), inverse.T @ middle
    else:
        trace, pull = np.sum(L * (inner @ L)), -inner @ L
    value = log_normaliser(own) + q * np.log(2.0) + power @ np.log(diagonal) - 0.5 * trace
    grad = pull
    grad[order, order] += power / diagonal
    return float(value), grad[rows]


def natural_density(prior: Prior, sd: Floats, corr: Floats) -> Floats:
    """Log-density over (sds, correlations), shape (...): that of Σ times 2^q Π s_i^q."""
    own = law(prior)
    q = len(own.scale)
    log_det = np.linalg.slogdet(corr)[1] + 2.0 * np.log(sd).sum(axis=-1)
    inner = np.linalg.inv(own.scale)
    cov = sd[..., :, None] * corr * sd[..., None, :]
    if own.of_precision:
        trace = np.trace(np.linalg.solve(cov, np.broadcast_to(inner, cov.shape)), axis1=-2, axis2=-1)
        half = -0.5 * (own.df + q + 1.0)
    else:
        trace, half = np.sum(inner * cov, axis=(-2, -1)), 0.5 * (own.df - q - 1.0)
    slope = q * (np.log(2.0) + np.log(sd).sum(axis=-1))
    return np.asarray(log_normaliser(own) + half * log_det - 0.5 * trace + slope)


def bartlett(own: Law) -> tuple[Floats, Floats]:
    """A triangular root R of S, and degrees of freedom of the chi-squares on the diagonal of A: W = (RA)(RA)'.

    Both are upper triangular for a precision (then Σ = LL' with L = (RA)⁻ᵀ lower), lower for a covariance (L = RA).
    """
    q = len(own.scale)
    degrees = np.asarray(own.df - np.arange(q), dtype=float)
    if not own.of_precision:
        return np.linalg.cholesky(own.scale), degrees
    return np.linalg.cholesky(own.scale[::-1, ::-1])[::-1, ::-1], degrees[::-1]


def draw_factors(prior: Prior, rng: np.random.Generator, count: int) -> Floats:
    """Cholesky factors of covariance matrices, shape (count, q, q), by Bartlett's decomposition."""
    own = law(prior)
    q = len(own.scale)
    root, degrees = bartlett(own)
    normal = rng.standard_normal((count, q, q))
    A = np.triu(normal, 1) if own.of_precision else np.tril(normal, -1)
    order = np.arange(q)
    A[:, order, order] = np.sqrt(rng.chisquare(degrees, (count, q)))
    RA = root @ A
    return np.swapaxes(np.linalg.solve(RA, np.broadcast_to(np.eye(q), RA.shape)), 1, 2) if own.of_precision else RA
