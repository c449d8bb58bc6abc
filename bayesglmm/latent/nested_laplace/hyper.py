"""The log posterior density of the hyperparameters, the latent field integrated out by Laplace, with exact gradient.

    log p̃(ϑ | y) = log p(ϑ) + log p(y, x̂ | ϑ) − ½ log|J| + const,   ϑ = (θ, ψ) in working coordinates,

x̂ the mode of the field at ϑ (Rue, Martino & Chopin 2009, eq. 3). All constants are kept: where every prior is proper
the integral over ϑ is the marginal likelihood. The gradient is that of Laplace's approximation for u alone, with the
field in place of u (:func:`bayesglmm.latent.laplace.gradient`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.laplace import gradient, row_effects
from bayesglmm.latent.mode import Mode, Warm
from bayesglmm.latent.nested_laplace.field import Field, FieldFactor
from bayesglmm.latent.objective import Evaluation
from bayesglmm.latent.quadrature.integral import Sums
from bayesglmm.latent.target import Coordinates, Target, TargetPoint

if TYPE_CHECKING:
    from bayesglmm.priors import PriorSet
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
EMPTY = np.empty(0)


@dataclass(frozen=True)
class HyperTarget(Target):
    """log p̃(ϑ | y), in the form the outer optimiser takes.

    Parameters
    ----------
    objective, coordinates, priors, aux_links
        As in :class:`Target`, without coefficients: p = 0, and X has no columns. `priors` are never None.
    X : ndarray, shape (n, p)
        Fixed-effects matrix, which belongs to the field.
    """

    priors: PriorSet
    X: Floats

    def field(self, x: Floats) -> Field:
        """The latent field at a vector of hyperparameters."""
        _, theta, psi = self.coordinates.split(x)
        o = self.objective
        return Field(o.loadings(theta), o.kernel, o.offset, psi, self.X, self.priors.coefficient_density)

    def at(self, x: Floats, start: Warm | Mode | None = None, *, with_gradient: bool = True) -> TargetPoint:
        """Evaluate; `start` is where the search for the mode of the field begins."""
        _, theta, psi = self.coordinates.split(x)
        value, slope = self._hyperprior(theta, psi)
        if not np.isfinite(value):
            return TargetPoint(x, -np.inf, slope, None)
        with np.errstate(all="ignore"):
            field = self.field(x)
            mode = field.mode(start)
            if not mode.found:
                return TargetPoint(x, -np.inf, slope, Evaluation(-np.inf, EMPTY, EMPTY, EMPTY, mode))
            inner = field_value(field, mode)
            if with_gradient and len(x):
                slope = slope + self._gradient(field, mode, theta)
        return TargetPoint(x, value + inner, slope, Evaluation(inner, EMPTY, EMPTY, EMPTY, mode))

    def _gradient(self, field: Field, mode: Mode, theta: Floats) -> Floats:
        o = self.objective
        g = gradient(o.kernel, field.psi, o.X, mode, field_sums(field, mode))
        parts = [c.pullback(theta[s], G) for c, s, G in zip(o.covariance, o.slices, g.lambdas)]
        return np.concatenate([*parts, g.psi]) * self.coordinates.slope(theta)

    def _hyperprior(self, theta: Floats, psi: Floats) -> tuple[float, Floats]:
        """Log prior density of the hyperparameters and its gradient in working coordinates."""
        return replace(self, priors=self.priors.with_coefficients((), ()))._prior(EMPTY, theta, psi)


def field_value(field: Field, mode: Mode) -> float:
    """Return log ∫ p(y | x) p(x) dx by Laplace, with all constants."""
    factor = mode.factor
    assert isinstance(factor, FieldFactor)
    p = field.X.shape[1]
    return mode.value - 0.5 * factor.logdet + 0.5 * factor.plan.structure.log_det_prior + 0.5 * p * np.log(2.0 * np.pi)


def third_order(field: Field, mode: Mode) -> tuple[Floats, Floats]:
    """Third derivatives times half the variances: per row, and (as a pull on the field) of the priors of β."""
    factor = mode.factor
    assert isinstance(factor, FieldFactor)
    pull = np.zeros(len(mode.u))
    reach = field.priors.expand(factor.half.T)
    pull[field.rows.m :] = field.priors.collect(0.5 * np.sum(reach * reach, axis=0) * field.bends(mode.u)[1])
    return 0.5 * factor.row_quad * mode.derivatives.d3, pull


def field_sums(field: Field, mode: Mode) -> Sums:
    """What the gradient needs of the field at its mode; compare :func:`bayesglmm.latent.laplace.laplace_sums`."""
    factor, d1 = mode.factor, mode.derivatives.d1
    assert isinstance(factor, FieldFactor)
    kernel = field.kernel
    aux = np.zeros((0, len(d1)))
    if kernel.n_aux:
        aux = kernel.aux_derivatives(mode.eta, field.psi).value
    return Sums(
        mode.value,
        d1,
        tuple(d1[:, None] * own for own in row_effects(mode, mode.u)),
        0.5 * factor.row_quad,
        factor.row_inverse,
        third_order(field, mode)[1],
        aux,
    )


def hyper_coordinates(full: Coordinates) -> Coordinates:
    """The coordinates without the coefficients."""
    return replace(full, p=0, log_scales=True)


def posterior_priors(problem: Problem) -> PriorSet:
    """The priors of a problem, flat ones written out."""
    from bayesglmm.priors import flat_priors

    return problem.priors or flat_priors(problem.design, problem.family, problem.covariance)
