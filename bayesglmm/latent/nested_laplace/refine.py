"""What the log posterior density of the hyperparameters gains on the field's Laplace approximation.

``"laplace"`` integrates the coefficients over their own marginal posterior (:mod:`.coefficients`). ``"simplified"`` and
``"variational"`` add the second-order term of the integral over u (:mod:`bayesglmm.latent.second_order`): the next term
of a divergent series, so it is used where it changes little over the bulk of the posterior, and its size elsewhere says
that Laplace's approximation is not to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.mode import Warm
from bayesglmm.latent.nested_laplace.axes import PROBE, Spot
from bayesglmm.latent.nested_laplace.coefficients import Coefficients, integrate_coefficients
from bayesglmm.latent.nested_laplace.hyper import HyperTarget, field_value
from bayesglmm.latent.nested_laplace.strategy import pairs_cost
from bayesglmm.latent.second_order import second_order

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.mode import Mode
    from bayesglmm.latent.nested_laplace.field import Field
    from bayesglmm.latent.objective import Objective
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.target import TargetPoint

Floats = NDArray[np.float64]
#: (field, its mode, θ) → what log p̃ gains, and the coefficients' own moments where they were found.
Refinement = Callable[["Field", "Mode", Floats], tuple[float, Coefficients | None]]

#: Most that the second-order term may differ between the mode and 1.4 sds from it along an axis.
SMALL = 1.5


class Evaluator:
    """log p̃ at a point, refined, warm-started at a near spot; the last factor guides the next search."""

    def __init__(self, target: HyperTarget, guide: Factor | None, refine: Refinement | None) -> None:
        self.target, self.guide, self.refine = target, guide, refine

    def __call__(self, x: Floats, near: Spot) -> Spot:
        """Evaluate at hyperparameters x."""
        point = self.target.at(x, Warm(near.field, self.guide), with_gradient=False)
        if not np.isfinite(point.value):
            return Spot(x, -np.inf, near.field)
        self.guide = point.mode.factor
        return self.spot(point)

    def spot(self, point: TargetPoint) -> Spot:
        """Return the spot of an evaluated point."""
        if self.refine is None:
            return Spot(point.x, point.value, point.mode.u)
        _, theta, _ = self.target.coordinates.split(point.x)
        with np.errstate(all="ignore"):
            gain, own = self.refine(self.target.field(point.x), point.mode, theta)
        return Spot(point.x, point.value + gain if np.isfinite(gain) else -np.inf, point.mode.u, own)


def refinement(
    target: HyperTarget, optimum: Optimum, strategy: str, objective: Objective | None
) -> tuple[Refinement | None, tuple[str, ...]]:
    """How a strategy refines the density, and notes on how far Laplace's approximation can be trusted.

    Parameters
    ----------
    target, optimum
        The hyperparameters' posterior by the field's approximation, and its mode.
    strategy : str
        Not ``"auto"``.
    objective : Objective or None
        The likelihood with random effects integrated out, for ``"laplace"``.
    """
    if objective is not None:
        return _own_coefficients(objective, target), ()
    if strategy == "gaussian" or not target.objective.structure.m or not np.any(optimum.point.mode.derivatives.d3):
        return None, ()
    structure = target.objective.structure
    several = len(structure.layouts) > 1 or structure.layouts[0].precision is not None
    if several and not pairs_cost(target):
        return None, ()
    size = _size(target, optimum)
    if size <= SMALL:
        return _second_order, ()
    return None, (
        "Laplace's approximation of the random effects is poor here: its second-order term changes the log posterior "
        f"of the hyperparameters by {size:.1f} within 1.4 sds; use strategy='laplace'"
        f"{' with nodes' if len(structure.layouts) == 1 else ''}, or method='mcmc'",
    )


def _own_coefficients(objective: Objective, target: HyperTarget) -> Refinement:
    def refine(field: Field, mode: Mode, theta: Floats) -> tuple[float, Coefficients | None]:
        own = integrate_coefficients(objective, target.priors, theta, field, mode)
        return (-np.inf if own is None else own.log_integral - field_value(field, mode)), own

    return refine


def _second_order(field: Field, mode: Mode, theta: Floats) -> tuple[float, Coefficients | None]:
    assert mode.factor is not None
    inner = replace(mode, u=field.split(mode.u)[0], factor=mode.factor.inner)  # type: ignore[attr-defined]
    units = second_order(field.kernel, field.psi, inner)
    return (0.0 if units is None else float(units.sum())), None


def _size(target: HyperTarget, optimum: Optimum) -> float:
    """Largest change of the second-order term between the mode and the probes."""
    values, vectors = np.linalg.eigh(optimum.curvature.covariance) if len(optimum.point.x) else (np.empty(0),) * 2
    evaluate = Evaluator(target, optimum.point.mode.factor, _second_order)
    plain = Evaluator(target, optimum.point.mode.factor, None)
    mode = Spot(optimum.point.x, optimum.point.value, optimum.point.mode.u)
    base = evaluate.spot(optimum.point).value - mode.value
    largest = 0.0
    for k in range(len(values)):
        for sign in (-PROBE, PROBE):
            x = mode.x + sign * np.sqrt(values[k]) * vectors[:, k]
            there = plain(x, mode)
            if not np.isfinite(there.value):
                continue
            gain = evaluate(x, there).value - there.value - base
            largest = max(largest, abs(gain)) if np.isfinite(gain) else np.inf
    return largest if np.isfinite(base) else np.inf
