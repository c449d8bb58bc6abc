"""What every estimate would be without one level of a grouping factor, for every level.

By fits without its rows; or, where levels are very many, by one Newton step from the fit. The random effects of
different levels are independent, so that the log-density that is maximised is a sum L = log prior + Σ_g ℓ_g over levels
of marginal log-likelihoods, and the maximum of L − ℓ_g is near

    x̂ − (H − H_g)⁻¹ ∇ℓ_g(x̂),    H = −∇²L(x̂), H_g = −∇²ℓ_g(x̂)

(Pregibon 1981, Annals of Statistics 9, 705-724, for rows of a generalised linear model). A level of m moves x̂ by O(1/m)
in the units in which L is curved over O(1), so that the step is off by a share of O(1/m) of itself. ∇ℓ_g and H_g are
central differences of ℓ_g, of all levels at once.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import flag, optional, takes
from bayesglmm.design.types import RandomBlock
from bayesglmm.diagnose.mixed_influence import MODES
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning, ConvergenceWarning, MethodError, warn
from bayesglmm.inference.bootstrap import refit_options
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.copies import Points, find_units
from bayesglmm.latent.quadrature.nodes import settings
from bayesglmm.latent.target import Target, make_target
from bayesglmm.latent.unit_loglik import units_at
from bayesglmm.marginals import marginals
from bayesglmm.methods.registry import METHODS
from bayesglmm.problem import Problem, without_rows
from bayesglmm.result import Result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Levels × rows up to which every level is left out by a fit: a few seconds.
REFITS = 5_000_000
#: Step of the differences, in standard deviations that a level alone would leave.
STEP = 1e-3


@takes(refit=optional(flag))
def group_influence(
    problem: Problem, result: Result, group: str, *, refit: bool | None = None, progress: Any = "auto"
) -> pd.DataFrame:
    """What every estimate would be without each level of a grouping factor.

    Parameters
    ----------
    problem, result
        A model with random terms, fitted by ml, reml, pql, mql, laplace or agq.
    group : str
        Name of a grouping factor of the model.
    refit : bool, optional
        Fit again without each level, or take one Newton step (laplace and agq, a factor whose levels are independent).
        When left out, the step where levels are so many that fits would take minutes, and it can be taken.
    progress : bool, "auto" or callable
        As elsewhere.

    Returns
    -------
    DataFrame
        One row per level: ``rows``; ``cooks_distance`` δ'V⁻¹δ / p, with δ the change β̂ − β̂₍g₎ of the coefficients and V
        their covariance in the whole fit; ``dfbetas[name]`` δ in standard errors of the fit without the level; and
        ``without[name]``, the estimate of every parameter from the other levels. Missing values where that fit failed.
        ``attrs["how"]`` says which way it was found.

    Raises
    ------
    MethodError
        A fit by another method, an unknown grouping factor, or a step that cannot be taken.

    Warns
    -----
    ConvergenceWarning
        When fits without a level failed.

    Notes
    -----
    Demidenko & Stukel (2005), Statistics in Medicine 24, 893-909. lme4's ``influence(fit, group)`` gives the DFBETAS
    with the other sign, and Cook's distances with a factor (m − p) / m, m levels.
    """
    block = _block(problem, result, group)
    if refit is None:
        few = len(block.levels) * problem.design.nobs <= REFITS
        refit = few or _objection(problem, result, group) is not None
    if refit:
        estimates, errors = _refitted(problem, result, block, progress)
    else:
        why = _objection(problem, result, group)
        if why is not None:
            raise MethodError(f"refit=False: {why}; leave it out.")
        estimates, errors = _stepped(problem, result, block)
    table = _table(problem, result, block, estimates, errors)
    table.attrs["how"] = "fits without each level" if refit else "one Newton step without each level"
    return table


def _block(problem: Problem, result: Result, group: str) -> RandomBlock:
    """The grouping factor, of a fit whose groups can be left out."""
    if result.method not in MODES:
        raise MethodError(
            f"influence of groups is for fits by {', '.join(MODES)}; this one is by {result.method!r}: "
            "use fit.loo('group')."
        )
    blocks = {b.group: b for b in problem.design.blocks}
    if group not in blocks:
        raise MethodError(f"unknown grouping factor {group!r}. This model has: {', '.join(blocks)}.")
    return blocks[group]


def _table(
    problem: Problem, result: Result, block: RandomBlock, estimates: pd.DataFrame, errors: Floats
) -> pd.DataFrame:
    """Changes of the coefficients, and the estimates, as the table has them."""
    names = list(problem.design.columns)
    change = result.beta - estimates[names].to_numpy()
    table = pd.DataFrame(
        {
            "rows": np.bincount(block.codes, minlength=len(block.levels)),
            "cooks_distance": np.einsum("ij,ij->i", change, np.linalg.solve(result.cov_beta, change.T).T) / len(names),
        },
        index=estimates.index,
    )
    dfbetas = pd.DataFrame(change / errors, index=table.index, columns=names)
    return pd.concat(
        [table, dfbetas.add_prefix("dfbetas[").add_suffix("]"), estimates.add_prefix("without[").add_suffix("]")],
        axis=1,
    )


def _refitted(problem: Problem, result: Result, block: RandomBlock, progress: Any) -> tuple[pd.DataFrame, Floats]:
    """Estimates of all parameters, and standard errors of the coefficients, by fits without each level."""
    rows: list[dict[str, float]] = []
    errors = np.full((len(block.levels), len(result.beta)), np.nan)
    with ticker(len(block.levels), progress, f"fits without a level of {block.group}") as advance:
        for k in range(len(block.levels)):
            again = _without(problem, result, block.codes == k)
            rows.append({} if again is None else {m.parameter: m.estimate for m in marginals(problem, again).values()})
            if again is not None:
                errors[k] = np.sqrt(np.diag(again.cov_beta))
            advance(1)
    columns = list(marginals(problem, result))
    estimates = pd.DataFrame(rows, index=pd.Index(block.levels, name=block.group), columns=columns)
    lost = estimates.index[estimates.isna().any(axis=1)]
    if len(lost):
        warn(
            f"{len(lost)} of {len(rows)} fits without a level of {block.group} failed or did not converge: "
            f"{', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}. Their rows are missing values.",
            ConvergenceWarning,
        )
    return estimates, errors


def _without(problem: Problem, result: Result, out: NDArray[np.bool_]) -> Result | None:
    """The fit without some rows; None where it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesGLMMWarning)
            again = METHODS[result.method].run(without_rows(problem, out), **refit_options(result))
        return again if again.status.converged else None
    except BayesGLMMError:
        return None


