"""Random effects at many parameter vectors: their modes, draws of them, and integrals over them.

At parameters x the random effects are drawn from the Gaussian q(u | x) = N(û, H⁻¹) around their modes. For unit j
(see :mod:`bayesglmm.latent.copies`) the ratio

    r_j(u) = log p(y_j, u_j | x) − log q(u_j | x),    Σ_j log E_q exp r_j = log p(y | x),

is constant where Laplace is exact. Several candidates, in antithetic pairs û ± Cz, give an unbiased estimate of every
unit's integral, and the draw that is kept is one of them, taken with probability in proportion to exp r_j (sampling
importance resampling, Rubin 1988): the estimate and the draw together are exact in the sense of pseudo-marginal
methods (Andrieu & Roberts 2009, Annals of Statistics 37), for any number of candidates. Where factors are nested the
noise of candidates is bent as the random effects are skewed (:mod:`bayesglmm.latent.weights.skewed`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.copies import Copies, Points, how_many, make_copies
from bayesglmm.latent.elimination.ordering import portions
from bayesglmm.latent.mode import TOLERANCE
from bayesglmm.latent.target import Target
from bayesglmm.latent.weights.nested_points import NestedPoints
from bayesglmm.latent.weights.ratio import Ratio, log_mean

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.outer import Optimum

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most numbers (draws × units) that are kept for diagnostics of single units.
MAX_KEPT = 20_000_000
#: Newton decrement at which conditional modes are near enough to draw around, and to tell Laplace's integral to a
#: hundredth: what :mod:`bayesglmm.latent.weights.nested_points` finds will do.
NEAR = 1e-4


@dataclass(frozen=True)
class Solved:
    """Everything about the random effects at many parameter vectors; one row each.

    Rows where no modes were found hold −inf, and a draw of the linearly moved Gaussian at the optimum.

    Parameters
    ----------
    log_prior : ndarray, shape (draws,)
        Log prior density in working coordinates; zeros without priors.
    laplace : ndarray, shape (draws,)
        Log marginal likelihood by Laplace.
    quadrature : ndarray, shape (draws,), or None
        The same by adaptive quadrature, where it was asked for.
    single : ndarray, shape (draws,)
        log p(y, u | x) − log q(u | x) of one draw of u each, from the Gaussian.
    averaged : ndarray, shape (draws,)
        Σ_j log mean_k exp r_j(u_k) over the candidates: an estimate of the log marginal likelihood.
    halves : ndarray, shape (2, draws)
        The same from the first and from the second half of the pairs: two independent estimates (one and the same
        where there is a single pair).
    u : ndarray, shape (draws, m)
        The kept draw of the standardised random effects.
    unit_ratios : ndarray, shape (draws, units), or None
        r_j of that one draw less Laplace's log integral: zero where the unit is Gaussian. None when that is too
        many numbers.
    """

    log_prior: Floats
    laplace: Floats
    quadrature: Floats | None
    single: Floats
    averaged: Floats
    halves: Floats
    u: Floats
    unit_ratios: Floats | None


@dataclass(frozen=True)
class Work:
    """What is to be done at every parameter vector.

    Parameters
    ----------
    pairs : int
        Antithetic pairs of candidates; 0 for one plain draw.
    nodes : int
        Nodes of the quadrature to hold Laplace against; 0 for none.
    tolerance : float
        Newton decrement at which modes are found. Candidates and quadrature are right around any point near the mode;
        Laplace's own integral is off by about the decrement times the skewness.
    keep : bool
        Whether the draws of the random effects are wanted; where they are not, ``u`` has no columns.
    """

    pairs: int = 0
    nodes: int = 0
    tolerance: float = TOLERANCE
    keep: bool = True


def solve_at(target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator, work: Work = Work()) -> Solved:
    """Find the modes at every parameter vector, integrate over the random effects, and draw them.

    Parameters
    ----------
    target : Target
        The density that was maximised; its number of nodes does not matter here.
    optimum : Optimum
        Its maximum: modes move linearly with the parameters from there, to begin with.
    x : ndarray, shape (draws, d)
        Parameter vectors in working coordinates.
    rng : Generator
        Of the random effects.
    work : Work
        Candidates and nodes.
    """
    return _Solver(target, optimum, work, len(x)).run(x, rng)


class _Solver:
    """Parameter vectors taken in portions; a portion that fails is cut into smaller ones."""

    def __init__(self, target: Target, optimum: Optimum, work: Work, count: int) -> None:
        self.target, self.optimum, self.work = target, optimum, work
        self.objective = replace(target.objective, nodes=1)
        self.structure = self.objective.structure
        self.each = how_many(self.objective, count)
        self.made: dict[int, Copies] = {}
        self.units = self._copies(1).units
        self.nested = NestedPoints.of(self.objective, optimum) if work.tolerance >= NEAR else None
        units = self.units.count
        low = lambda: np.full(count, -np.inf)  # noqa: E731
        self.out = Solved(
            np.array([]),
            low(),
            low() if work.nodes else None,
            low(),
            low(),
            np.full((2, count), -np.inf),
            np.empty((count, self.structure.m if work.keep else 0)),
            np.full((count, units), -np.inf) if count * units <= MAX_KEPT else None,
        )

    def run(self, x: Floats, rng: np.random.Generator) -> Solved:
        """Solve for all, the noise of many draws at a time."""
        prior = self.target.log_priors(x)
        for some in portions(len(x), max(self.work.pairs, 1) * self.structure.m):
            self._some(some, x[some], prior[some], rng)
        return replace(self.out, log_prior=prior)

    def _some(self, some: slice, x: Floats, prior: Floats, rng: np.random.Generator) -> None:
        base, slopes = self.optimum.point.mode, self.optimum.curvature.mode_slopes
        start = base.u + (x - self.optimum.point.x) @ slopes.T
        z = rng.standard_normal((max(self.work.pairs, 1), len(x), self.structure.m))
        noise = _Noise(some.start, x, start, z, rng.random((len(x), self.units.count)))
        usable = np.flatnonzero(np.isfinite(prior))
        if self.nested is not None:
            every = [usable[a : a + self.nested.each] for a in range(0, len(usable), self.nested.each)]
            usable = np.concatenate([*(self._together(rows, noise) for rows in every), usable[:0]])
        for a in range(0, len(usable), self.each):
            self._portion(usable[a : a + self.each], noise, self.each)
        lost = np.flatnonzero(~np.isfinite(self.out.laplace[some]))
        if len(lost) and self.work.keep:
            assert base.factor is not None
            self.out.u[some.start + lost] = start[lost] + base.factor.half_solve(z[0, lost].T).T

    def _together(self, rows: Ints, given: _Noise) -> Ints:
        """Fill some rows where factors are nested; those whose modes were not found."""
        assert self.nested is not None
        with np.errstate(all="ignore"):
            at = self.nested.at(Points.of(self.target.coordinates, given.x[rows]))
            noise = [at.levels.split(np.ascontiguousarray(own[rows].T)) for own in given.z]
            ratios, draws = at.candidates(noise, antithetic=self.work.pairs > 0)
            quadrature = at.quadrature(self.work.nodes) if self.work.nodes else None
            # Units are numbered by the coarsest factor there, by `units` here.
            last = at.levels.layouts[-1]
            numbers = self.units.of_unknown[last.start : last.stop]
            chosen = _chosen(ratios, given.pick[rows][:, numbers].T)
            found = at.found
            there = given.first + rows[found]
            by_row = [values[..., found].swapaxes(-1, -2) for values in (at.laplace(), at.gaussian(noise[0]), ratios)]
            self._write(there, by_row[0], by_row[1], by_row[2], numbers)
            if self.work.keep:
                u = [
                    _taken(np.stack([own[k] for own in draws]), chosen.take(unit, axis=0))
                    for k, unit in enumerate(at.levels.units)
                ]
                self.out.u[there] = at.levels.join(u)[:, found].T
            if self.out.quadrature is not None and quadrature is not None:
                self.out.quadrature[there] = quadrature[:, found].sum(axis=0)
        return rows[~found]

    def _copies(self, count: int) -> Copies:
        if count not in self.made:
            self.made[count] = make_copies(self.objective, count)
        return self.made[count]

    def _portion(self, rows: Ints, noise: _Noise, size: int) -> None:
        # A short portion is filled up, so that few sets of copies have to be laid out.
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        copies = self._copies(size)
        points = Points.of(self.target.coordinates, noise.x[filled])
        mode = copies.mode(points, noise.start[filled], self.work.tolerance)
        if mode.found:
            self._fill(noise.first + rows, copies, points, mode, noise.z[:, filled], noise.pick[filled])
        elif size > 1:
            smaller = max(size // 4, 1)
            for a in range(0, len(rows), smaller):
                self._portion(rows[a : a + smaller], noise, smaller)

    def _fill(
        self, rows: NDArray[np.int64], copies: Copies, points: Points, mode: Mode, z: Floats, pick: Floats
    ) -> None:
        """Write what was found at some rows."""
        k = len(rows)
        ratio = Ratio(copies, mode, copies.fixed(points), copies.psi(points))
        if self.out.quadrature is not None:
            self.out.quadrature[rows] = ratio.quadrature(self.work.nodes).sum(axis=1)[:k]
        ratios, effects = ratio.candidates(z, antithetic=self.work.pairs > 0)
        self._write(rows, copies.laplace(mode)[:k], ratios[0, :k], ratios[:, :k])
        if self.work.keep:
            which = _chosen(ratios, pick)[:, self.units.of_unknown]
            self.out.u[rows] = _taken(effects, which)[:k]

    def _write(
        self, rows: Ints, laplace: Floats, first: Floats, ratios: Floats, numbers: Ints | slice = slice(None)
    ) -> None:
        """Write integrals and their estimates at some rows: of units, shape (rows, units), and of candidates first.

        `first` are the ratios of one Gaussian draw, `numbers` those of the units.
        """
        out = self.out
        out.laplace[rows] = laplace.sum(axis=1)
        out.single[rows] = first.sum(axis=1)
        if out.unit_ratios is not None:
            own = np.empty_like(laplace)
            own[:, numbers] = first - laplace
            out.unit_ratios[rows] = own
        out.averaged[rows] = log_mean(ratios).sum(axis=1)
        pairs = max(self.work.pairs, 1)
        half = max(pairs // 2, 1) * (len(ratios) // pairs)
        out.halves[0, rows] = log_mean(ratios[:half]).sum(axis=1)
        out.halves[1, rows] = log_mean(ratios[-half:]).sum(axis=1)


@dataclass(frozen=True)
class _Noise:
    """Parameter vectors from number `first` on, where their searches begin, and the noise of their draws."""

    first: int
    x: Floats
    start: Floats
    z: Floats
    pick: Floats


def _chosen(ratios: Floats, pick: Floats) -> Ints:
    """Which candidate of every unit is kept, in proportion to exp of the ratios along the first axis."""
    weights = np.exp(ratios - ratios.max(axis=0))
    np.cumsum(weights, axis=0, out=weights)
    return np.argmax(weights >= pick * weights[-1], axis=0)


def _taken(values: Floats, which: Ints) -> Floats:
    """At every position the entry along the first axis that is asked for there."""
    position = which * which.size
    position += np.arange(which.size).reshape(which.shape)
    return values.ravel().take(position)
