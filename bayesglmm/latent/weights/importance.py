"""Weights that turn draws around a marginal mode into draws from the posterior, and how far they can be trusted.

Parameters x come from a :class:`~bayesglmm.latent.weights.proposal.Proposal`, random effects from the Gaussian at each
draw's own modes. A draw's weight is p(x) p̂(y | x) / q(x), where p̂ is the marginal likelihood at the draw by quadrature
(one grouping factor, where that is cheap) or an unbiased estimate of it from several draws of the random effects (any
model; see :mod:`bayesglmm.latent.weights.conditional`). Either way the weighted draws target the posterior itself, not
Laplace's approximation of it. Pareto smoothing: Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.quadrature.grid import grid
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.weights.conditional import NEAR, Solved, Work, solve_at
from bayesglmm.latent.weights.pareto import smooth_tail
from bayesglmm.latent.weights.proposal import make_proposal

if TYPE_CHECKING:
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.target import Target
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Antithetic pairs of candidates for the random effects at every draw: at least, at first, and at most.
FEWEST_PAIRS, PAIRS, MOST_PAIRS = 2, 4, 32
#: Standard deviation of the estimated log marginal likelihood that is small enough: the weights lose a tenth of their
#: effective size to it.
NOISE = 0.3
#: Rows × draws × evaluations of quadrature or candidates that a set of weights may take.
MOST_VALUES = 10**9
#: Nodes of a quadrature that is taken whatever it costs where candidates, eight at the least, leave too much noise.
NODES_AT_ANY_COST = 25
#: How much the change that more nodes make in the log-likelihood may vary from one parameter vector to another.
NODES_CHANGE = 5e-2
#: Draws weighted for every one that is kept, as long as rows × draws are no more than this; one beyond.
PROPOSALS = ((4, 16_000_000), (2, 40_000_000))


@dataclass(frozen=True)
class Weights:
    """Smoothed importance weights.

    Parameters
    ----------
    log_weights : ndarray, shape (draws,)
        Normalised to sum to one.
    pareto_k : float
        Shape of the tail of the raw weights: below 0.5 their variance is finite. −inf for equal weights.
    ess : float
        Effective size of the smoothed weights, 1 / Σ w².
    """

    log_weights: Floats
    pareto_k: float
    ess: float

    @property
    def values(self) -> Floats:
        """The weights."""
        return np.exp(self.log_weights)


def smooth(log_ratios: Floats) -> Weights:
    """Pareto-smooth importance ratios.

    Parameters
    ----------
    log_ratios : ndarray, shape (draws,)
        Logs of target over proposal, up to a constant; −inf where the target is zero.
    """
    finite = np.isfinite(log_ratios)
    if not finite.any():
        return Weights(np.full(len(log_ratios), -np.log(len(log_ratios))), np.inf, 0.0)
    logs = np.where(finite, log_ratios, log_ratios[finite].min() - 745.0)
    logs = logs - logs.max()
    logs, k = smooth_tail(logs)
    logs = logs - _log_sum(logs)
    return Weights(logs, k, float(np.exp(-_log_sum(2.0 * logs))))


def _log_sum(x: Floats) -> float:
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


@dataclass(frozen=True)
class Weighted:
    """Weighted joint draws of parameters and random effects.

    Parameters
    ----------
    target : Target
        Of the fit; its coordinates are those of `x`.
    optimum : Optimum
        Its maximum.
    x : ndarray, shape (draws, d)
        Parameters in working coordinates.
    solved : Solved
        The random effects there.
    log_q : ndarray, shape (draws,)
        Log density of the proposal of the parameters.
    work : Work
        Candidates, and nodes of the quadrature behind the weights (0: candidates estimate the marginal likelihood).
    weights : Weights
        Towards the posterior.
    """

    target: Target
    optimum: Optimum
    x: Floats
    solved: Solved
    log_q: Floats
    work: Work
    weights: Weights

    @property
    def log_p(self) -> Floats:
        """Log posterior density of the parameters (or an estimate of it), up to the evidence."""
        return self.solved.log_prior + self.log_marginal

    @property
    def log_marginal(self) -> Floats:
        """Log marginal likelihood by quadrature, or its estimate."""
        return self.solved.averaged if self.solved.quadrature is None else self.solved.quadrature

    def laplace_weights(self) -> Weights:
        """Towards Laplace's posterior: how well the proposal fits that one."""
        return smooth(self.solved.log_prior + self.solved.laplace - self.log_q)

    def joint_weights(self) -> Weights:
        """Of one Gaussian draw of all random effects at each draw of the parameters."""
        return smooth(self.solved.log_prior + self.solved.single - self.log_q)

    def unit_k(self, most: int | None = None) -> Floats | None:
        """Pareto k-hat of every unit's Gaussian draws over the parameters' draws, shape (units,).

        With `most`, of no more than so many units, evenly spaced; None where single units were not kept.
        """
        ratios = self.solved.unit_ratios
        if ratios is None:
            return None
        count = ratios.shape[1]
        chosen = np.arange(count) if most is None else np.unique(np.linspace(0, count - 1, most).astype(int))
        ok = np.isfinite(self.solved.laplace)
        return np.array([smooth(np.where(ok, ratios[:, j], -np.inf)).pareto_k for j in chosen])


