"""Working quantities of a model at a given linear predictor, whatever method found it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bayesglmm.parameters import auxiliary_values
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
    """Squared Pearson residuals, not divided by φ, shape (n,)."""
    mu, aux = problem.link.mean(eta), auxiliary_values(problem, psi)
    return pearson_terms(problem.family, mu, problem.mean_response, problem.case_weights, aux)


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
