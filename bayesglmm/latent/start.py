"""Where the outer optimiser starts: a GLM fit, moment estimates of the variances, the joint mode of β and u."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.elimination.structure import Loadings, analyse
from bayesglmm.latent.fixed_point import fixed_point, shrinkage
from bayesglmm.latent.mode import Inner, Point
from bayesglmm.links import get_link

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.objective import Objective
    from bayesglmm.latent.target import Coordinates
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


#: Most fixed-point steps of the variances; a change (of log sds, correlations) that is not worth another one; how near
#: the joint modes have to be found on the way.
WARM_UP, NEAR, WARM = 3, 0.15, 0.1


@dataclass(frozen=True)
class JointMode:
    """Joint mode of (β, u) at fixed Λ and ψ, to a loose tolerance.

    Parameters
    ----------
    beta, u : ndarray
        The mode.
    information : ndarray, shape (p, p)
        Information of β with u profiled out.
    factor : Factor
        H with expected weights there.
    point : Point
        Linear predictor and derivatives there.
    """

    beta: Floats
    u: Floats
    information: Floats
    factor: Factor
    point: Point


@dataclass(frozen=True)
class Start:
    """A starting point and a guess of the inverse Hessian there, in the optimiser's coordinates.

    Parameters
    ----------
    x : ndarray, shape (d,)
        The vector.
    modes : ndarray, shape (m,)
        Where to start looking for conditional modes.
    inverse_hessian : ndarray, shape (d, d)
        Block-diagonal guess of the covariance of the estimates.
    """

    x: Floats
    modes: Floats
    inverse_hessian: Floats


def joint_mode(
    objective: Objective, loadings: Loadings, psi: Floats, beta: Floats, u: Floats, tolerance: float = 1e-2
) -> JointMode:
    """Fisher scoring on (β, u) together, damped; a few steps are enough for a start."""
    X = objective.X

    def at(beta: Floats, u: Floats) -> Point:
        return Inner(loadings, objective.kernel, objective.offset + X @ beta, psi).at(u)

    point = at(beta, u)
    for _ in range(25):
        weights = np.maximum(objective.kernel.expected_weight(point.eta, psi), 0.0)
        factor = loadings.factorize(weights)
        cross = loadings.cross(weights, X)
        bent = factor.solve(cross)
        information = X.T @ (weights[:, None] * X) - cross.T @ bent
        alone = factor.solve(point.gradient)
        g_beta = X.T @ point.derivatives.d1 - cross.T @ alone
        step = _solve(information, g_beta)
        step_u = alone - bent @ step
        decrement = float(np.sqrt(max(float(g_beta @ step + point.gradient @ alone), 0.0)))
        t, moved = 1.0, at(beta + step, u + step_u)
        while not moved.value >= point.value and t > 1e-6:
            t *= 0.5
            moved = at(beta + t * step, u + t * step_u)
        if not moved.value >= point.value:
            break
        beta, u, point = beta + t * step, u + t * step_u, moved
        if decrement < tolerance:
            break
    return JointMode(beta, u, information, factor, point)


def _solve(information: Floats, g: Floats) -> Floats:
    """Newton step that leaves flat directions alone (separated data have some)."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / (scale[:, None] * scale)
    try:
        if len(scaled) and np.linalg.cholesky(scaled).diagonal().min() > 1e-3:
            return np.linalg.solve(scaled, g / scale) / scale
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    keep = values > 1e-10
    return (vectors[:, keep] @ ((vectors[:, keep].T @ (g / scale)) / values[keep])) / scale


