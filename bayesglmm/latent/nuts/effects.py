"""Draws of the random effects given draws of the parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.copies import Copies, Points, how_many, make_copies
from bayesglmm.latent.weights.ratio import Ratio

if TYPE_CHECKING:
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.target import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Newton decrement at which the mode is near enough for the Gaussian that draws are made or proposed from.
NEAR = 1e-4

#: Steps at most of the independence sampler that makes draws exact given the parameters; fewer where the share of
#: proposals taken says that less than this is left of the Gaussian that it began with.
EFFECT_STEPS, LEFT = 8, 0.001
#: Degrees of freedom of its proposals, and unknowns in a unit up to which they are t: their tails are heavier than
#: those of any conditional, but in many dimensions a t is far from all Gaussians.
EFFECT_DF, WIDEST = 6.0, 8


def draw_effects(
    target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator, exact: bool = True
) -> tuple[Floats, Floats]:
    """Draw standardised random effects given every draw of the parameters.

    From the Gaussian N(û(x), H(x)⁻¹) at the conditional modes; with `exact`, a few steps of an independence sampler
    then lead to the conditional distribution itself. It goes unit by unit (the levels of one factor, the outer levels
    of nested ones, everything where factors are crossed: they are independent given the parameters), with a t
    distribution of the Gaussian's centre and scale as the proposal where units are small, whose tails cover those of
    the conditional, and else with the Gaussian.

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
    if not target.objective.structure.m:
        return np.empty((len(x), 0)), np.full(len(x), np.nan)
    return _Drawer(target, optimum, x, rng, exact).run()


class _Drawer:
    """Draws taken in portions, whose first says how many steps are enough."""

    def __init__(self, target: Target, optimum: Optimum, x: Floats, rng: np.random.Generator, exact: bool) -> None:
        self.target, self.optimum, self.x, self.rng = target, optimum, x, rng
        self.objective = replace(target.objective, nodes=1)
        self.steps = EFFECT_STEPS if exact else 0
        self.u, self.accepted = np.empty((len(x), self.objective.structure.m)), np.full(len(x), np.nan)

    def run(self) -> tuple[Floats, Floats]:
        each, copies = how_many(self.objective, len(self.x)), {}
        for a in range(0, len(self.x), each):
            rows = np.arange(a, min(a + each, len(self.x)))
            if len(rows) not in copies:
                copies[len(rows)] = make_copies(self.objective, len(rows))
            self._portion(rows, copies[len(rows)])
        return self.u, self.accepted

    def _portion(self, rows: Ints, copies: Copies) -> None:
        base, slopes = self.optimum.point, self.optimum.curvature.mode_slopes
        start = base.mode.u + np.clip(self.x[rows] - base.x, -1.0, 1.0) @ slopes.T
        points = Points.of(self.target.coordinates, self.x[rows])
        mode = copies.mode(points, start, NEAR)
        if not mode.found and len(rows) > 1:
            for i in rows:
                self._portion(np.array([i]), make_copies(self.objective, 1))
            return
        if not mode.found:  # the Gaussian at the optimum, moved linearly
            assert base.mode.factor is not None
            self.u[rows] = start + base.mode.factor.sample(self.rng, 1)
            return
        if not self.steps:
            assert mode.factor is not None
            noise = self.rng.standard_normal((len(rows), start.shape[1]))
            self.u[rows] = copies.gather(mode.u + mode.factor.half_solve(copies.scatter(noise)))
            return
        self.u[rows], shares = self._chain(Ratio(copies, mode, copies.fixed(points), copies.psi(points)))
        self.accepted[rows] = shares.mean(axis=1)
        # The share of a unit, over the copies; one in twenty may be worse than this.
        worst = float(np.clip(np.quantile(shares.mean(axis=0), 0.05), 1e-3, 1.0 - 1e-9))
        self.steps = int(np.clip(np.ceil(np.log(LEFT) / np.log1p(-worst)), 2, EFFECT_STEPS))

    def _chain(self, ratio: Ratio) -> tuple[Floats, Floats]:
        """Where chains that start from the proposal end, and every unit's mean acceptance probability."""
        copies, rng = ratio.copies, self.rng
        units = copies.units.count // copies.count
        of_unknown = copies.gather(copies.units.of_unknown) % units
        size = np.bincount(of_unknown[0], minlength=units)
        z = rng.standard_normal((self.steps + 1, *of_unknown.shape))
        excess = np.zeros((self.steps + 1, copies.count, units))
        if size.max() <= WIDEST:
            scale = np.sqrt(rng.chisquare(EFFECT_DF, excess.shape) / EFFECT_DF)
            z /= np.take_along_axis(scale, np.broadcast_to(of_unknown, z.shape), axis=2)
            squares = np.stack([copies.by_unknown(copies.scatter(own * own)) for own in z])
            # The Gaussian's log-density less the t's: ratios are those to the Gaussian.
            excess = 0.5 * (EFFECT_DF + size) * np.log1p(squares / EFFECT_DF) - 0.5 * squares
        current = effects = None
        shares = np.zeros((copies.count, units))
        for noise, more in zip(map(copies.scatter, z), excess):
            ratios, u = ratio.at(noise, ratio.factor.half_solve(noise))
            ratios, u = ratios + more, copies.gather(u)
            if current is None or effects is None:
                current, effects = ratios, u
                continue
            with np.errstate(all="ignore"):
                share = np.nan_to_num(np.exp(np.minimum(ratios - current, 0.0)), nan=0.0)
            shares += share / self.steps
            take = rng.random(share.shape) < share
            current = np.where(take, ratios, current)
            effects = np.where(np.take_along_axis(take, of_unknown, axis=1), u, effects)
        assert effects is not None
        return effects, shares
