"""Joint draws of parameters and random effects from the Gaussian approximation around the marginal mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.ordering import portions
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.target import Target
from bayesglmm.latent.weights.conditional import Solved, Work, solve_at
from bayesglmm.result import Draws

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.objective import Objective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Levels of every grouping factor, ascending, whose random effects are wanted; None for all.
Levels = Sequence[Ints] | None

#: Kernel values and operations of linear algebra that finding the modes at every draw may take by default: seconds.
PATIENCE = 1e9

#: Random effects of crossed factors whose joint covariance is made for them alone.
FEW = 256

#: Chains that independent draws are laid out as, so that statistics between chains are defined.
CHAINS = 4


def draw(
    target: Target, optimum: Optimum, count: int, seed: int | None, resolve: bool | None, levels: Levels = None
) -> Draws:
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
    levels : sequence of ndarray of int64, optional
        Levels of each factor whose random effects are wanted: where modes are not found anew the others are not drawn.

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
    layouts, lambdas = target.objective.structure.layouts, _lambdas(target, x)
    if resolve:
        nodes = _nodes_of_one_factor(target.objective)
        solved = solve_at(target, optimum, x, rng, Work(0, nodes))
        stats["log_p"] = _log_target(target, optimum, x, solved)
        effects = random_effects(solved.u, [(b.levels, b.size) for b in layouts], lambdas)
        if levels is not None:
            effects = tuple(e[:, own] for e, own in zip(effects, levels))
    else:
        effects = _moved(optimum, x, lambdas, rng, levels)
    return as_chains(_packed(target, x, effects, stats))


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


def _moved(
    optimum: Optimum, x: Floats, lambdas: list[Floats], rng: np.random.Generator, levels: Levels
) -> tuple[Floats, ...]:
    """Random effects at modes moved linearly with the parameters, with the spread they have at the optimum."""
    mode, slopes = optimum.point.mode, optimum.curvature.mode_slopes
    assert mode.factor is not None
    noise = Noise(mode.factor, levels)
    centre, slopes = mode.u[noise.unknowns], slopes[noise.unknowns]
    out = tuple(np.empty((len(x), *size)) for size in noise.sizes)
    for some in portions(len(x), len(centre)):
        u = centre + (x[some] - optimum.point.x) @ slopes.T
        u += noise.draw(rng, len(u))
        for effects, own in zip(out, random_effects(u, noise.sizes, [L[some] for L in lambdas])):
            effects[some] = own
    return out


class Noise:
    """Draws from N(0, H⁻¹) of the random effects of some levels only, or of all.

    Parameters
    ----------
    factor : Factor
        Of H.
    levels : sequence of ndarray of int64, optional
        Levels of each grouping factor.
    """

    def __init__(self, factor: Factor, levels: Levels) -> None:
        layouts, m = factor.plan.structure.layouts, factor.plan.structure.m
        own = [np.arange(b.levels) for b in layouts] if levels is None else levels
        #: Levels drawn and effects each, per factor.
        self.sizes = [(len(some), b.size) for b, some in zip(layouts, own)]
        wanted = [b.start + np.add.outer(some * b.size, np.arange(b.size)).ravel() for b, some in zip(layouts, own)]
        #: Which unknowns they are.
        self.unknowns: Ints = np.concatenate([*wanted, np.empty(0, dtype=np.int64)])
        self._factor, self._half, self._whole = factor, None, len(self.unknowns) == m
        separate = len(layouts) == 1 and layouts[0].precision is None
        if not len(self.unknowns):
            self._half = np.empty((0, 1, 1))
        elif not self._whole and separate:
            self._half = np.linalg.cholesky(factor.level_covariances[0][own[0]])
        elif not self._whole and len(self.unknowns) <= FEW:
            units = np.zeros((m, len(self.unknowns)))
            units[self.unknowns, np.arange(len(self.unknowns))] = 1.0
            inverse = factor.solve(units)[self.unknowns]
            self._half = np.linalg.cholesky(0.5 * (inverse + inverse.T))[None]

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """`count` draws, shape (count, unknowns)."""
        if self._half is None:
            drawn = self._factor.sample(rng, count)
            return drawn if self._whole else drawn[:, self.unknowns]
        z = rng.standard_normal((len(self._half), self._half.shape[1], count))
        return (self._half @ z).reshape(len(self.unknowns), count).T


def _lambdas(target: Target, x: Floats) -> list[Floats]:
    """Λ of every factor at every vector of the target, shape (draws, q, q) each."""
    return list(target.objective.lambdas(target.coordinates.split_many(x)[1]))


def random_effects(u: Floats, sizes: Sequence[tuple[int, int]], lambdas: Sequence[Floats]) -> tuple[Floats, ...]:
    """Random effects, shape (draws, levels, q) per factor, from standardised ones, shape (draws, unknowns)."""
    parts = np.split(u, np.cumsum([levels * size for levels, size in sizes])[:-1], axis=1) if sizes else ()
    return tuple(
        np.einsum("slr,sqr->slq", own.reshape(len(u), *size), L) for own, size, L in zip(parts, sizes, lambdas)
    )


def pack_draws(target: Target, x: Floats, u: Floats, stats: dict[str, Floats], taken: Ints | None = None) -> Draws:
    """Vectors of the target and their standardised effects, as draws of one chain.

    Parameters
    ----------
    target : Target
        The density.
    x, u : ndarray, shape (draws, d) and (draws, m)
        Vectors and effects. Without columns of `u` the draws have parameters only, and no level of any factor.
    stats : dict of str to ndarray, shape (draws,)
        Statistics of each.
    taken : ndarray of int64, optional
        Numbers of the draws that are wanted, in their order; all when left out.
    """
    rows = np.arange(len(x)) if taken is None else taken
    sizes = [(b.levels if u.shape[1] else 0, b.size) for b in target.objective.structure.layouts]
    lambdas, effects = _lambdas(target, x[rows]), tuple(np.empty((len(rows), *size)) for size in sizes)
    for some in portions(len(rows), u.shape[1]):
        for out, own in zip(effects, random_effects(u[rows[some]], sizes, [L[some] for L in lambdas])):
            out[some] = own
    return _packed(target, x[rows], effects, {name: value[rows] for name, value in stats.items()})


def _packed(target: Target, x: Floats, effects: tuple[Floats, ...], stats: dict[str, Floats]) -> Draws:
    objective, coordinates = target.objective, target.coordinates
    beta, theta, psi = coordinates.split_many(x)
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