def _inverse(information: Floats) -> Floats:
    """Inverse with flat directions bounded, so that the first step along them is not absurd."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    root = vectors / np.sqrt(np.maximum(values, 1e-6))
    return (root @ root.T) / np.outer(scale, scale)


def starting_point(problem: Problem, objective: Objective, coordinates: Coordinates) -> Start:
    """GLM first, then variances by moments, then the joint mode of β and u.

    Raises
    ------
    ConvergenceError
        When the log-density is finite nowhere it looked.
    """
    with np.errstate(all="ignore"):
        psi, glm = _glm(problem, objective)
        theta, joint = _variances(objective, glm, psi)
        x = coordinates.join(joint.beta, theta, psi)
        inverse = np.zeros((len(x), len(x)))
        inverse[: coordinates.p, : coordinates.p] = _inverse(joint.information)
        rest = np.concatenate([_theta_information(objective, joint, theta), _psi_information(objective, joint, psi)])
        rest = rest * coordinates.slope(theta)[coordinates.p :] ** 2
    inverse[coordinates.p :, coordinates.p :] = np.diag(1.0 / np.maximum(rest, 1e-8))
    return Start(x, joint.u, inverse)


def _glm(problem: Problem, objective: Objective) -> tuple[Floats, JointMode]:
    """Fit without random effects: auxiliaries from the family's own guess, β by Fisher scoring."""
    order = objective.order
    y, weights = problem.mean_response[order], problem.case_weights[order]
    mu = problem.family.initial_mean(y, weights)
    eta = problem.link.eta(mu)
    psi = _aux_start(problem, y, mu, weights)
    beta = _first_coefficients(objective, psi, eta)
    empty = analyse([], [], objective.structure.n).at([])
    glm = joint_mode(objective, empty, psi, beta, np.empty(0), WARM)
    if problem.family.auxiliaries:
        psi = _aux_start(problem, y, problem.link.mean(glm.point.eta), weights)
        glm = joint_mode(objective, empty, psi, glm.beta, np.empty(0), WARM)
    return psi, glm


def _aux_start(problem: Problem, y: Floats, mu: Floats, weights: Floats) -> Floats:
    values = [get_link(a.link).eta(np.asarray(a.start(y, mu, weights))) for a in problem.family.auxiliaries]
    parts = [
        np.atleast_1d(float(v)) if X is None else np.linalg.lstsq(X, np.full(len(X), float(v)), rcond=None)[0]
        for v, X in zip(values, problem.aux_designs(problem.design))
    ]
    return np.concatenate([*parts, np.empty(0)])


def _first_coefficients(objective: Objective, psi: Floats, eta: Floats) -> Floats:
    """β of a weighted regression of the working response; a constant predictor when that leaves η's domain."""
    X, offset, kernel = objective.X, objective.offset, objective.kernel
    d = kernel.derivatives(eta, psi)
    weights = np.maximum(kernel.expected_weight(eta, psi), 0.0)
    good = (weights > 0) & np.isfinite(weights) & np.isfinite(d.d1)
    root = np.sqrt(np.where(good, weights, 0.0))
    working = np.where(good, eta - offset + d.d1 / np.where(good, weights, 1.0), 0.0)
    ones = np.ones_like(eta)
    tries = ((lambda: working, root), (lambda: eta - offset, ones), (lambda: np.median(eta) - offset, ones))
    for target, w in tries:
        weighted = w[:, None] * X
        beta = _solve(weighted.T @ weighted, weighted.T @ (w * target()))
        value = kernel.derivatives(offset + X @ beta, psi)
        if np.isfinite(value.value.sum()) and np.all(np.isfinite(value.d1)):
            return beta
    raise ConvergenceError(
        "no starting point: the log-density is not finite at any linear predictor tried. "
        "A link that maps every linear predictor into the mean's range (log, logit) would avoid this."
    )


def _moments(objective: Objective, glm: JointMode, psi: Floats) -> tuple[Floats, list[Floats]]:
    """Variances from the GLM's scores: E g² = κ + κ²σ² for a level's score g with information κ.

    Also the sds, one array per factor, below which there is next to nothing of a column, κσ² = 0.1 on average: zero
    is stationary, and a search must not start there.
    """
    weights = np.maximum(objective.kernel.expected_weight(glm.point.eta, psi), 0.0)
    score = glm.point.derivatives.d1
    parts, least = [], []
    for b, cov in zip(objective.structure.layouts, objective.covariance):
        sd, floor = np.empty(b.size), np.empty(b.size)
        for c in range(b.size):
            g = np.bincount(b.codes, b.z[:, c] * score, b.levels)
            kappa = np.bincount(b.codes, weights * b.z[:, c] ** 2, b.levels)
            total = max(float(np.sum(kappa**2)), 1e-300)
            typical = max(float(kappa.sum()), 1e-300) / max(int(np.count_nonzero(kappa)), 1)  # some levels have no rows
            floor[c] = np.sqrt(0.1 / typical)
            sd[c] = max(np.sqrt(max(float(np.sum(g**2 - kappa)) / total, 0.0)), floor[c])
        parts.append(cov.from_sd_corr(sd))
        least.append(floor)
    return np.concatenate([*parts, np.empty(0)]), least


