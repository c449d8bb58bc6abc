"""Joint draws of parameters and random effects from the Gaussian approximation around the marginal mode."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.target import Target, TargetPoint
from bayesglmm.result import Draws

Floats = NDArray[np.float64]

#: Seconds that solving for the modes at every draw may take before it is left out by default.
PATIENCE = 5.0


def draw(target: Target, optimum: Optimum, count: int, seed: int | None, resolve: bool | None) -> Draws:
    """Draw (β, θ, ψ) from N(x̂, information⁻¹) in working coordinates, then u given them.

    Parameters
    ----------
    target : Target
        The density that was maximised.
    optimum : Optimum
        Its maximum; parameters at an edge stay there.
    count : int
        Number of draws.
    seed : int or None
        Of the generator.
    resolve : bool or None
        Whether to find the conditional modes anew at every draw; None: if that takes a few seconds at most.

    Returns
    -------
    Draws
        One chain. ``stats["log_q"]`` is the log-density of the draw of the parameters; with `resolve` also
        ``stats["log_p"]``, the target there.
    """
    rng = np.random.default_rng(seed)
    x, log_q = _parameters(optimum, count, rng)
    resolve = _is_cheap(target, optimum, count) if resolve is None else resolve
    u, log_p = (_solved if resolve else _moved)(target, optimum, x, rng)
    return pack_draws(target, x, u, {"log_q": log_q} | ({"log_p": log_p} if resolve else {}))


def _parameters(optimum: Optimum, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    free = optimum.curvature.free
    size = int(free.sum())
    x = np.repeat(optimum.point.x[None], count, axis=0)
    covariance = optimum.curvature.covariance[np.ix_(free, free)]
    if np.isnan(covariance).any():
        covariance = np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(covariance)
    z = rng.standard_normal((count, size))
    x[:, free] += (z * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    with np.errstate(divide="ignore"):
        log_det = float(np.log(np.maximum(values, 0.0)).sum())
    return x, -0.5 * np.sum(z**2, axis=1) - 0.5 * log_det - 0.5 * size * np.log(2 * np.pi)


def _is_cheap(target: Target, optimum: Optimum, count: int) -> bool:
    begin = time.perf_counter()
    target.at(optimum.point.x, optimum.point.mode, with_gradient=False)
    # Away from the optimum the modes take a few Newton steps, not one.
    return 4.0 * count * (time.perf_counter() - begin) < PATIENCE


def _moved(target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Modes moved linearly with the parameters, and the spread they have at the optimum."""
    mode = optimum.point.mode
    assert mode.factor is not None
    centre = mode.u + (x - optimum.point.x) @ optimum.curvature.mode_slopes.T
    return centre + mode.factor.sample(rng, len(x)), np.empty(0)


def _solved(target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Each draw's own modes and spread; a draw without modes has density zero and keeps the linear ones."""
    base, slopes = optimum.point.mode, optimum.curvature.mode_slopes
    u, log_p = np.empty((len(x), len(base.u))), np.empty(len(x))
    for i, xi in enumerate(x):
        centre = base.u + slopes @ (xi - optimum.point.x)
        point: TargetPoint = target.at(xi, Warm(centre, base.factor), with_gradient=False)
        log_p[i] = point.value
        mode = point.mode if np.isfinite(point.value) else base
        assert mode.factor is not None
        middle = mode.u if np.isfinite(point.value) else centre
        u[i] = middle + mode.factor.half_solve(rng.standard_normal(len(base.u)))
    return u, log_p


def pack_draws(target: Target, x: Floats, u: Floats, stats: dict[str, Floats]) -> Draws:
    """Vectors of the target and their standardised effects, shape (draws, d) and (draws, m), as draws of one chain."""
    objective, coordinates = target.objective, target.coordinates
    points = [coordinates.split(row) for row in x]
    effects = [objective.structure.effects(objective.lambdas(theta), own) for (_, theta, _), own in zip(points, u)]
    theta = [
        np.concatenate([*(c.canonical(t) for c, t in zip(objective.covariance, coordinates.blockwise(p[1]))), []])
        for p in points
    ]
    return Draws(
        np.stack([p[0] for p in points])[None],
        np.stack(theta)[None],
        np.stack([p[2] for p in points])[None],
        tuple(np.stack([e[k] for e in effects])[None] for k in range(len(objective.covariance))),
        stats={name: value[None] for name, value in stats.items()},
    )
