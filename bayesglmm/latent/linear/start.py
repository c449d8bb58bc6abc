"""Coordinates of a linear mixed model's θ, and where its search starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.fixed_point import fixed_point, shrinkage
from bayesglmm.latent.linear.criterion import LinearModel

Floats = NDArray[np.float64]

#: Fixed-point steps before the quasi-Newton search.
WARM_UP = 2


def homogeneous(model: LinearModel) -> NDArray[np.bool_]:
    """Which entries of θ scale with σ (all but correlations), shape (k,)."""
    kinds = [c.kind != "interval" for cov in model.parts for c in cov.coordinates]
    return np.array(kinds, dtype=bool)


def absolute(model: LinearModel, theta: Floats, scale: float) -> Floats:
    """θ from relative θ."""
    return np.where(homogeneous(model), theta * np.sqrt(scale), theta)


def relative(model: LinearModel, theta: Floats, scale: float) -> Floats:
    """Relative θ from θ."""
    return np.where(homogeneous(model), theta / np.sqrt(scale), theta)


def to_working(model: LinearModel, theta: Floats) -> Floats:
    """Working coordinates of relative θ: correlations on the line, scales as they are."""
    parts = [c.to_working(theta[s], False) for c, s in zip(model.parts, model.slices)]
    return np.concatenate([*parts, np.empty(0)])


def from_working(model: LinearModel, x: Floats) -> Floats:
    """Relative θ of working coordinates."""
    parts = [c.from_working(x[s], False) for c, s in zip(model.parts, model.slices)]
    return np.concatenate([*parts, np.empty(0)])


def working_slope(model: LinearModel, theta: Floats) -> Floats:
    """dθ/dx, elementwise."""
    parts = [c.working_slope(theta[s], False) for c, s in zip(model.parts, model.slices)]
    return np.concatenate([*parts, np.empty(0)])


def starting_theta(model: LinearModel) -> Floats:
    """Relative θ at which every column contributes one residual standard deviation, uncorrelated."""
    parts = [cov.from_sd_corr(1.0 / model.column_rms[k]) for k, cov in enumerate(model.covariance)]
    return np.concatenate([*parts, np.empty(0) if model.rows is None else model.rows.at])


def natural_units(model: LinearModel) -> Floats:
    """The change in each entry of θ that moves a row of ZΛ by one on average, shape (k,)."""
    start, units = starting_theta(model), []
    for k, (cov, where) in enumerate(zip(model.covariance, model.slices)):
        theta, rms = start[where], model.column_rms[k]
        for j in range(cov.n_params):
            step = np.zeros(cov.n_params)
            step[j] = 1e-4 * max(abs(theta[j]), 1e-2)
            moved = rms[:, None] * (cov.factor(theta + step) - cov.factor(theta)) / step[j]
            units.append(1.0 / float(np.linalg.norm(moved)))
    return np.array(units + [1.0] * (len(start) - len(units)))  # correlations of the errors have no size


def lifted(model: LinearModel, theta: Floats) -> Floats:
    """θ with scales away from zero: zero is stationary whatever the data, so a search must not start there."""
    scales = np.array([c.kind == "scale" for cov in model.parts for c in cov.coordinates], dtype=bool)
    floor = 0.05 * natural_units(model)
    return np.where(scales & (theta < floor), floor, theta)


def warm_up(model: LinearModel) -> tuple[Floats, Floats, int]:
    """A start near the optimum and a first inverse Hessian there, by a few fixed-point steps.

    Returns
    -------
    theta : ndarray, shape (k,)
        Relative θ.
    inverse_hessian : ndarray, shape (k, k)
        In working coordinates.
    evaluations : int
        Penalised least-squares problems solved.
    """
    theta = starting_theta(model)
    rho = [np.ones(b.size) for b in model.structure.layouts]
    for _ in range(WARM_UP if len(theta) else 0):
        at = model.solve(theta)
        rho = shrinkage(at.factor.level_covariances)
        u = at.u / np.sqrt(at.scale)
        steps = zip(model.structure.layouts, model.covariance, model.slices, rho)
        parts = [fixed_point(b, cov, theta[s], u[b.start : b.stop], r) for b, cov, s, r in steps]
        theta = lifted(model, np.concatenate([*parts, theta[sum(map(len, parts)) :]]))
    return theta, starting_inverse(model, theta, rho), WARM_UP


def starting_inverse(model: LinearModel, theta: Floats, rho: list[Floats]) -> Floats:
    """A first inverse Hessian of the criterion in working coordinates.

    In balanced data the information about a log sd is (number of levels) × ρ², ρ the shrinkage of the column.
    """
    blocks = zip(model.structure.layouts, model.covariance, rho)
    levels = [np.full(c.n_params, b.levels * np.mean(r) ** 2) for b, c, r in blocks]
    levels.append(np.full(len(theta) - sum(map(len, levels)), float(len(model.y))))
    scales = np.array([c.kind == "scale" for cov in model.parts for c in cov.coordinates], dtype=bool)
    size = np.where(scales, np.abs(theta), natural_units(model))
    return np.diag(np.square(size / working_slope(model, theta)) / (2.0 * np.concatenate([*levels, np.empty(0)])))