def _variances(objective: Objective, glm: JointMode, psi: Floats) -> tuple[Floats, JointMode]:
    """Moment estimates, which count what crossed factors share more than once, and fixed-point steps from there."""
    theta, least = _moments(objective, glm, psi)
    layouts, covariance, slices = objective.structure.layouts, objective.covariance, objective.slices
    joint = joint_mode(objective, objective.loadings(theta), psi, glm.beta, np.zeros(objective.structure.m), WARM)
    for _ in range(WARM_UP):
        rho = shrinkage(joint.factor.level_covariances)
        u = [joint.u[b.start : b.stop] for b in layouts]
        steps = zip(layouts, covariance, slices, u, rho, least)
        after = [fixed_point(b, cov, theta[s], own, r, floor) for b, cov, s, own, r, floor in steps]
        try:
            moved = [_ratio(cov, theta[s], t) for cov, s, t in zip(covariance, slices, after)]
        except np.linalg.LinAlgError:  # one correlation for all pairs cannot be as negative as theirs on average
            break
        if max(moved, default=0.0) < NEAR:
            break
        stay = [  # the effects Λu stay where they are
            np.linalg.solve(cov.factor(t), (own.reshape(b.levels, b.size) @ cov.factor(theta[s]).T).T).T.ravel()
            for b, cov, s, t, own in zip(layouts, covariance, slices, after, u)
        ]
        theta = np.concatenate(after)
        joint = joint_mode(objective, objective.loadings(theta), psi, joint.beta, np.concatenate(stay), WARM)
    return theta, joint


def _ratio(cov: BlockCovariance, before: Floats, after: Floats) -> float:
    """Largest change of a log sd or a correlation."""
    (sd, corr), (new_sd, new_corr) = cov.sd_corr(before), cov.sd_corr(after)
    return max(float(np.abs(np.log(new_sd / sd)).max()), float(np.abs(new_corr - corr).max()))


def _theta_information(objective: Objective, joint: JointMode, theta: Floats) -> Floats:
    """Rough information of each entry of natural θ, from how far the levels' effects are shrunk.

    For a scalar variance with per-level information κ it is 2κ²σ²/(1 + κσ²)² = 2(1 − 1/H)²/σ² per level.
    """
    parts = []
    layouts = objective.structure.layouts
    for b, cov, s, own in zip(layouts, objective.covariance, objective.slices, joint.factor.level_covariances):
        L = cov.factor(theta[s])
        sd = np.maximum(np.sqrt(np.sum(L**2, axis=1)), 1e-8)
        index = np.arange(b.size)
        kept = np.clip(1.0 - own[:, index, index], 0.05, 1.0)
        entries = np.einsum("jr,js->rs", kept, kept) / sd[:, None] ** 2
        entries[index, index] *= 2.0
        slopes = np.empty((cov.n_params, b.size, b.size))
        for r in range(b.size):
            for c in range(b.size):
                unit = np.zeros((b.size, b.size))
                unit[r, c] = 1.0
                slopes[:, r, c] = cov.pullback(theta[s], unit)
        parts.append(np.einsum("krc,rc->k", slopes**2, entries))
    return np.concatenate([*parts, np.empty(0)])


def _psi_information(objective: Objective, joint: JointMode, psi: Floats) -> Floats:
    """Rough information of the auxiliaries: the slope of their score at fixed η, or half a unit per row."""
    out = np.empty(len(psi))
    for j in range(len(psi)):
        step = np.zeros(len(psi))
        step[j] = 1e-4
        up, down = (
            float(objective.kernel.aux_derivatives(joint.point.eta, psi + s).value[j].sum()) for s in (step, -step)
        )
        slope = (down - up) / 2e-4
        out[j] = slope if np.isfinite(slope) and slope > 0 else 0.5 * len(objective.X)
    return out
