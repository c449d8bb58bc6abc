"""What the working-response loop found, as a Result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.boundary import find_boundary
from bayesglmm.latent.linear.curvature import curvature, joint_covariance, rough_errors
from bayesglmm.latent.linear.fit import LinearFit
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.working.expansion import Place, expand, second_order_mean
from bayesglmm.latent.working.loop import PSI_LIMIT
from bayesglmm.latent.working.model import Loop, State
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.scores.likelihood import psi_for_scale

Floats = NDArray[np.float64]

#: Median working information of a level (sum of weights over φ) below which PQL and MQL are noticeably biased.
LITTLE_INFORMATION = 5.0
#: Share of the response's sum of squares at which what is left of it is rounding.
EXACT = 1e-14
#: Curvature in a variance parameter, per residual sd, at which nothing is known about it.
UNSEEN = 1e-8

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
        ``criterion`` (−2 × the log-likelihood of the (working) model), for PQL and MQL ``quasi_loglik`` and
        ``working_loglik``: see :func:`quasi_loglik`; for those of second order ``spread``, the variance of every
        row's random part.

    Parameters
    ----------
    loop, state, status
        What :func:`bayesglmm.latent.working.loop.iterate` was given and returned.
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
    notes = (*status.notes, *_auxiliary_notes(loop, psi), *_unseen_notes(problem, at, curve.hessian, edge))
    if exact and status.converged:
        status = replace(status, message=f"converged: Newton decrement {_decrement(fit):.1e}")
    extras: dict[str, Any] = {"criterion": at.criterion}
    own: dict[str, Any] = {} if exact else {"order": loop.order}
    if not exact:
        extras["working_loglik"] = -0.5 * at.criterion
        place = loop.place(fit, psi)
        if place.spread is not None:
            extras["spread"] = place.spread
        if np.isfinite(value := quasi_loglik(loop, at, place)):
            extras["quasi_loglik"] = value
            extras["facts"] = {"Quasi-lik": f"{value:.4f} (approximate marginal quasi-likelihood)"}
        notes = (*notes, *_information_notes(loop, at), *_scale_notes(loop, at))
    return Result(
        method=method,
        objective=_OBJECTIVE[method] + _ways(loop, exact),
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
        options={"reml": loop.reml, "scale": "free" if loop.scale is None else loop.scale} | own,
        extras=extras,
    )


def _ways(loop: Loop, exact: bool) -> str:
    """How a working model was fitted, in words."""
    second = ", second order" if loop.order == 2 else ""
    return "" if exact else second + (", by REML" if loop.reml else "")


def quasi_loglik(loop: Loop, at: Solution, place: Place) -> float:
    """The approximate marginal quasi-log-likelihood at the final expansion.

    With d_i the unit deviances, H = A'WA + P and u on the standardised scale (σ² = φ), the Laplace approximation of
    log ∫ exp(−½ Σ w_i d_i/φ) dN(u; 0, φP⁻¹) is, to first order,

        PQL:  −½ Σ w_i d_i(μ̂)/φ − ½ û'Pû/φ − ½ log|H| + ½ log|P|         (Breslow & Clayton 1993, eq. 5-6)
        MQL:  −½ Σ w_i d_i(μ₀)/φ + ½ û'Hû/φ − ½ log|H| + ½ log|P|

    with μ̂ at the conditional modes and μ₀ at zero random effects; MQL's quadratic term is the gain of the one Newton
    step from zero to û. To second order the rows' quasi-likelihood is that of their second-order moments
    (:mod:`bayesglmm.latent.working.expansion`): the mean is μ + ½vμ'' and, for PQL, the variance larger by
    1/r_i = W_i/W₂_i, so Σ r_i w_i d_i(μ + ½vμ'') takes the place of Σ w_i d_i(μ), W₂ that of W in H, for MQL DA that of
    A, and û solves the second-order working equations; where such a mean leaves the range of the family's means there
    is none. The Gaussian log-likelihood of
    the working response, −½ its criterion, is in ``extras["working_loglik"]``.
    """
    p, structure = loop.problem, at.model.structure
    random = at.loadings.expand(at.u) if structure.m else np.zeros(len(at.residual))
    aux = auxiliary_values(p, place.psi)
    first = expand(p, replace(place, spread=None)).weights
    with np.errstate(all="ignore"):
        mu = second_order_mean(p, place)
        d = p.family.unit_deviance(p.mean_response, mu, aux)
        deviance = float((p.case_weights * at.model.weights / first) @ d)
    low, high = p.family.mean_range
    if not np.all((mu > low) & (mu < high)) and loop.order == 2:
        return np.nan
    prior = float(at.u @ structure.penalty(at.u))
    quadratic = float(random @ (at.model.weights * random)) + prior if loop.marginal else -prior
    return 0.5 * ((quadratic - deviance) / at.scale - at.factor.logdet + structure.log_det_prior)


def _boundary(problem: Problem, fit: LinearFit) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    model, sigma = fit.solution.model, np.sqrt(fit.solution.scale)
    terms: list[str] = []
    edges = [np.empty(0, dtype=bool)]
    for k, (block, cov, s) in enumerate(zip(problem.design.blocks, problem.covariance, model.slices)):
        words, edge = find_boundary(block, cov, fit.theta[s], sigma / model.column_rms[k])
        terms += words
        edges.append(edge)
    if model.scale is None and _is_exact(fit.solution):
        terms.append("the residual variance is zero, as the groups and the columns fit every row")
    edges.append(np.zeros(len(fit.pinned) - sum(map(len, edges)), dtype=bool))
    return tuple(terms), np.concatenate(edges) | fit.pinned


def _is_exact(at: Solution) -> bool:
    """Whether nothing but rounding is left of the response."""
    model = at.model
    whole, around = (float(model.weights @ np.square(y)) for y in (model.y, model.basis.residual))
    return at.r2 <= EXACT * around or around <= EXACT**2 * whole


def _unseen_notes(problem: Problem, at: Solution, hessian: Floats, edge: NDArray[np.bool_]) -> tuple[str, ...]:
    """Variances whose criterion is flat: the fixed part has a column for every level, or there is one level only."""
    model, sigma = at.model, np.sqrt(at.scale)
    out = []
    for k, (block, s) in enumerate(zip(problem.design.blocks, model.slices)):
        unit = sigma / float(np.min(model.column_rms[k]))
        seen = np.diag(hessian)[s] * unit**2
        if len(seen) and np.all((np.abs(seen) < UNSEEN) & ~edge[s]) and not _is_exact(at):
            out.append(
                f"the data say nothing about the covariance of {block.group}: the fixed part explains all of its "
                "levels; leave one of them out"
            )
    return tuple(out)


def _decrement(fit: LinearFit) -> float:
    """Newton decrement of the log-likelihood (half the criterion): distance to the optimum in standard errors."""
    return float(fit.minimum.decrement / np.sqrt(2.0))


def _psi(loop: Loop, state: State, scale: float) -> Floats:
    """The family's auxiliaries: estimated in the loop, or those that belong to φ."""
    if loop.estimates_auxiliary or loop.problem.family.scale is not None:
        return state.place.psi
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
    """Say where the expansion is known to be biased: levels with little information (Breslow & Lin 1995)."""
    p, notes = loop.problem, []
    if p.family.name == "gaussian" and p.link.name == "identity":
        return ()
    counts = p.family.support.integer
    for block, layout, cov, s in zip(p.design.blocks, at.model.structure.layouts, p.covariance, at.model.slices):
        per_level = np.bincount(layout.codes, at.model.weights * layout.z[:, 0] ** 2, layout.levels) / at.scale
        median = float(np.median(per_level))
        if median >= LITTLE_INFORMATION or cov.sd_corr(at.theta[s])[0].max() == 0.0:
            continue
        rows = np.bincount(layout.codes, minlength=layout.levels)
        seen = [f"{np.median(rows):.3g} rows"]
        if counts:
            events = np.bincount(layout.codes, p.case_weights * p.mean_response, layout.levels)
            if p.family.mean_range[1] == 1.0:  # the rarer of successes and failures
                events = np.minimum(events, np.bincount(layout.codes, p.case_weights, layout.levels) - events)
            seen.append(f"{np.median(events):.3g} events")
        what = "are known to be biased towards zero" if loop.order == 1 else "may still be biased"
        notes.append(
            f"the levels of {block.group} carry little information (median {median:.2g} of working weight; "
            f"{' and '.join(seen)} a level): its variance and the coefficients {what} with small clusters or rare "
            "events; " + _better(loop)
        )
    return tuple(notes)


