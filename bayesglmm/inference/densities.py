"""The marginal posterior density of one parameter or one random effect, as points of a curve."""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.arguments import plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.latent.nested_laplace.mixture import effect_curve
from bayesglmm.marginals import Marginal, marginals
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.tables import is_posterior

Floats = NDArray[np.float64]

#: How far a normal approximation is shown, in sds, and at how many points.
REACH, POINTS = 5.0, 301


@takes(name=plain)
def marginal_density(problem: Problem, result: Result, name: str) -> pd.DataFrame:
    """Density of a parameter by its name, or of a random effect by ``"group[level]"``, ``"group[level, column]"``.

    Parameters
    ----------
    problem, result
        The model and its fit: the integrated density of ``"inla"``, a smoothed one of draws, or the normal
        approximation (on the log of an sd, on Fisher's scale of a correlation).
    name : str
        As in comparison tables: ``"period[T.2]"``, ``"herd.sd"``, ``"Subject.corr[Days, Intercept]"``, ``"sigma"``.

    Returns
    -------
    DataFrame
        Columns ``x``, ``density``.

    Raises
    ------
    MethodError
        A method without a posterior, an unknown name, or a random effect of a fit by another method than ``"inla"``.
    """
    if not is_posterior(problem, result):
        raise MethodError(f"this {result.method} fit has no posterior; its intervals are in fit.confint().")
    known = marginals(problem, result)
    if name in known:
        return _frame(_curve(known[name]))
    effects = _effects(problem)
    if name in effects and "mixture" in result.extras:
        return _frame(effect_curve(result.extras["mixture"], *effects[name]))
    if name in effects:
        raise MethodError(f"densities of random effects are given by 'inla', not by {result.method!r}: see fit.random.")
    near = difflib.get_close_matches(str(name), [*known, *effects], 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MethodError(f"unknown parameter {name!r}.{hint} This model has: {', '.join(known)}.")


def _effects(problem: Problem) -> dict[str, tuple[int, int, int]]:
    """Names of all random effects, and where they are."""
    out = {}
    for k, block in enumerate(problem.design.blocks):
        for j, level in enumerate(block.levels):
            for c, column in enumerate(block.columns):
                inside = f"{level}" if len(block.columns) == 1 else f"{level}, {column}"
                out[f"{block.group}[{inside}]"] = (k, j, c)
    return out


def _curve(marginal: Marginal) -> Floats:
    if marginal.curve is not None:
        return marginal.curve
    if marginal.draws is not None:
        return marginal.sample_curve()
    center, spread = marginal.on_scale
    z = np.linspace(center - REACH * spread, center + REACH * spread, POINTS)
    x = marginal.scale.back(z)
    return np.stack([x, marginal.density(x)])


def _frame(curve: Floats) -> pd.DataFrame:
    return pd.DataFrame({"x": curve[0], "density": curve[1]})
