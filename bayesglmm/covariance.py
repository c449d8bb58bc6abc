"""Covariance of the random effects of one grouping factor: from parameters θ to the factor Λ, and back.

For each level b = Λ u with u standardised, so Cov(b) = ΛΛ'. A *form* says what θ means for one term; a
:class:`BlockCovariance` puts the forms of a grouping factor's terms on the diagonal of one Λ. With a known
covariance K between levels, u ~ N(0, K ⊗ I) instead of N(0, I); Λ is untouched.

Coordinates. θ is kept in *natural* coordinates (entries of Λ, sds, correlations). Optimisers and samplers move
in *working* coordinates: a correlation is always mapped from its interval to the line; a scale is logged for a
posterior (the coordinates PyMC samples in), but left as it is for maximum likelihood, where a zero variance is
an ordinary stationary point of a function that is even in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import RandomBlock, Term
from bayesglmm.errors import DataError, MethodError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinate:
    """How one entry of θ may move: a ``"scale"`` (> 0), ``"free"``, or an ``"interval"`` (low, high).

    A scale is `even` when changing its sign is the same as changing the signs of u: the likelihood then goes on
    smoothly through zero. Where it is not (the sds of ``cs``) zero is an edge, and optimisers take its logarithm.
    """

    kind: str
    low: float = -np.inf
    high: float = np.inf
    even: bool = True

    def logged(self, log_scales: bool) -> bool:
        """Whether its working coordinate is its logarithm."""
        return self.kind == "scale" and (log_scales or not self.even)


@dataclass(frozen=True)
class Form:
    """A covariance form of one term with q columns.

    Parameters
    ----------
    name : str
        As typed by the user.
    coordinates : callable
        q → tuple of Coordinate, one per entry of θ.
    factor : callable
        (theta, q) → Λ, lower triangular, shape (q, q).
    pullback : callable
        (theta, q, G) → gradient in θ, where G holds ∂f/∂Λ on the lower triangle.
    from_sd_corr : callable
        (sd, corr) → θ; the inverse of Λ → (sds, correlations) where the form can express them.
    canonical : callable
        (theta, q) → the θ with non-negative scales that means the same covariance.
    """

    name: str
    coordinates: Callable[[int], tuple[Coordinate, ...]]
    factor: Callable[[Floats, int], Floats]
    pullback: Callable[[Floats, int, Floats], Floats]
    from_sd_corr: Callable[[Floats, Floats], Floats]
    canonical: Callable[[Floats, int], Floats]


_tril = cache(np.tril_indices)

SCALE = Coordinate("scale")
FREE = Coordinate("free")


# --- unstructured: θ is the lower triangle of Λ, row by row (the packing of PyMC's LKJCholeskyCov) ---------


def _unstructured_coordinates(q: int) -> tuple[Coordinate, ...]:
    return tuple(SCALE if i == j else FREE for i in range(q) for j in range(i + 1))


def _unstructured_factor(theta: Floats, q: int) -> Floats:
    L = np.zeros((q, q))
    L[_tril(q)] = theta
    return L


def _unstructured_pullback(theta: Floats, q: int, G: Floats) -> Floats:
    return G[_tril(q)]


def _unstructured_from(sd: Floats, corr: Floats) -> Floats:
    q = len(sd)
    # A correlation of exactly ±1 is a legitimate (singular) estimate: factor it without failing.
    values, vectors = np.linalg.eigh(corr)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    L = np.linalg.qr(root.T, mode="r").T
    L = L * np.where(np.diag(L) < 0, -1.0, 1.0)
    return (sd[:, None] * L)[_tril(q)]


def _unstructured_canonical(theta: Floats, q: int) -> Floats:
    L = _unstructured_factor(theta, q)
    # A zero on the diagonal leaves a rotation of its column with the next one free: pass the zero on to the last
    # column. Emptying this one instead would hide the direction in which its own row may still grow.
    for c in range(q - 1):
        if L[c, c] == 0.0 and L[c + 1, c + 1] != 0.0:
            radius = np.hypot(L[c + 1, c], L[c + 1, c + 1])
            cos, sin = L[c + 1, c] / radius, L[c + 1, c + 1] / radius
            L[:, c], L[:, c + 1] = cos * L[:, c] + sin * L[:, c + 1], cos * L[:, c + 1] - sin * L[:, c]
            L[c + 1, c + 1] = 0.0
    return (L * np.where(np.diag(L) < 0, -1.0, 1.0))[_tril(q)]


# --- diagonal ------------------------------------------------------------------------------------------------


def _diagonal_from(sd: Floats, corr: Floats) -> Floats:
    return np.array(sd, dtype=float)


# --- one sd per column or one for all, and one correlation parameter -----------------------------------------


def _correlated(
    name: str,
    correlation: Callable[[float, int], tuple[Floats, Floats]],
    low: Callable[[int], float],
    one_sd: bool,
) -> Form:
    """Form with Λ = diag(sd) chol R(ρ); `correlation` gives R and dR/dρ."""

    def coordinates(q: int) -> tuple[Coordinate, ...]:
        scales = (SCALE,) if one_sd else (Coordinate("scale", even=q == 1),) * q
        return scales if q == 1 else (*scales, Coordinate("interval", low(q), 1.0))

    def split(theta: Floats, q: int) -> tuple[Floats, float]:
        sd = np.repeat(theta[0], q) if one_sd else theta[:q]
        return sd, float(theta[-1]) if q > 1 else 0.0

    def factor(theta: Floats, q: int) -> Floats:
        sd, rho = split(theta, q)
        return sd[:, None] * np.linalg.cholesky(correlation(rho, q)[0])

    def pullback(theta: Floats, q: int, G: Floats) -> Floats:
        sd, rho = split(theta, q)
        R, dR = correlation(rho, q)
        C = np.linalg.cholesky(R)
        G = np.tril(G)
        d_sd = np.sum(G * C, axis=1)
        d_sd = np.array([d_sd.sum()]) if one_sd else d_sd
        if q == 1:
            return d_sd
        # dC = C Φ(C⁻¹ dR C⁻ᵀ), Φ the lower triangle with half the diagonal.
        inner = np.linalg.solve(C, np.linalg.solve(C, dR).T)
        dC = C @ (np.tril(inner) - 0.5 * np.diag(np.diag(inner)))
        return np.append(d_sd, np.sum(G * sd[:, None] * dC))

    def from_sd_corr(sd: Floats, corr: Floats) -> Floats:
        sds = np.array([np.sqrt(np.mean(np.square(sd)))]) if one_sd else np.array(sd, dtype=float)
        return sds if len(sd) == 1 else np.append(sds, np.diag(corr, -1).mean())

    def canonical(theta: Floats, q: int) -> Floats:
        sd, _ = split(theta, q)
        return np.concatenate([np.abs(theta[:1] if one_sd else sd), theta[1 if one_sd else q :]])

    return Form(name, coordinates, factor, pullback, from_sd_corr, canonical)


def _exchangeable(rho: float, q: int) -> tuple[Floats, Floats]:
    ones = np.ones((q, q))
    return (1 - rho) * np.eye(q) + rho * ones, ones - np.eye(q)


def _autoregressive(rho: float, q: int) -> tuple[Floats, Floats]:
    lag = np.abs(np.subtract.outer(np.arange(q), np.arange(q))).astype(float)
    return rho**lag, lag * rho ** np.maximum(lag - 1, 0)


FORMS: dict[str, Form] = {
    f.name: f
    for f in (
        Form(
            "unstructured",
            _unstructured_coordinates,
            _unstructured_factor,
            _unstructured_pullback,
            _unstructured_from,
            _unstructured_canonical,
        ),
        Form(
            "diagonal",
            lambda q: (SCALE,) * q,
            lambda theta, q: np.diag(theta),
            lambda theta, q, G: np.diag(G).copy(),
            _diagonal_from,
            lambda theta, q: np.abs(theta),
        ),
        _correlated("cs", _exchangeable, lambda q: -1.0 / (q - 1), one_sd=False),
        _correlated("ar1", _autoregressive, lambda q: -1.0, one_sd=True),
    )
}


@dataclass(frozen=True)
class Known:
    """A known covariance between the levels of a grouping factor (kinship, phylogeny).

    Parameters
    ----------
    K : array_like or DataFrame, shape (m, m)
        Symmetric positive definite.
    levels : sequence of str, optional
        Level names of its rows; taken from a DataFrame's index when left out.
    """

    K: Any
    levels: Sequence[str] | None = None


@dataclass(frozen=True)
class BlockCovariance:
    """The covariance of one grouping factor's random effects.

    Parameters
    ----------
    terms : tuple of Term
        The block's terms; their columns are the diagonal blocks of Λ.
    forms : tuple of Form
        One form per term.
    precision : object or None
        Inverse of a known between-level covariance, scipy sparse (levels, levels); None for the identity.
    log_det_precision : float
        Its log-determinant (0 for the identity).
    """

    terms: tuple[Term, ...]
    forms: tuple[Form, ...]
    precision: Any = None
    log_det_precision: float = 0.0

    @property
    def size(self) -> int:
        """q, the number of columns."""
        return self.terms[-1].stop

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """One per entry of θ."""
        return tuple(c for t, f in zip(self.terms, self.forms) for c in f.coordinates(t.size))

    @property
    def n_params(self) -> int:
        """Length of θ."""
        return len(self.coordinates)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each term's parameters stand in θ."""
        ends = np.cumsum([0, *(len(f.coordinates(t.size)) for t, f in zip(self.terms, self.forms))])
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))

    def factor(self, theta: Floats) -> Floats:
        """Λ, lower triangular, shape (q, q)."""
        L = np.zeros((self.size, self.size))
        for t, f, s in zip(self.terms, self.forms, self.slices):
            L[t.start : t.stop, t.start : t.stop] = f.factor(theta[s], t.size)
        return L

    def pullback(self, theta: Floats, G: Floats) -> Floats:
        """Gradient in θ from the gradient `G` in Λ, shape (q, q)."""
        parts = [
            f.pullback(theta[s], t.size, G[t.start : t.stop, t.start : t.stop])
            for t, f, s in zip(self.terms, self.forms, self.slices)
        ]
        return np.concatenate(parts)

    def sd_corr(self, theta: Floats) -> tuple[Floats, Floats]:
        """Standard deviations (q,) and correlations (q, q); zero sds give zero correlations."""
        return sd_corr(self.factor(theta))

    def from_sd_corr(self, sd: Floats, corr: Floats | None = None) -> Floats:
        """θ with the given sds and correlations (identity when left out)."""
        sd = np.asarray(sd, dtype=float)
        corr = np.eye(self.size) if corr is None else np.asarray(corr, dtype=float)
        parts = [
            f.from_sd_corr(sd[t.start : t.stop], corr[t.start : t.stop, t.start : t.stop])
            for t, f in zip(self.terms, self.forms)
        ]
        return np.concatenate(parts)

    def canonical(self, theta: Floats) -> Floats:
        """The θ with non-negative scales that means the same covariance."""
        parts = [f.canonical(theta[s], t.size) for t, f, s in zip(self.terms, self.forms, self.slices)]
        return np.concatenate(parts)

    def to_working(self, theta: Floats, log_scales: bool) -> Floats:
        """Working coordinates of natural θ; `log_scales` for a posterior, not for maximum likelihood."""
        out = np.array(theta, dtype=float)
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = np.log(out[k])
            elif c.kind == "interval":
                out[k] = np.log(out[k] - c.low) - np.log(c.high - out[k])
        return out

    def from_working(self, work: Floats, log_scales: bool) -> Floats:
        """Natural θ of working coordinates."""
        out = np.array(work, dtype=float)
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = np.exp(out[k])
            elif c.kind == "interval":
                out[k] = c.low + (c.high - c.low) / (1.0 + np.exp(-out[k]))
        return out

    def working_slope(self, theta: Floats, log_scales: bool) -> Floats:
        """dθ/dw, elementwise: the Jacobian of :meth:`from_working` is diagonal."""
        out = np.ones(self.n_params)
        for k, c in enumerate(self.coordinates):
            if c.logged(log_scales):
                out[k] = theta[k]
            elif c.kind == "interval":
                out[k] = (theta[k] - c.low) * (c.high - theta[k]) / (c.high - c.low)
        return out


