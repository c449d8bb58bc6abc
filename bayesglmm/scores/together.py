"""Coefficients and the shape of the variance in the same passes over data in chunks.

Turns of one and then the other (:mod:`bayesglmm.scores.alternate`) read the data dozens of times. The two are
orthogonal in the expected information, so that a scoring step of each from the same pass goes nearly as far as a joint
one: a handful of passes from where a sample ended (Lawless 1987, Canadian Journal of Statistics 15, 209-225).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.chunked import BoundPart, ChunkedDesign
from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.scores.alternate import Alternated
from bayesglmm.scores.likelihood import PSI_LIMIT, aux_score, loglik_at
from bayesglmm.scores.opening import GRAM_CONDITION
from bayesglmm.scores.rows import design_rows
from bayesglmm.scores.scoring import SETTLED, Scored, change_of
from bayesglmm.scores.solve import Factor, factorise
from bayesglmm.scores.sums import Sums, sweep

Floats = NDArray[np.float64]

_MAX_PASSES, _HALVINGS = 30, 6
#: Step of the difference that gives the slope of the auxiliary's score.
_H = 1e-4


@dataclass(frozen=True)
class _Look:
    """Sums of one pass at (β, ψ): those of a scoring step, log-likelihood, and the score of ψ at ψ − h, ψ, ψ + h."""

    sums: Sums
    loglik: float
    scores: Floats

    def __add__(self, other: _Look) -> _Look:
        return _Look(self.sums + other.sums, self.loglik + other.loglik, self.scores + other.scores)


@dataclass(frozen=True)
class _LookAt:
    """Part of the data → :class:`_Look`, None without rows."""

    family: Family
    link: Link
    beta: Floats
    psi: Floats

    def __call__(self, part: BoundPart) -> _Look | None:
        total = None
        for design, _ in part.designs():
            problem = Problem(design, self.family, self.link, (), None)
            aux = auxiliary_values(problem, self.psi)
            sums = sweep(design_rows(design), self.family, self.link, aux, self.beta)
            eta = design.X @ self.beta + design.offset
            scores = np.array([aux_score(problem, eta, self.psi + shift)[0] for shift in (-_H, 0.0, _H)])
            look = _Look(sums, loglik_at(problem, eta, self.psi), scores)
            total = look if total is None else total + look
        return total


@dataclass(frozen=True)
class _Point:
    beta: Floats
    psi: Floats
    look: _Look
    factor: Factor
    passes: int

    @property
    def step(self) -> tuple[Floats, Floats]:
        """Scoring step of β and Newton step of ψ; that of ψ is no number where its likelihood is not concave."""
        low, here, high = self.look.scores
        slope = (high - low) / (2.0 * _H)
        return self.factor.step(self.look.sums.score), np.array([-here / slope if slope < 0 else np.nan])


def solve_together(
    problem: Problem,
    begin: Callable[[Problem], tuple[Floats, Floats]],
    tolerance: float,
    max_iterations: int,
    executor: Any = None,
) -> Alternated | None:
    """Coefficients and auxiliary of data in chunks; None where turns are safer.

    Parameters
    ----------
    problem : Problem
        Data in chunks, and a family with one auxiliary that enters the variance function.
    begin : callable
        Problem in memory → its coefficients and auxiliary.
    tolerance : float
        As for the scoring; the auxiliary is held to a tenth of it.
    max_iterations : int
        Cap on the passes.
    executor : concurrent.futures.Executor, optional
        Sums the parts.

    Returns
    -------
    Alternated or None
        None for columns too ill-conditioned for the normal equations, an auxiliary on its way to infinity, and
        steps that do not raise the likelihood.
    """
    design = problem.design
    assert isinstance(design, ChunkedDesign)

    def look(beta: Floats, psi: Floats) -> _Look:
        parts = design.map(_LookAt(problem.family, problem.link, beta, psi), executor)
        found = [part for part in parts if part is not None]
        return sum(found[1:], start=found[0])

    try:
        beta, psi = begin(replace(problem, design=design.sample))
    except ConvergenceError:
        return None
    point = _point(beta, psi, look(beta, psi), 1)
    for iteration in range(1, min(max_iterations, _MAX_PASSES) + 1):
        if point is None:
            return None
        beta_step, psi_step = point.step
        if not (np.isfinite(psi_step[0]) and abs(point.psi[0] + psi_step[0]) < PSI_LIMIT):
            return None
        sums = point.look.sums
        decrement = float(np.sqrt(max(float(beta_step @ sums.score), 0.0)))
        nothing = change_of(beta_step, sums) < SETTLED or decrement < tolerance
        if nothing and abs(psi_step[0]) < max(0.1 * tolerance, 1e-12):
            end, message = point.beta + beta_step, "score equations solved"
            scored = Scored(end, sums, point.factor, iteration, point.passes, decrement, True, message)
            return Alternated(scored, point.psi + psi_step)
        point = _next(look, point, beta_step, psi_step)
    return None


def _next(look: Callable[[Floats, Floats], _Look], point: _Point, beta_step: Floats, psi_step: Floats) -> _Point | None:
    """The first of the whole step, its half, ... that does not lower the likelihood."""
    enough = point.look.loglik - 1e-12 * abs(point.look.loglik)
    for halving in range(_HALVINGS):
        beta, psi = point.beta + beta_step * 0.5**halving, point.psi + psi_step * 0.5**halving
        new = look(beta, psi)
        if new.sums.inside and new.loglik >= enough:
            return _point(beta, psi, new, point.passes + halving + 1)
    return None


def _point(beta: Floats, psi: Floats, look: _Look, passes: int) -> _Point | None:
    factor = factorise(look.sums) if look.sums.inside else None
    if factor is None or factor.condition > GRAM_CONDITION:
        return None
    return _Point(beta, psi, look, factor, passes)
