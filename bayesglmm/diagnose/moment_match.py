"""Moment matching: draws moved to where the posterior without a group or a row is.

Paananen, Piironen, Bürkner & Vehtari (2021), Statistics and Computing 31, 16, by ArviZ. For a group its random effects
are integrated out, so that a handful of parameters is moved, however many groups there are. For a row the parameters
are moved and the random effects of the row's own levels, as u with b = Λu: without the row these are near their prior,
standard normal whatever the parameters. All other random effects b stay where they were drawn, and those that no other
row shares are integrated out (:mod:`bayesglmm.diagnose.own_effects`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.diagnose.own_effects import alone, integrated
from bayesglmm.errors import MethodError
from bayesglmm.idata import log_likelihood
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.copies import Points
from bayesglmm.latent.target import make_target
from bayesglmm.latent.unit_loglik import units_at

if TYPE_CHECKING:
    from bayesglmm.diagnose.loo import Pointwise
    from bayesglmm.latent.target import Target
    from bayesglmm.problem import Problem
    from bayesglmm.result import Draws

Floats = NDArray[np.float64]

DIMS = ["chain", "draw"]


def matched(problem: Problem, found: Pointwise, tree: Any, elpd: Any, nodes: int) -> Any:
    """Match moments for the groups or rows whose Pareto k-hat is high.

    Parameters
    ----------
    problem : Problem
        The model.
    found : Pointwise
        Log-likelihood of its groups or rows at draws from the posterior.
    tree, elpd
        The same for ArviZ, and its first answer.
    nodes : int
        Of the quadrature, for groups.

    Raises
    ------
    MethodError
        Weighted draws of an approximation.
    """
    if found.ratios is not None or found.draws is None:
        raise MethodError("moments are matched for draws from the posterior: take fit.refine() first, or mcmc or inla.")
    target, draws = make_target(problem), found.draws
    x = _vectors(target, draws)
    if found.unit != "row":
        return _arviz(tree, elpd, x, *_group_densities(target, nodes))
    poor = np.flatnonzero(~(elpd.pareto_k.to_numpy() <= elpd.good_k))
    values, k = elpd.elpd_i.copy(), elpd.pareto_k.copy()
    with ticker(len(poor), "auto", "rows") as advance:
        for i in poor:
            row = _Row.of(problem, target, draws, int(i))
            pair = _only(tree, elpd, found.unit, int(i))
            again = _arviz(*pair, row.together(x), row.log_density, row.log_likelihood)
            values[i], k[i] = again.elpd_i.to_numpy()[0], again.pareto_k.to_numpy()[0]
            advance(1)
    from bayesglmm.diagnose.loo import with_values

    return with_values(found, elpd, values, k)


def _vectors(target: Target, draws: Draws) -> Floats:
    """The target's vectors of draws, shape (chains, draws, d)."""
    shape = draws.beta.shape[:2]
    flat = zip(*(a.reshape(shape[0] * shape[1], -1) for a in (draws.beta, draws.theta, draws.psi)))
    return np.stack([target.coordinates.join(*point) for point in flat]).reshape(*shape, -1)


