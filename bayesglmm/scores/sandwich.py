"""Sandwich covariances of coefficients that solve Σ x_i s_i(β) = 0, on plain arrays.

With bread A = (X'WX)^-1, leverages h_i = W_i x_i'A x_i and score contributions s_i:

    HC0  Σ s_i² x_i x_i'                    White (1980)
    HC1  n / (n − p) × HC0                  Hinkley (1977)
    HC2  s_i² / (1 − h_i)                   MacKinnon & White (1985)
    HC3  s_i² / (1 − h_i)²                  MacKinnon & White (1985)

and by cluster Σ_g u_g u_g' with u_g = Σ_{i in g} s_i x_i (Liang & Zeger 1986); two-way after Cameron, Gelbach
& Miller (2011). The scale φ cancels.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError, MethodError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import Factor
from bayesglmm.scores.working import Aux, working_quantities

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Power of 1 / (1 − h) that multiplies s².
_LEVERAGE_POWER = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}
COVARIANCES = ("model", *_LEVERAGE_POWER, "cluster")


def leverages(X: Floats, weight: Floats, factor: Factor) -> Floats:
    """Diagonal of the hat matrix W^½ X (X'WX)^-1 X' W^½, shape (n,)."""
    half = factor.half_solve(X.T)
    return weight * np.einsum("ij,ij->j", half, half)


def heteroscedastic_covariance(
    kind: str, source: RowSource, family: Family, link: Link, aux: Aux, beta: Floats, factor: Factor
) -> Floats:
    """HC0 to HC3 covariance of the coefficients, shape (p, p), in one pass over the rows.

    Parameters
    ----------
    kind : {"HC0", "HC1", "HC2", "HC3"}
        Which correction.
    source : RowSource
        The rows.
    family, link, aux
        The model's.
    beta : ndarray, shape (p,)
        Solution of the score equations.
    factor : Factor
        Of X'WX at `beta`.
    """
    part = partial(_meat, power=_LEVERAGE_POWER[kind], family=family, link=link, aux=aux, beta=beta, factor=factor)
    parts = [part(source)] if source.map is None else list(source.map(part))
    meat, n = np.sum([m for m, _ in parts], axis=0), sum(k for _, k in parts)
    if kind == "HC1":
        meat = meat * (n / (n - len(beta)))
    return sandwich(meat, factor)


def _meat(
    source: RowSource, power: int, family: Family, link: Link, aux: Aux, beta: Floats, factor: Factor
) -> tuple[Floats, int]:
    """Σ s² x x' / (1 − h)^power and the number of rows."""
    p, n = len(beta), 0
    meat = np.zeros((p, p))
    for rows in source.blocks():
        work = working_quantities(family, link, rows.X @ beta + rows.offset, rows.y, rows.w, aux)
        s = work.score
        if power:
            s = s / np.sqrt(1.0 - leverages(rows.X, work.weight, factor)) ** power
        B = rows.X * s[:, None]
        meat += B.T @ B
        n += len(s)
    return meat, n


def sandwich(meat: Floats, factor: Factor) -> Floats:
    """(X'WX)^-1 M (X'WX)^-1, symmetric."""
    half = factor.solve(meat)
    out = factor.solve(half.T)
    return 0.5 * (out + out.T)


def cluster_scores(
    source: RowSource, family: Family, link: Link, aux: Aux, beta: Floats, codes: Ints, n_clusters: int
) -> Floats:
    """Σ_{i in g} s_i x_i for every cluster, shape (n_clusters, p)."""
    total = np.zeros((n_clusters, len(beta)))
    start = 0
    for rows in source.blocks():
        part = codes[start : start + len(rows.y)]
        start += len(rows.y)
        score = working_quantities(family, link, rows.X @ beta + rows.offset, rows.y, rows.w, aux).score
        for j in range(len(beta)):
            total[:, j] += np.bincount(part, weights=score * rows.X[:, j], minlength=n_clusters)
    return total


def cluster_covariance(
    groups: tuple[Ints, ...],
    source: RowSource,
    family: Family,
    link: Link,
    aux: Aux,
    beta: Floats,
    factor: Factor,
    *,
    n: int,
    small_sample: str = "CR1S",
) -> Floats:
    """One- or two-way cluster-robust covariance of the coefficients, shape (p, p).

    Parameters
    ----------
    groups : tuple of ndarray of int64, shape (n,)
        One or two vectors of cluster codes 0 .. G − 1.
    source, family, link, aux, beta, factor
        As for :func:`heteroscedastic_covariance`.
    n : int
        Rows.
    small_sample : {"CR1S", "CR1", "CR0"}
        Factor on each meat: G/(G−1) × (n−1)/(n−p), G/(G−1), or 1.

    Notes
    -----
    The two-way form is V_A + V_B − V_AB, each with its own factor; eigenvalues that come out negative are set to
    zero, as Cameron, Gelbach & Miller (2011) advise.
    """
    check_small_sample(small_sample)
    if len(groups) == 2:
        a, b = groups
        groups = (a, b, np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1])
    totals = [cluster_scores(source, family, link, aux, beta, g, int(g.max()) + 1) for g in groups]
    return covariance_of_clusters(totals, factor, n=n, small_sample=small_sample)


