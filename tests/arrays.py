"""Problems made from plain arrays, for tests of the engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.design.types import Design, Response
from bayesglmm.families import get_family
from bayesglmm.links import get_link
from bayesglmm.problem import Problem


def array_problem(
    X: Any,
    y: Any,
    family: Any = "gaussian",
    link: Any = None,
    *,
    trials: Any = None,
    weights: Any = None,
    offset: Any = None,
    columns: Any = None,
) -> Problem:
    """A problem without random terms whose columns are named x0, x1, ... unless said otherwise."""
    X = np.asarray(X, dtype=float)
    n, p = X.shape
    vector = lambda v: None if v is None else np.asarray(v, dtype=float)  # noqa: E731
    row = get_family(family)
    design = Design(
        formula=None,
        response=Response("y", np.asarray(y, dtype=float), vector(trials)),
        X=X,
        columns=tuple(f"x{j}" for j in range(p)) if columns is None else tuple(columns),
        aliased=(),
        offset=np.zeros(n) if offset is None else np.asarray(offset, dtype=float),
        weights=vector(weights),
        blocks=(),
        index=pd.RangeIndex(n),
    )
    return Problem(design, row, get_link(row.links[0] if link is None else link, row), (), None)
