"""Covariance forms of one term: what θ means, its factor Λ, and the gradient back to θ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

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
        (theta, q) → Λ, lower triangular, shape (..., q, q); leading axes of theta are points.
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
    L = np.zeros((*np.shape(theta)[:-1], q, q))
    L[(..., *_tril(q))] = theta
    return L


def _unstructured_pullback(theta: Floats, q: int, G: Floats) -> Floats:
    return G[_tril(q)]


def _unstructured_from(sd: Floats, corr: Floats) -> Floats:
    q = len(sd)
    if q == 1:
        return np.array(sd, dtype=float)
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


def _diagonal_factor(theta: Floats, q: int) -> Floats:
    return theta[..., None] * np.eye(q)


def _diagonal_from(sd: Floats, corr: Floats) -> Floats:
    return np.array(sd, dtype=float)


# --- one sd per column or one for all, and one correlation parameter -----------------------------------------


def _correlated(
    name: str,
    correlation: Callable[[Floats, int], tuple[Floats, Floats]],
    low: Callable[[int], float],
    one_sd: bool,
) -> Form:
    """Form with Λ = diag(sd) chol R(ρ); `correlation` gives R and dR/dρ."""

    def coordinates(q: int) -> tuple[Coordinate, ...]:
        scales = (SCALE,) if one_sd else (Coordinate("scale", even=q == 1),) * q
        return scales if q == 1 else (*scales, Coordinate("interval", low(q), 1.0))

    def split(theta: Floats, q: int) -> tuple[Floats, Floats]:
        sd = np.repeat(theta[..., :1], q, axis=-1) if one_sd else theta[..., :q]
        return sd, theta[..., -1, None, None] if q > 1 else np.zeros((1, 1))

    def factor(theta: Floats, q: int) -> Floats:
        sd, rho = split(theta, q)
        return sd[..., :, None] * np.linalg.cholesky(correlation(rho, q)[0])

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


def _exchangeable(rho: Floats, q: int) -> tuple[Floats, Floats]:
    ones = np.ones((q, q))
    return (1 - rho) * np.eye(q) + rho * ones, ones - np.eye(q)


def _autoregressive(rho: Floats, q: int) -> tuple[Floats, Floats]:
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
            _diagonal_factor,
            lambda theta, q, G: np.diag(G).copy(),
            _diagonal_from,
            lambda theta, q: np.abs(theta),
        ),
        _correlated("cs", _exchangeable, lambda q: -1.0 / (q - 1), one_sd=False),
        _correlated("ar1", _autoregressive, lambda q: -1.0, one_sd=True),
    )
}