def sd_corr(L: Floats) -> tuple[Floats, Floats]:
    """Standard deviations and correlations of LL', shape (..., q) and (..., q, q)."""
    sd = np.sqrt(np.sum(np.square(L), axis=-1))
    rows = L / np.where(sd > 0, sd, 1.0)[..., None]
    corr = rows @ np.swapaxes(rows, -1, -2)
    index = np.arange(L.shape[-1])
    corr[..., index, index] = 1.0
    return sd, corr


def bind_covariance(blocks: tuple[RandomBlock, ...], requested: dict[str, Any] | None) -> tuple[BlockCovariance, ...]:
    """Choose each block's forms: what the user asked for, else unstructured (diagonal for ``||``).

    Parameters
    ----------
    blocks : tuple of RandomBlock
        The design's grouping factors.
    requested : dict or None
        Group name → form name or :class:`Known`.

    Raises
    ------
    MethodError
        An unknown group or form.
    DataError
        A known covariance of the wrong size or levels, or not positive definite.
    """
    requested = requested or {}
    groups = [b.group for b in blocks]
    for key in requested:
        if key not in groups:
            raise MethodError(
                f"covariance names the group {key!r}, but the model's groups are {', '.join(groups) or 'none'}."
            )
    return tuple(_bind_block(b, requested.get(b.group)) for b in blocks)


