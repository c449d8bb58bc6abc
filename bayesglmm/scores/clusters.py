"""Clusters of rows for marginal models: who belongs together, in which order, and how far apart in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import refused
from bayesglmm.errors import DataError, MethodError
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """Rows sorted by cluster, and by time within a cluster. "Sorted rows" below are rows in that order.

    Parameters
    ----------
    order : ndarray of int64, shape (n,), or None
        Row of the design at each sorted row; None when the rows are sorted already.
    starts : ndarray of int64, shape (K,)
        First sorted row of each cluster.
    sizes : ndarray of int64, shape (K,)
        Rows of each cluster.
    labels : pandas Index, length K
        Cluster labels.
    positions : ndarray of int64, shape (n,)
        Occasion of each sorted row: rank of its time among all times, or its place within the cluster.
    occasions : tuple
        Labels of the occasions; ``positions`` index it.
    times : ndarray, shape (n,), or None
        Times of the sorted rows as real numbers, where they are numbers or dates (days).
    subgroups : ndarray of int64, shape (n,), or None
        Codes of groups nested in the clusters, each group's sorted rows together.
    """

    order: Ints | None
    starts: Ints
    sizes: Ints
    labels: pd.Index
    positions: Ints
    occasions: tuple[Any, ...]
    times: Floats | None = None
    subgroups: Ints | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.positions)

    @property
    def count(self) -> int:
        """Number of clusters K."""
        return len(self.starts)

    @cached_property
    def codes(self) -> Ints:
        """Cluster of each sorted row, shape (n,)."""
        return np.repeat(np.arange(self.count), self.sizes)

    def sort(self, v: Floats) -> Floats:
        """Rows of `v` (first axis) in sorted order."""
        return v if self.order is None else v[self.order]

    def totals(self, v: Floats) -> Floats:
        """Sums over each cluster along the last axis: (..., n) → (..., K)."""
        return np.add.reduceat(v, self.starts, axis=-1)

    def spread(self, v: Floats) -> Floats:
        """Give every sorted row its cluster's value: (..., K) → (..., n)."""
        return np.repeat(v, self.sizes, axis=-1)

    def without(self, cluster: int) -> tuple[Clusters, slice]:
        """The clusters but one, and the sorted rows that leave."""
        gone = slice(int(self.starts[cluster]), int(self.starts[cluster] + self.sizes[cluster]))
        keep = np.ones(self.n, dtype=bool)
        keep[gone] = False
        sizes = np.delete(self.sizes, cluster)
        left = Clusters(
            order=None,
            starts=np.r_[0, np.cumsum(sizes)[:-1]],
            sizes=sizes,
            labels=self.labels.delete(cluster),
            positions=self.positions[keep],
            occasions=self.occasions,
            times=None if self.times is None else self.times[keep],
            subgroups=None if self.subgroups is None else self.subgroups[keep],
        )
        return left, gone


def read_clusters(problem: Problem, groups: Any, time: Any, subgroups: Any) -> Clusters:
    """Clusters of a model from the method's options, or from its one grouping factor.

    Parameters
    ----------
    problem : Problem
        The model; a ``( … | id)`` term names the clusters.
    groups, time, subgroups : array_like of shape (n,), or None
        Labels of clusters, times, and labels of groups nested in the clusters.

    Returns
    -------
    Clusters

    Raises
    ------
    MethodError
        No clusters named, or two different namings.
    DataError
        Vectors of the wrong length, missing labels, one cluster, a time that is there twice in a cluster.
    """
    n, blocks = problem.design.nobs, problem.design.blocks
    if groups is None and not blocks:
        raise MethodError(
            "gee needs to know the clusters: give groups= (a column's name or labels), or write (1 | id)."
        )
    if groups is None:
        codes, labels = blocks[0].codes, pd.Index(blocks[0].levels)
    else:
        codes, labels = _factorize(groups, n, "groups")
        if blocks and len(np.unique(np.column_stack([codes, blocks[0].codes]), axis=0)) != len(labels):
            raise MethodError(
                f"groups= and ( … | {blocks[0].group}) name different clusters; leave groups= out, or the random term."
            )
        if blocks and len(labels) != len(blocks[0].levels):
            raise MethodError(
                f"groups= names {len(labels)} clusters and ( … | {blocks[0].group}) {len(blocks[0].levels)}; "
                "leave one of them out."
            )
    if len(labels) < 2:
        raise DataError("there is a single cluster; generalized estimating equations need many independent ones.")
    inner = None if subgroups is None else _factorize(subgroups, n, "subgroups")[0]
    return make_clusters(codes, labels, time, inner)


