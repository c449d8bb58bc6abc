"""A result as an ArviZ DataTree: the one place where arrays get xarray labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.errors import BayesGLMMWarning, warn
from bayesglmm.families.kernels.bound import log_density
from bayesglmm.joint import linear_predictor
from bayesglmm.latent.elimination.ordering import need_memory, portions
from bayesglmm.parameters import posterior_variables
from bayesglmm.priors import flat_priors, log_prior_by_name
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]


def coords_dims(problem: Problem) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Coordinates and dimensions of every variable a fit of this problem can have (see ``bayesglmm.names``)."""
    coords: dict[str, Any] = {
        names.COEFFICIENT_DIM: list(problem.design.columns),
        names.OBS_DIM: np.arange(problem.design.nobs),
    }
    dims: dict[str, list[str]] = {
        names.COEFFICIENTS: [names.COEFFICIENT_DIM],
        names.response_variable(problem.response.name): [names.OBS_DIM],
    }
    for block, cov in zip(problem.design.blocks, problem.covariance):
        group, level, column = block.group, names.level_dim(block.group), names.column_dim(block.group)
        coords |= {level: list(block.levels), column: list(block.columns)}
        dims[names.group_variable(group)] = [level, column]
        dims[names.sd_variable(group)] = [column]
        coords[names.pair_dim(group)] = [names.pair_label(block, i, j) for i, j in names.correlated_pairs(cov)]
        dims[names.corr_variable(group)] = [names.pair_dim(group)]
    return coords, dims


