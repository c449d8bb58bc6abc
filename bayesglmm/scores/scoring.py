"""Fisher scoring with step halving: the one loop that solves score equations for β at fixed auxiliaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.acceleration import Path
from bayesglmm.scores.opening import first_point
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import Factor, factorise, require_factor
from bayesglmm.scores.sums import Saturated, Sums, sweep
from bayesglmm.scores.surrogate import Bend, bent_steps
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]
#: (β, sums) → sums with an adjusted score and the objective that goes with it.
Adjust = Callable[[Floats, Sums], Sums]

#: n p² below which QR costs nothing worth saving.
SMALL = 2e6
MAX_HALVINGS = 40
#: Root mean square change of η (weighted by W) below which a step need not be looked at again.
SETTLED = 1e-11
#: The same within which the rows of a sample show how a step is to be bent.
NEAR = 0.1
_SOLVED = "score equations solved"
_STUCK = "no step lowers the objective"
_VANISHED = "the working weights have vanished: the coefficients run off to infinity"


@dataclass(frozen=True)
class Scored:
    """Where Fisher scoring ended.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    sums : Sums
        Sums at `beta`.
    factor : Factor
        Factor of X'WX at `beta`.
    iterations, evaluations : int
        Weighted least-squares solutions (the opening one counts, as in R), and passes over the rows.
    decrement : float
        Newton decrement at the end in units of a standard error.
    converged : bool
        Whether the remaining distance is below the tolerance.
    message : str
        Why it stopped.
    opening : Sums or None
        Sums of the first look at all rows, with the log-likelihood of a perfect fit where it was asked for.
    """

    beta: Floats
    sums: Sums
    factor: Factor
    iterations: int
    evaluations: int
    decrement: float
    converged: bool
    message: str
    opening: Sums | None = None


def score_equations(
    source: RowSource,
    family: Family,
    link: Link,
    aux: Aux = (),
    *,
    start: Floats | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
    qr: bool | None = None,
    adjust: Adjust | None = None,
    saturated: Saturated | None = None,
) -> Scored:
    """Solve X's(β) = 0 by Fisher scoring (iteratively reweighted least squares) with step halving.

    Each step solves X'WX δ = X's and is halved until the deviance does not rise and every mean stays inside its
    range. Because each step is found from freshly computed residuals, the loop is its own iterative refinement.

    Parameters
    ----------
    source : RowSource
        The rows.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale, held fixed.
    start : ndarray, shape (p,), optional
        Where to start; None starts from the family's initial means.
    max_iterations : int
        Cap on the steps.
    tolerance : float
        Stop when the estimated remaining distance to the solution is below this many standard errors.
    qr : bool, optional
        Solve the steps by QR; None decides by size and condition.
    adjust : callable, optional
        (β, sums) → sums with another score and objective, for adjusted score equations; steps then come from the
        normal equations.

    saturated : callable, optional
        Rows → log-likelihood of a perfect fit, summed at the first look at all rows.

    Returns
    -------
    Scored

    Raises
    ------
    ConvergenceError
        No admissible starting point, or X'WX not positive definite.
    """
    first = None
    if start is None and source.opening is not None and not qr and adjust is None:
        first = source.opening(family, link)
    if first is None:
        if start is None:
            start = sample_start(source, family, link, aux, max_iterations)
        small = source.n is not None and source.n * len(source.columns) ** 2 < SMALL
        first = first_point(source, family, link, aux, start, small if qr is None else qr, saturated)
    use_qr = first.qr and adjust is None

    def at(beta: Floats) -> Sums:
        sums = sweep(source, family, link, aux, beta, qr=use_qr)
        return sums if adjust is None else adjust(beta, sums)

    sums = first.sums if adjust is None else at(first.beta)
    direct = not use_qr and adjust is None
    bend = bent_steps(source.sample(), family, link, aux) if direct and source.sample is not None else None
    state = _State(first.beta, sums, require_factor(sums), Path(()), first.solved, first.evaluations)
    while not state.message and state.iterations < max_iterations:
        state = _advance(at, state, family, tolerance, direct, bend)
    message = state.message or f"stopped at the cap of {max_iterations} iterations"
    if not state.converged and state.outside:
        message += (
            f"; the solution seems to lie at the edge of what the {link.name} link allows: longer steps take some "
            f"means out of their range. Choose another link (the usual one of this family is {family.links[0]})"
        )
    return Scored(
        state.beta,
        state.sums,
        state.factor,
        state.iterations,
        state.evaluations,
        state.decrement,
        state.converged,
        message,
        first.sums,
    )


def sample_start(source: RowSource, family: Family, link: Link, aux: Aux, max_iterations: int) -> Floats | None:
    """Coefficients of a sample of the rows: with many rows they save most of the passes over all of them."""
    if source.sample is None:
        return None
    try:
        found = score_equations(source.sample(), family, link, aux, max_iterations=max_iterations, tolerance=1e-3)
    except ConvergenceError:
        return None
    return found.beta if found.converged else None


def change_of(step: Floats, sums: Sums) -> float:
    """Root mean square change of η by a step, rows weighted by W."""
    return float(np.sqrt(max(float(step @ sums.score), 0.0) / sums.weight)) if sums.weight > 0 else np.inf


@dataclass(frozen=True)
class _State:
    """A point on the way, how it was reached, and, once there is a message, why it is the last one."""

    beta: Floats
    sums: Sums
    factor: Factor
    path: Path
    iterations: int
    evaluations: int
    previous: float = np.inf  # the last decrement
    whole: bool = True  # whether the last step was not cut
    outside: bool = False  # whether it was cut because means left their range
    decrement: float = np.inf
    converged: bool = False
    message: str = ""


def _advance(
    at: Callable[[Floats], Sums], state: _State, family: Family, tolerance: float, direct: bool, bend: Bend | None
) -> _State:
    """One scoring step."""
    beta, sums, factor = state.beta, state.sums, state.factor
    step = factor.step(sums.score)
    phi = _unit(family, sums, len(beta))
    decrement = float(np.sqrt(max(float(step @ sums.score), 0.0) / phi))
    if direct and decrement < tolerance:  # there already
        return replace(state, decrement=decrement, converged=True, message=_SOLVED)
    state = replace(state, iterations=state.iterations + 1, decrement=decrement)
    if direct and state.whole and change_of(step, sums) < SETTLED:  # a look at what comes would change nothing
        gain = float(step @ sums.score)
        sums = replace(sums, deviance=sums.deviance - gain, objective=sums.objective - gain)
        return replace(state, beta=beta + step, sums=sums, converged=True, message=_SOLVED)
    remaining = _remaining(decrement, state.previous if state.whole else np.inf, state.path.contraction)
    roundoff = _is_roundoff(decrement, state.previous, phi, sums, factor)
    path = state.path.extended(beta, step, decrement / state.previous if state.whole else np.nan, decrement)
    leap = path.leap(factor.stretch)
    if leap is None and bend is not None and _is_worth_bending(change_of(step, sums), decrement / state.previous):
        leap = bend(beta, step, sums, factor)
    accepted = _halve(at, beta, step, sums, leap)
    state = replace(state, path=path, evaluations=state.evaluations + accepted.tries, outside=accepted.outside)
    if accepted.sums is None:
        converged = remaining < max(1e3 * tolerance, 1e-6) or roundoff
        return replace(state, converged=converged, message=f"{_SOLVED} to round-off" if converged else _STUCK)
    whole = accepted.tries == 1
    state = replace(state, beta=accepted.beta, sums=accepted.sums, previous=decrement, whole=whole)
    latest = factorise(accepted.sums)
    if latest is None:
        return replace(state, message=_VANISHED)
    if roundoff or (whole and remaining < tolerance):
        return replace(state, factor=latest, converged=True, message=_SOLVED)
    return replace(state, factor=latest)


def _is_worth_bending(change: float, rate: float) -> bool:
    """Whether a plain step would leave more than round-off, and the solution is near enough for a sample to say how."""
    return change < NEAR and change * max(change, min(rate, 1.0)) > SETTLED


@dataclass(frozen=True)
class _Accepted:
    beta: Floats
    sums: Sums | None
    tries: int
    outside: bool = False


def _halve(
    at: Callable[[Floats], Sums], beta: Floats, step: Floats, sums: Sums, leap: Floats | None = None
) -> _Accepted:
    """The first of the leap, β + δ, β + δ/2, ... that is inside the domain and does not raise the objective."""
    bound = sums.objective + 1e-12 * (abs(sums.objective) + 1e-3 * sums.n * np.finfo(float).eps)
    if leap is not None:
        new = at(leap)
        if new.inside and new.objective <= bound:
            return _Accepted(leap, new, 1)
    outside = False
    for halving in range(MAX_HALVINGS):
        candidate = beta + step * 0.5**halving
        new = at(candidate)
        if new.inside and new.objective <= bound:
            return _Accepted(candidate, new, halving + 1, outside)
        outside = outside or not new.inside
        if np.array_equal(candidate, beta):
            break
    return _Accepted(beta, None, halving + 1, outside)


def _is_roundoff(decrement: float, previous: float, phi: float, sums: Sums, factor: Factor) -> bool:
    """Whether a step is no larger than the rounding errors of η that it was computed from."""
    relative = decrement * np.sqrt(phi / sums.eta_norm) if sums.eta_norm > 0 else decrement
    stalled = decrement > 0.5 * previous
    return bool(relative <= 1e-15 or (stalled and relative <= 1e-15 * factor.condition))


def _remaining(decrement: float, previous: float, contraction: float) -> float:
    """Distance left after the coming step, from the rate at which decrements shrink (without leaps)."""
    if not np.isfinite(previous) or previous == 0:
        return decrement
    rate = min(max(decrement / previous, contraction), 0.99)
    return decrement * rate / (1.0 - rate)


def _unit(family: Family, sums: Sums, p: int) -> float:
    """Scale that turns a decrement into standard errors: φ where it is fixed, else its Pearson estimate."""
    if family.scale is not None:
        return family.scale
    phi = sums.pearson / max(sums.n - p, 1)
    return phi if phi > 0 and np.isfinite(phi) else np.finfo(float).tiny
