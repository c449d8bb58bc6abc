"""Criteria for choosing the mean model and the working correlation of generalized estimating equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.scores.gee_loop import Equations, Point
from bayesglmm.scores.working import deviance_terms

Floats = NDArray[np.float64]


def criteria(equations: Equations, point: Point, robust: Floats, independent: Point | None) -> dict[str, Any]:
    """Quasi-likelihood under independence, QIC, QICu and CIC.

    Parameters
    ----------
    equations : Equations
        The model.
    point : Point
        Its solution.
    robust : ndarray, shape (p, p)
        Robust covariance of the coefficients.
    independent : Point or None
        The independence fit.

    Returns
    -------
    dict
        ``quasi_loglik`` Q = −deviance / (2φ), taken at the fit's own means and scale; ``cic`` = tr(Ω V) with Ω the
        inverse of the model-based covariance of the independence fit and V the robust covariance; ``qic`` = −2Q + 2
        CIC; ``qicu`` = −2Q + 2p; ``independence_scale`` the φ in Ω.

    Notes
    -----
    Pan (2001), Biometrics 57, 120-125; CIC is Hin & Wang (2009), Statistics in Medicine 28, 642-658. Fits that are to
    be compared should share one scale (``scale=``, or ``fit.qic_at`` afterwards): Pan takes that of the largest model.
    """
    q = equations
    mu = q.link.mean(point.beta @ q.XT + q.offset)
    Q = -0.5 * float(deviance_terms(q.family, mu, q.y, q.w, q.aux).sum()) / point.phi
    out: dict[str, Any] = {"quasi_loglik": Q, "qicu": -2.0 * Q + 2.0 * len(point.beta)}
    if independent is not None:
        cic = float(np.einsum("ij,ji->", independent.B @ independent.B.T, robust)) / independent.phi
        out |= {"cic": cic, "qic": -2.0 * Q + 2.0 * cic, "independence_scale": independent.phi}
    return out
