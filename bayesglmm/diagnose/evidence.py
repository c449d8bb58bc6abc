"""The marginal likelihood p(y) of a model, by bridge sampling between the posterior and a Gaussian about it.

Random effects are integrated out (by quadrature, or unbiased estimates of the integral where there is none), so that
only coefficients, covariance parameters and auxiliaries are bridged. Meng & Wong (1996), Statistica Sinica 6, 831-860,
eq. 4.1; Gronau et al. (2017), J. Math. Psychol. 81, 80-97, for the iteration and its error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesglmm.arguments import seed_or_none, takes, whole
from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.latent.threads import one_thread
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]

#: Rounds of the bridge's fixed point, and the relative change that ends them.
ROUNDS, CLOSE = 1000, 1e-10


@dataclass(frozen=True)
class Evidence:
    """Log marginal likelihood with all constants.

    Parameters
    ----------
    log_evidence : float
        log p(y).
    error : float
        Its standard error (relative error of p(y)).
    """

    log_evidence: float
    error: float

    def __str__(self) -> str:
        return f"log marginal likelihood {self.log_evidence:.4f}, standard error {self.error:.2g}"


@takes(draws=whole(10), seed=seed_or_none)
def bridge(problem: Problem, result: Result, *, draws: int = 2000, seed: int | None = None) -> Evidence:
    """Bridge-sample the marginal likelihood; see :meth:`bayesglmm.Fit.evidence`."""
    if problem.priors is None or not all(p.proper for _, p in problem.priors.items()):
        raise MethodError("a marginal likelihood needs proper priors for every parameter; see model.priors.")
    if not is_posterior(problem, result):
        raise MethodError(
            f"a fit by {result.method!r} is no posterior: fit by laplace, agq, inla or mcmc, with priors."
        )
    from bayesglmm.latent.posterior import found_optimum
    from bayesglmm.latent.weights.conditional import solve_at
    from bayesglmm.latent.weights.importance import settle
    from bayesglmm.methods.registry import METHODS

    rng = np.random.default_rng(seed)
    base = result if result.method in ("laplace", "agq") else METHODS["laplace"].run(problem, draws=0)
    if not base.status.converged:
        raise ConvergenceError(f"no mode to start the bridge from: {base.status.message}")
    with one_thread():
        target, optimum = found_optimum(problem, base)
        own = _posterior_draws(problem, result, base, draws, rng)
        x = np.stack([target.coordinates.join(*point) for point in own])
        half = len(x) // 2
        mean, covariance = x[:half].mean(axis=0), np.atleast_2d(np.cov(x[:half].T))
        factor = np.linalg.cholesky(covariance)
        proposed = mean + rng.standard_normal((len(x) - half, x.shape[1])) @ factor.T
        work = replace(settle(target, optimum, 2 * (len(x) - half), None), keep=False)
        ratios = []
        for points in (x[half:], proposed):
            solved = solve_at(target, optimum, points, rng, work)
            value = solved.averaged if solved.quadrature is None else solved.quadrature
            ratios.append(solved.log_prior + value - _normal(points, mean, factor))
    return _iterate(*ratios)


def _posterior_draws(
    problem: Problem, result: Result, base: Result, count: int, rng: np.random.Generator
) -> list[tuple[Floats, Floats, Floats]]:
    """Natural parameters of posterior draws, in random order: the fit's, or weighted ones around the mode of `base`."""
    draws = result.draws
    if draws is None or draws.independent:
        from bayesglmm.latent.draws import pack_draws
        from bayesglmm.latent.weights.importance import resample
        from bayesglmm.methods.weighted import weigh_fit

        seed = int(rng.integers(2**31))
        weighted = weigh_fit(problem, base, draws=count, seed=seed, keep=False)
        taken = resample(weighted.weights, count, np.random.default_rng((seed, 1)))
        draws = pack_draws(weighted.target, weighted.x, weighted.solved.u, {}, taken)
    flat = [a.reshape(draws.beta.shape[0] * draws.beta.shape[1], -1) for a in (draws.beta, draws.theta, draws.psi)]
    order = rng.permutation(len(flat[0]))[:count]
    return [(flat[0][i], flat[1][i], flat[2][i]) for i in order]


def _normal(x: Floats, mean: Floats, factor: Floats) -> Floats:
    """Log density of a normal distribution with covariance `factor` × its transpose."""
    z = np.linalg.solve(factor, (x - mean).T)
    constant = np.log(np.diag(factor)).sum() + 0.5 * len(mean) * np.log(2.0 * np.pi)
    return -0.5 * np.square(z).sum(axis=0) - constant


def _iterate(posterior: Floats, proposal: Floats) -> Evidence:
    """The optimal bridge between draws of the posterior and of the proposal; arguments are log p − log q."""
    n1, n2 = len(posterior), len(proposal)
    shift = float(np.median(posterior))
    l1, l2 = posterior - shift, proposal - shift
    log_s1, log_s2, log_r = np.log(n1 / (n1 + n2)), np.log(n2 / (n1 + n2)), 0.0
    for _ in range(ROUNDS):
        above = logsumexp(l2 - np.logaddexp(log_s1 + l2, log_s2 + log_r)) - np.log(n2)
        below = logsumexp(-np.logaddexp(log_s1 + l1, log_s2 + log_r)) - np.log(n1)
        new = above - below
        done = abs(new - log_r) <= CLOSE
        log_r = new
        if done:
            break
    else:
        raise ConvergenceError("bridge sampling did not settle: take more draws.")
    f1 = np.exp(-np.logaddexp(log_s1 + l1, log_s2 + log_r) + log_r)
    f2 = np.exp(l2 - np.logaddexp(log_s1 + l2, log_s2 + log_r))
    error = np.sqrt(f2.var() / (n2 * f2.mean() ** 2) + f1.var() / (n1 * f1.mean() ** 2))
    return Evidence(float(log_r + shift), float(error))
