"""``laplace+psis``: draws around the mode by Laplace's approximation, weighted towards the exact posterior."""

from __future__ import annotations

from bayesglmm.arguments import optional, plain, seed_or_none, takes, whole
from bayesglmm.methods import laplace
from bayesglmm.methods.weighted import refined
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(kernel=plain, draws=whole(10), seed=seed_or_none, proposals=optional(whole(10)))
def run(
    problem: Problem,
    *,
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
    proposals: int | None = None,
) -> Result:
    """Fit, then weight draws: the same as ``model.fit("laplace").refine()``.

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
