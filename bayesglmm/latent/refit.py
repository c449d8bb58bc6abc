"""The (final working) linear mixed model of a result, solved again: what inference about it is computed from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.linear.curvature import Curvature, curvature
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.linear.start import homogeneous, relative
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.working.expansion import Place
from bayesglmm.latent.working.model import Loop
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

METHODS = ("ml", "reml", "pql", "mql")


def solution_of(problem: Problem, result: Result) -> Solution:
    """The penalised least-squares solution a result of ML, REML, PQL or MQL stands for.

    Parameters
    ----------
    problem, result
        The model and what was found.

    Raises
    ------
    MethodError
        A result of another method.
    """
    if result.method not in METHODS:
        raise MethodError(
            f"this needs a linear mixed model: a fit by {', '.join(METHODS)}; this one is by {result.method!r}."
        )
    scale = result.options["scale"]
    loop = Loop(
        problem,
        analyse(problem.design.blocks, problem.covariance, problem.design.nobs),
        marginal=result.method == "mql",
        reml=bool(result.options["reml"]),
        scale=None if scale == "free" else float(scale),
        estimates_auxiliary=False,
        order=int(result.options.get("order", 1)),
    )
    eta = problem.design.X @ result.beta + problem.design.offset if loop.marginal else result.eta
    place = Place(eta, result.psi, result.extras.get("spread"), result.scale)
    with one_thread():
        model = loop.model(loop.expand(place))
        return model.solve(relative(model, result.theta, result.scale), result.scale)


def solution_at(problem: Problem, theta: Floats, psi: Floats, scale: float, *, reml: bool = True) -> Solution:
    """The penalised least-squares solution of a Gaussian model at given variance parameters.

    Parameters
    ----------
    problem : Problem
        Gaussian with identity link.
    theta, psi : ndarray
        Covariance parameters (absolute; those of the errors' correlation last) and log σ.
    scale : float
        σ².
    reml : bool
        Which criterion its value is of.

    Raises
    ------
    MethodError
        Another kind of model.
    """
    if problem.family.name != "gaussian" or problem.link.name != "identity" or not problem.design.blocks:
        raise MethodError(f"this needs a Gaussian mixed model, and this one is {problem.family.name}.")
    structure = analyse(problem.design.blocks, problem.covariance, problem.design.nobs)
    loop = Loop(problem, structure, marginal=False, reml=reml, scale=None, estimates_auxiliary=False)
    with one_thread():
        model = loop.model(loop.expand(Place(problem.mean_response, psi)))
        return model.solve(relative(model, theta, scale), scale)


def curvature_of(result: Result, at: Solution) -> Curvature:
    """Second derivatives at :func:`solution_of`."""
    k, p = len(result.theta), len(result.beta)
    joint = np.full((p + k, p + k), np.nan) if result.cov_joint is None else result.cov_joint
    errors = np.sqrt(np.diag(joint)[p : p + k])
    with one_thread():
        return curvature(at, np.where(homogeneous(at.model), errors / np.sqrt(at.scale), errors))


def inside(result: Result) -> NDArray[np.bool_]:
    """Which of (θ, log σ) are not at a boundary; log σ only where σ is estimated."""
    k, p = len(result.theta), len(result.beta)
    joint = np.full((p + k, p + k), np.nan) if result.cov_joint is None else result.cov_joint
    free = np.isfinite(np.diag(joint)[p : p + k])
    return np.append(free, True) if result.options["scale"] == "free" else free
