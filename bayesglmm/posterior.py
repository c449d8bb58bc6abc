"""Draws of a result's parameters and random effects, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

if TYPE_CHECKING:
    from bayesglmm.latent.draws import Levels

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


def parameter_draws(
    problem: Problem, result: Result, count: int, rng: np.random.Generator, levels: Levels = None
) -> Draws:
    """`count` draws in one chain: a random subset of the fit's own, or from its Gaussian approximation.

    With `levels`, ascending numbers of levels per grouping factor, the random effects are those of these levels only.
    """
    seed = int(rng.integers(2**63))
    if result.draws is not None:
        return _thinned(result.draws, count, rng, levels)
    _need_memory(problem, count, levels)
    if result.method == NESTED:
        return _taken(_maker(NESTED)(problem, result, count, seed), np.arange(count), levels)
    return _taken(_maker(result.method)(problem, result, count, seed, levels), np.arange(count))


def _need_memory(problem: Problem, count: int, levels: Levels = None) -> None:
    """Refuse draws that would not fit, with the estimate."""
    from bayesglmm.latent.elimination.ordering import need_memory

    kept = [len(b.levels) for b in problem.design.blocks] if levels is None else map(len, levels)
    effects = sum(b.z.shape[1] * k for b, k in zip(problem.design.blocks, kept))
    held = len(problem.design.columns) + effects
    need_memory(float(count) * held, f"{count} draws of {held} parameters and random effects")


def _maker(method: str) -> Callable[..., Draws]:
    """How draws are made from a fit by a method that holds none."""
    if method == NESTED:
        from bayesglmm.latent.nested_laplace import nested_draws

        return nested_draws
    from bayesglmm.latent.posterior import marginal_draws, working_draws

    return marginal_draws if method in DRAWN_LATER else working_draws


def _thinned(draws: Draws, count: int, rng: np.random.Generator, levels: Levels) -> Draws:
    total = draws.beta.shape[0] * draws.beta.shape[1]
    return _taken(draws, rng.choice(total, size=count, replace=count > total), levels)


def _taken(draws: Draws, chosen: NDArray[np.int64], levels: Levels = None) -> Draws:
    """Some of the draws, in one chain, with the random effects of some levels."""

    def take(x: NDArray[np.float64], own: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        flat = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
        if own is not None:
            return flat[np.ix_(chosen, own)][None]
        everything = len(chosen) == len(flat) and np.array_equal(chosen, np.arange(len(flat)))
        return (flat if everything else flat[chosen])[None]

    kept = [None] * len(draws.effects) if levels is None else levels
    effects = tuple(take(e, own) for e, own in zip(draws.effects, kept))
    return Draws(take(draws.beta), take(draws.theta), take(draws.psi), effects, draws.independent)