def _arviz(
    tree: Any, elpd: Any, x: Floats, log_density: Callable[[Floats], Floats], of_unit: Callable[[Floats, int], Floats]
) -> Any:
    """ArviZ's moment matching, of functions of plain arrays of shape (chains, draws, k)."""
    import arviz_stats
    import xarray as xr

    coords = {d: tree["log_likelihood"][d] for d in DIMS}

    def labelled(values: Floats) -> Any:
        return xr.DataArray(values, dims=DIMS, coords=coords)

    upars = xr.DataArray(x, dims=[*DIMS, "parameter"], coords=coords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # k-hat that stays high is in the result
        return arviz_stats.loo_moment_match(
            tree,
            elpd,
            lambda moved: labelled(log_density(moved.to_numpy())),
            lambda moved, i: labelled(of_unit(moved.to_numpy(), i)),
            upars,
            pointwise=True,
        )


def _remember_last(function: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """One set of draws at a time is asked for, first for the density, then for the unit."""
    seen: dict[bytes, Floats] = {}

    def remembered(x: Floats) -> Floats:
        key = x.tobytes()
        if key not in seen:
            seen.clear()
            seen[key] = function(x)
        return seen[key]

    return remembered


def _log_priors(target: Target, x: Floats) -> Floats:
    return target.log_priors(x.reshape(-1, x.shape[-1])).reshape(x.shape[:2])


def _group_densities(target: Target, nodes: int) -> tuple[Callable[[Floats], Floats], Callable[[Floats, int], Floats]]:
    """Log posterior density of the parameters, and the log-likelihood of one group."""

    @_remember_last
    def units(x: Floats) -> Floats:
        points = Points.of(target.coordinates, x.reshape(-1, x.shape[-1]))
        return units_at(target, points, nodes).reshape(*x.shape[:2], -1)

    return lambda x: _log_priors(target, x) + units(x).sum(axis=2), lambda x, i: units(x)[..., i]


@dataclass(frozen=True)
class _Row:
    """The density of the parameters and of one row's own random effects, all others fixed.

    Parameters
    ----------
    problem, target, draws
        The model and its draws.
    row : int
        Which.
    levels : tuple of int
        The row's level in every block.
    moves : tuple of bool
        Whether that level's effects are moved: not if the row is its only one, they are integrated out then.
    start : tuple of ndarray, shape (chains, draws, q)
        u of the levels that are moved.
    """

    problem: Problem
    target: Target
    draws: Draws
    row: int
    levels: tuple[int, ...]
    moves: tuple[bool, ...]
    start: tuple[Floats, ...]

    @classmethod
    def of(cls, problem: Problem, target: Target, draws: Draws, row: int) -> _Row:
        """Ready the densities of one row."""
        levels = tuple(int(block.codes[row]) for block in problem.design.blocks)
        moves = tuple(bool(own) for own in ~alone(problem)[:, row])
        parts = zip(_factors(target, draws.theta), draws.effects, levels, moves)
        start = tuple(np.linalg.solve(L, b[..., level, :, None])[..., 0] for L, b, level, move in parts if move)
        return cls(problem, target, draws, row, levels, moves, start)

    def together(self, x: Floats) -> Floats:
        """The vectors that are moved: the target's, then u of the row's levels."""
        return np.concatenate([x, *self.start], axis=2)

    def log_likelihood(self, moved: Floats, i: int) -> Floats:
        """Of the row."""
        return self._rows(moved)[..., self.row]

    def log_density(self, moved: Floats) -> Floats:
        """Of the rows, the random effects and the parameters, up to a constant."""
        d = self.target.coordinates.theta.stop + self.target.coordinates.n_aux
        sample = self._sample(moved)
        total = _log_priors(self.target, moved[..., :d]) + self._rows(moved).sum(axis=2)
        parts = zip(
            _factors(self.target, sample.theta), sample.effects, self.problem.covariance, self.moves, self.levels
        )
        for L, b, cov, move, level in parts:
            u = np.swapaxes(np.linalg.solve(L, np.swapaxes(b, 2, 3)), 2, 3)  # the moved level among them
            if not move:
                u[:, :, level] = 0.0
            pull = u if cov.precision is None else _times(cov.precision, u)
            log_det = np.log(np.diagonal(L, axis1=2, axis2=3)).sum(axis=2)
            total = total - 0.5 * np.sum(u * pull, axis=(2, 3)) - (b.shape[2] - 1) * log_det
        return total

    @cached_property
    def _rows(self) -> Callable[[Floats], Floats]:
        return _remember_last(lambda moved: self._log_likelihood(self._sample(moved)))

    def _log_likelihood(self, sample: Draws) -> Floats:
        out = log_likelihood(self.problem, sample)
        if not all(self.moves):
            out[..., self.row] = integrated(self.problem, sample, [self.row])[..., 0]
        return out

    def _sample(self, moved: Floats) -> Draws:
        """Moved vectors as draws."""
        coordinates, shape = self.target.coordinates, moved.shape[:2]
        d = coordinates.theta.stop + coordinates.n_aux
        parts = coordinates.split_many(moved[..., :d].reshape(-1, d))
        beta, theta, psi = (a.reshape(*shape, -1) for a in parts)
        effects, at = [], d
        for L, b, level, move in zip(_factors(self.target, theta), self.draws.effects, self.levels, self.moves):
            if not move:
                effects.append(b)
                continue
            u = moved[..., at : at + b.shape[3]]
            at += b.shape[3]
            b = b.copy()
            b[..., level, :] = (L @ u[..., None])[..., 0]
            effects.append(b)
        return replace(self.draws, beta=beta, theta=theta, psi=psi, effects=tuple(effects), stats={})


def _factors(target: Target, theta: Floats) -> list[Floats]:
    """Λ of every block at draws of θ, shape (chains, draws, q, q)."""
    flat = theta.reshape(-1, theta.shape[-1])
    made = [target.objective.lambdas(row) for row in flat]
    return [np.stack(own).reshape(*theta.shape[:2], *own[0].shape) for own in zip(*made)]


def _times(precision: Any, u: Floats) -> Floats:
    """Pu over the levels, u of shape (chains, draws, levels, q)."""
    levels = u.shape[2]
    flat = np.moveaxis(u, 2, 0).reshape(levels, -1)
    return np.moveaxis((precision @ flat).reshape(levels, *u.shape[:2], u.shape[3]), 0, 2)


def _only(tree: Any, elpd: Any, dim: str, i: int) -> tuple[Any, Any]:
    """The log-likelihood of one row, and ArviZ's answer for it; a second row, not to be moved, is for its variances."""
    import xarray as xr

    pair = {dim: [i, (i + 1) % elpd.n_data_points]}
    parts = {"log_likelihood": tree["log_likelihood"].dataset.isel(pair), "posterior": tree["posterior"].dataset}
    one = copy(elpd)
    one.n_data_points = 2
    for name in ("elpd_i", "pareto_k", "log_weights"):
        values = getattr(elpd, name)
        setattr(one, name, None if values is None else values.isel(pair))
    one.pareto_k[1] = 0.0
    return xr.DataTree.from_dict(parts), one
