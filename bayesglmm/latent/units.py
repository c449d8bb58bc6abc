"""A response in other units: how a search with identity link is made to mean the same whatever y is measured in.

A location-scale family in μ (Gaussian, Student-t with identity link) says the same of y/c with coefficients, offset,
random effects and sds divided by c. Searching there keeps every number near one: in the units given, squares of
residuals and of sds overflow, and a search cannot tell a small sd from none. c is a power of two, so that nothing is
rounded on the way there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import DataError
from bayesglmm.latent.target import Target, make_target
from bayesglmm.parameters import likelihood_scale
from bayesglmm.result import Draws, Result

if TYPE_CHECKING:
    from bayesglmm.covariance import Coordinate
    from bayesglmm.latent.quadrature.nodes import Nodes
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Powers of two between which the spread of a response is left as it is.
LOW, HIGH = -7, 13
#: What is computed in the units given (weights of draws, copies of the model) is right between this size and one over.
LEAST = 1e-15
#: The auxiliary that is measured in the units of the response.
SIZE = "sigma"


@dataclass(frozen=True)
class Units:
    """A problem as given, and the unit its response is divided by.

    Parameters
    ----------
    given : Problem
        In the user's units.
    unit : float
        A power of two; 1 leaves everything as it is.
    shift : ndarray, shape (n_aux,)
        What to add to ψ on the way back: log `unit` in the entries that make up log σ.
    """

    given: Problem
    unit: float
    shift: Floats

    @cached_property
    def problem(self) -> Problem:
        """The problem with its response and offset divided by the unit; its priors are still those of the given one."""
        if self.unit == 1.0:
            return self.given
        design, response = self.given.design, self.given.response
        response = replace(response, y=response.y / self.unit)
        return replace(self.given, design=replace(design, response=response, offset=design.offset / self.unit))

    @cached_property
    def theta(self) -> Floats:
        """The unit of every entry of natural θ, shape (k,): bounded ones are correlations."""
        kinds = [c.kind for cov in self.given.covariance for c in cov.coordinates]
        return np.array([1.0 if kind == "interval" else self.unit for kind in kinds])

    def target(self, nodes: Nodes = 1, kernel: str = "auto", prune: float = 0.0) -> Target:
        """The target of the problem in these units; prior densities are those of the parameters as given."""
        if self.unit == 1.0:
            return make_target(self.given, nodes, kernel, prune)
        own = make_target(self.problem, nodes, kernel, prune)
        return _Rescaled(own.objective, own.coordinates, own.priors, own.aux_links, self)

    def away(self, result: Result) -> Result:
        """A result in the given units, as one of :attr:`problem`: what a search may start from."""
        if self.unit == 1.0:
            return result
        away = Units(self.problem, 1.0 / self.unit, -self.shift)
        return away.back(result)

    def back(self, result: Result) -> Result:
        """A result of :attr:`problem`, in the given units."""
        if self.unit == 1.0:
            return result
        c, psi = self.unit, result.psi + self.shift
        own = np.concatenate([np.full(len(result.beta), c), self.theta, np.ones(len(psi))])
        joint = result.cov_joint
        extras = dict(result.extras)
        if "effects_sd_full" in extras:
            extras["effects_sd_full"] = tuple(c * sd for sd in extras["effects_sd_full"])
        if "log_density" in extras:
            extras["log_density"] += self.log_jacobian
        return replace(
            result,
            beta=c * result.beta,
            cov_beta=result.cov_beta * c * c,
            theta=self.theta * result.theta,
            psi=psi,
            cov_joint=None if joint is None else joint * own * own[:, None],
            effects=tuple(c * b for b in result.effects),
            effects_sd=tuple(c * sd for sd in result.effects_sd),
            eta=c * result.eta,
            scale=likelihood_scale(self.given, psi),
            loglik=None if result.loglik is None else result.loglik + self.log_jacobian,
            draws=None if result.draws is None else self.draws(result.draws),
            extras=extras,
        )

    def draws(self, draws: Draws) -> Draws:
        """Draws of :attr:`problem`'s parameters, in the given units."""
        if self.unit == 1.0:
            return draws
        stats = dict(draws.stats)
        if "log_p" in stats:
            stats["log_p"] = stats["log_p"] + self.log_jacobian
        if "log_q" in stats:  # the density of a vector whose coefficients, and sds that are not logged, are longer
            logged = self.given.priors is not None
            entries = [e for cov in self.given.covariance for e in cov.coordinates]
            longer = draws.beta.shape[-1] + sum(e.kind != "interval" and not e.logged(logged) for e in entries)
            stats["log_q"] = stats["log_q"] - longer * np.log(self.unit)
        return replace(
            draws,
            beta=self.unit * draws.beta,
            theta=self.theta * draws.theta,
            psi=draws.psi + self.shift,
            effects=tuple(self.unit * b for b in draws.effects),
            stats=stats,
        )

    def entry_back(self, value: float, index: int, entries: Sequence[Coordinate]) -> float:
        """One entry of (β, natural θ, ψ) in the given units, where `entries` are the coordinates of θ."""
        k = index - self.given.design.X.shape[1]
        if k < len(entries):
            return value if k >= 0 and entries[k].kind == "interval" else value * self.unit
        return value + float(self.shift[k - len(entries)])

    @cached_property
    def log_jacobian(self) -> float:
        """What a log-density of the response as given has more than that of the response in these units."""
        weights = self.given.design.weights
        whole = weights is None or self.given.family.weighted == "scale"
        rows = float(self.given.design.nobs) if whole else float(np.sum(weights))  # type: ignore[arg-type]
        return -rows * float(np.log(self.unit))


