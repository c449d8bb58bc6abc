"""``mcmc``: the full posterior by NUTS on the PyMC graph; the judge of the other methods."""

from __future__ import annotations

import time

import numpy as np

from bayesglmm.covariance import sd_corr
from bayesglmm.parameters import likelihood_scale, theta_slices
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Floats, Result, Status

#: Beyond these the draws are not a sample of the posterior (Vehtari et al. 2021, Bayesian Analysis 16(2)).
R_HAT_LIMIT = 1.01
ESS_LIMIT = 400.0


def run(
    problem: Problem,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    cores: int | None = None,
    seed: int | None = None,
    sampler: str = "pymc",
    target_accept: float = 0.9,
) -> Result:
    """Sample the posterior.

    Parameters
    ----------
    problem : Problem
        The model.
    draws, tune, chains : int
        Kept and discarded draws per chain, and number of chains.
    cores : int, optional
        Processes; the number of processors when left out.
    seed : int, optional
        Seed; the same seed gives the same draws.
    sampler : {"pymc", "nutpie", "numpyro", "blackjax"}
        Who runs NUTS. The default was the fastest from the start of the process to 1,000 effective draws, compilation
        included (seconds on two busy cores, cbpp / epilepsy): pymc 7 / 12, nutpie 41 / 14, pymc in C mode 28 / 27.
        nutpie samples three to six times faster once compiled: it pays on long runs.
    target_accept : float
        Acceptance rate aimed at while tuning.
    """
    from bayesglmm.graph.sample import sample_posterior

    begin = time.perf_counter()
    sampled = sample_posterior(
        problem,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores,
        seed=seed,
        sampler=sampler,
        target_accept=target_accept,
    )
    own = sampled.draws
    beta = own.beta.reshape(-1, own.beta.shape[-1])
    effects = tuple(e.mean(axis=(0, 1)) for e in own.effects)
    psi = own.psi.mean(axis=(0, 1))
    mean = beta.mean(axis=0)
    return Result(
        method="mcmc",
        objective=f"full posterior (NUTS, {chains} chains of {draws} draws after {tune} for tuning)",
        estimand="conditional",
        beta=mean,
        cov_beta=np.atleast_2d(np.cov(beta.T)),
        theta=_theta_of_means(problem, own),
        psi=psi,
        effects=effects,
        effects_sd=tuple(e.std(axis=(0, 1), ddof=1) for e in own.effects),
        eta=_linear_predictor(problem, mean, effects),
        scale=likelihood_scale(problem, psi),
        df_model=len(mean) + own.theta.shape[-1] + len(psi),
        df_resid=float(problem.design.nobs - len(mean)),
        status=_status(sampled.r_hat, sampled.ess, sampled.divergences, chains, draws, time.perf_counter() - begin),
        draws=own,
        options={"draws": draws, "tune": tune, "chains": chains, "seed": seed, "sampler": sampler},
    )


def _status(r_hat: float, ess: float, divergences: int, chains: int, draws: int, seconds: float) -> Status:
    complaints = []
    if chains > 1 and r_hat > R_HAT_LIMIT:
        complaints.append(f"R-hat is {r_hat:.3f}, above {R_HAT_LIMIT}")
    if ess < ESS_LIMIT:
        complaints.append(f"the smallest effective sample size is {ess:.0f}, below {ESS_LIMIT:.0f}")
    if divergences:
        complaints.append(f"{divergences} transitions diverged")
    # A handful of divergences in thousands of draws is said aloud but does not by itself spoil the sample.
    converged = not complaints or (len(complaints) == 1 and 0 < divergences <= 0.001 * chains * draws)
    advice = "; draw more (draws=, tune=), raise target_accept, or use stronger priors" if not converged else ""
    notes = (f"{divergences} divergent transitions",) if converged and divergences else ()
    if chains == 1:
        notes = (*notes, "one chain: R-hat cannot be computed")
    message = ", ".join(complaints) + advice if not converged else "chains agree"
    return Status(
        converged,
        message,
        iterations=chains * draws,
        notes=notes,
        seconds=seconds,
        r_hat=None if np.isnan(r_hat) else r_hat,
        ess=ess,
        divergences=divergences,
    )


def _theta_of_means(problem: Problem, draws: Draws) -> Floats:
    """θ with the posterior means of sds and correlations."""
    parts = []
    for covariance, where in zip(problem.covariance, theta_slices(problem)):
        flat = draws.theta[..., where].reshape(-1, covariance.n_params)
        sd, corr = sd_corr(np.stack([covariance.factor(t) for t in flat]))
        parts.append(covariance.from_sd_corr(sd.mean(axis=0), corr.mean(axis=0)))
    return np.concatenate([*parts, np.empty(0)])


def _linear_predictor(problem: Problem, beta: Floats, effects: tuple[Floats, ...]) -> Floats:
    eta = problem.design.X @ beta + problem.design.offset
    for block, b in zip(problem.design.blocks, effects):
        eta = eta + np.sum(block.z * b[block.codes], axis=1)
    return eta
