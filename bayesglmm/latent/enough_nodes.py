"""Whether a quadrature had enough nodes: the same integral with more of them, at the estimate."""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.errors import MethodError
from bayesglmm.latent.quadrature_nodes import Nodes, in_words, settle_nodes
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
    more = _more(objective.nodes)
    used = f"{in_words(objective.nodes)} quadrature nodes"
    try:
        settle_nodes(objective.structure, more, objective.prune)
    except MethodError:
        return (f"whether {used} are enough was not checked: {in_words(more)} do not fit",)
    there = replace(objective, nodes=more)
    value = there.evaluate(*target.coordinates.split(point.x), point.mode, with_gradient=False).value
    assert point.evaluation is not None
    change = value - point.evaluation.value
    if abs(change) <= CHANGE:
        return ()
    return (
        f"{used} are too few: with {in_words(more)} the log-likelihood at the estimate changes by {change:+.3g}; "
        "fit.quadrature_path() shows how many are enough",
    )


def _more(nodes: Nodes) -> Nodes:
    if isinstance(nodes, tuple):
        return _enlarged(nodes[0]), _enlarged(nodes[1])
    return _enlarged(nodes)


def _enlarged(k: int) -> int:
    return max(int(MORE * k) | 1, 3)
