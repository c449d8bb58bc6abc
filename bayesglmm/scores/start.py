"""Starting points inside the domain, for links whose linear predictor is bounded (identity, inverse, log-binomial)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families import eta_domain
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]


def feasible_points(source: RowSource, family: Family, link: Link, aux: Aux = ()) -> list[Floats]:
    """Coefficients at which every mean should be inside its range, best guess first.

    The first is the least-squares fit of a constant linear predictor; the second the interior point found by a
    linear program, as far from the edges as the columns allow.

    Parameters
    ----------
    source : RowSource
        The rows.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale.

    Returns
    -------
    list of ndarray, shape (p,)
        May be empty.
    """
    blocks = list(source.blocks())
    X = np.vstack([b.X for b in blocks])
    offset = np.concatenate([b.offset for b in blocks])
    y, w = (np.concatenate([getattr(b, k) for b in blocks]) for k in ("y", "w"))
    middle = link.eta(np.atleast_1d(np.average(family.initial_mean(y, w), weights=w)))[0]
    constant = np.linalg.lstsq(X, middle - offset, rcond=None)[0]
    low, high = eta_domain(family, link)
    interior = interior_point(X, offset, low, high, float(middle))
    return [constant] if interior is None else [constant, interior]


def interior_point(X: Floats, offset: Floats, low: float, high: float, middle: float) -> Floats | None:
    """β that maximises the smallest distance t of Xβ + offset from the finite ends, t capped at the middle's.

    Returns None when no β keeps every row strictly inside.
    """
    from scipy.optimize import linprog

    ends = [e for e in (low, high) if np.isfinite(e)]
    if not ends:
        return None
    n, p = X.shape
    rows, bounds = [], []
    if np.isfinite(low):  # -(Xβ) + t <= offset - low
        rows.append(np.column_stack([-X, np.ones(n)]))
        bounds.append(offset - low)
    if np.isfinite(high):  # Xβ + t <= high - offset
        rows.append(np.column_stack([X, np.ones(n)]))
        bounds.append(high - offset)
    cap = min(abs(middle - e) for e in ends)
    answer = linprog(
        np.r_[np.zeros(p), -1.0],
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(bounds),
        bounds=[(None, None)] * p + [(0.0, cap)],
        method="highs",
    )
    return answer.x[:p] if answer.status == 0 and answer.x[p] > 0 else None
