"""From integration points to a result: mixtures over the points, sums over the hyperparameters' sample."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.joint import linear_predictor
from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace.explore import Design
from bayesglmm.latent.nested_laplace.hyper import HyperTarget, posterior_priors
from bayesglmm.latent.nested_laplace.mixture import mixture_moments
from bayesglmm.latent.nested_laplace.moments import Moments
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.threads import one_thread
from bayesglmm.parameters import likelihood_scale, mean_psi, mean_theta
from bayesglmm.result import Draws, Result, Status

if TYPE_CHECKING:
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What was found: the design, the field's moments at its points, a sample of the hyperparameters, and notes."""

    design: Design
    moments: list[Moments]
    sample: Draws
    notes: tuple[str, ...]


def assemble(
    problem: Problem, target: HyperTarget, optimum: Optimum, found: Found, options: dict[str, Any], begin: float
) -> Result:
    """Put the result together.

    Parameters
    ----------
    problem, target, optimum
        The model, the hyperparameters' posterior, and its mode.
    found : Found
        What was found.
    options : dict
        For ``options``.
    begin : float
        When the fit began, by ``time.perf_counter()``.
    """
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
        objective=f"nested Laplace, {_words(design)}",
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
        status=_status(problem, optimum, found, time.perf_counter() - begin),
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
        "warp": axes.warp,
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
        objective = replace(target.objective, X=target.X)
        return objective.evaluate(beta, theta, psi, Warm(u), with_gradient=False).value


def _words(design: Design) -> str:
    d = design.axes.size
    if not d:
        return "no hyperparameters"
    what = f"{d} hyperparameter{'s' if d > 1 else ''}"
    return f"{what} at the mode" if design.kind == "eb" else f"{what} at {len(design.z)} points ({design.kind})"


def _status(problem: Problem, optimum: Optimum, found: Found, seconds: float) -> Status:
    design, notes = found.design, [*optimum.notes, *found.notes]
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
STRETCHED = 3.9
