"""Which linear functions of the coefficients are the marginal means of some columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.grid import reference_grid
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MarginalMeans:
    """Linear functions of the coefficients that are marginal means, with their labels.

    Parameters
    ----------
    by, factors : tuple of str
        Columns of `labels`: those that make families, and those whose levels are compared.
    labels : DataFrame
        One row per mean.
    L, left_out : ndarray, shape (m, p) and (m, a)
        Over the columns of the design and over the aliased ones.
    offset : float
        Added to every linear predictor.
    """

    by: tuple[str, ...]
    factors: tuple[str, ...]
    labels: pd.DataFrame
    L: Floats
    left_out: Floats
    offset: float

    def families(self) -> list[tuple[tuple[Any, ...], NDArray[np.int64]]]:
        """Levels of the `by` columns, and the rows of each."""
        if not self.by:
            return [((), np.arange(len(self.L)))]
        keys = list(map(tuple, self.labels[list(self.by)].to_numpy(dtype=object)))
        unique = list(dict.fromkeys(keys))
        return [(key, np.array([i for i, k in enumerate(keys) if k == key], dtype=np.int64)) for key in unique]

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The levels of some rows in words."""
        values = self.labels[list(self.factors)].iloc[rows].to_numpy(dtype=object)
        return [" ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in row) for row in values]


def _split(names: Any, what: str) -> tuple[str, ...]:
    """Column names from ``"a"``, ``"a:b"`` or a list."""
    if names is None:
        return ()
    listed = names.split(":") if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(n, str) for n in listed):
        raise MethodError(f"{what} is {names!r}; a column's name, 'a:b', or a list of names is expected.")
    return tuple(n.strip() for n in listed)


def marginal_means(
    problem: Problem,
    data: Any,
    factors: Any,
    *,
    by: Any = None,
    at: Any = None,
    weights: str = "equal",
    offset: float = 0.0,
) -> MarginalMeans:
    """The means of some columns as linear functions of the coefficients; see :func:`bayesglmm.inference.emmeans`."""
    own, groups = _split(factors, "factors"), _split(by, "by")
    grid = reference_grid(problem, data, at)
    for name in (*groups, *own):
        if name not in grid.levels:
            raise MethodError(
                f"the fixed part has no column {name!r} to average by; it uses {', '.join(grid.levels) or 'none'}."
            )
    if not own or len(set(own) | set(groups)) < len(own) + len(groups):
        raise MethodError(f"factors={factors!r}, by={by!r}: name at least one column, and each column once.")
    labels, L, left_out = grid.average((*groups, *own), weights)
    return MarginalMeans(groups, own, labels, L, left_out, float(offset))
