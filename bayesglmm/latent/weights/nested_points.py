"""Conditional modes, candidates and quadrature at many parameter vectors, for factors of one column within one another.

The search for the modes begins where they would be if the log-density of every row were the parabola it is at the
optimum: that moves with θ as modes do, and costs nothing by row. It is off by a few hundredths of a standard deviation
as a rule, and a Newton step leaves about the square of what there was. So every parameter vector costs one or two
evaluations of two derivatives, and one of the log-density for every candidate or node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.quadrature.grid import grid
from bayesglmm.latent.weights.nested_levels import Eliminated, Levels, PerFactor, find_levels
from bayesglmm.latent.weights.nested_rows import Broadcast, Repeated, lay_out
from bayesglmm.latent.weights.skewed import Bend

if TYPE_CHECKING:
    from bayesglmm.latent.copies import Points
    from bayesglmm.latent.objective import Objective
    from bayesglmm.latent.outer import Optimum

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Newton decrement of a unit from which the step is the last one.
LAST_STEP = 0.05
#: Newton steps until a parameter vector is left to a search that looks where it steps.
MOST_STEPS = 6
#: Rows × parameter vectors at a time: arrays stay in cache. Array operations pay from some vectors on, if these fit in
#: memory.
ELEMENTS, FEWEST_POINTS, MOST_ELEMENTS = 80_000, 16, 400_000


@dataclass(frozen=True)
class AtPoints:
    """The random effects at some parameter vectors: one column each.

    Parameters
    ----------
    levels : Levels
        The factors.
    rows : Broadcast or Repeated
        The log-density.
    fixed : ndarray, shape (n, points)
        Xβ + offset.
    scales : list of ndarray, shape (points,)
        Λ of every factor.
    centre : list of ndarray, shape (levels, points)
        The modes, or a point near them.
    factor : Eliminated
        Of H a step before.
    step : list of ndarray, shape (levels, points)
        That step.
    found : ndarray of bool, shape (points,)
        Where the search has come to an end.
    third : ndarray, shape (n, 1), or (levels, 1) summed over the finest factor's where all columns are ones
        Third derivatives of the rows' log-densities, about.
    """

    levels: Levels
    rows: Broadcast | Repeated
    fixed: Floats
    scales: PerFactor
    centre: PerFactor
    factor: Eliminated
    step: PerFactor
    found: Bools
    third: Floats

    def put(self, points: NDArray[np.int64], step: PerFactor, factor: Eliminated) -> None:
        """Take a step, and another factor, at some of the parameter vectors."""
        for centre, own, new in zip(self.centre, self.step, step):
            centre[:, points] += new
            own[:, points] = new
        self.factor.put(points, factor)

    @cached_property
    def log_pivots(self) -> PerFactor:
        """Contributions to log|H|, shape (levels, points)."""
        return [np.log(d) for d in self.factor.pivots]

    @cached_property
    def log_density(self) -> Callable[[PerFactor | None], Floats]:
        """Sums of the rows' log-density over every unit, as a function of what is added to the centre."""
        # Nothing of `self` is held: it would hold itself, and large arrays would wait for the garbage collector.
        levels, rows, scales, centre = self.levels, self.rows, self.scales, self._expand(self.centre)
        centre += self.fixed
        short = None
        if levels.plain:
            short = rows.shifts(centre, lambda values: levels.rows[0] @ values, levels.spread)

        def sums(move: PerFactor | None) -> Floats:
            moved = None if move is None else [own * scale for own, scale in zip(move, scales)]
            if short is not None:
                return levels.up_to_unit(0, short(None if moved is None else levels.to_finest(moved)))
            return levels.rows[-1] @ rows.value(centre if moved is None else centre + levels.expand(moved))

        return sums

    def laplace(self) -> Floats:
        """Laplace's log integral of every unit, shape (units, points)."""
        return self._ratio(None, self.centre, [np.zeros(1)] * len(self.centre)) - 0.5 * self._lag()

    def _lag(self) -> Floats:
        """By how much the last step changes log|H| of every unit, to first order: the factor is that before it."""
        levels, step = self.levels, self._scaled(self.step)
        if levels.plain:
            moved = -self.third * levels.to_finest(step)
            return levels.up_to_unit(0, sum((moved * own * own for own in self.along), start=np.zeros_like(moved)))
        moved = -self.third * levels.expand(step)
        return levels.rows[-1] @ sum((moved * own * own for own in self.along), start=np.zeros_like(moved))

    def candidates(self, noise: list[PerFactor], *, antithetic: bool) -> tuple[Floats, list[PerFactor]]:
        """Log ratios of every unit, shape (candidates, units, points), and the draws, skewed as they ought to be."""
        ratios, draws = [], []
        for z in noise:
            pairs = [bend.pair(own) for own, bend in zip(z, self.bends)]
            for bent in list(zip(*pairs))[: 1 + antithetic]:
                squares = [a * a + 2.0 * np.log(slope) for a, (_, slope) in zip(z, bent)]
                ratio, u = self._drawn([t for t, _ in bent], squares)
                ratios.append(ratio)
                draws.append(u)
        return np.stack(ratios), draws

    def gaussian(self, z: PerFactor) -> Floats:
        """Log ratios of every unit, shape (units, points), of one draw from N(û, H⁻¹) itself."""
        return self._drawn(z, [a * a for a in z])[0]

    @cached_property
    def bends(self) -> list[Bend]:
        """How noise is bent: by the third derivative of the log-density along each effect, finer ones going with it.

        In units of the effect's standard deviation; the rows' derivatives are those at the optimum.
        """
        levels, out = self.levels, []
        for k, own in enumerate(self.along):
            cubed = own * own
            cubed *= own
            cubed *= self.third
            if levels.plain:
                out.append(Bend(levels.into[0, k] @ cubed if k else cubed))
            else:
                out.append(Bend(levels.rows[k] @ cubed))
        return out

    @cached_property
    def along(self) -> PerFactor:
        """What one standard deviation of every effect of a factor adds to η, finer effects going with it.

        By row, shape (n, points), or by level of the finest factor where all columns are ones.
        """
        out = []
        for k in range(len(self.centre)):
            noise = [np.full_like(own, float(j == k)) for j, own in enumerate(self.centre)]
            move = self._scaled(self.factor.half_solve(noise))
            out.append(self.levels.to_finest(move) if self.levels.plain else self.levels.expand(move))
        return out

    def quadrature(self, nodes: int) -> Floats:
        """Log integral of every unit of a single factor by adaptive Gauss-Hermite quadrature, shape (units, points)."""
        product = grid(nodes, 1)
        terms = []
        for node, log_weight in zip(product.nodes[:, 0], product.log_weights):
            terms.append(self.gaussian([np.full((1, 1), node)]) + log_weight)
        return np.logaddexp.reduce(terms, axis=0)

    def _scaled(self, u: PerFactor) -> PerFactor:
        return [own * scale for own, scale in zip(u, self.scales)]

    def _expand(self, u: PerFactor) -> Floats:
        return self.levels.expand(self._scaled(u))

    def _drawn(self, noise: Sequence[Floats], squares: Sequence[Floats]) -> tuple[Floats, PerFactor]:
        """Log ratios and u at noise in units of standard deviations; see :meth:`_ratio` for `squares`."""
        move = self.factor.half_solve(noise)
        u = [own + step for own, step in zip(self.centre, move)]
        return self._ratio(move, u, squares), u

    def _ratio(self, move: PerFactor | None, u: PerFactor, squares: Sequence[Floats]) -> Floats:
        """Log p(y, u | x) − log q(u | x) of every unit, where u is the centre and `move`.

        `squares` are −2 log of the noise's density, up to the normal's constant.
        """
        prior = [0.5 * (a - b * b - d) for a, b, d in zip(squares, u, self.log_pivots)]
        total = self.log_density(move) + self.levels.to_unit(prior)
        # Beyond the range of η the density is zero; a number as small as this keeps differences finite.
        return np.where(np.isfinite(total), total, -1e300)