def check_small_sample(small_sample: str) -> None:
    """Refuse an unknown small-sample factor."""
    if small_sample not in ("CR1S", "CR1", "CR0"):
        raise MethodError(f"small_sample is {small_sample!r}; 'CR1S', 'CR1' or 'CR0' is expected.")


def covariance_of_clusters(totals: list[Floats], factor: Factor, *, n: int, small_sample: str = "CR1S") -> Floats:
    """Cluster-robust covariance from the score totals of clusters, shape (p, p).

    Parameters
    ----------
    totals : list of ndarray, shape (clusters, p)
        Of one grouping; or of two and of their combination.
    factor : Factor
        Of X'WX.
    n, small_sample
        As for :func:`cluster_covariance`.
    """

    def meat(u: Floats) -> Floats:
        g = len(u)
        factor_g = 1.0 if small_sample == "CR0" else g / (g - 1.0)
        if small_sample == "CR1S":
            factor_g *= (n - 1.0) / (n - u.shape[1])
        return factor_g * (u.T @ u)

    if len(totals) == 1:
        return sandwich(meat(totals[0]), factor)
    V = sandwich(meat(totals[0]) + meat(totals[1]) - meat(totals[2]), factor)
    values, vectors = np.linalg.eigh(V)
    return V if values[0] >= 0 else (vectors * np.maximum(values, 0.0)) @ vectors.T


def cluster_codes(groups: object, n: int) -> tuple[Ints, ...]:
    """Cluster labels of any kind as one or two vectors of codes 0 .. G − 1.

    Parameters
    ----------
    groups : array_like of shape (n,), or of shape (n, 2), or a pair of vectors
        Labels.
    n : int
        Rows of the model.

    Raises
    ------
    MethodError
        No groups given.
    DataError
        A vector of the wrong length, missing labels, or a single cluster.
    """
    import pandas as pd

    if groups is None:
        raise MethodError("cov='cluster' needs groups=: one label per row, or a pair of such vectors.")
    if isinstance(groups, tuple | list) and len(groups) == 2 and all(np.ndim(g) == 1 for g in groups):
        vectors = list(groups)
    else:
        table = np.asarray(groups)
        vectors = [table] if table.ndim == 1 else list(table.T)
    if len(vectors) not in (1, 2):
        raise MethodError(f"groups has {len(vectors)} columns; one or two are expected.")
    out = []
    for v in vectors:
        if len(v) != n:
            raise DataError(f"groups has {len(v)} labels for the {n} rows of the model.")
        codes, levels = pd.factorize(pd.Series(v))
        if (codes < 0).any():
            raise DataError(f"groups has {int((codes < 0).sum())} missing labels; leave those rows out.")
        if len(levels) < 2:
            raise DataError("groups has a single cluster; a cluster-robust covariance needs at least two.")
        out.append(codes.astype(np.int64))
    return tuple(out)