@dataclass(frozen=True)
class _Rescaled(Target):
    """A target in other units, whose priors are stated in those given."""

    units: Units

    @cached_property
    def _affine(self) -> tuple[Floats, Floats]:
        """The vector in the units given: factor and shift of the vector here."""
        coordinates, unit = self.coordinates, self.units.unit
        factor = np.ones(coordinates.theta.stop + coordinates.n_aux)
        shift = np.zeros(len(factor))
        factor[: coordinates.p] = unit
        for k, entry in enumerate(coordinates.entries, coordinates.theta.start):
            if entry.logged(coordinates.log_scales):
                shift[k] = np.log(unit)
            elif entry.kind != "interval":
                factor[k] = unit
        own = 1.0 if coordinates.aux_units is None else coordinates.aux_units
        shift[coordinates.theta.stop :] = self.units.shift * own
        return factor, shift

    def _prior(self, beta: Floats, theta: Floats, psi: Floats) -> tuple[float, Floats]:
        unit = self.units.unit
        value, gradient = super()._prior(unit * beta, self.units.theta * theta, psi + self.units.shift)
        return value, gradient * self._affine[0]

    def priors_at(self, x: Floats) -> tuple[Floats, Floats]:
        factor, shift = self._affine
        value, gradient = super().priors_at(x * factor + shift)
        return value, gradient * factor


def in_units(problem: Problem) -> Units:
    """The units in which to search: the spread of the response near one, where the family has no unit of its own.

    Parameters
    ----------
    problem : Problem
        Any; only an identity link and a family whose σ is measured in units of the response lead to other units.
    """
    n_aux = len(problem.auxiliaries)
    as_given = Units(problem, 1.0, np.zeros(n_aux))
    if problem.link.name != "identity" or not problem.family.auxiliaries or problem.family.auxiliaries[0].name != SIZE:
        return as_given
    power = _power(problem.response.y - problem.design.offset)
    if LOW <= power <= HIGH:
        return as_given
    ones = _constant(problem.aux_designs(problem.design)[0])
    if ones is None:  # a σ that cannot be multiplied by a constant
        return as_given
    shift = np.zeros(n_aux)
    shift[: len(ones)] = ones * power * np.log(2.0)
    return Units(problem, float(2.0**power), shift)


def _power(y: Floats) -> int:
    """The power of two that is nearest to the spread of `y`."""
    size = float(np.abs(y).max(initial=0.0))
    if size == 0.0 or not np.isfinite(size):
        return 0
    spread = float(np.std(y / size)) or 1.0
    return int(np.clip(np.rint(np.log2(size) + np.log2(spread)), -1000, 1000))


def _constant(X: Floats | None) -> Floats | None:
    """Coefficients that give one in every row; None where there are none."""
    if X is None:
        return np.ones(1)
    ones = np.ones(len(X))
    found: Any = np.linalg.lstsq(X, ones, rcond=None)[0]
    return found if np.abs(X @ found - ones).max() < 1e-10 else None


def check_units(problem: Problem) -> None:
    """Refuse an identity-link response so large or small that what follows cannot be computed in its units.

    Raises
    ------
    DataError
        With the size of the response.
    """
    size = float(np.abs(problem.response.y).max(initial=0.0))
    if problem.link.name != "identity" or problem.family.support.integer or size == 0.0 or LEAST < size < 1.0 / LEAST:
        return
    raise DataError(
        f"The response {problem.response.name} has values of size {size:.1e}; {LEAST:.0e} to {1 / LEAST:.0e} is "
        "expected. Give it in other units (multiply it by a constant)."
    )
