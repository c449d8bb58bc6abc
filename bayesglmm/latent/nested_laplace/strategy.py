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
POINTS = {0: 1, 1: 14, 2: 65}
POINTS_BEYOND = 40


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


def _seconds(target: HyperTarget, q: int, nodes: int) -> float:
    """What ``"laplace"`` would take, roughly."""
    gradients = (2 * target.X.shape[1] + 3) * points_expected(target)
    return gradients * (CALL + VALUE * target.objective.structure.n * nodes**q)
