"""New responses at the draws of a posterior: for the same groups, for new ones, or with random effects at zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import plain, seed_or_none, takes, whole
from bayesglmm.design.types import Design, RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.ordering import need_memory, portions
from bayesglmm.parameters import psi_of_draws, theta_slices
from bayesglmm.posterior import parameter_draws
from bayesglmm.prior_predictive import new_effects
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Numbers (draws × rows) that random effects are added to at a time.
AT_A_TIME = 200_000
#: Which random effects a prediction is made with.
LEVELS = ("conditional", "population", "marginal")


def at_levels(effects: Floats, block: RandomBlock) -> Floats:
    """Random effects of each row's level, shape (..., n, q); zero at a level that was not seen."""
    return np.where((block.codes >= 0)[:, None], effects[..., np.maximum(block.codes, 0), :], 0.0)


def eta_draws(problem: Problem, draws: Draws, design: Design, level: str, rng: np.random.Generator) -> Floats:
    """Linear predictors, shape (draws, n); rows of an unseen level share an effect drawn from the model."""
    count = draws.beta.shape[0] * draws.beta.shape[1]
    eta = draws.beta.reshape(count, -1) @ design.X.T
    eta += design.offset
    if level != "conditional":
        return eta
    theta = draws.theta.reshape(count, -1)
    for k, (block, where) in enumerate(zip(design.blocks, theta_slices(problem))):
        effects = draws.effects[k].reshape(count, *draws.effects[k].shape[2:])
        if effects.shape[1]:
            _add_effects(eta, effects, block)
        new = np.flatnonzero(block.codes < 0)
        if len(new):
            spread = problem.covariance[k].factor(theta[:, where])
            levels, which = np.unique(-block.codes[new], return_inverse=True)
            fresh = np.einsum("drc,dlc->dlr", spread, rng.standard_normal((count, len(levels), len(block.columns))))
            eta[:, new] += np.sum(block.z[new] * fresh[:, which], axis=2)
    return eta


def _add_effects(eta: Floats, effects: Floats, block: RandomBlock) -> None:
    """Add z'b of every row's own level to linear predictors, a few draws at a time: rows times draws are many."""
    codes, z = np.maximum(block.codes, 0), np.where((block.codes >= 0)[:, None], block.z, 0.0).T
    for some in portions(len(eta), eta.shape[1], AT_A_TIME):
        part = z[0] * effects[some, :, 0].take(codes, axis=1)
        for c in range(1, len(z)):
            part += z[c] * effects[some, :, c].take(codes, axis=1)
        eta[some] += part


def _with_levels_seen(problem: Problem, design: Design) -> tuple[Design, tuple[Ints, ...] | None]:
    """New rows by the levels of theirs only, and which these are; None where they are all or hang together."""
    known = any(c.precision is not None for c in problem.covariance)
    if design is problem.design or known or not design.blocks:
        return design, None
    seen = tuple(np.unique(b.codes[b.codes >= 0]) for b in design.blocks)
    blocks = []
    for block, own in zip(design.blocks, seen):
        codes = np.where(block.codes >= 0, np.searchsorted(own, block.codes), block.codes)
        blocks.append(replace(block, codes=codes, levels=tuple(block.levels[j] for j in own)))
    return replace(design, blocks=tuple(blocks)), seen


@takes(draws=whole(), seed=seed_or_none, level=plain)
def draw_responses(
    problem: Problem,
    result: Result,
    design: Design,
    draws: int,
    seed: int | None,
    *,
    level: str = "conditional",
    trials: Any = None,
) -> Floats:
    """Draw new responses at the rows of `design`, shape (draws, n).

    Parameters
    ----------
    level : str
        ``"conditional"`` keeps each row's own random effects, ``"marginal"`` draws new ones (one for each level, shared
        by its rows), ``"population"`` sets them to zero.
    trials : array_like, optional
        Binomial denominators of new rows; when left out those of the response, where the rows have one, else one.
    """
    if problem.family.quasi:
        raise MethodError(f"{problem.family.name} is a quasi-family: it has no distribution to draw responses from.")
    need_memory(float(draws) * design.nobs, f"{draws} draws of {design.nobs} responses")
    rng = np.random.default_rng(seed)
    sample, design = draws_for(problem, result, design, draws, level, rng)
    return responses_at(problem, sample, design, rng, level=level, trials=trials, theta=result.theta)


