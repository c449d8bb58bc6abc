"""Fisher scoring with step halving: the one loop that solves score equations for β at fixed auxiliaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.acceleration import Path
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import Factor, factorise, require_factor
from bayesglmm.scores.start import feasible_points
from bayesglmm.scores.sums import Sums, sweep
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]
#: (β, sums) → sums with an adjusted score and the objective that goes with it.
Adjust = Callable[[Floats, Sums], Sums]

#: Above this condition number of the scaled columns, steps are found by QR instead of the normal equations.
GRAM_CONDITION = 1e3
#: n p² below which QR costs nothing worth saving.
SMALL = 2e6
MAX_HALVINGS = 40
_EDGE = "no step lowers the objective"
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
    """

    beta: Floats
    sums: Sums
    factor: Factor
    iterations: int
    evaluations: int
    decrement: float
    converged: bool
    message: str


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

    Returns
    -------
    Scored

    Raises
    ------
    ConvergenceError
        No admissible starting point, or X'WX not positive definite.
    """
    if start is None and source.sample is not None:
        start = _sample_start(source.sample(), family, link, aux, max_iterations)
    small = source.n is not None and source.n * len(source.columns) ** 2 < SMALL
    first = _first_point(source, family, link, aux, start, qr=small if qr is None else qr)
    beta, sums, evaluations, use_qr = first.beta, first.sums, first.evaluations, first.qr and adjust is None

    def at(beta: Floats) -> Sums:
        sums = sweep(source, family, link, aux, beta, qr=use_qr)
        return sums if adjust is None else adjust(beta, sums)

    if adjust is not None:
        sums = at(beta)

    previous, whole, factor = np.inf, True, require_factor(sums)
    path = Path(())
    message, converged = f"stopped at the cap of {max_iterations} iterations", False
    iteration = first.solved
    while iteration < max_iterations:
        iteration += 1
        step = factor.step(sums.score)
        phi = _unit(family, sums, len(beta))
        decrement = float(np.sqrt(max(float(step @ sums.score), 0.0) / phi))
        if decrement < tolerance and not use_qr and adjust is None:  # there already: one pass less over many rows
            message, converged, iteration = "score equations solved", True, iteration - 1
            break
        remaining = _remaining(decrement, previous if whole else np.inf, path.contraction)
        roundoff = _is_roundoff(decrement, previous, phi, sums, factor)
        path = path.extended(beta, step, decrement / previous if whole else np.nan, decrement)
        accepted = _halve(at, beta, step, sums, path.leap(factor.stretch))
        evaluations += accepted.tries
        if accepted.sums is None:
            converged = remaining < max(1e3 * tolerance, 1e-6) or roundoff
            message, whole = "score equations solved to round-off" if converged else _EDGE, False
            break
        beta, sums, previous, whole = accepted.beta, accepted.sums, decrement, accepted.tries == 1
        latest = factorise(sums)
        if latest is None:
            message = _VANISHED
            break
        factor = latest
        if roundoff or (whole and remaining < tolerance):
            message, converged = "score equations solved", True
            break
    if not converged and not whole:
        message = f"{message}; steps are being cut at the edge of the link's domain"
    return Scored(beta, sums, factor, iteration, evaluations, decrement, converged, message)


def _sample_start(sample: RowSource, family: Family, link: Link, aux: Aux, max_iterations: int) -> Floats | None:
    """Coefficients of a sample of the rows: with many rows they save most of the passes over all of them."""
    try:
        found = score_equations(sample, family, link, aux, max_iterations=max_iterations, tolerance=1e-3)
    except ConvergenceError:
        return None
    return found.beta if found.converged else None


@dataclass(frozen=True)
class _Accepted:
    beta: Floats
    sums: Sums | None
    tries: int


def _halve(
    at: Callable[[Floats], Sums], beta: Floats, step: Floats, sums: Sums, leap: Floats | None = None
) -> _Accepted:
    """The first of the leap, β + δ, β + δ/2, ... that is inside the domain and does not raise the objective."""
    bound = sums.objective + 1e-12 * (abs(sums.objective) + 1e-3 * sums.n * np.finfo(float).eps)
    if leap is not None:
        new = at(leap)
        if new.inside and new.objective <= bound:
            return _Accepted(leap, new, 1)
    for halving in range(MAX_HALVINGS):
        candidate = beta + step * 0.5**halving
        new = at(candidate)
        if new.inside and new.objective <= bound:
            return _Accepted(candidate, new, halving + 1)
        if np.array_equal(candidate, beta):
            break
    return _Accepted(beta, None, halving + 1)


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


@dataclass(frozen=True)
class _First:
    beta: Floats
    sums: Sums
    evaluations: int
    qr: bool
    solved: int


def _first_point(source: RowSource, family: Family, link: Link, aux: Aux, start: Floats | None, qr: bool) -> _First:
    """First admissible β: the given one, else the first iterate, else a point found inside the domain.

    Decides on the way whether the normal equations are well conditioned enough.
    """
    evaluations = 0

    def candidates() -> Iterator[tuple[Floats, int]]:
        nonlocal evaluations, qr
        if start is not None:
            yield np.asarray(start, dtype=float), 0
        opening = sweep(source, family, link, aux, qr=qr)
        factor = factorise(opening)
        evaluations += 1
        if not qr and (factor is None or factor.condition > GRAM_CONDITION):
            qr = True
            factor, evaluations = factorise(sweep(source, family, link, aux, qr=qr)), evaluations + 1
        if factor is not None:
            yield factor.step(opening.score), 1
        for beta in feasible_points(source, family, link, aux):
            yield beta, 1

    for beta, solved in candidates():
        sums = sweep(source, family, link, aux, beta, qr=qr)
        evaluations += 1
        if sums.inside and np.isfinite(sums.deviance):
            factor = factorise(sums)
            if not qr and (factor is None or factor.condition > GRAM_CONDITION):
                qr = True
                sums, evaluations = sweep(source, family, link, aux, beta, qr=qr), evaluations + 1
            return _First(beta, sums, evaluations, qr, solved)
    raise ConvergenceError(
        f"no coefficients were found at which every mean is inside its range under the {link.name} link. "
        "Choose another link or give starting values (start=)."
    )
