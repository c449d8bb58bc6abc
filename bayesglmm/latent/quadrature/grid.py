"""Gauss-Hermite nodes for a standard normal in one or more dimensions, all of them or without the negligible ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Sums of squared polynomials are scaled down beyond this.
LARGE = 1e200


@dataclass(frozen=True)
class Grid:
    """Nodes for a q-dimensional standard normal.

    Parameters
    ----------
    nodes : ndarray, shape (k, q)
        Node positions.
    log_weights : ndarray, shape (k,)
        Logs of the weights (which sum to one).
    """

    nodes: Floats
    log_weights: Floats

    def __len__(self) -> int:
        return len(self.nodes)


@cache
def hermite(count: int) -> tuple[Floats, Floats]:
    """Gauss-Hermite nodes and log weights for the standard normal density, shape (count,) each."""
    if count == 1:
        return np.zeros(1), np.zeros(1)
    from scipy.linalg import eigvalsh_tridiagonal

    # Golub-Welsch: the nodes are the eigenvalues of the Jacobi matrix. The weights are not taken from its eigenvectors,
    # whose smallest entries are rounding from fifty nodes on, but from 1/w = Σ p_k², p_k the orthonormal polynomials.
    nodes = eigvalsh_tridiagonal(np.zeros(count), np.sqrt(np.arange(1.0, count)))
    nodes = 0.5 * (nodes - nodes[::-1])
    before, p, total, shift = np.zeros(count), np.ones(count), np.ones(count), np.zeros(count)
    for k in range(1, count):
        before, p = p, (nodes * p - np.sqrt(k - 1.0) * before) / np.sqrt(k)
        total += p * p
        large = total > LARGE
        if large.any():
            down = np.where(large, 1.0 / np.sqrt(LARGE), 1.0)
            before, p, total = before * down, p * down, total * down**2
            shift += np.where(large, np.log(LARGE), 0.0)
    log_weights = -np.log(total) - shift
    return nodes, log_weights - np.log(np.exp(log_weights).sum())


@cache
def grid(count: int, q: int, prune: float = 0.0) -> Grid:
    """The tensor product of `count` nodes in q dimensions, pruned or not.

    Parameters
    ----------
    count, q : int
        Nodes per dimension, and dimensions.
    prune : float
        Share of the weight that may go: the nodes of the smallest weights are dropped, as many as have this sum
        together (Jäckel 2005, A note on multivariate Gauss-Hermite quadrature, section 3, who drops those below a
        threshold; a threshold that holds the sum is kind to grids of few nodes too). What is left is scaled to sum to
        one again, so that a normal density is still integrated exactly.
    """
    nodes, logs = hermite(count)
    mesh = np.meshgrid(*(nodes,) * q, indexing="ij")
    weights = np.meshgrid(*(logs,) * q, indexing="ij")
    points = np.stack([m.ravel() for m in mesh], axis=1)
    total = np.sum([w.ravel() for w in weights], axis=0)
    if prune == 0.0 or q == 1:
        return Grid(points, total)
    ascending = np.sort(total)
    dropped = np.searchsorted(np.cumsum(np.exp(ascending)), prune, side="right")
    # Nodes that are each other's mirror images stay or go together.
    kept = total >= ascending[dropped] - 1e-9
    return Grid(points[kept], total[kept] - np.log(np.exp(total[kept]).sum()))
