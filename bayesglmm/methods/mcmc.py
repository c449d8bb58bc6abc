"""``mcmc``: the full posterior, by NUTS on the PyMC graph. The ground truth other methods are held against.

The default sampler was chosen by the time to 1,000 effective draws (smallest bulk ESS over the parameters; 4 chains of
1,000 + 1,000), compiling included, in a fresh process on 2 shared cores; CPU seconds, with wall seconds in brackets:

=======================  =====================  ===========================  =====================
                         cbpp (20 unknowns)     epilepsy (303 unknowns)      first time ever on a
sampler                                                                      machine, cbpp
=======================  =====================  ===========================  =====================
nutpie                   8 (15)                 9 (15)                       48 (63)
PyMC, numba              6 (8)                  12 (11)                      73 (76)
PyMC, C (``CVM``)        10 (13)                21 (11)                      23 (21)
=======================  =====================  ===========================  =====================

nutpie is the default: nearly all of its time is compiling (6 to 13 s), which does not grow with the data, and its draws
take 1 to 2 s here; PyMC's cost grows with the model. All sample the coefficients in whitened coordinates: without
them nutpie's smallest effective size on epilepsy was 50 of 4,000 instead of 900.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.joint import linear_predictor
from bayesglmm.latent.elimination.ordering import need_memory, portions
from bayesglmm.methods.convergence import bulk_size, r_hat
from bayesglmm.methods.mcmc_setup import Setup, set_up
from bayesglmm.parameters import likelihood_scale, mean_psi, mean_theta
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result, Status

Floats = NDArray[np.float64]

#: Vehtari et al. (2021), Bayesian Analysis 16, 667-718: R-hat at most this, 100 effective draws for each of 4 chains.
MAX_R_HAT = 1.01
MIN_ESS = 400.0

#: Share of divergent transitions from which on a part of the posterior is likely to be missed.
MAX_DIVERGENT = 0.0025


def run(
    problem: Problem,
    *,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int | None = None,
    sampler: str | None = None,
    marginalize: bool | str | None = None,
    nodes: int | tuple[int, int] | None = None,
    effects: str = "exact",
    pymc_model: Any = None,
    init: str = "auto",
    parametrisation: str | Mapping[str, str] = "auto",
    target_accept: float | None = None,
    progress: Callable[[float, str], None] | bool | None = None,
) -> Result:
    """Sample the posterior of everything.

    Parameters
    ----------
    problem : Problem
        The model.
    draws, tune : int
        Draws kept and warm-up draws, per chain. 1000 warm-up draws on the whole graph, 100 on the marginal posterior.
    chains : int
        Number of chains.
    seed : int, optional
        The same seed gives the same draws on the same machine; one is drawn and kept in ``options`` when left out.
    sampler : {"nutpie", "pymc", "numpyro", "blackjax"}, optional
        nutpie unless given; with `marginalize` NUTS of our own, all chains in step.
    marginalize : {True, "laplace", "agq"}, optional
        Integrate the random effects out, sample the parameters alone, and draw the random effects afterwards: see
        :func:`bayesglmm.methods.marginalized.sample`. True is quadrature where `nodes` are given, else Laplace.
    nodes : int or (int, int), optional
        Quadrature nodes per dimension, for ``marginalize="agq"``.
    effects : {"exact", "gaussian"}
        How the random effects are drawn given the parameters when they were integrated out.
    pymc_model : pymc.Model, optional
        What ``model.to_pymc()`` returned, extended: a ``pm.Potential``, another likelihood, a block of your own. It is
        sampled in place of the model's own graph, and the draws of the model's parameters come back as a fit.
    init : {"auto", "prior", "laplace"}
        Where chains start: in the middle of the priors, jittered, or at a draw from a Laplace fit, random effects
        included. ``"auto"`` is ``"prior"``, see :mod:`bayesglmm.methods.mcmc_setup`.
    parametrisation : {"auto", "centred", "non-centred"} or dict
        Of the random effects, for all grouping factors or by name; ``"auto"`` goes by the information in the data, see
        :mod:`bayesglmm.methods.mcmc_setup`.
    target_accept : float, optional
        Mean acceptance probability the step size is adapted to: 0.9 on the whole graph, 0.65 on the marginal posterior.
    progress : callable or bool, optional
        ``progress(fraction, text)`` is called a few times a second (by nutpie from another thread; for numpyro and
        blackjax, whose loops are compiled whole, once a second with the time so far); True shows the sampler's own bar.

    Returns
    -------
    Result
        Posterior means, covariances and sds; ``draws`` holds the draws. A fit has converged when every R-hat is
        at most 1.01, every bulk effective size at least 400, and at most 0.25 % of the transitions diverged.

    Raises
    ------
    MethodError
        A quasi-family, a sampler that is unknown or not installed, or counts below one.
    ConvergenceError
        No starting point with a finite density.
    """
    given = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "target_accept": target_accept}
    _check(problem, given)
    if marginalize and pymc_model is not None:
        raise MethodError("marginalize= and pymc_model= do not go together: give model.to_pymc(marginalize=True).")
    if marginalize:
        return _marginal(problem, marginalize, nodes, sampler, effects, given | {"progress": progress})
    if nodes is not None:
        raise MethodError(f"nodes={nodes!r} goes with marginalize='agq': the whole graph needs no quadrature.")
    from bayesglmm.graph.runner import Plan
    from bayesglmm.graph.sample import sample_posterior

    tune, target_accept = tune or 1000, target_accept or 0.9
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    sampler = sampler or "nutpie"
    started = time.perf_counter()
    plan = Plan(draws, tune, chains, seed, target_accept, progress)
    setup = Setup() if pymc_model is not None else set_up(problem, init, parametrisation, seed)
    sampled = sample_posterior(problem, sampler, plan, pymc_model, setup.centred, setup.start)
    found = sampled.draws
    if len(found.effects) < len(problem.design.blocks):
        from bayesglmm.methods.marginalized import complete

        found = complete(problem, found, seed, effects)
    status = judge(problem, sampled.parameters, found, time.perf_counter() - started)
    options = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "sampler": sampler}
    options |= {"target_accept": target_accept, "init": init, "centred": list(setup.centred)}
    return summarise(problem, found, status, options)


def _check(problem: Problem, given: dict[str, Any]) -> None:
    """Refuse counts below one, rates that are none, and draws that memory would not hold."""
    for name in ("draws", "tune", "chains"):
        value = given[name]
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise MethodError(f"{name}={value!r}; a whole number of at least 1 is expected.")
    target_accept, draws, chains = given["target_accept"], given["draws"], given["chains"]
    if target_accept is not None and not 0.0 < target_accept < 1.0:
        raise MethodError(f"target_accept={target_accept!r}; a number between 0 and 1 is expected.")
    held = len(problem.design.columns) + sum(b.z.shape[1] * len(b.levels) for b in problem.design.blocks)
    what = f"{chains} chains of {draws} draws of {held} parameters and random effects"
    need_memory(float(draws) * chains * held, what)


def _marginal(
    problem: Problem, marginalize: bool | str, nodes: Any, sampler: str | None, effects: str, given: dict[str, Any]
) -> Result:
    """NUTS over the parameters alone."""
    from bayesglmm.methods.marginalized import nodes_of, sample

    own = {k: v for k, v in given.items() if v is not None}
    return sample(problem, nodes=nodes_of(problem, marginalize, nodes), effects=effects, sampler=sampler, **own)


def summarise(problem: Problem, draws: Draws, status: Status, options: dict[str, Any]) -> Result:
    """Posterior means, covariances and sds of draws, as a result.

    Sds, correlations and auxiliaries are averaged on their natural scale, and ``theta`` and ``psi`` are the
    coordinates of those means.
    """
    design = problem.design
    count = draws.beta.shape[0] * draws.beta.shape[1]
    flat = [a.reshape(count, a.shape[-1]) for a in (draws.beta, draws.theta, draws.psi)]
    joint = np.atleast_2d(np.cov(np.concatenate(flat, axis=1), rowvar=False))
    p = draws.beta.shape[-1]
    beta, effects = flat[0].mean(axis=0), tuple(b.mean(axis=(0, 1)) for b in draws.effects)
    psi = mean_psi(problem, flat[2])
    return Result(
        method="mcmc",
        objective="posterior of all parameters and random effects",
        estimand="conditional",
        beta=beta,
        cov_beta=joint[:p, :p],
        theta=mean_theta(problem, flat[1]),
        psi=psi,
        cov_joint=joint,
        effects=effects,
        effects_sd=tuple(map(_sds, draws.effects)),
        eta=linear_predictor(problem, beta, effects),
        scale=likelihood_scale(problem, psi),
        df_model=joint.shape[0],
        df_resid=float(design.nobs - p),
        status=status,
        draws=draws,
        options=options,
    )


def _sds(effects: Floats) -> Floats:
    """Sds over draws, shape (levels, q), of some levels at a time: deviations are as many numbers as the draws."""
    out = np.empty(effects.shape[2:])
    for some in portions(len(out), effects[:, :, 0].size):
        out[some] = effects[:, :, some].std(axis=(0, 1), ddof=1)
    return out


def judge(problem: Problem, parameters: dict[str, Floats], draws: Draws, seconds: float) -> Status:
    """Judge the draws by R-hat, effective sizes and divergences."""
    names = list(parameters)
    r_hats = np.array([r_hat(parameters[k]) for k in names])
    sizes = np.array([bulk_size(parameters[k]) for k in names])
    chains, count = draws.beta.shape[:2]
    divergent = int(np.sum(draws.stats["diverging"])) if "diverging" in draws.stats else 0
    worst, ess = float(np.nan_to_num(r_hats, nan=np.inf).max()), float(np.nan_to_num(sizes, nan=0.0).min())
    faults = []
    if worst > MAX_R_HAT:
        faults.append(f"R-hat of {names[int(r_hats.argmax())]} is {worst:.3f} (limit {MAX_R_HAT})")
    if ess < MIN_ESS:
        faults.append(f"bulk effective size of {names[int(sizes.argmin())]} is {ess:.0f} (limit {MIN_ESS:.0f})")
    if divergent > MAX_DIVERGENT * chains * count:
        faults.append(f"{divergent} of {chains * count} transitions diverged")
    notes = []
    if divergent and len(faults) == 0:
        notes.append(f"{divergent} of {chains * count} transitions diverged: look at the sds near zero.")
    if problem.priors is None:
        notes.append(
            "flat priors: the posterior need not be a probability distribution, and then its draws mean nothing."
        )
    fine = f"{chains} chains of {count} draws: R-hat at most {worst:.3f}, bulk effective size at least {ess:.0f}."
    return Status(
        converged=not faults,
        message=fine if not faults else "; ".join(faults) + ". Take more draws, or look at the model.",
        iterations=chains * count,
        evaluations=int(np.sum(draws.stats["n_steps"])) if "n_steps" in draws.stats else 0,
        notes=tuple(notes),
        seconds=seconds,
        r_hat=worst,
        ess=ess,
        divergences=divergent,
    )
