"""Standardised coordinates of the hyperparameters.

Points are laid out in the eigenbasis of the curvature at the mode, every half-axis stretched so that the density falls
along it as a standard normal one does (Rue, Martino & Chopin 2009, section 6.5; Martins, Simpson, Lindgren & Rue 2013,
CSDA 67, 68-83), smoothly: ϑ(z) = ϑ̂ + g(V D^½ s(z)), s_k(z) = s̄_k z_k + δ_k (√(1 + z_k²) − 1), whose slope goes from
s̄ − δ far below to s̄ + δ far above.

The posterior of an sd that may be zero falls only exponentially in its logarithm, whatever the others are: far out a
straight axis, along which they move with it, leaves the mass. So each hyperparameter has its own warp g_k(w) =
±(e^{a|w|} − 1) / a, with a on either side from how the density falls when that hyperparameter alone is moved; a = 0, no
warp, where it falls as a normal one does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

if TYPE_CHECKING:
    from bayesglmm.latent.nested_laplace.coefficients import Coefficients

Floats = NDArray[np.float64]

#: Where along each half-axis the stretch is measured: a normal log-density has fallen by one there.
PROBE = np.sqrt(2.0)
#: A better center this many sds away is moved to, at most so many times.
OFF_CENTER, MAX_MOVES = 0.35, 3
#: Where, in sds with the others held, a hyperparameter's tail is looked at; a normal one's distance for the same fall
#: of the density is this share of it or less where the tail is called heavy; the least fall that is believed.
WARP_PROBE, WARPED, WARP_LEAST = 3.0, 0.85, 0.3
#: Stretches beyond these say that the density is nothing like a normal one.
STRETCH = (0.25, 4.0)
#: Where the fall to the probe would make a stretch longer than this the density has a shoulder (an sd of a slope that
#: may be zero, with its correlation undetermined there): its end is looked for, by so many bisections.
SHOULDER, BISECTIONS = 2.0, 3


@dataclass(frozen=True)
class Spot:
    """One point of hyperparameters: log p̃ there (−∞ where the field has no mode) and the mode of the field.

    With strategy ``"laplace"`` also the coefficients' own moments.
    """

    x: Floats
    value: float
    field: Floats
    coefficients: Coefficients | None = None


#: (hyperparameters, a spot near by) → the spot there.
Evaluate = Callable[[Floats, Spot], Spot]


@dataclass(frozen=True)
class Axes:
    """Standardised coordinates z of the hyperparameters.

    Parameters
    ----------
    center : ndarray, shape (d,)
        The mode.
    basis : ndarray, shape (d, d)
        V D^½: columns are principal axes one sd long.
    stretch : ndarray, shape (2, d)
        Along the negative and the positive half-axes.
    warp : ndarray, shape (2, d)
        The a of every hyperparameter below and above the mode; zero for none.
    """

    center: Floats
    basis: Floats
    stretch: Floats
    warp: Floats

    @property
    def size(self) -> int:
        """Return d."""
        return len(self.center)

    def point(self, z: Floats) -> Floats:
        """Hyperparameters at z, shape (..., d)."""
        w = self._straight(z)
        a = np.where(w < 0, self.warp[0], self.warp[1])
        bent = np.expm1(a * np.abs(w)) / np.where(a > 0, a, 1.0)
        return self.center + np.sign(w) * np.where(a > 0, bent, np.abs(w))

    def standardise(self, x: Floats) -> Floats:
        """Return z of hyperparameters, shape (..., d): the inverse of :meth:`point`."""
        v = x - self.center
        a = np.where(v < 0, self.warp[0], self.warp[1])
        straight = np.log1p(a * np.abs(v)) / np.where(a > 0, a, 1.0)
        w = np.sign(v) * np.where(a > 0, straight, np.abs(v))
        own = np.linalg.solve(self.basis, w[..., None])[..., 0]
        mean, half = self._slopes
        moved = own + half
        return (moved * mean - half * np.sqrt(moved**2 + mean**2 - half**2)) / (mean**2 - half**2)

    @property
    def _slopes(self) -> tuple[Floats, Floats]:
        """Mean slope of every axis, and half the difference of its ends'."""
        return 0.5 * (self.stretch[0] + self.stretch[1]), 0.5 * (self.stretch[1] - self.stretch[0])

    def _straight(self, z: Floats) -> Floats:
        mean, half = self._slopes
        return (mean * z + half * (np.sqrt(1.0 + z * z) - 1.0)) @ self.basis.T

    def log_volume(self, z: Floats) -> Floats:
        """log|dϑ/dz|, shape (...)."""
        mean, half = self._slopes
        own = mean + half * z / np.sqrt(1.0 + z * z)
        return np.log(own).sum(axis=-1) + self.bend(z) + self._log_det

    def bend(self, z: Floats) -> Floats:
        """Return the warps' part of the volume, Σ log g_k', shape (...)."""
        w = self._straight(z)
        return np.sum(np.where(w < 0, self.warp[0], self.warp[1]) * np.abs(w), axis=-1)

    @cached_property
    def _log_det(self) -> float:
        return float(np.linalg.slogdet(self.basis)[1]) if self.size else 0.0


