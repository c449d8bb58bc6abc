"""How the errors of a Gaussian model go together within groups: what a user gives, bound to the rows.

Var(y | b) = σ² W^-½ R W^-½ with R block-diagonal over groups. What the engines need of R is its whitening L⁻¹v
(LL' = R, group by group), log|R|, and the derivatives of both in R's own parameters (Pinheiro & Bates 2000,
Mixed-Effects Models in S and S-PLUS, sections 5.1.2 and 5.3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from bayesglmm.covariance.charted import Charted
from bayesglmm.design import row_values
from bayesglmm.errors import DataError, MethodError

if TYPE_CHECKING:
    from bayesglmm.design.types import Design
    from bayesglmm.families.base import Family
    from bayesglmm.links import Link

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Given:
    """What was bound to the rows: the structure, and by name the columns (or values) it read and what was in them."""

    structure: ErrorStructure
    read: Mapping[str, tuple[Any, Any]]


class RowErrors(Charted):
    """An error structure bound to the rows of a design; `at` holds its parameters everywhere."""

    #: Where it comes from.
    given: Given | None = None

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
    def conditional(self, at: Floats, seen: int) -> tuple[Any, Floats]:
        """Rows from `seen` on given those before, in units of σ².

        Returns
        -------
        weights : sparse array, shape (n − seen, seen)
            R_no R_oo⁻¹.
        variance : ndarray, shape (n − seen,)
            Diagonal of R_nn − R_no R_oo⁻¹ R_on.
        """

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
    read: dict[str, tuple[Any, Any]] = {}

    def values(column: Any, name: str) -> Any:
        read[name] = (column, row_values(design, data, column, name))
        return read[name][1]

    return replace(given.bind(design.nobs, values), given=Given(given, read))  # type: ignore[type-var]


def with_new_rows(errors: RowErrors, seen: int, design: Design, newdata: Any) -> RowErrors:
    """The same structure on the rows in use and, after them, on new ones.

    Parameters
    ----------
    errors : RowErrors
        Of the rows in use.
    seen : int
        Their number.
    design : Design
        The new rows in use.
    newdata : table
        Where their groups and times are looked up.

    Raises
    ------
    MethodError, DataError
        Groups or times that were given as values, or that do not go with those in use.
    """
    given = errors.given
    assert given is not None

    def values(column: Any, name: str) -> Any:
        if not isinstance(column, str):
            raise MethodError(
                f"{name} of the errors was given as values, which new rows have not: give the model the name of a "
                "column."
            )
        old = checked(given.read[name][1], seen, name)
        new = checked(row_values(design, newdata, column, name), design.nobs, name)
        if is_numeric_dtype(old) != is_numeric_dtype(new):
            old, new = old.astype(str), new.astype(str)
        return pd.concat([old.astype(object), new.astype(object)], ignore_index=True).infer_objects()

    return given.structure.bind(seen + design.nobs, values)


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
