"""Whether a quadrature had enough nodes: the same integral with more of them, at the estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.latent.laplace_error import looking_nodes, marginal_shift
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.quadrature.nodes import Nodes, in_words, settle_nodes
from bayesglmm.latent.target import Target, TargetPoint

#: More nodes than this factor times those in use settle the matter.
MORE = 1.6
#: A change of the log-likelihood that is worth mentioning.
CHANGE = 1e-3
#: Standard errors that Laplace may move estimates by unsaid, and the most values at rows and nodes that look for it.
FAR, LOOKED_AT = 0.2, 3e5


def nodes_note(target: Target, optimum: Optimum) -> tuple[str, ...]:
    """A note when more nodes change the log-likelihood at the estimate, or move estimates away from Laplace's.

    Parameters
    ----------
    target : Target
        What was maximised.
    optimum : Optimum
        Where.
    """
    objective, point = target.objective, optimum.point
    if objective.nodes == 1:
        return _laplace_note(target, optimum)
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


def _laplace_note(target: Target, optimum: Optimum) -> tuple[str, ...]:
    shift = marginal_shift(target, optimum, LOOKED_AT) if optimum.converged else np.nan
    if not shift > FAR:
        return ()
    more = in_words(looking_nodes(target.objective.structure))
    return (
        f"the Laplace approximation is poor here: held against {more} quadrature nodes at the optimum, it moves "
        f"estimates by up to {shift:.2g} standard errors; method='agq' integrates the random effects properly",
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
