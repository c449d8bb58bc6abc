"""Marginal densities of coefficients and random effects: mixtures of skew-normals over the integration points.

A skew-normal is fixed by its mean, sd and skewness (Azzalini 1985); the skewness of the simplified Laplace
approximation is small, and the normal is its case without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

#: Points of a density, and how far it reaches in sds.
POINTS, REACH = 401, 6.0
#: Components of less weight than this get no points of their own.
LEAST = 1e-3


def skew_normal(x: Floats, mean: Floats, sd: Floats, skew: Floats) -> Floats:
    """Density with the given moments; arguments broadcast, |skewness| < 0.995."""
    third = np.abs(skew) ** (2.0 / 3.0)
    delta = np.sign(skew) * np.sqrt(0.5 * np.pi * third / (third + (2.0 - 0.5 * np.pi) ** (2.0 / 3.0)))
    scale = sd / np.sqrt(1.0 - 2.0 * delta**2 / np.pi)
    z = (x - mean) / scale + delta * np.sqrt(2.0 / np.pi)
    slant = delta / np.sqrt(1.0 - delta**2)
    return np.sqrt(2.0 / np.pi) / scale * np.exp(-0.5 * z * z) * ndtr(slant * z)


def mixture_moments(weights: Floats, mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Mean and sd of mixtures; `mean` and `sd` have the points on the first axis."""
    center = np.tensordot(weights, mean, axes=1)
    variance = np.tensordot(weights, sd**2 + (mean - center) ** 2, axes=1)
    return center, np.sqrt(variance)


def mixture_curve(weights: Floats, mean: Floats, sd: Floats, skew: Floats) -> Floats:
    """Points and density, shape (2, k), of one mixture; arguments have shape (K,).

    Points are denser where a narrow component of some weight sits: an effect whose sd may be zero has a spike there.
    """
    center, spread = mixture_moments(weights, mean, sd)
    own = np.flatnonzero((weights > LEAST) & (sd < 0.5 * spread))
    near = mean[own, None] + sd[own, None] * np.linspace(-4.0, 4.0, 17)
    x = np.unique(np.concatenate([center + spread * np.linspace(-REACH, REACH, POINTS), near.ravel()]))
    return np.stack([x, weights @ skew_normal(x[None], mean[:, None], sd[:, None], skew[:, None])])


def coefficient_curve(mixture: Mapping[str, Any], j: int) -> Floats:
    """Density of coefficient `j`, from the mixture of a fit's extras."""
    own = mixture["beta"]
    return mixture_curve(mixture["weights"], *(own[name][:, j] for name in ("mean", "sd", "skew")))


def effect_curve(mixture: Mapping[str, Any], factor: int, level: int, column: int) -> Floats:
    """Density of one random effect, from the mixture of a fit's extras."""
    own = mixture["effects"][factor]
    return mixture_curve(mixture["weights"], *(own[name][:, level, column] for name in ("mean", "sd", "skew")))


def curve_quantiles(curve: Floats, probabilities: Floats | Sequence[float]) -> Floats:
    """Quantiles of a density given as points."""
    x, density = curve
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(x)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    rising = np.concatenate([[True], np.diff(cumulative) > 0])
    return np.interp(np.asarray(probabilities) * cumulative[-1], cumulative[rising], x[rising])


def sample_curve(values: Floats, there: Floats, slope: Floats, back: Floats) -> Floats:
    """Density of a sample by a kernel on a transformed scale, with the sample's own variance kept.

    Parameters
    ----------
    values : ndarray, shape (N,)
        The sample on the scale of the kernel.
    there : ndarray, shape (k,)
        Where to evaluate, on the scale of the kernel.
    slope : ndarray, shape (k,)
        |d there / d back|.
    back : ndarray, shape (k,)
        The same points on the natural scale.
    """
    center, spread = values.mean(), values.std()
    h = 0.5 * 1.06 * spread * len(values) ** -0.2
    shrunk = center + (values - center) * np.sqrt(1.0 - (h / spread) ** 2)
    z = (there[:, None] - shrunk[None]) / h
    density = np.exp(-0.5 * z * z).mean(axis=1) / (h * np.sqrt(2.0 * np.pi))
    return np.stack([back, density * slope])
