"""A local regression for pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Points at which the curve is worked out; between them it is interpolated.
_KNOTS = 200


def lowess(x: Floats, y: Floats, span: float = 2.0 / 3.0, rounds: int = 3) -> Floats:
    """Robust locally linear regression (Cleveland 1979, J. Amer. Statist. Assoc. 74, 829-836).

    Parameters
    ----------
    x : ndarray, shape (n,)
        Sorted.
    y : ndarray, shape (n,)
        Values to smooth.
    span : float
        Share of the points in each neighbourhood.
    rounds : int
        Rounds of bisquare reweighting.

    Returns
    -------
    ndarray, shape (n,)
        The curve at `x`.
    """
    n = len(x)
    k = min(n, max(int(np.ceil(span * n)), 3))
    robust = np.ones(n)
    knots = np.unique(x[np.unique(np.linspace(0, n - 1, min(n, _KNOTS)).astype(int))])
    fitted = y.astype(float)
    for _ in range(rounds + 1):
        at = np.array([_local_value(x, y, robust, point, k) for point in knots])
        fitted = np.interp(x, knots, at)
        gap = np.abs(y - fitted)
        reach = 6.0 * np.median(gap)
        if reach <= 1e-12 * max(float(np.abs(y).max()), 1e-300):
            break
        robust = np.square(np.clip(1.0 - np.square(gap / reach), 0.0, None))
    return fitted


def _local_value(x: Floats, y: Floats, robust: Floats, point: float, k: int) -> float:
    """Weighted line through the k nearest points, at `point`."""
    distance = np.abs(x - point)
    h = max(float(np.partition(distance, k - 1)[k - 1]), 1e-300)
    w = robust * np.clip(1.0 - (distance / (1.0001 * h)) ** 3, 0.0, None) ** 3
    total = w.sum()
    if total <= 0:
        return float(np.average(y[distance <= h]))
    centre = float(w @ x / total)
    spread = float(w @ np.square(x - centre))
    level = float(w @ y / total)
    if spread <= 1e-12 * h * h * total:
        return level
    return level + float(w @ ((x - centre) * y)) / spread * (point - centre)
