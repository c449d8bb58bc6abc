"""The outer optimiser: quasi-Newton to the neighbourhood, exact curvature there, Newton steps to the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.curvature import Curvature, curvature
from bayesglmm.latent.minimise import Minimum, minimise
from bayesglmm.latent.mode import Mode, Warm
from bayesglmm.latent.start import Start
from bayesglmm.latent.target import Coordinates, Target, TargetPoint

Floats = NDArray[np.float64]

#: Newton decrement at which quasi-Newton hands over, and at which the optimum is reached.
HANDOVER = 1e-4
TOLERANCE = 1e-8
#: Decrement from which the curvature is taken anew once the optimum is reached.
FAR_OFF = 1e-3
#: Decrement that still counts as converged when rounding stops the last steps.
ACCEPTED = 1e-5
MAX_ROUNDS = 5
#: Scales this many standard errors from zero are put there if the value falls by no more than this; the second, wider
#: net is for when the first left no optimum.
NEAR_ZERO = ((1e-3, 1e-7), (3e-2, 1e-5))


@dataclass(frozen=True)
class Optimum:
    """Where the optimisation ended.

    Parameters
    ----------
    point : TargetPoint
        The optimum.
    curvature : Curvature
        Information, sensitivity of the modes, and which parameters sit at an edge.
    decrement : float
        Newton decrement over the free parameters.
    converged : bool
        Whether it is small enough.
    message : str
        Why it stopped.
    iterations, evaluations : int
        Steps, and evaluations of the target with its gradient.
    notes : tuple of str
        What happened on the way.
    """

    point: TargetPoint
    curvature: Curvature
    decrement: float
    converged: bool
    message: str
    iterations: int
    evaluations: int
    notes: tuple[str, ...] = ()


class _Tracked:
    """The target, counted, each evaluation warm-started at the last conditional modes."""

    def __init__(self, target: Target, start: Warm) -> None:
        self.target, self.count = target, 0
        self.near: Warm | Mode = start
        self.last: TargetPoint | None = None
        #: Why there was no value at the last point without one.
        self.wall = ""

    def at(self, x: Floats, start: Mode | None = None) -> TargetPoint:
        if self.last is not None and np.array_equal(self.last.x, x):
            return self.last
        self.count += 1
        point = self.target.at(x, self.near if start is None else start)
        if np.isfinite(point.value):
            self.last = point
            self.near = point.mode
        elif point.evaluation is not None:
            self.wall = point.evaluation.mode.message
        return point

    def negative(self, x: Floats) -> tuple[float, Floats]:
        point = self.at(x)
        return -point.value, -point.gradient


def maximise(target: Target, start: Start) -> Optimum:
    """Maximise the target.

    Parameters
    ----------
    target : Target
        Log marginal likelihood or posterior.
    start : Start
        Where to begin, with a guess of the inverse Hessian.

    Raises
    ------
    ConvergenceError
        When the target is finite neither at the start nor with smaller variances.
    """
    tracked = _Tracked(target, Warm(start.modes))
    x, notes = _usable_start(tracked, start)
    inverse = start.inverse_hessian
    longest = _longest_steps(target.coordinates, x, inverse)
    iterations = 0
    for _ in range(MAX_ROUNDS):
        found = minimise(tracked.negative, x, inverse, tolerance=HANDOVER, longest=longest)
        iterations += found.iterations
        for near_zero, loss in NEAR_ZERO:
            point = tidy(target, tracked.at(found.x), found, near_zero, loss)
            bent = curvature(target, point, np.sqrt(np.diag(found.inverse_hessian)))
            tracked.count += bent.evaluations
            off = bent.decrement(point.gradient) if bent.definite else 0.0
            point, decrement, steps = _polish(tracked, point, bent)
            if off > FAR_OFF and decrement <= ACCEPTED:  # the quasi-Newton method misjudged: so far off, so wrong
                bent = curvature(target, point, np.sqrt(np.diag(bent.inverse_hessian(found.inverse_hessian))))
                tracked.count += bent.evaluations
                point, decrement, more = _polish(tracked, point, bent)
                steps += more
            iterations += steps
            if bent.definite and decrement <= ACCEPTED:
                break
        uphill = bent.escape if bent.definite else bent.worst
        moved = None if uphill is None else _climb(tracked, point, uphill)
        if moved is not None:
            notes = (*notes, "left a point where the curvature had the wrong sign")
            point = moved
        elif not bent.definite or decrement <= ACCEPTED or not found.converged:
            break
        x, inverse = point.x, bent.inverse_hessian(found.inverse_hessian)
    converged, message = _verdict(found, bent, decrement, tracked.wall)
    return Optimum(point, bent, decrement, converged, message, iterations, tracked.count, notes)


def _usable_start(tracked: _Tracked, start: Start) -> tuple[Floats, tuple[str, ...]]:
    """The start, or the same with smaller random effects where the inner problem has no mode."""
    coordinates = tracked.target.coordinates
    x = start.x
    for attempt in range(8):
        if np.isfinite(tracked.at(x).value):
            return x, ("started from smaller variances",) if attempt else ()
        beta, theta, psi = coordinates.split(x)
        smaller = [0.4 if c.kind in ("scale", "free") else 1.0 for c in coordinates.entries]
        x = coordinates.join(beta, theta * np.array(smaller), psi)
    last = tracked.at(x).evaluation
    raise ConvergenceError(
        "the marginal likelihood is not finite at any starting point tried: "
        f"{'outside the support of the priors' if last is None else last.mode.message}. "
        "Check the scale of the predictors, or simplify the random terms."
    )


def _longest_steps(coordinates: Coordinates, x: Floats, inverse: Floats) -> Floats:
    """How far one search may go: two units of a log or logit, a few times its size for a scale, β as it likes."""
    longest = np.full(len(x), np.inf)
    se = np.sqrt(np.diag(inverse))
    for k, entry in enumerate(coordinates.entries):
        i = coordinates.theta.start + k
        natural = entry.kind != "interval" and not entry.logged(coordinates.log_scales)
        longest[i] = max(3.0 * abs(x[i]), 5.0 * se[i]) if natural else 2.0
    longest[coordinates.theta.stop :] = 2.0
    return longest


def tidy(target: Target, point: TargetPoint, found: Minimum, near_zero: float, loss: float) -> TargetPoint:
    """Make scales non-negative, and put variances that have converged to zero exactly there.

    The latter for maximum likelihood only: with priors scales are logged and never zero. `near_zero` is in
    approximate standard errors, `loss` what the value may fall by.
    """
    coordinates = target.coordinates
    x = canonical(coordinates, point.x)
    small = near_zero * np.sqrt(np.diag(found.inverse_hessian))
    snapped = x
    for _ in range(len(x)):  # emptying one column of Λ can shorten the next
        zero = np.where(_may_vanish(coordinates, snapped) & (np.abs(snapped) < small), 0.0, snapped)
        before, snapped = snapped, canonical(coordinates, zero)
        if np.array_equal(before, snapped):
            break
    if not np.array_equal(snapped, x):
        at_zero = target.at(snapped)
        if at_zero.value >= point.value - loss:
            return at_zero
    return point if np.array_equal(x, point.x) else target.at(x)


def _may_vanish(coordinates: Coordinates, x: Floats) -> NDArray[np.bool_]:
    """Entries of the vector that can be zero at a maximum: scales, and what is below a scale at zero in Λ."""
    out = np.zeros(len(x), dtype=bool)
    _, theta, _ = coordinates.split(x)
    at = coordinates.theta.start
    for cov, own in zip(coordinates.covariance, coordinates.blockwise(theta)):
        hollow = np.diag(cov.factor(own)) == 0.0
        below = cov.pullback(own, np.tril(np.broadcast_to(hollow, (cov.size, cov.size)).astype(float))) != 0.0
        for entry, under in zip(cov.coordinates, below):
            free = entry.kind == "scale" and not entry.logged(coordinates.log_scales)
            out[at] = free or (entry.kind == "free" and under and not coordinates.log_scales)
            at += 1
    return out


def _polish(tracked: _Tracked, point: TargetPoint, bent: Curvature) -> tuple[TargetPoint, float, int]:
    """Newton steps with a fixed Hessian until the decrement is at rounding."""
    if not bent.definite:
        return point, np.inf, 0
    decrement = bent.decrement(point.gradient)
    for step in range(6):
        if decrement <= TOLERANCE:
            return point, decrement, step
        moved = tracked.at(point.x + bent.step(point.gradient), point.mode)
        after = bent.decrement(moved.gradient) if np.isfinite(moved.value) else np.inf
        if not after < 0.5 * decrement:
            return point, decrement, step
        point, decrement = moved, after
    return point, decrement, 6


def _climb(tracked: _Tracked, point: TargetPoint, direction: Floats) -> TargetPoint | None:
    """A higher point along a direction of wrong curvature, or None."""
    for size in (0.1, 0.03, 0.3, 1.0, 3.0):
        for sign in (1.0, -1.0):
            moved = tracked.at(point.x + sign * size * direction, point.mode)
            if moved.value > point.value + 1e-9:
                return moved
    return None


def _verdict(found: Minimum, bent: Curvature, decrement: float, wall: str) -> tuple[bool, str]:
    """Whether the end is an optimum, in words; `wall` is why the target had no value beside it, if that happened."""
    near = f"; nearby {wall}" if wall else ""
    if not bent.definite:
        words = "the information matrix is not positive definite at the end: some parameters are not identified"
        return False, words + near
    if decrement <= ACCEPTED:
        return True, f"converged: Newton decrement {decrement:.1e}"
    return False, f"not converged: Newton decrement {decrement:.1e} ({found.message}{near})"


def canonical(coordinates: Coordinates, x: Floats) -> Floats:
    """The vector with non-negative scales that means the same model."""
    beta, theta, psi = coordinates.split(x)
    parts = [c.canonical(t) for c, t in zip(coordinates.covariance, coordinates.blockwise(theta))]
    return coordinates.join(beta, np.concatenate([*parts, np.empty(0)]), psi)
