"""The joint log prior density at many points at once: values of :func:`bayesglmm.priors.log_prior`, no gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import Link, get_link
from bayesglmm.priors.prior_set import PriorSet, log_prior

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.priors.prior import Batch

Floats = NDArray[np.float64]


def log_prior_many(
    priors: PriorSet,
    covariance: Sequence[BlockCovariance],
    beta: Floats,
    theta: Floats,
    psi: Floats,
    aux_links: Sequence[str | Link],
) -> Floats:
    """Joint log prior density over (β, natural θ, unconstrained ψ) of many points.

    Parameters
    ----------
    priors, covariance, aux_links
        As of :func:`bayesglmm.priors.log_prior`.
    beta, theta, psi : ndarray, shape (points, ...)
        One row per point.

    Returns
    -------
    ndarray, shape (points,)
        −inf outside the support of any prior.
    """
    if any(term.is_cholesky for block in priors.blocks for term in block):
        return np.array([log_prior(priors, covariance, *row, aux_links)[0] for row in zip(beta, theta, psi)])
    with np.errstate(all="ignore"):
        value = _values(priors.coefficient_parts, beta)
        start = 0
        for block, cov in zip(priors.blocks, covariance):
            for term, where in zip(block, cov.slices):
                value += _values(term.parts, theta[:, start + where.start : start + where.stop])
            start += cov.n_params
        if psi.shape[1]:
            links = [get_link(a) for a in aux_links]
            natural = np.stack([link.mean(psi[:, j]) for j, link in enumerate(links)], axis=1)
            slope = np.stack([link.slope(psi[:, j]) for j, link in enumerate(links)], axis=1)
            value += _values(priors.auxiliary_parts, natural) + np.log(np.abs(slope)).sum(axis=1)
    return value


def _values(parts: Sequence[Batch], x: Floats) -> Floats:
    """Summed log-densities of the parameters of every row of `x`."""
    total = np.zeros(len(x))
    for part in parts:
        at, k = x[:, part.index], part.power
        value, _ = part.row.density(at if k == 1 else at ** float(k), *part.params)
        if k != 1:  # density of x from that of t = xᵏ
            value = value + np.log(abs(k)) + (k - 1) * np.log(at)
        total += np.where((at >= part.low) & (at <= part.high), value, -np.inf).sum(axis=1)
    return total
