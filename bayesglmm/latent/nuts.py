"""NUTS over the parameters alone: the random effects are integrated out, and drawn afterwards.

The target is the log marginal posterior with its exact gradient (:mod:`bayesglmm.latent.target`): a handful of
dimensions, whatever the number of random effects. The sampler moves in z with x = x̂ + Cz, where x̂ is the mode (or a
fit's estimate) and CC' the inverse information there, so that it starts with a mass matrix that is nearly right, needs
few warm-up draws and takes steps of about one posterior standard deviation. Conditional modes are found from
those of the last point, moved along their derivatives in the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.graph.runner import Plan, run_nutpie, sampler_stats
from bayesglmm.latent.curvature import Curvature
from bayesglmm.latent.mode import Mode, Warm
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.target import Target

Floats = NDArray[np.float64]

#: Steps of the independence sampler that makes draws of the random effects exact given the parameters.
EFFECT_STEPS = 5


@dataclass(frozen=True)
class Sampled:
    """Draws of the target's vector.

    Parameters
    ----------
    x : ndarray, shape (chains, draws, d)
        Points of the target.
    stats : dict
        Sampler statistics, shape (chains, draws); ``lp`` is the target itself.
    """

    x: Floats
    stats: dict[str, Floats]


@dataclass(frozen=True)
class Whitened:
    """The target in coordinates in which it is nearly a standard normal.

    Parameters
    ----------
    target : Target
        The log-density.
    optimum : Optimum
        Centre, and derivatives of the modes there.
    root : ndarray, shape (d, d)
        C of x = x̂ + Cz.
    """

    target: Target
    optimum: Optimum
    root: Floats

    def point(self, z: Floats) -> Floats:
        """The target's vector."""
        return self.optimum.point.x + self.root @ z

    def density(self) -> Callable[[Floats], tuple[float, Floats]]:
        """A function z → (log-density, gradient) that remembers the last conditional modes."""
        last_x, last = self.optimum.point.x, self.optimum.point.mode
        slopes = self.optimum.curvature.mode_slopes

        def evaluate(z: Floats) -> tuple[float, Floats]:
            nonlocal last_x, last
            x = self.point(z)
            point = self.target.at(x, Warm(last.u + slopes @ (x - last_x)))
            if not np.isfinite(point.value):
                return -np.inf, np.zeros(len(z))
            last_x, last = x, point.mode
            return point.value, self.root.T @ point.gradient

        return evaluate

    def starting_point(self, seed: int) -> Floats:
        """A random point near the centre where the density is finite."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal(len(self.root))
        density = self.density()
        for _ in range(20):
            if np.isfinite(density(z)[0]):
                return z
            z = 0.7 * z
        raise ConvergenceError("no starting point near the mode has a finite marginal posterior density.")


def whiten(target: Target, optimum: Optimum) -> Whitened:
    """Coordinates by the information at the optimum; flat directions get a standard deviation of one."""
    return Whitened(target, optimum, _root(optimum.curvature))


def _root(bent: Curvature) -> Floats:
    """C with CC' the inverse information, as far as it is one."""
    d = len(bent.free)
    root = np.eye(d)
    free = bent.free
    information = bent.information[np.ix_(free, free)]
    if not len(information):
        return root
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-8))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    root[np.ix_(free, free)] = (vectors / np.sqrt(np.maximum(values, 1e-4))) / scale[:, None]
    return root


def sample_target(whitened: Whitened, plan: Plan) -> Sampled:
    """Draw parameters by NUTS.

    nutpie calls the Python function; chains follow one another, since Python functions cannot run at the same time.

    Parameters
    ----------
    whitened : Whitened
        The density.
    plan : Plan
        Draws, warm-up, chains, seed.
    """
    from nutpie.compiled_pyfunc import from_pyfunc

    d = len(whitened.root)

    def expand(*_: Any) -> Callable[[Floats], dict[str, Floats]]:
        return lambda z: {"x": np.asarray(whitened.point(z))}

    compiled = from_pyfunc(
        d,
        whitened.density,
        expand,
        [np.dtype("float64")],
        [(d,)],
        ["x"],
        coords={"parameter": np.arange(d)},
        dims={"x": ("parameter",)},
        make_initial_point_fn=whitened.starting_point,
    )
    tree = run_nutpie(compiled, plan, cores=1)
    return Sampled(np.asarray(tree["posterior"]["x"].values), sampler_stats(tree["sample_stats"]))


