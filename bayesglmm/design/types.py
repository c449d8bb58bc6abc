"""What a formula and a table become: plain arrays with just enough names to label a result."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Response:
    """The left side of the formula.

    Parameters
    ----------
    name : str
        As written, for labels.
    y : ndarray, shape (n,)
        The response; success *counts* when there are trials; integer codes when it is categorical.
    trials : ndarray, shape (n,), or None
        Binomial denominators of ``p(successes, trials)``.
    levels : tuple of str or None
        Level names of a categorical (text, boolean or category) response, in order; ``y`` holds their codes.
    """

    name: str
    y: Floats
    trials: Floats | None = None
    levels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Term:
    """One ``( … | g)`` within a block: which columns of the block's z are its own, and how they vary together.

    Parameters
    ----------
    label : str
        As written, e.g. ``"1 + Days | Subject"``.
    start, stop : int
        Its columns are ``z[:, start:stop]``.
    correlated : bool
        False for ``||``: the columns' effects are independent.
    """

    label: str
    start: int
    stop: int
    correlated: bool

    @property
    def size(self) -> int:
        """Number of columns."""
        return self.stop - self.start


@dataclass(frozen=True)
class RandomBlock:
    """All random terms of one grouping factor: codes + levels + a small dense z.

    Row i of the design matrix Z of this block is ``z[i]`` placed at level ``codes[i]``; the full n × (q·levels)
    matrix is never made.

    Parameters
    ----------
    group : str
        Name of the grouping factor, ``"herd"`` or ``"batch:cask"``.
    levels : tuple of str
        Level names that occur in the data, in the factor's order.
    codes : ndarray of int64, shape (n,)
        Index into `levels` per row; new data only: -1, -2, ... for the levels that were not seen.
    z : ndarray, shape (n, q)
        Column values; q summed over the terms.
    columns : tuple of str, length q
        Coefficient names, ``"Intercept"``, ``"Days"``.
    terms : tuple of Term
        The terms, in the order of the formula.
    """

    group: str
    levels: tuple[str, ...]
    codes: Ints
    z: Floats
    columns: tuple[str, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class AuxDesign:
    """Linear predictor of an auxiliary of the likelihood: a dispersion model, or zero inflation by formula.

    Parameters
    ----------
    name : str
        Of the auxiliary, ``"zi"``.
    formula : object
        The parsed one-sided formula.
    X : ndarray, shape (n, k)
        Its columns, full rank.
    columns : tuple of str, length k
        Their names.
    binding : object
        What is needed to build the same columns from new data.
    """

    name: str
    formula: Any
    X: Floats
    columns: tuple[str, ...]
    binding: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Design:
    """Everything the numbers need from formula and table.

    Parameters
    ----------
    formula : object
        The parsed formula (``bayesglmm.formula.Formula``).
    response : Response or None
        None for new data without a response.
    X : ndarray, shape (n, p)
        Fixed-effects matrix, full column rank (aliased columns are removed).
    columns : tuple of str, length p
        Names of the columns of `X`.
    aliased : tuple of str
        Names of columns that are linear combinations of earlier ones; not estimable, not in `X`.
    offset : ndarray, shape (n,)
        Sum of ``offset(...)`` terms, the `offset` argument and log(exposure); zeros when there are none.
    weights : ndarray, shape (n,), or None
        Prior weights, as in R's ``glm``: Var(y_i) = φ V(μ_i) / w_i.
    blocks : tuple of RandomBlock
        One per grouping factor.
    index : object
        pandas Index of the rows that were kept.
    n_dropped : int
        Rows left out for missing values.
    binding : object
        What is needed to build the same columns from new data (``bayesglmm.design.rebind`` reads it).
    relations : ndarray, shape (p, len(aliased)), or None
        How the aliased columns depend on those of `X`: column j of ``X @ relations`` is the j-th aliased one.
    kept : ndarray of bool, shape (rows of the table,), or None
        Which rows of the table are in use; None when all are.
    auxiliaries : tuple of AuxDesign
        Auxiliaries with a linear predictor of their own; the others are one number for all rows.
    chunks : Chunks or None
        Where the rows are read from when they are not in memory (``bayesglmm.design.chunked.ChunkedDesign``).
    """

    formula: Any
    response: Response | None
    X: Floats
    columns: tuple[str, ...]
    aliased: tuple[str, ...]
    offset: Floats
    weights: Floats | None
    blocks: tuple[RandomBlock, ...]
    index: Any
    n_dropped: int = 0
    binding: Any = field(default=None, repr=False, compare=False)
    relations: Floats | None = field(default=None, repr=False, compare=False)
    kept: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)
    auxiliaries: tuple[AuxDesign, ...] = ()
    chunks: Any = field(default=None, repr=False, compare=False)

    @property
    def nobs(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def stack(self) -> tuple[Floats, ...] | None:
        """The columns of `X` where they stand apart in memory, each contiguous; None where they are one matrix."""
        return None


class ColumnStack:
    """What holds columns that stay where they are; their matrix is put together when somebody asks for it.

    To be given as ``_columns`` to :meth:`_hold`: a tuple of contiguous arrays, shape (n,), or their matrix.
    """

    _columns: tuple[Floats, ...] | Floats

    def _hold(self, **values: Any) -> None:
        """Set the fields of a frozen dataclass."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def stack(self) -> tuple[Floats, ...] | None:
        """The columns, as long as nobody has asked for their matrix."""
        return self._columns if isinstance(self._columns, tuple) else None

    @property
    def X(self) -> Floats:
        """Their matrix, each column contiguous."""
        if isinstance(self._columns, tuple):
            self._hold(_columns=np.stack(self._columns).T)
        return np.asarray(self._columns)


class ColumnDesign(ColumnStack, Design):  # type: ignore[misc]
    """A design whose columns stay where they are.

    Parameters
    ----------
    X : tuple of ndarray, shape (n,), or ndarray, shape (n, p)
        The columns, contiguous, or their matrix.
    **fields
        As for :class:`Design`.
    """

    def __init__(self, X: Any, **fields: Any) -> None:
        defaults = {f.name: f.default for f in dataclass_fields(Design) if f.default is not MISSING}
        self._hold(**(defaults | fields), _columns=X)

    @property
    def nobs(self) -> int:
        """Number of rows."""
        return len(self.offset)
