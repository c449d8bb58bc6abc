"""NUTS on the PyMC graph, and its diagnostics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.covariance import BlockCovariance
from bayesglmm.errors import MethodError
from bayesglmm.graph.model import build_model
from bayesglmm.links import get_link
from bayesglmm.problem import Problem
from bayesglmm.result import Draws

Floats = NDArray[np.float64]

#: Samplers that ``pm.sample`` can hand the graph to.
SAMPLERS = ("pymc", "nutpie", "numpyro", "blackjax")


@dataclass(frozen=True)
class Sampled:
    """Draws and how far to trust them.

    Parameters
    ----------
    draws : Draws
        The posterior draws.
    r_hat : float
        Worst rank-normalised split R-hat over parameters and random effects.
    ess : float
        Smallest bulk effective sample size over the same.
    divergences : int
        Divergent transitions after tuning.
    """

    draws: Draws
    r_hat: float
    ess: float
    divergences: int


def sample_posterior(
    problem: Problem,
    *,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    seed: int | None,
    sampler: str,
    target_accept: float,
) -> Sampled:
    """Sample the posterior of a problem by NUTS.

    Parameters
    ----------
    problem : Problem
        The model; its graph is :func:`bayesglmm.graph.build_model`.
    draws, tune, chains : int
        Kept and discarded draws per chain, and number of chains.
    cores : int or None
        Processes; as many as there are processors (at most one a chain) when None.
    seed : int or None
        Seed; the same seed and sampler give the same draws.
    sampler : str
        One of :data:`SAMPLERS`.
    target_accept : float
        Acceptance rate aimed at while tuning.

    Raises
    ------
    MethodError
        A sampler that is unknown or not installed.
    """
    import pymc as pm

    if sampler not in SAMPLERS:
        raise MethodError(f"sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}.")
    model = build_model(problem)
    processes = min(chains, os.cpu_count() or 1) if cores is None else cores
    try:
        with model:
            tree = pm.sample(
                draws=draws,
                tune=tune,
                chains=chains,
                cores=processes,
                random_seed=seed,
                nuts_sampler=sampler,
                nuts={"target_accept": target_accept},
                compute_convergence_checks=False,
                quiet=True,
            )
    except ImportError as missing:
        raise MethodError(
            f"the sampler {sampler!r} is not installed ({missing.name}): pip install {sampler}."
        ) from None
    r_hat, ess = _diagnostics(problem, tree)
    divergences = int(tree["sample_stats"]["diverging"].sum())
    return Sampled(_draws(problem, tree), r_hat, ess, divergences)


def _reported(problem: Problem) -> list[str]:
    """Variables of the graph that are parameters or random effects (not their standardised twins)."""
    groups = [b.group for b in problem.design.blocks]
    own = [names.COEFFICIENTS] if problem.design.columns else []
    own += [f(g) for g in groups for f in (names.sd_variable, names.group_variable)]
    return own + [a.name for a in problem.family.auxiliaries]


def _diagnostics(problem: Problem, tree: Any) -> tuple[float, float]:
    from arviz_stats import ess, rhat

    chosen = tree["posterior"].to_dataset()[_reported(problem)]
    worst = max(float(v.max()) for v in rhat(chosen).data_vars.values()) if chosen.sizes["chain"] > 1 else np.nan
    smallest = min(float(v.min()) for v in ess(chosen, method="bulk").data_vars.values())
    return worst, smallest


def _draws(problem: Problem, tree: Any) -> Draws:
    posterior = tree["posterior"]
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    beta = posterior[names.COEFFICIENTS].values if problem.design.columns else np.empty((*shape, 0))
    theta = [
        _theta(covariance, posterior, block.group)
        for block, covariance in zip(problem.design.blocks, problem.covariance)
    ]
    psi = [np.asarray(get_link(a.link).eta(posterior[a.name].values)) for a in problem.family.auxiliaries]
    effects = tuple(posterior[names.group_variable(b.group)].values for b in problem.design.blocks)
    stats = {k: tree["sample_stats"][k].values for k in ("lp", "diverging", "energy") if k in tree["sample_stats"]}
    return Draws(
        beta,
        np.concatenate([*theta, np.empty((*shape, 0))], axis=-1),
        np.stack(psi, axis=-1) if psi else np.empty((*shape, 0)),
        effects,
        independent=False,
        stats=stats,
    )


def _theta(covariance: BlockCovariance, posterior: Any, group: str) -> Floats:
    """Natural covariance parameters of every draw, from its sds and correlations."""
    sd = posterior[names.sd_variable(group)].values
    flat = sd.reshape(-1, sd.shape[-1])
    if names.has_correlation(covariance):
        corr = posterior[names.corr_variable(group)].values.reshape(len(flat), *2 * (sd.shape[-1],))
    else:
        corr = np.broadcast_to(np.eye(sd.shape[-1]), (len(flat), sd.shape[-1], sd.shape[-1]))
    theta = np.stack([covariance.from_sd_corr(s, c) for s, c in zip(flat, corr)])
    return theta.reshape(*sd.shape[:2], -1)
