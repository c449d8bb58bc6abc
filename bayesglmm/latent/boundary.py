"""Which covariance parameters of a fit are at the edge of their space: zero variances, correlations of ±1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance, sd_corr
from bayesglmm.design.types import RandomBlock

Floats = NDArray[np.float64]


def find_boundary(
    block: RandomBlock, covariance: BlockCovariance, theta: Floats, sizes: Floats, tolerance: float = 1e-4
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Boundary terms of one grouping factor, in words, and the entries of θ that are there.

    Parameters
    ----------
    block : RandomBlock
        The grouping factor, for the names.
    covariance : BlockCovariance
        Its covariance.
    theta : ndarray, shape (k,)
        Natural parameters.
    sizes : ndarray, shape (q,)
        An sd of each column that is clearly not zero; an sd is zero when it is below `tolerance` times this.
    tolerance : float
        Also how near to ±1 (as √(1 − ρ²)) a correlation is called singular.

    Returns
    -------
    terms : tuple of str
        E.g. ``"the sd of Intercept in herd is zero"``.
    edge : ndarray of bool, shape (k,)
        Parameters that are at their boundary, or not identified because another one is.
    """
    L = covariance.factor(theta)
    sd, _ = sd_corr(L)
    zero = sd <= tolerance * sizes
    terms = [f"the sd of {block.columns[j]} in {block.group} is zero" for j in np.flatnonzero(zero)]
    edge = np.zeros(len(theta), dtype=bool)
    at = 0
    for term, form in zip(covariance.terms, covariance.forms):
        own = slice(term.start, term.stop)
        names = block.columns[own]
        coordinates = form.coordinates(term.size)
        flags, singular = _term_edge(
            form.name, L[own, own], zero[own], coordinates, theta[at : at + len(coordinates)], tolerance
        )
        edge[at : at + len(coordinates)] = flags
        at += len(coordinates)
        if singular:
            terms.append(f"a correlation of {', '.join(names)} in {block.group} is at ±1")
    return tuple(terms), edge


def _term_edge(
    form: str, L: Floats, zero: NDArray[np.bool_], coordinates: Sequence, theta: Floats, tolerance: float
) -> tuple[NDArray[np.bool_], bool]:
    """Edge flags of one term's parameters, and whether a correlation is singular."""
    if form == "unstructured":
        # Λ's diagonal relative to its row is √(1 − R²) of a column given those before it.
        sd = np.sqrt(np.sum(np.square(L), axis=1))
        dependent = ~zero & (np.diag(L) <= tolerance * np.where(sd > 0, sd, 1.0))
        rows, columns = np.tril_indices(len(sd))
        flags = zero[rows] | zero[columns] | (dependent[rows] & (rows == columns))
        return flags, bool(np.any(dependent))
    interval = np.array([c.kind == "interval" for c in coordinates])
    near = np.array([min(t - c.low, c.high - t) < tolerance for t, c in zip(theta, coordinates)]) & interval
    scales = np.zeros(len(theta), dtype=bool)
    # One sd for every column, or one for all of them; a correlation with nothing left to correlate goes with it.
    scales[~interval] = zero if (~interval).sum() == len(zero) else np.all(zero)
    return scales | near | (interval & (np.sum(~zero) < 2)), bool(np.any(near))