def in_pairs(problem: Problem, variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """The same with correlations by pair of columns: a matrix of them has constants in it, which no summary likes."""
    out = dict(variables)
    for block, cov in zip(problem.design.blocks, problem.covariance):
        name, pairs = names.corr_variable(block.group), np.array(list(names.correlated_pairs(cov)), dtype=int)
        if name in out:
            out[name] = out[name][..., pairs[:, 0], pairs[:, 1]]
    return out


#: Numbers (draws × rows) of one portion of the log-likelihood: what stays in the processor's cache.
PORTION = 200_000
#: Most numbers of the log-likelihood that a DataTree holds: two gigabytes.
MOST_HELD = 250_000_000


def log_likelihood(problem: Problem, draws: Draws) -> Floats:
    """Conditional log-likelihood of every row at every draw, shape (chains, draws, n).

    Linear predictors are made for many draws at once, and so are densities without auxiliaries.

    Raises
    ------
    MethodError
        When it would not fit in memory; the message has the estimate.
    """
    shape, n = draws.beta.shape[:2], problem.design.nobs
    count = shape[0] * shape[1]
    need_memory(float(count) * n, f"the log-likelihood of {n} rows at {count} draws")
    out = np.empty((count, n))
    for some, values in _likelihood_portions(problem, draws):
        out[some] = values
    return out.reshape(*shape, n)


def total_log_likelihood(problem: Problem, draws: Draws) -> Floats:
    """Its sum over the rows at every draw, shape (chains, draws), of which no more than a portion is held."""
    shape = draws.beta.shape[:2]
    out = np.empty(shape[0] * shape[1])
    for some, values in _likelihood_portions(problem, draws):
        out[some] = values.sum(axis=1)
    return out.reshape(shape)


def _likelihood_portions(problem: Problem, draws: Draws) -> Iterator[tuple[slice, Floats]]:
    count = draws.beta.shape[0] * draws.beta.shape[1]
    kernel = problem.kernel()
    beta, psi, *effects = (a.reshape(count, *a.shape[2:]) for a in (draws.beta, draws.psi, *draws.effects))
    for some in portions(count, problem.design.nobs, PORTION):
        eta = linear_predictor(problem, beta[some], [b[some] for b in effects])
        if kernel.n_aux:
            yield some, np.stack([log_density(kernel, own, at) for own, at in zip(eta, psi[some])])
        else:
            yield some, log_density(kernel, eta, np.empty(0))


def log_prior(problem: Problem, variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """Log prior density of every parameter at every draw; see :func:`bayesglmm.priors.log_prior_by_name`."""
    priors = problem.priors or flat_priors(problem.design, problem.family, problem.covariance)
    return log_prior_by_name(priors, problem.design.blocks, problem.covariance, variables)


def to_datatree(problem: Problem, result: Result) -> Any:
    """Label a result for ArviZ.

    Parameters
    ----------
    problem, result
        The model and what was found; draws, where there are any, become the ``posterior`` group.

    Returns
    -------
    xarray.DataTree
        ``posterior``, ``log_likelihood`` (of the rows given the random effects), ``log_prior`` (of the parameters on
        their natural scale) and ``sample_stats`` for methods with draws; ``observed_data`` and ``fit`` (the point
        estimates) for every method.

    Warns
    -----
    BayesGLMMWarning
        When the log-likelihood has more than two gigabytes and is left out.
    """
    import xarray as xr

    coords, dims = coords_dims(problem)
    response = names.response_variable(problem.response.name)
    dims |= {"eta": [names.OBS_DIM], "trials": [names.OBS_DIM]}
    fixed: dict[str, dict[str, Any]] = {
        "observed_data": {response: problem.response.y},
        "fit": {names.COEFFICIENTS: result.beta, "eta": result.eta},
    }
    if problem.response.trials is not None:
        fixed["constant_data"] = {"trials": problem.response.trials}
    sampled: dict[str, dict[str, Any]] = {}
    if result.draws is not None:
        sampled["posterior"] = posterior_variables(problem, result.draws)
        if _small_enough(problem, result.draws):
            sampled["log_likelihood"] = {response: log_likelihood(problem, result.draws)}
        sampled["log_prior"] = log_prior(problem, sampled["posterior"])
        others = result.draws.others
        sampled["posterior"] = in_pairs(problem, sampled["posterior"]) | dict(others)
        dims |= {name: [f"{name}_dim_{k}" for k in range(value.ndim - 2)] for name, value in others.items()}
        if result.draws.stats:
            sampled["sample_stats"] = dict(result.draws.stats)
    # The density of a correlation matrix is one number, however many correlations there are.
    own = {"log_prior": {k: v for k, v in dims.items() if not k.endswith(".corr")}}
    datasets = {
        name: _dataset(group, ["chain", "draw"], coords, own.get(name, dims)) for name, group in sampled.items()
    }
    datasets |= {name: _dataset(group, [], coords, dims) for name, group in fixed.items()}
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs |= {"method": result.method, "estimand": result.estimand, "inference_library": "bayesglmm"}
    return tree


def _small_enough(problem: Problem, draws: Draws) -> bool:
    """Whether the log-likelihood is to be held; a warning says so where it is not."""
    count, n = draws.beta.shape[0] * draws.beta.shape[1], problem.design.nobs
    if count * n <= MOST_HELD:
        return True
    warn(
        f"fit.idata is without log_likelihood: {n} rows at {count} draws would take {8 * count * n / 2**30:.0f} GB. "
        "fit.loo('group') needs that of the groups only; fit with fewer draws (draws=...) to have it of the rows.",
        BayesGLMMWarning,
    )
    return False


def prior_datatree(problem: Problem, draws: Draws, responses: Floats) -> Any:
    """Label draws from the priors, and responses given them (shape (chains, draws, n)), for ArviZ."""
    import xarray as xr

    coords, dims = coords_dims(problem)
    name = names.response_variable(problem.response.name)
    sample_dims = ["chain", "draw"]
    groups = {
        "prior": _dataset(in_pairs(problem, posterior_variables(problem, draws)), sample_dims, coords, dims),
        "prior_predictive": _dataset({name: responses}, sample_dims, coords, dims),
        "observed_data": _dataset({name: problem.response.y}, [], coords, dims),
    }
    if problem.response.trials is not None:
        own = dims | {"trials": [names.OBS_DIM]}
        groups["constant_data"] = _dataset({"trials": problem.response.trials}, [], coords, own)
    return xr.DataTree.from_dict(groups)


def predictive_datatree(problem: Problem, responses: Floats, log_likelihood: Floats | None = None) -> Any:
    """Label replicated responses for ArviZ's predictive checks.

    Parameters
    ----------
    problem : Problem
        The model.
    responses : ndarray, shape (chains, draws, n)
        Replicated responses.
    log_likelihood : ndarray, shape (chains, draws, n), optional
        Of the rows, at the draws the responses were replicated from: for leave-one-out checks.

    Returns
    -------
    xarray.DataTree
        ``posterior_predictive``, ``observed_data``, ``constant_data`` where there are trials, and ``log_likelihood``.
        Whole numbers are integers: ArviZ takes them for discrete.
    """
    import xarray as xr

    coords, dims = coords_dims(problem)
    name, sample_dims = names.response_variable(problem.response.name), ["chain", "draw"]
    kind = np.int64 if problem.family.support.integer else np.float64
    groups = {
        "posterior_predictive": _dataset({name: np.asarray(responses, dtype=kind)}, sample_dims, coords, dims),
        "observed_data": _dataset({name: problem.response.y.astype(kind)}, [], coords, dims),
    }
    if problem.response.trials is not None:
        own = dims | {"trials": [names.OBS_DIM]}
        groups["constant_data"] = _dataset({"trials": problem.response.trials}, [], coords, own)
    if log_likelihood is not None:
        groups["log_likelihood"] = _dataset({name: log_likelihood}, sample_dims, coords, dims)
        total = {"log_likelihood": log_likelihood.sum(axis=2)}
        groups["posterior"] = _dataset(total, sample_dims, coords, {})
    return xr.DataTree.from_dict(groups)


def _dataset(group: dict[str, Any], sample_dims: list[str], coords: dict[str, Any], dims: dict[str, list[str]]) -> Any:
    import xarray as xr

    variables = {name: ([*sample_dims, *dims.get(name, [])], np.asarray(value)) for name, value in group.items()}
    used = {d for dimensions, _ in variables.values() for d in dimensions}
    sizes = {d: k for dimensions, value in variables.values() for d, k in zip(dimensions, value.shape)}
    labels = {d: coords[d] if d in coords else np.arange(sizes[d]) for d in used}
    return xr.Dataset(variables, coords=labels)
