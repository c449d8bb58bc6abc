"""Multiplicity: p-values and critical values of a family of t statistics, tested together.

Hochberg & Tamhane (1987), Multiple Comparison Procedures; Hothorn, Bretz & Westfall (2008), Biometrical Journal 50,
346-363 (the multivariate-t adjustment).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from bayesglmm.errors import MethodError

Floats = NDArray[np.float64]

ADJUSTMENTS = ("none", "tukey", "bonferroni", "holm", "sidak", "scheffe", "mvt", "fdr")

#: log2 of the number of directions the multivariate t is averaged over.
DIRECTIONS = 14


@dataclass(frozen=True)
class Comparisons:
    """Tests that are adjusted together.

    Parameters
    ----------
    ratio : ndarray, shape (k,)
        Estimates over their standard errors.
    df : ndarray, shape (k,)
        Degrees of freedom of each; infinite for a normal reference.
    correlation : ndarray, shape (k, k)
        Of the estimates.
    means : int
        How many means are compared (for Tukey's studentized range).
    """

    ratio: Floats
    df: Floats
    correlation: Floats
    means: int

    @property
    def plain(self) -> Floats:
        """Two-sided p-values of the single tests."""
        return 2.0 * stats.t.sf(np.abs(self.ratio), self.df)

    @cached_property
    def spread(self) -> Floats:
        """Largest |standard normal| of the family over its radius, per direction; shape (directions,).

        T = (R/s) A v with v uniform on the sphere of the correlation's rank r, and R²/(r s²) ~ F(r, df): given v, the
        probability that max |T| exceeds t is a tail of F. Averaging that over directions needs no simulation of R or s,
        holds for singular correlations, and is as exact far out as near the middle.
        """
        values, vectors = np.linalg.eigh(self.correlation)
        keep = values > 1e-9 * values[-1]
        A = vectors[:, keep] * np.sqrt(values[keep])
        if A.shape[1] == 1:
            return np.abs(A).max(axis=0)
        uniform = stats.qmc.Sobol(A.shape[1], seed=20260101).random_base2(DIRECTIONS)
        normal = stats.norm.ppf(np.clip(uniform, 1e-12, 1.0 - 1e-12))
        return np.abs(normal @ A.T).max(axis=1) / np.linalg.norm(normal, axis=1)

    @property
    def rank(self) -> int:
        """Rank of the correlation."""
        return int(np.linalg.matrix_rank(self.correlation, tol=1e-9 * len(self.correlation), hermitian=True))

    def exceeds(self, t: float, df: float) -> float:
        """P(max |T| > t) of the multivariate t."""
        r = self.rank
        q = np.square(t / self.spread)
        return float(np.mean(stats.f.sf(q / r, r, df) if np.isfinite(df) else stats.chi2.sf(q, r)))


def adjusted_p(family: Comparisons, adjust: str) -> Floats:
    """Adjusted p-values, shape (k,).

    Parameters
    ----------
    family : Comparisons
        The tests.
    adjust : str
        One of :data:`ADJUSTMENTS`. ``"tukey"``: studentized range (exact for all pairs of means with equal variances,
        conservative otherwise); ``"mvt"``: the joint distribution of the statistics; ``"fdr"``: Benjamini & Hochberg.
    """
    p, k = family.plain, len(family.ratio)
    if adjust == "none" or k == 0:
        return p
    if adjust == "bonferroni":
        return np.minimum(1.0, k * p)
    if adjust == "sidak":
        return -np.expm1(k * np.log1p(-np.minimum(p, 1.0 - 1e-16)))
    if adjust == "holm":
        return holm(p)
    if adjust == "fdr":
        order = np.argsort(p)[::-1]
        steps = np.minimum.accumulate(np.minimum(1.0, k / (k - np.arange(k)) * p[order]))
        return _back(order, steps)
    if adjust == "tukey":
        return stats.studentized_range.sf(np.sqrt(2.0) * np.abs(family.ratio), family.means, family.df)
    if adjust == "scheffe":
        r = family.rank
        q = np.square(family.ratio) / r
        return np.where(np.isfinite(family.df), stats.f.sf(q, r, family.df), stats.chi2.sf(q * r, r))
    if adjust == "mvt":
        return np.array([family.exceeds(abs(t), df) for t, df in zip(family.ratio, family.df)])
    raise MethodError(f"adjust is {adjust!r}; expected one of {', '.join(ADJUSTMENTS)}.")


def holm(p: Floats) -> Floats:
    """Step-down adjusted p-values of a family (Holm 1979, Scandinavian Journal of Statistics 6, 65-70)."""
    k, order = len(p), np.argsort(p)
    return _back(order, np.maximum.accumulate(np.minimum(1.0, (k - np.arange(k)) * p[order])))


def _back(order: NDArray[np.int64], values: Floats) -> Floats:
    out = np.empty_like(values)
    out[order] = values
    return out


def critical_values(family: Comparisons, adjust: str, level: float) -> Floats:
    """Half-widths of simultaneous intervals in standard errors, shape (k,).

    Stepwise adjustments (``"holm"``) have no intervals of their own: theirs are Bonferroni's; those of ``"fdr"`` are
    not adjusted.
    """
    k, alpha = max(len(family.ratio), 1), 1.0 - level
    if adjust in ("none", "fdr"):
        return stats.t.ppf(1.0 - alpha / 2.0, family.df)
    if adjust in ("bonferroni", "holm"):
        return stats.t.ppf(1.0 - alpha / (2.0 * k), family.df)
    if adjust == "sidak":
        return stats.t.ppf(0.5 + 0.5 * level ** (1.0 / k), family.df)
    if adjust == "tukey":
        return _per_df(family.df, lambda df: stats.studentized_range.ppf(level, family.means, df) / np.sqrt(2.0))
    if adjust == "scheffe":
        r = family.rank
        return _per_df(
            family.df, lambda df: np.sqrt(r * stats.f.ppf(level, r, df) if df < np.inf else stats.chi2.ppf(level, r))
        )

    def joint(df: float) -> float:
        top = float(stats.t.ppf(1.0 - alpha / (2.0 * k), df)) + 1e-6
        bottom = float(stats.t.ppf(1.0 - alpha / 2.0, df)) - 1e-6
        if family.exceeds(top, df) > alpha:  # the error of averaging over directions
            return top
        return float(brentq(lambda t: family.exceeds(t, df) - alpha, 0.9 * bottom, top, xtol=1e-8))

    return _per_df(family.df, joint)


def _per_df(df: Floats, critical: object) -> Floats:
    """One critical value per different df."""
    rounded = np.round(df, 8)
    known = {v: float(critical(float(v))) for v in np.unique(rounded)}  # type: ignore[operator]
    return np.array([known[v] for v in rounded])
