"""Whether a quadrature had enough nodes: the same integral with more of them, at the estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.latent.nesting import nesting
from bayesglmm.latent.quadrature_nodes import Nodes, in_words, settle_nodes
from bayesglmm.latent.target import Target, TargetPoint

#: More nodes than this factor times those in use settle the matter.
MORE = 1.6
#: A change of the log-likelihood that is worth mentioning.
CHANGE = 1e-3
#: A change of a Laplace log-likelihood that is, the nodes that look for it, and the most rows they look at.
FAR, LOOK, LOOKED_AT = 1.0, (5, 5), 10_000


def nodes_note(target: Target, point: TargetPoint) -> tuple[str, ...]:
    """A note when more nodes change the log-likelihood at the estimate.

    The Laplace approximation of one grouping factor is left to :func:`fit.quadrature_path`; with two nested ones it can
    be tens of units from the likelihood when the inner levels have few rows, so there a small quadrature looks.

    Parameters
    ----------
    target : Target
        What was maximised.
    point : TargetPoint
        Where.
    """
    objective = target.objective
    if objective.nodes == 1:
        return _laplace_note(target, point)
    more = _more(objective.nodes)
    used = f"{in_words(objective.nodes)} quadrature nodes"
    try:
        settle_nodes(objective.structure, more, objective.prune)
    except MethodError:
        return (f"whether {used} are enough was not checked: {in_words(more)} do not fit",)
    change = _change(target, point, more)
    if abs(change) <= CHANGE:
        return ()
    if not np.isfinite(change):
        return (f"whether {used} are enough was not checked: with {in_words(more)} there are nodes without modes",)
    return (
        f"{used} are too few: with {in_words(more)} the log-likelihood at the estimate changes by {change:+.3g}; "
        "fit.quadrature_path() shows how many are enough",
    )


def _laplace_note(target: Target, point: TargetPoint) -> tuple[str, ...]:
    structure = target.objective.structure
    free = all(b.precision is None for b in structure.layouts)
    if structure.n > LOOKED_AT or not free or nesting(structure.layouts) is None:
        return ()
    change = _change(target, point, LOOK)
    if not np.isfinite(change) or abs(change) <= FAR:
        return ()
    return (
        f"the Laplace approximation is poor for these nested effects: {in_words(LOOK)} quadrature nodes change the "
        f"log-likelihood at the estimate by {change:+.3g}; method='agq' integrates them properly",
    )


def _change(target: Target, point: TargetPoint, nodes: Nodes) -> float:
    """How much the log-likelihood at the estimate changes with other nodes."""
    there = replace(target.objective, nodes=nodes)
    value = there.evaluate(*target.coordinates.split(point.x), point.mode, with_gradient=False).value
    assert point.evaluation is not None
    return value - point.evaluation.value


def _more(nodes: Nodes) -> Nodes:
    if isinstance(nodes, tuple):
        return _enlarged(nodes[0]), _enlarged(nodes[1])
    return _enlarged(nodes)


def _enlarged(k: int) -> int:
    return max(int(MORE * k) | 1, 3)
