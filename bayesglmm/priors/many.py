"""The joint log prior density at many points at once: the numbers of :func:`bayesglmm.priors.log_prior`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import Link, get_link
from bayesglmm.priors.prior import evaluate
from bayesglmm.priors.prior_set import PriorSet, cholesky_density

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.priors.prior_set import TermPriors

Floats = NDArray[np.float64]


def log_prior_many(
    priors: PriorSet,
    covariance: Sequence[BlockCovariance],
    beta: Floats,
    theta: Floats,
    psi: Floats,
    aux_links: Sequence[str | Link],
) -> tuple[Floats, Floats, Floats, Floats]:
    """Joint log prior density over (β, natural θ, unconstrained ψ) of many points, and its gradient.

    Parameters
    ----------
    priors, covariance, aux_links
        As of :func:`bayesglmm.priors.log_prior`.
    beta, theta, psi : ndarray, shape (points, ...)
        One row per point.

    Returns
    -------
    value : ndarray, shape (points,)
        −inf outside the support of any prior.
    grad_beta, grad_theta, grad_psi : ndarray, shape (points, ...)
        Of the shapes of `beta`, `theta` and `psi`.
    """
    with np.errstate(all="ignore"):
        values, grad_beta = priors.coefficient_density(beta)
        value, grad_theta = values.sum(axis=1), np.zeros(theta.shape)
        start = 0
        for block, cov in zip(priors.blocks, covariance):
            for term, where in zip(block, cov.slices):
                here = slice(start + where.start, start + where.stop)
                own, grad_theta[:, here] = _term(term, theta[:, here])
                value = value + own
            start += cov.n_params
        if not psi.shape[1]:
            return value, grad_beta, grad_theta, np.zeros(psi.shape)
        links = [get_link(a) for a in aux_links]
        natural, slope, curvature = (
            np.stack([getattr(link, part)(psi[:, j]) for j, link in enumerate(links)], axis=1)
            for part in ("mean", "slope", "curvature")
        )
        values, grad_psi = priors.auxiliary_density(natural)
        value = value + values.sum(axis=1) + np.log(np.abs(slope)).sum(axis=1)
        return value, grad_beta, grad_theta, grad_psi * slope + curvature / slope


def _term(term: TermPriors, theta: Floats) -> tuple[Floats, Floats]:
    if not term.is_cholesky:
        values, slope = evaluate(term.parts, theta)
        return values.sum(axis=1), slope
    found = [cholesky_density(term, row) for row in theta]
    return np.array([v for v, _ in found]), np.stack([g for _, g in found])
