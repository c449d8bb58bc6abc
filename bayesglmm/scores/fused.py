"""A scoring step's sums in one reading of the rows, for the families whose formulas are compiled together with it.

Everything else is done array by array (:func:`bayesglmm.scores.sums.block_sums`), and so is a block of rows on which
these formulas are not at their best: linear predictors far out, means at the end of their range.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families import get_family
from bayesglmm.families.base import Family
from bayesglmm.links import LINKS, Link
from bayesglmm.scores.rows import Rows

Floats = NDArray[np.float64]
Aux = tuple[float, ...]

# Family and link → kind of row, as numbered in `fused_rows`, and how far η may be from zero.
_KINDS: dict[tuple[str, str], tuple[int, float]] = {
    ("poisson", "log"): (0, 600.0),
    ("quasipoisson", "log"): (0, 600.0),
    ("binomial", "logit"): (1, 30.0),
    ("quasibinomial", "logit"): (1, 30.0),
    ("gamma", "log"): (2, 600.0),
    ("gaussian", "identity"): (3, np.inf),
    ("negative_binomial", "log"): (4, 600.0),
}


class Kind(NamedTuple):
    """Number of a row formula, the parameter of its variance, and the largest |η| it is trusted with."""

    number: int
    theta: float
    reach: float


class Fused(NamedTuple):
    """Sums of one block of rows.

    `products` is [X, r]' W [X, r], shape (p + 1, p + 1); `ends` are the lowest and the highest linear predictor.
    """

    products: Floats
    deviance: float
    pearson: float
    eta_norm: float
    weight: float
    ends: Floats


def fused_kind(family: Family, link: Link, aux: Aux) -> Kind | None:
    """The compiled row formula of a family and a link; None where there is none, or where they only share its name."""
    found = _KINDS.get((family.name, link.name))
    if found is None:
        return None
    usual, log = get_family(family.name, **family.options), LINKS[link.name]
    same: list[tuple[Any, Any]] = [(family.variance, usual.variance), (family.unit_deviance, usual.unit_deviance)]
    same += [(link.mean, log.mean), (link.slope, log.slope)]
    if any(_body(given) != _body(known) for given, known in same):
        return None
    theta = float(family.options.get("theta", aux[0] if family.name == "negative_binomial" and aux else 1.0))
    return Kind(found[0], theta, found[1])


def _body(function: Any) -> Any:
    """What tells functions apart that were made, or sent to another process, separately."""
    return getattr(function, "__code__", function)


def fused_sums(rows: Rows, beta: Floats, kind: Kind) -> Fused | None:
    """Sums at β; None where the block is to be done array by array.

    Parameters
    ----------
    rows : Rows
        The block.
    beta : ndarray, shape (p,)
        Coefficients.
    kind : Kind
        The row formula.
    """
    from bayesglmm.scores.fused_rows import fused_products

    held, addresses, stride = _places(rows)
    y, case, offset = (np.ascontiguousarray(a, np.float64) for a in (rows.y, rows.w, rows.offset))
    start = np.ascontiguousarray(beta, np.float64)
    products, totals = fused_products(addresses, stride, y, case, offset, start, kind.number, kind.theta)
    del held
    low, high = totals[4:]
    if not (np.isfinite(totals).all() and -kind.reach < low and high < kind.reach):
        return None
    deviance, pearson, eta_norm, weight = map(float, totals[:4])
    return Fused(products, deviance, pearson, eta_norm, weight, totals[4:])


def _places(rows: Rows) -> tuple[Any, NDArray[np.int64], int]:
    """The arrays that hold the columns, where each column starts, and the bytes from one row to the next."""
    if rows.stack is not None:
        starts = [column.__array_interface__["data"][0] for column in rows.stack]
        return rows.stack, np.array(starts, dtype=np.int64), 8
    X = np.asarray(rows.X, dtype=np.float64)
    start = X.__array_interface__["data"][0]
    return X, start + np.arange(X.shape[1], dtype=np.int64) * X.strides[1], X.strides[0]
