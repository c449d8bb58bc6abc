"""Fit a model by nested Laplace."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.joint import linear_predictor
from bayesglmm.latent.curvature import Curvature
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace import density
from bayesglmm.latent.nested_laplace.explore import Design, Spot, lay_out, make_axes
from bayesglmm.latent.nested_laplace.hyper import HyperTarget, hyper_coordinates
from bayesglmm.latent.nested_laplace.mixture import mixture_moments
from bayesglmm.latent.nested_laplace.moments import STRATEGIES, Moments, field_moments
from bayesglmm.latent.outer import Optimum, maximise
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.target import make_target
from bayesglmm.latent.threads import one_thread
from bayesglmm.parameters import likelihood_scale, mean_psi, mean_theta
from bayesglmm.priors import PriorSet, flat_priors
from bayesglmm.result import Draws, Result, Status

if TYPE_CHECKING:
    from bayesglmm.latent.factor import Factor
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.nested_laplace.field import Field
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

INTEGRATIONS = ("auto", "grid", "ccd", "eb")
#: Most hyperparameters for which ``"auto"`` lays out a grid, and for which one is possible.
AUTO_GRID, MAX_GRID = 2, 3


def fit_nested(
    problem: Problem, *, strategy: str = "simplified", integration: str = "auto", kernel: str = "auto"
) -> Result:
    """Integrate coefficients and random effects out by Laplace, hyperparameters numerically.

    Parameters
    ----------
    problem : Problem
        The model.
    strategy : {"simplified", "variational", "gaussian"}
        How the Gaussian approximation of the field is corrected; see
        :func:`bayesglmm.latent.nested_laplace.moments.field_moments`.
    integration : {"auto", "grid", "ccd", "eb"}
        Points of the hyperparameters: a lattice (up to three of them), a central composite design, or the mode alone.
        ``"auto"``: a lattice for up to two, else the design.
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
    """
    integration = _checked(problem, strategy, integration)
    begin = time.perf_counter()
    with one_thread():
        target = hyper_target(problem, kernel)
        optimum = _optimum(problem, target)
        kind = _kind(integration, len(optimum.point.x))
        design = _explore(target, optimum, kind)
        moments = [_moments_at(target, spot, strategy) for spot in design.spots]
        sample = _sample(target, design)
    options = {"strategy": strategy, "integration": kind, "kernel": kernel}
    return _result(problem, target, optimum, Found(design, moments, sample), options, begin)


@dataclass(frozen=True)
class Found:
    """What was found: the design, the field's moments at its points, and a sample of the hyperparameters."""

    design: Design
    moments: list[Moments]
    sample: Draws


def _checked(problem: Problem, strategy: str, integration: str) -> str:
    for name, value, known in (("strategy", strategy, STRATEGIES), ("integration", integration, INTEGRATIONS)):
        if value not in known:
            raise MethodError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}.")
    if problem.family.quasi:
        raise MethodError(f"{problem.family.name} is a quasi-family: it has no likelihood to integrate.")
    return integration


def _kind(integration: str, d: int) -> str:
    if integration == "auto":
        return "grid" if d <= AUTO_GRID else "ccd"
    if integration == "grid" and d > MAX_GRID:
        raise MethodError(
            f"integration='grid' is for at most {MAX_GRID} hyperparameters, and the model has {d}: use 'ccd' or 'eb'."
        )
    return integration


def hyper_target(problem: Problem, kernel: str = "auto") -> HyperTarget:
    """The posterior of the hyperparameters of a problem; flat priors count as densities of natural parameters."""
    target = make_target(problem, 1, kernel)
    priors = posterior_priors(problem)
    return HyperTarget(target.objective, hyper_coordinates(target.coordinates), priors, target.aux_links)


def posterior_priors(problem: Problem) -> PriorSet:
    """The priors of a problem, flat ones written out."""
    return problem.priors or flat_priors(problem.design, problem.family, problem.covariance)


