"""``laplace+psis`` and ``agq+psis``: draws around a mode, weighted towards the exact posterior."""

from __future__ import annotations

from bayesglmm.arguments import optional, plain, seed_or_none, takes, whole
from bayesglmm.methods import agq, laplace
from bayesglmm.methods.weighted import refined
from bayesglmm.problem import Problem
from bayesglmm.result import Result

_checked = takes(kernel=plain, draws=whole(10), seed=seed_or_none, proposals=optional(whole(10)))


@_checked
def laplace_psis(
    problem: Problem,
    *,
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
    proposals: int | None = None,
) -> Result:
    """Fit by Laplace, then weight draws: the same as ``model.fit("laplace").refine()``.

    Parameters
    ----------
    problem : Problem
        The model.
    kernel : {"auto", "graph"}
        As by the method alone.
    draws : int
        Draws of the posterior, after resampling.
    seed : int, optional
        Of the draws.
    proposals : int, optional
        Draws that are weighted: four for each that is kept when left out, two in models of many rows.
    """
    return refined(problem, laplace.run(problem, kernel=kernel), draws=draws, seed=seed, proposals=proposals)


@_checked
def agq_psis(
    problem: Problem,
    *,
    nodes: int | tuple[int, int] | None = None,
    kernel: str = "auto",
    prune: float = 0.0,
    draws: int = 1000,
    seed: int | None = None,
    proposals: int | None = None,
) -> Result:
    """Fit by quadrature, then weight draws: the same as ``model.fit("agq").refine()``.

    Parameters
    ----------
    problem : Problem
        The model.
    nodes, kernel, prune
        As by the method alone.
    draws, seed, proposals
        As of :func:`laplace_psis`.
    """
    base = agq.run(problem, nodes=nodes, kernel=kernel, prune=prune)
    return refined(problem, base, draws=draws, seed=seed, proposals=proposals)
