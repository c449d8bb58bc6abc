"""Where the hyperparameters are looked at, and with which weights.

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

#: Steps of the grid by the number of hyperparameters, in sds. Trapezoidal sums of a normal density are off by
#: 2 exp(−2π²/h²): 1e-15, 5e-9 and 7e-6 of it.
GRID_STEP = {1: 0.75, 2: 0.8, 3: 1.25}
#: The grid ends where the log-density has fallen by this much, and no point is further out than this many sds.
GRID_DROP = 7.0
GRID_REACH = 7.5
#: Radius of the central composite design's points, in units of √d.
CCD_RADIUS = 1.1
#: Where along each half-axis the stretch is measured: a normal log-density has fallen by one there.
PROBE = np.sqrt(2.0)
#: Places on the half-axes, in sds, where a composite design looks too: nothing is integrated there, but marginals need
#: to know how the density falls.
CCD_ENDS = (PROBE, 2.75)
#: A better center this many sds away is moved to, at most so many times.
OFF_CENTER, MAX_MOVES = 0.35, 3
#: Where, in sds with the others held, a hyperparameter's tail is looked at; a normal one's distance for the same fall
#: of the density is this share of it or less where the tail is called heavy; the least fall that is believed.
WARP_PROBE, WARPED, WARP_LEAST = 3.0, 0.85, 0.3
#: Stretches beyond these say that the density is nothing like a normal one.
STRETCH = (0.25, 4.0)
#: Columns of a two-level design of resolution V, as indices of Walsh functions: Sanchez & Sanchez (2005), ACM
#: Transactions on Modeling and Computer Simulation 15, 362-377.
WALSH = (1, 2, 4, 8, 15, 16, 32, 51, 64, 85, 106, 128, 150, 171, 219, 237, 247, 256, 279, 297)


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


@dataclass(frozen=True)
class Design:
    """Integration points.

    Parameters
    ----------
    axes : Axes
        Meaning of z.
    kind : {"grid", "ccd", "eb"}
        How they were laid out.
    z : ndarray, shape (K, d)
        The points; the first is the mode.
    log_density : ndarray, shape (K,)
        log p̃(ϑ, y) there.
    weights : ndarray, shape (K,)
        They sum to one.
    log_integral : float
        log ∫ p̃(ϑ, y) dϑ.
    spots : tuple of Spot
        The points as hyperparameters, with the modes of the field.
    seen : tuple of ndarray, shapes (N, d), (N,)
        Every z where log p̃ was found finite, and its values: more than the points, for interpolation.
    """

    axes: Axes
    kind: str
    z: Floats
    log_density: Floats
    weights: Floats
    log_integral: float
    spots: tuple[Spot, ...]
    seen: tuple[Floats, Floats]


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
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.where(drops > 0, np.sqrt(1.0 / drops), STRETCH[1])
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
        z = np.zeros(axes.size)
        z[k] = PROBE * (1.0 if side else -1.0)
        out[side, k] = mode.value - evaluate(axes.point(z), mode).value - float(axes.bend(z))
    return out


def lay_out(kind: str, axes: Axes, mode: Spot, evaluate: Evaluate) -> Design:
    """Evaluate the design of the given kind (``"grid"``, ``"ccd"``, ``"eb"``)."""
    return {"grid": _grid, "ccd": _composite, "eb": _mode_only}[kind](axes, mode, evaluate)


def _mode_only(axes: Axes, mode: Spot, evaluate: Evaluate) -> Design:
    """One point; the integral is Laplace's."""
    d = axes.size
    total = mode.value + float(axes.log_volume(np.zeros(d))) + 0.5 * d * np.log(2.0 * np.pi)
    z, value = np.zeros((1, d)), np.array([mode.value])
    return Design(axes, "eb", z, value, np.ones(1), total, (mode,), (z, value))


def _grid(axes: Axes, mode: Spot, evaluate: Evaluate) -> Design:
    """A lattice, grown outwards from the mode for as long as there is density."""
    d = axes.size
    step = GRID_STEP.get(d, max(GRID_STEP.values()))
    found: dict[tuple[int, ...], Spot] = {(0,) * d: mode}
    front = [(0,) * d]
    while front:
        grown: list[tuple[int, ...]] = []
        for cell in front:
            if mode.value - found[cell].value - axes.bend(step * np.array(cell, dtype=float)) > GRID_DROP:
                continue
            for k, move in itertools.product(range(d), (-1, 1)):
                near = (*cell[:k], cell[k] + move, *cell[k + 1 :])
                z = step * np.array(near, dtype=float)
                if near in found or z @ z > GRID_REACH**2:
                    continue
                found[near] = evaluate(axes.point(z), found[cell])
                grown.append(near)
        front = [cell for cell in grown if np.isfinite(found[cell].value)]
    z = step * np.array(list(found), dtype=float).reshape(len(found), d)
    density = np.array([spot.value for spot in found.values()])
    log_mass = density + axes.log_volume(z) + d * np.log(step)
    kept = mode.value - density - axes.bend(z) <= GRID_DROP
    return _weighted(axes, "grid", z, tuple(found.values()), log_mass, kept)


def _composite(axes: Axes, mode: Spot, evaluate: Evaluate) -> Design:
    """Central composite design: the mode, and corners and axes of a cube on one sphere.

    The weights integrate a standard normal density, and z'z under it, exactly: points at radius f√d share 1/f² of the
    mass, whatever else goes to the mode (Rue, Martino & Chopin 2009, section 6.5).
    """
    d = axes.size
    corners = two_level(d)
    star = np.vstack([np.eye(d), -np.eye(d)])
    outer = CCD_RADIUS * np.vstack([corners, np.sqrt(d) * star] if d > 1 else [star])
    z = np.vstack([np.zeros((1, d)), outer, *(end * star for end in CCD_ENDS)])
    spots = (mode, *(evaluate(axes.point(at), mode) for at in z[1:]))
    density = np.array([spot.value for spot in spots])
    share = np.zeros(len(z))
    share[: len(outer) + 1] = 1.0 / (CCD_RADIUS**2 * len(outer))
    share[0] = 1.0 - 1.0 / CCD_RADIUS**2
    normal = -0.5 * np.sum(z * z, axis=1) - 0.5 * d * np.log(2.0 * np.pi)
    with np.errstate(divide="ignore"):
        log_mass = np.log(share) + density - normal + axes.log_volume(z)
    return _weighted(axes, "ccd", z, spots, log_mass, share > 0.0)


def two_level(d: int) -> Floats:
    """A two-level design of resolution V in d factors, entries ±1; full up to four factors."""
    chosen = np.array(WALSH[:d])
    rows = np.arange(2 ** int(chosen.max()).bit_length())
    return 1.0 - 2.0 * (np.bitwise_count(rows[:, None] & chosen) % 2)


def _weighted(
    axes: Axes, kind: str, z: Floats, spots: tuple[Spot, ...], log_mass: Floats, used: NDArray[np.bool_]
) -> Design:
    """The design of the used points; the others are seen."""
    density = np.array([spot.value for spot in spots])
    finite = np.isfinite(density)
    used = used & finite
    top = log_mass[used].max()
    mass = np.exp(log_mass[used] - top)
    chosen = tuple(spots[k] for k in np.flatnonzero(used))
    total = float(top + np.log(mass.sum()))
    return Design(axes, kind, z[used], density[used], mass / mass.sum(), total, chosen, (z[finite], density[finite]))
