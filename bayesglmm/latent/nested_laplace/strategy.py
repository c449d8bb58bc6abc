"""Which correction of the field's approximation a model gets when none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesglmm.errors import MethodError
from bayesglmm.latent.laplace_error import can_look
from bayesglmm.latent.nesting import nesting
from bayesglmm.latent.quadrature.nodes import Nodes, evaluations, settle_nodes

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.structure import Structure
    from bayesglmm.latent.nested_laplace.hyper import HyperTarget
    from bayesglmm.problem import Problem

#: Nodes per dimension, by the number of random effects per level: enough for the shape of the hyperparameters'
#: posterior, whose level quadrature with more nodes would still move.
NODES = {1: 15, 2: 9}
NODES_BEYOND = 5
#: The same for two nested factors, of the outer and of the inner one.
NESTED = {1: (7, 5), 2: (5, 3)}
NESTED_BEYOND = 3
#: Sds that Laplace may move posterior means (see :mod:`.shift`) before quadrature is taken unasked: where the
#: second-order term makes up for most of it (a shift of 0.11 leaves 0.02), and where there is none; and the CPU seconds
#: that quadrature may then take.
SHIFT, BARE_SHIFT, LONGEST = 0.2, 0.05, 60.0
#: CPU seconds up to which ``"laplace"`` is taken unasked, and what an evaluation of the likelihood with its gradient
#: costs: in itself, and per row and node. Sizes decide, not the clock: the choice is the same on every machine.
PATIENCE, CALL, VALUE = 1.0, 1.5e-3, 6e-8
#: The same per row and node where conditional modes of the inner factor are sought at every outer node.
NESTED_VALUE = 3e-7
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
    level the field's approximation alone can be off; ``"simplified"`` where that is exact (Gaussian responses) or
    nothing else can be had (crossed factors); else it stays ``"auto"`` until :func:`settle` has seen the mode.

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
    default = quadrature(structure)
    if strategy == "auto" and nodes is None:
        exact = problem.family.name == "gaussian" and problem.link.name == "identity"
        if exact or default is None:
            return "simplified", None
        if isinstance(default, tuple) or _seconds(target, default) > PATIENCE:
            return "auto", None
    if nodes is None:
        nodes = 1 if default is None else default
    return "laplace", settle_nodes(structure, nodes)


def settle(
    target: HyperTarget, strategy: str, nodes: Nodes | None, shift: float
) -> tuple[str, Nodes | None, tuple[str, ...]]:
    """What ``"auto"`` comes to, given how far Laplace moves posterior means, and what there is to say about it.

    Quadrature is taken where Laplace would move a mean by more than 0.2 sds (0.05 without the second-order term) and
    that takes about a minute at most.
    """
    limit = SHIFT if len(target.objective.structure.layouts) == 1 or pairs_cost(target) else BARE_SHIFT
    if nodes not in (None, 1) or not shift > limit:
        return "simplified" if strategy == "auto" else strategy, nodes, ()
    better = quadrature(target.objective.structure)
    assert better is not None
    seconds = _seconds(target, better)
    if strategy == "auto" and seconds <= LONGEST and fits(target.objective.structure, better):
        return "laplace", better, ()
    long = f"about {seconds:.0f} s" if seconds < 120.0 else f"about {seconds / 60.0:.0f} minutes"
    return (
        "simplified" if strategy == "auto" else strategy,
        nodes,
        (
            "Laplace's approximation of the random effects is poor here: held against quadrature at the mode, it moves "
            f"posterior means by up to {shift:.2g} sds; use strategy='laplace', nodes={better!r} ({long}), or "
            "method='mcmc'",
        ),
    )


def quadrature(structure: Structure) -> Nodes | None:
    """Nodes of ``"laplace"`` when none are named; None for a model that has no quadrature."""
    if not structure.m or not can_look(structure):
        return None
    sizes = [b.size for b in structure.layouts]
    if len(sizes) == 1:
        return NODES.get(sizes[0], NODES_BEYOND)
    order = nesting(structure.layouts)
    assert order is not None
    outer, inner = (NESTED.get(sizes[k], (NESTED_BEYOND,) * 2)[place] for place, k in enumerate(order))
    return outer, inner


def fits(structure: Structure, nodes: Nodes) -> bool:
    """Whether a model can have these nodes."""
    try:
        settle_nodes(structure, nodes)
    except MethodError:
        return False
    return True


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


def _seconds(target: HyperTarget, nodes: Nodes) -> float:
    """What ``"laplace"`` would take, roughly."""
    gradients = (2 * target.X.shape[1] + 3) * points_expected(target)
    value = NESTED_VALUE if isinstance(nodes, tuple) else VALUE
    return gradients * (CALL + value * evaluations(target.objective.structure, nodes))
