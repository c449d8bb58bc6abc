"""A known covariance between the levels of a grouping factor (kinship, phylogeny, pedigree)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import number, refused
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import DataError, MethodError
from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError
from bayesglmm.latent.elimination.ordering import MEMORY_LIMIT, sparse_log_det

#: Copies of a dense K that exist at once: itself, its factor, its inverse, the inverse with its pattern, H's factor.
DENSE_COPIES = 8


@dataclass(frozen=True)
class Known:
    """A known covariance between the levels of a grouping factor, or its inverse.

    Every level has a random effect, also levels that occur in no row (ancestors in a pedigree, genotyped animals
    without records): they are predicted too.

    Parameters
    ----------
    K : array_like or DataFrame, shape (m, m), optional
        Covariance, symmetric positive definite.
    levels : sequence of str, optional
        Level names of its rows; taken from a DataFrame's index when left out. All levels of the data are among them.
    precision : scipy sparse array, array_like or DataFrame, shape (m, m), optional
        The inverse of K in its place, symmetric positive definite. A sparse one is never made dense: a pedigree or a
        Gaussian Markov random field of many thousand levels costs what its pattern costs.
    log_det : float, optional
        Log-determinant of `precision`, where it is known already; it is worked out (and `precision` seen to be
        positive definite) otherwise.

    See Also
    --------
    bayesglmm.pedigree : The precision of additive genetic effects.

    Examples
    --------
    >>> import bayesglmm as bg, numpy as np, pandas as pd
    >>> data = pd.DataFrame({"y": [1.0, 1.5, 4.0, 4.5, 9.0, 8.5], "g": list("aabbcc")})
    >>> K = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    >>> one = bg.Model("y ~ 1 + (1 | g)", data, covariance={"g": bg.Known(K, levels=list("abc"))})
    >>> same = bg.Known(precision=np.linalg.inv(K), levels=list("abc"))
    >>> other = bg.Model("y ~ 1 + (1 | g)", data, covariance={"g": same})
    >>> bool(np.isclose(one.fit("reml").loglik, other.fit("reml").loglik))
    True
    """

    K: Any = None
    levels: Sequence[str] | None = None
    precision: Any = None
    log_det: float | None = None

    def __post_init__(self) -> None:
        if (self.K is None) == (self.precision is None):
            raise DataError("bg.Known takes a covariance K or its inverse, precision=: one of the two.")


def known_levels(group: str, known: Known) -> tuple[str, ...]:
    """Level names of a known covariance or precision.

    Raises
    ------
    DataError
        When there are none, not as many as rows, or some twice.
    """
    given = known.K if known.precision is None else known.precision
    where, shape = _where(group, known), np.shape(given)
    names = known.levels if known.levels is not None else getattr(given, "index", None)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"{where} has shape {shape}; a square matrix is expected.")
    if names is None:
        raise DataError(f"{where} has no level names: pass bg.Known(..., levels=[...]) or a DataFrame.")
    if np.ndim(names) != 1:
        raise refused("levels", names, "a list of names, one for each row,", DataError)
    names = tuple(str(v) for v in names)
    if len(names) != shape[0]:
        raise DataError(f"{where} has {shape[0]} rows but {len(names)} level names.")
    if len(set(names)) < len(names):
        twice = [v for v, count in Counter(names).items() if count > 1]
        raise DataError(f"{where} names some levels more than once: {', '.join(twice[:5])}.")
    return names


def known_precision(block: RandomBlock, known: Known) -> tuple[Any, float]:
    """Sparse precision between a block's levels, in their order, and its log-determinant.

    A covariance K may have more levels than the block (they are marginalised out by taking K's own rows); a precision
    may not.

    Raises
    ------
    DataError
        Levels of the data that are not there, or a matrix that is not symmetric positive definite.
    MethodError
        When it would not fit in memory.
    """
    names = known_levels(block.group, known)
    position = {v: i for i, v in enumerate(names)}
    missing = [v for v in block.levels if v not in position]
    where = _where(block.group, known)
    if missing:
        raise DataError(f"{where} lacks the levels {', '.join(missing[:5])} ({len(missing)} in all) of the data.")
    take = np.array([position[v] for v in block.levels], dtype=np.int64)
    if known.precision is None:
        return _inverted(where, known.K, take)
    return _reordered(where, known, take)


def _where(group: str, known: Known) -> str:
    return f"the known {'covariance' if known.precision is None else 'precision'} of {group!r}"


def _inverted(where: str, K: Any, take: NDArray[np.int64]) -> tuple[Any, float]:
    """Sparse inverse of K over some of its levels, and its log-determinant."""
    from scipy import sparse

    needed = 8.0 * DENSE_COPIES * len(take) ** 2
    if needed > MEMORY_LIMIT:
        raise MethodError(
            f"{where} is of order {len(take)} and would need about {needed / 2**30:.0f} GB of memory (the limit is "
            f"{MEMORY_LIMIT / 2**30:.0f} GB). Give its inverse as bg.Known(precision=...) where that is sparse, or "
            "leave out levels that are not in the data."
        )
    dense = K.toarray() if sparse.issparse(K) else np.asarray(K, dtype=float)
    dense = dense[np.ix_(take, take)]
    if not np.allclose(dense, dense.T, rtol=1e-8, atol=1e-10 * np.abs(dense).max()):
        raise DataError(f"{where} is not symmetric.")
    try:
        C = np.linalg.cholesky(dense)
    except np.linalg.LinAlgError:
        low = float(np.linalg.eigvalsh(dense)[0])
        raise DataError(f"{where} is not positive definite (smallest eigenvalue {low:.3g}).") from None
    inverse = np.linalg.inv(dense)
    inverse = 0.5 * (inverse + inverse.T)
    inverse[np.abs(inverse) < 1e-12 * np.abs(inverse).max()] = 0.0
    return sparse.csc_array(inverse), -2.0 * float(np.log(np.diag(C)).sum())


def _reordered(where: str, known: Known, take: NDArray[np.int64]) -> tuple[Any, float]:
    """The precision in the order of the block's levels, and its log-determinant."""
    from scipy import sparse

    given = known.precision
    if len(take) != given.shape[0]:
        raise DataError(f"{where} has {given.shape[0]} levels, the grouping factor {len(take)}; all are needed.")
    Q = sparse.csc_array(given if sparse.issparse(given) else np.asarray(given, dtype=float)).astype(float)
    Q.sum_duplicates()
    Q.eliminate_zeros()
    if not np.all(np.isfinite(Q.data)):
        raise DataError(f"{where} has entries that are not finite.")
    largest = np.abs(Q.data).max(initial=0.0)
    if np.abs((Q - Q.T).data).max(initial=0.0) > 1e-8 * largest:
        raise DataError(f"{where} is not symmetric.")
    Q = sparse.csc_array(Q[take][:, take])
    if known.log_det is not None:
        return Q, number()("log_det", known.log_det)
    try:
        return Q, sparse_log_det(Q)
    except NotPositiveDefiniteError:
        raise DataError(f"{where} is not positive definite.") from None