def make_axes(mode: Spot, covariance: Floats, evaluate: Evaluate) -> tuple[Axes, Spot]:
    """Principal axes of the curvature, each half stretched to the density's own width, and the spot at their center.

    That is the mode; or, where the density was looked at more closely than when the mode was found, what the probes
    say is a better one.
    """
    if not len(mode.x):
        return Axes(mode.x, np.zeros((0, 0)), np.ones((2, 0)), np.zeros((2, 0))), mode
    values, vectors = np.linalg.eigh(covariance)
    # One sign for every eigenvector, whatever LAPACK was in the mood for: the design is the same on every machine.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(values))])
    d = len(values)
    axes = Axes(mode.x, vectors * np.sqrt(values), np.ones((2, d)), np.zeros((2, d)))
    for _ in range(MAX_MOVES):
        drops = _drops(axes, mode, evaluate)
        # Vertex of the parabola through the three values of an axis, in units of the probe.
        bend = np.maximum(drops.sum(axis=0), 0.5)
        z = PROBE * np.clip(0.5 * (drops[0] - drops[1]) / bend, -1.0, 1.0)
        if np.abs(z).max(initial=0.0) < OFF_CENTER:
            break
        moved = evaluate(axes.point(z), mode)
        if not moved.value > mode.value:
            break
        mode, axes = moved, replace(axes, center=moved.x)
    axes = replace(axes, warp=_warps(covariance, mode, evaluate))
    drops = _drops(axes, mode, evaluate)
    stretch = 1.0 / np.sqrt(np.maximum(drops, 1e-300))
    for side, k in zip(*np.nonzero(stretch > SHOULDER)):
        stretch[side, k] = _reach(axes, mode, evaluate, side, k)
    return replace(axes, stretch=np.clip(stretch, *STRETCH)), mode


def _warps(covariance: Floats, mode: Spot, evaluate: Evaluate) -> Floats:
    """How each hyperparameter's tails bend, shape (2, d): see the module."""
    sds = 1.0 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    out = np.zeros((2, len(sds)))
    for side, k in itertools.product((0, 1), range(len(sds))):
        far = WARP_PROBE * sds[k]
        x = np.array(mode.x)
        x[k] += far if side else -far
        drop = mode.value - evaluate(x, mode).value
        near = sds[k] * np.sqrt(2.0 * np.clip(drop, WARP_LEAST, np.inf))
        if near < WARPED * far:
            # (e^{a w} − 1) / a = far at w = near.
            out[side, k] = brentq(lambda y, ratio=far / near: np.expm1(y) / y - ratio, 1e-6, 20.0) / near
    return out


def _drops(axes: Axes, mode: Spot, evaluate: Evaluate) -> Floats:
    """How far the density falls to the probes of the negative and the positive half-axes, shape (2, d)."""
    out = np.empty((2, axes.size))
    for side, k in itertools.product((0, 1), range(axes.size)):
        out[side, k] = _drop(axes, mode, evaluate, side, k, 1.0)
    return out


def _drop(axes: Axes, mode: Spot, evaluate: Evaluate, side: int, k: int, times: float) -> float:
    """How far the density falls to a multiple of a probe."""
    z = np.zeros(axes.size)
    z[k] = PROBE * (times if side else -times)
    return mode.value - evaluate(axes.point(z), mode).value - float(axes.bend(z))


def _reach(axes: Axes, mode: Spot, evaluate: Evaluate, side: int, k: int) -> float:
    """The multiple of a probe where a density that has a shoulder has fallen by one; at most the longest stretch."""
    low, high = 1.0, 2.0
    while _drop(axes, mode, evaluate, side, k, high) < 1.0:
        low, high = high, 2.0 * high
        if high > STRETCH[1]:
            return STRETCH[1]
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        if _drop(axes, mode, evaluate, side, k, middle) < 1.0:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))
