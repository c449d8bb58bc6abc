"""Terms of a formula and the columns they made; models with some columns left out or held at values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import BayesGLMMWarning, MethodError
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.scores.likelihood import loglik_at
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.solution import solve_mean_model
from bayesglmm.scores.working import deviance_terms, pearson_terms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TermColumns:
    """A term and where its columns are in X.

    Parameters
    ----------
    label : str
        As in the formula, ``"a:b"``; ``"1"`` is the intercept.
    factors : frozenset of str
        What is multiplied.
    columns : ndarray of int64
        Positions in X (aliased columns are not there).
    """

    label: str
    factors: frozenset[str]
    columns: Ints


def model_terms(problem: Problem) -> tuple[TermColumns, ...]:
    """The terms of a problem's fixed part, in the order of its columns.

    Raises
    ------
    MethodError
        A design that was not made from a formula.
    """
    binding = problem.design.binding
    if binding is None:
        raise MethodError("terms are known only to a design made from a formula; give the models to compare instead.")
    position = np.cumsum(binding.keep) - 1
    out = []
    for term, where in binding.spec.term_indices.items():
        kept = [int(position[j]) for j in where if binding.keep[j]]
        factors = frozenset(str(f) for f in term.factors) - {"1"}
        out.append(TermColumns(str(term), factors, np.array(kept, dtype=np.int64)))
    return tuple(out)


@dataclass(frozen=True)
class Refit:
    """A model fitted with fewer free coefficients.

    Parameters
    ----------
    beta : ndarray, shape (k,)
        Free coefficients.
    psi : ndarray, shape (n_aux,)
        Auxiliaries of the variance.
    eta : ndarray, shape (n,)
        Linear predictor.
    deviance, pearson : float
        Fit statistics.
    loglik : float or None
        Log-likelihood where the family fixes its scale; None otherwise.
    converged : bool
        Whether it converged.
    """

    beta: Floats
    psi: Floats
    eta: Floats
    deviance: float
    pearson: float
    loglik: float | None
    converged: bool


def with_columns(problem: Problem, columns: Ints, offset: Floats | None = None) -> Problem:
    """The problem with some of its columns, and possibly another offset."""
    d = problem.design
    names = tuple(d.columns[j] for j in columns)
    design = replace(d, X=d.X[:, columns], columns=names, offset=d.offset if offset is None else offset)
    return replace(problem, design=design)


def refit(problem: Problem, start: Floats | None = None) -> Refit:
    """Fit by scoring without warnings; a model without columns is its offset.

    Parameters
    ----------
    problem : Problem
        No random terms.
    start : ndarray, shape (p,), optional
        Starting coefficients.
    """
    problem.need_independent_errors("a refit by scoring")
    d = problem.design
    if d.X.shape[1] == 0 and not problem.family.auxiliaries:
        beta, psi, converged = np.empty(0), np.empty(0), True
    elif d.X.shape[1] == 0:
        raise MethodError(f"{problem.family.name} without any column cannot be fitted; keep the intercept.")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesGLMMWarning)
            solution = solve_mean_model(problem, problem_rows(problem), start=start)
        beta, psi, converged = solution.scored.beta, solution.psi, solution.status.converged
    eta = d.X @ beta + d.offset
    mu, aux = problem.link.mean(eta), auxiliary_values(problem, psi)
    y, w, family = problem.mean_response, problem.case_weights, problem.family
    deviance = float(deviance_terms(family, mu, y, w, aux).sum())
    pearson = float(pearson_terms(family, mu, y, w, aux).sum())
    likelihood = family.scale is not None and family.kernel is not None and not family.quasi
    loglik = loglik_at(problem, eta, psi) if likelihood else None
    return Refit(beta, psi, eta, deviance, pearson, loglik, converged)
