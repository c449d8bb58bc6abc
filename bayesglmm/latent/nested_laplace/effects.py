"""Random effects by quadrature given the hyperparameters, level by level: for ``"laplace"`` and one grouping factor.

The Gaussian at the mode of a level with few observations is too narrow, and its mean is off; the nodes that integrate
the level give both at no further cost. The coefficients vary about their mean β̄ with covariance C = RR': with
z_i = R'x_i and s = Σ_i ℓ'_i z_i the score of the level's rows, a random variable for u_j is one,

    E b_j = E(b_j | β̄) + ½ E[(b_j − E b_j) (|s − E s|² + Σ_i ℓ''_i |z_i|²) | β̄],
    Var b_j = Var(b_j | β̄) + |Cov(b_j, s | β̄)|²,

expansions of the conditional mean to second order in β − β̄, and of the law of total variance to first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.quadrature.integral import OneFactor

if TYPE_CHECKING:
    from bayesglmm.latent.nested_laplace.coefficients import Coefficients
    from bayesglmm.latent.objective import Objective

Floats = NDArray[np.float64]


class LevelMoments(NamedTuple):
    """Means, variances and third central moments of the random effects b = Λu, shape (levels, q) each."""

    mean: Floats
    variance: Floats
    third: Floats


def level_moments(
    objective: Objective, theta: Floats, psi: Floats, coefficients: Coefficients, start: Floats
) -> LevelMoments | None:
    """Moments of the random effects at one point of hyperparameters.

    Parameters
    ----------
    objective : Objective
        The likelihood with random effects integrated out.
    theta, psi : ndarray
        Natural covariance parameters, unconstrained auxiliaries.
    coefficients : Coefficients
        Given these hyperparameters.
    start : ndarray, shape (m,)
        Where the search for the conditional modes begins.

    Returns
    -------
    LevelMoments or None
        None for Laplace, for nested factors, and where no modes were found.
    """
    integral = objective.integral
    if not isinstance(integral, OneFactor):
        return None
    at = objective.evaluate(coefficients.mean, theta, psi, Warm(start), with_gradient=False)
    if not np.isfinite(at.value):
        return None
    (L,) = objective.lambdas(theta)
    fixed = objective.offset + objective.X @ coefficients.mean
    Z = objective.X @ np.linalg.cholesky(coefficients.covariance)
    parts = []
    for chunk, nodes in integral.at_nodes(fixed, psi, at.mode):
        b, w, z = np.einsum("rs,ksl->krl", L, nodes.u), nodes.weights, Z[chunk.rows].T
        mean = np.einsum("kl,krl->rl", w, b)
        away = b - mean
        variance = np.einsum("kl,krl->rl", w, away**2)
        score, bend = (
            d if nodes.outside is None else np.where(nodes.outside, 0.0, d) for d in (nodes.d.d1, nodes.d.d2)
        )
        curved = nodes.by_level(bend * np.sum(z * z, axis=0))
        for own in z:
            s = nodes.by_level(score * own)
            s = s - np.sum(w * s, axis=0)
            variance += np.einsum("kl,krl->rl", w * s, away) ** 2
            curved += s * s
        mean = mean + 0.5 * np.einsum("kl,krl->rl", w * curved, away)
        parts.append((mean.T, variance.T, np.einsum("kl,krl->lr", w, away**3)))
    return LevelMoments(*(np.concatenate(part) for part in zip(*parts)))
