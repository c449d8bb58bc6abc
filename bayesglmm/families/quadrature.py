"""The quasi-deviance of an arbitrary variance function, by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_POINTS = 10
_GRADES = 9
_BLOCK = 1 << 20


@cache
def _rule() -> tuple[Floats, Floats, Floats]:
    """Nodes s, complements 1 − s and weights on (0, 1): Gauss-Legendre on panels shrinking by 4 towards both ends.

    1/V may be peaked at one end (a mean near the edge of its range) or singular at the other (a response on it):
    in the panels at the very ends s = v⁸, which smooths the singularity of the integrand at y = 0 for V = μ^p, p < 2.
    """
    x, w = np.polynomial.legendre.leggauss(_POINTS)
    x, w = 0.5 * (1.0 + x), 0.5 * w
    edges = 0.5 * 4.0 ** np.arange(-_GRADES, 1.0)
    width = np.diff(edges)[:, None]
    half = np.concatenate([edges[0] * x**8, (edges[:-1, None] + width * x).ravel()])
    weight = np.concatenate([edges[0] * 8.0 * x**7 * w, (width * w).ravel()])
    return np.concatenate([half, 1.0 - half]), np.concatenate([1.0 - half, half]), np.concatenate([weight, weight])


def quasi_deviance(variance: Callable[[Floats], Floats], y: Floats, mu: Floats) -> Floats:
    """Unit quasi-deviance 2∫_μ^y (y − t)/V(t) dt.

    Parameters
    ----------
    variance : callable
        μ → V(μ) > 0 on arrays.
    y, mu : array_like
        Responses and means, broadcast against each other.

    Returns
    -------
    ndarray
        With t = y + s(μ − y) it is 2(y − μ)² ∫_0^1 s/V(t) ds (Wedderburn 1974, eq. 4). Relative accuracy is about
        1e-10 for ratios y/μ up to 1e4 and power variances.

    Examples
    --------
    >>> quasi_deviance(lambda mu: mu**2, np.array([2.0]), np.array([1.0])).round(6)
    array([0.613706])
    """
    y, mu = np.broadcast_arrays(np.asarray(y, dtype=float), np.asarray(mu, dtype=float))
    s, complement, weight = _rule()
    out = np.empty(y.size)
    rows = max(1, _BLOCK // s.size)
    for start in range(0, y.size, rows):
        part = slice(start, start + rows)
        a, b = y.ravel()[part, None], mu.ravel()[part, None]
        integral = (s / variance(s * b + complement * a)) @ weight
        out[part] = 2.0 * np.square(a - b)[:, 0] * integral
    return out.reshape(y.shape)
