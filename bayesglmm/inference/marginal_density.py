"""The log marginal posterior density of the standard deviations of a linear mixed model, at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.linear.criterion import LinearModel
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.links import get_link
from bayesglmm.names import sd_label
from bayesglmm.priors import Prior, PriorSet, flat_priors, log_prior
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AtPoint:
    """What is found at one point.

    Parameters
    ----------
    log_density : float
        Log of prior × likelihood with β integrated out, over the standard deviations.
    beta, beta_sd : ndarray, shape (p,)
        Mean and sd of the coefficients given them.
    """

    log_density: float
    beta: Floats
    beta_sd: Floats


@dataclass(frozen=True)
class MarginalDensity:
    """A model made ready: called with the standard deviations, σ last.

    Parameters
    ----------
    problem : Problem
        The model.
    names : tuple of str
        The standard deviations.
    model : LinearModel
        With the REML criterion.
    priors : PriorSet
        Of the variance parameters; flat on the coefficients.
    known : ndarray, shape (k, p)
        Combinations of the coefficients with normal priors: one of them each, or a line's height at the means.
    mean, variance : ndarray, shape (k,)
        Of those priors.
    start : ndarray, shape (k,)
        A point inside.
    """

    problem: Problem
    names: tuple[str, ...]
    model: LinearModel
    priors: PriorSet
    known: Floats
    mean: Floats
    variance: Floats
    start: Floats

    def __call__(self, point: Floats) -> AtPoint:
        """Log-density and the conditional posterior of β at one point, shape (k,)."""
        sds, sigma = point[:-1], float(point[-1])
        at = self.model.solve(sds / sigma, sigma**2)
        psi = np.array([np.log(sigma)])
        links = [get_link(a.link) for a in self.problem.auxiliaries]
        prior = log_prior(self.priors, self.problem.covariance, at.beta, sds, psi, links)[0]
        value = -0.5 * at.criterion + prior - psi[0]  # the prior is over log σ; the density over σ
        if not len(self.known):
            return AtPoint(value, at.beta, np.sqrt(np.diag(at.cov_beta)))
        reach = self.known @ at.cov_beta
        spread = reach @ self.known.T + np.diag(self.variance)
        gap = self.known @ at.beta - self.mean
        solved = np.linalg.solve(spread, gap)
        value -= 0.5 * (gap @ solved + np.linalg.slogdet(spread)[1] + len(gap) * np.log(2.0 * np.pi))
        gain = np.linalg.solve(spread, reach).T
        cov = at.cov_beta - gain @ reach
        return AtPoint(float(value), at.beta - gain @ gap, np.sqrt(np.diag(cov)))


def marginal_density(problem: Problem) -> MarginalDensity:
    """Make a model ready.

    Raises
    ------
    MethodError
        A model that is not a linear mixed model with independent errors and uncorrelated random effects, or a prior of
        a coefficient that is neither flat nor normal.
    """
    family, design = problem.family, problem.design
    gaussian = family.name == "gaussian" and problem.link.name == "identity" and not design.auxiliaries
    if not gaussian or not design.blocks or problem.errors is not None:
        raise MethodError(
            "the marginal posterior of standard deviations is for linear mixed models, errors independent."
        )
    names: list[str] = []
    for block, covariance in zip(design.blocks, problem.covariance):
        if any(c.kind != "scale" for c in covariance.coordinates):
            raise MethodError(
                f"the random effects of {block.group} are correlated: write (x || {block.group}), or take 'mcmc'."
            )
        names += [sd_label(block, j, len(block.columns)) for j in range(len(block.columns))]
    priors = problem.priors or flat_priors(design, family, problem.covariance)
    known, mean, variance = _normal(priors)
    free = tuple(Prior("Flat") for _ in priors.coefficients)
    structure = analyse(design.blocks, problem.covariance, design.nobs)
    y = problem.mean_response - design.offset
    model = LinearModel(structure, problem.covariance, design.X, y, problem.case_weights, True, None)
    fit = fit_working(problem, method="reml")
    sigma = float(np.sqrt(fit.scale))
    start = np.append(np.maximum(fit.theta, 0.1 * sigma), sigma)
    return MarginalDensity(
        problem,
        (*names, "sigma"),
        model,
        priors.with_coefficients(priors.columns, free),
        known,
        mean,
        variance,
        start,
    )


def _normal(priors: PriorSet) -> tuple[Floats, Floats, Floats]:
    """Combinations of coefficients that have normal priors, and their means and variances."""
    normal = np.zeros(len(priors.coefficients), dtype=bool)
    mean, sd = np.zeros(len(normal)), np.ones(len(normal))
    for j, (name, prior) in enumerate(zip(priors.columns, priors.coefficients)):
        if prior.name == "Normal":
            normal[j], mean[j], sd[j] = True, *(value for _, value in prior.params)
        elif prior.name != "Flat":
            raise MethodError(f"the prior of {name} is {prior}; flat or normal ones can be integrated out exactly.")
    combinations = priors.coefficient_density.expand(np.eye(len(normal))).T
    return combinations[normal], mean[normal], sd[normal] ** 2
