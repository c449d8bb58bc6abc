"""Coefficients and variance auxiliaries of a model without random effects, with their status."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import BayesGLMMWarning, DataWarning, SeparationWarning, warn
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Status
from bayesglmm.scores.alternate import Profile, alternate
from bayesglmm.scores.firth import firth_adjustment
from bayesglmm.scores.likelihood import saturated_loglik
from bayesglmm.scores.polish import polish
from bayesglmm.scores.rows import RowSource, problem_rows
from bayesglmm.scores.scoring import Scored, score_equations
from bayesglmm.scores.separation import find_separation
from bayesglmm.scores.together import solve_together
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]

#: Condition number of the scaled weighted columns above which fewer than about eight digits can be trusted.
ILL_CONDITIONED = 1e8


@dataclass(frozen=True)
class Solution:
    """Solved score equations.

    Parameters
    ----------
    scored : Scored
        Coefficients with their sums and factor.
    psi : ndarray, shape (n_aux,)
        Auxiliaries of the variance, unconstrained (zeros where they are mere dispersions).
    aux : tuple of float
        The same on their natural scale.
    status : Status
        How it ended.
    """

    scored: Scored
    psi: Floats
    aux: Aux
    status: Status


def solve_mean_model(
    problem: Problem,
    source: RowSource,
    *,
    start: Floats | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
    penalty: str | None = None,
    profile: Profile | None = None,
    saturated: bool = False,
    executor: Any = None,
) -> Solution:
    """Solve for the coefficients, by turns with an auxiliary where the variance function has one.

    Parameters
    ----------
    problem : Problem
        The model.
    source : RowSource
        Its rows.
    start, max_iterations, tolerance, penalty
        As for :func:`bayesglmm.scores.irls.fit_irls`.
    profile : Profile, optional
        How the auxiliary is found when the rows are not in memory.
    saturated : bool
        Sum the log-likelihood of a perfect fit at the first look at all rows (``scored.opening``).
    executor : concurrent.futures.Executor, optional
        Sums the parts of data in chunks.

    Warns
    -----
    SeparationWarning
        Some estimates are infinite; the columns and rows are named.
    DataWarning
        The weighted columns are nearly dependent.
    """
    family, link = problem.family, problem.link

    def score_at(aux: Aux, beta: Floats | None) -> Scored:
        adjust = firth_adjustment(source, family, link, aux) if penalty == "firth" else None
        return score_equations(
            source,
            family,
            link,
            aux,
            start=beta,
            max_iterations=max_iterations,
            tolerance=tolerance,
            adjust=adjust,
            saturated=partial(saturated_loglik, family=family, link=link) if saturated else None,
        )

    boundary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if family.scale is not None and family.auxiliaries:
        turns = None
        if problem.design.chunks is not None and penalty is None and start is None:
            turns = solve_together(problem, _of_sample, tolerance, max_iterations, executor)
        if turns is None:
            turns = alternate(problem, score_at, start, tolerance, profile)
        scored, psi, boundary, notes = turns.scored, turns.psi, turns.boundary, turns.notes
    else:
        psi = np.zeros(len(family.auxiliaries))
        scored = polish(source, family, link, score_at(auxiliary_values(problem, psi), start))
    status = Status(
        converged=scored.converged,
        message=scored.message,
        iterations=scored.iterations,
        evaluations=scored.evaluations,
        gradient_norm=scored.decrement,
        boundary=boundary,
        notes=notes,
    )
    if penalty is None:
        status = _look_for_separation(problem, source, scored, status)
    return Solution(scored, psi, auxiliary_values(problem, psi), _look_at_condition(scored, status))


def _of_sample(problem: Problem) -> tuple[Floats, Floats]:
    """Coefficients and auxiliary of rows in memory, to start from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesGLMMWarning)
        found = solve_mean_model(problem, problem_rows(problem), tolerance=1e-3)
    return found.scored.beta, found.psi


def _look_for_separation(problem: Problem, source: RowSource, scored: Scored, status: Status) -> Status:
    found = find_separation(
        source, problem.family, problem.link, scored.beta, scored.sums.edge, converged=scored.converged
    )
    if found is None:
        return status
    text = found.describe(None if problem.design.chunks is not None else problem.design.index)
    warn(f"{text}.", SeparationWarning)
    return replace(status, converged=False, message=text)


def _look_at_condition(scored: Scored, status: Status) -> Status:
    condition = scored.factor.condition
    if condition < ILL_CONDITIONED:
        return status
    text = (
        f"the weighted columns are nearly linearly dependent (condition number {condition:.1e}): expect about "
        f"{max(0, int(15 - np.log10(condition)))} correct digits; centre, rescale or drop columns, or use poly()"
    )
    if status.converged:  # under separation the columns are not to blame
        warn(f"{text}.", DataWarning)
    return replace(status, notes=(*status.notes, text))
