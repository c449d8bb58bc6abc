"""``inla``: nested Laplace. Hyperparameters integrated out numerically, coefficients and random effects by Laplace.

Rue, Martino & Chopin (2009), JRSS B 71, 319-392; Martins, Simpson, Lindgren & Rue (2013), CSDA 67, 68-83; van Niekerk
& Rue (2024), JMLR 25(62). Measured against NUTS on shipped models (see ``benchmarks``), the first-order correction of
the mean is as good as the variational one or better, and cheaper: it is the default.
"""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.latent.nested_laplace import fit_nested
from bayesglmm.problem import Problem
from bayesglmm.result import Result


def run(
    problem: Problem,
    *,
    strategy: str = "simplified",
    integration: str = "auto",
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
) -> Result:
    """Approximate the posterior by nested Laplace.

    Parameters
    ----------
    problem : Problem
        The model.
    strategy : {"simplified", "variational", "gaussian"}
        Correction of the Gaussian approximation of coefficients and random effects: mean and skewness to first order
        in third derivatives; mean by a variational step (and the same skewness); none.
    integration : {"auto", "grid", "ccd", "eb"}
        Where the hyperparameters (sds, correlations, dispersion) are looked at: a lattice (at most three of them), a
        central composite design, or their mode alone (empirical Bayes). ``"auto"`` takes a lattice for up to two.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    draws : int
        How many joint draws ``fit.idata`` holds; they are made when it is first asked for.
    seed : int, optional
        Of those draws.
    """
    result = fit_nested(problem, strategy=strategy, integration=integration, kernel=kernel)
    return replace(result, options={**result.options, "draws": draws, "seed": seed})
