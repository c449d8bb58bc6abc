"""The loop of generalized estimating equations: scoring with a working correlation, its parameters by moments.

With rows sorted by cluster, B = W^½ X and e the Pearson residuals, the equations are Σ_g B_g' R_g(α)⁻¹ e_g = 0
(Liang & Zeger 1986, Biometrika 73, 13-22, equation 6). Every step solves for β at the α and φ of the current residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.clusters import Clusters
from bayesglmm.scores.correlation import WorkingCorrelation
from bayesglmm.scores.solve import Factor, factorise
from bayesglmm.scores.sums import Sums
from bayesglmm.scores.working import Aux, inside_domain, working_quantities

Floats = NDArray[np.float64]

MAX_HALVINGS = 20
#: Decrements, in standard errors, that rounding of the sums cannot get below.
_ROUNDOFF = 1e-9


@dataclass(frozen=True)
class Equations:
    """What the estimating equations are made of, rows sorted by cluster.

    Parameters
    ----------
    XT : ndarray, shape (p, n)
        Columns of the design.
    y, w, offset : ndarray, shape (n,)
        Response on the mean's scale, case weights, offset.
    family, link, aux
        The model's.
    correlation : WorkingCorrelation
        Bound to the clusters.
    scale : float or None
        φ where it is held fixed.
    denominator : float
        What Σ e² is divided by for φ.
    alpha : ndarray or None
        Parameters of the correlation where they are held fixed.
    """

    XT: Floats
    y: Floats
    w: Floats
    offset: Floats
    family: Family
    link: Link
    aux: Aux
    correlation: WorkingCorrelation
    scale: float | None
    denominator: float
    alpha: Floats | None = None

    @property
    def clusters(self) -> Clusters:
        """The clusters."""
        return self.correlation.clusters


@dataclass(frozen=True)
class Point:
    """The equations at one β.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    B : ndarray, shape (p, n)
        Weighted columns W^½ X of the sorted rows.
    residuals : ndarray, shape (n,)
        Pearson residuals.
    solved : ndarray, shape (n,)
        R⁻¹ e.
    score : ndarray, shape (p,)
        Σ_g B_g' R_g⁻¹ e_g.
    factor : Factor
        Of Σ_g B_g' R_g⁻¹ B_g.
    phi : float
        Scale.
    params : ndarray, shape (q,)
        Parameters of the correlation.
    decrement : float
        √(score' A score / φ): length of the next step in model-based standard errors.
    """

    beta: Floats
    B: Floats
    residuals: Floats
    solved: Floats
    score: Floats
    factor: Factor
    phi: float
    params: Floats
    decrement: float


@dataclass(frozen=True)
class Solved:
    """Where the loop ended: the last point, its iterations, and whether and why it stopped."""

    point: Point
    iterations: int
    evaluations: int
    converged: bool
    message: str


def point_at(equations: Equations, beta: Floats) -> Point | None:
    """Residuals, scale, correlation and equations at β; None when a mean leaves its range.

    Raises
    ------
    ConvergenceError
        The correlation estimated from these residuals is not positive definite.
    """
    q = equations
    eta = beta @ q.XT + q.offset
    work = working_quantities(q.family, q.link, eta, q.y, q.w, q.aux)
    if not inside_domain(q.family, q.link, eta, q.y, work):
        return None
    root = np.sqrt(work.weight)
    residuals = root * work.residual
    phi = float(residuals @ residuals) / q.denominator if q.scale is None else q.scale
    if not (np.isfinite(phi) and phi > 0):
        if np.isfinite(phi) and q.alpha is None and q.correlation.estimated:
            raise ConvergenceError("every residual is zero: there is no scale and no correlation to estimate.")
        phi = np.finfo(float).tiny
    params = q.correlation.update(residuals, phi, len(beta)) if q.alpha is None else q.alpha
    require_feasible(q.correlation, params)
    B = np.multiply(q.XT, root)
    solved = q.correlation.solve(params, residuals[None, :])[0]
    score = B @ solved
    factor = _factor(q.correlation.gram(params, B), score, len(residuals))
    if factor is None:
        raise ConvergenceError(
            "the information of the estimating equations is not positive definite: the working weights have vanished "
            "or the columns are linearly dependent under them."
        )
    decrement = float(np.sqrt(max(float(score @ factor.solve(score)), 0.0) / phi))
    return Point(beta, B, residuals, solved, score, factor, phi, params, decrement)


def require_feasible(correlation: WorkingCorrelation, params: Floats) -> None:
    """Raise when a correlation is not positive definite, naming it.

    Raises
    ------
    ConvergenceError
        With the parameter and the range it should be in.
    """
    reason = correlation.objection(params)
    if reason is not None:
        raise ConvergenceError(
            f"the estimated {correlation.name} working correlation is not positive definite: {reason}. "
            "Take a simpler one (corr='exchangeable', 'ar1', 'independence')."
        )


def _factor(gram: Floats, score: Floats, n: int) -> Factor | None:
    return factorise(Sums(n, 0.0, 0.0, 0.0, 0.0, True, gram, None, score))


def solve_equations(
    equations: Equations, start: Floats, *, max_iterations: int = 100, tolerance: float = 1e-10
) -> Solved:
    """Step until the distance left is below the tolerance, halving steps that leave the domain or grow the equations.

    Parameters
    ----------
    equations : Equations
        The model.
    start : ndarray, shape (p,)
        Coefficients with every mean inside its range.
    max_iterations : int
        Cap on the steps.
    tolerance : float
        Largest remaining distance to the solution, in model-based standard errors.

    Raises
    ------
    ConvergenceError
        A start outside the domain, or a working correlation that is not positive definite.
    """
    point = point_at(equations, start)
    if point is None:
        raise ConvergenceError("the starting coefficients put a mean outside its range; give others (start=).")
    evaluations, rate = 1, 0.0
    for iteration in range(1, max_iterations + 1):
        if point.decrement * max(rate, 0.1) / (1.0 - min(rate, 0.9)) < tolerance or point.decrement == 0.0:
            return Solved(point, iteration - 1, evaluations, True, "estimating equations solved")
        new, tries = _step(partial_point(equations), point)
        evaluations += tries
        if new is None or (new.decrement > 0.5 * point.decrement and new.decrement < _ROUNDOFF):
            best = point if new is None or new.decrement > point.decrement else new
            done = best.decrement < max(1e3 * tolerance, _ROUNDOFF)
            message = "estimating equations solved to round-off" if done else "no step makes the equations smaller"
            return Solved(best, iteration, evaluations, done, message)
        rate = new.decrement / point.decrement
        point = new
    if point.decrement < tolerance:
        return Solved(point, max_iterations, evaluations, True, "estimating equations solved")
    return Solved(point, max_iterations, evaluations, False, f"stopped at the cap of {max_iterations} iterations")


def partial_point(equations: Equations) -> Callable[[Floats], Point | None]:
    """The equations as a function of β."""
    return lambda beta: point_at(equations, beta)


def _step(at: Callable[[Floats], Point | None], point: Point) -> tuple[Point | None, int]:
    """The first of β + δ, β + δ/2, ... inside the domain with equations not larger, and the tries it took."""
    step = point.factor.solve(point.score)
    for halving in range(MAX_HALVINGS):
        beta = point.beta + step * 0.5**halving
        if np.array_equal(beta, point.beta):
            return None, halving
        try:
            new = at(beta)
        except ConvergenceError:
            if halving == MAX_HALVINGS - 1 or point.decrement < 1e-3:
                raise
            continue
        if new is not None and (new.decrement <= point.decrement or new.decrement < _ROUNDOFF):
            return new, halving + 1
    return None, MAX_HALVINGS