class NestedPoints:
    """The random effects of a model at any parameter vectors.

    Parameters
    ----------
    objective : Objective
        The model.
    optimum : Optimum
        Where its rows are expanded.
    levels : Levels
        Its factors.
    """

    def __init__(self, objective: Objective, optimum: Optimum, levels: Levels) -> None:
        self.objective, self.levels = objective, levels
        mode = optimum.point.mode
        weights = np.maximum(-mode.derivatives.d2, 0.0)[:, None]
        response = weights * (mode.eta - objective.offset)[:, None] + mode.derivatives.d1[:, None]
        self.weighted = levels.collect_pairs(weights)
        self.response = levels.collect(response)
        self.cross = levels.collect(weights * objective.X)
        third = mode.derivatives.d3[:, None]
        self.third = levels.rows[0] @ third if levels.plain else third
        n = max(objective.structure.n, 1)
        self.each = max(ELEMENTS // n, min(FEWEST_POINTS, MOST_ELEMENTS // n), 1)

    @classmethod
    def of(cls, objective: Objective, optimum: Optimum) -> NestedPoints | None:
        """The same; None for a model whose factors are not of this kind."""
        levels = find_levels(objective.structure)
        return None if levels is None else cls(objective, optimum, levels)

    def at(self, points: Points) -> AtPoints:
        """Search for the modes at some parameter vectors."""
        objective, levels = self.objective, self.levels
        lambdas = objective.lambdas(points.theta)
        scales = [lambdas[k][:, 0, 0] for k in levels.order]
        fixed = objective.X @ points.beta.T + objective.offset[:, None]
        rows = lay_out(objective, points.psi)
        flat = levels.eliminate(self.weighted, scales)
        own = [s * (r - X @ points.beta.T) for s, r, X in zip(scales, self.response, self.cross)]
        centre = flat.solve(own)
        nowhere, step = np.zeros(len(points), dtype=bool), [np.zeros_like(u) for u in centre]
        return self._climb(AtPoints(levels, rows, fixed, scales, centre, flat, step, nowhere, self.third))

    def _climb(self, at: AtPoints) -> AtPoints:
        """Newton steps at all parameter vectors, then at those that need more."""
        left, before = np.arange(len(at.found)), np.full(len(at.found), np.inf)
        for _ in range(MOST_STEPS):
            step, factor, size = self._step(at, left)
            fine = factor.definite & (size < before[left])
            if len(left) == len(before) and fine.all():
                at = replace(at, centre=[u + own for u, own in zip(at.centre, step)], factor=factor, step=step)
            else:
                at.put(left[fine], [own[:, fine] for own in step], factor.take(fine))
            left = left[fine]
            before[left] = size[fine]
            at.found[left] = before[left] <= LAST_STEP
            left = left[~at.found[left]]
            if not len(left):
                break
        return at

    def _step(self, at: AtPoints, points: NDArray[np.int64]) -> tuple[PerFactor, Eliminated, Floats]:
        """A Newton step, its factor, and the largest decrement of a unit."""
        levels = self.levels
        whole = len(points) == len(at.found)
        rows, fixed = (at.rows, at.fixed) if whole else (at.rows.take(points), at.fixed[:, points])
        scales = [s[points] for s in at.scales]
        u = [own[:, points] for own in at.centre]
        eta = levels.expand([own * s for own, s in zip(u, scales)])
        eta += fixed
        d1, d2 = rows.slopes(eta)
        gradient = [s * own - v for s, own, v in zip(scales, levels.collect(d1), u)]
        factor = levels.eliminate(levels.collect_pairs(np.negative(d2, out=d2)), scales)
        step = factor.solve(gradient)
        size = np.sqrt(np.maximum(levels.to_unit([g * s for g, s in zip(gradient, step)]), 0.0).max(axis=0))
        return step, factor, size
