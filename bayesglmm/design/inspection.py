"""What must be known of every row before data in chunks are fitted: valid values, rank, and rows to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bayesglmm.design.build import rebind
from bayesglmm.design.chunks import CHUNK_VALUES
from bayesglmm.design.types import Design, Floats, Response

#: At least about so many rows are kept for starting values, and so many a column; more when they fill half a chunk.
SAMPLE_ROWS, SAMPLE_ROWS_PER_COLUMN = 10_000, 100


class Inspection:
    """Looks at every chunk once: values are checked, cross-products added up, and evenly spaced rows kept.

    Parameters
    ----------
    bound : Design
        To which every chunk is bound.
    check : callable
        Response → raises DataError when the family cannot have produced it.

    Attributes
    ----------
    gram : ndarray, shape (p, p)
        X'X.
    """

    def __init__(self, bound: Design, check: Callable[[Response], Any]) -> None:
        p = len(bound.columns)
        self.bound, self._check = bound, check
        self.gram: Floats = np.zeros((p, p))
        self._extremes: list[Response] = []
        self._samples: list[Design] = []
        self._seen, self._step = 0, 1
        self._most = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COLUMN * p, CHUNK_VALUES // (2 * (p + 2)))

    def look(self, table: Any) -> None:
        """Take in one table."""
        design = rebind(self.bound, table, require_response=True, gaps={})
        if design.nobs == 0:
            return
        assert design.response is not None
        self._check(design.response)
        self.gram += design.X.T @ design.X
        self._extremes = [_extremes([*self._extremes, design.response])]
        self._samples.append(_rows_of(design, slice(-self._seen % self._step, None, self._step)))
        self._seen += design.nobs
        while sum(s.nobs for s in self._samples) > 2 * self._most:
            self._samples = [_rows_of(_stack(self._samples), slice(None, None, 2))]
            self._step *= 2

    @property
    def extremes(self) -> Response:
        """The rows with the lowest and the highest response."""
        return self._extremes[0]

    @property
    def sample(self) -> Design:
        """Evenly spaced rows."""
        return _stack(self._samples)


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
        X=np.array(design.X[rows], order="C"),
        offset=design.offset[rows].copy(),
        weights=None if design.weights is None else design.weights[rows].copy(),
        response=replace(r, y=r.y[rows].copy(), trials=None if r.trials is None else r.trials[rows].copy()),
        index=None,
        binding=None,
    )


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
