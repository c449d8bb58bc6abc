"""The information at the optimum, by differencing the exact gradient, and what it says about edges.

The modes move with the parameters too; their derivatives come from the same evaluations at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.target import Coordinates, Target, TargetPoint

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Step of the differences in approximate standard errors: truncation and rounding both stay near 1e-5.
STEP = 1e-5
#: An unbounded working coordinate (a log, a logit) with a larger standard error than this has run to its end.
FLAT = 100.0


@dataclass(frozen=True)
class Curvature:
    """Minus the Hessian of the target over its free parameters.

    Parameters
    ----------
    free : ndarray of bool, shape (d,)
        False for parameters at an edge (zero variance, correlation ±1, a shape at infinity).
    information : ndarray, shape (d, d)
        Minus the Hessian; zero outside the free parameters.
    mode_slopes : ndarray, shape (m, d)
        Derivatives of the conditional modes û in the parameters.
    definite : bool
        Whether it is positive definite over the free parameters.
    worst : ndarray, shape (d,)
        Direction of the smallest curvature, one (approximate) standard error long.
    escape : ndarray, shape (d,), or None
        A direction along which the target rises from a zero variance; None when zero is a maximum.
    evaluations : int
        Gradients it took.
    """

    free: Bools
    information: Floats
    mode_slopes: Floats
    definite: bool
    worst: Floats
    escape: Floats | None
    evaluations: int

    @property
    def covariance(self) -> Floats:
        """Inverse of the information; NaN rows and columns at an edge, all NaN when it is not definite."""
        out = np.full(self.information.shape, np.nan)
        if self.definite:
            out[np.ix_(self.free, self.free)] = self._inverse()
        return out

    @property
    def condition(self) -> float | None:
        """Condition number of the information scaled to a unit diagonal; None when it is not definite."""
        if not self.definite or not self.free.any():
            return None
        own = self.information[np.ix_(self.free, self.free)]
        scale = 1.0 / np.sqrt(np.diag(own))
        return float(np.linalg.cond(own * np.outer(scale, scale)))

    def scaled_gradient(self, gradient: Floats) -> float | None:
        """Largest entry of the gradient times its parameter's standard error; None when there are none."""
        if not self.definite or not self.free.any():
            return None
        return float(np.max(np.abs(gradient[self.free]) * np.sqrt(np.diag(self._inverse()))))

    def step(self, gradient: Floats) -> Floats:
        """Newton step over the free parameters."""
        out = np.zeros(len(gradient))
        out[self.free] = self._inverse() @ gradient[self.free]
        return out

    def decrement(self, gradient: Floats) -> float:
        """Newton decrement over the free parameters."""
        return float(np.sqrt(max(float(gradient @ self.step(gradient)), 0.0)))

    def inverse_hessian(self, fallback: Floats) -> Floats:
        """A positive definite inverse to restart a quasi-Newton method with."""
        if not self.definite:
            return np.diag(np.diag(fallback))
        out = np.diag(np.diag(fallback))
        out[np.ix_(self.free, self.free)] = self._inverse()
        return out

    def _inverse(self) -> Floats:
        own = self.information[np.ix_(self.free, self.free)]
        scale = 1.0 / np.sqrt(np.diag(own))
        inverse = np.linalg.inv(own * np.outer(scale, scale)) * np.outer(scale, scale)
        return 0.5 * (inverse + inverse.T)


def curvature(target: Target, point: TargetPoint, scale: Floats) -> Curvature:
    """Difference the gradient along every parameter, and see which are at an edge.

    Parameters
    ----------
    target : Target
        The function.
    point : TargetPoint
        At, or very near, its maximum.
    scale : ndarray, shape (d,)
        Approximate standard errors: they set the steps.
    """
    d = len(point.x)
    at_zero = _at_zero(target.coordinates, point.x)
    information, slopes = np.zeros((d, d)), np.zeros((len(point.mode.u), d))
    # A coefficient's standard error has the units of its predictor; logs and logits have sane ones, or none.
    steps = STEP * np.where(np.arange(d) < target.coordinates.p, scale, np.clip(scale, 1e-10, 10.0))
    # The gradient is odd in a column at zero: longer steps lose nothing there, and see small curvatures.
    steps[at_zero] *= 1e2
    for i in range(d):
        h = float(steps[i])
        moved = target.at(point.x + h * (np.arange(d) == i), point.mode)
        if not np.isfinite(moved.value):
            h = -h
            moved = target.at(point.x + h * (np.arange(d) == i), point.mode)
        information[i] = (point.gradient - moved.gradient) / h
        slopes[:, i] = (moved.mode.u - point.mode.u) / h
    free = ~at_zero & ~_run_away(target.coordinates, information)
    information = 0.5 * (information + information.T)
    escape = _escape(information, at_zero, scale)
    slopes[:, at_zero] = 0.0
    information = np.where(np.outer(free, free), information, 0.0)
    definite, worst = _spectrum(information, free)
    return Curvature(free, information, slopes, definite, worst, escape, d)


def _at_zero(coordinates: Coordinates, x: Floats) -> Bools:
    """Entries of θ that make up columns of Λ that are zero: the target is even in each such column."""
    at_zero = np.zeros(len(x), dtype=bool)
    if coordinates.log_scales:
        return at_zero
    marks = []
    _, theta, _ = coordinates.split(x)
    for cov, own in zip(coordinates.covariance, coordinates.blockwise(theta)):
        empty = np.all(cov.factor(own) == 0.0, axis=0)
        marks.append(cov.pullback(own, np.tril(np.broadcast_to(empty, (cov.size, cov.size)).astype(float))) != 0.0)
    at_zero[coordinates.theta] = np.concatenate([*marks, np.zeros(0, dtype=bool)])
    return at_zero


def _run_away(coordinates: Coordinates, information: Floats) -> Bools:
    """Logs and logits that the data leave free to run to infinity."""
    flat = np.diag(information) < 1.0 / FLAT**2
    unbounded = np.zeros(len(information), dtype=bool)
    unbounded[coordinates.theta] = [
        entry.kind == "interval" or entry.logged(coordinates.log_scales) for entry in coordinates.entries
    ]
    unbounded[coordinates.theta.stop :] = True
    return flat & unbounded


def _escape(information: Floats, at_zero: Bools, scale: Floats) -> Floats | None:
    """Where the target curves upwards from a column of Λ at zero; it is even there, so curvature says it all."""
    if not at_zero.any():
        return None
    size = scale[at_zero]
    values, vectors = np.linalg.eigh(information[np.ix_(at_zero, at_zero)] * np.outer(size, size))
    if values[0] > -1e-7:
        return None
    out = np.zeros(len(at_zero))
    out[at_zero] = size * vectors[:, 0]
    return out


def _spectrum(information: Floats, free: Bools) -> tuple[bool, Floats]:
    """Whether the information is positive definite, and the direction in which it is smallest."""
    worst = np.zeros(len(free))
    if not free.any():
        return True, worst
    own = information[np.ix_(free, free)]
    size = np.sqrt(np.maximum(np.abs(np.diag(own)), 1e-300))
    values, vectors = np.linalg.eigh(own / np.outer(size, size))
    worst[free] = vectors[:, 0] / size
    return bool(np.diag(own).min() > 0 and values[0] > 1e-10), worst
