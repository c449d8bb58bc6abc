"""The marginal likelihood maximised with one of its parameters held: what profiles are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.charts import Chart
from bayesglmm.latent.curvature import curvature
from bayesglmm.latent.minimise import minimise
from bayesglmm.latent.mode import Mode, Warm
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.quadrature.nodes import Nodes
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.target import Coordinates, Target, TargetPoint

Floats = NDArray[np.float64]

#: Newton decrement of the parameters that are not held: an error of its square in the deviance.
TOLERANCE = 1e-4
#: Decrement that still leaves the deviance right to 1e-5.
ACCEPTED = 3e-3
#: How near to its ends a bounded coordinate (or to zero a logged one, relative to its guess) is still evaluated.
EDGE = 1e-9


@dataclass(frozen=True)
class _Solved:
    """The maximum at one held value, in working coordinates."""

    x: Floats
    inverse_hessian: Floats
    modes: Mode | Warm
    value: float


class HeldMaximum:
    """Maximised log-likelihood as a function of one parameter; every solution is where the next one starts.

    Parameters
    ----------
    chart : Chart
        The problem, the estimate, and which parameter is held.
    nodes, kernel, prune
        As the fit's.
    """

    def __init__(self, chart: Chart, nodes: Nodes = 1, kernel: str = "auto", prune: float = 0.0) -> None:
        problem = chart.problem
        objective = make_objective(problem, nodes, kernel, prune)
        self.chart, self.index = chart, chart.index
        self.coordinates = Coordinates(len(chart.beta), len(chart.psi), problem.covariance, False, problem.aux_units)
        self.target = Target(objective, self.coordinates, None, tuple(a.link for a in problem.auxiliaries))
        self.start: Start = starting_point(problem, objective, self.coordinates)
        self._check_edges()
        x = self._inside(chart)
        self.point: TargetPoint = self.target.at(x)
        if not np.isfinite(self.point.value):
            raise ConvergenceError("the likelihood cannot be evaluated at the fit's own estimate: nothing to profile.")
        self.best = self.highest = self.point.value
        H = self._inverse_hessian()
        self.slope = np.where(np.arange(len(x)) == self.index, 0.0, H[:, self.index] / H[self.index, self.index])
        free = np.arange(len(x)) != self.index
        self.free = free
        conditional = H[np.ix_(free, free)] - np.outer(H[free, self.index], self.slope[free])
        self.solved = [_Solved(self._lifted(x), conditional, self.point.mode, self.best)]

    @property
    def unit(self) -> float:
        """Approximate standard error of the held parameter, or another length of the right size."""
        sd = np.sqrt(self.start.inverse_hessian[self.index, self.index])
        slope = abs(self._slope_of_held(self.chart.estimate))
        return float(max(sd * slope, 1e-3 * abs(self.chart.estimate), 1e-12))

    def at(self, value: float) -> float:
        """The log-likelihood maximised over everything else, −∞ where there is no finite value.

        Raises
        ------
        ConvergenceError
            The maximisation did not converge.
        """
        w = self._working(value)
        near = min(self.solved, key=lambda s: abs(s.x[self.index] - w))
        for guess in (near.x + self.slope * (w - near.x[self.index]), near.x):
            found = self._maximise(np.where(self.free, guess, w), near)
            if found is not None:
                self.solved.append(found)
                self.highest = max(self.highest, found.value)
                return found.value
        return -np.inf

    def _maximise(self, x: Floats, near: _Solved) -> _Solved | None:
        last: list[TargetPoint] = []
        modes = [near.modes]

        def objective(free: Floats) -> tuple[float, Floats]:
            moved = np.array(x)
            moved[self.free] = free
            point = self.target.at(moved, modes[0])
            if np.isfinite(point.value):
                last[:], modes[:] = [point], [point.mode]
            return -point.value, -point.gradient[self.free]

        with np.errstate(all="ignore"):
            for H in (near.inverse_hessian, self.start.inverse_hessian[np.ix_(self.free, self.free)]):
                found = minimise(objective, x[self.free], H, tolerance=TOLERANCE)
                if not np.isfinite(found.value):
                    return None
                x = np.array(x)
                x[self.free] = found.x
                if found.decrement <= ACCEPTED:
                    return _Solved(x, found.inverse_hessian, modes[0], -found.value)
        raise ConvergenceError(
            f"a profile could not be followed: with the parameter held at {x[self.index]:.6g} (in working coordinates) "
            f"the others did not converge ({found.message}). Use method='wald', or bg.bootstrap(fit)."
        )

    def _check_edges(self) -> None:
        entries = self.coordinates.entries
        self.logged = [e.logged(False) for e in entries]

    def _inside(self, chart: Chart) -> Floats:
        """The estimate in working coordinates, logged and bounded ones kept off their ends."""
        theta = np.array(chart.theta)
        guess = self.coordinates.split(self.start.x)[1]
        for k, e in enumerate(self.coordinates.entries):
            theta[k] = self._clipped(theta[k], k, guess[k]) if e.kind == "interval" or self.logged[k] else theta[k]
        return self.coordinates.join(chart.beta, theta, chart.psi)

    def _clipped(self, value: float, k: int, guess: float) -> float:
        e = self.coordinates.entries[k]
        if e.kind == "interval":
            margin = EDGE * (e.high - e.low)
            return float(np.clip(value, e.low + margin, e.high - margin))
        return float(max(value, EDGE * abs(guess)))

    def _working(self, value: float) -> float:
        """The held parameter's working coordinate."""
        k = self.index - self.coordinates.p
        if not 0 <= k < len(self.coordinates.entries):
            return value / self._unit_of_held()
        e = self.coordinates.entries[k]
        if e.kind == "interval":
            value = self._clipped(value, k, 0.0)
            return float(np.log(value - e.low) - np.log(e.high - value))
        if self.logged[k]:
            return float(np.log(self._clipped(value, k, self.coordinates.split(self.start.x)[1][k])))
        return value

    def _unit_of_held(self) -> float:
        """One for a coefficient; of an entry of ψ what its working coordinate is divided by."""
        return float(self.coordinates.slope(self.chart.theta)[self.index])

    def _slope_of_held(self, value: float) -> float:
        """D parameter / d working coordinate."""
        k = self.index - self.coordinates.p
        if not 0 <= k < len(self.coordinates.entries):
            return self._unit_of_held()
        e = self.coordinates.entries[k]
        if e.kind == "interval":
            return (value - e.low) * (e.high - value) / (e.high - e.low)
        return value if self.logged[k] else 1.0

    def _inverse_hessian(self) -> Floats:
        """Inverse information at the estimate; the start's guess where a parameter is at an edge."""
        scale = np.sqrt(np.diag(self.start.inverse_hessian))
        bent = curvature(self.target, self.point, scale)
        return bent.inverse_hessian(self.start.inverse_hessian)

    def _lifted(self, x: Floats) -> Floats:
        """Scales at zero moved off it: there the likelihood is stationary in them even where it should rise."""
        out = np.array(x)
        for k, e in enumerate(self.coordinates.entries):
            place = self.coordinates.p + k
            if e.kind == "scale" and not self.logged[k] and out[place] == 0.0 and place != self.index:
                out[place] = 0.3 * self.start.x[place]
        return out


def signed_root(maximum: HeldMaximum) -> Callable[[float], float]:
    """Value → √(2 × drop in the log-likelihood); infinite where the likelihood is zero."""

    def root(value: float) -> float:
        return float(np.sqrt(max(2.0 * (maximum.best - maximum.at(value)), 0.0)))

    return root
