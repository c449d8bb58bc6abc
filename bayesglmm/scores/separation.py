"""Separation: directions along which the likelihood rises for ever, and which rows and columns they involve.

A row whose response sits at an end of the mean's range that the link reaches only at η = ±∞ (a success or failure
under a logit, a zero count under a log link) is fitted perfectly by moving η outward. The estimate is infinite if and
only if some direction b moves such rows outward or not at all, leaves every other row where it is, and is not zero on
all rows: Albert & Anderson (1984), Biometrika 71, 1-10; by linear programming, Konis (2007), Linear programming
algorithms for detecting separated data in binary logistic regression models. Only rows already fitted almost
perfectly can take part, which keeps the program small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import Rows, RowSource

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows whose mean is this close to its end may take part; a fit with rows this much closer is looked into.
NEAR, SUSPICIOUS = 0.05, 1e-6
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Separation:
    """What separates.

    Parameters
    ----------
    columns : tuple of str
        Coefficients without a finite estimate.
    rows : ndarray of int64
        Positions of the rows that are fitted perfectly in the limit.
    complete : bool
        Whether these are all rows.
    """

    columns: tuple[str, ...]
    rows: Ints
    complete: bool

    def describe(self, labels: object = None) -> str:
        """One sentence that names columns and rows.

        Parameters
        ----------
        labels : sequence, optional
            Row labels; positions when left out.
        """
        kind = "complete separation" if self.complete else "quasi-complete separation"
        names = self.rows if labels is None else [labels[i] for i in self.rows[:6]]  # type: ignore[index]
        shown = ", ".join(str(v) for v in list(names)[:6]) + (", ..." if len(self.rows) > 6 else "")
        return (
            f"{kind}: no finite estimate exists for {', '.join(self.columns)} "
            f"({len(self.rows)} rows are fitted perfectly: {shown}). "
            "penalty='firth', a prior with 'laplace', or fewer columns give finite estimates"
        )


def perfect_ends(family: Family, link: Link) -> dict[float, float]:
    """Ends of the mean's range that the link reaches at infinity only: the end and the sign of its η."""
    ends = [end for end in family.mean_range if np.isfinite(end)]
    with np.errstate(all="ignore"):
        limits = [float(link.eta(np.array([end]))[0]) for end in ends]
    return {end: float(np.sign(limit)) for end, limit in zip(ends, limits) if np.isinf(limit)}


def outward(family: Family, link: Link, y: Floats) -> Floats:
    """Sign of η → ±∞ that fits a row perfectly, 0 for rows with a finite best η; shape (n,)."""
    sign = np.zeros(len(y))
    for end, toward in perfect_ends(family, link).items():
        sign[y == end] = toward
    return sign


def _gap(rows: Rows, sign: Floats, link: Link, beta: Floats) -> Floats:
    """Distance of each mean from the end its response sits at; infinite for responses inside the range."""
    with np.errstate(all="ignore"):
        return np.where(sign != 0, np.abs(link.mean(rows.X @ beta + rows.offset) - rows.y), np.inf)


def _closest(source: RowSource, family: Family, link: Link, beta: Floats) -> float:
    return min(float(_gap(b, outward(family, link, b.y), link, beta).min(initial=np.inf)) for b in source.blocks())


def find_separation(
    source: RowSource, family: Family, link: Link, beta: Floats, edge: float = 0.0, *, converged: bool = True
) -> Separation | None:
    """Look for separation at the point where scoring stopped.

    Parameters
    ----------
    source : RowSource
        The rows.
    family, link : Family, Link
        The model's.
    beta : ndarray, shape (p,)
        Where scoring stopped.
    edge : float
        A lower bound of the distance from perfection there (:class:`~bayesglmm.scores.sums.Sums`); where it is large
        the rows are not looked at.
    converged : bool
        Whether it claims to have converged; then only a fit with rows at the very edge is looked into.

    Returns
    -------
    Separation or None
    """
    enough = SUSPICIOUS if converged else NEAR
    if not perfect_ends(family, link) or edge > enough or _closest(source, family, link, beta) > enough:
        return None
    p = len(beta)
    gram = np.zeros((p, p))
    X_near, sign_near, where, start = [], [], [], 0
    for rows in source.blocks():
        sign = outward(family, link, rows.y)
        near = _gap(rows, sign, link, beta) < NEAR
        far = rows.X[~near]
        gram += far.T @ far
        X_near.append(rows.X[near])
        sign_near.append(sign[near])
        where.append(start + np.flatnonzero(near))
        start += len(near)
    free = null_space(gram, np.concatenate([np.linalg.norm(x, axis=0)[None] for x in X_near]).max(axis=0))
    if free.shape[1] == 0 or not any(len(x) for x in X_near):
        return None
    X, sign, position = np.vstack(X_near), np.concatenate(sign_near), np.concatenate(where)
    moved = separated_rows(sign[:, None] * (X @ free))
    if not moved.any():
        return None
    rest = X[~moved]
    infinite = null_space(gram + rest.T @ rest, np.linalg.norm(X, axis=0))
    used = np.abs(infinite).max(axis=1) > 1e-7
    columns = tuple(c for c, u in zip(source.columns, used) if u)
    return Separation(columns, position[moved].astype(np.int64), bool(moved.sum() == start))


def null_space(gram: Floats, size: Floats) -> Floats:
    """Basis of the directions a Gram matrix does not see, shape (p, k), with columns scaled by `size` first."""
    scale = np.where(size > 0, size, 1.0)
    scale = np.maximum(scale, np.sqrt(np.diag(gram)))
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    basis = vectors[:, values < _RANK_TOLERANCE * max(1.0, values[-1])] / scale[:, None]
    return basis / np.maximum(np.abs(basis).max(axis=0), np.finfo(float).tiny) if basis.size else basis


def separated_rows(B: Floats) -> NDArray[np.bool_]:
    """Rows that some b with Bb ≥ 0 makes positive: the largest such set, by one linear program.

    Maximise Σ t over 0 ≤ t ≤ 1, t ≤ Bb: at the optimum t is one exactly on that set.

    Parameters
    ----------
    B : ndarray, shape (m, k)
        Rows with their sign.
    """
    from scipy.optimize import linprog

    B = np.where(np.abs(B) < 1e-9 * np.maximum(np.abs(B).max(axis=0), 1e-300), 0.0, B)
    patterns, inverse, counts = np.unique(B, axis=0, return_inverse=True, return_counts=True)
    m, k = patterns.shape
    constraint = sparse.hstack([sparse.csr_array(-patterns), sparse.eye_array(m)]).tocsr()
    answer = linprog(
        np.r_[np.zeros(k), -counts.astype(float)],
        A_ub=constraint,
        b_ub=np.zeros(m),
        bounds=[(None, None)] * k + [(0.0, 1.0)] * m,
        method="highs",
    )
    if answer.status != 0:
        return np.zeros(len(B), dtype=bool)
    return (answer.x[k:] > 0.5)[inverse.ravel()]
