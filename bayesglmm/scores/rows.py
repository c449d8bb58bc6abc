"""Rows in blocks: the one shape in which estimating equations read data, in memory or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import ColumnStack, Design
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Rows per block: a block of 50 columns stays in a core's cache.
BLOCK_ROWS = 8192
#: The same where the columns stand apart: there are few of them, and each block costs a cut through every one.
STACK_ROWS = 131_072
#: From how many rows on starting values come from a sample: every SAMPLE_STEP-th row, and at least so many a column.
MANY_ROWS, SAMPLE_STEP, SAMPLE_ROWS_PER_COLUMN = 200_000, 64, 300

#: Response as it was given, trials and prior weights.
RawResponse = tuple[Floats, Floats | None, Floats | None]


@dataclass(frozen=True)
class Rows:
    """A block of rows.

    Parameters
    ----------
    X : ndarray, shape (m, p)
        Fixed-effects columns.
    y : ndarray, shape (m,)
        Response on the scale of the mean (a proportion when there are trials).
    w : ndarray, shape (m,)
        Case weights: prior weights × trials.
    offset : ndarray, shape (m,)
        Known part of the linear predictor.
    raw : tuple of (response, trials or None, prior weights or None)
        What `y` and `w` were made of.
    """

    X: Floats
    y: Floats
    w: Floats
    offset: Floats
    raw: RawResponse

    @property
    def stack(self) -> tuple[Floats, ...] | None:
        """The columns of `X` where they stand apart."""
        return None


class ColumnRows(ColumnStack, Rows):  # type: ignore[misc]
    """A block of rows whose columns stay where they are."""

    def __init__(self, columns: tuple[Floats, ...], y: Floats, w: Floats, offset: Floats, raw: RawResponse) -> None:
        self._hold(_columns=columns, y=y, w=w, offset=offset, raw=raw)


@dataclass(frozen=True)
class RowSource:
    """Something that yields its rows block by block, as often as asked.

    Parameters
    ----------
    blocks : callable
        () → iterator of :class:`Rows`; every call starts from the first row.
    columns : tuple of str
        Names of the columns.
    n : int or None
        Number of rows, where it is known before the first pass.
    sample : callable or None
        () → a source of evenly spaced rows, where there are so many that starting values are better found on a few.
    opening : callable or None
        (family, link) → where to begin, with the sums of all rows there, or None; where the rows were summed already.
    map : callable or None
        (function of a source) → iterator of what the function gives for each part of the rows, in order, where parts
        are summed apart (by other processes, say). None: the rows are one part.
    """

    blocks: Callable[[], Iterator[Rows]]
    columns: tuple[str, ...]
    n: int | None = None
    sample: Callable[[], RowSource] | None = None
    opening: Callable[[Any, Any], Any] | None = None
    map: Callable[[Callable[[RowSource], Any]], Iterator[Any]] | None = None


def problem_rows(problem: Problem, size: int = BLOCK_ROWS) -> RowSource:
    """The rows of a problem in blocks of views and short temporaries.

    Parameters
    ----------
    problem : Problem
        Design and response in memory.
    size : int
        Rows per block.
    """
    n, p = problem.design.X.shape
    step = min(n // (SAMPLE_ROWS_PER_COLUMN * max(p, 1)), SAMPLE_STEP)
    source = design_rows(problem.design, size)
    if n < MANY_ROWS or step <= 3:
        return source
    return replace(source, sample=partial(design_rows, problem.design, size, step))


def design_rows(d: Design, size: int = BLOCK_ROWS, step: int = 1) -> RowSource:
    """Every step-th row of a design that has a response, in blocks."""
    r = d.response
    assert r is not None

    def blocks() -> Iterator[Rows]:
        stack = d.stack if step == 1 else None
        rows = step * (size if stack is None else max(size, STACK_ROWS))
        for start in range(0, d.nobs, rows):
            part = slice(start, start + rows, step)
            y, trials = r.y[part], None if r.trials is None else r.trials[part]
            weights = None if d.weights is None else d.weights[part]
            w = np.ones(len(y)) if weights is None else weights
            raw = (y, trials, weights)
            if trials is not None:
                y, w = y / trials, w * trials
            if stack is None:
                yield Rows(d.X[part], y, w, d.offset[part], raw)
            else:
                yield ColumnRows(tuple(column[part] for column in stack), y, w, d.offset[part], raw)

    return RowSource(blocks, d.columns, -(-d.nobs // step))
