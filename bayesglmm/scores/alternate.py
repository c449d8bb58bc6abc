"""Profile likelihood by turns: β given an auxiliary that shapes the variance, and the auxiliary given the means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import get_link
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.scores.likelihood import maximise_auxiliary
from bayesglmm.scores.scoring import Scored
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]

MAX_ALTERNATIONS = 200


@dataclass(frozen=True)
class Alternated:
    """Where the alternation ended.

    Parameters
    ----------
    scored : Scored
        Coefficients; its iterations and message are those of the whole alternation.
    psi : ndarray, shape (1,)
        The auxiliary, unconstrained.
    boundary : tuple of str
        The auxiliary's name when its likelihood rises to infinity.
    notes : tuple of str
        What that means.
    """

    scored: Scored
    psi: Floats
    boundary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """How an auxiliary is found given the coefficients.

    Parameters
    ----------
    rough : Problem
        Rows in memory that suggest where to start.
    maximise : callable
        (β, ψ) → maximum-likelihood ψ, and whether it is an interior maximum.
    """

    rough: Problem
    maximise: Callable[[Floats, Floats], tuple[Floats, bool]]


def in_memory(problem: Problem) -> Profile:
    """Profile of a problem whose rows are in memory."""

    def maximise(beta: Floats, psi: Floats) -> tuple[Floats, bool]:
        return maximise_auxiliary(problem, problem.design.X @ beta + problem.design.offset, psi)

    return Profile(problem, maximise)


def alternate(
    problem: Problem,
    score_at: Callable[[Aux, Floats | None], Scored],
    start: Floats | None,
    tolerance: float,
    profile: Profile | None = None,
) -> Alternated:
    """Maximise the likelihood over β and one auxiliary of the variance, by turns.

    The two are orthogonal in the expected information of the negative binomial, so that the turns settle fast
    (the algorithm of ``glm.nb``; Venables & Ripley 2002, Modern Applied Statistics with S, section 7.4).

    Parameters
    ----------
    problem : Problem
        Its family has one auxiliary that enters the variance function.
    score_at : callable
        (aux, start) → :class:`Scored`: coefficients at fixed auxiliaries.
    start : ndarray, shape (p,), or None
        First coefficients.
    tolerance : float
        As for the scoring; the auxiliary is held to a tenth of it.
    profile : Profile, optional
        How the auxiliary is found; from all rows in memory when left out.
    """
    profile = in_memory(problem) if profile is None else profile
    y, w = profile.rough.mean_response, profile.rough.case_weights
    auxiliary = problem.family.auxiliaries[0]
    rough = auxiliary.start(y, np.full(len(y), np.average(y, weights=w)), w)
    psi = np.atleast_1d(get_link(auxiliary.link).eta(np.asarray(rough, dtype=float)))
    beta, iterations, evaluations, interior, moved = start, 0, 0, True, np.inf
    for _ in range(MAX_ALTERNATIONS):
        scored = score_at(auxiliary_values(problem, psi), beta)
        iterations, evaluations = iterations + scored.iterations, evaluations + scored.evaluations
        beta, old = scored.beta, psi
        psi, interior = profile.maximise(beta, psi)
        moved = abs(float(psi[0] - old[0]))
        if moved < max(0.1 * tolerance, 1e-12) or not scored.converged:
            break
    scored = replace(scored, iterations=iterations, evaluations=evaluations)
    if moved > 1e-6 and scored.converged:
        why = f"{auxiliary.name} had not settled after {MAX_ALTERNATIONS} alternations"
        scored = replace(scored, converged=False, message=why)
    if interior:
        return Alternated(scored, psi)
    note = f"{auxiliary.name} is at infinity: the data show no more variance than the limiting family"
    return Alternated(scored, psi, (auxiliary.name,), (note,))
