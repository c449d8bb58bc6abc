"""Population-averaged coefficients: a marginal model's own, and a mixed model's integrated over its random effects.

A mixed model's coefficients are conditional on the random effects. What it says of the population is its mean averaged
over them, μ̄_i = E g⁻¹(x_i'β + z_i'b). The coefficients that describe these means in the same linear predictor are
those that an independence estimating equation would find in data without error:

    Σ_i x_i w_i d_i / V(μ_i) (μ̄_i − μ_i) = 0,   μ_i = g⁻¹(x_i'β*)

(Zeger, Liang & Albert 1988, Biometrics 44, 1049-1060; Hedeker, du Toit, Demirtas & Gibbons 2018, Biometrics 74,
354-361, who regress g(μ̄) without the weights). For an identity link β* = β; for a log link with a random intercept
only the intercept differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.methods.registry import get_method
from bayesglmm.parameters import auxiliary_values
from bayesglmm.predict import averaged_mean, random_spread
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.rows import Rows, RowSource
from bayesglmm.scores.scoring import score_equations
from bayesglmm.scores.working import working_quantities

if TYPE_CHECKING:
    from bayesglmm.fit import Fit

Floats = NDArray[np.float64]

#: Draws of a sampled posterior that are integrated, evenly spread over the chains.
DRAWS = 400
_DIRECT = "estimated as such"
_INTEGRATED = "integrated over the random effects by quadrature"
_EXPANDED = "approximately: expanded at zero random effects"


def is_population_method(method: str) -> bool:
    """Whether a method's coefficients are population-averaged although the model has random effects."""
    return get_method(method).random == "none or one"


def population_table(fits: Mapping[str, Fit]) -> pd.DataFrame:
    """Population-averaged coefficients of every fit, side by side.

    Parameters
    ----------
    fits : mapping
        Method → fit of one model.

    Returns
    -------
    DataFrame
        A row per coefficient × method: ``parameter, method, estimand`` (always "population-averaged"), ``estimate,
        sd``, ``conditional`` (the method's own coefficient before integration; NaN where it is population-averaged
        already), and ``how``. Mixed models of families that are not solved by mean and variance are left out.
    """
    rows = []
    for method, fit in fits.items():
        problem, result = fit.model.problem, fit.result
        if not problem.design.blocks or result.estimand == "marginal":
            b, sd, how = result.beta, np.sqrt(np.diag(result.cov_beta)), _DIRECT
            how = how if is_population_method(method) else _EXPANDED
            conditional = np.full_like(b, np.nan)
        elif problem.family.exponential:
            b, cov = population_averaged(problem, result)
            sd, how, conditional = np.sqrt(np.diag(cov)), _INTEGRATED, result.beta
        else:
            continue
        for j, name in enumerate(problem.design.columns):
            rows.append(
                {
                    "parameter": name,
                    "method": method,
                    "estimand": "population-averaged",
                    "estimate": b[j],
                    "sd": sd[j],
                    "conditional": conditional[j],
                    "how": how,
                }
            )
    columns = ["parameter", "method", "estimand", "estimate", "sd", "conditional", "how"]
    table = pd.DataFrame(rows, columns=columns)
    order = list(dict.fromkeys(table["parameter"]))
    return table.sort_values("parameter", key=lambda s: s.map(order.index), kind="stable", ignore_index=True)


def population_averaged(problem: Problem, result: Result) -> tuple[Floats, Floats]:
    """Population-averaged coefficients β* of a mixed model, shape (p,), and their covariance, shape (p, p).

    Parameters
    ----------
    problem, result
        A mixed model and its fit. The covariance is the delta method's over coefficients and variance parameters, or
        that of the draws of a sampled posterior (then β* is their mean).
    """
    if result.draws is not None and not result.draws.independent:
        return _of_draws(problem, result)
    aux = auxiliary_values(problem, result.psi)
    b = _solve(problem, result.beta, result.theta, aux)
    J = _jacobian(problem, result, b, aux)
    p, k = len(result.beta), len(result.theta)
    cov = result.cov_beta if result.cov_joint is None else np.nan_to_num(result.cov_joint[: p + k, : p + k])
    J = J[:, : len(cov)]
    return b, J @ cov @ J.T


def _solve(problem: Problem, beta: Floats, theta: Floats, aux: tuple[float, ...]) -> Floats:
    """β*, the independence estimating equations' solution with the averaged means for a response."""
    d = problem.design
    mean, _ = averaged_mean(problem, d.X @ beta + d.offset, random_spread(problem, d, theta))
    rows = Rows(d.X, mean, problem.case_weights, d.offset, (mean, None, None))
    source = RowSource(lambda: iter([rows]), d.columns, d.nobs)
    # From 1e-8 standard errors the last step squares the error; means that are fitted exactly leave no deviance to see.
    return score_equations(source, problem.family, problem.link, aux, tolerance=1e-8, qr=False).beta


def _jacobian(problem: Problem, result: Result, b: Floats, aux: tuple[float, ...]) -> Floats:
    """∂β*/∂(β, θ) by the implicit function theorem, shape (p, p + k)."""
    design, w = problem.design, problem.case_weights
    X, theta = design.X, result.theta
    eta = X @ result.beta + design.offset
    mean, slope = averaged_mean(problem, eta, random_spread(problem, design, theta))

    def equations(point: Floats) -> Floats:
        return X.T @ working_quantities(problem.family, problem.link, X @ point + design.offset, mean, w, aux).score

    H = np.column_stack([_central(equations, b, j) for j in range(len(b))])
    at = working_quantities(problem.family, problem.link, X @ b + design.offset, mean, w, aux)
    ratio = w * at.slope / at.variance
    columns = [X * slope[:, None]]

    def means(point: Floats) -> Floats:
        return averaged_mean(problem, eta, random_spread(problem, design, point))[0]

    columns += [_central(means, theta, j)[:, None] for j in range(len(theta))]
    return -np.linalg.solve(H, X.T @ (np.hstack(columns) * ratio[:, None]))


def _central(function: Callable[[Floats], Floats], at: Floats, j: int, h: float = 1e-5) -> Floats:
    """Derivative in the j-th coordinate by a central difference."""
    step = np.zeros_like(at)
    step[j] = h * max(1.0, abs(float(at[j])))
    return (function(at + step) - function(at - step)) / (2.0 * step[j])


def _of_draws(problem: Problem, result: Result) -> tuple[Floats, Floats]:
    assert result.draws is not None
    p = len(result.beta)
    beta, theta = result.draws.beta.reshape(-1, p), result.draws.theta.reshape(-1, len(result.theta))
    psi = result.draws.psi.reshape(len(beta), -1)
    chosen = np.unique(np.linspace(0, len(beta) - 1, DRAWS).astype(int))
    found = np.stack([_solve(problem, beta[k], theta[k], auxiliary_values(problem, psi[k])) for k in chosen])
    return found.mean(axis=0), np.cov(found.T).reshape(p, p)
