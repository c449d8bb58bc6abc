"""``agq``: random effects of one grouping factor, or two nested ones, integrated out by adaptive quadrature."""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.arguments import flag, plain, seed_or_none, takes, whole
from bayesglmm.latent.marginal import fit_marginal
from bayesglmm.latent.quadrature.nodes import default_nodes, plain_nodes
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(kernel=plain, draws=whole(0), seed=seed_or_none, check=flag)
def run(
    problem: Problem,
    *,
    nodes: int | tuple[int, int] | None = None,
    prune: float = 0.0,
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
    check: bool = False,
) -> Result:
    """Maximise the marginal likelihood (flat priors) or posterior by adaptive Gauss-Hermite quadrature.

    Parameters
    ----------
    problem : Problem
        The model: one grouping factor, or two of which one is strictly nested in the other.
    nodes : int or (int, int), optional
        Nodes per dimension: 25, 15, 9 for one, two, three random effects per level and 5 beyond, unless given. For two
        nested factors (outer, inner), or one number for both: 15, 7 for one and two effects and 5 beyond. One node is
        the Laplace approximation.
    prune : float
        Of the nodes for several random effects per level, leave out those of the smallest weights, as many as have this
        share of the weight together: ``prune=1e-6`` keeps 129 of 15² nodes, 1213 of 15³. The log-likelihood of a level
        changes by that much where its density is normal, by more where it is skewed (1e-6: about 1e-5, 1e-9: 1e-6).
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    draws : int
        How many joint draws ``fit.idata`` holds; they are made when it is first asked for.
    seed : int, optional
        Of those draws.
    check : bool
        Weight the draws towards the exact posterior and say in ``fit.status`` what they are worth.
    """
    nodes = default_nodes(problem.design.blocks) if nodes is None else plain_nodes(nodes)
    result = fit_marginal(problem, nodes=nodes, kernel=kernel, prune=prune)
    options = {"nodes": nodes, "prune": prune, "kernel": kernel, "draws": draws, "seed": seed}
    result = replace(result, method="agq", options=options)
    if not check:
        return result
    from bayesglmm.methods.weighted import checked

    return checked(problem, result, draws=draws, seed=seed)
