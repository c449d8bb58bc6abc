"""Errors that are a first-order autoregression within groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance.forms import Coordinate
from bayesglmm.covariance.row_errors import Given, RowErrors, checked, describe, group_codes
from bayesglmm.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class AR1Errors:
    """Errors that are a first-order autoregression within groups: Corr(e_s, e_t) = ρ^|s − t|.

    Parameters
    ----------
    group : str or array_like
        Column (or values) that says which rows are one series; they must share the level of every grouping factor.
    time : str or array_like, optional
        Times within the series. Whole numbers may have gaps; with any others ρ is between 0 and 1
        (a continuous-time autoregression). The rows' order when left out.

    Examples
    --------
    >>> import bayesglmm as bg, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> data = pd.DataFrame({"id": np.repeat(np.arange(20), 6), "t": np.tile(np.arange(6), 20)})
    >>> data["y"] = 1.0 + 0.5 * data.t + np.repeat(rng.normal(size=20), 6) + rng.normal(size=120)
    >>> fit = bg.Model("y ~ t + (1 | id)", data, errors=bg.AR1Errors("id", time="t")).fit("reml")
    >>> -1 < fit.params["errors.rho"] < 1
    True
    """

    group: Any
    time: Any = None

    def bind(self, rows: int, values: Callable[[Any, str], Any]) -> RowErrors:
        """The structure on the rows in use."""
        codes = group_codes(self.group, rows, values)
        times = np.arange(rows, dtype=float) if self.time is None else _times(values(self.time, "time"), rows)
        order = np.lexsort((times, codes))
        first = np.ones(rows, dtype=bool)
        first[1:] = np.diff(codes[order]) != 0
        if first.all():
            raise DataError("every series of errors has one row: their correlation cannot be seen. Leave errors out.")
        gap = np.ones(rows)
        if self.time is not None:
            gap[1:] = np.where(first[1:], 1.0, np.diff(times[order]))
        if np.any(gap <= 0.0):
            row = int(order[np.flatnonzero(gap <= 0.0)[0]])
            raise DataError(f"time {times[row]:g} occurs twice in one series of errors: an order is expected.")
        return BoundAR1(order, first, gap, describe("AR(1)", self.group, self.time))


@dataclass(frozen=True)
class BoundAR1(RowErrors):
    """AR(1) errors on rows, by the bidiagonal factor of R⁻¹.

    Parameters
    ----------
    order : ndarray of int64, shape (n,)
        Rows by series and time.
    first : ndarray of bool, shape (n,)
        In that order: the first of a series.
    gap : ndarray, shape (n,)
        In that order: time since the row before (1 at the first).
    label : str
        In words.
    """

    order: Ints
    first: NDArray[np.bool_]
    gap: Floats
    label: str
    given: Given | None = None
    names: tuple[str, ...] = field(default=("rho",), init=False)

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:  # type: ignore[override]
        """ρ is between −1 and 1, or 0 and 1 where gaps are not whole numbers."""
        whole = bool(np.all(self.gap == np.round(self.gap)))
        return (Coordinate("interval", -1.0 if whole else 0.0, 1.0),)

    @property
    def start(self) -> Floats:
        """A moderate positive correlation at the usual distance."""
        usual = float(np.median(self.gap[~self.first]))
        return np.array([np.clip(0.3 ** (1.0 / usual), 0.05, 0.95)])

    @cached_property
    def previous(self) -> Ints:
        """The row before each row in its series (itself for the first), in the rows' own order."""
        out = np.empty(len(self.order), dtype=np.int64)
        out[self.order] = np.where(self.first, self.order, np.roll(self.order, 1))
        return out

    def _links(self, at: Floats) -> tuple[Floats, Floats]:
        """Correlation with the row before, and its derivative in ρ, in the rows' own order; zero for the first."""
        rho = float(at[0])
        c, slope = np.empty(len(self.gap)), np.empty(len(self.gap))
        c[self.order] = np.where(self.first, 0.0, rho**self.gap)
        slope[self.order] = np.where(self.first, 0.0, self.gap * rho ** (self.gap - 1.0))
        return c, slope

    def whiten(self, at: Floats, v: Floats) -> Floats:
        """(v_i − c v_i₋₁)/√(1 − c²), c = ρ^gap."""
        c, _ = self._links(at)
        s = np.sqrt(1.0 - c**2)
        if v.ndim == 2:
            c, s = c[:, None], s[:, None]
        return (v - c * v[self.previous]) / s

    def whiten_slopes(self, at: Floats, v: Floats) -> tuple[Floats, ...]:
        """−v_i₋₁/s + (v_i − c v_i₋₁) c/s³, s = √(1 − c²), times ∂c/∂ρ."""
        c, slope = self._links(at)
        s = np.sqrt(1.0 - c**2)
        if v.ndim == 2:
            c, s, slope = c[:, None], s[:, None], slope[:, None]
        before = v[self.previous]
        return (slope * ((v - c * before) * c / s**3 - before / s),)

    def color(self, at: Floats, v: Floats) -> Floats:
        """Solve the bidiagonal system."""
        from scipy.linalg import solve_banded

        c = self._links(at)[0][self.order]
        s = np.sqrt(1.0 - c**2)
        bands = np.zeros((2, len(c)))
        bands[0] = 1.0 / s
        bands[1, :-1] = -c[1:] / s[1:]
        out = np.empty_like(v)
        out[self.order] = solve_banded((1, 0), bands, v[self.order])
        return out

    def log_det(self, at: Floats) -> float:
        """Σ log(1 − ρ^(2 gap))."""
        return float(np.log1p(-np.square(self._links(at)[0])).sum())

    def log_det_slopes(self, at: Floats) -> Floats:
        """Its derivative in ρ."""
        c, slope = self._links(at)
        return np.array([float(np.sum(-2.0 * c * slope / (1.0 - c**2)))])

    def conditional(self, at: Floats, seen: int) -> tuple[Any, Floats]:
        """By the nearest rows seen before and after in the series: given those the others say nothing."""
        from scipy.sparse import csr_array

        rho, n = float(at[0]), len(self.order)
        old, series, time = self.order < seen, np.cumsum(self.first), np.cumsum(self.gap)
        index = np.arange(n)
        new = index[~old]
        last = np.maximum.accumulate(np.where(old, index, -1))[new]
        then = np.minimum.accumulate(np.where(old, index, n)[::-1])[::-1][new]
        beside, c = [], []
        for other, there in ((last, last >= 0), (then, then < n)):
            other = np.where(there, other, new)
            there = there & (series[other] == series[new])
            beside.append(np.where(there, other, new))
            c.append(np.where(there, rho ** np.abs(time[new] - time[other]), 0.0))
        together = c[0] * c[1]
        w = [(c[k] - together * c[1 - k]) / (1.0 - together**2) for k in (0, 1)]
        rows = self.order[new] - seen
        entries = [(v, rows, self.order[other]) for v, other in zip(w, beside)]
        values, at_row, at_column = (np.concatenate(part) for part in zip(*entries))
        known = at_column < seen
        weights = csr_array((values[known], (at_row[known], at_column[known])), shape=(n - seen, seen))
        variance = np.empty(n - seen)
        variance[rows] = 1.0 - w[0] * c[0] - w[1] * c[1]
        return weights, variance

    def within(self, codes: Ints) -> bool:
        """Whether every row has the code of the row before it."""
        return bool(np.all(codes == codes[self.previous]))


def _times(values: Any, rows: int) -> Floats:
    series = checked(values, rows, "time")
    try:
        times = np.asarray(series.astype(float), dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"time of the errors is {series.dtype}; numbers are expected.") from None
    if not np.all(np.isfinite(times)):
        raise DataError("time of the errors is infinite in some rows; numbers are expected.")
    return times
