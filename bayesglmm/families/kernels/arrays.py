"""The commonest row formulas in NumPy: as fast as compiled ones, and nothing has to be loaded for them.

Each takes η (or log μ), shape (..., n), and the rows' data, shape (n,), and gives value and three derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Four = tuple[Floats, Floats, Floats, Floats]

#: Elements at a time: the temporaries then stay in the processor's cache, and the memory they take is not given back to
#: the system and asked for again by every call (with 8,192 that made the logit's formula four times as slow).
CHUNK = 4096


def in_chunks(formula: Callable[..., Four]) -> Callable[..., Four]:
    """The same formula for arrays of any size, a cache's worth of elements at a time."""

    @wraps(formula)
    def apply(eta: Floats, *data: Floats) -> Four:
        eta = np.asarray(eta, dtype=float)
        if eta.size <= CHUNK:
            return formula(eta, *data)
        n = eta.shape[-1]
        rows, out = eta.reshape(-1, n), np.empty((4, eta.size // n, n))
        tall, wide = max(CHUNK // n, 1), min(CHUNK, n)
        for i in range(0, len(rows), tall):
            for j in range(0, n, wide):
                here = (slice(i, i + tall), slice(j, j + wide))
                for part, values in zip(out, formula(rows[here], *(d[here[1]] for d in data)), strict=True):
                    part[here] = values
        value, d1, d2, d3 = out.reshape(4, *eta.shape)
        return value, d1, d2, d3

    return apply


@in_chunks
def poisson(s: Floats, y: Floats, w: Floats, c: Floats) -> Four:
    """Poisson in log μ: w(y s − e^s − c); c holds log y!."""
    mu = np.exp(s)
    d2 = -w * mu
    return w * (y * s - mu - c), w * (y - mu), d2, d2


@in_chunks
def binomial_logit(eta: Floats, y: Floats, f: Floats, w: Floats, c: Floats) -> Four:
    """`y` successes and `f` failures, logit link; c is the log binomial coefficient.

    Everything from e^−|η|, and d1 = y q − f p (p the probability, q = 1 − p) so that it is exact in both tails.
    """
    size, up = np.abs(eta), eta >= 0.0
    e = np.exp(-size)
    near = 1.0 / (1.0 + e)  # the larger of p and q
    far = e * near
    m = y + f
    against = np.where(up, f, y)  # the outcomes that η speaks against
    d1 = against * near - (m - against) * far
    d2 = -w * m * (near * far)
    gap = near - far
    value = w * (c - against * size - m * np.log1p(e))
    return value, w * np.where(up, -d1, d1), d2, d2 * np.where(up, -gap, gap)


def poisson_slopes(s: Floats, y: Floats, w: Floats, c: Floats) -> tuple[Floats, Floats]:
    """The first two derivatives of :func:`poisson` alone."""
    d2 = np.exp(s)
    d2 *= -w
    return d2 + w * y, d2


def poisson_value(s: Floats, y: Floats, w: Floats, c: Floats) -> Floats:
    """The value of :func:`poisson` alone."""
    out = np.exp(s)
    np.subtract(y * s, out, out=out)
    out -= c
    out *= w
    return out


def binomial_logit_slopes(eta: Floats, y: Floats, f: Floats, w: Floats, c: Floats) -> tuple[Floats, Floats]:
    """The first two derivatives of :func:`binomial_logit` alone, to rounding of a whole trial."""
    trials = w * (y + f)
    p = np.negative(eta)
    np.exp(p, out=p)
    p += 1.0
    np.reciprocal(p, out=p)
    d2 = p * p
    d2 -= p
    if not np.all(trials == 1.0):
        p *= trials
        d2 *= trials
    return np.subtract(w * y, p, out=p), d2


def poisson_shifts(
    s: Floats, data: tuple[Floats, ...], collect: Callable[[Floats], Floats], spread: Callable[[Floats], Floats]
) -> Callable[[Floats | None], Floats]:
    """Sums over the rows of every group as a function of what is added to all their log μ: sums of μ are enough.

    `collect` sums rows by group, `spread` gives every row its group's value. The function takes None for nothing.
    """
    y, w, c = data
    fixed, slope, total = collect(w * (y * s - c)), collect(w * y), collect(w * np.exp(s))
    return lambda t: fixed - total if t is None else fixed + slope * t - total * np.exp(t)


def binomial_logit_shifts(
    eta: Floats, data: tuple[Floats, ...], collect: Callable[[Floats], Floats], spread: Callable[[Floats], Floats]
) -> Callable[[Floats | None], Floats]:
    """The same of η: its exponential is taken once."""
    y, f, w, c = data
    odds, trials = np.exp(eta), w * (y + f)
    single = bool(np.all(trials == 1.0))
    fixed, slope = collect(w * y * eta) + collect(w * c), collect(w * y)

    def sums(t: Floats | None) -> Floats:
        out = np.empty_like(odds) if t is None else spread(np.exp(t))
        np.log1p(odds if t is None else np.multiply(out, odds, out=out), out=out)
        if not single:
            out *= trials
        return fixed - collect(out) if t is None else fixed + slope * t - collect(out)

    return sums


def binomial_logit_value(eta: Floats, y: Floats, f: Floats, w: Floats, c: Floats) -> Floats:
    """The value of :func:`binomial_logit` alone: a third of the work."""
    out = np.abs(eta)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out *= y + f
    out += np.maximum(eta, 0.0) * f
    out -= np.minimum(eta, 0.0) * y
    np.subtract(c, out, out=out)
    out *= w
    return out
