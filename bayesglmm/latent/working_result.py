"""What the working-response loop found, as a Result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.boundary import find_boundary
from bayesglmm.latent.linear import Solution
from bayesglmm.latent.linear_curvature import curvature, joint_covariance, rough_errors
from bayesglmm.latent.linear_fit import LinearFit
from bayesglmm.latent.linear_start import column_rms
from bayesglmm.latent.working_loop import PSI_LIMIT, Loop, State
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.scores.likelihood import psi_for_scale

Floats = NDArray[np.float64]

#: Median working information of a level (sum of weights over φ) below which PQL and MQL are noticeably biased.
LITTLE_INFORMATION = 5.0

_OBJECTIVE = {
    "ml": "exact Gaussian marginal likelihood",
    "reml": "restricted Gaussian likelihood",
    "pql": "working linear mixed model expanded at the conditional modes",
    "mql": "working linear mixed model expanded at zero random effects",
}


def working_result(loop: Loop, method: str, state: State, status: Status) -> Result:
    """Assemble the result.

    Its fields, beyond their general meaning:

    ``cov_beta``
        σ²(X'V₀⁻¹X)⁻¹ of the (final working) linear mixed model, given θ: the standard errors lme4 prints.
    ``theta``
        Absolute: sds of the random effects themselves.
    ``cov_joint``
        Of (β, θ, ψ) from the exact second derivatives of the (restricted) log-likelihood of the (final working)
        linear mixed model, its response and weights held; its β block adds to ``cov_beta`` what the uncertainty of
        θ and σ brings. A ψ that is not part of that likelihood has NaN rows.
    ``effects``, ``effects_sd``
        Conditional modes (BLUPs), and the sds of b given the data, θ, σ and β (lme4's ``condVar``).
    ``psi``
        The family's auxiliaries: log σ (gaussian), the one that belongs to φ (gamma), or the estimated log θ
        (negative binomial).
    ``loglik``
        For ``ml`` and ``reml``; None for PQL and MQL.
    ``extras``
        ``criterion`` (−2 × the log-likelihood of the (working) model), and for PQL and MQL ``quasi_loglik`` and
        ``working_loglik``: see :func:`quasi_loglik`.

    Parameters
    ----------
    loop, state, status
        What :func:`bayesglmm.latent.working_loop.iterate` was given and returned.
    method : str
        The method's name.
    """
    problem, fit = loop.problem, state.fit
    assert fit is not None
    at = fit.solution
    exact = method in ("ml", "reml")
    boundary, edge = _boundary(problem, fit)
    curve = curvature(at, rough_errors(fit))
    psi = _psi(loop, state, at.scale)
    notes = (*status.notes, *_auxiliary_notes(loop, psi))
    if exact and status.converged:
        status = replace(status, message=f"converged: Newton decrement {_decrement(fit):.1e}")
    extras: dict[str, Any] = {"criterion": at.criterion}
    if not exact:
        extras["working_loglik"] = -0.5 * at.criterion
        if np.isfinite(value := quasi_loglik(loop, at, psi)):
            extras["quasi_loglik"] = value
        notes = (*notes, *_information_notes(loop, at))
    return Result(
        method=method,
        objective=_OBJECTIVE[method] + (", by REML" if loop.reml and not exact else ""),
        estimand="marginal" if loop.marginal else "conditional",
        beta=at.beta,
        cov_beta=at.cov_beta,
        theta=fit.theta,
        psi=psi,
        cov_joint=_joint(loop, joint_covariance(at, curve, edge), psi, at.scale),
        effects=at.effects,
        effects_sd=_effects_sd(at),
        eta=loop.predictor(fit, marginal=False),
        scale=at.scale,
        loglik=-0.5 * at.criterion if exact else None,
        df_model=len(at.beta) + len(at.theta) + (loop.scale is None) + loop.estimates_auxiliary,
        df_resid=float(len(at.residual) - len(at.beta)),
        status=replace(status, gradient_norm=_decrement(fit), boundary=boundary, notes=notes),
        options={"reml": loop.reml, "scale": "free" if loop.scale is None else loop.scale},
        extras=extras,
    )


def quasi_loglik(loop: Loop, at: Solution, psi: Floats) -> float:
    """The approximate marginal quasi-log-likelihood at the final expansion.

    With d_i the unit deviances, H = A'WA + P and u on the standardised scale (σ² = φ), the Laplace approximation of
    log ∫ exp(−½ Σ w_i d_i/φ) dN(u; 0, φP⁻¹) is

        PQL:  −½ Σ w_i d_i(μ̂)/φ − ½ û'Pû/φ − ½ log|H| + ½ log|P|         (Breslow & Clayton 1993, eq. 5-6)
        MQL:  −½ Σ w_i d_i(μ₀)/φ + ½ û'Hû/φ − ½ log|H| + ½ log|P|

    with μ̂ at the conditional modes and μ₀ at zero random effects; MQL's quadratic term is the gain of the one Newton
    step from zero to û. The Gaussian log-likelihood of the working response, −½ its criterion, is in
    ``extras["working_loglik"]``.
    """
    p, structure = loop.problem, at.model.structure
    eta = p.design.X @ at.beta + p.design.offset
    random = at.loadings.expand(at.u) if structure.m else np.zeros(len(eta))
    aux = auxiliary_values(p, psi)
    with np.errstate(all="ignore"):
        mu = p.link.mean(eta if loop.marginal else eta + random)
        deviance = float(p.case_weights @ p.family.unit_deviance(p.mean_response, mu, aux))
    prior = float(at.u @ structure.penalty(at.u))
    quadratic = float(random @ (at.model.weights * random)) + prior if loop.marginal else -prior
    return 0.5 * ((quadratic - deviance) / at.scale - at.factor.logdet + structure.log_det_prior)


def _boundary(problem: Problem, fit: LinearFit) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    model, sigma = fit.solution.model, np.sqrt(fit.solution.scale)
    terms: list[str] = []
    edges = [np.empty(0, dtype=bool)]
    for k, (block, cov, s) in enumerate(zip(problem.design.blocks, problem.covariance, model.slices)):
        words, edge = find_boundary(block, cov, fit.theta[s], sigma / column_rms(model, k))
        terms += words
        edges.append(edge)
    edges.append(np.zeros(len(fit.pinned) - sum(map(len, edges)), dtype=bool))
    return tuple(terms), np.concatenate(edges) | fit.pinned


def _decrement(fit: LinearFit) -> float:
    """Newton decrement of the log-likelihood (half the criterion): distance to the optimum in standard errors."""
    return float(fit.minimum.decrement / np.sqrt(2.0))


def _psi(loop: Loop, state: State, scale: float) -> Floats:
    """The family's auxiliaries: estimated in the loop, or those that belong to φ."""
    if loop.estimates_auxiliary or loop.problem.family.scale is not None:
        return state.psi
    return psi_for_scale(loop.problem, scale)


def _joint(loop: Loop, joint: Floats, psi: Floats, scale: float) -> Floats:
    """The joint covariance with its last coordinate, log σ, changed to ψ (or left out where there is no ψ)."""
    k = len(joint) - (loop.scale is None)
    out = np.full((k + len(psi), k + len(psi)), np.nan)
    out[:k, :k] = joint[:k, :k]
    if len(psi) == 1 and loop.scale is None and not loop.estimates_auxiliary:
        h = 1e-4  # ψ is linear in log φ wherever the dispersion is a power of the auxiliary: the difference is exact
        up, down = (psi_for_scale(loop.problem, scale * np.exp(2.0 * d))[0] for d in (h, -h))
        slope = (up - down) / (2.0 * h)
        out[k, :k] = out[:k, k] = slope * joint[k, :k]
        out[k, k] = slope**2 * joint[k, k]
    return out


def _effects_sd(at: Solution) -> tuple[Floats, ...]:
    """Sds of b given y, θ, σ and β: σ times the root of the diagonal of ΛH⁻¹Λ'."""
    sigma = np.sqrt(at.scale)
    return tuple(
        sigma * np.sqrt(np.maximum(np.einsum("cd,lde,ce->lc", L, own, L), 0.0))
        for L, own in zip(at.lambdas, at.factor.level_covariances)
    )


def _information_notes(loop: Loop, at: Solution) -> tuple[str, ...]:
    """Warn where the expansion is known to be biased: levels with little information (Breslow & Lin 1995)."""
    notes = []
    gaussian = loop.problem.family.name == "gaussian" and loop.problem.link.name == "identity"
    for block, layout, cov, s in zip(
        loop.problem.design.blocks, at.model.structure.layouts, loop.problem.covariance, at.model.slices
    ):
        per_level = np.bincount(layout.codes, at.model.weights * layout.z[:, 0] ** 2, layout.levels) / at.scale
        median = float(np.median(per_level[np.unique(layout.codes)]))  # a known covariance may have levels without rows
        if not gaussian and median < LITTLE_INFORMATION and cov.sd_corr(at.theta[s])[0].max() > 0.0:
            notes.append(
                f"the levels of {block.group} carry little information (median {median:.2g}; for counts, expected "
                "events): its variance and the coefficients are then known to be biased towards zero; compare with "
                "'agq' or 'laplace'"
            )
    return tuple(notes)


def _auxiliary_notes(loop: Loop, psi: Floats) -> tuple[str, ...]:
    if loop.estimates_auxiliary and abs(float(psi[0])) >= PSI_LIMIT:
        name = loop.problem.family.auxiliaries[0].name
        return (f"{name} is at the end of its range: the data show no more variance than the limiting family",)
    return ()
