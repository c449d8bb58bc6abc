"""What the outer optimiser sees: one smooth function of one vector, with its exact gradient.

The vector holds (β, working θ, ψ). Without priors the function is the log marginal likelihood and scales move
freely through zero; with priors it is the log posterior density in the coordinates PyMC samples in (logs of scales,
logits of bounded correlations), Jacobians included.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance, Coordinate
    from bayesglmm.latent.mode import Mode, Warm
    from bayesglmm.latent.objective import Evaluation, Objective
    from bayesglmm.priors import PriorSet
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """From (β, natural θ, ψ) to the optimiser's vector and back.

    Parameters
    ----------
    p, n_aux : int
        Numbers of coefficients and auxiliaries.
    covariance : tuple of BlockCovariance
        One per grouping factor.
    log_scales : bool
        True for a posterior.
    aux_units : ndarray, shape (n_aux,), or None
        Sizes of the predictors that the entries of ψ multiply: the vector holds ψ in their units, so that one step
        of an optimiser means the same whatever a predictor is measured in. None: all are one.
    """

    p: int
    n_aux: int
    covariance: tuple[BlockCovariance, ...]
    log_scales: bool
    aux_units: Floats | None = None

    @cached_property
    def entries(self) -> tuple[Coordinate, ...]:
        """How each entry of θ moves."""
        return tuple(itertools.chain.from_iterable(c.coordinates for c in self.covariance))

    @cached_property
    def _slices(self) -> list[slice]:
        ends = itertools.accumulate((c.n_params for c in self.covariance), initial=0)
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    @cached_property
    def theta(self) -> slice:
        """Where θ stands in the vector."""
        return slice(self.p, self.p + len(self.entries))

    @cached_property
    def _aux_slope(self) -> Floats:
        return np.ones(self.n_aux) if self.aux_units is None else 1.0 / self.aux_units

    def blockwise(self, theta: Floats) -> list[Floats]:
        """θ cut into the grouping factors' parts."""
        return [theta[s] for s in self._slices]

    def join(self, beta: Floats, theta: Floats, psi: Floats) -> Floats:
        """The vector of a point in natural coordinates."""
        parts = [c.to_working(t, self.log_scales) for c, t in zip(self.covariance, self.blockwise(theta))]
        return np.concatenate([beta, *parts, psi if self.aux_units is None else psi * self.aux_units])

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """(β, natural θ, ψ) of a vector."""
        work = x[self.theta]
        parts = [c.from_working(t, self.log_scales) for c, t in zip(self.covariance, self.blockwise(work))]
        psi = x[self.theta.stop :]
        psi = psi if self.aux_units is None else psi / self.aux_units
        return x[: self.p], np.concatenate([*parts, np.empty(0)]), psi

    def split_many(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """(β, natural θ, ψ) of many vectors, shape (points, d); one row each."""
        work = x[:, self.theta].T
        parts = [c.from_working(work[s], self.log_scales).T for c, s in zip(self.covariance, self._slices)]
        psi = x[:, self.theta.stop :]
        psi = psi if self.aux_units is None else psi / self.aux_units
        return x[:, : self.p], np.concatenate([*parts, np.empty((len(x), 0))], axis=1), psi

    def slope(self, theta: Floats) -> Floats:
        """Elementwise derivative of (β, natural θ, ψ) in the vector, at natural `theta`."""
        parts = [c.working_slope(t, self.log_scales) for c, t in zip(self.covariance, self.blockwise(theta))]
        return np.concatenate([np.ones(self.p), *parts, self._aux_slope])

    def slopes(self, theta: Floats) -> Floats:
        """The same at many points: `theta` has shape (points, k), the slopes (points, d)."""
        parts = [c.working_slope(t, self.log_scales).T for c, t in zip(self.covariance, self.blockwise(theta.T))]
        rest = np.broadcast_to(self._aux_slope, (len(theta), self.n_aux))
        return np.concatenate([np.ones((len(theta), self.p)), *parts, rest], axis=1)

    def log_jacobian(self, theta: Floats) -> tuple[Any, Floats]:
        """Log |dθ/dw| and its derivative in the working coordinates w, at natural `theta`; further axes are points."""
        parts = [c.working_slope(t, self.log_scales) for c, t in zip(self.covariance, self.blockwise(theta))]
        grad = np.zeros(np.shape(theta))
        for k, c in enumerate(self.entries):
            if c.logged(self.log_scales):
                grad[k] = 1.0
            elif c.kind == "interval":
                grad[k] = (c.low + c.high - 2.0 * theta[k]) / (c.high - c.low)
        total = sum((np.log(np.abs(part)).sum(axis=0) for part in parts), start=np.zeros(np.shape(theta)[1:]))
        return total, grad


@dataclass(frozen=True)
class TargetPoint:
    """The target at one vector: value, gradient there, and the marginal likelihood's evaluation."""

    x: Floats
    value: float
    gradient: Floats
    evaluation: Evaluation | None

    @property
    def mode(self) -> Mode:
        """The conditional modes; only at points where the target is finite."""
        assert self.evaluation is not None
        return self.evaluation.mode


@dataclass(frozen=True)
class Target:
    """The function to be maximised.

    Parameters
    ----------
    objective : Objective
        The marginal likelihood.
    coordinates : Coordinates
        Meaning of the vector.
    priors : PriorSet or None
        None for maximum likelihood.
    aux_links : tuple of str
        Links of the auxiliaries (their priors are stated on the natural scale).
    """

    objective: Objective
    coordinates: Coordinates
    priors: PriorSet | None
    aux_links: tuple[str, ...]

    def at(self, x: Floats, start: Warm | Mode | None = None, *, with_gradient: bool = True) -> TargetPoint:
        """Evaluate; `start` is where the search for the conditional modes begins."""
        beta, theta, psi = self.coordinates.split(x)
        value, gradient = self._prior(beta, theta, psi)
        if not np.isfinite(value):
            return TargetPoint(x, -np.inf, gradient, None)
        e = self.objective.evaluate(beta, theta, psi, start, with_gradient=with_gradient)
        if with_gradient and np.isfinite(e.value):
            gradient = gradient + np.concatenate([e.beta, e.theta, e.psi]) * self.coordinates.slope(theta)
        return TargetPoint(x, value + e.value, gradient, e)

    def log_priors(self, x: Floats) -> Floats:
        """Log prior density of many vectors, shape (points, d), Jacobian included; zeros without priors."""
        return self.priors_at(x)[0]

    def priors_at(self, x: Floats) -> tuple[Floats, Floats]:
        """The same, and its gradient in the vectors."""
        if self.priors is None:
            return np.zeros(len(x)), np.zeros(x.shape)
        from bayesglmm.priors.many import log_prior_many

        coordinates = self.coordinates
        with np.errstate(all="ignore"):
            beta, theta, psi = coordinates.split_many(x)
            value, *parts = log_prior_many(self.priors, coordinates.covariance, beta, theta, psi, self.aux_links)
            gradient = np.concatenate(parts, axis=1) * coordinates.slopes(theta)
            jacobian, slope = coordinates.log_jacobian(theta.T)
        gradient[:, coordinates.theta] += slope.T
        return value + jacobian, gradient

    def _prior(self, beta: Floats, theta: Floats, psi: Floats) -> tuple[float, Floats]:
        """Log prior density in working coordinates and its gradient; zero without priors."""
        size = len(beta) + len(theta) + len(psi)
        if self.priors is None:
            return 0.0, np.zeros(size)
        from bayesglmm.priors import log_prior

        with np.errstate(all="ignore"):
            value, *parts = log_prior(self.priors, self.coordinates.covariance, beta, theta, psi, self.aux_links)
            gradient = np.concatenate(parts) * self.coordinates.slope(theta)
            jacobian, slope = self.coordinates.log_jacobian(theta)
        gradient[self.coordinates.theta] += slope
        return value + float(jacobian), gradient


def make_target(problem: Problem, nodes: int | tuple[int, int] = 1, kernel: str = "auto", prune: float = 0.0) -> Target:
    """The target of a problem: rows sorted, structure analysed, kernel bound.

    Parameters
    ----------
    problem : Problem
        The model.
    nodes : int or (int, int)
        Quadrature nodes per dimension; 1 is the Laplace approximation. (outer, inner) for two nested factors.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or the PyMC graph.
    prune : float
        Share of the quadrature's weight that may be dropped.

    Raises
    ------
    MethodError
        Nodes that do not go with the model.
    """
    from bayesglmm.latent.objective import make_objective

    problem.need_independent_errors("a Laplace or quadrature approximation")
    objective = make_objective(problem, nodes, kernel, prune)
    has_priors = problem.priors is not None
    coordinates = Coordinates(
        problem.design.X.shape[1], objective.kernel.n_aux, problem.covariance, has_priors, problem.aux_units
    )
    return Target(objective, coordinates, problem.priors, tuple(a.link for a in problem.auxiliaries))
