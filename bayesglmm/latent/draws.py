"""Joint draws of parameters and random effects from the Gaussian approximation around the marginal mode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.conditional import Solved, Work, solve_at
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.target import Target
from bayesglmm.result import Draws

if TYPE_CHECKING:
    from bayesglmm.latent.objective import Objective

Floats = NDArray[np.float64]

#: Kernel values and operations of linear algebra that finding the modes at every draw may take by default: seconds.
PATIENCE = 1e9

#: Chains that independent draws are laid out as, so that statistics between chains are defined.
CHAINS = 4


def draw(target: Target, optimum: Optimum, count: int, seed: int | None, resolve: bool | None) -> Draws:
    """Draw (β, θ, ψ) from N(x̂, information⁻¹) in working coordinates, then u given them.

    Parameters
    ----------
    target : Target
        The density that was maximised.
    optimum : Optimum
        Its maximum; parameters at an edge stay there.
    count : int
        Number of draws.
    seed : int or None
        Of the generator.
    resolve : bool or None
        Whether to find the conditional modes anew at every draw; None: if that takes a few seconds at most.

    Returns
    -------
    Draws
        Laid out as four chains where `count` allows (see :func:`as_chains`). ``stats["log_q"]`` is the log-density of
        the draw of the parameters; with `resolve` also ``stats["log_p"]``, the target there.
    """
    rng = np.random.default_rng(seed)
    x, log_q = _parameters(optimum, count, rng)
    resolve = count * _operations(target.objective) <= PATIENCE if resolve is None else resolve
    stats = {"log_q": log_q}
    if resolve:
        nodes = _nodes_of_one_factor(target.objective)
        solved = solve_at(target, optimum, x, rng, Work(0, nodes))
        u, stats["log_p"] = solved.u, _log_target(target, optimum, x, solved)
    else:
        u = _moved(optimum, x, rng)
    return as_chains(pack_draws(target, x, u, stats))


def _parameters(optimum: Optimum, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    free = optimum.curvature.free
    size = int(free.sum())
    x = np.repeat(optimum.point.x[None], count, axis=0)
    covariance = optimum.curvature.covariance[np.ix_(free, free)]
    if np.isnan(covariance).any():
        covariance = np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(covariance)
    z = rng.standard_normal((count, size))
    x[:, free] += (z * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    with np.errstate(divide="ignore"):
        log_det = float(np.log(np.maximum(values, 0.0)).sum())
    return x, -0.5 * np.sum(z**2, axis=1) - 0.5 * log_det - 0.5 * size * np.log(2 * np.pi)


def _operations(objective: Objective) -> float:
    """Rough cost of finding the modes at one draw: a few Newton steps, and the quadrature's kernel values."""
    structure = objective.structure
    if not structure.layouts:
        return 30.0 * structure.n
    nodes = np.atleast_1d(objective.nodes)
    sizes = [b.size for b in structure.layouts]
    values = float(np.prod([float(k) ** q for k, q in zip(nodes, sizes)])) if nodes.max() > 1 else 0.0
    return 4.0 * (40.0 * structure.n + structure.plan.flops) + 30.0 * structure.n * values


def _nodes_of_one_factor(objective: Objective) -> int:
    """Nodes that copies of the model can be integrated with; 0 for Laplace and for nested factors."""
    nodes = objective.nodes
    plain = isinstance(nodes, int) and nodes > 1 and len(objective.structure.layouts) == 1 and not objective.prune
    return nodes if plain else 0  # type: ignore[return-value]


def _log_target(target: Target, optimum: Optimum, x: Floats, solved: Solved) -> Floats:
    """The target at every draw; a draw without modes has density zero."""
    if solved.quadrature is not None:
        return solved.log_prior + solved.quadrature
    if np.max(target.objective.nodes) == 1:
        return solved.log_prior + solved.laplace
    base, slopes = optimum.point.mode, optimum.curvature.mode_slopes
    starts = base.u + (x - optimum.point.x) @ slopes.T
    return np.array([target.at(xi, Warm(u, base.factor), with_gradient=False).value for xi, u in zip(x, starts)])


def _moved(optimum: Optimum, x: Floats, rng: np.random.Generator) -> Floats:
    """Modes moved linearly with the parameters, and the spread they have at the optimum."""
    mode = optimum.point.mode
    assert mode.factor is not None
    centre = mode.u + (x - optimum.point.x) @ optimum.curvature.mode_slopes.T
    return centre + mode.factor.sample(rng, len(x))


def pack_draws(target: Target, x: Floats, u: Floats, stats: dict[str, Floats]) -> Draws:
    """Vectors of the target and their standardised effects, shape (draws, d) and (draws, m), as draws of one chain."""
    objective, coordinates = target.objective, target.coordinates
    beta, theta, psi = coordinates.split_many(x)
    effects = tuple(
        np.einsum("slr,sqr->slq", u[:, b.start : b.stop].reshape(len(x), b.levels, b.size), own)
        for b, own in zip(objective.structure.layouts, objective.lambdas(theta))
    )
    if not coordinates.log_scales:  # scales that moved freely through zero; a log knows no sign
        parts = [[c.canonical(t) for c, t in zip(objective.covariance, coordinates.blockwise(row))] for row in theta]
        theta = np.stack([np.concatenate([*own, np.empty(0)]) for own in parts])
    return Draws(
        beta[None],
        theta[None],
        psi[None],
        tuple(e[None] for e in effects),
        stats={name: value[None] for name, value in stats.items()},
    )


def as_chains(draws: Draws) -> Draws:
    """Lay independent draws of one chain out as several.

    Independent draws may be split at will, and statistics that compare chains (R-hat) are then defined: near one.

    Parameters
    ----------
    draws : Draws
        One chain; returned as it is when its length is no multiple of four.
    """
    count = draws.beta.shape[1]
    if draws.beta.shape[0] != 1 or count % CHAINS or count < 2 * CHAINS:
        return draws

    def split(x: Floats) -> Floats:
        return x.reshape(CHAINS, count // CHAINS, *x.shape[2:])

    return replace(
        draws,
        beta=split(draws.beta),
        theta=split(draws.theta),
        psi=split(draws.psi),
        effects=tuple(map(split, draws.effects)),
        stats={name: split(value) for name, value in draws.stats.items()},
    )
