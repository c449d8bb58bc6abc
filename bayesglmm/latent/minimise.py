"""A small quasi-Newton minimiser for smooth functions of few variables whose exact gradient is known.

BFGS (Nocedal & Wright 2006, algorithm 6.1) with a weak Wolfe line search, started from any inverse Hessian and
stopped on the Newton decrement g'H⁻¹g, which is free of the variables' scales. The inverse Hessian is returned, so
that a sequence of similar problems (a working-response loop) warm-starts both the point and the curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Parameters
    ----------
    x, gradient : ndarray, shape (k,)
        The point and the gradient there.
    value : float
        The objective there.
    inverse_hessian : ndarray, shape (k, k)
        The quasi-Newton approximation.
    decrement : float
        sqrt(g'H⁻¹g).
    converged : bool
        Whether the decrement fell under the tolerance.
    message : str
        Why it stopped.
    iterations, evaluations : int
        Steps taken, and evaluations of value and gradient.
    """

    x: Floats
    gradient: Floats
    value: float
    inverse_hessian: Floats
    decrement: float
    converged: bool
    message: str
    iterations: int
    evaluations: int


@dataclass
class _Point:
    """A point on the search line, with the step that led to it."""

    step: float
    x: Floats
    value: float
    gradient: Floats


class _Counted:
    """The objective, counting its evaluations; a non-finite value counts as plus infinity."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.evaluations = 0

    def __call__(self, x: Floats, step: float = 0.0) -> _Point:
        self.evaluations += 1
        value, gradient = self.objective(x)
        finite = np.isfinite(value) and bool(np.all(np.isfinite(gradient)))
        return _Point(step, x, value if finite else np.inf, gradient)


def minimise(
    objective: Objective,
    start: Floats,
    inverse_hessian: Floats,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
    longest: Floats | None = None,
) -> Minimum:
    """Minimise a smooth function by BFGS.

    Parameters
    ----------
    objective : callable
        x → (value, gradient). A non-finite value is a wall the line search steps back from.
    start : ndarray, shape (k,)
        Where to start; the objective must be finite there.
    inverse_hessian : ndarray, shape (k, k)
        Positive definite first guess of the inverse Hessian.
    tolerance : float
        Stop when the Newton decrement sqrt(g'H⁻¹g) is below it.
    max_iterations : int
        Cap on the steps.
    longest : ndarray, shape (k,), optional
        How far each variable may move at first in one search: a step that leaps onto a plateau never comes back.

    Returns
    -------
    Minimum
    """
    counted = _Counted(objective)
    here = counted(np.array(start, dtype=float))
    H = np.array(inverse_hessian, dtype=float)
    fresh = True  # H is still the caller's guess: a failed line search then has nothing to reset
    message, converged, iteration = f"stopped at the cap of {max_iterations} iterations", False, 0
    for iteration in range(max_iterations + 1):
        decrement = float(np.sqrt(max(here.gradient @ H @ here.gradient, 0.0)))
        if not np.isfinite(here.value):
            message = "the objective is not finite at the starting point"
            break
        if decrement <= tolerance:
            message, converged = "Newton decrement below tolerance", True
            break
        if iteration == max_iterations:
            break
        direction = -H @ here.gradient
        if longest is not None:
            direction = direction / max(1.0, float(np.max(np.abs(direction) / longest)))
        there = _line_search(counted, here, direction)
        if there is None and not fresh:
            H, fresh = np.array(inverse_hessian, dtype=float), True
            continue
        if there is None:
            # No descent is left in the digits of the value: that is convergence when the gradient agrees.
            converged = decrement <= 1e3 * tolerance + np.sqrt(1e-14 * (1.0 + abs(here.value)))
            message = "no further decrease in the digits of the objective"
            break
        H = _update(H, there.x - here.x, there.gradient - here.gradient, fresh and iteration == 0)
        here, fresh = there, False
    return Minimum(
        here.x, here.gradient, here.value, H, decrement, bool(converged), message, iteration, counted.evaluations
    )


def _line_search(counted: _Counted, here: _Point, direction: Floats) -> _Point | None:
    """A step with sufficient decrease and a flatter slope (weak Wolfe), by bracketing; None when there is none."""
    slope = float(here.gradient @ direction)
    if not slope < 0.0:
        return None
    noise = 1e-14 * (1.0 + abs(here.value))
    if -slope < 100.0 * noise:
        # The decrease to be had is lost in the value's rounding; the gradient still tells whether a step helps.
        there = counted(here.x + direction, 1.0)
        return there if abs(float(there.gradient @ direction)) < 0.5 * abs(slope) else None
    start = _Point(0.0, here.x, here.value, here.gradient)
    low, high, step = start, np.inf, 1.0
    for _ in range(40):
        there = counted(here.x + step * direction, step)
        if not there.value <= here.value + 1e-4 * step * slope + noise:
            high = step
            step = _interpolate(here.value, slope, there) if np.isfinite(there.value) and low is start else 0.0
            if not low.step + 0.1 * (high - low.step) < step < high:
                step = 0.5 * (low.step + high)
        elif float(there.gradient @ direction) < 0.9 * slope:
            low = there
            step = 2.0 * step if not np.isfinite(high) else 0.5 * (low.step + high)
        else:
            return there
        if np.max(np.abs(step * direction) / (1.0 + np.abs(here.x))) < 1e-15:
            break
    return None if low is start else low


def _interpolate(value: float, slope: float, there: _Point) -> float:
    """Minimum of the parabola through the value and slope at zero and the value at the step."""
    curvature = there.value - value - slope * there.step
    return float(-0.5 * slope * there.step**2 / curvature) if curvature > 0 else 0.0


def _update(H: Floats, s: Floats, y: Floats, first: bool) -> Floats:
    """BFGS update of the inverse Hessian; left alone where the curvature along the step is not positive."""
    sy = float(s @ y)
    if not sy > 1e-10 * float(np.sqrt((s @ s) * (y @ y))):
        return H
    if first:
        # Give the guess the size of the curvature just seen along the step (Nocedal & Wright, eq. 6.20).
        H = H * (sy / float(y @ H @ y))
    V = np.eye(len(s)) - np.outer(s, y) / sy
    return V @ H @ V.T + np.outer(s, s) / sy
