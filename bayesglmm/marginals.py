"""What a fit says about each parameter: one marginal distribution each, by name, whatever the method.

Parameters are the coefficients, the sds and correlations of the random effects, and the auxiliaries of the
family, all on their natural scale. A sampled posterior is its draws. Any other method stands for a normal distribution
of its estimate and standard error on the scale where its intervals are made: coefficients as they are, sds, dispersions
and positive auxiliaries by their logarithm, correlations by Fisher's z. Where that normal distribution approximates a
posterior (Laplace and quadrature with priors), the estimate and sd compared are the mean and sd it implies on the
natural scale: a posterior mean is compared with a posterior mean, not with a mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names, quantiles
from bayesglmm.covariance import BlockCovariance, sd_corr
from bayesglmm.idata import posterior_variables
from bayesglmm.latent.nested_laplace.mixture import coefficient_curve, curve_quantiles, sample_curve
from bayesglmm.links import get_link
from bayesglmm.parameters import theta_slices
from bayesglmm.posterior import DRAWN_LATER
from bayesglmm.tables import is_posterior

if TYPE_CHECKING:
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

Floats = NDArray[np.float64]
#: Points of a density.
CURVE_POINTS = 301
Posterior = dict[str, Floats]


@dataclass(frozen=True)
class Scale:
    """A scale on which a parameter is taken to be normal: there, back, and the slope of the way there."""

    there: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]


def link_scale(name: str) -> Scale:
    """Scale of a link function: η = g(x)."""
    link = get_link(name)
    return Scale(link.eta, link.mean, lambda x: 1.0 / link.slope(link.eta(x)))


IDENTITY, LOG = link_scale("identity"), link_scale("log")
FISHER = Scale(np.arctanh, np.tanh, lambda x: 1.0 / (1.0 - np.square(x)))


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
        Draws of it, for a sampled posterior.
    scale : Scale
        Of the normal approximation.
    normal : tuple of float or None
        Mean and sd of the normal approximation on its scale; from `estimate` and `sd` when left out.
    curve : ndarray, shape (2, k), or None
        Points and density, for a method that gives the marginal itself (``inla``).
    """

    parameter: str
    kind: str
    estimate: float
    sd: float
    draws: Floats | None = None
    scale: Scale = IDENTITY
    normal: tuple[float, float] | None = None
    curve: Floats | None = None

    def quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of the curve, the draws, or the normal approximation; NaN when there is none."""
        if self.curve is not None:
            return curve_quantiles(self.curve, probabilities)
        if self.draws is not None:
            return np.quantile(self.draws, probabilities, method="hazen")
        center, spread = self.on_scale
        return self.scale.back(center + spread * quantiles.norm.ppf(probabilities))

    def density(self, x: Floats) -> Floats:
        """Density of the curve, or of the normal approximation, at points of the parameter's natural scale."""
        if self.curve is not None:
            return np.interp(x, self.curve[0], self.curve[1], left=0.0, right=0.0)
        return quantiles.norm.pdf(self.scale.there(x), *self.on_scale) * self.scale.slope(x)

    def with_moments(self) -> Marginal:
        """Return it with the mean and sd of the normal approximation, taken to the natural scale."""
        center, spread = self.on_scale
        if self.scale is IDENTITY or not np.isfinite(spread):
            return self
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        values, weights = self.scale.back(center + spread * nodes), weights / weights.sum()
        mean = float(weights @ values)
        sd = float(np.sqrt(weights @ np.square(values - mean)))
        return replace(self, estimate=mean, sd=sd, normal=(center, spread))

    def sample_curve(self) -> Floats:
        """Density of the draws, smoothed on the parameter's scale."""
        assert self.draws is not None
        values = self.scale.there(self.draws.ravel())
        center, spread = values.mean(), values.std()
        there = np.linspace(max(values.min() - spread, center - 8 * spread), values.max() + spread, CURVE_POINTS)
        back = self.scale.back(there)
        return sample_curve(values, there, self.scale.slope(back), back)

    @property
    def on_scale(self) -> tuple[float, float]:
        """Mean and sd on the approximation's scale; NaN without a standard error."""
        if self.normal is not None:
            return self.normal
        if not self.sd > 0:
            return float("nan"), float("nan")
        estimate = np.array(self.estimate)
        return float(self.scale.there(estimate)), self.sd * float(self.scale.slope(estimate))


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
    sample = result.hyper_sample
    posterior = {} if sample is None else posterior_variables(problem, sample)
    nested = result.extras.get("mixture")
    if nested is not None:
        del posterior[names.COEFFICIENTS]
    parts = (_coefficients, _random_terms, _auxiliaries)
    found = [m for part in parts for m in part(problem, result, posterior)]
    if nested is not None:
        curves = [coefficient_curve(nested, j) for j in range(len(result.beta))]
        found = [
            replace(m, draws=None, curve=curves[j] if j < len(curves) else m.sample_curve())
            for j, m in enumerate(found)
        ]
    if is_posterior(problem, result) and result.method in DRAWN_LATER:
        found = [m.with_moments() for m in found]
    return {m.parameter: m for m in found}


