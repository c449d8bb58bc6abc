"""What transforms such as ``scale()`` and ``poly()`` learn from a column that is seen chunk by chunk.

In one pass and exactly: means and sums of squares by pairwise merging (Chan, Golub & LeVeque 1983, The American
Statistician 37, 242-247), orthogonal polynomials from the triangular factor of the powers (the recurrence coefficients
are differences of its scaled superdiagonal), ranges for splines with given knots.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from bayesglmm.design.evaluate import evaluate
from bayesglmm.design.types import Floats
from bayesglmm.errors import FormulaError
from bayesglmm.formula.expressions import Call, Expr, render, walk
from bayesglmm.formula.functions import FUNCTIONS, read_options


class Learner(Protocol):
    """Something that sees a column chunk by chunk and ends in the state a transform keeps."""

    def see(self, values: Floats) -> None:
        """Take in the values of a chunk, at least one."""
        ...

    def state(self) -> dict[str, Any]:
        """Give what the transform would have learned from the whole column."""
        ...


class Moments:
    """Mean and sum of squares about it."""

    def __init__(self, node: Call) -> None:
        options: dict[str, Any] = read_options(node)
        standard = node.function == "standardize"
        self.center = options.get("center", True)
        self.scale = node.function != "center" and options.get("rescale" if standard else "scale", True)
        self.ddof = options.get("ddof", 0 if standard else 1)
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def see(self, values: Floats) -> None:
        """Merge the moments of a chunk."""
        n, mean = len(values), float(values.mean())
        gap, total = mean - self.mean, self.n + n
        self.squares += float(np.square(values - mean).sum()) + gap**2 * self.n * n / total
        self.mean += gap * n / total
        self.n = total

    def state(self) -> dict[str, Any]:
        """Center and scale as formulaic's ``scale`` keeps them."""
        center = (self.mean if self.center else None) if isinstance(self.center, bool) else self.center
        about = 0.0 if center is None else float(center)
        scale: Any = None
        if not isinstance(self.scale, bool):
            scale = self.scale
        elif self.scale:
            scale = np.sqrt((self.squares + self.n * (self.mean - about) ** 2) / (self.n - self.ddof))
        return {"ddof": self.ddof, "center": center, "scale": scale}


class Polynomial:
    """Recurrence coefficients of the orthogonal polynomials, from R of the QR decomposition of [1, t, ..., t^d]."""

    def __init__(self, node: Call) -> None:
        options: dict[str, Any] = read_options(node)
        self.degree = options.get("degree", 1)
        self.raw = options.get("raw", False)
        self.R = np.empty((0, self.degree + 1))
        self.middle, self.unit = 0.0, 1.0

    def see(self, values: Floats) -> None:
        """Update R by the powers of a chunk, shifted and scaled as the first chunk suggests."""
        if self.raw:
            return
        if len(self.R) == 0:
            self.middle, spread = float(values.mean()), float(np.ptp(values))
            self.unit = 0.5 * spread if spread > 0 else max(abs(self.middle), 1.0)
        powers = np.vander((values - self.middle) / self.unit, self.degree + 1, increasing=True)
        self.R = np.linalg.qr(np.vstack([self.R, powers]), mode="r")

    def state(self) -> dict[str, Any]:
        """Alpha and squared norms as formulaic's ``poly`` keeps them, in the column's own unit."""
        if self.raw:
            return {}
        R = np.zeros((self.degree + 1, self.degree + 1))
        R[: len(self.R)] = self.R
        lead = np.append(0.0, np.diagonal(R, 1) / np.diagonal(R)[:-1])
        alpha = self.middle + self.unit * np.diff(lead)
        norms = np.square(np.diagonal(R)) * self.unit ** (2.0 * np.arange(self.degree + 1))
        return {"alpha": dict(enumerate(alpha)), "norms2": dict(enumerate(norms))}


class Range:
    """Ends of a column, all that a spline with given knots learns."""

    def __init__(self, node: Call) -> None:
        self.node = node
        self.options: dict[str, Any] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in read_options(node).items()
        }
        inner = self.options.get("df")
        if inner is not None and node.function == "bs":
            inner -= self.options.get("degree", 3) + self.options.get("include_intercept", False)
        if inner and self.options.get("knots") is None:
            raise FormulaError(
                f"{render(node)} puts its knots at quantiles of the whole column, which data in chunks do not show in "
                f"one pass. Give the knots: {node.function}(…, knots=[…])."
            )
        if self.options.get("constraints") is not None:
            raise FormulaError(
                f"{render(node)} is constrained by means over the whole column, which data in chunks do not show in "
                "one pass. Leave constraints= out."
            )
        self.low, self.high = np.inf, -np.inf

    def see(self, values: Floats) -> None:
        """Widen the range."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def state(self) -> dict[str, Any]:
        """What the spline itself learns from the two ends."""
        from formulaic.transforms import TRANSFORMS

        learned: dict[str, Any] = {}
        TRANSFORMS[self.node.function](np.array([self.low, self.high]), **self.options, _state=learned)
        return learned


_LEARNERS: dict[str, Any] = {
    "scale": Moments,
    "center": Moments,
    "standardize": Moments,
    "poly": Polynomial,
    "bs": Range,
    "cr": Range,
    "cs": Range,
    "cc": Range,
}


def learners(nodes: Iterable[Expr]) -> dict[str, tuple[Expr, Learner]]:
    """One learner per transform call in a formula: text of the call → (its argument, learner).

    Raises
    ------
    FormulaError
        For what cannot be settled in one pass: transforms of transforms, categories made from transforms, knots at
        quantiles.
    """
    found: dict[str, tuple[Expr, Learner]] = {}
    for node in nodes:
        for call in walk(node):
            if not (isinstance(call, Call) and call.function in FUNCTIONS):
                continue
            inner = [c for c in walk(call.arguments[0]) if is_transform(c)]
            if is_transform(call) and not inner:
                found[render(call)] = (call.arguments[0], _LEARNERS[call.function](call))
            elif inner and FUNCTIONS[call.function].kind in ("transform", "category"):
                raise FormulaError(
                    f"{render(call)} needs {render(inner[0])} to be settled first, which takes a second pass over data "
                    "in chunks. Compute the inner part as a column of the table."
                )
    return found


def is_transform(node: Expr) -> bool:
    """Whether a node is a call that learns from the data."""
    return isinstance(node, Call) and node.function in FUNCTIONS and FUNCTIONS[node.function].kind == "transform"


def values_of(node: Expr, columns: Any, nrows: int) -> Floats:
    """Numbers that a transform is given in a chunk, those that are finite."""
    value = np.asarray(evaluate(node, columns, {}, nrows), dtype=np.float64)
    return value[np.isfinite(value)]
