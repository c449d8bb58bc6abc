"""Rows in blocks: the one shape in which estimating equations read data, in memory or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.design.types import Design
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Rows per block: a block of 50 columns stays in a core's cache.
BLOCK_ROWS = 8192
#: From how many rows on starting values come from a sample: every SAMPLE_STEP-th row, and at least so many a column.
MANY_ROWS, SAMPLE_STEP, SAMPLE_ROWS_PER_COLUMN = 200_000, 32, 200


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
    """

    X: Floats
    y: Floats
    w: Floats
    offset: Floats


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
    map : callable or None
        (function of a source) → iterator of what the function gives for each part of the rows, in order, where parts
        are summed apart (by other processes, say). None: the rows are one part.
    """

    blocks: Callable[[], Iterator[Rows]]
    columns: tuple[str, ...]
    n: int | None = None
    sample: Callable[[], RowSource] | None = None
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
    sample = partial(design_rows, problem.design, size, step) if n >= MANY_ROWS and step > 3 else None
    return design_rows(problem.design, size, 1, sample)


def design_rows(
    d: Design, size: int = BLOCK_ROWS, step: int = 1, sample: Callable[[], RowSource] | None = None
) -> RowSource:
    """Every step-th row of a design that has a response, in blocks."""
    r = d.response
    assert r is not None

    def blocks() -> Iterator[Rows]:
        for start in range(0, d.nobs, size * step):
            part = slice(start, start + size * step, step)
            y = r.y[part]
            w = np.ones(len(y)) if d.weights is None else d.weights[part]
            if r.trials is not None:
                y, w = y / r.trials[part], w * r.trials[part]
            yield Rows(d.X[part], y, w, d.offset[part])

    return RowSource(blocks, d.columns, -(-d.nobs // step), sample)
