"""A known covariance between the levels of a grouping factor (kinship, phylogeny)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import DataError


@dataclass(frozen=True)
class Known:
    """A known covariance between the levels of a grouping factor (kinship, phylogeny).

    Parameters
    ----------
    K : array_like or DataFrame, shape (m, m)
        Symmetric positive definite.
    levels : sequence of str, optional
        Level names of its rows; taken from a DataFrame's index when left out.
    """

    K: Any
    levels: Sequence[str] | None = None


def known_precision(block: RandomBlock, known: Known) -> tuple[Any, float]:
    """Sparse inverse of K over the block's levels, and its log-determinant."""
    from scipy import sparse

    K = known.K.toarray() if sparse.issparse(known.K) else np.asarray(known.K, dtype=float)
    names = known.levels if known.levels is not None else getattr(known.K, "index", None)
    where = f"the known covariance of {block.group!r}"
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise DataError(f"{where} has shape {K.shape}; a square matrix is expected.")
    if names is None:
        raise DataError(f"{where} has no level names: pass bg.Known(K, levels=[...]) or a DataFrame.")
    names = [str(v) for v in names]
    if len(names) != K.shape[0]:
        raise DataError(f"{where} has {K.shape[0]} rows but {len(names)} level names.")
    position = {v: i for i, v in enumerate(names)}
    missing = [v for v in block.levels if v not in position]
    if missing:
        raise DataError(f"{where} lacks the levels {', '.join(missing[:5])} ({len(missing)} in all) of the data.")
    take = [position[v] for v in block.levels]
    K = K[np.ix_(take, take)]
    if not np.allclose(K, K.T, rtol=1e-8, atol=1e-10 * np.abs(K).max()):
        raise DataError(f"{where} is not symmetric.")
    try:
        C = np.linalg.cholesky(K)
    except np.linalg.LinAlgError:
        low = float(np.linalg.eigvalsh(K)[0])
        raise DataError(f"{where} is not positive definite (smallest eigenvalue {low:.3g}).") from None
    inverse = np.linalg.inv(K)
    inverse = 0.5 * (inverse + inverse.T)
    inverse[np.abs(inverse) < 1e-12 * np.abs(inverse).max()] = 0.0
    return sparse.csc_array(inverse), -2.0 * float(np.log(np.diag(C)).sum())
