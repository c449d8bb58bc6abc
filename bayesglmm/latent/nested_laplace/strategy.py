"""Which correction of the field's approximation a model gets when none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesglmm.errors import MethodError
from bayesglmm.latent.quadrature_nodes import Nodes, settle_nodes

if TYPE_CHECKING:
    from bayesglmm.latent.nested_laplace.hyper import HyperTarget
    from bayesglmm.problem import Problem

#: Nodes per dimension, by the number of random effects per level: enough for the shape of the hyperparameters'
#: posterior, whose level quadrature with more nodes would still move.
NODES = {1: 15, 2: 9}
NODES_BEYOND = 5
#: CPU seconds up to which ``"laplace"`` is taken unasked, and what an evaluation of the likelihood with its gradient
#: costs: in itself, and per row and node. Sizes decide, not the clock: the choice is the same on every machine.
PATIENCE, CALL, VALUE = 1.0, 1.5e-3, 6e-8
#: Points of hyperparameters that are counted on, by their number.
POINTS = {0: 1, 1: 16, 2: 90, 3: 110}
POINTS_BEYOND = 200
#: CPU seconds that a grid of three hyperparameters may take unasked, its points, and what a point costs: in itself, and
#: per row. (A composite design is blind to tails that bend; its marginals are worth several seconds.)
GRID_PATIENCE, GRID_POINTS, POINT, ROW = 4.5, 200, 3e-3, 2e-6
#: CPU seconds per pair of rows that the second-order term takes where grouping factors are several.
PAIR = 1e-7
#: Most hyperparameters of a grid, and most CPU seconds that the second-order term may take at a point.
MAX_GRID, MOST_PER_POINT = 3, 0.03
#: With more rows than this points are dear and posteriors nearly normal: a composite design will do.
LARGE = 20_000


def choose(problem: Problem, target: HyperTarget, strategy: str, nodes: Nodes | None) -> tuple[str, Nodes | None]:
    """The strategy, and the quadrature nodes of ``"laplace"`` (None for the others).

    ``"auto"`` is ``"laplace"`` for one grouping factor where that takes about a second at most, as with few rows per
    level the field's approximation alone can be off; else ``"simplified"``.

    Raises
    ------
    MethodError
        Nodes for another strategy, or nodes that do not go with the model.
    """
    structure = target.objective.structure
    if strategy not in ("auto", "laplace"):
        if nodes is not None:
            raise MethodError(f"nodes={nodes!r} is for strategy='laplace', not for {strategy!r}.")
        return strategy, None
    layouts = structure.layouts
    single = len(layouts) == 1 and layouts[0].precision is None
    default = NODES.get(layouts[0].size, NODES_BEYOND) if single else 1
    if strategy == "auto" and nodes is None:
        exact = problem.family.name == "gaussian" and problem.link.name == "identity"
        if exact or not single or _seconds(target, layouts[0].size, default) > PATIENCE:
            return "simplified", None
    return "laplace", settle_nodes(structure, default if nodes is None else nodes)


def points_expected(target: HyperTarget) -> int:
    """How many points of hyperparameters will be looked at."""
    return POINTS.get(len(target.coordinates.entries) + target.coordinates.n_aux, POINTS_BEYOND)


def integration_of(target: HyperTarget, integration: str, nodes: Nodes | None) -> str:
    """The points of hyperparameters: what was asked for, or a grid for one, two (unless rows are many), cheap three.

    Raises
    ------
    MethodError
        A grid for more than three.
    """
    d = len(target.coordinates.entries) + target.coordinates.n_aux
    if integration == "grid" and d > MAX_GRID:
        raise MethodError(
            f"integration='grid' is for at most {MAX_GRID} hyperparameters, and the model has {d}: use 'ccd' or 'eb'."
        )
    if integration != "auto":
        return integration
    n = target.objective.structure.n
    if d != MAX_GRID or nodes is not None:
        return "grid" if d < (2 if n > LARGE else MAX_GRID) else "ccd"
    return "grid" if GRID_POINTS * (POINT + ROW * n + pairs_cost(target)) < GRID_PATIENCE else "ccd"


def pairs_cost(target: HyperTarget) -> float:
    """CPU seconds that the second-order term takes at a point; too many rows go without it."""
    structure = target.objective.structure
    several = len(structure.layouts) > 1 or any(b.precision is not None for b in structure.layouts)
    cost = PAIR * float(structure.n) ** 2 if several else 0.0
    return cost if cost < MOST_PER_POINT else 0.0


def _seconds(target: HyperTarget, q: int, nodes: int) -> float:
    """What ``"laplace"`` would take, roughly."""
    gradients = (2 * target.X.shape[1] + 3) * points_expected(target)
    return gradients * (CALL + VALUE * target.objective.structure.n * nodes**q)
