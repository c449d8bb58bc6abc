"""The joint log-density of everything, assembled from the pieces the deterministic engines are made of.

One function on plain arrays: what the PyMC graph must equal, and what an approximation's draws are weighted by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import get_link
from bayesglmm.priors import flat_priors, log_prior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


def linear_predictor(problem: Problem, beta: Floats, effects: Sequence[Floats]) -> Floats:
    """η = Xβ + offset + Σ z'b, shape (..., n).

    Parameters
    ----------
    problem : Problem
        The model.
    beta : ndarray, shape (..., p)
        Coefficients; leading axes are draws.
    effects : sequence of ndarray, shape (..., levels, q)
        Random effects b, one array per block.
    """
    design = problem.design
    eta = beta @ design.X.T + design.offset
    for block, b in zip(design.blocks, effects):
        for j in range(block.z.shape[1]):
            eta = eta + b[..., block.codes, j] * block.z[:, j]
    return eta


def joint_logp(
    problem: Problem,
    beta: Floats,
    theta: Floats,
    psi: Floats,
    u: Sequence[Floats],
    *,
    kernel: str = "auto",
    working: bool = False,
) -> float:
    """Log joint density of data, random effects and parameters, with every constant.

    log p(y | η, ψ) + Σ log N(u | 0, P⁻¹) + log prior(β, θ, ψ), where b = Λ(θ)u and P is the known precision
    between levels (the identity without one). Under ``priors="flat"`` the prior is flat on the natural scale of
    every parameter (see :func:`bayesglmm.priors.flat_priors`).

    Parameters
    ----------
    problem : Problem
        The model.
    beta, theta, psi : ndarray
        Coefficients; covariance parameters, natural coordinates; auxiliaries, unconstrained.
    u : sequence of ndarray, shape (levels, q)
        Standardised random effects, one array per block.
    kernel : {"auto", "graph"}
        Where the log-likelihood comes from.
    working : bool
        False: the density is over natural θ. True: over its unconstrained coordinates with scales on the log
        scale, those PyMC samples in.

    Returns
    -------
    float
    """
    priors = problem.priors or flat_priors(problem.design, problem.family, problem.covariance)
    links = [get_link(a.link) for a in problem.auxiliaries]
    value = log_prior(priors, problem.covariance, beta, theta, psi, links)[0]
    effects, start = [], 0
    for cov, standard in zip(problem.covariance, u):
        own = theta[start : start + cov.n_params]
        start += cov.n_params
        effects.append(standard @ cov.factor(own).T)
        value += _log_normal(standard, cov.precision, cov.log_det_precision)
        if working:
            value += float(np.log(cov.working_slope(own, True)).sum())
    eta = linear_predictor(problem, beta, effects)
    return value + float(problem.kernel(kernel).derivatives(eta, psi).value.sum())


def _log_normal(u: Floats, precision: object, log_det: float) -> float:
    """Log N(u | 0, P⁻¹ ⊗ I) of u, shape (levels, q)."""
    quadratic = np.sum(u * u) if precision is None else np.sum(u * (precision @ u))  # type: ignore[operator]
    return 0.5 * float(u.shape[1] * log_det - quadratic - u.size * np.log(2.0 * np.pi))
