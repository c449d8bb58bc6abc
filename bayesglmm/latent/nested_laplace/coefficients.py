"""The coefficients given the hyperparameters by their own marginal posterior: strategy ``"laplace"``.

The field's Laplace approximation integrates (u, β) at once; with few observations per random effect the error of its
u-part moves β and the variances. Here u is integrated out first, by Laplace's approximation at every β or by adaptive
quadrature, and Laplace's approximation is used for the few coefficients alone:

    log p̃(ϑ | y) = log p(ϑ) + M(β̂) − ½ log|−M''| + ½ p log 2π,    M(β) = log p(y | β, ϑ) + log p(β),
    E β = β̂ + ½ Σ_kl C_kl C ∂_k ∂_l ∇M,    Cov β = C = (−M'')⁻¹

(Rue, Martino & Chopin 2009, section 3.2.2, and Tierney & Kadane 1986 for the mean). M'' and the derivatives of the
third order come from differences of M's exact gradient along the columns of a root of the field's own covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace.field import Field, FieldFactor
from bayesglmm.latent.nested_laplace.hyper import third_order

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.objective import Objective
    from bayesglmm.priors import PriorSet

Floats = NDArray[np.float64]

#: Step of the differences, in sds of the field's approximation.
STEP = 0.1
#: Newton decrement that the final quadratic step makes up for, and steps to get there.
NEAR, MAX_STEPS = 2e-2, 8
#: Where M'' in the field's units is further from the identity, differences are taken again along its own root.
FAITHFUL = 0.05


@dataclass(frozen=True)
class Coefficients:
    """β given the hyperparameters.

    Parameters
    ----------
    log_integral : float
        log ∫ p(y | β, ϑ) p(β) dβ.
    mean : ndarray, shape (p,)
        Posterior mean.
    covariance : ndarray, shape (p, p)
        Posterior covariance.
    """

    log_integral: float
    mean: Floats
    covariance: Floats


class _Curve:
    """M and its gradient, in units of the field's covariance, conditional modes warm-started."""

    def __init__(self, objective: Objective, priors: PriorSet, at: tuple[Floats, Floats], near: Any) -> None:
        self.objective, self.priors, self.theta, self.psi, self.near = objective, priors, *at, near

    def at(self, beta: Floats) -> tuple[float, Floats]:
        e = self.objective.evaluate(beta, self.theta, self.psi, self.near)
        if not np.isfinite(e.value):
            return -np.inf, np.zeros(len(beta))
        self.near = e.mode
        density, slope = self.priors.coefficient_density(beta)
        return e.value + float(density.sum()), e.beta + slope


def integrate_coefficients(
    objective: Objective, priors: PriorSet, theta: Floats, field: Field, mode: Mode
) -> Coefficients | None:
    """Integrate β by Laplace over its marginal posterior; None where that has no maximum near the field's.

    Parameters
    ----------
    objective : Objective
        The likelihood with random effects integrated out, by as many nodes as it has.
    priors : PriorSet
        For the coefficients.
    theta : ndarray
        Natural covariance parameters.
    field, mode
        The field at these hyperparameters, and its mode.
    """
    factor = mode.factor
    assert isinstance(factor, FieldFactor)
    curved, pull = third_order(field, mode)
    beta = field.split(mode.u + factor.solve(field.rows.collect(curved) + pull))[1]
    if not np.all(np.isfinite(beta)):
        beta = field.split(mode.u)[1]
    curve = _Curve(objective, priors, (theta, field.psi), Warm(field.split(mode.u)[0], factor.inner))
    root = factor.half
    beta, value, slope = _climb(curve, beta, root)
    if not np.isfinite(value):
        return None
    root, information, bend = _differences(curve, beta, slope, root)
    if root is None:
        return None
    if np.abs(information - np.eye(len(beta))).max(initial=0.0) > FAITHFUL:
        own = root @ np.linalg.inv(np.linalg.cholesky(information)).T
        root, information, bend = _differences(curve, beta, slope, own)
        if root is None:
            return None
    L = np.linalg.cholesky(information)
    half = root @ np.linalg.inv(L).T
    covariance = half @ half.T
    logdet = 2.0 * float(np.log(np.abs(np.diag(L))).sum()) - 2.0 * float(np.linalg.slogdet(root)[1])
    rise = 0.5 * float(slope @ covariance @ slope)
    total = value + rise - 0.5 * logdet + 0.5 * len(beta) * np.log(2.0 * np.pi)
    return Coefficients(total, beta + covariance @ slope + 0.5 * root @ np.linalg.solve(information, bend), covariance)


def _climb(curve: _Curve, beta: Floats, root: Floats) -> tuple[Floats, float, Floats]:
    """Steps with the field's covariance until the rest is a quadratic's."""
    value, slope = curve.at(beta)
    for _ in range(MAX_STEPS):
        step = root @ (root.T @ slope)
        if not np.isfinite(value) or float(slope @ step) < NEAR**2:
            break
        moved, risen = beta + step, curve.at(beta + step)
        if not risen[0] >= value - 1e-8:
            moved, risen = beta + 0.5 * step, curve.at(beta + 0.5 * step)
            if not risen[0] >= value - 1e-8:
                break
        beta, (value, slope) = moved, risen
    return beta, value, slope


def _differences(curve: _Curve, beta: Floats, slope: Floats, root: Floats) -> tuple[Floats | None, Floats, Floats]:
    """−M'' and Σ_k ∂_k² ∇M along the columns of `root`; None for the root when M'' is not negative definite."""
    p = len(beta)
    information, bend = np.zeros((p, p)), np.zeros(p)
    own = root.T @ slope
    for k in range(p):
        ends = [curve.at(beta + sign * STEP * root[:, k]) for sign in (1.0, -1.0)]
        if not all(np.isfinite(value) for value, _ in ends):
            return None, information, bend
        up, down = (root.T @ gradient for _, gradient in ends)
        information[k] = (down - up) / (2.0 * STEP)
        bend += (up + down - 2.0 * own) / STEP**2
    information = 0.5 * (information + information.T)
    definite = p == 0 or np.linalg.eigvalsh(information)[0] > 0.0
    return root if definite else None, information, bend
