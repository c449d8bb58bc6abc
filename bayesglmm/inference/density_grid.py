"""A grid for the marginal posterior of standard deviations: where its nodes are, and its values there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesglmm.errors import MethodError
from bayesglmm.inference.marginal_density import MarginalDensity

Floats = NDArray[np.float64]

#: Nodes per parameter of the grid that is chosen here, by the number of parameters.
POINTS = {1: 401, 2: 121, 3: 25}
#: By how much the log-density (over logarithms of the parameters) falls to the ends of the grid.
DROP = {1: 25.0, 2: 16.0, 3: 12.0}


def trapezoid(x: Floats) -> Floats:
    """Weights of the trapezoid rule."""
    gaps = np.diff(x)
    return 0.5 * (np.append(gaps, 0.0) + np.append(0.0, gaps))


def read_grid(density: MarginalDensity, grid: Mapping[str, Any]) -> tuple[Floats, ...]:
    """The nodes a user gave, checked."""
    strange = [name for name in grid if name not in density.names]
    if strange or set(grid) != set(density.names):
        what = f"unknown parameter {strange[0]!r}" if strange else "not all parameters are there"
        raise MethodError(f"grid: {what}; values of {', '.join(density.names)} are expected.")
    nodes = tuple(np.asarray(grid[name], dtype=float) for name in density.names)
    for name, x in zip(density.names, nodes):
        if x.ndim != 1 or len(x) < 2 or np.any(np.diff(x) <= 0) or x[0] < 0 or (name == "sigma" and x[0] == 0):
            raise MethodError(f"grid: the values of {name} must be at least two, increasing and not negative.")
    return nodes


def choose_grid(density: MarginalDensity) -> tuple[Floats, ...]:
    """Nodes equally spaced in logarithms, as far as the density (over logarithms) is not negligible."""
    k = len(density.names)
    if k not in POINTS:
        raise MethodError(f"the model has {k} standard deviations; a grid is made for at most {max(POINTS)}.")
    centre = _mode(density)
    top = _over_logs(density, centre)
    nodes = []
    for axis in range(k):
        ends: list[float] = []
        for sign in (-1.0, 1.0):
            step, reach = 0.05, 0.0
            while reach < 60.0:
                reach, step = reach + step, 1.3 * step
                moved = centre.copy()
                moved[axis] += sign * reach
                if _over_logs(density, moved) < top - DROP[k]:
                    break
            ends.append(float(centre[axis] + sign * reach * 1.2))
        nodes.append(np.exp(np.linspace(ends[0], ends[1], POINTS[k])))
    return tuple(nodes)


def _mode(density: MarginalDensity) -> Floats:
    """Logarithms of the parameters at the mode over logarithms."""
    found = minimize(lambda w: -_over_logs(density, w), np.log(density.start), method="Nelder-Mead")
    return np.asarray(found.x)


def _over_logs(density: MarginalDensity, w: Floats) -> float:
    return float(density(np.exp(w)).log_density + w.sum())


def evaluate(density: MarginalDensity, nodes: tuple[Floats, ...], everywhere: bool) -> tuple[Floats, Floats, Floats]:
    """Log-density, and mean and sd of β, at all nodes; or only where the density is not negligible.

    The region that counts is found from its inside: a node is evaluated when one of its neighbours counts.
    """
    shape = tuple(map(len, nodes))
    p = density.known.shape[1]
    values, beta, sd = np.full(shape, -np.inf), np.zeros((*shape, p)), np.ones((*shape, p))
    inside = tuple(int(np.argmin(np.abs(np.log(np.maximum(x, 1e-300)) - c))) for x, c in zip(nodes, _mode(density)))
    waiting = list(np.ndindex(shape)) if everywhere else [inside]
    seen, top = set(waiting), -np.inf
    while waiting:
        index = waiting.pop()
        point = np.array([x[i] for x, i in zip(nodes, index)])
        found = density(point)
        values[index], beta[index], sd[index] = found.log_density, found.beta, found.beta_sd
        if everywhere:
            continue
        over_logs = found.log_density + float(np.log(point).sum())
        top = max(top, over_logs)
        if over_logs > top - DROP[len(shape)]:
            for neighbour in _neighbours(index, shape):
                if neighbour not in seen:
                    seen.add(neighbour)
                    waiting.append(neighbour)
    return values, beta, sd


def _neighbours(index: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Nodes one step away along an axis."""
    return [
        (*index[:axis], index[axis] + step, *index[axis + 1 :])
        for axis, size in enumerate(shape)
        for step in (-1, 1)
        if 0 <= index[axis] + step < size
    ]
