"""What must be known of every row before data in chunks are fitted: valid values, rank, and rows to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from bayesglmm.design.bind import bind_rows, read_chunk
from bayesglmm.design.chunks import CHUNK_VALUES, ROWS_AT_LEAST, Chunks
from bayesglmm.design.rank import clearly_independent
from bayesglmm.design.rows import Rows
from bayesglmm.design.types import Design, Floats, Response
from bayesglmm.errors import BayesGLMMError

#: At least about so many rows are kept for starting values, and so many a column; more when they fill half a chunk.
SAMPLE_ROWS, SAMPLE_ROWS_PER_COLUMN = 10_000, 100
#: From how many rows on a first look is prepared, and from how many parts: the first tables of so many, or of every
#: so manieth.
FIRST_LOOK_ROWS, FIRST_LOOK_PARTS, FIRST_LOOK_SHARE = 1_000_000, 8, 12


class Onlooker(Protocol):
    """Something a method wants to know of all rows, to be found out in the pass that checks them."""

    def begin(self, sample: Design) -> None:
        """Prepare, from rows spread over the data."""
        ...

    def look(self, design: Design) -> None:
        """Take in some rows."""
        ...

    @property
    def found(self) -> Any:
        """What was found, or None."""
        ...


class Inspection:
    """Looks at every chunk once: values are checked, cross-products added up, and evenly spaced rows kept.

    Parameters
    ----------
    bound : Design
        To which every chunk is bound.
    check : callable
        Response → raises DataError when the family cannot have produced it.
    first : Onlooker, optional
        Is shown every design.

    Attributes
    ----------
    gram : ndarray, shape (p, p), or None
        X'X; None where the columns of a chunk stand apart, and only their lengths are taken.
    """

    def __init__(self, bound: Design, check: Callable[[Response], Any], first: Onlooker | None = None) -> None:
        p = len(bound.columns)
        self.bound, self._check, self.first = bound, check, first
        self.gram: Floats | None = np.zeros((p, p))
        self._squares: Floats = np.zeros(p)
        self._extremes: list[Response] = []
        self._samples: list[Design] = []
        self._seen, self._step = 0, 1
        self._most = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COLUMN * p, CHUNK_VALUES // (2 * (p + 2)))

    def look(self, table: Any) -> None:
        """Take in one table."""
        self.see(read_chunk(self.bound.formula, self.bound.binding.arguments, table))

    def see(self, rows: Rows) -> None:
        """Take in rows that were read already."""
        design = bind_rows(self.bound, rows)
        if design.nobs == 0:
            return
        assert design.response is not None
        self._check(design.response)
        if self.first is not None:
            self.first.look(design)
        if design.stack is None:
            gram = design.X.T @ design.X
            self._squares += np.diagonal(gram)
            self.gram = None if self.gram is None else self.gram + gram
        else:
            # einsum, for BLAS would wake threads for each
            self._squares += [np.einsum("i,i->", column, column) for column in design.stack]
            self.gram = None
        self._extremes = [_extremes([*self._extremes, design.response])]
        self._keep(design)

    def _keep(self, design: Design) -> None:
        """Keep every so manieth row, counted over all tables; every other of those is enough once there are many."""
        while -(-(self._seen + design.nobs) // self._step) > 2 * self._most:
            self._samples = [_rows_of(_stack(self._samples), slice(None, None, 2))] if self._samples else []
            self._step *= 2
        self._samples.append(_rows_of(design, slice(-self._seen % self._step, None, self._step)))
        self._seen += design.nobs

    @property
    def independent(self) -> bool:
        """Whether there is no doubt that no column depends on the others; some rows are enough to tell."""
        if self.gram is not None:
            return clearly_independent(self.gram)
        X = self.sample.X
        return clearly_independent(X.T @ X, np.sqrt(self._squares))

    @property
    def extremes(self) -> Response:
        """The rows with the lowest and the highest response."""
        return self._extremes[0]

    @property
    def sample(self) -> Design:
        """Evenly spaced rows."""
        return _stack(self._samples)


def begin(first: Onlooker, bound: Design, chunks: Chunks, columns: list[str]) -> Onlooker | None:
    """Show a first look some rows of data in files; None where there are too few, or something is wrong with them.

    Parameters
    ----------
    first : Onlooker
    bound : Design
        To which the rows are bound.
    chunks : Chunks
    columns : list of str
        The columns that are needed.
    """
    nrows = chunks.nrows
    if nrows is None or nrows < FIRST_LOOK_ROWS:
        return None
    parts = list(Chunks(chunks.source, rows=ROWS_AT_LEAST).parts(columns))  # short tables, for the rest is not read
    step = max(len(parts) // max(FIRST_LOOK_PARTS, len(parts) // FIRST_LOOK_SHARE), 1)
    if len(parts) < FIRST_LOOK_PARTS:
        return None

    try:
        seen = Inspection(bound, lambda response: None)
        for part in parts[step // 2 :: step]:
            for table in islice(part(), 1):
                seen.look(table)
        first.begin(seen.sample)
    except BayesGLMMError:  # said in its place when all rows are read
        return None
    return first


def _extremes(responses: list[Response]) -> Response:
    """The rows with the lowest and the highest response (proportion): enough to see whether it is constant."""
    y = np.concatenate([r.y for r in responses])
    trials = None if responses[0].trials is None else np.concatenate([r.trials for r in responses])  # type: ignore[misc]
    share = y if trials is None else y / trials
    ends = np.array([share.argmin(), share.argmax()])
    return replace(responses[0], y=y[ends], trials=None if trials is None else trials[ends])


def _rows_of(design: Design, rows: slice) -> Design:
    r = design.response
    assert r is not None
    return replace(
        design,
        X=_matrix_of(design, rows),
        offset=design.offset[rows].copy(),
        weights=None if design.weights is None else design.weights[rows].copy(),
        response=replace(r, y=r.y[rows].copy(), trials=None if r.trials is None else r.trials[rows].copy()),
        index=None,
        binding=None,
    )


def _matrix_of(design: Design, rows: slice) -> Floats:
    """Some rows of the matrix, a copy."""
    stack = design.stack
    return np.array(design.X[rows], order="C") if stack is None else np.column_stack([c[rows] for c in stack])


def _stack(parts: list[Design]) -> Design:
    def join(values: list[Any]) -> Any:
        return None if values[0] is None else np.concatenate(values)

    responses = [d.response for d in parts if d.response is not None]
    response = replace(responses[0], y=join([r.y for r in responses]), trials=join([r.trials for r in responses]))
    return replace(
        parts[0],
        X=join([d.X for d in parts]),
        offset=join([d.offset for d in parts]),
        weights=join([d.weights for d in parts]),
        response=response,
    )
