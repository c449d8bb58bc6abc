"""Joint draws from a fit by nested Laplace: hyperparameters, then coefficients and random effects given them.

Given its hyperparameters a draw comes from the normal approximation of the nearest integration point, with means and
sds that are interpolated between the points. The skewness of every coordinate is put in through its own quantile
function, which leaves a Gaussian copula between them (Chiuchiolo, van Niekerk & Rue 2023, Computational Statistics 38,
1461-1478); that function is Cornish and Fisher's, z + γ (z² − 1) / 6 scaled to unit variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace.axes import Axes
from bayesglmm.latent.nested_laplace.density import Interpolant
from bayesglmm.latent.nested_laplace.field import FieldFactor
from bayesglmm.latent.nested_laplace.fit import field_at, hyper_target
from bayesglmm.latent.threads import one_thread
from bayesglmm.result import Draws

if TYPE_CHECKING:
    from bayesglmm.latent.nested_laplace.hyper import HyperTarget
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: An sd of zero, where one is divided by.
TINY = 1e-300


def nested_draws(problem: Problem, result: Result, count: int, seed: int | None = None) -> Draws:
    """Draw parameters and random effects jointly from a fit by ``"inla"``.

    Parameters
    ----------
    problem, result
        The model and its fit.
    count : int
        Number of draws.
    seed : int, optional
        Of the generator.

    Returns
    -------
    Draws
        One chain of independent draws.
    """
    rng = np.random.default_rng(seed)
    hyper, found = result.extras["hyper"], result.extras["design"]
    axes = Axes(found["center"], found["basis"], found["stretch"], found["warp"])
    size = hyper.theta.shape[1]
    chosen = rng.choice(size, count, replace=count > size) if size > 1 else np.zeros(count, dtype=int)
    theta, psi = hyper.theta[0, chosen], hyper.psi[0, chosen]
    with one_thread():
        target = hyper_target(problem, result.options["kernel"])
        if result.options["integration"] == "eb":
            at = np.zeros((count, axes.size))
        else:
            empty = np.empty(0)
            at = axes.standardise(np.stack([target.coordinates.join(empty, t, p) for t, p in zip(theta, psi)]))
        beta, effects = _field_draws(target, result.extras, at, rng)
    return Draws(beta[None], theta[None], psi[None], tuple(e[None] for e in effects))


def _field_draws(
    target: HyperTarget, extras: Mapping[str, Any], at: Floats, rng: np.random.Generator
) -> tuple[Floats, list[Floats]]:
    """Coefficients, shape (count, p), and random effects, shape (count, levels, q), at standardised points `at`."""
    nodes, x, mixture = extras["design"]["z"], extras["design"]["x"], extras["mixture"]
    nearest = np.argmin(np.sum((at[:, None] - nodes[None]) ** 2, axis=-1), axis=1)
    parts = [mixture["beta"], *mixture["effects"]]
    drawn = [np.empty((len(at), *part["mean"].shape[1:])) for part in parts]
    start = None
    for k in np.unique(nearest):
        field, mode = field_at(target, x[k], start)
        start = Warm(mode.u)
        assert isinstance(mode.factor, FieldFactor)
        here = nearest == k
        u, beta = np.split(mode.factor.sample(rng, int(here.sum())), [field.rows.m], axis=1)
        lambdas = target.objective.lambdas(target.coordinates.split(x[k])[1])
        deviations = [beta, *target.objective.structure.effects(lambdas, u)]
        covariances = zip(lambdas, mode.factor.level_covariances())
        spreads = [np.sqrt(np.einsum("rs,jst,rt->jr", L, own, L)) for L, own in covariances]
        spreads = [np.sqrt(np.diag(mode.factor.beta_covariance)), *spreads]
        for out, own, spread, part in zip(drawn, deviations, spreads, parts):
            out[here] = _bent(own, spread, part["skew"][k])
    for out, part in zip(drawn, parts):
        out *= np.exp(Interpolant(nodes, np.log(np.maximum(part["sd"], TINY)))(at))
        out += Interpolant(nodes, part["mean"])(at)
    return drawn[0], drawn[1:]


def _bent(x: Floats, sd: Floats, skew: Floats) -> Floats:
    """Deviations of the given sds in units of them, made skew."""
    z = x / np.maximum(sd, TINY)
    return (z + skew * (z * z - 1.0) / 6.0) / np.sqrt(1.0 + skew**2 / 18.0)
