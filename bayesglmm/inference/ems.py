"""Expected mean squares of factorial designs: exact F tests of fixed and random terms, and moment estimates.

The response is split along the terms (fixed ones in the order of the formula, then random ones, each after those it
contains, then the residual): SS_k = y'P_k y, with P_k the projection on what term k adds. For random terms with
indicator matrices Z_j and Var(y) = Σ σ_j² Z_jZ_j' + σ²I,

    E[SS_k / df_k] = σ² + Σ_j σ_j² tr(P_k Z_jZ_j') / df_k + (Xβ)'P_k Xβ / df_k

(Hartley 1967, Biometrics 23, 105-114; Searle, Casella & McCulloch 1992, Variance Components, chapter 4 and section
5.3). Everything is computed from the cross products of the columns, so the work is linear in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.mean_squares import SMALL, Line, analyse_terms
from bayesglmm.inference.outcome import tail_probability
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most columns (coefficients and levels together) for which the dense cross products are made.
LARGEST = 4000


@dataclass(frozen=True)
class ExpectedMeanSquares:
    """The analysis of variance of a design with random factors.

    Parameters
    ----------
    table : DataFrame
        A row per term and one for the residual: ``kind`` (fixed, random, residual), ``df, sum_sq, mean_sq``,
        ``expected`` (the expected mean square in words; ``Q(a)`` is a quadratic form in the effects of a), ``F``,
        ``df_denominator``, ``denominator`` (which mean squares, in words) and ``p``.
    coefficients : DataFrame
        Of the variance components in the expected mean squares, rows as in `table`.
    components : DataFrame
        Moment estimates of the variance components, ``estimate, se``; negative ones are left as they are.
    exact : bool
        Whether the mean squares are independent multiples of χ², as in balanced designs; otherwise the F tests are
        approximate.

    Notes
    -----
    A denominator of one mean square gives an exact F test; where none has the right expectation, mean squares are
    added and subtracted, with Satterthwaite's (1946, Biometrics Bulletin 2, 110-114) degrees of freedom.
    """

    table: pd.DataFrame
    coefficients: pd.DataFrame
    components: pd.DataFrame
    exact: bool

    def __str__(self) -> str:
        kind = "exact F tests" if self.exact else "approximate F tests (the design is not balanced)"
        shown = self.table.to_string(float_format="{:.6g}".format, na_rep="")
        parts = self.components.to_string(float_format="{:.6g}".format)
        return f"Expected mean squares, {kind}\n{shown}\n\nVariance components by moments\n{parts}"

    def _repr_html_(self) -> str:
        return f"{self.table.to_html(float_format='{:.6g}'.format, na_rep='')}{self.components.to_html()}"


def expected_mean_squares(problem: Problem) -> ExpectedMeanSquares:
    """Analysis of variance of a linear mixed model whose random terms are ``(1 | g)``.

    Parameters
    ----------
    problem : Problem
        Gaussian with identity link; no weights.

    Raises
    ------
    MethodError
        Another family, weights, random slopes, a known covariance between levels, a random term that the fixed part
        already contains, no residual degrees of freedom, or too many levels.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "g": list("ppqqrr")})
    >>> table = bg.ems(bg.Model("y ~ 1 + (1 | g)", data)).table
    >>> table["expected"].to_dict()
    {'g': 'σ² + 2 σ²(g)', 'Residual': 'σ²'}
    """
    problem.need_independent_errors("an analysis of variance")
    _check(problem)
    lines, columns = analyse_terms(problem)
    random = [line.label for line in lines if line.kind == "random"]
    coefficients = _component_coefficients(lines, columns, random)
    mean_sq = np.array([line.sum_sq / line.df for line in lines])
    df = np.array([line.df for line in lines], dtype=float)
    labels = [line.label for line in lines]
    rows = []
    for k, line in enumerate(lines):
        quadratic = _quadratic_parts(line, lines, columns) if line.kind != "residual" else []
        row = {
            "kind": line.kind,
            "df": line.df,
            "sum_sq": line.sum_sq,
            "mean_sq": mean_sq[k],
            "expected": _words(coefficients[k], random, quadratic),
        }
        rows.append(row | _f_test(k, lines, coefficients, mean_sq, df))
    table = pd.DataFrame(rows, index=pd.Index(labels, name="term"))
    shown = pd.DataFrame(coefficients, index=table.index, columns=[*random, "Residual"])
    components = _moments(lines, coefficients, mean_sq, df, random)
    return ExpectedMeanSquares(table, shown, components, _is_exact(lines, columns, random))


@takes()
def ems(model: Any) -> ExpectedMeanSquares:
    """Expected mean squares, exact F tests and moment estimates of a model (or of the model of a fit).

    Parameters
    ----------
    model : Model or Fit
        Gaussian, with random terms ``(1 | g)``; see :func:`expected_mean_squares`.

    Examples
    --------
    >>> import bayesglmm as bg
    >>> found = bg.ems(bg.load_model("models/sleepstudy.toml").fit("reml"))
    Traceback (most recent call last):
        ...
    bayesglmm.errors.MethodError: mean squares are for random terms (1 | g) with independent levels, and ...
    """
    model = getattr(model, "model", model)
    if not hasattr(model, "problem"):
        raise MethodError(f"ems takes a Model or a Fit; got {type(model).__name__}.")
    return expected_mean_squares(model.problem)


def _check(problem: Problem) -> None:
    design = problem.design
    if problem.family.name != "gaussian" or problem.link.name != "identity":
        raise MethodError(f"mean squares are for gaussian models, and this one is {problem.family.name}.")
    if design.weights is not None:
        raise MethodError("mean squares are for rows of equal variance: leave the weights out.")
    for block, covariance in zip(design.blocks, problem.covariance):
        if block.columns != ("Intercept",) or covariance.precision is not None:
            raise MethodError(
                f"mean squares are for random terms (1 | g) with independent levels, and that of {block.group} is not."
            )
    size = design.X.shape[1] + sum(len(b.levels) for b in design.blocks)
    if size > LARGEST:
        raise MethodError(f"the design has {size} columns and levels; mean squares are made for at most {LARGEST}.")


def _component_coefficients(lines: list[Line], columns: dict[str, Ints], random: list[str]) -> Floats:
    """tr(P_k Z_jZ_j')/df_k, and 1 for the residual; shape (lines, components + 1)."""
    out = np.zeros((len(lines), len(random) + 1))
    out[:, -1] = 1.0
    for k, line in enumerate(lines):
        for j, label in enumerate(random):
            out[k, j] = np.sum(line.coordinates[:, columns[label]] ** 2) / line.df
    out[np.abs(out) < SMALL * np.abs(out).max()] = 0.0
    return out


def _quadratic_parts(line: Line, lines: list[Line], columns: dict[str, Ints]) -> list[str]:
    """Fixed terms whose effects the line's mean square holds."""
    size = max(float(np.abs(line.coordinates[:, :-1]).max()), 1e-300)
    fixed = [other.label for other in lines if other.kind == "fixed"]
    return [f for f in fixed if np.abs(line.coordinates[:, columns[f]]).max(initial=0.0) > 1e-7 * size]


def _words(row: Floats, random: list[str], quadratic: list[str]) -> str:
    parts = ["σ²"] + [f"{'' if abs(c - 1) < 1e-9 else f'{c:.6g} '}σ²({g})" for g, c in zip(random, row) if c]
    return " + ".join([*parts, *([f"Q({', '.join(quadratic)})"] if quadratic else [])])


def _f_test(k: int, lines: list[Line], coefficients: Floats, mean_sq: Floats, df: Floats) -> dict[str, object]:
    """F against the mean square(s) whose expectation is the term's own with its effects at zero."""
    line = lines[k]
    if line.kind == "residual":
        return {"F": np.nan, "df_denominator": np.nan, "denominator": "", "p": np.nan}
    others = [i for i, other in enumerate(lines) if other.kind != "fixed" and i != k]
    target = coefficients[k].copy()
    if line.kind == "random":
        target[[i for i, o in enumerate(lines) if o.kind == "random"].index(k)] = 0.0
    scale = np.abs(coefficients).max()
    single = [i for i in others if np.abs(coefficients[i] - target).max() < 1e-7 * scale]
    if single:
        weights = {single[-1]: 1.0}
    else:
        found = np.linalg.lstsq(coefficients[others].T, target, rcond=None)[0]
        if np.abs(coefficients[others].T @ found - target).max() > 1e-7 * scale:
            return {"F": np.nan, "df_denominator": np.nan, "denominator": "none", "p": np.nan}
        weights = {i: float(c) for i, c in zip(others, found) if abs(c) > 1e-9}
    pieces = np.array([c * mean_sq[i] for i, c in weights.items()])
    bottom = float(pieces.sum())
    below = bottom**2 / float(np.sum(pieces**2 / df[list(weights)])) if bottom > 0 else np.nan
    words = _denominator(weights, lines)
    if not bottom > 0:
        return {"F": np.nan, "df_denominator": np.nan, "denominator": words, "p": np.nan}
    F = float(mean_sq[k] / bottom)
    return {
        "F": F,
        "df_denominator": below,
        "denominator": words,
        "p": tail_probability("F", F, float(df[k]), below),
    }


def _denominator(weights: dict[int, float], lines: list[Line]) -> str:
    parts = []
    for i, c in weights.items():
        size = "" if abs(abs(c) - 1.0) < 1e-9 else f"{abs(c):.4g} "
        parts.append(f"{'-' if c < 0 else '+'} {size}{lines[i].label}")
    return " ".join(parts).removeprefix("+ ")


def _moments(lines: list[Line], coefficients: Floats, mean_sq: Floats, df: Floats, random: list[str]) -> pd.DataFrame:
    """Mean squares set equal to their expectations; variances from the unbiased estimates 2 MS²/(df + 2)."""
    own = [i for i, line in enumerate(lines) if line.kind != "fixed"]
    inverse = np.linalg.inv(coefficients[own])
    estimate = inverse @ mean_sq[own]
    se = np.sqrt(inverse**2 @ (2.0 * mean_sq[own] ** 2 / (df[own] + 2.0)))
    index = pd.Index([*random, "Residual"], name="component")
    return pd.DataFrame({"estimate": estimate, "se": se}, index=index)


def _is_exact(lines: list[Line], columns: dict[str, Ints], random: list[str]) -> bool:
    """Whether P_k Z_jZ_j' P_l is zero for k ≠ l, and a multiple of P_k for k = l."""
    for label in random:
        parts = [line.coordinates[:, columns[label]] for line in lines[:-1]]
        size = max(float(np.sum(p**2)) for p in parts)
        for k, part in enumerate(parts):
            own = part @ part.T
            flat = own - np.eye(len(own)) * np.trace(own) / len(own)
            if np.abs(flat).max() > 1e-7 * size:
                return False
            if any(np.abs(part @ other.T).max(initial=0.0) > 1e-7 * size for other in parts[:k]):
                return False
    return True
