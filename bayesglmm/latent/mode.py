"""The mode of the random effects given the parameters: damped Newton on the penalised log-density.

h(u) = Σ ℓ_i(η_i) − ½ u'Pu with η = fixed + Au. Every method that needs conditional modes comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel, Derivatives
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.elimination.structure import Loadings, Structure

Floats = NDArray[np.float64]

#: Newton decrement at which the mode is found. The error of log|H| is of first order in it, so it is tight.
TOLERANCE = 1e-10
#: Below this the slope along a step says more than the rise of h.
CLOSE = 1e-2
#: Below this a Newton step ought to gain many digits.
STAGNATION = 1e-5
MAX_ITERATIONS = 200
#: Newton steps in a row of which less than this share can be taken: the search is up against a wall.
JAMMED, MAX_SHORT = 1e-3, 10
MAX_HALVINGS = 40
OVER_THE_EDGE = "the random effects push the linear predictor over the edge of its range (log or logit have none)"


@dataclass(frozen=True)
class Point:
    """Everything about h at one u."""

    u: Floats
    eta: Floats
    derivatives: Derivatives
    gradient: Floats
    value: float


@dataclass(frozen=True)
class Mode:
    """A conditional mode and the factor of the observed information there.

    Parameters
    ----------
    u, eta : ndarray, shape (m,), (n,)
        The mode and the linear predictor at it.
    derivatives : Derivatives
        Log-density per row and its η-derivatives at the mode.
    factor : Factor or None
        H = A'WA + P with the observed W = −ℓ''; None when the search failed.
    value : float
        h(û).
    decrement : float
        Newton decrement: distance to the mode in standard deviations.
    iterations : int
        Newton steps taken.
    message : str
        Empty when the mode was found; otherwise why not.
    """

    u: Floats
    eta: Floats
    derivatives: Derivatives
    factor: Factor | None
    value: float
    decrement: float
    iterations: int
    message: str = ""

    @property
    def found(self) -> bool:
        """Whether this is a strict local maximum."""
        return not self.message


@dataclass(frozen=True)
class Warm:
    """Where to start looking for a mode, a factor of H from nearby parameters, if there is one, and how close to come.

    The Newton decrement at the end enters log|H| at first order: optimisers want it tight; a sampler does not notice
    one millionth.
    """

    u: Floats
    factor: Factor | None = None
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Inner:
    """h and its derivatives, at fixed parameters.

    Parameters
    ----------
    loadings : Loadings
        A at the Λ in question.
    kernel : BoundKernel
        The log-density.
    fixed : ndarray, shape (n,)
        Xβ + offset.
    psi : ndarray, shape (n_aux,)
        Unconstrained auxiliaries.
    """

    loadings: Loadings
    kernel: BoundKernel
    fixed: Floats
    psi: Floats

    def at(self, u: Floats) -> Point:
        """Evaluate h at u."""
        eta = self.fixed + self.loadings.expand(u)
        d = self.kernel.derivatives(eta, self.psi)
        pull = self.loadings.structure.penalty(u)
        value = float(d.value.sum() - 0.5 * (u @ pull))
        return Point(u, eta, d, self.loadings.collect(d.d1) - pull, value)

    @property
    def origin(self) -> Floats:
        """Where to start when there is nothing better."""
        return np.zeros(self.loadings.structure.m)

    def observed(self, point: Point) -> Factor:
        """Factor of the observed information.

        Raises
        ------
        NotPositiveDefiniteError
            Where it is not positive definite.
        """
        return self.loadings.factorize(-point.derivatives.d2)

    def factor(self, point: Point) -> tuple[Factor, bool]:
        """Factor for a Newton step, and whether it is the observed information (else the expected one)."""
        try:
            return self.observed(point), True
        except NotPositiveDefiniteError:
            return self.loadings.factorize(np.maximum(self.kernel.expected_weight(point.eta, self.psi), 0.0)), False


def find_mode(
    loadings: Loadings, kernel: BoundKernel, fixed: Floats, psi: Floats, start: Warm | Mode | None = None
) -> Mode:
    """Maximise h over u.

    Parameters
    ----------
    loadings : Loadings
        A at the Λ in question.
    kernel : BoundKernel
        The log-density.
    fixed : ndarray, shape (n,)
        Xβ + offset.
    psi : ndarray, shape (n_aux,)
        Unconstrained auxiliaries.
    start : Warm or Mode, optional
        Where to begin, and perhaps a factor near enough to be useful; zero when left out, or when h is not finite
        there.

    Returns
    -------
    Mode
        With `found` False, and a message, when no strict maximum was reached.
    """
    return climb(Inner(loadings, kernel, fixed, psi), start)


def climb(inner: Inner, start: Warm | Mode | None = None) -> Mode:
    """Maximise h over its unknowns; see :func:`find_mode`."""
    point = inner.at(inner.origin if start is None else start.u)
    if not _usable(point) and start is not None:
        point, start = inner.at(inner.origin), None
    if not _usable(point):
        return _failed(point, 0, "the log-density is not finite at zero random effects")
    try:
        tolerance = start.tolerance if isinstance(start, Warm) else TOLERANCE
        return _search(inner, point, None if start is None else start.factor, tolerance)
    except NotPositiveDefiniteError:
        return _failed(point, 0, "the information of the random effects is not finite")


def _search(inner: Inner, point: Point, guide: Factor | None, tolerance: float = TOLERANCE) -> Mode:
    """Newton steps, each factor used again for as long as that is cheaper than a new one."""
    chords = _worthwhile_chords(inner.loadings.structure)
    if guide is not None:
        point, close = _chord(inner, guide, point, np.inf, chords, tolerance)
        if close is not None:
            return _finish(inner, point, close, 1)
    before, short = np.inf, 0
    for iteration in range(MAX_ITERATIONS):
        factor, observed = inner.factor(point)
        step = factor.solve(point.gradient)
        decrement = _decrement(point, step)
        # A Newton step this close to the mode that gains nothing has reached rounding (huge counts get there early).
        if decrement <= tolerance or (before < STAGNATION and decrement > 0.1 * before):
            if observed:
                return _mode(point, factor, decrement, iteration)
            return _failed(point, iteration, "the observed information is not positive definite at the mode")
        moved = line_search(inner, point, step, decrement)
        if moved is None:
            return _stalled(point, factor, observed, decrement, iteration)
        short = short + 1 if np.abs(moved.u - point.u).max() < JAMMED * np.abs(step).max() else 0
        if short == MAX_SHORT:
            return _failed(point, iteration, OVER_THE_EDGE)
        before, point, close = decrement, moved, None
        if observed:
            point, close = _chord(inner, factor, moved, decrement, chords, tolerance)
        if close is not None:
            return _finish(inner, point, close, iteration + 1)
    return _failed(point, MAX_ITERATIONS, f"no mode within {MAX_ITERATIONS} Newton steps")


def _worthwhile_chords(structure: Structure) -> int:
    """How many steps with an old factor (a kernel evaluation and a solve) cost less than new factors would."""
    return int(np.clip(2.0 * structure.plan.flops / (60.0 * max(structure.n, 1)), 1, 12))


def _chord(
    inner: Inner, factor: Factor, point: Point, before: float, chords: int, tolerance: float
) -> tuple[Point, float | None]:
    """Steps with the factor at hand while they promise to reach the tolerance; the decrement there if they did.

    `before` is the decrement of the step that led to `point`; infinite when there was none.
    """
    step = factor.solve(point.gradient)
    decrement = _decrement(point, step)
    slack = _slack(point)
    while decrement > tolerance:
        rate = decrement / before
        if not rate < 0.5 or decrement * rate**chords > tolerance or chords == 0:
            return point, None
        moved = inner.at(point.u + step)
        if not _usable(moved) or (decrement > CLOSE and moved.value < point.value - slack):
            return point, None
        step = factor.solve(moved.gradient)
        point, before, decrement = moved, decrement, _decrement(moved, step)
        chords -= 1
    return point, decrement


def _finish(inner: Inner, point: Point, decrement: float, iterations: int) -> Mode:
    try:
        return _mode(point, inner.observed(point), decrement, iterations)
    except NotPositiveDefiniteError:
        return _failed(point, iterations, "the observed information is not positive definite at the mode")


def line_search(inner: Inner, point: Point, step: Floats, decrement: float) -> Point | None:
    """Backtrack until h has risen by a fraction of what the gradient promises; None when it cannot rise.

    Close to the mode the rise drowns in the rounding of h; there the slope, which is accurate, has to fall by half
    (Hager & Zhang 2005, SIAM J. Optim. 16, approximate Wolfe conditions).
    """
    t = 1.0
    slack = _slack(point)
    for _ in range(MAX_HALVINGS):
        moved = inner.at(point.u + t * step)
        if _usable(moved):
            if moved.value >= point.value + 1e-4 * t * decrement**2 - slack:
                return moved
            if decrement < CLOSE and abs(float(moved.gradient @ step)) <= 0.5 * decrement**2:
                return moved
        t *= 0.5
    return None


def _stalled(point: Point, factor: Factor, observed: bool, decrement: float, iterations: int) -> Mode:
    """Nothing rises any more: the mode to rounding, or a failure."""
    if observed and decrement < STAGNATION:
        return _mode(point, factor, decrement, iterations)
    return _failed(point, iterations, f"the line search stalled at a Newton decrement of {decrement:.1e}")


def _slack(point: Point) -> float:
    """Rounding of h."""
    return 1e-13 * (1.0 + float(np.abs(point.derivatives.value).sum()))


def _usable(point: Point) -> bool:
    return bool(np.isfinite(point.value) and np.isfinite(point.gradient).all())


def _decrement(point: Point, step: Floats) -> float:
    return float(np.sqrt(max(float(point.gradient @ step), 0.0)))


def _mode(point: Point, factor: Factor, decrement: float, iterations: int) -> Mode:
    return Mode(point.u, point.eta, point.derivatives, factor, point.value, decrement, iterations)


def _failed(point: Point, iterations: int, message: str) -> Mode:
    return Mode(point.u, point.eta, point.derivatives, None, point.value, np.inf, iterations, message)
