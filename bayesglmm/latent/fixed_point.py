"""One fixed-point step of the variances: from conditional modes and their uncertainty to the covariance they suggest.

The variances of a grouping factor become the sum of squares of its conditional modes over their effective number
(MacKay's variant of the EM step; Harville 1977, JASA 72, eq. 6.3; Schall 1991, Biometrika 78, for generalised models).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance, sd_corr
from bayesglmm.latent.elimination.structure import Layout

Floats = NDArray[np.float64]


def shrinkage(level_covariances: Sequence[Floats]) -> list[Floats]:
    """Mean over the levels of 1 − Var(u | y)/Var(u), per column: the effective number of effects over their number."""
    means = [np.mean(own[:, range(own.shape[1]), range(own.shape[1])], axis=0) for own in level_covariances]
    return [np.clip(1.0 - m, 1e-2, 1.0) for m in means]


def fixed_point(
    layout: Layout, covariance: BlockCovariance, theta: Floats, u: Floats, rho: Floats, least: Floats | float = 0.0
) -> Floats:
    """θ of one grouping factor after a step.

    Parameters
    ----------
    layout : Layout
        The factor; one with a known precision is left as it is.
    covariance : BlockCovariance
        Its covariance.
    theta : ndarray, shape (k,)
        Where the modes were found.
    u : ndarray, shape (levels * q,)
        Its conditional modes, in units of their prior sds.
    rho : ndarray, shape (q,)
        From :func:`shrinkage`.
    least : ndarray, shape (q,), optional
        Least sds.
    """
    if layout.precision is not None:
        return theta
    modes = u.reshape(layout.levels, layout.size) / np.sqrt(rho)
    root = np.linalg.cholesky(modes.T @ modes / layout.levels + 1e-4 * np.eye(layout.size))
    sd, corr = sd_corr(covariance.factor(theta) @ root)
    return covariance.from_sd_corr(np.maximum(sd, least), 0.9 * corr + 0.1 * np.eye(layout.size))
