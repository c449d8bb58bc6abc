"""Fitting a weighted linear mixed model: minimise the (restricted) deviance, then its exact curvature.

The search runs over relative θ with σ² profiled out (or known). Scales are left unlogged: a zero variance is then a
stationary point of an even function, reached and reported rather than run away from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance
from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.elimination.factor import NotPositiveDefiniteError
from bayesglmm.latent.linear.criterion import LinearModel
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.linear.start import (
    absolute,
    from_working,
    lifted,
    natural_units,
    to_working,
    warm_up,
    working_slope,
)
from bayesglmm.latent.minimise import Minimum, minimise

Floats = NDArray[np.float64]

#: Relative sd (times the column's rms) below which a variance is at its boundary, and 1 − |correlation| likewise.
BOUNDARY = 1e-5


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear mixed model.

    Parameters
    ----------
    solution : Solution
        At the optimum.
    minimum : Minimum
        The search, in working coordinates.
    pinned : ndarray of bool, shape (k,)
        Parameters held at a boundary.
    """

    solution: Solution
    minimum: Minimum
    pinned: NDArray[np.bool_]

    @property
    def theta(self) -> Floats:
        """Covariance parameters on their own scale (multiplied by σ), shape (k,)."""
        return absolute(self.solution.model, self.solution.theta, self.solution.scale)


def fit_linear(
    model: LinearModel,
    *,
    start: LinearFit | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
) -> LinearFit:
    """Minimise the (restricted) deviance over θ.

    Parameters
    ----------
    model : LinearModel
        What to fit.
    start : LinearFit, optional
        A fit of a similar model: its θ and curvature are where the search starts.
    tolerance : float
        On the Newton decrement of the criterion.
    max_iterations : int
        Cap on quasi-Newton steps.

    Raises
    ------
    ConvergenceError
        When the criterion is not finite where the search starts.
    """
    k = sum(c.n_params for c in model.parts)
    pinned = np.zeros(k, dtype=bool)
    if start is None:
        theta, H, evaluations = warm_up(model)
    else:
        theta, H, evaluations = lifted(model, start.solution.theta), start.minimum.inverse_hessian, 0
    while True:
        minimum, last = _search(model, theta, H, pinned, tolerance, max_iterations)
        evaluations += minimum.evaluations
        theta, crossed = _canonical(model, from_working(model, minimum.x))
        if not np.any(crossed & ~pinned):
            break
        # A scale went through zero in a form that is not even in it: the optimum within the form is on the edge.
        pinned |= crossed
    solution = last if last is not None and np.array_equal(last.theta, theta) else model.solve(theta)
    return LinearFit(solution, replace(minimum, evaluations=evaluations), pinned)


def _search(
    model: LinearModel, theta: Floats, H: Floats, pinned: NDArray[np.bool_], tolerance: float, max_iterations: int
) -> tuple[Minimum, Solution | None]:
    """Minimise over the parameters that are not pinned; also the last solution evaluated."""
    last: list[Solution] = []
    base = to_working(model, theta)
    free = np.flatnonzero(~pinned)

    def objective(x: Floats) -> tuple[float, Floats]:
        w = np.array(base)
        w[free] = x
        theta = from_working(model, w)
        try:
            solution = model.solve(theta)
        except (NotPositiveDefiniteError, np.linalg.LinAlgError):
            return np.inf, np.full(len(x), np.nan)
        last[:] = [solution]
        return solution.criterion, (solution.gradient * working_slope(model, theta))[free]

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = minimise(
            objective, base[free], H[np.ix_(free, free)], tolerance=tolerance, max_iterations=max_iterations
        )
    if not np.isfinite(found.value):
        raise ConvergenceError(
            "the criterion of the (working) linear mixed model is not finite where the search starts; check the "
            "response, the weights and the columns of the random effects for extreme values."
        )
    x, gradient, inverse = base, np.zeros(len(base)), np.array(H)
    x[free], gradient[free], inverse[np.ix_(free, free)] = found.x, found.gradient, found.inverse_hessian
    return replace(found, x=x, gradient=gradient, inverse_hessian=inverse), last[0] if last else None


def _canonical(model: LinearModel, theta: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The same covariance with non-negative scales, and which scales cannot be made so without changing it."""
    out, crossed = np.array(theta), np.zeros(len(theta), dtype=bool)
    units = natural_units(model)
    for cov, s in zip(model.covariance, model.slices):
        out[s], crossed[s] = _canonical_block(cov, theta[s], units[s])
    return out, crossed


def _canonical_block(cov: BlockCovariance, theta: Floats, units: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    scales = np.array([c.kind == "scale" for c in cov.coordinates])
    negligible = scales & (np.abs(theta) < BOUNDARY * units)
    L = cov.factor(np.where(negligible, 0.0, theta))
    # Flipping the sign of a column of Λ changes nothing; the entries of Λ give θ back only where it is linear in them.
    flipped = L * np.where(np.diag(L) < 0, -1.0, 1.0)
    candidates = [cov.pullback(theta, flipped)] if not any(c.kind == "interval" for c in cov.coordinates) else []
    candidates.append(np.where(scales, np.abs(np.where(negligible, 0.0, theta)), theta))
    for candidate in candidates:
        new = cov.factor(candidate)
        if np.allclose(new @ new.T, L @ L.T, rtol=1e-12, atol=1e-300):
            return candidate, np.zeros(len(theta), dtype=bool)
    crossed = scales & (theta < 0)
    return np.where(crossed, 0.0, candidates[-1]), crossed
