"""NUTS over the parameters alone: the random effects are integrated out, and drawn afterwards.

The target is the log marginal posterior with its exact gradient (:mod:`bayesglmm.latent.target`): a handful of
dimensions, whatever the number of random effects. The sampler moves in z with y = ŷ + Cz, where ŷ is the mode (or a
fit's estimate) and CC' the inverse information there, so that it starts with a mass matrix that is nearly right, needs
few warm-up draws and takes steps of about one posterior standard deviation. In the middle of the warm-up C is made
anew from the draws of all chains so far. The search for conditional modes begins at those of the optimum moved along
their derivatives in the parameters, and ends at a decrement of 1e-2: with what a last step would add (see
:mod:`bayesglmm.latent.many`) log-densities are right to 1e-6 and gradients to a few hundredths (measured on cbpp,
contraception and epilepsy), and a third of the kernel's evaluations are saved.

All chains move in step (:mod:`bayesglmm.latent.nuts.trees`), so that the density is called for all of them at once
(:mod:`bayesglmm.latent.many`): for small data a call costs the same for one point as for sixteen.

y are the target's working coordinates, or nearly: :mod:`bayesglmm.latent.nuts.chart`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.graph.runner import Plan, progress_words, run_nutpie, sampler_stats, teller
from bayesglmm.latent.curvature import Curvature
from bayesglmm.latent.many import Many
from bayesglmm.latent.nuts.chart import Chart, make_chart
from bayesglmm.latent.nuts.trees import LARGEST, Moves, StepSize, Trees
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.target import Target

Floats = NDArray[np.float64]

#: Newton decrement at which conditional modes are near enough for a sampler: of Laplace, and of quadrature.
NEAR, NEAR_NODES = 1e-2, 1e-4
#: First step size, in standard deviations.
FIRST_STEP = 0.9 * LARGEST
#: Draws per dimension that the coordinates of the fit are worth when new ones are made from draws.
SHRINKING = 5.0


@dataclass(frozen=True)
class Sampled:
    """Draws of the target's vector.

    Parameters
    ----------
    x : ndarray, shape (chains, draws, d)
        Points of the target.
    stats : dict
        Sampler statistics, shape (chains, draws); ``lp`` is the target itself.
    """

    x: Floats
    stats: dict[str, Floats]


@dataclass(frozen=True)
class Whitened:
    """The target in coordinates in which it is nearly a standard normal.

    Parameters
    ----------
    target : Target
        The log-density.
    optimum : Optimum
        Where modes and their derivatives are known.
    centre : ndarray, shape (d,)
        ŷ of y = ŷ + Cz.
    root : ndarray, shape (d, d)
        C.
    chart : Chart
        From y to the target's vector.
    """

    target: Target
    optimum: Optimum
    centre: Floats
    root: Floats
    chart: Chart

    def point(self, z: Floats) -> Floats:
        """The target's vectors, shape (..., d)."""
        return self.chart.target(self.centre + z @ self.root.T)[0]

    def many(self, chains: int) -> Many:
        """The target at the points of so many chains at once."""
        near = NEAR if self.target.objective.nodes == 1 else NEAR_NODES
        return Many(self.target, self.optimum, chains, near)

    def densities(self, z: Floats, many: Many) -> tuple[Floats, Floats]:
        """Log-densities at points z, shape (chains, d), and their gradients."""
        x, slope, log_slope, bend = self.chart.target(self.centre + z @ self.root.T)
        value, gradient = many.at(x)
        return value + log_slope, (gradient * slope + bend) @ self.root

    def starting_points(self, seed: int, chains: int, many: Many) -> Floats:
        """Random points near the centre where the density is finite, shape (chains, d)."""
        z = np.random.default_rng(seed).standard_normal((chains, len(self.root)))
        for _ in range(20):
            lost = ~np.isfinite(self.densities(z, many)[0])
            if not lost.any():
                return z
            z[lost] *= 0.7
        raise ConvergenceError("no starting point near the mode has a finite marginal posterior density.")


def whiten(target: Target, optimum: Optimum) -> Whitened:
    """Coordinates by the information at the optimum; flat directions get a standard deviation of one."""
    root = _root(optimum.curvature)
    chart = make_chart(target, np.linalg.norm(root, axis=1))
    centre = chart.sampler(optimum.point.x)
    root = root / chart.target(centre)[1][:, None]
    # At the end of a range curvature says nothing.
    vague = chart.bounded & ((np.abs(centre) > 2.5) | (np.linalg.norm(root, axis=1) > 3.0))
    root[vague], root[:, vague] = 0.0, 0.0
    root[vague, vague] = 1.0
    return Whitened(target, optimum, centre, root, chart)


def _root(bent: Curvature) -> Floats:
    """C with CC' the inverse information, as far as it is one."""
    free = bent.free
    root = np.eye(len(free))
    information = bent.information[np.ix_(free, free)]
    if not len(information):
        return root
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-8))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    root[np.ix_(free, free)] = (vectors / np.sqrt(np.maximum(values, 1e-4))) / scale[:, None]
    return root


