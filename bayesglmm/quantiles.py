"""Quantiles and tail probabilities of the normal, t, χ² and F.

The same numbers as ``scipy.stats`` has, from the special functions behind it; importing that package takes longer than
fitting most models. Arguments broadcast; infinite degrees of freedom are the normal (t) and χ² (F) limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special


class Normal:
    """The normal distribution, standard where nothing else is said."""

    def pdf(self, x: Any, mean: Any = 0.0, sd: Any = 1.0) -> Any:
        """Density at x."""
        return np.exp(-0.5 * np.square((np.asarray(x) - mean) / sd)) / (np.sqrt(2.0 * np.pi) * sd)

    def cdf(self, x: Any) -> Any:
        """P(Z ≤ x)."""
        return special.ndtr(x)

    def sf(self, x: Any) -> Any:
        """P(Z > x)."""
        return special.ndtr(-np.asarray(x))

    def ppf(self, p: Any) -> Any:
        """The p-quantile."""
        return special.ndtri(p)


class StudentT:
    """Student's t distribution."""

    def sf(self, x: Any, df: Any) -> Any:
        """P(T > x)."""
        x, df = np.asarray(x, dtype=float), np.asarray(df, dtype=float)
        finite = np.where(np.isinf(df), 1.0, df)
        return np.where(np.isinf(df), special.ndtr(-x), special.stdtr(finite, -x))[()]

    def ppf(self, p: Any, df: Any) -> Any:
        """The p-quantile."""
        p, df = np.asarray(p, dtype=float), np.asarray(df, dtype=float)
        finite = np.where(np.isinf(df), 1.0, df)
        inside = np.where(p == 0.0, -np.inf, special.stdtrit(finite, p))
        return np.where(np.isinf(df), special.ndtri(p), inside)[()]


class ChiSquare:
    """The χ² distribution."""

    def sf(self, x: Any, df: Any) -> Any:
        """P(X > x); 1 where x is negative."""
        return special.chdtrc(df, np.maximum(x, 0.0))

    def ppf(self, p: Any, df: Any) -> Any:
        """The p-quantile."""
        return 2.0 * special.gammaincinv(0.5 * np.asarray(df), p)


class FisherF:
    """The F distribution."""

    def sf(self, x: Any, df: Any, df_denominator: Any) -> Any:
        """P(X > x); 1 where x is negative."""
        x, k, m = (np.asarray(v, dtype=float) for v in (np.maximum(x, 0.0), df, df_denominator))
        finite = np.where(np.isinf(m), 1.0, m)
        return np.where(np.isinf(m), special.chdtrc(k, k * x), special.fdtrc(k, finite, x))[()]

    def ppf(self, p: Any, df: Any, df_denominator: Any) -> Any:
        """The p-quantile."""
        p, k, m = (np.asarray(v, dtype=float) for v in (p, df, df_denominator))
        finite = np.where(np.isinf(m), 1.0, m)
        return np.where(np.isinf(m), 2.0 * special.gammaincinv(0.5 * k, p) / k, special.fdtri(k, finite, p))[()]


norm = Normal()
t = StudentT()
chi2 = ChiSquare()
f = FisherF()
