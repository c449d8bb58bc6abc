"""How much the posterior owes to the priors and to the data, by power-scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.arguments import number, takes
from bayesglmm.errors import MethodError
from bayesglmm.idata import log_prior, total_log_likelihood
from bayesglmm.parameters import posterior_variables
from bayesglmm.posterior import with_draws

if TYPE_CHECKING:
    import pandas as pd

    from bayesglmm.problem import Problem
    from bayesglmm.result import Result


@takes(threshold=number(0.0))
def sensitivity(problem: Problem, result: Result, threshold: float = 0.05) -> pd.DataFrame:
    """Prior and likelihood sensitivity of every parameter.

    Prior and likelihood are raised to powers a little below and above one, and the change of each marginal posterior
    is measured (Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34, 57). Draws are reweighted,
    not made again: it takes any fit with a posterior. The prior that is scaled is that of the parameters; the
    distribution of the random effects is part of the model.

    Parameters
    ----------
    problem, result
        The model, and a fit of it.
    threshold : float
        Sensitivity from which on it counts.

    Returns
    -------
    DataFrame
        One row per parameter: ``prior``, ``likelihood`` (cumulative Jensen-Shannon distances per unit of log2 of the
        power) and ``diagnosis`` in words.

    Raises
    ------
    MethodError
        A fit without a posterior, or flat priors (a power of a constant is a constant).
    """
    from arviz_stats import psense_summary
    from xarray import DataArray, Dataset, DataTree

    from bayesglmm.graph.variables import scalar_parameters

    if problem.priors is None:
        raise MethodError("priors='flat': there is no prior to be sensitive to. Fit the model with priors.")
    draws = with_draws(problem, result).draws
    if draws is None:
        raise MethodError(
            f"this {result.method} fit has no posterior draws; 'laplace', 'agq', 'inla' and 'mcmc' give them."
        )
    variables = posterior_variables(problem, draws)
    parameters = scalar_parameters(problem, variables.__getitem__)
    number = {f"p{k}": name for k, name in enumerate(parameters)}  # names may hold a slash, which a DataTree cannot

    def labelled(values: dict[str, np.ndarray]) -> Dataset:
        coords = {"chain": np.arange(draws.beta.shape[0]), "draw": np.arange(draws.beta.shape[1])}
        return Dataset(
            {
                name: DataArray(v, dims=("chain", "draw", *(f"{name}_{k}" for k in range(v.ndim - 2))), coords=coords)
                for name, v in values.items()
            }
        )

    tree = DataTree.from_dict(
        {
            "posterior": labelled(dict(zip(number, parameters.values()))),
            "log_prior": labelled({f"p{k}": v for k, v in enumerate(log_prior(problem, variables).values())}),
            "log_likelihood": labelled({"rows": total_log_likelihood(problem, draws)}),
        }
    )
    return psense_summary(tree, threshold=threshold).rename(index=number)
