"""The posterior density of the hyperparameters between the points it was evaluated at, and a sample from it.

In the stretched coordinates of the design the log-density is that of a standard normal plus a small smooth correction,
which is interpolated by cubic radial basis functions (exact at the points). A low-discrepancy sample of a somewhat
wider normal, weighted by the interpolated density, then carries any function of the hyperparameters: sds, correlations
and dispersions on their natural scales.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bayesglmm.latent.nested_laplace.axes import PROBE, Evaluate
from bayesglmm.latent.nested_laplace.explore import Design

Floats = NDArray[np.float64]

#: Size of the weighted sample, and of the equally weighted one that is kept.
SAMPLE, KEPT = 8192, 2048
#: Sd of the normal it is drawn from.
WIDER = 1.25
#: Further points per hyperparameter that a composite design gets.
CLOSER = 24
#: Points where the log-density has fallen by more than this tell nothing that matters.
FAR = 30.0


class Interpolant:
    """Values at nodes, continued by r³ about every node and a plane.

    Parameters
    ----------
    nodes : ndarray, shape (K, d)
        Distinct points.
    values : ndarray, shape (K, ...)
        What to interpolate.
    """

    def __init__(self, nodes: Floats, values: Floats) -> None:
        self.nodes = nodes
        K, d = nodes.shape
        # Too few points for a plane are joined by their mean.
        self.linear = d + 1 < K
        plane = self._plane(nodes)
        corner = np.zeros((plane.shape[1], plane.shape[1]))
        system = np.block([[_cubes(nodes, nodes), plane], [plane.T, corner]])
        right = np.concatenate([values.reshape(K, -1), np.zeros((plane.shape[1], values.reshape(K, -1).shape[1]))])
        self.coefficients = np.linalg.lstsq(system, right, rcond=None)[0]
        self.shape = values.shape[1:]

    def __call__(self, z: Floats) -> Floats:
        """Values at z, shape (N, d)."""
        basis = np.hstack([_cubes(z, self.nodes), self._plane(z)])
        return (basis @ self.coefficients).reshape(len(z), *self.shape)

    def _plane(self, z: Floats) -> Floats:
        ones = np.ones((len(z), 1))
        return np.hstack([ones, z]) if self.linear else ones


def _cubes(a: Floats, b: Floats) -> Floats:
    return np.sqrt(np.sum((a[:, None] - b[None]) ** 2, axis=-1)) ** 3


def correction(design: Design) -> Interpolant:
    """Return log p̃ − log N(z) wherever the density was looked at, relative to the mode."""
    z, value = design.seen
    near = value - design.log_density[0] > -FAR
    z, value = z[near], value[near]
    return Interpolant(z, value - design.log_density[0] + 0.5 * np.sum(z * z, axis=1))


def look_closer(design: Design, evaluate: Evaluate) -> Design:
    """Evaluate the density at points of its own interpolated self too: where the mass is, whatever its shape.

    A composite design sees the axes and the corners of one cube; marginals want the rest. The design's weights stay.
    """
    found = sample(design)
    new = equally_weighted(found.z, found.weights, CLOSER * design.axes.size)
    values = np.array([evaluate(design.axes.point(at), design.spots[0]).value for at in new])
    finite = np.isfinite(values)
    seen = np.vstack([design.seen[0], new[finite]]), np.concatenate([design.seen[1], values[finite]])
    return replace(design, seen=seen)


@dataclass(frozen=True)
class Weighted:
    """A weighted sample of standardised hyperparameters.

    Parameters
    ----------
    z : ndarray, shape (N, d)
        Points.
    weights : ndarray, shape (N,)
        They sum to one.
    log_integral : float
        log ∫ p̃(ϑ, y) dϑ.
    """

    z: Floats
    weights: Floats
    log_integral: float


def sample(design: Design) -> Weighted:
    """Draw a low-discrepancy sample of the interpolated density."""
    axes, d = design.axes, design.axes.size
    if d == 0:
        return Weighted(np.zeros((1, 0)), np.ones(1), design.log_integral)
    z = WIDER * ndtri(_low_discrepancy(SAMPLE, d))
    # Outside the points that were looked at the correction is held at what it is on their box.
    seen = design.seen[0]
    held = np.clip(z, np.minimum(seen.min(axis=0), -PROBE), np.maximum(seen.max(axis=0), PROBE))
    log_w = correction(design)(held) + 0.5 * np.sum(z * z, axis=1) * (1.0 / WIDER**2 - 1.0)
    log_w = log_w + axes.log_volume(z) - axes.bend(z) + axes.bend(held)
    top = log_w.max()
    w = np.exp(log_w - top)
    constant = d * (0.5 * np.log(2.0 * np.pi) + np.log(WIDER))
    return Weighted(z, w / w.sum(), float(design.log_density[0] + top + np.log(w.mean()) + constant))


def share_out(design: Design, found: Weighted) -> Design:
    """Weights of a grid from the sample, each of whose points goes to the nearest; the integral is the sample's.

    The sums of a grid are exact for smooth densities, and stretches and warps have kinks. A composite design keeps its
    weights: its points are too far apart to stand for what is near them.
    """
    if design.kind != "grid":
        return replace(design, log_integral=found.log_integral) if design.kind == "ccd" else design
    distance = np.sum((found.z[:, None] - design.z[None]) ** 2, axis=-1)
    weights = np.bincount(distance.argmin(axis=1), found.weights, len(design.z))
    return replace(design, weights=weights, log_integral=found.log_integral)


def _low_discrepancy(count: int, d: int) -> Floats:
    """Roberts's additive recurrence with the generalised golden ratio, inside the unit cube."""
    ratio = 2.0
    for _ in range(60):
        ratio = (1.0 + ratio) ** (1.0 / (d + 1))
    steps = (1.0 / ratio) ** np.arange(1, d + 1)
    return (0.5 + np.outer(np.arange(1, count + 1), steps)) % 1.0


def equally_weighted(z: Floats, w: Floats, count: int) -> Floats:
    """`count` of the points, each as often as its weight says.

    Systematic resampling along a space-filling order: whatever stretch of the space a weight is rounded away from, a
    neighbour gets it.
    """
    order = _z_order(z)
    at = (np.arange(count) + 0.5) / count
    chosen = np.searchsorted(np.cumsum(w[order]), at)
    return z[order[np.minimum(chosen, len(z) - 1)]]


def _z_order(z: Floats) -> NDArray[np.int64]:
    """Indices along Morton's curve through the ranks of every coordinate."""
    n, d = z.shape
    if d == 0:
        return np.arange(n)
    bits = min(60 // d, 13)
    cells = np.argsort(np.argsort(z, axis=0, kind="stable"), axis=0, kind="stable") * 2**bits // n
    code = np.zeros(n, dtype=np.int64)
    for bit in range(bits):
        for k in range(d):
            code |= ((cells[:, k] >> bit) & 1) << (bit * d + k)
    return np.argsort(code, kind="stable")
