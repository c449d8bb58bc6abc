"""Linear functions of the coefficients with the reference each fit deserves: their own df, posterior draws, or z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.contrasts import reference_df
from bayesglmm.latent.linear.small_sample import KINDS, SmallSample, small_sample
from bayesglmm.latent.refit import METHODS
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    """Coefficients as linear functions of them are judged.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Estimates.
    cov : ndarray, shape (p, p)
        Their covariance (Kenward and Roger's adjusted one where that was asked for).
    approximation : SmallSample or None
        What gives each function its own degrees of freedom; None where `df_all` holds for all.
    df_all : float
        Degrees of freedom, infinite for a normal reference.
    tested : bool
        Whether p-values have a meaning: not for a posterior.
    draws : ndarray, shape (draws, p), or None
        Of an MCMC fit.
    """

    beta: Floats
    cov: Floats
    approximation: SmallSample | None
    df_all: float
    tested: bool
    draws: Floats | None = None

    def df(self, L: Floats) -> Floats:
        """Degrees of freedom of every row of L; NaN for a row that holds a NaN or only zeros."""
        if self.approximation is None:
            return np.full(len(L), self.df_all)
        usable = np.isfinite(L).all(axis=1) & np.any(L != 0.0, axis=1)
        return np.array([self.approximation.df(row) if ok else np.nan for row, ok in zip(L, usable)])


@takes(df=plain)
def coefficients_of(problem: Problem, result: Result, df: Any = None) -> Coefficients:
    """The coefficients of a fit with their reference.

    Parameters
    ----------
    problem, result
        The fit.
    df : {"satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom; those the fit was made with when left out (a t on the residual degrees of freedom, or z).

    Raises
    ------
    MethodError
        An unknown approximation, one that does not apply to the fit, or degrees of freedom for a posterior.
    """
    posterior = is_posterior(problem, result)
    sampled = result.draws is not None and not result.draws.independent
    draws = result.draws.beta.reshape(-1, len(result.beta)) if sampled and result.draws is not None else None
    if posterior and df is not None:
        raise MethodError(f"df={df!r}: this fit is a posterior, which has no degrees of freedom.")
    if df is None and result.method in METHODS:
        df = result.options.get("df")
    if isinstance(df, str):
        if df not in KINDS:
            raise MethodError(f"df is {df!r}; expected {', '.join(map(repr, KINDS))} or a number.")
        approximation = small_sample(problem, result, df)
        return Coefficients(result.beta, approximation.cov, approximation, np.inf, True)
    if df is not None and not (isinstance(df, int | float | np.number) and df > 0.0):
        raise MethodError(f"df is {df!r}; a positive number is expected.")
    df_all = reference_df(result) if df is None else float(df)
    return Coefficients(result.beta, result.cov_beta, None, np.inf if posterior else df_all, not posterior, draws)


def not_estimable(problem: Problem, L: Floats, left_out: Floats, tolerance: float = 1e-7) -> NDArray[np.bool_]:
    """Rows whose value depends on which of the aliased columns were left out (:func:`estimability.estimable`)."""
    bad = ~np.isfinite(L).all(axis=1)
    relations = problem.design.relations
    if relations is None or not left_out.shape[1]:
        return bad
    implied = L @ relations
    size = np.abs(L).sum(axis=1) + np.abs(implied).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return bad | (np.abs(left_out - implied).sum(axis=1) > tolerance * np.maximum(size, 1e-300))
