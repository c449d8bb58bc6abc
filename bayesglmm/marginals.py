"""What a fit says about each parameter: one marginal distribution each, by name, whatever the method.

Parameters are the coefficients, the sds and correlations of the random effects, and the auxiliaries of the
family, all on their natural scale. A method that gives draws is compared by its draws; one that gives an
estimate and a standard error stands for a normal distribution (cut off where the parameter cannot be).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bayesglmm import names
from bayesglmm.covariance import BlockCovariance, sd_corr
from bayesglmm.idata import posterior_variables
from bayesglmm.links import get_link
from bayesglmm.parameters import auxiliary_values, theta_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

Floats = NDArray[np.float64]
Posterior = dict[str, Floats]

#: Kinds of parameter and where each may lie.
RANGES = {"fixed": (-np.inf, np.inf), "sd": (0.0, np.inf), "corr": (-1.0, 1.0), "auxiliary": (-np.inf, np.inf)}


@dataclass(frozen=True)
class Marginal:
    """One parameter's marginal distribution under one method.

    Parameters
    ----------
    parameter : str
        Its name: a coefficient, ``"herd.sd"``, ``"Subject.corr[Days, Intercept]"``, an auxiliary.
    kind : {"fixed", "sd", "corr", "auxiliary"}
        What it is.
    estimate, sd : float
        Point estimate and standard error (posterior mean and sd for a sampled posterior); `sd` may be NaN.
    draws : ndarray, shape (chains, draws), or None
        Draws of it, where the method gives any.
    independent : bool
        Whether the draws are direct ones; False for those of a Markov chain.
    """

    parameter: str
    kind: str
    estimate: float
    sd: float
    draws: Floats | None = None
    independent: bool = True

    def quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of the draws, or of the normal approximation within the parameter's range."""
        if self.draws is not None:
            return np.quantile(self.draws, probabilities, method="hazen")
        low, high = RANGES[self.kind]
        return np.clip(self.estimate + self.sd * stats.norm.ppf(probabilities), low, high)


def marginals(problem: Problem, result: Result) -> dict[str, Marginal]:
    """Every parameter of a fit, as a marginal distribution that can be compared with another method's.

    Parameters
    ----------
    problem, result
        The model and what was found.

    Returns
    -------
    dict
        Parameter name → :class:`Marginal`, in the order coefficients, sds and correlations, auxiliaries.
    """
    posterior = {} if result.draws is None else posterior_variables(problem, result.draws)
    parts = (_coefficients, _random_terms, _auxiliaries)
    found = [m for part in parts for m in part(problem, result, posterior)]
    return {m.parameter: m for m in found}


def _marginal(result: Result, name: str, kind: str, estimate: float, sd: float, draws: Floats | None) -> Marginal:
    """A sampled posterior is summarised by its draws, everything else by what its tables say."""
    given = result.draws
    if draws is None or given is None:
        return Marginal(name, kind, float(estimate), float(sd))
    if not given.independent:
        estimate, sd = draws.mean(), draws.std(ddof=1)
    return Marginal(name, kind, float(estimate), float(sd), draws, given.independent)


def _coefficients(problem: Problem, result: Result, posterior: Posterior) -> Iterator[Marginal]:
    draws = posterior.get(names.COEFFICIENTS)
    se = np.sqrt(np.diag(result.cov_beta))
    for j, name in enumerate(problem.design.columns):
        yield _marginal(result, name, "fixed", result.beta[j], se[j], None if draws is None else draws[..., j])


def _random_terms(problem: Problem, result: Result, posterior: Posterior) -> Iterator[Marginal]:
    for block, covariance, where in zip(problem.design.blocks, problem.covariance, theta_slices(problem)):
        sd, corr = covariance.sd_corr(result.theta[where])
        error = partial(_standard_error, result, covariance, where)
        draws = posterior.get(names.sd_variable(block.group))
        scales = [columns[0] for term in names.scale_columns(block, covariance) for columns in term]
        for name in scales:
            j = block.columns.index(name)
            label = f"{block.group}.sd" if len(scales) == 1 else f"{block.group}.sd[{name}]"
            yield _marginal(result, label, "sd", sd[j], error(j, j), None if draws is None else draws[..., j])
        draws = posterior.get(names.corr_variable(block.group))
        for i, j in _pairs(covariance):
            label = f"{block.group}.corr[{block.columns[i]}, {block.columns[j]}]"
            yield _marginal(result, label, "corr", corr[i, j], error(i, j), None if draws is None else draws[..., i, j])