def _better(loop: Loop) -> str:
    """Where to turn when the expansion is not good enough."""
    from_second = "'agq'" if len(loop.problem.design.blocks) == 1 else "'laplace'"
    likelihood = f"compare with {from_second}" + (" or 'laplace'" if from_second == "'agq'" else "")
    if loop.problem.family.quasi:
        likelihood = f"a family with a likelihood can be fitted by {from_second}"
    return likelihood + ("" if loop.order == 2 else ", or take order=2")


def _scale_notes(loop: Loop, at: Solution) -> tuple[str, ...]:
    """A free scale beside an effect for every row: both are variation of single rows."""
    own = [b.group for b in loop.problem.design.blocks if len(b.levels) == len(at.residual)]
    if loop.scale is not None or not own or loop.problem.family.scale is None:
        return ()
    return (
        f"{own[0]} has a level for every row and φ is estimated too: both say how much single rows vary, and the data "
        "hardly tell them apart; hold one of them (scale='fixed', or leave the term out)",
    )


def _auxiliary_notes(loop: Loop, psi: Floats) -> tuple[str, ...]:
    if loop.estimates_auxiliary and abs(float(psi[0])) >= PSI_LIMIT:
        name = loop.problem.family.auxiliaries[0].name
        return (f"{name} is at the end of its range: the data show no more variance than the limiting family",)
    return ()
