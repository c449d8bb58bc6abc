"""The marginal likelihood maximised with one of its parameters held: what profiles are made of.

A coefficient, an auxiliary, the sd of an independent term are coordinates of the optimiser's vector already. For the
sds and correlations of an unstructured term the same covariance is written in other coordinates, in which the
parameter is one coordinate: its column first (then its sd is the first entry of Λ), or its two columns first, with two
sds and their correlation in place of the first rows of Λ (:data:`PAIR`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import FORMS, BlockCovariance, Coordinate, Form
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.curvature import curvature
from bayesglmm.latent.minimise import minimise
from bayesglmm.latent.mode import Mode, Warm
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.target import Coordinates, Target, TargetPoint
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Newton decrement of the parameters that are not held: an error of its square in the deviance.
TOLERANCE = 1e-4
#: Decrement that still leaves the deviance right to 1e-5.
ACCEPTED = 3e-3
#: How near to its ends a bounded coordinate (or to zero a logged one, relative to its guess) is still evaluated.
EDGE = 1e-9


def _pair_coordinates(q: int) -> tuple[Coordinate, ...]:
    first = (Coordinate("scale", even=False), Coordinate("scale", even=False), Coordinate("interval", -1.0, 1.0))
    return first + FORMS["unstructured"].coordinates(q)[3:]


def _pair_entries(theta: Floats) -> Floats:
    """Entries of an unstructured Λ from (sd₁, sd₂, ρ, the later rows)."""
    sd1, sd2, rho = theta[:3]
    return np.concatenate([[sd1, rho * sd2, np.sqrt(1.0 - rho**2) * sd2], theta[3:]])


def _pair_pullback(theta: Floats, q: int, G: Floats) -> Floats:
    g = FORMS["unstructured"].pullback(_pair_entries(theta), q, G)
    _, sd2, rho = theta[:3]
    rest = np.sqrt(1.0 - rho**2)
    return np.concatenate([[g[0], rho * g[1] + rest * g[2], sd2 * (g[1] - rho / rest * g[2])], g[3:]])


def _pair_from(sd: Floats, corr: Floats) -> Floats:
    return np.concatenate([[sd[0], sd[1], corr[1, 0]], FORMS["unstructured"].from_sd_corr(sd, corr)[3:]])


#: An unstructured covariance whose first two columns have sds and a correlation for coordinates.
PAIR = Form(
    "pair",
    _pair_coordinates,
    lambda theta, q: FORMS["unstructured"].factor(_pair_entries(theta), q),
    _pair_pullback,
    _pair_from,
    lambda theta, q: theta,
)


@dataclass(frozen=True)
class Chart:
    """A problem written so that one parameter is one coordinate.

    Parameters
    ----------
    problem : Problem
        The same model, columns of a random term perhaps in another order.
    beta, theta, psi : ndarray
        The estimate.
    index : int
        The parameter's place in (β, θ, ψ).
    low, high : float
        Its range.
    """

    problem: Problem
    beta: Floats
    theta: Floats
    psi: Floats
    index: int
    low: float = -np.inf
    high: float = np.inf

    @property
    def estimate(self) -> float:
        """The parameter's estimate."""
        return float(np.concatenate([self.beta, self.theta, self.psi])[self.index])


def covariance_chart(chart: Chart, k: int, i: int, j: int) -> Chart:
    """The chart of an sd (i = j) or a correlation (i ≠ j) of grouping factor `k`; i and j are columns of one term.

    Parameters
    ----------
    chart : Chart
        Problem and estimate; its index is not read.
    k : int
        Position of the grouping factor.
    i, j : int
        Columns of its z.
    """
    problem = chart.problem
    block, cov = problem.design.blocks[k], problem.covariance[k]
    starts = np.cumsum([0, *(c.n_params for c in problem.covariance)])
    own = chart.theta[starts[k] : starts[k + 1]]
    t = next(t for t, term in enumerate(cov.terms) if term.start <= i < term.stop)
    offset = len(chart.beta) + int(starts[k])
    if cov.forms[t].name == "unstructured" and cov.terms[t].size > 1:
        form = cov.forms[t] if i == j else PAIR
        wanted = [i] if i == j else sorted((i, j))
        block, cov, own = _reordered(block, cov, own, t, wanted, form)
        problem = replace(
            problem,
            design=replace(problem.design, blocks=_with(problem.design.blocks, k, block)),
            covariance=_with(problem.covariance, k, cov),
        )
        place = 0 if i == j else 2
    else:
        coordinates = cov.forms[t].coordinates(cov.terms[t].size)
        scales = sum(c.kind == "scale" for c in coordinates)
        place = len(coordinates) - 1 if i != j else (0 if scales == 1 else i - cov.terms[t].start)
    place += cov.slices[t].start
    coordinate = cov.coordinates[place]
    low, high = (0.0, np.inf) if coordinate.kind == "scale" else (coordinate.low, coordinate.high)
    theta = np.concatenate([chart.theta[: starts[k]], own, chart.theta[starts[k + 1] :]])
    return Chart(problem, chart.beta, theta, chart.psi, offset + place, low, high)


def _with(items: tuple, k: int, item: object) -> tuple:
    return (*items[:k], item, *items[k + 1 :])


def _reordered(
    block: RandomBlock, cov: BlockCovariance, theta: Floats, t: int, wanted: list[int], form: Form
) -> tuple[RandomBlock, BlockCovariance, Floats]:
    """The block with the wanted columns first in term `t`, and that term's covariance in the given form."""
    term = cov.terms[t]
    order = np.arange(block.z.shape[1])
    order[term.start : term.stop] = [*wanted, *(c for c in range(term.start, term.stop) if c not in wanted)]
    sd, corr = cov.sd_corr(theta)
    block = replace(block, z=block.z[:, order], columns=tuple(block.columns[c] for c in order))
    cov = replace(cov, forms=_with(cov.forms, t, form))
    return block, cov, cov.from_sd_corr(sd[order], corr[np.ix_(order, order)])


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
    nodes : int
        Quadrature nodes per dimension.
    kernel : {"auto", "graph"}
        As the fit's.
    """

    def __init__(self, chart: Chart, nodes: int = 1, kernel: str = "auto") -> None:
        problem = chart.problem
        objective = make_objective(problem, nodes, kernel)
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
