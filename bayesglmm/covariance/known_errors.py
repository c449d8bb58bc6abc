"""Errors whose correlation or covariance within groups is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import numeric
from bayesglmm.covariance.forms import Coordinate
from bayesglmm.covariance.row_errors import Given, RowErrors, checked, describe, group_codes
from bayesglmm.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class KnownErrors:
    """Errors whose correlation (or covariance) within groups is given.

    Parameters
    ----------
    matrix : array_like, DataFrame, or mapping of group → array_like
        One matrix over all positions, of which every group has the part of its own positions; or a matrix for each
        group, in the order of the group's rows in use.
    group : str or array_like, optional
        Column (or values) that says which errors go together; all rows are one group when left out.
    position : str or array_like, optional
        Column (or values) that says which row of the one matrix a row of data is. Not for a matrix per group.
    levels : sequence, optional
        What the rows of the one matrix stand for, as in `position`; its index for a DataFrame, else 0, 1, 2, ...
    exact : bool
        True where the matrices are the errors' covariance itself; otherwise it is σ² times them, σ² estimated.

    Examples
    --------
    >>> import bayesglmm as bg, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> data = pd.DataFrame({"id": np.repeat(np.arange(9), 3), "t": np.tile(np.arange(3), 9), "y": rng.normal(size=27)})
    >>> R = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 1.0]])
    >>> model = bg.Model("y ~ t", data, errors=bg.KnownErrors(R, group="id", position="t"))
    >>> fit = model.fit("reml")  # generalised least squares
    >>> fit.fixed.shape[0]
    2
    """

    matrix: Any
    group: Any = None
    position: Any = None
    levels: Sequence[Any] | None = None
    exact: bool = False

    def bind(self, rows: int, values: Callable[[Any, str], Any]) -> RowErrors:
        """The structure on the rows in use."""
        label = describe("covariance given" if self.exact else "correlation given", self.group, self.position)
        scale = 1.0 if self.exact else None
        if isinstance(self.matrix, Mapping):
            if self.position is not None or self.group is None:
                raise DataError("a matrix per group goes with group=, and without position=: rows are in their order.")
            return BoundKnown(_own_batches(self.matrix, values(self.group, "group"), rows), rows, label, scale)
        codes = np.zeros(rows, dtype=np.int64) if self.group is None else group_codes(self.group, rows, values)
        M = _square(self.matrix, "the given matrix of errors")
        if self.position is None:
            place = _order_within(codes)
        else:
            names = self.levels if self.levels is not None else getattr(self.matrix, "index", range(len(M)))
            place = _places(values(self.position, "position"), list(names), len(M), rows)
        return BoundKnown(_shared_batches(M, codes, place), rows, label, scale)


@dataclass(frozen=True)
class Batch:
    """Groups of one size: their rows, shape (k, m), and the Cholesky factors L and L⁻¹, (k, m, m) or (1, m, m)."""

    rows: Ints
    root: Floats
    inverse: Floats


@dataclass(frozen=True)
class BoundKnown(RowErrors):
    """A given R on rows: small triangular factors, groups of one size at a time.

    Parameters
    ----------
    batches : tuple of Batch
        Every row is in one of them.
    n : int
        Number of rows.
    label : str
        In words.
    scale : float or None
        1 where the matrices are the covariance itself.
    """

    batches: tuple[Batch, ...]
    n: int
    label: str
    scale: float | None = None
    given: Given | None = None

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """Nothing is estimated."""
        return ()

    @property
    def start(self) -> Floats:
        """No parameters."""
        return np.empty(0)

    def _times(self, v: Floats, inverse: bool) -> Floats:
        out = np.empty(v.shape)
        flat, target = v.reshape(self.n, -1), out.reshape(self.n, -1)
        for b in self.batches:
            target[b.rows] = (b.inverse if inverse else b.root) @ flat[b.rows]
        return out

    def whiten(self, at: Floats, v: Floats) -> Floats:
        """L⁻¹v, group by group."""
        return self._times(v, True)

    def whiten_slopes(self, at: Floats, v: Floats) -> tuple[Floats, ...]:
        """None: there are no parameters."""
        return ()

    def color(self, at: Floats, v: Floats) -> Floats:
        """Lv, group by group."""
        return self._times(v, False)

    def log_det(self, at: Floats) -> float:
        """Twice the sum of the logarithms of L's diagonals."""
        diagonals = (np.broadcast_to(np.einsum("kii->ki", b.root), b.rows.shape) for b in self.batches)
        return 2.0 * float(sum(np.log(d).sum() for d in diagonals))

    def log_det_slopes(self, at: Floats) -> Floats:
        """None: there are no parameters."""
        return np.empty(0)

    def conditional(self, at: Floats, seen: int) -> tuple[Any, Floats]:
        """Group by group, those with new rows."""
        from scipy.sparse import coo_array

        variance = np.empty(self.n - seen)
        entries: list[tuple[Floats, Ints, Ints]] = []
        for b in self.batches:
            roots = np.broadcast_to(b.root, (*b.rows.shape, b.rows.shape[1]))
            for k in np.flatnonzero((b.rows >= seen).any(axis=1)):
                rows, R = b.rows[k], roots[k] @ roots[k].T
                new, old = np.flatnonzero(rows >= seen), np.flatnonzero(rows < seen)
                across = R[np.ix_(old, new)]
                K = np.linalg.solve(R[np.ix_(old, old)], across).T
                variance[rows[new] - seen] = np.diag(R)[new] - np.sum(K * across.T, axis=1)
                where = np.meshgrid(rows[new] - seen, rows[old], indexing="ij")
                entries.append((K.ravel(), where[0].ravel(), where[1].ravel()))
        values, at_row, at_column = (np.concatenate(part) for part in zip(*entries))
        return coo_array((values, (at_row, at_column)), shape=(self.n - seen, seen)).tocsr(), variance

    def within(self, codes: Ints) -> bool:
        """Whether every group has one code."""
        return all(bool(np.all(codes[b.rows] == codes[b.rows[:, :1]])) for b in self.batches)


