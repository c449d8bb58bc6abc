"""``agq``: random effects of one grouping factor integrated out by adaptive Gauss-Hermite quadrature."""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.latent.marginal import fit_marginal
from bayesglmm.problem import Problem
from bayesglmm.result import Result

#: Nodes per dimension when none are named, by the number of random effects per level.
DEFAULT_NODES = {1: 25, 2: 15, 3: 9}


def run(
    problem: Problem,
    *,
    nodes: int | None = None,
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
) -> Result:
    """Maximise the marginal likelihood (flat priors) or posterior by adaptive quadrature.

    Parameters
    ----------
    problem : Problem
        The model.
    nodes : int, optional
        Nodes per dimension: 25, 15, 9 for one, two, three random effects per level and 5 beyond, unless given.
        One node is the Laplace approximation.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    draws : int
        How many joint draws ``fit.idata`` holds; they are made when it is first asked for.
    seed : int, optional
        Of those draws.
    """
    if nodes is None:
        nodes = DEFAULT_NODES.get(len(problem.design.blocks[0].columns), 5)
    result = fit_marginal(problem, nodes=nodes, kernel=kernel)
    return replace(result, method="agq", options={"nodes": nodes, "kernel": kernel, "draws": draws, "seed": seed})
