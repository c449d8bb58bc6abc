"""The loop of generalized estimating equations: scoring with a working correlation, its parameters by moments.

With rows sorted by cluster, B = W^½ X and e the Pearson residuals, the equations are Σ_g B_g' R_g(α)⁻¹ e_g = 0
(Liang & Zeger 1986, Biometrika 73, 13-22, equation 6). Every step solves for β at the α and φ of the current residuals.
"""

from __future__ import annotations

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
#: Steps without progress after which steps are shortened.
PATIENCE = 4
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


@dataclass(frozen=True)
class Weighted:
    """Rows at one β before any correlation: β, B = W^½ X, Pearson residuals, and Σ W η²."""

    beta: Floats
    B: Floats
    residuals: Floats
    eta_norm: float


def weighted_rows(equations: Equations, beta: Floats) -> Weighted | None:
    """Weighted columns and residuals at β; None when a mean leaves its range."""
    q = equations
    eta = beta @ q.XT + q.offset
    work = working_quantities(q.family, q.link, eta, q.y, q.w, q.aux)
    if not inside_domain(q.family, q.link, eta, q.y, work):
        return None
    root = np.sqrt(work.weight)
    return Weighted(beta, q.XT * root, root * work.residual, float(work.weight @ np.square(eta)))


def point_at(equations: Equations, rows: Weighted) -> Point:
    """Scale, correlation and equations at β.

    Raises
    ------
    ConvergenceError
        The correlation estimated from these residuals is not positive definite, or there is no scale.
    """
    q, e, B = equations, rows.residuals, rows.B
    total = float(e @ e)
    if (q.scale is None or q.alpha is None) and not total > 1e-24 * rows.eta_norm:
        raise ConvergenceError("every residual is zero: there is no scale and no correlation to estimate.")
    mean_square = total / q.denominator
    phi = mean_square if q.scale is None else q.scale
    # A correlation is a share of the residuals' own variance, whatever φ is held at in the covariance of β̂.
    params = q.correlation.update(e, mean_square, len(rows.beta)) if q.alpha is None else q.alpha
    require_feasible(q.correlation, params)
    solved = q.correlation.solve(params, e[None, :])[0]
    score = B @ solved
    factor = _factor(q.correlation.gram(params, B), score, len(e))
    if factor is None:
        raise ConvergenceError(
            "the information of the estimating equations is not positive definite: the working weights have vanished "
            "or the columns are linearly dependent under them."
        )
    return Point(rows.beta, B, e, solved, score, factor, phi, params, _length(factor, score, phi))


def _length(factor: Factor, score: Floats, phi: float) -> float:
    """Length of the step in model-based standard errors."""
    return float(np.sqrt(max(float(score @ factor.solve(score)), 0.0) / phi))


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
    """Step until the distance left is below the tolerance.

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
    rows = weighted_rows(equations, start)
    if rows is None:
        raise ConvergenceError("the starting coefficients put a mean outside its range; give others (start=).")
    point, evaluations, rate = point_at(equations, rows), 1, 0.0
    smallest, since, relax = point.decrement, 0, 1.0
    for iteration in range(1, max_iterations + 1):
        if point.decrement * max(rate, 0.1) / (1.0 - min(rate, 0.9)) < tolerance or point.decrement == 0.0:
            return Solved(point, iteration - 1, evaluations, True, "estimating equations solved")
        new, tries = _step(equations, point, relax)
        evaluations += tries
        if new is None or (new.decrement > 0.5 * point.decrement and new.decrement < _ROUNDOFF):
            best = point if new is None or new.decrement > point.decrement else new
            done = best.decrement < max(1e3 * tolerance, _ROUNDOFF)
            message = "estimating equations solved to round-off" if done else "no step makes the equations smaller"
            return Solved(best, iteration, evaluations, done, message)
        rate = new.decrement / point.decrement
        point, since = new, since + 1
        if point.decrement < smallest:
            smallest, since = point.decrement, 0
        elif since >= PATIENCE:  # β and the correlation chase each other: shorter steps settle them
            smallest, since, relax = point.decrement, 0, max(0.5 * relax, 1.0 / 64.0)
    if point.decrement < tolerance:
        return Solved(point, max_iterations, evaluations, True, "estimating equations solved")
    return Solved(point, max_iterations, evaluations, False, f"stopped at the cap of {max_iterations} iterations")


def _step(equations: Equations, point: Point, relax: float) -> tuple[Point | None, int]:
    """The first of β + δ, β + δ/2, ..., times `relax`, that serves, and the tries it took.

    It must keep the means inside their range, must not make the equations larger at the correlation it was found with
    (they may grow when the correlation is then estimated anew), and must leave that estimate feasible.
    """
    step = relax * point.factor.solve(point.score)
    for halving in range(MAX_HALVINGS):
        beta = point.beta + step * 0.5**halving
        if np.array_equal(beta, point.beta):
            return None, halving
        rows = weighted_rows(equations, beta)
        if rows is None:
            continue
        score = rows.B @ equations.correlation.solve(point.params, rows.residuals[None, :])[0]
        length = _length(point.factor, score, point.phi)
        if length > point.decrement and length > _ROUNDOFF:
            continue
        try:
            return point_at(equations, rows), halving + 1
        except ConvergenceError:
            if halving == MAX_HALVINGS - 1 or point.decrement < 1e-3:
                raise
    return None, MAX_HALVINGS
