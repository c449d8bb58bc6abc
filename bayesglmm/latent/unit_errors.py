"""Laplace's error, one unit of independent random effects at a time, at a fit's estimate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.copies import Points, find_units, make_copies
from bayesglmm.latent.second_order import second_order
from bayesglmm.latent.weights.ratio import Ratio, log_mean

if TYPE_CHECKING:
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.target import Target

Floats = NDArray[np.float64]

#: Nodes per dimension of the integral that Laplace is held against, by the number of random effects per level.
NODES = {1: 61, 2: 19, 3: 9}
#: Antithetic pairs of draws where there is no quadrature: at least, at most, and what they may cost in rows.
PAIRS = (20, 500)
PAIR_ROWS = 2_000_000


@dataclass(frozen=True)
class UnitErrors:
    """Log integrals over the random effects of every unit, at one parameter vector.

    Parameters
    ----------
    rows : ndarray of int64, shape (units,)
        Observations of each.
    laplace : ndarray, shape (units,)
        Laplace's approximation.
    second_order : ndarray, shape (units,), or None
        Its correction of second order; None where that takes too long.
    exact : ndarray, shape (units,)
        By quadrature with many nodes, or by importance sampling.
    mc_error : ndarray, shape (units,)
        Monte-Carlo standard error of `exact`; zeros for quadrature.
    how : str
        How `exact` was found, in words.
    """

    rows: NDArray[np.int64]
    laplace: Floats
    second_order: Floats | None
    exact: Floats
    mc_error: Floats
    how: str


def unit_errors(target: Target, optimum: Optimum, seed: int | None = None) -> UnitErrors:
    """Hold Laplace's approximation against the integral itself.

    Parameters
    ----------
    target : Target
        The model.
    optimum : Optimum
        Where; units are those of :func:`~bayesglmm.latent.copies.find_units`.
    seed : int, optional
        For the importance sampling of models without quadrature.
    """
    copies = make_copies(replace(target.objective, nodes=1), 1)
    points = Points.of(target.coordinates, optimum.point.x[None])
    mode = copies.mode(points, optimum.point.mode.u[None])
    structure, units = copies.structure, find_units(copies.structure)
    laplace = copies.laplace(mode)[0]
    ratio = Ratio(copies, mode, copies.fixed(points), copies.psi(points))
    one = len(structure.layouts) == 1 and structure.layouts[0].precision is None
    nodes = NODES.get(structure.layouts[0].size, 0) if one else 0
    if not structure.m:
        exact, error, how = laplace, np.zeros(1), "no random effects"
    elif nodes:
        exact, error, how = ratio.quadrature(nodes)[0], np.zeros(units.count), f"quadrature, {nodes} nodes"
    else:
        pairs = int(np.clip(PAIR_ROWS / structure.n, *PAIRS))
        exact, error = _sampled(ratio, pairs, np.random.default_rng(seed))
        how = f"importance sampling, {2 * pairs} draws"
    return UnitErrors(
        np.bincount(units.of_row, minlength=units.count),
        laplace,
        second_order(copies.kernel, copies.psi(points), mode),
        exact,
        error,
        how,
    )


def _sampled(ratio: Ratio, pairs: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Log integral of every unit from antithetic draws, and its standard error."""
    m = ratio.copies.structure.m
    means = [log_mean(ratio.candidates(rng.standard_normal((1, 1, m)), antithetic=True)[0])[0] for _ in range(pairs)]
    exact = log_mean(np.stack(means))
    spread = np.std(np.exp(np.stack(means) - exact), axis=0, ddof=1)
    return exact, spread / np.sqrt(pairs)


def unit_labels(target: Target, levels: tuple[tuple[str, ...], ...], groups: tuple[str, ...]) -> tuple[str, list[str]]:
    """What the units are called: the levels of the factor that tells them apart.

    Parameters
    ----------
    target : Target
        The model.
    levels : tuple of tuple of str
        Labels of every factor's levels.
    groups : tuple of str
        Names of the factors.

    Returns
    -------
    tuple
        Name of the factor (``"all"`` where one unit holds everything) and one label per unit.
    """
    structure = target.objective.structure
    units = find_units(structure)
    for layout, names, group in zip(structure.layouts, levels, groups):
        if layout.levels == units.count and units.count > 1:
            out = np.empty(units.count, dtype=object)
            own = units.of_unknown[layout.start : layout.stop : layout.size]
            out[own] = [str(name) for name in names]
            return group, out.tolist()
    return ("all", ["all"]) if units.count == 1 else ("unit", [str(j) for j in range(units.count)])
