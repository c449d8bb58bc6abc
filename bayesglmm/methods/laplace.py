"""``laplace``: random effects integrated out by Laplace's approximation around their modes."""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.arguments import flag, plain, seed_or_none, takes, whole
from bayesglmm.latent.marginal import fit_marginal
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(kernel=plain, draws=whole(0), seed=seed_or_none, check=flag)
def run(
    problem: Problem, *, kernel: str = "auto", draws: int = 1000, seed: int | None = None, check: bool = False
) -> Result:
    """Maximise the Laplace marginal likelihood (flat priors) or posterior.

    Parameters
    ----------
    problem : Problem
        The model.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    draws : int
        How many joint draws ``fit.idata`` holds; they are made when it is first asked for.
    seed : int, optional
        Of those draws.
    check : bool
        Weight the draws towards the exact posterior and say in ``fit.status`` what they are worth (Pareto k-hat, and a
        verdict in words); see :meth:`bayesglmm.Fit.check`.
    """
    result = fit_marginal(problem, nodes=1, kernel=kernel)
    result = replace(result, options={"kernel": kernel, "draws": draws, "seed": seed})
    if not check:
        return result
    from bayesglmm.methods.weighted import checked

    return checked(problem, result, draws=draws, seed=seed)