def weigh(
    problem: Problem,
    result: Result,
    *,
    draws: int = 1000,
    seed: int | None = None,
    proposals: int | None = None,
    pairs: int | None = None,
    keep: bool = True,
) -> Weighted:
    """Draw around the mode of a Laplace or quadrature fit, and weight the draws towards the posterior.

    Parameters
    ----------
    problem, result
        The model, and its fit by ``"laplace"`` or ``"agq"``.
    draws : int
        How many draws are to be kept in the end.
    seed : int, optional
        Of the generator.
    proposals : int, optional
        How many are drawn and weighted: four for each draw, two or one in models of many rows.
    pairs : int, optional
        Antithetic pairs of candidates for the random effects at each; when left out, as many as keep the noise small,
        or quadrature where that is cheaper.
    keep : bool
        Whether the draws of the random effects are wanted, or only the parameters and their weights.

    Raises
    ------
    MethodError
        When the estimate is not a maximum.
    """
    rng = np.random.default_rng(seed)
    count = proposals or draws * per_draw(draws, problem.design.nobs)
    with one_thread():
        target, optimum = found_optimum(problem, result)
        work = replace(settle(target, optimum, count, pairs), tolerance=NEAR, keep=keep)
        if work.nodes and not keep:
            work = replace(work, pairs=0)  # candidates are for choosing random effects among them

        def log_target(x: Floats) -> Floats:
            found = solve_at(target, optimum, x, np.random.default_rng(0), work)
            # A single candidate each is noise, and the proposal's scales would be fitted to it.
            estimate = found.averaged if work.pairs else found.laplace
            return found.log_prior + (estimate if found.quadrature is None else found.quadrature)

        proposal = make_proposal(optimum.point.x, optimum.curvature, log_target)
        x, log_q = proposal.draw(count, rng)
        solved = solve_at(target, optimum, x, rng, work)
    weighted = Weighted(target, optimum, x, solved, log_q, work, Weights(log_q, np.nan, np.nan))
    return replace(weighted, weights=smooth(weighted.log_p - log_q))


def per_draw(draws: int, rows: int) -> int:
    """Draws that are weighted for every one that is kept: fewer in models of many rows."""
    return next((k for k, most in PROPOSALS if k * draws * max(rows, 1) <= most), 1)


def settle(target: Target, optimum: Optimum, count: int, pairs: int | None) -> Work:
    """Candidates at every draw, and quadrature where their noise would be large and it is affordable.

    The noise is measured at the mode and two standard deviations along every axis from there.
    """
    structure = target.objective.structure
    if not structure.m:
        return Work()
    if pairs is not None:
        return Work(pairs)
    axes = make_proposal(optimum.point.x, optimum.curvature, None).axes.T
    there = optimum.point.x + np.concatenate([np.zeros((1, axes.shape[1])), 2.0 * axes, -2.0 * axes])
    pilot = solve_at(target, optimum, np.repeat(there, 4, axis=0), np.random.default_rng(0), Work(PAIRS, 0, NEAR))
    found = np.isfinite(pilot.laplace)
    noise = float(np.sqrt(np.mean(np.square(pilot.halves[0] - pilot.halves[1])[found]))) / 2.0
    if noise <= NOISE:
        return Work(FEWEST_PAIRS if noise <= NOISE * np.sqrt(FEWEST_PAIRS / PAIRS) else PAIRS)
    affordable = MOST_VALUES / (count * max(structure.n, 1))
    nodes = _enough_nodes(target, optimum, there, max(affordable, NODES_AT_ANY_COST))
    if nodes:
        return Work(PAIRS if nodes <= affordable else FEWEST_PAIRS, nodes)
    wanted = PAIRS * (noise / NOISE) ** 2
    return Work(int(np.clip(min(wanted, affordable / 2.0), PAIRS, MOST_PAIRS)))


def _enough_nodes(target: Target, optimum: Optimum, there: Floats, affordable: float) -> int:
    """Nodes of a quadrature at every draw that more of them would not change; 0 where there is none to be had.

    A constant error does no harm to weights: what counts is how the change varies over the vectors `there`.
    """
    structure = target.objective.structure
    if len(structure.layouts) != 1 or structure.layouts[0].precision is not None:
        return 0
    before, last = np.full(len(there), np.nan), 0
    for nodes in (5, 9, 15, 25, 41, 61):
        if len(grid(nodes, structure.layouts[0].size).nodes) > affordable:
            return 0
        found = solve_at(target, optimum, there, np.random.default_rng(0), Work(0, nodes, NEAR)).quadrature
        assert found is not None
        change = (found - before)[np.isfinite(found) & np.isfinite(before)]
        if last and len(change) and np.std(change) < NODES_CHANGE:
            return last
        before, last = found, nodes
    return last


def resample(weights: Weights, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Systematic resampling (Kitagawa 1996, J. Comput. Graph. Statist. 5, 1-25), in random order.

    A draw is taken ⌊count · w⌋ or ⌈count · w⌉ times: never twice while its weight is at most 1 / count.

    Parameters
    ----------
    weights : Weights
        Of the draws.
    count : int
        How many to take.
    rng : Generator
        For the offset and the order.
    """
    edges = np.cumsum(weights.values)
    positions = (np.arange(count) + rng.random()) / count * edges[-1]
    return rng.permutation(np.minimum(np.searchsorted(edges, positions), len(edges) - 1))
