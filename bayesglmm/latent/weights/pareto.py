"""Pareto-smoothed importance weights, on plain arrays.

Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72), with the generalized
Pareto fit of Zhang & Stephens (2009), Technometrics 51, 316-325. The same numbers as ArviZ's, whose import takes longer
than the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Fewest draws in the tail that a shape can be fitted to.
SMALLEST_TAIL = 5
#: Weight, in draws, of the prior that pulls the shape to one half.
PRIOR_DRAWS = 10.0


def smooth_tail(logs: Floats) -> tuple[Floats, float]:
    """Replace the largest weights by quantiles of a generalized Pareto distribution fitted to them.

    Parameters
    ----------
    logs : ndarray, shape (draws,)
        Log weights; −inf (or very small) for draws of no weight.

    Returns
    -------
    log_weights : ndarray, shape (draws,)
        Smoothed, up to a constant; no larger than the largest raw one.
    k : float
        Shape of the tail. −inf where the largest weights are equal; inf where there are too few draws to tell.
    """
    logs = logs - logs.max()
    count = int(min(0.2 * len(logs), 3.0 * np.sqrt(len(logs))))
    order = np.argsort(logs, kind="stable")
    tail = order[len(logs) - count :]
    if count < SMALLEST_TAIL:
        return logs, np.inf
    if np.ptp(logs[tail]) <= 1e-8:
        return logs, -np.inf
    cutoff = np.exp(logs[order[len(logs) - count - 1]])
    excess = np.exp(logs[tail]) - cutoff
    k, sigma = fit_pareto(excess[excess > 0.0])
    if not np.isfinite(k):
        return logs, np.inf
    out = logs.copy()
    p = (np.arange(count) + 0.5) / count
    # −log(1 − p) where k is zero.
    quantiles = -np.log1p(-p) if k == 0.0 else np.expm1(-k * np.log1p(-p)) / k
    out[tail] = np.minimum(np.log(sigma * quantiles + cutoff), 0.0)
    return out, k


def fit_pareto(excess: Floats) -> tuple[float, float]:
    """Shape and scale of a generalized Pareto distribution.

    Parameters
    ----------
    excess : ndarray, shape (n,)
        Excesses over the threshold, ascending and positive.

    Returns
    -------
    k, sigma : float
        Posterior means under Zhang & Stephens's empirical prior, the shape pulled to 0.5 by ten draws' worth.
    """
    n = len(excess)
    grid = 30 + int(np.sqrt(n))
    j = np.arange(1, grid + 1)
    quartile = excess[int(n / 4 + 0.5) - 1]
    b = (1.0 - np.sqrt(grid / (j - 0.5))) / (3.0 * quartile) + 1.0 / excess[-1]
    shapes = np.mean(np.log1p(-b[:, None] * excess), axis=1)
    profile = n * (np.log(-b / shapes) - shapes - 1.0)
    weights = np.exp(profile - profile.max())
    weights /= weights.sum()
    mean = float(weights @ b)
    k = float(np.mean(np.log1p(-mean * excess)))
    sigma = -k / mean
    return (n * k + PRIOR_DRAWS * 0.5) / (n + PRIOR_DRAWS), sigma
