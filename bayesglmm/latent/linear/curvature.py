"""Second derivatives of the (restricted) deviance of a linear mixed model, and the covariance they give.

The exact gradient is differenced centrally along relative θ; everything that involves σ is analytic, because at
fixed relative θ the criterion is ν log σ² + r²/σ² + const. Coordinates are then changed to (θ absolute, log σ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.linear.fit import LinearFit
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.linear.start import homogeneous, natural_units, working_slope

Floats = NDArray[np.float64]

#: Differencing steps in standard errors of θ: truncation and rounding are then both near 1e-7 relative.
STEP = 1e-3


@dataclass(frozen=True)
class Curvature:
    """Second-order facts at a solution, in the coordinates (θ absolute, log σ), or θ alone when σ is known.

    Parameters
    ----------
    hessian : ndarray, shape (k, k)
        Of the criterion, −2 × the (restricted) log-likelihood with β profiled (or integrated) out.
    beta_slope : ndarray, shape (k, p)
        ∂β̂/∂(θ, log σ).
    cov_slope : ndarray, shape (k, p, p)
        ∂Cov(β̂)/∂(θ, log σ).
    """

    hessian: Floats
    beta_slope: Floats
    cov_slope: Floats


def curvature(at: Solution, errors: Floats) -> Curvature:
    """Hessian of the criterion and slopes of β̂ and Cov(β̂) at a solution.

    Parameters
    ----------
    at : Solution
        Where to differentiate; θ need not be an exact optimum.
    errors : ndarray, shape (k,)
        Rough standard errors of relative θ: they set the differencing steps (NaN where unknown).
    """
    model, theta = at.model, at.theta
    k, p = len(theta), len(at.beta)
    H, dbeta, dcov = np.zeros((k, k)), np.zeros((k, p)), np.zeros((k, p, p))
    steps = _steps(at, errors)
    for j in range(k):
        up, down = (model.solve(theta + sign * steps[j] * np.eye(k)[j], at.scale) for sign in (1.0, -1.0))
        H[j] = (up.gradient - down.gradient) / (2.0 * steps[j])
        dbeta[j] = (up.beta - down.beta) / (2.0 * steps[j])
        dcov[j] = (up.cov_beta - down.cov_beta) / (2.0 * steps[j])
    return _absolute(at, 0.5 * (H + H.T), dbeta, dcov)


def _absolute(at: Solution, H: Floats, dbeta: Floats, dcov: Floats) -> Curvature:
    """Change coordinates from (relative θ, log σ) to (θ, log σ), or to θ where σ is known."""
    model, theta, sigma = at.model, at.theta, np.sqrt(at.scale)
    moves = homogeneous(model)
    J = np.where(moves, 1.0 / sigma, 1.0)  # ∂θ_rel/∂θ
    if model.scale is not None:
        return Curvature(H * np.outer(J, J), dbeta * J[:, None], dcov * J[:, None, None])
    k, p = len(theta), len(at.beta)
    t = np.where(moves, -theta, 0.0)  # ∂θ_rel/∂log σ
    g, g_fit = at.gradient, at.fit_gradient
    mixed = H @ t - 2.0 * g_fit  # ∂²/∂θ_rel∂s plus the part that θ_rel's own motion with s brings
    out = np.zeros((k + 1, k + 1))
    out[:k, :k] = H * np.outer(J, J)
    out[:k, k] = out[k, :k] = J * mixed - np.where(moves, g * J, 0.0)
    out[k, k] = t @ H @ t - 4.0 * t @ g_fit - t @ g + 4.0 * at.r2 / at.scale
    beta_slope = np.vstack([dbeta * J[:, None], (t @ dbeta)[None]])
    cov_slope = np.concatenate([dcov * J[:, None, None], (2.0 * at.cov_beta + np.tensordot(t, dcov, 1))[None]])
    return Curvature(out, beta_slope, cov_slope.reshape(k + 1, p, p))


def rough_errors(fit: LinearFit) -> Floats:
    """Standard errors of relative θ by the quasi-Newton inverse Hessian of a fit."""
    model, theta = fit.solution.model, fit.solution.theta
    return np.sqrt(2.0 * np.diag(fit.minimum.inverse_hessian)) * working_slope(model, theta)


def _steps(at: Solution, errors: Floats) -> Floats:
    """Differencing steps: a small part of a standard error, and well inside a correlation's interval."""
    model, theta = at.model, at.theta
    units = natural_units(model)
    steps = STEP * np.fmin(np.where(errors > 0, errors, np.nan), units)
    for j, c in enumerate(c for cov in model.parts for c in cov.coordinates):
        if c.kind == "interval":
            steps[j] = min(steps[j], 0.1 * (theta[j] - c.low), 0.1 * (c.high - theta[j]))
    return steps


def joint_covariance(at: Solution, curve: Curvature, edge: NDArray[np.bool_]) -> Floats:
    """Covariance of (β, θ, log σ) from the exact second derivative of the criterion.

    The Hessian of half the criterion gives Cov(θ, log σ); β̂ moves with them, so that
    Cov(β) = σ²(X'V₀⁻¹X)⁻¹ + J'CJ and Cov((θ, log σ), β) = CJ, with C that covariance and J = ∂β̂/∂(θ, log σ). For ML
    this is the inverse of the joint observed information; for REML the normal approximation of the flat-prior
    posterior.

    Parameters
    ----------
    at, curve : Solution, Curvature
        The optimum and its second derivatives.
    edge : ndarray of bool, shape (k,)
        Entries of θ at a boundary: held fixed; their rows and columns are NaN.

    Returns
    -------
    ndarray, shape (p + k, p + k), or with one more row where σ is estimated
    """
    p, total = len(at.beta), len(curve.hessian)
    inside = np.concatenate([~edge, np.ones(total - len(edge), dtype=bool)])
    C = np.full((total, total), np.nan)
    C[np.ix_(inside, inside)] = positive_inverse(0.5 * curve.hessian[np.ix_(inside, inside)])
    out = np.full((p + total, p + total), np.nan)
    J = curve.beta_slope[inside]
    own = C[np.ix_(inside, inside)]
    where = p + np.flatnonzero(inside)
    out[p:, p:] = C
    out[np.ix_(where, range(p))] = own @ J
    out[np.ix_(range(p), where)] = (own @ J).T
    out[:p, :p] = at.cov_beta + J.T @ own @ J
    return out


def positive_inverse(H: Floats) -> Floats:
    """Inverse of a symmetric matrix; all NaN where it is not positive definite (no minimum, no covariance)."""
    if not len(H):
        return H
    d = np.sqrt(np.abs(np.diag(H)))
    d = np.where(d > 0, d, 1.0)
    values, vectors = np.linalg.eigh(H / np.outer(d, d))
    if not np.all(np.isfinite(values)) or values[0] <= 1e-12:
        return np.full_like(H, np.nan)
    return (vectors / values) @ vectors.T / np.outer(d, d)