def _optimum(problem: Problem, target: HyperTarget) -> Optimum:
    """The mode of the hyperparameters; the field's own where there are none."""
    objective = target.objective
    p = objective.X.shape[1]
    full = replace(target.coordinates, p=p)
    start = starting_point(problem, objective, full)
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


class _Evaluator:
    """log p̃ at a point, warm-started at a near spot; the last factor guides the next search."""

    def __init__(self, target: HyperTarget, guide: Factor | None) -> None:
        self.target, self.guide, self.count = target, guide, 0

    def __call__(self, x: Floats, near: Spot) -> Spot:
        self.count += 1
        point = self.target.at(x, Warm(near.field, self.guide), with_gradient=False)
        if not np.isfinite(point.value):
            return Spot(x, -np.inf, near.field)
        self.guide = point.mode.factor
        return Spot(x, point.value, point.mode.u)


def _explore(target: HyperTarget, optimum: Optimum, kind: str) -> Design:
    mode = Spot(optimum.point.x, optimum.point.value, optimum.point.mode.u)
    evaluate = _Evaluator(target, optimum.point.mode.factor)
    return lay_out(kind, make_axes(mode, optimum.curvature.covariance, evaluate), mode, evaluate)


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


def _moments_at(target: HyperTarget, spot: Spot, strategy: str) -> Moments:
    """Moments of the field at a spot."""
    _, theta, _ = target.coordinates.split(spot.x)
    return field_moments(*field_at(target, spot.x, Warm(spot.field)), target.objective.lambdas(theta), strategy)


def _sample(target: HyperTarget, design: Design) -> Draws:
    """Equally weighted hyperparameters, shape (1, N, ...); coefficients and random effects are left empty."""
    z, w = density.sample(design)
    z = density.equally_weighted(z, w, min(len(z), density.KEPT))
    parts = [target.coordinates.split(x) for x in design.axes.point(z)]
    theta = [
        np.concatenate([*(c.canonical(t) for c, t in zip(target.objective.covariance, blocks)), np.empty(0)])
        for blocks in (target.coordinates.blockwise(p[1]) for p in parts)
    ]
    empty = tuple(np.empty((1, len(z), 0, 0)) for _ in target.objective.covariance)
    return Draws(
        np.empty((1, len(z), 0)), np.stack(theta)[None], np.stack([p[2] for p in parts])[None], empty, independent=True
    )


def _result(
    problem: Problem, target: HyperTarget, optimum: Optimum, found: Found, options: dict[str, Any], begin: float
) -> Result:
    design, moments, w = found.design, found.moments, found.design.weights
    beta_at = np.stack([m.beta for m in moments])
    beta = w @ beta_at
    cov_beta = np.tensordot(w, np.stack([m.beta_cov for m in moments]), axes=1)
    cov_beta = cov_beta + (beta_at - beta).T @ (w[:, None] * (beta_at - beta))
    effects = _effects(moments)
    pairs = [mixture_moments(w, e["mean"], e["sd"]) for e in effects]
    theta, psi = mean_theta(problem, found.sample.theta[0]), mean_psi(problem, found.sample.psi[0])
    proper = all(prior.proper for _, prior in posterior_priors(problem).items())
    means = tuple(mean for mean, _ in pairs)
    return Result(
        method="inla",
        objective=f"nested Laplace, {_words(design, optimum)}",
        estimand="conditional",
        beta=beta,
        cov_beta=cov_beta,
        theta=theta,
        psi=psi,
        cov_joint=_joint(target, found, cov_beta, beta_at - beta),
        effects=means,
        effects_sd=tuple(sd for _, sd in pairs),
        eta=linear_predictor(problem, beta, means),
        scale=likelihood_scale(problem, psi),
        loglik=_loglik(target, optimum),
        df_model=len(beta) + len(optimum.point.x),
        df_resid=float(problem.design.nobs - len(beta)),
        status=_status(problem, optimum, design, time.perf_counter() - begin),
        options=options,
        extras={
            "hyper": found.sample,
            "design": _design_arrays(design),
            "mixture": {
                "weights": w,
                "beta": {name: np.stack([getattr(m, attribute) for m in moments]) for name, attribute in BETA},
                "effects": effects,
            },
            "log_density": optimum.point.value,
            **({"log_evidence": design.log_integral} if proper else {}),
        },
    )


