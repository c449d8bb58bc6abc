"""Which columns of the fixed-effects matrix are linear combinations of earlier ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import Floats
from bayesglmm.errors import DataWarning, warn

TOLERANCE = 1e-7
_CLEAR = 1e-4
_ROWS_AT_ONCE = 16_384


def independent_columns(X: Floats) -> NDArray[np.bool_]:
    """Find the columns that add to the span of those before them.

    A column is dependent when what earlier columns leave of it is shorter than `TOLERANCE` times the column itself:
    the rule of R's ``lm`` and ``glm`` (``dqrdc2`` with its limited pivoting), which keeps the earliest columns.

    Parameters
    ----------
    X : ndarray, shape (n, p)

    Returns
    -------
    ndarray of bool, shape (p,)
        False for columns to leave out.

    Notes
    -----
    A Cholesky factor of the scaled cross-products decides the clear cases: its pivots are squared relative residuals
    and are good to about 1e-13, so a smallest one above 1e-8 leaves no doubt. Otherwise the triangular factor of X is
    found block by block (TSQR: Demmel, Grigori, Hoemmen and Langou 2012, SIAM J. Sci. Comput. 34, A206-A239), with no
    copy of X, and the rule is applied to its columns, which have the same dependencies.
    """
    p = X.shape[1]
    if p == 0:
        return np.ones(0, dtype=bool)
    if clearly_independent(X.T @ X):
        return np.ones(p, dtype=bool)
    return limited_pivoting(_triangular_factor(X))


def clearly_independent(G: Floats, lengths: Floats | None = None) -> bool:
    """Whether cross-products X'X, shape (p, p), leave no doubt that no column depends on the others.

    Parameters
    ----------
    G : ndarray, shape (p, p)
        Of all rows, or of some of them.
    lengths : ndarray, shape (p,), optional
        Lengths of the columns over all rows, where `G` is of some: what other columns leave of a column is at least as
        long over all rows as over some.
    """
    scale = np.sqrt(np.diagonal(G))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return False
    try:
        pivots = np.diagonal(np.linalg.cholesky(G / np.outer(scale, scale)))
    except np.linalg.LinAlgError:
        return False
    whole = scale if lengths is None else lengths
    return bool((pivots * scale / whole).min(initial=1.0) > _CLEAR)


def column_relations(X: Floats, keep: NDArray[np.bool_]) -> Floats:
    """How the columns left out depend on those kept.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        All columns.
    keep : ndarray of bool, shape (p,)
        What `independent_columns` gave.

    Returns
    -------
    ndarray, shape (keep.sum(), p - keep.sum())
        C with ``X[:, ~keep] = X[:, keep] @ C``; what is zero but for rounding errors is zero.
    """
    scale = np.abs(X).max(axis=0)
    scale[scale == 0] = 1.0
    C = relations_of(_triangular_factor(X), keep)
    return C * scale[~keep] / scale[keep][:, None]


def relations_of(R: Floats, keep: NDArray[np.bool_]) -> Floats:
    """As `column_relations`, from the triangular factor, shape (k, p), of columns of comparable length."""
    C = np.linalg.lstsq(R[:, keep], R[:, ~keep], rcond=None)[0]
    C[np.abs(C) < 1e-10] = 0.0
    return C


def _triangular_factor(X: Floats) -> Floats:
    """R of X = QR for columns scaled to length about one."""
    scale = np.maximum(X.max(axis=0), -X.min(axis=0))
    scale[scale == 0] = 1.0
    R = np.empty((0, X.shape[1]))
    for start in range(0, X.shape[0], _ROWS_AT_ONCE):
        R = np.linalg.qr(np.vstack([R, X[start : start + _ROWS_AT_ONCE] / scale]), mode="r")
    return R


def limited_pivoting(R: Floats) -> NDArray[np.bool_]:
    """Columns of R, shape (k, p), that add something: Gram-Schmidt from the left, twice for accuracy."""
    p = R.shape[1]
    keep = np.zeros(p, dtype=bool)
    Q = np.empty((R.shape[0], min(R.shape)))
    rank = 0
    for j in range(p):
        length = np.linalg.norm(R[:, j])
        if length == 0 or rank == Q.shape[1]:
            continue
        v = R[:, j] / length
        for _ in range(2):
            v = v - Q[:, :rank] @ (Q[:, :rank].T @ v)
        rest = np.linalg.norm(v)
        if rest >= TOLERANCE:
            Q[:, rank] = v / rest
            keep[j] = True
            rank += 1
    return keep


def warn_aliased(aliased: tuple[str, ...]) -> None:
    """Warn of columns that were left out."""
    names = ", ".join(aliased[:10]) + (", …" if len(aliased) > 10 else "")
    warn(
        f"Not estimable and left out, because they are linear combinations of earlier columns: {names}.",
        DataWarning,
    )