def draws_for(
    problem: Problem, result: Result, design: Design, draws: int, level: str, rng: np.random.Generator
) -> tuple[Draws, Design]:
    """Draws of the parameters with the random effects that the rows need, and the rows by these levels.

    Raises
    ------
    MethodError
        An unknown `level`.
    """
    if level not in LEVELS:
        raise MethodError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    design, levels = _with_levels_seen(problem, design)
    if level != "conditional":
        levels = tuple(np.empty(0, dtype=np.int64) for _ in design.blocks)
    return parameter_draws(problem, result, draws, rng, levels), design


def responses_at(
    problem: Problem,
    sample: Draws,
    design: Design,
    rng: np.random.Generator,
    *,
    level: str = "conditional",
    trials: Any = None,
    theta: Floats | None = None,
) -> Floats:
    """One new response per row at every draw of one chain, shape (draws, n).

    Parameters
    ----------
    problem : Problem
        The model.
    sample : Draws
        One chain of parameters and random effects.
    design : Design
        The rows.
    rng : numpy.random.Generator
        Source of randomness.
    level, trials
        As for :func:`draw_responses`.
    theta : ndarray, optional
        Covariance parameters of errors that go together.
    """
    out = np.empty((sample.beta.shape[1], design.nobs))
    for some, y in response_portions(problem, sample, design, rng, level=level, trials=trials, theta=theta):
        out[some] = y
    return out


def response_portions(
    problem: Problem, sample: Draws, design: Design, rng: np.random.Generator, *, level: str, **options: Any
) -> Iterator[tuple[slice, Floats]]:
    """The same, a portion of the draws after the other: which draws, and their responses."""
    for some in portions(sample.beta.shape[1], design.nobs):
        beta, theta, psi = (x[:, some] for x in (sample.beta, sample.theta, sample.psi))
        part = Draws(beta, theta, psi, tuple(e[:, some] for e in sample.effects), sample.independent)
        eta = predictors_at(problem, part, design, rng, level)
        yield some, rows_at(problem, part, design, eta, rng, **options)


def predictors_at(problem: Problem, sample: Draws, design: Design, rng: np.random.Generator, level: str) -> Floats:
    """Linear predictors that responses are drawn at, shape (draws, n); see :func:`responses_at`."""
    if level == "marginal" and design.blocks:
        # Rows of one level share its new effect: groups are replaced, not dissolved.
        sample = replace(sample, effects=new_effects(problem, sample.theta[0], rng, design))
    return eta_draws(problem, sample, design, "conditional" if level == "marginal" else level, rng)


def rows_at(
    problem: Problem,
    sample: Draws,
    design: Design,
    eta: Floats,
    rng: np.random.Generator,
    trials: Any = None,
    theta: Floats | None = None,
) -> Floats:
    """One new response per linear predictor, shape (draws, n); see :func:`responses_at`."""
    from bayesglmm.simulate import draw_errors, draw_rows

    psi = sample.psi[0]
    if trials is None and problem.response.trials is not None:
        trials = 1.0 if design.response is None else design.response.trials
    if problem.errors is not None and design.X is problem.design.X:
        assert theta is not None
        return eta + draw_errors(problem, theta, psi, rng)
    return draw_rows(problem.family, problem.link, eta, psi_of_draws(problem, psi, design), trials, design.weights, rng)


@takes(draws=whole(), seed=seed_or_none, level=plain)
def posterior_predictive(
    problem: Problem, result: Result, draws: int = 200, seed: int | None = None, level: str = "conditional"
) -> Floats:
    """Draw replicated responses, shape (draws, n): for the same groups, or (``"marginal"``) for new ones."""
    return draw_responses(problem, result, problem.design, draws, seed, level=level)
