"""Whether the levels of one grouping factor lie within those of another, as the data have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Grouped(Protocol):
    """A grouping factor: the level of every row."""

    @property
    def codes(self) -> Ints:
        """Level per row, from 0."""
        ...


def lies_within(inner: Ints, outer: Ints) -> bool:
    """Whether all rows of every level of `inner` have one level of `outer`; shape (n,) each."""
    if not len(inner):
        return True
    first = np.zeros(int(inner.max()) + 1, dtype=np.int64)
    first[inner] = outer
    return bool(np.array_equal(first[inner], outer))


def nesting(factors: Sequence[Grouped]) -> tuple[int, int] | None:
    """Which of two grouping factors is the outer and which the inner one.

    Parameters
    ----------
    factors : sequence
        Blocks of a design, or layouts: anything with ``codes``.

    Returns
    -------
    tuple of int or None
        Positions (outer, inner); None unless there are exactly two factors and one is nested in the other.
    """
    if len(factors) != 2:
        return None
    one, other = (f.codes for f in factors)
    if lies_within(other, one):
        return 0, 1
    return (1, 0) if lies_within(one, other) else None
