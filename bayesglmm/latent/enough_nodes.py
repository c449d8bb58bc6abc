"""Whether a quadrature had enough nodes: the same integral with more of them, at the estimate."""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.errors import MethodError
from bayesglmm.latent.quadrature import check_nodes
from bayesglmm.latent.target import Target, TargetPoint

#: More nodes than this factor times those in use settle the matter.
MORE = 1.6
#: A change of the log-likelihood that is worth mentioning.
CHANGE = 1e-3


def nodes_note(target: Target, point: TargetPoint) -> tuple[str, ...]:
    """A note when more nodes change the log-likelihood at the estimate; nothing for the Laplace approximation.

    Parameters
    ----------
    target : Target
        What was maximised.
    point : TargetPoint
        Where.
    """
    objective = target.objective
    if objective.nodes == 1:
        return ()
    more = max(int(MORE * objective.nodes) | 1, 3)
    try:
        check_nodes(objective.structure, more)
    except MethodError:
        return (f"whether {objective.nodes} quadrature nodes are enough was not checked: {more} do not fit",)
    there = replace(objective, nodes=more)
    value = there.evaluate(*target.coordinates.split(point.x), point.mode, with_gradient=False).value
    assert point.evaluation is not None
    change = value - point.evaluation.value
    if abs(change) <= CHANGE:
        return ()
    return (
        f"{objective.nodes} quadrature nodes are too few: with {more} the log-likelihood at the estimate changes by "
        f"{change:+.3g}; fit.quadrature_path() shows how many are enough",
    )
