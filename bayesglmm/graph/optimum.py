"""The joint mode of the whole graph: density with exact gradient, Newton polish, joint Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.replace import clone_replace
from scipy.optimize import minimize

from bayesglmm.graph.compiled import compile_quietly, elementwise_mode, without_checks
from bayesglmm.graph.kernel import LARGE
from bayesglmm.graph.model import build_model
from bayesglmm.graph.variables import Values, to_values, variable_names
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]

#: Largest number of unknowns for which the joint Hessian (dense) is made.
MAX_DENSE = 1500


@dataclass(frozen=True)
class Joint:
    """The joint log-density as a function of one flat vector of unconstrained values.

    Parameters
    ----------
    start : ndarray, shape (d,)
        PyMC's initial point.
    density : callable
        (d,) → log-density over the *natural* parameters (no Jacobians), and its gradient in the flat vector.
    values : callable
        (d,) → parameters and random effects.
    """

    start: Floats
    density: Callable[[Floats], tuple[float, Floats]]
    values: Callable[[Floats], Values]


@dataclass(frozen=True)
class Optimum:
    """Where the joint log-density is largest, as far as could be found.

    Parameters
    ----------
    x : ndarray, shape (d,)
        The flat vector.
    value : float
        Log-density there.
    decrement : float or None
        Newton decrement √(g'H⁻¹g); None without a positive definite Hessian.
    covariance : ndarray, shape (d, d), or None
        Inverse of minus the joint Hessian.
    iterations, evaluations : int
        Of the optimiser.
    """

    x: Floats
    value: float
    decrement: float | None
    covariance: Floats | None
    iterations: int
    evaluations: int


def joint_density(problem: Problem) -> Joint:
    """Compile the joint log-density of a problem's graph with its gradient."""
    model = build_model(problem)
    mode = elementwise_mode(problem.design.nobs > LARGE)
    point = model.initial_point()
    sizes = [np.shape(point[v.name]) for v in model.value_vars]
    flat = pt.dvector("flat")
    pieces = _pieces(flat, model.value_vars, sizes)
    logp = clone_replace(without_checks(model.logp(jacobian=False)), pieces)
    wanted = variable_names(problem)
    named = clone_replace(model.replace_rvs_by_values([model[w] for w in wanted]), pieces)
    both = compile_quietly([flat], [logp, pytensor.grad(logp, flat)], mode)
    back = compile_quietly([flat], named, mode, on_unused_input="ignore")

    def density(x: Floats) -> tuple[float, Floats]:
        with np.errstate(all="ignore"):
            value, gradient = both(x)
        return float(value), np.asarray(gradient, dtype=float)

    def values(x: Floats) -> Values:
        found = dict(zip(wanted, back(x)))
        return to_values(problem, found.__getitem__)

    start = np.concatenate([np.ravel(point[v.name]) for v in model.value_vars])
    return Joint(start.astype(float), density, values)


def _pieces(flat: Any, variables: list[Any], shapes: list[tuple[int, ...]]) -> dict[Any, Any]:
    out, at = {}, 0
    for variable, shape in zip(variables, shapes):
        size = int(np.prod(shape))
        out[variable] = pt.specify_shape(flat[at : at + size].reshape(shape), shape)
        at += size
    return out


def maximise(joint: Joint, max_iterations: int = 5000) -> Optimum:
    """Quasi-Newton ascent, then Newton steps with the Hessian of the exact gradient."""

    def objective(x: Floats) -> tuple[float, Floats]:
        value, gradient = joint.density(x)
        # An optimiser cannot use an infinite value: a large one makes it step back.
        return (1e300, np.zeros_like(x)) if not np.isfinite(value) else (-value, -gradient)

    options = {"maxiter": max_iterations, "maxfun": 20 * max_iterations, "maxcor": 30, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(objective, joint.start, jac=True, method="L-BFGS-B", options=options)
    x, covariance, decrement = found.x, None, None
    for _ in range(10 if len(x) <= MAX_DENSE else 0):
        value, gradient = objective(x)
        factor = _factor(_hessian(objective, x))
        if factor is None:
            covariance, decrement = None, None
            break
        inverse = np.linalg.inv(factor)
        covariance = inverse.T @ inverse
        step = covariance @ gradient
        decrement = float(np.sqrt(max(float(gradient @ step), 0.0)))
        if decrement < 1e-8 or objective(x - step)[0] > value:
            break
        x = x - step
    return Optimum(x, joint.density(x)[0], decrement, covariance, int(found.nit), int(found.nfev))


def _factor(H: Floats) -> Floats | None:
    """Cholesky factor, or None where the Hessian is not positive definite."""
    try:
        return np.linalg.cholesky(H)
    except np.linalg.LinAlgError:
        return None


def _hessian(objective: Callable[[Floats], tuple[float, Floats]], x: Floats) -> Floats:
    """Hessian by central differences of the exact gradient."""
    return _symmetric(jacobian(lambda at: objective(at)[1], x))


def _symmetric(H: Floats) -> Floats:
    return 0.5 * (H + H.T)


def jacobian(function: Callable[[Floats], Floats], x: Floats) -> Floats:
    """∂f/∂x by central differences, shape (len f, len x)."""
    columns = []
    for i in range(len(x)):
        h = np.zeros(len(x))
        h[i] = 6e-6 * max(1.0, abs(x[i]))
        columns.append((function(x + h) - function(x - h)) / (2.0 * h[i]))
    return np.stack(columns, axis=1)
