"""Sums of products of residuals by distance in time, over all pairs of rows of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.scores.clusters import Clusters

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Pairs looked at; in clusters so long that there are more, those of rows furthest apart are left out.
MAX_PAIRS = 20_000_000


@dataclass(frozen=True)
class LagPairs:
    """All pairs of rows of a cluster, by distance.

    Parameters
    ----------
    distances : ndarray, shape (D,)
        The distinct distances, ascending.
    counts : ndarray, shape (D,)
        Number of pairs at each.
    shifts : tuple of (int, ndarray or None, ndarray or int)
        For pairs s sorted rows apart: s, the earlier rows (None: every cluster's first m − s rows, all clusters being
        of size m), and the index of each pair's distance (a number when it is the same for all).
    clusters : Clusters
        The clusters.
    """

    distances: Floats
    counts: Floats
    shifts: tuple[tuple[int, Ints | None, Ints | int], ...]
    clusters: Clusters

    def sums(self, e: Floats) -> Floats:
        """Σ e_j e_k over the pairs at each distance, shape (D,)."""
        out = np.zeros(len(self.distances))
        for s, rows, at in self.shifts:
            if rows is None:
                E = e.reshape(self.clusters.count, -1)
                out[at] += np.einsum("ij,ij->", E[:, :-s], E[:, s:])
            else:
                z = e[rows] * e[rows + s]
                out += np.bincount(np.broadcast_to(at, z.shape), z, len(out))
        return out

    def cluster_means(self, e: Floats, index: int) -> Floats:
        """Mean product at one distance in every cluster that has such a pair, shape (≤ K,)."""
        total, number = np.zeros(self.clusters.count), np.zeros(self.clusters.count)
        for s, rows, at in self.shifts:
            first = _all_rows(self.clusters, s) if rows is None else rows
            here = np.broadcast_to(at, first.shape) == index
            first = first[here]
            total += np.bincount(self.clusters.codes[first], e[first] * e[first + s], len(total))
            number += np.bincount(self.clusters.codes[first], minlength=len(total))
        return total[number > 0] / number[number > 0]


def lag_pairs(clusters: Clusters, at: Floats, furthest: float = np.inf) -> LagPairs:
    """Index the pairs of rows by distance.

    Parameters
    ----------
    clusters : Clusters
        Rows sorted by cluster and time.
    at : ndarray, shape (n,)
        Place in time of the sorted rows, in the unit in which distances count.
    furthest : float
        Largest distance of interest.
    """
    largest = int(clusters.sizes.max())
    equal = bool((clusters.sizes == largest).all())
    found: list[tuple[int, Ints | None, Floats]] = []
    counted: list[int] = []
    pairs = 0
    for s in range(1, largest):
        rows = _all_rows(clusters, s)
        d = np.round(at[rows + s] - at[rows], 9)
        near = d <= furthest
        if not near.any():
            break
        number = int(near.sum())
        whole = equal and number == len(d)
        rows, d = (rows, d) if number == len(d) else (rows[near], d[near])
        same = bool((d == d[0]).all())
        found.append((s, None if whole and same else rows, d[:1] if same else d))
        counted.append(number)
        pairs += number
        if pairs > MAX_PAIRS:
            break
    distances = np.unique(np.concatenate([np.unique(d) for _, _, d in found] or [np.empty(0)]))
    counts = np.zeros(len(distances))
    shifts: list[tuple[int, Ints | None, Ints | int]] = []
    for (s, own, d), number in zip(found, counted):
        code = np.searchsorted(distances, d)
        if len(code) == 1:
            counts[code] += number
        else:
            counts += np.bincount(code, minlength=len(distances))
        shifts.append((s, own, int(code[0]) if len(code) == 1 else code))
    return LagPairs(distances, counts, tuple(shifts), clusters)


def _all_rows(clusters: Clusters, s: int) -> Ints:
    """Sorted rows whose cluster has another row s further on."""
    codes = clusters.codes
    return np.flatnonzero(codes[s:] == codes[:-s])
