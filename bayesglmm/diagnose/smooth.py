"""A local regression for pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Points at which the curve is worked out; between them it is interpolated.
_KNOTS = 200
#: Neighbourhoods are a little wider than to their last point, which else had no weight.
WIDER = 1.0001


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
    # The k points nearest to p begin at the first i with x[i] + x[i + k] ≥ 2p.
    starts = np.searchsorted(x[: n - k] + x[k:], 2.0 * knots)
    reaches = np.maximum(np.maximum(knots - x[starts], x[starts + k - 1] - knots), 1e-300)
    firsts = np.searchsorted(x, knots - WIDER * reaches)
    lasts = np.searchsorted(x, knots + WIDER * reaches, side="right")
    windows = [slice(first, last) for first, last in zip(firsts, lasts)]
    for _ in range(rounds + 1):
        at = [_local_value(x[w], y[w], robust[w], p, h) for w, p, h in zip(windows, knots, reaches)]
        fitted = np.interp(x, knots, at)
        gap = np.abs(y - fitted)
        reach = 6.0 * np.median(gap)
        if reach <= 1e-12 * max(float(np.abs(y).max()), 1e-300):
            break
        robust = np.square(np.clip(1.0 - np.square(gap / reach), 0.0, None))
    return fitted


def _local_value(x: Floats, y: Floats, robust: Floats, point: float, h: float) -> float:
    """Weighted line through the points within reach h, at `point`."""
    away = x - point
    share = np.abs(away) / (WIDER * h)
    w = 1.0 - share * share * share
    np.maximum(w, 0.0, out=w)
    w *= w * w
    w *= robust
    total = w.sum()
    if total <= 0:
        return float(np.average(y[np.abs(away) <= h]))
    centre, level = float(w @ away / total), float(w @ y / total)
    away -= centre
    w *= away
    spread = float(w @ away)
    if spread <= 1e-12 * h * h * total:
        return level
    return level - float(w @ y) / spread * centre
