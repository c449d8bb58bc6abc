"""New rows of series whose errors go together: what the errors that were seen say of theirs.

With y_o = X_o β + Z_o b + e_o seen and Var(e_o, e_n) = σ² W^-½ R W^-½ over seen and new rows, given (β, b) the new
responses are normal with

    E(y_n | y_o) = X_n β + Z_n b + K (y_o − X_o β − Z_o b),
    Var(y_n | y_o) = σ² W_n^-½ (R_nn − R_no R_oo⁻¹ R_on) W_n^-½,    K = W_n^-½ R_no R_oo⁻¹ W_o^½.

So a forecast is the linear predictor of the rows X_n − K X_o, Z_n − K Z_o with offset K y_o, and has its variance:
the best linear unbiased prediction (Goldberger 1962, Journal of the American Statistical Association 57, 369-375; with
random effects Robinson 1991, Statistical Science 6, 15-32).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import RowErrors
from bayesglmm.covariance.row_errors import with_new_rows
from bayesglmm.design.types import Design
from bayesglmm.errors import DataError, MethodError
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """New rows given the rows seen.

    Parameters
    ----------
    design : Design
        Rows whose linear predictors are the expectations of the new responses.
    joint : RowErrors
        The errors of the rows seen and of the new ones after them.
    at : ndarray
        Their parameters.
    weights : sparse array, shape (new, seen)
        R_no R_oo⁻¹.
    variance : ndarray, shape (new,)
        Diagonal of the variance of the new errors given the others, in units of σ².
    root_weights : ndarray, shape (new,)
        √w of the new rows.
    """

    design: Design
    joint: RowErrors
    at: Floats
    weights: Any
    variance: Floats
    root_weights: Floats

    def sd(self, variance: Floats, psi: Floats) -> Floats:
        """Sd of new responses about forecasts with the given variances, by ψ at the fit."""
        scale = np.exp(2.0 * psi[0]) if len(psi) else 1.0
        return np.sqrt(variance + scale * self.variance)

    def errors(self, sigma: Floats, rng: np.random.Generator) -> Floats:
        """Draw the new errors about their expectation, shape (draws, new), by conditioning joint draws."""
        seen = self.weights.shape[1]
        drawn = self.joint.color(self.at, rng.standard_normal((seen + len(self.variance), len(sigma))))
        return sigma[:, None] * ((drawn[seen:] - self.weights @ drawn[:seen]) / self.root_weights[:, None]).T


def forecast(problem: Problem, theta: Floats, newdata: Any, design: Design) -> Forecast:
    """Make the rows whose linear predictors are forecasts.

    Parameters
    ----------
    problem : Problem
        The model.
    theta : ndarray
        Covariance parameters; those of the errors come last.
    newdata : table
        The new rows.
    design : Design
        What ``rebind`` makes of them.

    Raises
    ------
    MethodError
        Independent errors, or groups and times that were given as values.
    DataError
        A time or position that was seen, or a series that goes on at another level of a grouping factor.
    """
    if problem.errors is None:
        raise MethodError(
            "level='forecast' is for models whose errors go together (errors=); independent errors say nothing of new "
            "rows. Use level='conditional'."
        )
    seen = problem.design
    joint = with_new_rows(problem.errors, seen.nobs, design, newdata)
    at = theta[len(theta) - joint.n_params :]
    if any(not c.low < value < c.high for c, value in zip(joint.coordinates, at)):
        raise DataError("times of new rows are not whole numbers, and the errors' correlation is negative.")
    weights, variance = joint.conditional(at, seen.nobs)
    root = np.ones(design.nobs) if design.weights is None else np.sqrt(design.weights)
    K = weights.multiply(np.sqrt(problem.case_weights)[None, :]).multiply(1.0 / root[:, None]).tocsr()
    blocks = []
    rows, columns = K.nonzero()
    for new, old in zip(design.blocks, seen.blocks):
        if np.any(new.codes[rows] != old.codes[columns]):
            raise DataError(f"a series of errors goes on in new rows at another level of {new.group}.")
        blocks.append(replace(new, z=new.z - K @ old.z))
    rest = replace(
        design,
        X=design.X - K @ seen.X,
        offset=design.offset + K @ (problem.mean_response - seen.offset),
        blocks=tuple(blocks),
    )
    return Forecast(rest, joint, at, weights, variance / root**2, root)
