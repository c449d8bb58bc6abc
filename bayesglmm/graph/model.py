"""The whole model as a PyMC graph: the definition every approximation is held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesglmm import names
from bayesglmm.design.types import RandomBlock
from bayesglmm.errors import MethodError
from bayesglmm.graph.covariance import random_effects
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.priors import auxiliaries, coefficients
from bayesglmm.graph.rows import row_distribution
from bayesglmm.links import get_link
from bayesglmm.priors import PriorSet, flat_priors
from bayesglmm.problem import Problem


def build_model(problem: Problem, centred: Collection[str] = ()) -> pm.Model:
    """Build the model in PyMC: likelihood, random effects and priors.

    Variables and dimensions are named as :mod:`bayesglmm.names` says. Memory and time are linear in rows: random
    effects enter by indexing. ``priors="flat"`` becomes flat priors on the natural scale of every parameter (the
    posterior then need not be proper).

    Parameters
    ----------
    problem : Problem
        Design, family, link, covariance and priors.
    centred : collection of str
        Grouping factors whose random effects are free variables themselves; those of the others are non-centred, a
        factor of their covariance times standard normal variables.

    Returns
    -------
    pymc.Model
        With named dims and coords; prior weights of a family whose ``weighted`` is ``"power"`` multiply the
        log-likelihood of their row.

    Raises
    ------
    MethodError
        A quasi-family, which has no likelihood.
    """
    if problem.family.distribution is None:
        raise MethodError(f"{problem.family.name} has no likelihood, hence no PyMC graph.")
    design = problem.design
    priors = problem_priors(problem)
    with pm.Model(coords=coords(problem)) as model:
        eta = pt.as_tensor(design.offset) if np.any(design.offset) else 0.0
        if design.columns:
            beta = coefficients(priors, Whitening(design.X))
            eta = eta + pt.dot(pt.as_tensor(design.X), beta)
        for block, cov, terms in zip(design.blocks, problem.covariance, priors.blocks):
            eta = eta + _contribution(block, random_effects(block, cov, terms, block.group in centred))
        aux = _auxiliaries(problem, auxiliaries(priors))
        _observe(model, problem, pt.broadcast_to(eta, (design.nobs,)) if design.nobs else eta, aux)
    return model


def problem_priors(problem: Problem) -> PriorSet:
    """The priors of a problem, with flat ones spelled out."""
    if problem.priors is not None:
        return problem.priors
    return flat_priors(problem.design, problem.family, problem.covariance)


def coords(problem: Problem) -> dict[str, Any]:
    """Labels of every dimension of the graph."""
    design = problem.design
    coords: dict[str, Any] = {names.OBS_DIM: np.arange(design.nobs)}
    if design.columns:
        coords[names.COEFFICIENT_DIM] = list(design.columns)
    for block, cov in zip(design.blocks, problem.covariance):
        coords[names.level_dim(block.group)] = list(block.levels)
        coords[names.column_dim(block.group)] = list(block.columns)
        if names.has_correlation(cov):
            coords[names.column_dim_bis(block.group)] = list(block.columns)
    return coords


def _auxiliaries(problem: Problem, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The family's auxiliaries, natural scale: a variable, or one value per row where there is a linear predictor."""
    own = {a.name: a for a in problem.design.auxiliaries}
    out = {}
    for a in problem.family.auxiliaries:
        if a.name not in own:
            out[a.name] = entries[a.name]
            continue
        gamma = pt.stack([entries[names.auxiliary_label(a.name, c)] for c in own[a.name].columns])
        out[a.name] = get_link(a.link).symbolic(pt, pt.dot(pt.as_tensor(own[a.name].X), gamma))
    return out


def _contribution(block: RandomBlock, b: Any) -> Any:
    """Part of the linear predictor of one grouping factor, by indexing."""
    if len(block.columns) == 1:
        picked = b[:, 0][block.codes]
        return picked if np.all(block.z == 1.0) else picked * block.z[:, 0]
    return pt.sum(b[block.codes] * block.z, axis=1)


def _observe(model: pm.Model, problem: Problem, eta: Any, aux: Mapping[str, Any]) -> None:
    """Register the response.

    Weights that multiply the log-density, and fractional values of a count, are outside PyMC's own
    distributions: the row distribution is then wrapped so that draws come from it and the log-density is as stated.
    """

    def rows(eta: Any, *values: Any) -> Any:
        given = dict(zip(aux, values))
        return row_distribution(problem.family, problem.link, eta, given, problem.response.trials, weights)

    name = names.response_variable(problem.response.name)
    name = f"{name}_" if name in model.named_vars else name
    y, weights = problem.response.y, problem.design.weights
    dist = rows(eta, *aux.values())
    discrete = np.issubdtype(dist.dtype, np.integer)
    fractional = discrete and np.any(y != np.round(y))
    powered = problem.family.weighted == "power" and weights is not None
    if not powered and not fractional:
        model.register_rv(dist, name, observed=y.astype(dist.dtype), dims=(names.OBS_DIM,))
        return
    multiply = weights if powered else np.ones(len(y))

    def draw(*args: Any) -> Any:
        drawn = rows(*args[:-1])
        return drawn.astype("float64") if fractional else drawn

    def logp(value: Any, *args: Any) -> Any:
        return multiply * pm.logp(rows(*args), value)

    pm.CustomDist(
        name,
        eta,
        *aux.values(),
        dist=draw,
        logp=logp,
        class_name="WeightedRow",
        observed=y if fractional else y.astype(dist.dtype),
        dims=names.OBS_DIM,
    )