def _pairs(covariance: BlockCovariance) -> Iterator[tuple[int, int]]:
    """Pairs of columns whose correlations are the model's parameters (one pair where one number rules all)."""
    for term, form in zip(covariance.terms, covariance.forms):
        pairs = [(i, j) for i in range(term.start, term.stop) for j in range(term.start, i)]
        kinds = [c.kind for c in form.coordinates(term.size)]
        if kinds.count("scale") < len(kinds):
            yield from pairs[: 1 if "interval" in kinds else None]


def _standard_error(result: Result, covariance: BlockCovariance, where: slice, i: int, j: int) -> float:
    """Delta-method standard error of one of a block's sds (i = j) or correlations (i ≠ j)."""
    theta = result.theta[where]
    L = covariance.factor(theta)
    sd, corr = sd_corr(L)
    if result.cov_joint is None or sd[i] == 0.0 or sd[j] == 0.0:
        return float("nan")
    G = np.zeros_like(L)
    if i == j:  # sd_i = |L_i|
        G[i] = L[i] / sd[i]
    else:  # ρ = L_i·L_j / (sd_i sd_j)
        G[i] = (L[j] / sd[j] - corr[i, j] * L[i] / sd[i]) / sd[i]
        G[j] = (L[i] / sd[i] - corr[i, j] * L[j] / sd[j]) / sd[j]
    slope = covariance.pullback(theta, G)
    used = len(result.beta) + where.start + np.flatnonzero(slope)
    slope = slope[slope != 0]
    return float(np.sqrt(slope @ result.cov_joint[np.ix_(used, used)] @ slope))


def _auxiliaries(problem: Problem, result: Result, posterior: Posterior) -> Iterator[Marginal]:
    """Residual sd, dispersion φ where the family leaves it free, else the auxiliaries by name."""
    family = problem.family
    if family.scale is None and len(family.auxiliaries) <= 1:
        yield _dispersion(problem, result, posterior)
        return
    values = auxiliary_values(problem, result.psi)
    for j, (auxiliary, value) in enumerate(zip(family.auxiliaries, values)):
        error = _slope(get_link(auxiliary.link).mean, result.psi[j]) * _psi_error(result, j)
        yield _marginal(result, auxiliary.name, "auxiliary", value, error, posterior.get(auxiliary.name))


def _dispersion(problem: Problem, result: Result, posterior: Posterior) -> Marginal:
    """φ of Var(y) = φV(μ), as ``fit.dispersion`` shows it; in a Gaussian model its root, the residual sd."""
    family = problem.family
    gaussian = family.name == "gaussian"
    name, kind = ("Residual.sd", "sd") if gaussian else ("dispersion", "auxiliary")
    root = np.sqrt if gaussian else np.asarray
    if not len(result.psi) or family.dispersion is None:
        return _marginal(result, name, kind, float(root(result.scale)), float("nan"), None)
    link = get_link(family.auxiliaries[0].link)

    scale_of = family.dispersion

    def shown(value: Floats) -> Floats:
        return root(np.vectorize(lambda v: scale_of((v,)), otypes=[float])(value))

    error = _slope(lambda psi: shown(link.mean(psi)), result.psi[0]) * _psi_error(result, 0)
    draws = posterior.get(family.auxiliaries[0].name)
    estimate = float(shown(link.mean(result.psi[:1]))[0])
    return _marginal(result, name, kind, estimate, error, None if draws is None else shown(draws))


def _slope(function: Callable[[Floats], Floats], at: float) -> float:
    """|derivative| by central differences."""
    ends = function(np.array([at - 1e-5, at + 1e-5]))
    return float(abs(ends[1] - ends[0]) / 2e-5)


def _psi_error(result: Result, j: int) -> float:
    """Standard error of an auxiliary on its unconstrained scale."""
    if result.cov_joint is None or not len(result.psi):
        return float("nan")
    return float(np.sqrt(np.diag(result.cov_joint)[-len(result.psi) :][j]))
