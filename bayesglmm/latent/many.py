"""The target and its gradient at several vectors at once: what a call costs in Python is paid once for all of them.

Laplace and the quadrature of one factor go through copies of the model (:mod:`bayesglmm.latent.copies`), whose modes,
factors and gradients row by row are those of one larger model; only the sums over rows are taken copy by copy. Nested
factors under quadrature go one vector at a time.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.copies import Copies, Points, how_many, log_pivots, make_copies
from bayesglmm.latent.laplace import RowGradient, laplace_sums, row_gradient
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.quadrature.integral import OneFactor

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.target import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Many:
    """A target at up to `count` vectors at once.

    Parameters
    ----------
    target : Target
        The density.
    optimum : Optimum
        Where modes and their derivatives are known: searches for modes begin there, moved linearly.
    count : int
        How many vectors there will be.
    tolerance : float
        Newton decrement at which conditional modes are near enough.
    """

    def __init__(self, target: Target, optimum: Optimum, count: int, tolerance: float) -> None:
        self.target, self.optimum, self.tolerance = target, optimum, tolerance
        self.objective = target.objective
        self.together = not isinstance(self.objective.nodes, tuple)
        self.each = min(count, how_many(self.objective, count)) if self.together else 1
        self._made: dict[int, _Copied] = {}

    def start(self, x: Floats) -> Floats:
        """Where searches for the conditional modes begin, shape (points, m)."""
        base = self.optimum.point
        return base.mode.u + np.clip(x - base.x, -3.0, 3.0) @ self.optimum.curvature.mode_slopes.T

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Log-densities, shape (points,), and gradients, of the shape of x; −inf and zeros where there is none."""
        value, gradient = self.target.priors_at(x)
        usable = np.flatnonzero(np.isfinite(value))
        start = self.start(x)
        likelihood, slope = np.full(len(x), -np.inf), np.zeros(x.shape)
        for a in range(0, len(usable), self.each):
            self._portion(usable[a : a + self.each], x, start, likelihood, slope)
        value = value + likelihood
        lost = ~np.isfinite(value)
        value[lost], gradient[lost] = -np.inf, 0.0
        return value, gradient + slope

    def _portion(self, rows: Ints, x: Floats, start: Floats, value: Floats, slope: Floats) -> None:
        if not self.together:
            for i in rows:
                point = self.target.at(x[i], Warm(start[i], tolerance=self.tolerance))
                if np.isfinite(point.value):
                    prior, its_slope = self.target.priors_at(x[i : i + 1])
                    value[i], slope[i] = point.value - prior[0], point.gradient - its_slope[0]
            return
        copied = self._copied(len(rows))
        found = copied.at(self.target, x[rows], start[rows], self.tolerance)
        if found is not None:
            value[rows], slope[rows] = found
        elif len(rows) > 1:  # one without a mode spoils the others
            for i in rows:
                self._portion(np.array([i]), x, start, value, slope)

    def _copied(self, count: int) -> _Copied:
        if count not in self._made:
            self._made[count] = _Copied(make_copies(self.objective, count))
        return self._made[count]


class _Copied:
    """Log marginal likelihoods and gradients through copies."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def at(self, target: Target, x: Floats, start: Floats, tolerance: float) -> tuple[Floats, Floats] | None:
        """Values, shape (count,), and gradients in x; None where a copy has no mode or no finite value."""
        copies = self.copies
        points = Points.of(target.coordinates, x)
        with np.errstate(all="ignore"):
            mode = copies.mode(points, start, tolerance)
            if not mode.found:
                return None
            psi = copies.psi(points)
            value, rows = self._integral(points, psi, mode)
            if not np.all(np.isfinite(value)):
                return None
            return value, self._gradient(target, points, rows)

    @cached_property
    def _quadrature(self) -> OneFactor | None:
        nodes, objective = self.copies.objective.nodes, self.copies.objective
        if nodes == 1:
            return None
        assert isinstance(nodes, int)
        return OneFactor(self.copies.structure, self.copies.kernel, nodes, objective.prune)

    def _integral(self, points: Points, psi: Floats, mode: Mode) -> tuple[Floats, RowGradient]:
        """Every copy's log marginal likelihood, and the gradient of their sum row by row."""
        copies, count = self.copies, self.copies.count
        if self._quadrature is None:
            assert mode.factor is not None
            sums, loadings = laplace_sums(copies.kernel, psi, mode), mode.factor.loadings
            pull = copies.structure.penalty(mode.u)
            # What a Newton step to the mode itself would add, to first order in log|H|: searches may end early.
            left = loadings.collect(mode.derivatives.d1) - pull
            bend = loadings.collect(sums.curvature * mode.derivatives.d3)
            own = mode.factor.solve(left) * (left + 2.0 * bend) - mode.u * pull - log_pivots(mode.factor)
            value = mode.derivatives.value.reshape(count, -1).sum(axis=1) + 0.5 * copies.gather(own).sum(axis=1)
            value += 0.5 * copies.objective.structure.log_det_prior
        else:
            sums, by_level = self._quadrature.sums_by_level(copies.fixed(points), psi, mode)
            value = by_level.reshape(count, -1).sum(axis=1)
        return value, row_gradient(copies.kernel, psi, mode, sums)

    def _gradient(self, target: Target, points: Points, rows: RowGradient) -> Floats:
        """Sums over the rows of every copy, in the target's vector."""
        objective, count = self.copies.objective, self.copies.count
        beta = rows.eta.reshape(count, -1) @ objective.X
        thetas = []
        for b, own, cov, s in zip(objective.structure.layouts, rows.loadings, objective.covariance, objective.slices):
            G = b.z.T @ own.reshape(count, -1, b.size)
            thetas.append(np.stack([cov.pullback(t, g) for t, g in zip(points.theta[:, s], G)]))
        psi = self.copies.collect_psi(rows.psi)
        natural = np.concatenate([beta, *thetas, psi], axis=1)
        return natural * target.coordinates.slopes(points.theta)
