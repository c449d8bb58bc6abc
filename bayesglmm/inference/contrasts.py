"""Wald inference about linear functions of the coefficients: tests, contrasts, simultaneous regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import quantiles
from bayesglmm.arguments import numeric, optional, probability, refused, takes, whole
from bayesglmm.errors import MethodError
from bayesglmm.inference.hypotheses import read_hypotheses
from bayesglmm.inference.outcome import Outcome, outcome
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


def reference_df(result: Result) -> float:
    """Denominator degrees of freedom of Wald statistics: infinite for a normal reference."""
    df = np.asarray(result.extras.get("df", result.df_resid if result.use_t else np.inf), dtype=float)
    return float(df.min()) if df.size else float("inf")


@takes(value=optional(numeric))
def wald_test(problem: Problem, result: Result, hypothesis: Any, *, value: Any = None) -> Outcome:
    """Wald test of linear hypotheses about the coefficients, jointly.

    Parameters
    ----------
    problem, result
        The fit; its covariance (model-based or sandwich) is used.
    hypothesis : str, list of str, or array_like
        ``"a = b"``, ``["a = 0", "b = 2*c"]``, or a matrix of shape (k, p).
    value : array_like, shape (k,), optional
        Right-hand sides when `hypothesis` is a matrix; zeros when left out.

    Returns
    -------
    Outcome
        F on (rank, df) where the fit uses a t reference, else χ² on the rank. ``extras["contrasts"]`` is a DataFrame
        of the single contrasts.

    Raises
    ------
    MethodError
        An unknown coefficient, a hypothesis that is not linear, contradictory equations, or a wrong shape.
    """
    L, c, labels = read_hypotheses(hypothesis, problem.design.columns)
    if value is not None:
        c = np.broadcast_to(np.asarray(value, dtype=float), (len(L),)).copy()
    gap = L @ result.beta - c
    V = L @ result.cov_beta @ L.T
    rank, statistic = _quadratic_form(V, gap)
    df = reference_df(result)
    tables = contrast_table(result, L, labels)
    text = ", ".join(labels)
    if np.isfinite(df):
        return outcome("Wald", text, "F", statistic / rank, rank, df, contrasts=tables)
    return outcome("Wald", text, "chi2", statistic, rank, contrasts=tables)


def _quadratic_form(V: Floats, gap: Floats) -> tuple[int, float]:
    """Rank of the hypotheses, and gap' V⁻ gap on it."""
    scale = np.sqrt(np.where(np.diag(V) > 0, np.diag(V), 1.0))
    values, vectors = np.linalg.eigh(V / np.outer(scale, scale))
    keep = values > 1e-10 * max(values[-1], 1e-300)
    rank = int(keep.sum())
    if rank == 0:
        raise MethodError("the hypothesis concerns nothing that was estimated with error: its variance is zero.")
    rotated = vectors.T @ (gap / scale)
    if np.abs(rotated[~keep]).max(initial=0.0) > 1e-6 * max(1.0, float(np.abs(gap / scale).max())):
        raise MethodError("the equations of the hypothesis contradict each other; leave the redundant ones out.")
    return rank, float(np.square(rotated[keep]) @ (1.0 / values[keep]))


def contrast_table(
    result: Result,
    L: Floats,
    labels: tuple[str, ...] | None = None,
    level: float = 0.95,
    df: Floats | None = None,
) -> pd.DataFrame:
    """Estimate, standard error, interval and test of each row of L, one at a time.

    Parameters
    ----------
    result : Result
        The fit.
    L : ndarray, shape (k, p)
        Contrasts.
    labels : tuple of str, optional
        Row labels.
    level : float
        Coverage of the intervals.
    df : ndarray, shape (k,), optional
        Degrees of freedom of each; the fit's reference when left out.
    """
    estimate = L @ result.beta
    se = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", L, result.cov_beta, L), 0.0))
    own = np.full(len(L), reference_df(result)) if df is None else df
    reach = quantiles.t.ppf(0.5 + level / 2.0, own) * se
    ratio = np.divide(estimate, se, out=np.full_like(estimate, np.nan), where=se > 0)
    name = "t" if np.isfinite(own).any() else "z"
    return pd.DataFrame(
        {
            "estimate": estimate,
            "se": se,
            "ci_low": estimate - reach,
            "ci_high": estimate + reach,
            name: ratio,
            "p": 2.0 * quantiles.t.sf(np.abs(ratio), own),
        },
        index=pd.Index(labels, name="contrast") if labels else None,
    )