def _bind_block(block: RandomBlock, request: Any) -> BlockCovariance:
    if isinstance(request, Known):
        precision, log_det = _known_precision(block, request)
        return BlockCovariance(block.terms, _default_forms(block), precision, log_det)
    if request is None:
        return BlockCovariance(block.terms, _default_forms(block))
    if request not in FORMS:
        raise MethodError(
            f"covariance of {block.group!r} is {request!r}; known forms are {', '.join(FORMS)}, or bg.Known(K)."
        )
    return BlockCovariance(block.terms, (FORMS[request],) * len(block.terms))


def _default_forms(block: RandomBlock) -> tuple[Form, ...]:
    return tuple(FORMS["unstructured" if t.correlated else "diagonal"] for t in block.terms)


def _known_precision(block: RandomBlock, known: Known) -> tuple[Any, float]:
    """Sparse inverse of K over the block's levels, and its log-determinant."""
    from scipy import sparse

    K = known.K.toarray() if sparse.issparse(known.K) else np.asarray(known.K, dtype=float)
    names = known.levels if known.levels is not None else getattr(known.K, "index", None)
    where = f"the known covariance of {block.group!r}"
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise DataError(f"{where} has shape {K.shape}; a square matrix is expected.")
    if names is None:
        raise DataError(f"{where} has no level names: pass bg.Known(K, levels=[...]) or a DataFrame.")
    names = [str(v) for v in names]
    if len(names) != K.shape[0]:
        raise DataError(f"{where} has {K.shape[0]} rows but {len(names)} level names.")
    position = {v: i for i, v in enumerate(names)}
    missing = [v for v in block.levels if v not in position]
    if missing:
        raise DataError(f"{where} lacks the levels {', '.join(missing[:5])} ({len(missing)} in all) of the data.")
    take = [position[v] for v in block.levels]
    K = K[np.ix_(take, take)]
    if not np.allclose(K, K.T, rtol=1e-8, atol=1e-10 * np.abs(K).max()):
        raise DataError(f"{where} is not symmetric.")
    try:
        C = np.linalg.cholesky(K)
    except np.linalg.LinAlgError:
        low = float(np.linalg.eigvalsh(K)[0])
        raise DataError(f"{where} is not positive definite (smallest eigenvalue {low:.3g}).") from None
    inverse = np.linalg.inv(K)
    inverse = 0.5 * (inverse + inverse.T)
    inverse[np.abs(inverse) < 1e-12 * np.abs(inverse).max()] = 0.0
    return sparse.csc_array(inverse), -2.0 * float(np.log(np.diag(C)).sum())
