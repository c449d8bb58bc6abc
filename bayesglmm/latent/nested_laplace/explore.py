"""Where the hyperparameters are looked at, and with which weights (Rue, Martino & Chopin 2009, section 6.5)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.nested_laplace.axes import PROBE, Axes, Evaluate, Spot

Floats = NDArray[np.float64]

#: Steps of the grid by the number of hyperparameters, in sds. Trapezoidal sums of a normal density are off by
#: 2 exp(−2π²/h²): 1e-15, 5e-9 and 7e-6 of it.
GRID_STEP = {1: 0.75, 2: 0.8, 3: 1.25}
#: The grid ends where the log-density has fallen by this much, and no point is further out than this many sds.
GRID_DROP = 7.0
GRID_REACH = 7.5
#: Radius of the central composite design's points, in units of √d.
CCD_RADIUS = 1.1
#: Places on the half-axes, in sds, where a composite design looks too: nothing is integrated there, but marginals need
#: to know how the density falls.
CCD_ENDS = (PROBE, 2.75)
#: Columns of a two-level design of resolution V, as indices of Walsh functions: Sanchez & Sanchez (2005), ACM
#: Transactions on Modeling and Computer Simulation 15, 362-377.
WALSH = (1, 2, 4, 8, 15, 16, 32, 51, 64, 85, 106, 128, 150, 171, 219, 237, 247, 256, 279, 297)


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