@dataclass(frozen=True)
class Ellipsoid:
    """A simultaneous confidence region {b : (b − centre)' V⁻¹ (b − centre) ≤ radius²}.

    Parameters
    ----------
    labels : tuple of str
        What the coordinates are.
    centre : ndarray, shape (k,)
        Estimates.
    V : ndarray, shape (k, k)
        Their covariance.
    radius : float
        √ of the critical value: √(k F) or √χ².
    level : float
        Simultaneous coverage.
    """

    labels: tuple[str, ...]
    centre: Floats
    V: Floats
    radius: float
    level: float

    @property
    def axes(self) -> Floats:
        """Half-axes as columns, longest first, shape (k, k)."""
        values, vectors = np.linalg.eigh(self.V)
        return (vectors * (np.sqrt(values) * self.radius))[:, ::-1]

    def contains(self, point: Any) -> bool:
        """Whether a point lies in the region."""
        values = numeric("point", point)
        if values.shape != self.centre.shape:
            raise refused("point", point, f"one number for each of {', '.join(self.labels)}")
        gap = values - self.centre
        return bool(gap @ np.linalg.solve(self.V, gap) <= self.radius**2)

    def intervals(self) -> pd.DataFrame:
        """Shadows of the region on the coordinates: simultaneous intervals (Scheffé)."""
        reach = self.radius * np.sqrt(np.diag(self.V))
        table = {"estimate": self.centre, "ci_low": self.centre - reach, "ci_high": self.centre + reach}
        return pd.DataFrame(table, index=list(self.labels))

    @takes(points=whole(3))
    def boundary(self, points: int = 200) -> Floats:
        """Points on the edge of a two-dimensional region, shape (points, 2)."""
        if len(self.centre) != 2:
            raise MethodError(f"a boundary is drawn for 2 coordinates; this region has {len(self.centre)}.")
        angle = np.linspace(0.0, 2.0 * np.pi, points)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        return self.centre + self.radius * circle @ np.linalg.cholesky(self.V).T


@takes(level=probability)
def wald_ellipsoid(problem: Problem, result: Result, parameters: Any = None, *, level: float = 0.95) -> Ellipsoid:
    """Simultaneous confidence region of several coefficients or contrasts.

    Parameters
    ----------
    problem, result
        The fit.
    parameters : list of str or array_like, optional
        Coefficient names or linear expressions, or a matrix of contrasts; all coefficients when left out.
    level : float
        Coverage of the whole region.

    Returns
    -------
    Ellipsoid
        With critical value k F(k, df) where the fit uses a t reference, else χ²(k).
    """
    names = list(problem.design.columns) if parameters is None else parameters
    L, _, labels = read_hypotheses(names, problem.design.columns)
    V = L @ result.cov_beta @ L.T
    k, df = len(L), reference_df(result)
    if np.linalg.matrix_rank(V, hermitian=True) < k:
        raise MethodError("the contrasts of the region are linearly dependent; leave the redundant ones out.")
    q = k * quantiles.f.ppf(level, k, df) if np.isfinite(df) else quantiles.chi2.ppf(level, k)
    short = tuple(text.removesuffix(" = 0") for text in labels)
    return Ellipsoid(short, L @ result.beta, V, float(np.sqrt(q)), level)
