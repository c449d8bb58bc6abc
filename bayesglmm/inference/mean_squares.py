"""The response split along the terms of a design: sums of squares from the cross products of all columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.inference.terms import model_terms
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Relative size of an eigenvalue or coefficient that counts as zero.
SMALL = 1e-8


@dataclass(frozen=True)
class Line:
    """One line of an analysis of variance.

    Parameters
    ----------
    label : str
        The term.
    kind : {"fixed", "random", "residual"}
        What it is.
    sum_sq : float
        y'P y.
    df : int
        Rank of P.
    coordinates : ndarray, shape (df, columns + 1)
        U'W, with W all columns and the response, and U an orthonormal basis of what the term adds: P = UU'.
    """

    label: str
    kind: str
    sum_sq: float
    df: int
    coordinates: Floats


def analyse_terms(problem: Problem) -> tuple[list[Line], dict[str, Ints]]:
    """Split the response along the terms: fixed ones in order, random ones after those they contain, the residual.

    Returns
    -------
    lines : list of Line
        In that order.
    columns : dict of str to ndarray of int64
        Where each term's columns stand in ``Line.coordinates``.

    Raises
    ------
    MethodError
        A term that adds nothing to those before it, or no residual degrees of freedom.
    """
    design = problem.design
    gram, total, places = _cross_products(problem)
    terms = [(t.label, "fixed", t.columns) for t in model_terms(problem) if len(t.columns)]
    order = sorted(design.blocks, key=lambda b: sum(_within(b, other) for other in design.blocks))
    columns = {t.label: t.columns for t in model_terms(problem) if t.factors and len(t.columns)}
    columns |= {b.group: places[b.group] for b in order}
    lines: list[Line] = []
    S = gram.copy()
    for label, kind, where in [*terms, *((b.group, "random", places[b.group]) for b in order)]:
        values, vectors = np.linalg.eigh(S[np.ix_(where, where)])
        keep = values > SMALL * np.diag(gram)[where].max()
        U = (vectors[:, keep] / np.sqrt(values[keep])).T @ S[where]  # coordinates of all columns, the response last
        S = S - U.T @ U
        if not U.shape[0]:
            raise MethodError(f"the term {label} adds nothing to those before it: there is no mean square of its own.")
        if label not in columns:
            continue  # the intercept
        lines.append(Line(label, kind, float(np.sum(U[:, -1] ** 2)), int(keep.sum()), U))
    used = design.X.shape[1] + sum(line.df for line in lines if line.kind == "random")
    rest = design.nobs - used
    if rest <= 0:
        raise MethodError("the terms use all degrees of freedom: no residual is left. Leave the highest term out.")
    sum_sq = max(float(S[-1, -1]), 0.0) if S[-1, -1] > 1e-14 * total else 0.0
    lines.append(Line("Residual", "residual", sum_sq, rest, np.zeros((0, len(gram)))))
    return lines, columns


def _within(block: RandomBlock, other: RandomBlock) -> bool:
    """Whether every level of a grouping factor lies in one level of another with fewer levels."""
    if len(other.levels) >= len(block.levels):
        return False
    pairs = np.unique(block.codes * len(other.levels) + other.codes)
    return len(pairs) == len(block.levels)


def _cross_products(problem: Problem) -> tuple[Floats, float, dict[str, Ints]]:
    """W'W for W = [X, Z₁, Z₂, ..., y], the response centred; y'y; and where each grouping factor stands."""
    from scipy import sparse

    design = problem.design
    y = problem.mean_response - design.offset
    y = y - y.mean() if _has_constant(design.X) else y
    X = design.X / np.linalg.norm(design.X, axis=0)  # units of the columns decide nothing
    parts, places, start = [sparse.csr_array(X)], {}, X.shape[1]
    for block in design.blocks:
        levels, n = len(block.levels), design.nobs
        parts.append(sparse.csr_array((np.ones(n), (np.arange(n), block.codes)), shape=(n, levels)))
        places[block.group] = np.arange(start, start + levels)
        start += levels
    W = sparse.hstack([*parts, sparse.csr_array(y[:, None])]).tocsr()
    return (W.T @ W).toarray(), float(y @ y), places


def _has_constant(X: Floats) -> bool:
    """Whether a constant is in the span of the columns."""
    ones = np.ones(len(X))
    found = np.linalg.lstsq(X, ones, rcond=None)[0] if X.shape[1] else np.zeros(0)
    return bool(np.abs(X @ found - ones).max() < 1e-8)
