"""Fit a model by nested Laplace."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import BayesGLMMWarning, ConvergenceError, MethodError, warn
from bayesglmm.latent.curvature import Curvature
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace import density
from bayesglmm.latent.nested_laplace.assemble import Found, assemble
from bayesglmm.latent.nested_laplace.axes import Spot, make_axes
from bayesglmm.latent.nested_laplace.effects import level_moments
from bayesglmm.latent.nested_laplace.explore import Design, lay_out
from bayesglmm.latent.nested_laplace.hyper import HyperTarget, hyper_coordinates, posterior_priors
from bayesglmm.latent.nested_laplace.moments import STRATEGIES, Moments, field_moments
from bayesglmm.latent.nested_laplace.refine import Evaluator, Refinement, refinement
from bayesglmm.latent.nested_laplace.shift import laplace_shift
from bayesglmm.latent.nested_laplace.strategy import LARGE, choose, integration_of, settle
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.outer import Optimum, maximise
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.target import make_target
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.units import check_units
from bayesglmm.result import Draws, Result

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.nested_laplace.field import Field
    from bayesglmm.latent.objective import Objective
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

INTEGRATIONS = ("auto", "grid", "ccd", "eb")


def fit_nested(
    problem: Problem,
    *,
    strategy: str = "auto",
    integration: str = "auto",
    nodes: int | tuple[int, int] | None = None,
    kernel: str = "auto",
) -> Result:
    """Integrate coefficients and random effects out by Laplace, hyperparameters numerically.

    Parameters
    ----------
    problem : Problem
        The model.
    strategy : {"auto", "laplace", "simplified", "variational", "gaussian"}
        How the Gaussian approximation of the field is corrected: see
        :mod:`bayesglmm.latent.nested_laplace.coefficients` and :mod:`bayesglmm.latent.nested_laplace.moments`.
    integration : {"auto", "grid", "ccd", "eb"}
        Points of the hyperparameters: a lattice (up to three of them), a central composite design, or the mode alone.
        ``"auto"``: a lattice for up to two, and for three where it is cheap.
    nodes : int or (int, int), optional
        For ``"laplace"``: quadrature nodes per dimension of the random effects; 1 is Laplace's approximation. Chosen
        where left out. A pair is for two nested factors.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or the PyMC graph.

    Returns
    -------
    Result
        Posterior means, covariances and sds. ``extras["hyper"]`` is a sample of the hyperparameters, ``"mixture"`` the
        moments of coefficients and random effects at every integration point, ``"design"`` the points, and
        ``"log_evidence"`` the log marginal likelihood, where every prior is proper.

    Raises
    ------
    MethodError
        An unknown option, or a family without a likelihood.
    ConvergenceError
        When the hyperparameters have no proper posterior mode.
    SpecError
        When the prior of a coefficient is not smooth.
    DataError
        A response of identity link in units so large or small that sds cannot be searched for.

    Warns
    -----
    BayesGLMMWarning
        With ``"auto"``: Laplace is poor, and quadrature would take long.
    """
    _check(problem, strategy, integration)
    check_units(problem)
    begin = time.perf_counter()
    with one_thread():
        target = hyper_target(problem, kernel)
        chosen, nodes = choose(problem, target, strategy, nodes)
        optimum = _optimum(problem, target)
        shift = laplace_shift(problem, target, optimum, kernel)
        chosen, nodes, poor = settle(target, chosen, nodes, shift)
        if poor and strategy == "auto":
            warn(f"{poor[0]}.", BayesGLMMWarning)
        strategy, kind = chosen, integration_of(target, integration, nodes)
        objective = None if nodes is None else make_objective(problem, nodes, kernel)
        refine, notes = refinement(target, optimum, strategy, objective)
        notes = poor or notes
        design = _explore(target, optimum, kind, refine)
        hyper = density.sample(design)
        design = density.share_out(design, hyper)
        moments = [_moments_at(target, spot, strategy, objective) for spot in design.spots]
        sample = _sample(target, design, hyper)
    options: dict[str, Any] = {"strategy": strategy, "integration": kind, "kernel": kernel}
    options |= {} if nodes is None else {"nodes": nodes}
    return assemble(problem, target, optimum, Found(design, moments, sample, notes), options, begin)


def _check(problem: Problem, strategy: str, integration: str) -> None:
    for name, value, known in (("strategy", strategy, STRATEGIES), ("integration", integration, INTEGRATIONS)):
        if value not in known:
            raise MethodError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}.")
    if problem.family.quasi:
        raise MethodError(f"{problem.family.name} is a quasi-family: it has no likelihood to integrate.")


def hyper_target(problem: Problem, kernel: str = "auto") -> HyperTarget:
    """The posterior of the hyperparameters of a problem; flat priors count as densities of natural parameters."""
    target = make_target(problem, 1, kernel)
    priors = posterior_priors(problem)
    X = target.objective.X
    alone = replace(target.objective, X=X[:, :0])
    return HyperTarget(alone, hyper_coordinates(target.coordinates), priors, target.aux_links, X)


def _optimum(problem: Problem, target: HyperTarget) -> Optimum:
    """The mode of the hyperparameters; the field's own where there are none."""
    p = target.X.shape[1]
    full = replace(target.coordinates, p=p)
    start = starting_point(problem, replace(target.objective, X=target.X), full)
    field = np.concatenate([start.modes, start.x[:p]])
    own = Start(start.x[p:], field, start.inverse_hessian[p:, p:])
    if not len(own.x):
        point = target.at(own.x, Warm(field))
        if not np.isfinite(point.value):
            raise ConvergenceError(f"no posterior mode: {point.mode.message}.")
        none = np.zeros((0, 0))
        bent = Curvature(np.zeros(0, dtype=bool), none, np.zeros((len(field), 0)), True, np.zeros(0), None, 1)
        return Optimum(point, bent, point.mode.decrement, True, "converged: no hyperparameters", 0, 1)
    optimum = maximise(target, own)
    if not optimum.curvature.definite or not optimum.curvature.free.all():
        raise ConvergenceError(
            "the posterior of the hyperparameters has no proper mode: the data leave some of them undetermined, and "
            "so do their priors. Give proper priors, or simplify the random terms."
        )
    return optimum


