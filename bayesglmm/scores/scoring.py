"""Fisher scoring with step halving: the one loop that solves score equations for β at fixed auxiliaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import Factor, factorise
from bayesglmm.scores.start import feasible_points
from bayesglmm.scores.sums import Sums, sweep
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]

#: Above this condition number of the scaled columns, steps are found by QR instead of the normal equations.
GRAM_CONDITION = 1e3
#: n p² below which QR costs nothing worth saving.
SMALL = 2e6
MAX_HALVINGS = 40


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
        Steps, and passes over the rows.
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

    Returns
    -------
    Scored

    Raises
    ------
    ConvergenceError
        No admissible starting point, or X'WX not positive definite.
    """
    small = source.n is not None and source.n * len(source.columns) ** 2 < SMALL
    first = _first_point(source, family, link, aux, start, qr=small if qr is None else qr)
    beta, sums, evaluations, use_qr = first.beta, first.sums, first.evaluations, first.qr

    def at(beta: Floats) -> Sums:
        return sweep(source, family, link, aux, beta, qr=use_qr)

    previous, state = np.inf, None
    for iteration in range(1, max_iterations + 1):
        factor = _factor(sums)
        step = factor.step(sums.score)
        phi = _unit(family, sums, len(beta))
        decrement = float(np.sqrt(max(step @ sums.score, 0.0) / phi))
        remaining = _remaining(decrement, previous)
        roundoff = decrement**2 * phi <= 1e-30 * sums.eta_norm
        accepted = _halve(at, beta, step, sums)
        evaluations += accepted.tries
        if accepted.sums is None:
            done = remaining < max(1e3 * tolerance, 1e-6) or roundoff
            why = "converged to round-off" if done else _stuck(sums)
            return Scored(beta, sums, factor, iteration, evaluations, decrement, done, why)
        beta, sums = accepted.beta, accepted.sums
        state = Scored(beta, sums, factor, iteration, evaluations, decrement, False, "")
        if accepted.tries == 1 and (remaining < tolerance or roundoff):
            return replace(state, factor=_factor(sums), converged=True, message="score equations solved")
        previous = decrement if accepted.tries == 1 else np.inf
    assert state is not None
    return replace(state, factor=_factor(sums), message=f"stopped at the cap of {max_iterations} iterations")


@dataclass(frozen=True)
class _Accepted:
    beta: Floats
    sums: Sums | None
    tries: int


def _halve(at: Callable[[Floats], Sums], beta: Floats, step: Floats, sums: Sums) -> _Accepted:
    """The first of β + δ, β + δ/2, ... that is inside the domain and does not raise the deviance."""
    bound = sums.deviance + 1e-12 * (abs(sums.deviance) + 1e-3 * sums.n * np.finfo(float).eps)
    for halving in range(MAX_HALVINGS):
        candidate = beta + step * 0.5**halving
        new = at(candidate)
        if new.inside and new.deviance <= bound:
            return _Accepted(candidate, new, halving + 1)
        if np.array_equal(candidate, beta):
            break
    return _Accepted(beta, None, halving + 1)


def _remaining(decrement: float, previous: float) -> float:
    """Distance left after the coming step, from the rate at which decrements shrink."""
    if not np.isfinite(previous) or previous == 0:
        return decrement
    rate = min(decrement / previous, 0.99)
    return decrement * rate / (1.0 - rate)


def _unit(family: Family, sums: Sums, p: int) -> float:
    """Scale that turns a decrement into standard errors: φ where it is fixed, else its Pearson estimate."""
    if family.scale is not None:
        return family.scale
    phi = sums.pearson / max(sums.n - p, 1)
    return phi if phi > 0 and np.isfinite(phi) else np.finfo(float).tiny


def _factor(sums: Sums) -> Factor:
    factor = factorise(sums)
    if factor is None:
        raise ConvergenceError(
            "the weighted cross-product X'WX is not positive definite: the working weights have vanished or the "
            "columns are linearly dependent under them. Rescale the columns or simplify the model."
        )
    return factor


def _stuck(sums: Sums) -> str:
    if not np.isfinite(sums.deviance):
        return "the deviance is not finite at the starting point"
    return "no step lowers the deviance: the solution lies at the edge of the link's domain, or the fit diverges"


@dataclass(frozen=True)
class _First:
    beta: Floats
    sums: Sums
    evaluations: int
    qr: bool


def _first_point(source: RowSource, family: Family, link: Link, aux: Aux, start: Floats | None, qr: bool) -> _First:
    """First admissible β: the given one, the first iterate, or a point found inside the domain.

    Decides on the way whether the normal equations are well conditioned enough.
    """
    evaluations = 0
    candidates: list[Floats] = []
    if start is None:
        opening = sweep(source, family, link, aux, qr=qr)
        evaluations, factor = 1, factorise(opening)
        if not qr and (factor is None or factor.condition > GRAM_CONDITION):
            qr = True
            opening = sweep(source, family, link, aux, qr=qr)
            evaluations, factor = 2, factorise(opening)
        if factor is not None:
            candidates.append(factor.step(opening.score))
    else:
        candidates.append(np.asarray(start, dtype=float))
    for attempt in range(2):
        for beta in candidates:
            sums = sweep(source, family, link, aux, beta, qr=qr)
            evaluations += 1
            if sums.inside and np.isfinite(sums.deviance):
                return _First(beta, sums, evaluations, qr)
        if attempt == 0:
            candidates = feasible_points(source, family, link, aux)
    raise ConvergenceError(
        f"no coefficients were found at which every mean is inside its range under the {link.name} link. "
        "Choose another link or give starting values (start=)."
    )
