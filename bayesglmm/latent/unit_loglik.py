"""Log-likelihood of every unit with its random effects integrated out, at many parameter vectors.

A unit is a set of rows that no random effect joins to another: a level of the grouping factor, or an outer level of
nested ones. Merkle, Furr & Rabe-Hesketh (2019, Psychometrika 84, 802-829) say why predictions of new groups are judged
by this likelihood and not by that of the rows given the effects of groups that were seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.copies import Points, find_units, how_many, make_copies
from bayesglmm.latent.target import Target, make_target
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.unit_errors import unit_labels
from bayesglmm.latent.weights.ratio import Ratio
from bayesglmm.problem import Problem
from bayesglmm.result import Draws

if TYPE_CHECKING:
    from bayesglmm.latent.objective import Objective

Floats = NDArray[np.float64]


def units_of(problem: Problem) -> tuple[str, list[str], NDArray[np.int64]]:
    """Name of the factor whose levels are the units, their labels, and the unit of every row.

    Raises
    ------
    MethodError
        A model without random effects, or whose factors leave no separate units (crossed ones).
    """
    if not problem.design.blocks:
        raise MethodError("the model has no random effects: its units are the rows (unit='row').")
    target = make_target(problem)
    groups = tuple(b.group for b in problem.design.blocks)
    name, labels = unit_labels(target, tuple(b.levels for b in problem.design.blocks), groups)
    if len(labels) == 1:
        raise MethodError(
            f"{' and '.join(groups)} are crossed, or joined by a known covariance: no group can be left out without "
            "the others. Leave out rows (unit='row')."
        )
    rows = find_units(target.objective.structure).of_row
    # The structure may have sorted rows: its factor's codes say which level a row is of.
    block = problem.design.blocks[groups.index(name)] if name in groups else None
    return name, labels, rows if block is None else _of_rows(target, groups.index(name), block.codes)


def _of_rows(target: Target, k: int, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    structure = target.objective.structure
    layout = structure.layouts[k]
    own = find_units(structure).of_unknown[layout.start : layout.stop : layout.size]
    return own[codes]


def unit_log_likelihood(problem: Problem, draws: Draws, nodes: int = 15) -> Floats:
    """Integrated log-likelihood of every unit at every draw of the parameters.

    Parameters
    ----------
    problem : Problem
        The model.
    draws : Draws
        Parameters; their random effects are not looked at.
    nodes : int
        Of adaptive Gauss-Hermite quadrature for a single grouping factor; nested ones are integrated by Laplace.

    Returns
    -------
    ndarray, shape (chains, draws, units)
        −inf where no conditional mode was found.
    """
    shape = draws.beta.shape[:2]
    points = Points(*(a.reshape(shape[0] * shape[1], -1) for a in (draws.beta, draws.theta, draws.psi)))
    return units_at(make_target(problem), points, nodes).reshape(*shape, -1)


def units_at(target: Target, points: Points, nodes: int) -> Floats:
    """Integrated log-likelihood of every unit at natural parameters, shape (points, units)."""
    objective = replace(target.objective, nodes=1)
    with one_thread():
        return _portions(objective, points, nodes if len(objective.structure.layouts) == 1 else 1)


def _portions(objective: Objective, points: Points, nodes: int) -> Floats:
    each = how_many(objective, len(points))
    out = np.full((len(points), find_units(objective.structure).count), -np.inf)
    start = np.zeros((each, objective.structure.m))
    copies = make_copies(objective, each)
    for a in range(0, len(points), each):
        rows = np.arange(a, min(a + each, len(points)))
        filled = np.concatenate([rows, np.repeat(rows[:1], each - len(rows))])
        own = Points(points.beta[filled], points.theta[filled], points.psi[filled])
        mode = copies.mode(own, start)
        if mode.found:
            values = copies.laplace(mode)
            if nodes > 1:
                values = Ratio(copies, mode, copies.fixed(own), copies.psi(own)).quadrature(nodes)
            out[rows] = values[: len(rows)]
            start = np.broadcast_to(copies.gather(mode.u).mean(axis=0), start.shape)
        elif each > 1:  # one of them has none: alone, the others do
            for row in rows:
                one = Points(points.beta[[row]], points.theta[[row]], points.psi[[row]])
                out[row] = _portions(objective, one, nodes)[0]
    return out
