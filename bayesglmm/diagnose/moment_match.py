"""Moment matching: draws of the parameters moved to where the posterior without a group is.

Paananen, Piironen, Bürkner & Vehtari (2021), Statistics and Computing 31, 16, by ArviZ. Random effects are integrated
out, so that a handful of parameters is moved, however many groups there are.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm.errors import MethodError
from bayesglmm.latent.copies import Points
from bayesglmm.latent.target import make_target
from bayesglmm.latent.unit_loglik import units_at

if TYPE_CHECKING:
    from bayesglmm.diagnose.loo import Pointwise
    from bayesglmm.problem import Problem


def matched(problem: Problem, found: Pointwise, tree: Any, elpd: Any, nodes: int) -> Any:
    """Match moments for the groups whose Pareto k-hat is high.

    Parameters
    ----------
    problem : Problem
        The model.
    found : Pointwise
        Log-likelihood of its groups at draws from the posterior.
    tree, elpd
        The same for ArviZ, and its first answer.
    nodes : int
        Of the quadrature.

    Raises
    ------
    MethodError
        Rows (whose random effects would have to be moved too), or weighted draws of an approximation.
    """
    import arviz_stats
    import xarray as xr

    if found.unit == "row":
        raise MethodError("moments are matched for groups, whose random effects are integrated out; rows: refit=True.")
    if found.ratios is not None or found.draws is None:
        raise MethodError("moments are matched for draws from the posterior: take fit.refine() first, or mcmc or inla.")
    target, draws = make_target(problem), found.draws
    join, shape = target.coordinates.join, draws.beta.shape[:2]
    flat = zip(*(a.reshape(shape[0] * shape[1], -1) for a in (draws.beta, draws.theta, draws.psi)))
    x = np.stack([join(*point) for point in flat]).reshape(*shape, -1)
    dims = ["chain", "draw"]
    upars = xr.DataArray(x, dims=[*dims, "parameter"], coords={d: tree["log_likelihood"][d] for d in dims})
    seen: dict[bytes, Any] = {}

    def units(moved: Any) -> Any:
        values = moved.to_numpy()
        key = values.tobytes()
        if key not in seen:
            seen.clear()  # one set of draws at a time is asked for, first for the density, then for the group
            points = values.reshape(-1, values.shape[-1])
            seen[key] = units_at(target, Points.of(target.coordinates, points), nodes).reshape(*values.shape[:2], -1)
        return seen[key]

    def log_density(moved: Any) -> Any:
        values = moved.to_numpy()
        prior = target.log_priors(values.reshape(-1, values.shape[-1]))
        total = prior.reshape(values.shape[:2]) + units(moved).sum(axis=2)
        return xr.DataArray(total, dims=dims, coords={d: moved[d] for d in dims})

    def log_likelihood_of(moved: Any, i: int) -> Any:
        return xr.DataArray(units(moved)[..., i], dims=dims, coords={d: moved[d] for d in dims})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # k-hat that stays high is in the result
        return arviz_stats.loo_moment_match(tree, elpd, log_density, log_likelihood_of, upars, pointwise=True)