def _explore(target: HyperTarget, optimum: Optimum, kind: str, refine: Refinement | None) -> Design:
    evaluate = Evaluator(target, optimum.point.mode.factor, refine)
    mode = evaluate.spot(optimum.point)
    if not np.isfinite(mode.value):
        raise ConvergenceError(
            "the coefficients have no marginal posterior mode near the field's: use strategy='simplified'."
        )
    design = lay_out(kind, *make_axes(mode, optimum.curvature.covariance, evaluate), evaluate)
    closer = kind == "ccd" and target.objective.structure.n <= LARGE
    return density.look_closer(design, evaluate) if closer else design


def field_at(target: HyperTarget, x: Floats, start: Warm | None) -> tuple[Field, Mode]:
    """The field at hyperparameters, and its mode.

    Raises
    ------
    ConvergenceError
        When it has none.
    """
    field = target.field(x)
    with np.errstate(all="ignore"):
        mode = field.mode(start)
    if not mode.found:
        raise ConvergenceError(f"the latent field has no mode at an integration point: {mode.message}.")
    return field, mode


def _moments_at(target: HyperTarget, spot: Spot, strategy: str, objective: Objective | None) -> Moments:
    """Moments of the field at a spot."""
    _, theta, psi = target.coordinates.split(spot.x)
    field, mode = field_at(target, spot.x, Warm(spot.field))
    levels = None
    if objective is not None and spot.coefficients is not None:
        levels = level_moments(objective, theta, psi, spot.coefficients, field.split(mode.u)[0])
    return field_moments(field, mode, target.objective.lambdas(theta), strategy, spot.coefficients, levels)


def _sample(target: HyperTarget, design: Design, found: density.Weighted) -> Draws:
    """Equally weighted hyperparameters, shape (1, N, ...); coefficients and random effects are left empty."""
    z = density.equally_weighted(found.z, found.weights, min(len(found.z), density.KEPT))
    _, theta, psi = (np.stack(part)[None] for part in zip(*map(target.coordinates.split, design.axes.point(z))))
    empty = tuple(np.empty((1, len(z), 0, 0)) for _ in target.objective.covariance)
    return Draws(np.empty((1, len(z), 0)), theta, psi, empty, independent=True)