def make_clusters(codes: Ints, labels: pd.Index, time: Any, inner: Ints | None) -> Clusters:
    """Sort rows by cluster, subgroup and time.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Cluster codes.
    labels : pandas Index, length K
        Their labels.
    time : array_like, shape (n,), or None
        Times: numbers, dates, or labels (ranked in their order).
    inner : ndarray of int64, shape (n,), or None
        Codes of groups nested in the clusters.
    """
    n = len(codes)
    ranks, occasions, times = (None, (), None) if time is None else read_times(time, n)
    keys = [k for k in (ranks, inner, codes) if k is not None]  # lexsort: the last key is the first to sort by
    order: Ints | None = np.lexsort(keys)
    assert order is not None
    if np.array_equal(order, np.arange(n)):
        order = None
    sorted_codes = codes if order is None else codes[order]
    starts = np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]])
    sizes = np.diff(np.r_[starts, n])
    if ranks is None:
        positions = np.arange(n) - np.repeat(starts, sizes)
        occasions = tuple(range(1, int(sizes.max()) + 1))
    else:
        positions = ranks if order is None else ranks[order]
        _check_unique_times(sorted_codes, positions, occasions, labels, inner is not None)
    kept = labels.take(sorted_codes[starts])
    if times is not None and order is not None:
        times = times[order]
    if inner is not None and order is not None:
        inner = inner[order]
    if inner is not None:
        # labels may repeat between clusters (child 1, 2, ... of each family): number them anew
        inner = np.cumsum(np.r_[True, (inner[1:] != inner[:-1]) | (sorted_codes[1:] != sorted_codes[:-1])]) - 1
    return Clusters(order, starts, sizes, kept, positions, occasions, times, inner)


def read_times(time: Any, n: int) -> tuple[Ints, tuple[Any, ...], Floats | None]:
    """Ranks of times among all times, the distinct times, and the times as numbers where they are.

    Parameters
    ----------
    time : array_like, shape (n,)
        Numbers, dates (differences count in days), ordered categories, or labels (ranked in sorted order).
    n : int
        Rows of the model.
    """
    values = _series(time, "time")
    if len(values) != n:
        raise DataError(f"time has {len(values)} values for the {n} rows of the model.")
    if values.isna().any():
        raise DataError(f"time has {int(values.isna().sum())} missing values; leave those rows out.")
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.remove_unused_categories()
        return values.cat.codes.to_numpy(np.int64), tuple(values.cat.categories), None
    numbers: Floats | None = None
    if pd.api.types.is_datetime64_any_dtype(values):
        numbers = (values - values.min()).dt.total_seconds().to_numpy(float) / 86400.0
    elif pd.api.types.is_timedelta64_dtype(values):
        numbers = values.dt.total_seconds().to_numpy(float) / 86400.0
    elif pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float)
        if not np.isfinite(numbers).all():
            raise DataError("time is infinite in some rows; correct or drop them.")
    ranks, levels = pd.factorize(values, sort=True)
    return ranks.astype(np.int64), tuple(levels), numbers


def _series(values: Any, name: str) -> pd.Series:
    if np.ndim(values) != 1:
        raise refused(name, values, "a column's name, or one value for every row,", DataError)
    return pd.Series(values)


def _factorize(labels: Any, n: int, name: str) -> tuple[Ints, pd.Index]:
    values = _series(labels, name)
    if len(values) != n:
        raise DataError(f"{name} has {len(values)} labels for the {n} rows of the model.")
    codes, levels = pd.factorize(values)
    if (codes < 0).any():
        raise DataError(f"{name} has {int((codes < 0).sum())} missing labels; leave those rows out.")
    return codes.astype(np.int64), pd.Index(levels)


def _check_unique_times(codes: Ints, positions: Ints, occasions: tuple[Any, ...], labels: Any, nested: bool) -> None:
    """A cluster is seen once at a time (members of a nested group may share times)."""
    if nested:
        return
    twice = (codes[1:] == codes[:-1]) & (positions[1:] == positions[:-1])
    if twice.any():
        k = int(np.flatnonzero(twice)[0])
        raise DataError(
            f"time {occasions[positions[k]]} is there twice in cluster {labels[codes[k]]!r} "
            f"({int(twice.sum())} repetitions in all); times must be distinct within a cluster."
        )