#: Names of the moments of the coefficients among those of the field.
BETA = (("mean", "beta"), ("sd", "beta_sd"), ("skew", "beta_skew"))
EFFECTS = (("mean", "effects"), ("sd", "effects_sd"), ("skew", "effects_skew"))


def _effects(moments: list[Moments]) -> list[dict[str, Floats]]:
    """Moments of the random effects at every point: per grouping factor, arrays of shape (K, levels, q)."""
    return [
        {name: np.stack([getattr(m, attribute)[k] for m in moments]) for name, attribute in EFFECTS}
        for k in range(len(moments[0].effects))
    ]


def _design_arrays(design: Design) -> dict[str, Any]:
    axes = design.axes
    return {
        "kind": design.kind,
        "z": design.z,
        "x": np.stack([s.x for s in design.spots]),
        "log_density": design.log_density,
        "center": axes.center,
        "basis": axes.basis,
        "stretch": axes.stretch,
    }


def _joint(target: HyperTarget, found: Found, cov_beta: Floats, moved: Floats) -> Floats:
    """Covariance of (β, natural θ, ψ): the hyperparameters' from the sample, β's dependence from the points."""
    own = np.concatenate([found.sample.theta[0], found.sample.psi[0]], axis=1)
    p, h = cov_beta.shape[0], own.shape[1]
    out = np.zeros((p + h, p + h))
    out[:p, :p] = cov_beta
    if h:
        out[p:, p:] = np.cov(own, rowvar=False).reshape(h, h)
        at = np.stack([np.concatenate(target.coordinates.split(s.x)[1:]) for s in found.design.spots])
        w = found.design.weights
        cross = moved.T @ (w[:, None] * (at - w @ at))
        out[:p, p:], out[p:, :p] = cross, cross.T
    return out


def _loglik(target: HyperTarget, optimum: Optimum) -> float:
    """Laplace's log-likelihood at the posterior mode of the hyperparameters and of the field there."""
    _, theta, psi = target.coordinates.split(optimum.point.x)
    field = target.field(optimum.point.x)
    u, beta = field.split(optimum.point.mode.u)
    with one_thread():
        return target.objective.evaluate(beta, theta, psi, Warm(u), with_gradient=False).value


def _words(design: Design, optimum: Optimum) -> str:
    d = design.axes.size
    if not d:
        return "no hyperparameters"
    what = f"{d} hyperparameter{'s' if d > 1 else ''}"
    return f"{what} at the mode" if design.kind == "eb" else f"{what} at {len(design.z)} points ({design.kind})"


def _status(problem: Problem, optimum: Optimum, design: Design, seconds: float) -> Status:
    notes = list(optimum.notes)
    # The clip of a stretch is where the density did not fall on a probe.
    if design.axes.size and float(design.axes.stretch.max()) >= STRETCHED:
        notes.append(
            "the posterior of the hyperparameters has a long tail: compare with method='mcmc', or give tighter priors."
        )
    if problem.priors is None:
        notes.append(
            "flat priors: the densities of sds and auxiliaries are flat on their natural scale; with few groups that "
            "posterior need not be a probability distribution. There is no marginal likelihood."
        )
    return Status(
        converged=optimum.converged,
        message=optimum.message,
        iterations=optimum.iterations,
        evaluations=optimum.evaluations + len(design.z),
        gradient_norm=optimum.decrement,
        notes=tuple(notes),
        seconds=seconds,
        condition=optimum.curvature.condition,
        scaled_gradient=optimum.curvature.scaled_gradient(optimum.point.gradient),
    )


#: A half-axis this many times longer than the curvature says is called a long tail.
STRETCHED = 2.5
