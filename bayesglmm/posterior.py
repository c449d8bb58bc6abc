"""Draws of a result's parameters and random effects, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

#: Methods that report a mode, and whose joint Gaussian approximation can be drawn from when it is asked for.
DRAWN_LATER = ("laplace", "agq")
#: The method that integrates over its hyperparameters, and is drawn from when it is asked for too.
NESTED = "inla"

#: Most draws of a nested fit that predictions are summaries of, and most numbers (draws × rows) in them.
SUMMARISED = 4000
NUMBERS = 40_000_000


def with_draws(problem: Problem, result: Result) -> Result:
    """Return the result with the draws it promises; methods without a distribution are returned as they are."""
    promised = result.method in DRAWN_LATER or result.method == NESTED
    if result.draws is not None or not promised or not result.status.converged:
        return result
    count = int(result.options.get("draws", 1000))
    if count == 0:
        return result
    from bayesglmm.latent.draws import as_chains

    _need_memory(problem, count)
    made = _maker(result.method)(problem, result, count, result.options.get("seed"))
    return replace(result, draws=as_chains(made))


def summary_draws(problem: Problem, result: Result, rows: int) -> Draws | None:
    """Draws that what is said of `rows` rows is a summary of; None where it is read off a mode and its curvature.

    A sampled fit's own draws. Of a nested fit, which integrates over its hyperparameters, fresh ones, the same at every
    call: its means are not those at one point. The Gaussian around a mode says no more drawn from than as it is.
    """
    if result.method == NESTED and result.status.converged:
        count = int(np.clip(NUMBERS // max(rows, 1), 400, SUMMARISED))
        _need_memory(problem, count)
        return _maker(NESTED)(problem, result, count, 0)
    return None if result.draws is None or result.draws.independent else result.draws


def parameter_draws(problem: Problem, result: Result, count: int, rng: np.random.Generator) -> Draws:
    """`count` draws in one chain: a random subset of the fit's own, or from its Gaussian approximation."""
    seed = int(rng.integers(2**63))
    if result.draws is not None:
        return _thinned(result.draws, count, rng)
    _need_memory(problem, count)
    return _taken(_maker(result.method)(problem, result, count, seed), np.arange(count))


def _need_memory(problem: Problem, count: int) -> None:
    """Refuse draws that would not fit, with the estimate."""
    from bayesglmm.latent.ordering import need_memory

    effects = sum(b.z.shape[1] * len(b.levels) for b in problem.design.blocks)
    held = len(problem.design.columns) + effects
    need_memory(float(count) * held, f"{count} draws of {held} parameters and random effects")


def _maker(method: str) -> Callable[[Problem, Result, int, int | None], Draws]:
    """How draws are made from a fit by a method that holds none."""
    if method == NESTED:
        from bayesglmm.latent.nested_laplace import nested_draws

        return nested_draws
    from bayesglmm.latent.posterior import marginal_draws, working_draws

    return marginal_draws if method in DRAWN_LATER else working_draws


def _thinned(draws: Draws, count: int, rng: np.random.Generator) -> Draws:
    total = draws.beta.shape[0] * draws.beta.shape[1]
    return _taken(draws, rng.choice(total, size=count, replace=count > total))


def _taken(draws: Draws, chosen: NDArray[np.int64]) -> Draws:
    """Some of the draws, in one chain."""

    def take(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])[chosen][None]

    return Draws(
        take(draws.beta), take(draws.theta), take(draws.psi), tuple(map(take, draws.effects)), draws.independent
    )