def sample_target(whitened: Whitened, plan: Plan) -> Sampled:
    """Draw parameters by NUTS, all chains in step.

    Parameters
    ----------
    whitened : Whitened
        The density.
    plan : Plan
        Draws, warm-up, chains, seed.

    Raises
    ------
    ConvergenceError
        No starting point.
    """
    run = _Run(whitened, plan)
    # Half of the warm-up in the coordinates of the fit, half in those of its own draws.
    run.warm_up(plan.tune - plan.tune // 2)
    run.whiten_anew()
    run.warm_up(plan.tune // 2)
    return run.draw()


class _Run:
    """One run of all chains: its trees, its step size, and how far it is."""

    def __init__(self, whitened: Whitened, plan: Plan) -> None:
        self.whitened, self.plan = whitened, plan
        self.many = whitened.many(plan.chains)
        self.rng = np.random.default_rng((plan.seed, 0))
        self.size = StepSize(plan.target_accept, FIRST_STEP)
        self.tell, self.begun, self.done, self.divergences = teller(plan), time.perf_counter(), 0, 0
        self.told = 0
        self.visited: list[Floats] = []
        self.trees = self._trees(whitened.starting_points(plan.seed, plan.chains, self.many))

    def _trees(self, z: Floats) -> Trees:
        return Trees(lambda z: self.whitened.densities(z, self.many), z, self.rng)

    def _step(self, size: float) -> Moves:
        moves = self.trees.step(size)
        if len(moves.chains):
            self.done += len(moves.chains)
            self.divergences += int(moves.diverging.sum())
            self._say()
        return moves

    def _say(self) -> None:
        total = self.plan.chains * (self.plan.tune + self.plan.draws)
        if self.told == total:  # chains in step end a little later than that
            return
        done = self.told = min(self.done, total)
        words = progress_words(done, total, self.divergences, time.perf_counter() - self.begun)
        self.tell(done / total, f"{self.plan.chains} chains in step, {words}")

    def warm_up(self, draws: int) -> None:
        """Draws of all chains together, `draws` per chain on average, that the step size learns from."""
        until = self.done + draws * self.plan.chains
        while self.done < until:
            moves = self._step(self.size.value)
            self.size.update(moves.acceptance_rate)
            self.visited.append(moves.z)

    def whiten_anew(self) -> None:
        """Coordinates by the covariance of the draws so far, shrunk towards that of the coordinates so far."""
        z = np.concatenate(self.visited) if self.visited else np.empty((0, len(self.whitened.root)))
        count, d = z.shape
        if count <= d:
            return
        share = count / (count + SHRINKING * (d + 1))
        covariance = share * np.cov(z, rowvar=False).reshape(d, d) + (1.0 - share) * np.eye(d)
        root = np.linalg.cholesky(covariance)
        moved = np.linalg.solve(root, self.trees.z.T).T
        self.whitened = replace(self.whitened, root=self.whitened.root @ root)
        self.size = StepSize(self.plan.target_accept, self.size.mean)
        self.trees = self._trees(moved)

    def draw(self) -> Sampled:
        """Draws that are kept: as many from every chain, which wait for each other at the end."""
        chains, draws = self.plan.chains, self.plan.draws
        size, got = self.size.mean, np.zeros(chains, dtype=int)
        z = np.empty((chains, draws, len(self.whitened.root)))
        kept = {name: np.empty((chains, draws)) for name in Moves._fields[2:]}
        self.divergences = 0
        while got.min() < draws:
            moves = self._step(size)
            here = got[moves.chains] < draws
            k = moves.chains[here]
            z[k, got[k]] = moves.z[here]
            for name, values in kept.items():
                values[k, got[k]] = getattr(moves, name)[here]
            got[k] += 1
        x = self.whitened.point(z)
        lp = kept.pop("value") - self.whitened.chart.log_slope(x)
        diverging = kept.pop("diverging").astype(bool)
        steps, depth = kept.pop("n_steps").astype(int), kept.pop("tree_depth").astype(int)
        stats = {**kept, "lp": lp, "diverging": diverging, "n_steps": steps, "tree_depth": depth}
        return Sampled(x, stats | {"step_size": np.full((chains, draws), size)})


def sample_by_nutpie(whitened: Whitened, plan: Plan) -> Sampled:
    """Draw parameters by nutpie's NUTS, which calls the Python function for one chain after the other.

    Parameters
    ----------
    whitened : Whitened
        The density.
    plan : Plan
        Draws, warm-up, chains, seed.
    """
    from nutpie.compiled_pyfunc import from_pyfunc

    d, many = len(whitened.root), whitened.many(1)

    def density(z: Floats) -> tuple[float, Floats]:
        value, gradient = whitened.densities(np.asarray(z)[None], many)
        return float(value[0]), gradient[0]

    def expand(*_: Any) -> Callable[[Floats], dict[str, Floats]]:
        return lambda z: {"x": whitened.point(np.asarray(z))}

    compiled = from_pyfunc(
        d,
        lambda: density,
        expand,
        [np.dtype("float64")],
        [(d,)],
        ["x"],
        coords={"parameter": np.arange(d)},
        dims={"x": ("parameter",)},
        make_initial_point_fn=lambda seed: whitened.starting_points(seed, 1, many)[0],
    )
    tree = run_nutpie(compiled, plan, cores=1)
    x, stats = np.asarray(tree["posterior"]["x"].values), sampler_stats(tree["sample_stats"])
    return Sampled(x, stats | {"lp": stats["lp"] - whitened.chart.log_slope(x)})