def _marginal(name: str, kind: str, estimate: float, sd: float, draws: Floats | None, scale: Scale) -> Marginal:
    """A sampled posterior is summarised by its draws, everything else by what its tables say."""
    if draws is not None:
        estimate, sd = draws.mean(), draws.std(ddof=1)
    return Marginal(name, kind, float(estimate), float(sd), draws, scale)


def _coefficients(problem: Problem, result: Result, posterior: Posterior) -> Iterator[Marginal]:
    draws = posterior.get(names.COEFFICIENTS)
    se = np.sqrt(np.diag(result.cov_beta))
    for j, name in enumerate(problem.design.columns):
        yield _marginal(name, "fixed", result.beta[j], se[j], None if draws is None else draws[..., j], IDENTITY)


def _random_terms(problem: Problem, result: Result, posterior: Posterior) -> Iterator[Marginal]:
    if not len(result.theta):  # a method that reads the groups as clusters has no variances of random effects
        return
    for block, covariance, where in zip(problem.design.blocks, problem.covariance, theta_slices(problem)):
        sd, corr = covariance.sd_corr(result.theta[where])
        error = partial(_standard_error, result, covariance, where)
        draws = posterior.get(names.sd_variable(block.group))
        scales = [columns[0] for term in names.scale_columns(block, covariance) for columns in term]
        for name in scales:
            j = block.columns.index(name)
            label = names.sd_label(block, j, len(scales))
            yield _marginal(label, "sd", sd[j], error(j, j), None if draws is None else draws[..., j], LOG)
        draws = posterior.get(names.corr_variable(block.group))
        for i, j in names.correlated_pairs(covariance):
            label = names.corr_label(block, i, j)
            sample = None if draws is None else draws[..., i, j]
            yield _marginal(label, "corr", corr[i, j], error(i, j), sample, FISHER)


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
    if family.scale is None and len(family.auxiliaries) <= 1 and not problem.design.auxiliaries:
        yield _dispersion(problem, result, posterior)
        return
    for j, (auxiliary, psi) in enumerate(zip(problem.auxiliaries, result.psi)):
        value = float(get_link(auxiliary.link).mean(np.asarray(psi)))
        error = _slope(get_link(auxiliary.link).mean, result.psi[j]) * _psi_error(result, j)
        scale = link_scale(auxiliary.link)
        yield _marginal(auxiliary.name, "auxiliary", value, error, posterior.get(auxiliary.name), scale)


def _dispersion(problem: Problem, result: Result, posterior: Posterior) -> Marginal:
    """φ of Var(y) = φV(μ), as ``fit.dispersion`` shows it; in a Gaussian model its root, the residual sd."""
    family = problem.family
    gaussian = family.name == "gaussian"
    name, kind = ("Residual.sd", "sd") if gaussian else ("dispersion", "auxiliary")
    root = np.sqrt if gaussian else np.asarray
    if not len(result.psi) or family.dispersion is None:
        return _marginal(name, kind, float(root(result.scale)), float("nan"), None, LOG)
    link = get_link(family.auxiliaries[0].link)

    scale_of = family.dispersion

    def shown(value: Floats) -> Floats:
        return root(np.vectorize(lambda v: scale_of((v,)), otypes=[float])(value))

    error = _slope(lambda psi: shown(link.mean(psi)), result.psi[0]) * _psi_error(result, 0)
    draws = posterior.get(family.auxiliaries[0].name)
    estimate = float(shown(link.mean(result.psi[:1]))[0])
    return _marginal(name, kind, estimate, error, None if draws is None else shown(draws), LOG)


def _slope(function: Callable[[Floats], Floats], at: float) -> float:
    """|derivative| by central differences."""
    ends = function(np.array([at - 1e-5, at + 1e-5]))
    return float(abs(ends[1] - ends[0]) / 2e-5)


def _psi_error(result: Result, j: int) -> float:
    """Standard error of an auxiliary on its unconstrained scale."""
    if result.cov_joint is None or not len(result.psi):
        return float("nan")
    return float(np.sqrt(np.diag(result.cov_joint)[-len(result.psi) :][j]))
