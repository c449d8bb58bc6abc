"""Working quantities of a model at a given linear predictor, whatever method found it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.parameters import auxiliary_values, response_mean, row_dispersion
from bayesglmm.problem import Problem
from bayesglmm.scores.rows import Rows, problem_rows
from bayesglmm.scores.scoring import SMALL
from bayesglmm.scores.solve import Factor, require_factor
from bayesglmm.scores.sums import Sums, block_sums
from bayesglmm.scores.working import Working, deviance_terms, pearson_terms, working_quantities

Floats = NDArray[np.float64]


def working_at(problem: Problem, eta: Floats, psi: Floats) -> Working:
    """Mean, working weight, residual and score of every row.

    Parameters
    ----------
    problem : Problem
        The model.
    eta : ndarray, shape (n,)
        Linear predictor, offset and random effects included.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.
    """
    y, w = problem.mean_response, problem.case_weights
    return working_quantities(problem.family, problem.link, eta, y, w, auxiliary_values(problem, psi))


def deviance_at(problem: Problem, eta: Floats, psi: Floats) -> Floats:
    """Deviance contributions w d(y, μ), shape (n,)."""
    mu, aux = problem.link.mean(eta), auxiliary_values(problem, psi)
    return deviance_terms(problem.family, mu, problem.mean_response, problem.case_weights, aux)


def pearson_at(problem: Problem, eta: Floats, psi: Floats) -> Floats:
    """Squared Pearson residuals, not divided by φ, shape (n,); under a dispersion model divided by each row's own."""
    family, y, w = problem.family, problem.mean_response, problem.case_weights
    mu, aux = problem.link.mean(eta), auxiliary_values(problem, psi)
    phi = row_dispersion(problem, psi)
    if family.expectation is None and family.trials_variance is None and phi is None:
        return pearson_terms(family, mu, y, w, aux)
    with np.errstate(all="ignore"):
        variance = family.variance(mu, aux)
        if family.trials_variance is not None and problem.response.trials is not None:
            variance = variance * family.trials_variance(problem.response.trials, aux)
        squared = w * np.square(y - response_mean(problem, eta, psi)) / (variance if phi is None else variance * phi)
    return np.where(np.isfinite(squared), squared, 0.0)


def factor_at(problem: Problem, eta: Floats, psi: Floats) -> Factor:
    """Factor of X'WX with the working weights at a linear predictor, shape (n,).

    Parameters
    ----------
    problem : Problem
        The model.
    eta : ndarray, shape (n,)
        Linear predictor.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.
    """
    if problem.design.auxiliaries:
        raise MethodError("leverages are of models with one dispersion for all rows; this one has a formula for it.")
    aux = auxiliary_values(problem, psi)
    n, p = problem.design.X.shape
    total: Sums | None = None
    for rows, part in blocks_with(problem, eta):
        sums = block_sums(rows, part, problem.family, problem.link, aux, qr=n * p**2 < SMALL)
        total = sums if total is None else total + sums
    assert total is not None
    return require_factor(total)


def blocks_with(problem: Problem, vector: Floats) -> Iterator[tuple[Rows, Floats]]:
    """Blocks of rows together with the matching part of a vector of shape (n,)."""
    start = 0
    for rows in problem_rows(problem).blocks():
        yield rows, vector[start : start + len(rows.y)]
        start += len(rows.y)