def _order_within(codes: Ints) -> Ints:
    """0, 1, 2, ... within each group, in the rows' order."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    out = np.empty(len(codes), dtype=np.int64)
    out[order] = np.arange(len(codes)) - starts
    return out


def _places(values: Any, names: list[Any], size: int, rows: int) -> Ints:
    if len(names) != size:
        raise DataError(f"the given matrix of errors has {size} rows but {len(names)} names.")
    series = checked(values, rows, "position")
    position = {str(v): k for k, v in enumerate(names)}
    found = series.astype(str).map(position)
    if found.isna().any():
        lacking = series[found.isna()].iloc[0]
        raise DataError(f"the given matrix of errors lacks the position {lacking!r} that the data have.")
    return np.asarray(found, dtype=np.int64)


def _square(matrix: Any, what: str) -> Floats:
    M = numeric(what, matrix)
    if M.ndim != 2 or M.shape[0] != M.shape[1]:
        raise DataError(f"{what} has shape {M.shape}; a square matrix is expected.")
    if not np.allclose(M, M.T, rtol=1e-8, atol=1e-10 * float(np.abs(M).max(initial=1.0))):
        raise DataError(f"{what} is not symmetric.")
    return M


def _batch(rows: Ints, matrices: Floats, what: str) -> Batch:
    try:
        root = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        raise DataError(f"{what} is not positive definite.") from None
    return Batch(rows, root, np.linalg.inv(root))


def _shared_batches(M: Floats, codes: Ints, place: Ints) -> tuple[Batch, ...]:
    """Groups with the same positions share one factor."""
    if int(place.max()) >= len(M):
        raise DataError(f"the given matrix of errors has {len(M)} rows; a group has {int(place.max()) + 1}.")
    order = np.lexsort((place, codes))
    if np.any((np.diff(codes[order]) == 0) & (np.diff(place[order]) == 0)):
        raise DataError("a position occurs twice in one group of errors.")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    sizes = np.diff(np.r_[starts, len(codes)])
    out = []
    for m in np.unique(sizes):
        rows = order[starts[sizes == m][:, None] + np.arange(m)]
        patterns, which = np.unique(place[rows], axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            own = M[np.ix_(pattern, pattern)][None]
            out.append(_batch(rows[which.ravel() == k], own, "the given matrix of errors"))
    return tuple(out)


def _own_batches(given: Mapping[Any, Any], group: Any, rows: int) -> tuple[Batch, ...]:
    """Groups of one size in one batch, each with its own factor."""
    series = checked(group, rows, "group").astype(str)
    named = {str(k): v for k, v in given.items()}
    by_size: dict[int, tuple[list[Ints], list[Floats]]] = {}
    for level, index in series.groupby(series, sort=False).indices.items():
        if level not in named:
            raise DataError(f"no matrix of errors is given for the group {level!r}.")
        M = _square(named[level], f"the matrix of errors of group {level!r}")
        if len(M) != len(index):
            raise DataError(f"the matrix of errors of group {level!r} has {len(M)} rows; {len(index)} are in use.")
        where, matrices = by_size.setdefault(len(index), ([], []))
        where.append(np.sort(index))
        matrices.append(M)
    return tuple(
        _batch(np.stack(where), np.stack(matrices), f"a matrix of errors of {size} rows")
        for size, (where, matrices) in by_size.items()
    )
