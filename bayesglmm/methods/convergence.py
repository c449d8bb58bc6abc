"""How well chains have mixed: rank-normalised R-hat and bulk effective sizes, on plain arrays.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16, 667-718. The same numbers as ArviZ's, whose
import takes longer than many a run of NUTS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

#: Fewest draws per chain that say anything.
FEWEST = 4


def r_hat(draws: Floats) -> float:
    """Rank-normalised split R-hat, the larger of that of the bulk and that of the tails.

    Parameters
    ----------
    draws : ndarray, shape (chains, draws)
        Of one parameter.

    Returns
    -------
    float
        NaN for a single chain, fewer than four draws, or draws that are not finite.

    Examples
    --------
    >>> r_hat(np.random.default_rng(0).standard_normal((4, 500))) < 1.01
    True
    """
    if len(draws) < 2 or not _valid(draws):
        return np.nan
    halves = _split(draws)
    return max(_classical(_normal_scores(halves)), _classical(_normal_scores(np.abs(halves - np.median(halves)))))


def bulk_size(draws: Floats) -> float:
    """Bulk effective number of draws: of normal scores of split chains, by Geyer's initial monotone sequence.

    Parameters
    ----------
    draws : ndarray, shape (chains, draws)
        Of one parameter.

    Returns
    -------
    float
        NaN for fewer than four draws, or draws that are not finite.

    Examples
    --------
    >>> 1600 < bulk_size(np.random.default_rng(0).standard_normal((4, 500))) < 2400
    True
    """
    if not _valid(draws):
        return np.nan
    if np.ptp(draws) < np.finfo(float).resolution:  # a constant
        return float(draws.size)
    scores = _normal_scores(_split(draws))
    count = scores.shape[1]
    lags = _autocovariances(scores)
    within = lags[0] * count / (count - 1.0)
    total = within * (count - 1.0) / count + scores.mean(axis=1).var(ddof=1)
    rho = 1.0 - (within - lags) / total
    rho[0] = 1.0
    # Sums of pairs of neighbours are positive and fall (Geyer 1992); beyond the first that is not they are noise.
    pairs = rho[: count - count % 2].reshape(-1, 2)
    sums = pairs.sum(axis=1)[: max((count - 1) // 2, 1)]
    end = int(np.argmax(sums < 0.0)) if np.any(sums < 0.0) else len(sums) - 1
    tau = 2.0 * np.minimum.accumulate(sums[:end]).sum() - 1.0 + (max(pairs[end, 0], 0.0) if end else 0.0)
    return float(scores.size / max(tau, 1.0 / np.log10(scores.size)))


def _valid(draws: Floats) -> bool:
    return draws.shape[1] >= FEWEST and bool(np.all(np.isfinite(draws)))


def _split(draws: Floats) -> Floats:
    """First and second halves of all chains, as chains of their own."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _normal_scores(draws: Floats) -> Floats:
    """Normal quantiles of the ranks among all draws (Blom 1958), ties sharing their mean rank."""
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1.0))[place].reshape(draws.shape)
    return np.asarray(ndtri((ranks - 0.375) / (draws.size + 0.25)))


def _classical(draws: Floats) -> float:
    """Potential scale reduction √(V̂/W) of Gelman & Rubin (1992)."""
    count = draws.shape[1]
    within, between = draws.var(axis=1, ddof=1).mean(), count * draws.mean(axis=1).var(ddof=1)
    with np.errstate(all="ignore"):
        return float(np.sqrt((between / within + count - 1.0) / count))


def _autocovariances(draws: Floats) -> Floats:
    """Mean over the chains of their autocovariances at every lag."""
    count = draws.shape[1]
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(draws - draws.mean(axis=1, keepdims=True), n=size)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, n=size)[:, :count].mean(axis=0) / count)
