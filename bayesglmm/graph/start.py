"""Initial values of the graph's free variables from a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.graph.covariance import level_factor
from bayesglmm.links import get_link
from bayesglmm.parameters import theta_slices

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.design.types import RandomBlock
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

Floats = NDArray[np.float64]


def initial_values(problem: Problem, result: Result, free: Sequence[str]) -> dict[str, Any]:
    """Values of free variables at the estimate of a fit.

    Parameters
    ----------
    problem, result
        The model and its fit; its random effects too.
    free : sequence of str
        Names of the graph's free variables; those the fit knows nothing of are left out.

    Returns
    -------
    dict
        Name → value on the natural scale.
    """
    known: dict[str, Any] = {names.COEFFICIENTS: result.beta}
    known |= {f"{names.COEFFICIENTS}[{c}]": b for c, b in zip(problem.design.columns, result.beta)}
    for a, psi in zip(problem.auxiliaries, result.psi):
        known[a.name] = np.asarray(get_link(a.link).mean(np.asarray(psi)))
    for block, cov, where, effects in zip(
        problem.design.blocks, problem.covariance, theta_slices(problem), result.effects
    ):
        known |= _block(block, cov, result.theta[where], effects)
    return {name: known[name] for name in free if name in known}


def _block(block: RandomBlock, cov: BlockCovariance, theta: Floats, effects: Floats) -> dict[str, Any]:
    group, n_terms = block.group, len(block.terms)
    sd, _ = cov.sd_corr(theta)
    sd = np.maximum(sd, 1e-3)
    factor = cov.factor(theta)
    factor = factor + np.diag(np.where(np.diag(factor) < 1e-3, 1e-3, 0.0))
    u = np.linalg.solve(factor, effects.T).T
    if cov.precision is not None:
        u = np.linalg.solve(level_factor(cov), u)
    out: dict[str, Any] = {names.sd_variable(group): sd, names.standardised_variable(group): u}
    out[names.group_variable(group)] = effects
    out |= {f"{names.sd_variable(group)}[{c}]": s for c, s in zip(block.columns, sd)}
    for k, (term, form, where) in enumerate(zip(cov.terms, cov.forms, cov.slices)):
        own, kinds = theta[where], [c.kind for c in form.coordinates(term.size)]
        chol = factor[term.start : term.stop, term.start : term.stop]
        scales = np.maximum(own[: kinds.count("scale")], 1e-3)
        if "free" in kinds:
            out[names.part_variable(group, "chol", k, n_terms)] = chol[np.tril_indices(term.size)]
            continue
        shared = len(scales) == 1 and term.size > 1
        out[names.part_variable(group, "scale", k, n_terms)] = scales[0] if shared else scales
        if "interval" in kinds:
            out[names.part_variable(group, "rho", k, n_terms)] = own[kinds.index("interval")]
    return out
