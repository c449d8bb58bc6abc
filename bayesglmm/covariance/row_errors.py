"""How the errors of a Gaussian model go together within groups: what a user gives, bound to the rows.

Var(y | b) = σ² W^-½ R W^-½ with R block-diagonal over groups. What the engines need of R is its whitening L⁻¹v
(LL' = R, group by group), log|R|, and the derivatives of both in R's own parameters (Pinheiro & Bates 2000,
Mixed-Effects Models in S and S-PLUS, sections 5.1.2 and 5.3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.covariance.charted import Charted
from bayesglmm.design import row_values
from bayesglmm.errors import DataError, MethodError

if TYPE_CHECKING:
    from bayesglmm.design.types import Design
    from bayesglmm.families.base import Family
    from bayesglmm.links import Link

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RowErrors(Charted):
    """An error structure bound to the rows of a design; `at` holds its parameters everywhere."""

    #: Names of its parameters.
    names: tuple[str, ...] = ()
    #: σ² where the given matrices are the covariance itself.
    scale: float | None = None
    #: In words, for summaries.
    label: str

    @property
    @abstractmethod
    def start(self) -> Floats:
        """Where a search for the parameters starts, shape (k,)."""

    @abstractmethod
    def whiten(self, at: Floats, v: Floats) -> Floats:
        """L⁻¹v, shape (n,) or (n, k)."""

    @abstractmethod
    def whiten_slopes(self, at: Floats, v: Floats) -> tuple[Floats, ...]:
        """Derivatives of :meth:`whiten` in each parameter."""

    @abstractmethod
    def color(self, at: Floats, v: Floats) -> Floats:
        """Lv: independent errors become correlated ones; shape (n,) or (n, k)."""

    @abstractmethod
    def log_det(self, at: Floats) -> float:
        """log|R|."""

    @abstractmethod
    def log_det_slopes(self, at: Floats) -> Floats:
        """Its derivatives, shape (k,)."""

    @abstractmethod
    def within(self, codes: Ints) -> bool:
        """Whether rows whose errors go together always share a code: then whitening leaves Z's pattern as it is."""


class ErrorStructure(Protocol):
    """What a user gives: something that can be bound to the rows in use."""

    def bind(self, rows: int, values: Callable[[Any, str], Any]) -> RowErrors:
        """Bind to `rows` rows; ``values(given, name)`` reads a column, or values, for the rows in use."""
        ...


def bind_errors(
    given: ErrorStructure | None, design: Design, data: Any, family: Family, link: Link
) -> RowErrors | None:
    """The error structure of a model on its rows; None without one.

    Parameters
    ----------
    given : AR1Errors, KnownErrors or None
        What the user gave.
    design : Design
        The rows in use.
    data : table
        Where columns are looked up.
    family, link : Family, Link
        The model's.

    Raises
    ------
    MethodError, DataError
        Something that is no error structure, or does not fit the rows.
    """
    if given is None:
        return None
    if not hasattr(given, "bind"):
        raise MethodError(f"errors is {given!r}; bg.AR1Errors(group, time=...) or bg.KnownErrors(...) is expected.")
    if family.name != "gaussian" or link.name != "identity" or design.chunks is not None or design.auxiliaries:
        raise MethodError(
            "errors= is for the gaussian family with identity link, one dispersion and all rows in memory; the model "
            f"is {family.name} ({link.name})."
        )
    return given.bind(design.nobs, partial(row_values, design, data))


def describe(what: str, group: Any, place: Any) -> str:
    """A structure in words."""
    inside = f" within {group}" if isinstance(group, str) else " within groups" if group is not None else ""
    return what + inside + (f" over {place}" if isinstance(place, str) else "")


def checked(values: Any, rows: int, name: str) -> pd.Series:
    """One value per row, none missing."""
    if np.ndim(values) != 1:
        raise DataError(f"{name} of the errors has {np.ndim(values)} dimensions; one value per row is expected.")
    series = pd.Series(np.asarray(values) if not isinstance(values, pd.Series) else values).reset_index(drop=True)
    if len(series) != rows:
        raise DataError(f"{name} of the errors has {len(series)} values for {rows} rows.")
    if series.isna().any():
        raise DataError(f"{name} of the errors is missing in {int(series.isna().sum())} rows in use.")
    return series


def group_codes(group: Any, rows: int, values: Callable[[Any, str], Any]) -> Ints:
    """Groups as whole numbers."""
    return pd.factorize(checked(values(group, "group"), rows, "group"))[0].astype(np.int64)