def draw_effects(
    target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator, exact: bool = True
) -> tuple[Floats, Floats]:
    """Draw standardised random effects given every draw of the parameters.

    From the Gaussian N(û(x), H(x)⁻¹) at the conditional modes; with `exact`, a few steps of an independence sampler
    with that proposal then lead to the conditional distribution itself: level by level where the levels are
    independent given the parameters (one grouping factor), all at once otherwise.

    Parameters
    ----------
    target : Target
        The marginal posterior.
    optimum : Optimum
        Where modes and their derivatives are known.
    x : ndarray, shape (draws, d)
        Draws of the parameters.
    rng : Generator
        Source of randomness.
    exact : bool
        Whether to correct the Gaussian.

    Returns
    -------
    u : ndarray, shape (draws, m)
        Standardised effects.
    accepted : ndarray, shape (draws,)
        Mean acceptance probability of the independence sampler: one where the conditional is Gaussian. NaN without.
    """
    base, slopes, centre = optimum.point.mode, optimum.curvature.mode_slopes, optimum.point.x
    u, accepted = np.empty((len(x), len(base.u))), np.full(len(x), np.nan)
    for i, xi in enumerate(x):
        point = target.at(xi, Warm(base.u + slopes @ (xi - centre)), with_gradient=False)
        mode = point.mode
        if exact and len(base.u):
            u[i], accepted[i] = _independence_sampler(target, xi, mode, rng)
        else:
            assert mode.factor is not None
            u[i] = mode.u + mode.factor.half_solve(rng.standard_normal(len(base.u)))
    return u, accepted


def _independence_sampler(target: Target, x: Floats, mode: Mode, rng: np.random.Generator) -> tuple[Floats, float]:
    """A draw that started from the Gaussian at the mode, and how often its proposals were taken."""
    objective, structure, factor = target.objective, target.objective.structure, mode.factor
    assert factor is not None
    beta, theta, psi = target.coordinates.split(x)
    z = rng.standard_normal((len(mode.u), EFFECT_STEPS + 1))
    proposals = mode.u[:, None] + factor.half_solve(z)
    eta = (objective.offset + objective.X @ beta)[:, None] + objective.loadings(theta).expand(proposals)
    rows = objective.kernel.derivatives(np.ascontiguousarray(eta.T), psi).value
    # Log-ratios of the conditional density to the Gaussian, per level where levels are independent, else in all.
    gain = 0.5 * (z * z - proposals * structure.penalty(proposals)).T
    layouts = structure.layouts
    if len(layouts) == 1 and layouts[0].precision is None:
        b = layouts[0]
        ratios = np.stack([np.bincount(b.codes, own, b.levels) for own in rows])
        ratios += gain.reshape(len(gain), b.levels, b.size).sum(axis=2)
    else:
        ratios = (rows.sum(axis=1) + gain.sum(axis=1))[:, None]
    current, weight, shares = np.zeros(ratios.shape[1], dtype=int), ratios[0], []
    for step in range(1, EFFECT_STEPS + 1):
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(np.exp(np.minimum(ratios[step] - weight, 0.0)), nan=0.0)
        take = rng.random(len(share)) < share
        shares.append(float(share.mean()))
        current, weight = np.where(take, step, current), np.where(take, ratios[step], weight)
    chosen = np.repeat(current, len(mode.u) // len(current))
    return proposals[np.arange(len(mode.u)), chosen], float(np.mean(shares))
