"""Average marginal effects: how much the mean response moves with a predictor, averaged over rows.

One predictor is moved in every row while all else stays. Differences of the predicted means, or slopes where it is a
number, are averaged over the rows: the "observed value" approach (Hanmer & Kalkan 2013, American Journal of Political
Science 57, 263-277). Standard errors by the delta method over everything that enters (coefficients, covariance
parameters, auxiliaries, random effects), or from the draws of a sampled posterior or a nested fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import mapping, optional, plain, probability, takes, texts
from bayesglmm.design import rebind
from bayesglmm.design.build import used_columns
from bayesglmm.design.columns import Factor, read_column
from bayesglmm.design.tables import Table
from bayesglmm.design.types import Design
from bayesglmm.errors import DataError, DataWarning, MethodError
from bayesglmm.posterior import summary_draws
from bayesglmm.predict import expected_response, mean_draws
from bayesglmm.problem import Problem
from bayesglmm.quantiles import norm
from bayesglmm.responses import LEVELS, at_levels, eta_draws
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]

#: Half the step of a slope, in sds of the predictor.
STEP = 1e-4


@dataclass(frozen=True)
class Move:
    """One predictor moved in every row.

    Parameters
    ----------
    variable, label : str
        The column, and the move in words: ``"slope"``, ``"b - a"``.
    high, low : Design
        The rows after and before.
    size : float
        What the difference is divided by.
    """

    variable: str
    label: str
    high: Design
    low: Design
    size: float


@takes(variables=optional(texts), compare=optional(mapping), by=plain, level=plain, ci=probability)
def average_effects(
    problem: Problem,
    result: Result,
    data: Any,
    variables: Any = None,
    *,
    compare: Mapping[str, Any] | None = None,
    by: str | None = None,
    level: str = "marginal",
    ci: float = 0.95,
    offset: Any = None,
    exposure: Any = None,
) -> pd.DataFrame:
    """Average effects of predictors on the mean; see :meth:`bayesglmm.Fit.average_effects`."""
    if level not in LEVELS:
        raise MethodError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    if problem.family.categories == "ordered":
        raise MethodError("an ordered response has no mean: compare predict(kind='category') of two tables instead.")
    frame = Table(data)
    known = _predictors(problem, frame)
    wanted = list(known) if variables is None else list(variables)
    for name in (*wanted, *(compare or {})):
        if name not in known:
            raise MethodError(f"the fixed part has no column {name!r}; it uses {', '.join(known) or 'none'}.")
    columns = pd.DataFrame({name: frame.column(name).reset_index(drop=True) for name in frame.names})
    given = {"offset": offset, "exposure": exposure}
    moves = [m for name in wanted for m in _moves(problem, columns, name, (compare or {}).get(name), given)]
    sample = summary_draws(problem, result, moves[0].high.nobs) if moves else None
    rows = []
    for move in moves:
        for key, weights in _groups(move.high, columns, by):
            found = _averaged(problem, result, sample, move, weights, level, ci)
            rows.append({"variable": move.variable, "effect": move.label, **({} if by is None else {by: key}), **found})
    return pd.DataFrame(rows)


def _predictors(problem: Problem, frame: Table) -> tuple[str, ...]:
    """Columns of the fixed part and of random slopes."""
    used = used_columns(problem.design.formula, with_response=False)
    return tuple(name for name in used if name in frame)


def _moves(problem: Problem, data: pd.DataFrame, name: str, compare: Any, given: dict[str, Any]) -> Iterator[Move]:
    column = read_column(data[name], name)

    def at(value: Any) -> Design:
        if isinstance(column, Factor):
            moved = pd.Categorical([str(value)] * len(data), categories=list(column.levels))
        else:
            moved = np.broadcast_to(np.asarray(value, dtype=float), len(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # of missing values, which the fit has told already
            return rebind(problem.design, data.assign(**{name: moved}), **given)

    if isinstance(column, Factor):
        first, *others = column.levels if compare is None else _pair(name, compare, column.levels)
        low = at(first)
        for other in others:
            yield Move(name, f"{other} - {first}", at(other), low, 1.0)
    elif compare is None:
        step = STEP * (float(np.nanstd(column)) or 1.0)
        yield Move(name, "slope", at(column + step), at(column - step), 2.0 * step)
    elif isinstance(compare, int | float):
        yield Move(name, f"+{compare:g}", at(column + compare), at(column), 1.0)
    else:
        a, b = _pair(name, compare, None)
        yield Move(name, f"{b:g} - {a:g}", at(b), at(a), 1.0)


def _pair(name: str, compare: Any, levels: tuple[str, ...] | None) -> tuple[Any, Any]:
    """Two values to compare: ``(from, to)``."""
    if isinstance(compare, str) or not hasattr(compare, "__len__") or len(compare) != 2:
        raise MethodError(f"compare[{name!r}] is {compare!r}; a pair (from, to) is expected, or a step for a number.")
    pair = tuple(map(str, compare)) if levels is not None else tuple(compare)
    for value in pair:
        if levels is not None and value not in levels:
            raise MethodError(f"compare[{name!r}]: {value!r} is no level of it; levels are {', '.join(levels)}.")
    return pair[0], pair[1]


def _groups(design: Design, data: pd.DataFrame, by: str | None) -> Iterator[tuple[Any, Floats]]:
    """Weights of the rows, one over their number in a group and zero outside."""
    n = design.nobs
    if by is None:
        yield "", np.full(n, 1.0 / n)
        return
    if by not in data:
        raise MethodError(f"by={by!r} is no column of the table.")
    column = data[by] if design.kept is None else data[by][design.kept]
    for key, rows in column.reset_index(drop=True).groupby(column.to_numpy(), observed=True, sort=True).groups.items():
        weights = np.zeros(n)
        weights[np.asarray(rows)] = 1.0 / len(rows)
        yield key, weights


def _averaged(
    problem: Problem, result: Result, sample: Draws | None, move: Move, weights: Floats, level: str, ci: float
) -> dict[str, float]:
    if sample is not None:
        values = _over_draws(problem, sample, move, weights, level)
        low, high = np.quantile(values, [0.5 - ci / 2.0, 0.5 + ci / 2.0])
        return {"estimate": values.mean(), "se": values.std(ddof=1), "ci_low": low, "ci_high": high}
    estimate, variance = _delta(problem, result, move, weights, level)
    se = float(np.sqrt(max(variance, 0.0)))
    reach = float(norm.ppf(0.5 + ci / 2.0)) * se
    return {"estimate": estimate, "se": se, "ci_low": estimate - reach, "ci_high": estimate + reach}


def _over_draws(problem: Problem, draws: Draws, move: Move, weights: Floats, level: str) -> Floats:
    totals: list[Any] = []
    for design in (move.high, move.low):
        rng = np.random.default_rng(0)  # the same new random effects before and after
        eta = eta_draws(problem, draws, design, level, rng)
        totals.append(mean_draws(problem, draws, design, level, eta) @ weights)
    return (totals[0] - totals[1]) / move.size


def _delta(problem: Problem, result: Result, move: Move, weights: Floats, level: str) -> tuple[float, float]:
    """Estimate and variance; the derivatives of the averaged mean by central differences in η, θ and ψ."""
    averaged_already = level == "marginal" and (result.estimand == "marginal" or not result.effects)
    how = "population" if averaged_already else level
    own = level == "conditional" and bool(result.effects)
    total, slopes, row_slopes = 0.0, np.zeros(len(result.theta) + len(result.psi)), []
    for design, sign in ((move.high, 1.0 / move.size), (move.low, -1.0 / move.size)):
        eta = design.X @ result.beta + design.offset
        if own:
            for block, effects in zip(design.blocks, result.effects):
                if np.any(block.codes < 0):
                    raise DataError(
                        f"conditional effects at levels of {block.group!r} that were not seen: use 'marginal'."
                    )
                eta = eta + np.sum(block.z * at_levels(effects, block), axis=1)

        def mean(eta: Floats, theta: Floats, psi: Floats, design: Design = design) -> Floats:
            return expected_response(problem, design, how, eta, theta, psi)

        total += sign * float(weights @ mean(eta, result.theta, result.psi))
        up, down = (mean(eta + h, result.theta, result.psi) for h in (1e-5, -1e-5))
        row_slopes.append(sign * weights * (up - down) / 2e-5)
        slopes += sign * _parameter_slopes(mean, eta, result, weights, how, problem)
    return total, _variance(problem, result, move, row_slopes, slopes, own)


def _parameter_slopes(mean: Any, eta: Floats, result: Result, weights: Floats, how: str, problem: Problem) -> Floats:
    """Derivatives of the averaged mean in (θ, ψ), where they enter."""
    k, size = len(result.theta), len(result.theta) + len(result.psi)
    out = np.zeros(size)
    enters = [how == "marginal"] * k + [problem.family.expectation is not None] * (size - k)
    for j in np.flatnonzero(enters):
        ends = []
        for sign in (1.0, -1.0):
            point = np.concatenate([result.theta, result.psi])
            step = 1e-5 * max(1.0, abs(point[j]))
            point[j] += sign * step
            ends.append(weights @ mean(eta, point[:k], point[k:]))
        out[j] = (ends[0] - ends[1]) / (2.0 * step)
    return out


def _variance(
    problem: Problem, result: Result, move: Move, row_slopes: list[Floats], slopes: Floats, own: bool
) -> float:
    gradient = sum((d.X.T @ s for d, s in zip((move.high, move.low), row_slopes)), np.zeros(len(result.beta)))
    if own:
        from bayesglmm.latent.prediction import combination_variance

        return combination_variance(problem, result, [(move.high, row_slopes[0]), (move.low, row_slopes[1])])
    alone = float(gradient @ result.cov_beta @ gradient)
    if result.cov_joint is None or not np.any(slopes):
        return alone
    # What the other parameters add: the coefficients' own part is that of the table of coefficients.
    joint, p = np.nan_to_num(result.cov_joint), len(gradient)
    return alone + float(2.0 * gradient @ joint[:p, p:] @ slopes + slopes @ joint[p:, p:] @ slopes)
