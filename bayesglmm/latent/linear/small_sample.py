"""Small-sample tests of fixed effects in linear mixed models: Satterthwaite's degrees of freedom and what F tests need.

Kenward and Roger's are in :mod:`bayesglmm.latent.linear.kenward_roger`; both answer the same two questions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.linear.curvature import positive_inverse
from bayesglmm.latent.refit import curvature_of, inside, solution_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

KINDS = ("satterthwaite", "kenward-roger")


@dataclass(frozen=True)
class FTest:
    """An F test of Lβ = 0.

    Parameters
    ----------
    statistic : float
        F (for Kenward-Roger already scaled).
    numerator, denominator : float
        Degrees of freedom.
    """

    statistic: float
    numerator: int
    denominator: float


class SmallSample(Protocol):
    """What an approximation answers."""

    @property
    def cov(self) -> Floats:
        """Covariance of β̂ the t statistics are made with, shape (p, p)."""
        ...

    def df(self, contrast: Floats) -> float:
        """Degrees of freedom of the t statistic of one contrast, shape (p,)."""
        ...

    def f_test(self, L: Floats, value: Floats | float = 0.0) -> FTest:
        """F test of Lβ = value, `L` of shape (k, p)."""
        ...


def small_sample(problem: Problem, result: Result, kind: str) -> SmallSample:
    """The approximation by name.

    Parameters
    ----------
    problem, result
        A fit by ML or REML (or a working one by PQL or MQL).
    kind : {"satterthwaite", "kenward-roger"}
        Which approximation.

    Raises
    ------
    MethodError
        An unknown name, a fit that is not of a linear mixed model, or Kenward-Roger without REML.
    """
    if kind == "satterthwaite":
        return satterthwaite(problem, result)
    if kind == "kenward-roger":
        from bayesglmm.latent.linear.kenward_roger import kenward_roger

        return kenward_roger(problem, result)
    raise MethodError(f"df is {kind!r}; expected {' or '.join(map(repr, KINDS))}.")


@dataclass(frozen=True)
class Satterthwaite:
    """Satterthwaite's approximation.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    cov : ndarray, shape (p, p)
        Their covariance given the variance parameters.
    cov_slope : ndarray, shape (k, p, p)
        Its derivatives in the variance parameters.
    cov_parameters : ndarray, shape (k, k)
        Covariance of the variance parameters.
    """

    beta: Floats
    cov: Floats
    cov_slope: Floats
    cov_parameters: Floats

    def df(self, contrast: Floats) -> float:
        """2 v²/(g'Ag) with v = l'Cl, g its gradient and A the covariance of the variance parameters.

        Giesbrecht & Burns (1985), Biometrics 41, eq. 4; Kuznetsova, Brockhoff & Christensen (2017), J. Stat.
        Software 82(13), eq. 7.
        """
        v = float(contrast @ self.cov @ contrast)
        g = np.einsum("i,kij,j->k", contrast, self.cov_slope, contrast)
        spread = float(g @ self.cov_parameters @ g)
        return 2.0 * v**2 / spread if spread > 0.0 else np.inf

    def f_test(self, L: Floats, value: Floats | float = 0.0) -> FTest:
        """F test by the eigenvectors of Var(Lβ̂): independent t's whose degrees of freedom are averaged.

        Fai & Cornelius (1996), J. Stat. Comput. Simul. 54.
        """
        values, vectors = np.linalg.eigh(L @ self.cov @ L.T)
        keep = values > 1e-10 * values[-1]
        gap = vectors.T @ (L @ self.beta - value)
        rank = int(keep.sum())
        statistic = float(np.sum(gap[keep] ** 2 / values[keep])) / rank
        dfs = np.array([self.df(row) for row in (vectors.T @ L)[keep]])
        return FTest(statistic, rank, _pooled_df(dfs))


def _pooled_df(dfs: Floats) -> float:
    """Denominator df whose F has the expectation of the mean of squared t's."""
    if np.ptp(dfs) < 1e-8 * np.min(dfs):
        return float(np.mean(dfs))
    if np.any(dfs <= 2.0):
        return 2.0
    expectation = float(np.sum(np.where(np.isinf(dfs), 1.0, dfs / (dfs - 2.0))))
    return 2.0 * expectation / (expectation - len(dfs))


def satterthwaite(problem: Problem, result: Result) -> Satterthwaite:
    """Satterthwaite's approximation at a fit; variances at a boundary are taken as known."""
    at = solution_of(problem, result)
    curve, free = curvature_of(result, at), inside(result)
    cov = positive_inverse(0.5 * curve.hessian[np.ix_(free, free)])
    if not np.all(np.isfinite(cov)):
        raise MethodError(
            "Satterthwaite's degrees of freedom need a positive definite Hessian of the variance parameters, and here "
            "it is not: some of them are not identified. Simplify the random terms."
        )
    return Satterthwaite(at.beta, at.cov_beta, curve.cov_slope[free], cov)


def with_df(problem: Problem, result: Result, kind: str | None) -> Result:
    """The result with t references for its coefficients.

    ``extras["df"]`` holds each coefficient's degrees of freedom, ``options["df"]`` the approximation. With
    Kenward-Roger ``cov_beta`` becomes their adjusted covariance; ``extras["cov_unadjusted"]`` keeps the other.
    """
    if kind is None:
        return result
    approximation = small_sample(problem, result, kind)
    df = np.array([approximation.df(row) for row in np.eye(len(result.beta))])
    extras = {**result.extras, "df": df, "cov_unadjusted": result.cov_beta}
    options = {**result.options, "df": kind}
    return replace(result, cov_beta=approximation.cov, use_t=True, extras=extras, options=options)
