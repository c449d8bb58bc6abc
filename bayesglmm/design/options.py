"""Values per row that a method is given as an option: a column's name, or an array."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bayesglmm.design.tables import Table
from bayesglmm.design.types import Design


def row_values(design: Design, data: Any, given: Any, name: str) -> Any:
    """One value for every row in use.

    Parameters
    ----------
    design : Design
        Says which rows of the table are in use.
    data : table
        The table the design was built from.
    given : str, array_like, or a pair of these
        Column names, or values for every row of the table, or for every row in use.
    name : str
        Name of the option.

    Returns
    -------
    Series, array_like, or a tuple of them
        Columns as pandas Series (so that categories and dates keep their meaning); None and values of any other length
        are returned as they are, for the method to judge.
    """
    if design.chunks is not None:  # columns are read with the chunks
        return given
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(g, str) for g in given):
        return tuple(row_values(design, data, g, name) for g in given)
    if isinstance(given, str):
        column = Table(data).column(given).reset_index(drop=True)
        return column if design.kept is None else column[design.kept].reset_index(drop=True)
    if given is None or design.kept is None or isinstance(given, dict):
        return given
    if not isinstance(given, tuple) and len(given) == len(design.kept) != design.nobs:
        return pd.Series(given).reset_index(drop=True)[design.kept].reset_index(drop=True)
    return given
