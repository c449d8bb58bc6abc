"""The information at the optimum, by differencing the exact gradient, and what it says about edges.

The modes move with the parameters too; their derivatives come from the same evaluations at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.target import Coordinates, Target, TargetPoint

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Step of the differences in approximate standard errors: truncation and rounding both stay near 1e-5.
STEP = 1e-5
#: Condition number from which a second round of differences takes other directions.
NEARLY_DEPENDENT = 1e5
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
            out[np.ix_(self.free, self.free)] = self._inverse
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
        return float(np.max(np.abs(gradient[self.free]) * np.sqrt(np.diag(self._inverse))))

    def step(self, gradient: Floats) -> Floats:
        """Newton step over the free parameters."""
        out = np.zeros(len(gradient))
        out[self.free] = self._inverse @ gradient[self.free]
        return out

    def decrement(self, gradient: Floats) -> float:
        """Newton decrement over the free parameters."""
        return float(np.sqrt(max(float(gradient @ self.step(gradient)), 0.0)))

    def inverse_hessian(self, fallback: Floats) -> Floats:
        """A positive definite inverse to restart a quasi-Newton method with."""
        if not self.definite:
            return np.diag(np.diag(fallback))
        out = np.diag(np.diag(fallback))
        out[np.ix_(self.free, self.free)] = self._inverse
        return out

    @cached_property
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
    d, p = len(point.x), target.coordinates.p
    at_zero = _at_zero(target.coordinates, point.x)
    directions, back = _directions(target, point, scale)
    # Logs and logits have sane standard errors, or none; a direction of the coefficients is one standard error long.
    steps = STEP * np.where(np.arange(d) < p, 1.0, np.clip(scale, 1e-10, 10.0))
    # The gradient is odd in a column at zero: longer steps lose nothing there, and see small curvatures.
    steps[at_zero] *= 1e2
    along, slopes = _differences(target, point, directions, steps)
    free = ~at_zero & ~_run_away(target.coordinates, back.T @ along @ back)
    evaluations = d
    whiter = _whiter(along, free)
    if whiter is not None:
        second = _differences(target, point, directions @ whiter, np.where(free, STEP, steps))
        evaluations += d
        if _are_independent(second[0], free):
            (along, slopes), directions, back = second, directions @ whiter, np.linalg.solve(whiter, back)
    information = back.T @ along @ back
    escape = _escape(information, at_zero, scale)
    slopes = slopes @ back
    slopes[:, at_zero] = 0.0
    information = np.where(np.outer(free, free), 0.5 * (information + information.T), 0.0)
    definite, worst = _spectrum(along, free)
    return Curvature(free, information, slopes, definite, directions @ worst, escape, evaluations)


def _are_independent(along: Floats, free: Bools) -> bool:
    """Whether directions meant to be independent are; along a curved ridge, or one of rounding, they are not."""
    values = np.linalg.eigvalsh(along[np.ix_(free, free)])
    return bool(values[0] > 0.1 and values[-1] < 10.0)


def _differences(target: Target, point: TargetPoint, directions: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """Minus the second derivatives along the directions, and the derivatives of the modes."""
    along, slopes = np.zeros(directions.shape), np.zeros((len(point.mode.u), len(steps)))
    for i, step in enumerate(steps):
        h = float(step)
        moved = target.at(point.x + h * directions[:, i], point.mode)
        if not np.isfinite(moved.value):
            h = -h
            moved = target.at(point.x + h * directions[:, i], point.mode)
        along[i] = (point.gradient - moved.gradient) / h if np.isfinite(moved.value) else np.nan
        slopes[:, i] = (moved.mode.u - point.mode.u) / h
    # Symmetric only up to rounding, which is small in well-chosen directions: what is left is carried back.
    along = along @ directions
    along = 0.5 * (along + along.T)
    wild = ~np.isfinite(along)
    if wild.any():  # no value on either side: said to be no maximum, instead of failing in the linear algebra
        along = np.where(wild, -np.eye(len(along)), along)
    return along, slopes


def _whiter(along: Floats, free: Bools) -> Floats | None:
    """Independent directions, one standard error long, where the given ones are nearly dependent; None elsewhere.

    Differences along nearly dependent directions lose the digits that tell them apart.
    """
    if not free.any():
        return None
    own = along[np.ix_(free, free)]
    size = 1.0 / np.sqrt(np.maximum(np.diag(own), 1e-300))
    values = np.linalg.eigvalsh(own * np.outer(size, size))
    if not 0.0 < values[0] < values[-1] / NEARLY_DEPENDENT:
        return None
    out = np.eye(len(free))
    out[np.ix_(free, free)] = size[:, None] * np.linalg.inv(np.linalg.cholesky(own * np.outer(size, size))).T
    return out


def _directions(target: Target, point: TargetPoint, scale: Floats) -> tuple[Floats, Floats]:
    """Directions to take differences along, as columns, and the inverse of that matrix.

    The coefficients move along directions that are about independent and one standard error long: differences along
    the coefficients themselves lose all digits when a predictor is far from its origin, for then the intercept and the
    slope are nearly one parameter. The rest moves as it is.
    """
    d, p, mode = len(point.x), target.coordinates.p, point.mode
    directions, back = np.eye(d), np.eye(d)
    if p == 0:  # hyperparameters alone
        return directions, back
    X, weights = target.objective.X, -mode.derivatives.d2
    assert mode.factor is not None
    cross = mode.factor.loadings.cross(weights, X)
    information = X.T @ (weights[:, None] * X) - cross.T @ mode.factor.solve(cross)
    size = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    try:
        L = np.linalg.cholesky(information * np.outer(size, size))
    except np.linalg.LinAlgError:
        directions[:p, :p], back[:p, :p] = np.diag(scale[:p]), np.diag(1.0 / scale[:p])
        return directions, back
    directions[:p, :p] = size[:, None] * np.linalg.inv(L).T
    back[:p, :p] = L.T / size
    return directions, back


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
