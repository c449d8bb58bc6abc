"""``inla``: nested Laplace. Hyperparameters integrated out numerically, coefficients and random effects by Laplace.

Rue, Martino & Chopin (2009), JRSS B 71, 319-392; Martins, Simpson, Lindgren & Rue (2013), CSDA 67, 68-83; van Niekerk
& Rue (2024), JMLR 25(62). Against the long NUTS runs of ``benchmarks/posterior_cases.py`` (13 models, default options)
no coefficient's mean is off by more than 0.035 posterior sds and no sd of one by more than 7 %; sds, correlations and
dispersions are within 0.06 sds, but for one variance that may be zero under three crossed factors (0.13). Both
corrections of the mean do as well as each other there, and the first-order one is cheaper. Seconds are 0.2 to 4. Sds of
single random effects are within 3 % where there is quadrature (children with four binary answers: 6 % too small on
average by the Gaussian at their modes).
"""

from __future__ import annotations

from dataclasses import replace

from bayesglmm.arguments import plain, seed_or_none, takes, whole
from bayesglmm.latent.nested_laplace import fit_nested
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(strategy=plain, integration=plain, kernel=plain, draws=whole(0), seed=seed_or_none)
def run(
    problem: Problem,
    *,
    strategy: str = "auto",
    integration: str = "auto",
    nodes: int | tuple[int, int] | None = None,
    kernel: str = "auto",
    draws: int = 1000,
    seed: int | None = None,
) -> Result:
    """Approximate the posterior by nested Laplace.

    Parameters
    ----------
    problem : Problem
        The model.
    strategy : {"auto", "laplace", "simplified", "variational", "gaussian"}
        Correction of the Gaussian approximation of coefficients and random effects. ``"simplified"``: mean and
        skewness to first order in third derivatives. ``"variational"``: the mean by a variational step instead.
        ``"gaussian"``: none. ``"laplace"``: coefficients and hyperparameters with random effects integrated out first,
        by quadrature where there is one grouping factor or two nested ones; slower, and right where there are few
        observations per random effect. ``"auto"`` is ``"laplace"`` for one grouping factor where that takes about a
        second at most, and else where Laplace, held against quadrature at the mode, moves posterior means by more than
        0.2 sds (0.05 in nested data too large for the second-order term) and it takes about a minute at most. Where it
        takes longer the fit is ``"simplified"``, and a warning and ``fit.status`` say so.
    integration : {"auto", "grid", "ccd", "eb"}
        Where the hyperparameters (sds, correlations, dispersion) are looked at: a lattice (at most three of them), a
        central composite design, or their mode alone (empirical Bayes). ``"auto"`` takes a lattice for up to two,
        and for three where that is cheap.
    nodes : int or (int, int), optional
        Quadrature nodes per dimension of ``"laplace"``; (outer, inner) for two nested factors.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    draws : int
        How many joint draws ``fit.idata`` holds; they are made when it is first asked for.
    seed : int, optional
        Of those draws.
    """
    result = fit_nested(problem, strategy=strategy, integration=integration, nodes=nodes, kernel=kernel)
    return replace(result, options={**result.options, "draws": draws, "seed": seed})