def _objection(problem: Problem, result: Result, group: str) -> str | None:
    """Why no step can be taken without a level of the factor; None where it can."""
    if result.method not in ("laplace", "agq"):
        return f"the step is for fits by laplace and agq, this one is by {result.method!r}"
    if _units_of_levels(make_target(problem), problem, group) is None:
        return f"the levels of {group!r} are not independent of each other given the parameters"
    return None


def _units_of_levels(target: Target, problem: Problem, group: str) -> Ints | None:
    """The unit that every level of a factor is; None where units are something else."""
    layout = target.objective.structure.layouts[[b.group for b in problem.design.blocks].index(group)]
    units = find_units(target.objective.structure)
    return units.of_unknown[layout.start : layout.stop : layout.size] if units.count == layout.levels > 1 else None


def _stepped(problem: Problem, result: Result, block: RandomBlock) -> tuple[pd.DataFrame, Floats]:
    """The same by one Newton step from the fit; parameters at an edge stay there."""
    how = settings(result.options)
    target = make_target(problem, **how)
    coordinates = target.coordinates
    x, slope = coordinates.join(result.beta, result.theta, result.psi), coordinates.slope(result.theta)
    assert result.cov_joint is not None
    cov = result.cov_joint / np.outer(slope, slope)
    free = np.flatnonzero(np.isfinite(np.diag(cov)) & (np.diag(cov) > 0.0))
    sd = np.sqrt(np.diag(cov)[free] * len(block.levels))
    units = _units_of_levels(target, problem, block.group)
    nodes = how["nodes"] if isinstance(how["nodes"], int) else 1

    def values(moves: Floats) -> Floats:
        points = np.repeat(x[None], len(moves), axis=0)
        points[:, free] += moves * sd
        return units_at(target, Points.of(coordinates, points), nodes)[:, units]

    gradient, hessian = _differences(values, len(free))
    information = np.linalg.inv(cov[np.ix_(free, free)]) * np.outer(sd, sd)
    without = information + hessian  # of the other levels, in units of sd: H − H_g
    moves = -np.linalg.solve(without, gradient[:, :, None])[:, :, 0] * sd
    variance = np.linalg.inv(without)
    place = [int(np.flatnonzero(free == j)[0]) if j in free else -1 for j in range(len(result.beta))]
    errors = np.column_stack([np.sqrt(variance[:, k, k]) * sd[k] if k >= 0 else np.zeros(len(moves)) for k in place])
    start, slopes = _slopes(problem, result, target, x, free, sd / np.sqrt(len(block.levels)))
    estimates = np.array(list(start.values())) + moves @ slopes
    return pd.DataFrame(estimates, index=pd.Index(block.levels, name=block.group), columns=list(start)), errors


def _differences(values: Any, size: int) -> tuple[Floats, Floats]:
    """Gradient, shape (levels, size), and second derivatives of functions of all levels, by central differences."""
    axes = STEP * np.eye(size)
    middle, up, down = values(np.zeros((1, size)))[0], values(axes), values(-axes)
    gradient = ((up - down) / (2.0 * STEP)).T
    hessian = np.empty((len(middle), size, size))
    for j in range(size):
        hessian[:, j, j] = (up[j] - 2.0 * middle + down[j]) / STEP**2
        for i in range(j):
            both = values(np.stack([axes[i] + axes[j], -axes[i] - axes[j]])).sum(axis=0)
            cross = both - up[i] - up[j] - down[i] - down[j] + 2.0 * middle
            hessian[:, i, j] = hessian[:, j, i] = cross / (2.0 * STEP**2)
    return gradient, hessian


def _slopes(
    problem: Problem, result: Result, target: Target, x: Floats, free: Ints, sd: Floats
) -> tuple[dict[str, float], Floats]:
    """Estimates as the tables have them, and their derivatives in the free parameters, shape (free, estimates)."""

    def at(move: Floats) -> dict[str, float]:
        point = x.copy()
        point[free] += move
        beta, theta, psi = target.coordinates.split(point)
        moved = replace(result, beta=beta, theta=theta, psi=psi, draws=None)
        return {name: m.estimate for name, m in marginals(problem, moved).items()}

    moves = 1e-3 * np.diag(sd)
    ends = [[np.array(list(at(sign * move).values())) for move in moves] for sign in (1.0, -1.0)]
    rises = (np.array(ends[0]) - np.array(ends[1])) / (2e-3 * sd[:, None])
    return at(np.zeros(len(free))), rises
