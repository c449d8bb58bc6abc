"""Distribution functions of the response under a fit, and expected zeros: what discrete checks need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesglmm.errors import MethodError
from bayesglmm.families.base import KernelFactory
from bayesglmm.families.kernels.modelled import expand_rows
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem

Floats = NDArray[np.float64]


def _inverse_gaussian(y: Floats, mu: Floats, dispersion: Floats) -> Floats:
    """Shuster (1968), J. Amer. Statist. Assoc. 63, 1514-1516, equation 2.4."""
    root = np.sqrt(1.0 / (dispersion * y))
    upper = 2.0 / (dispersion * mu) + special.log_ndtr(-root * (y / mu + 1.0))
    return np.minimum(special.ndtr(root * (y / mu - 1.0)) + np.exp(upper), 1.0)


#: name → (y, μ, dispersion of each row) → F(y), for families whose distribution function is at hand. The dispersion
#: is what ``Family.dispersion`` gives, divided by the prior weight.
_CDF: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "gaussian": lambda y, mu, d: special.ndtr((y - mu) / np.sqrt(d)),
    "gamma": lambda y, mu, d: special.gammainc(1.0 / d, y / (mu * d)),
    "inverse_gaussian": _inverse_gaussian,
}


def cdf_bounds(problem: Problem, eta: Floats, psi: Floats) -> tuple[Floats, Floats]:
    """F(y−) and F(y) of every row; equal for a continuous response.

    Parameters
    ----------
    problem : Problem
        A family with a likelihood.
    eta : ndarray, shape (n,)
        Linear predictor.
    psi : ndarray, shape (n_aux,)
        Auxiliaries, unconstrained.

    Raises
    ------
    MethodError
        A quasi-family, or one whose distribution function is not known.
    """
    family, y = problem.family, problem.response.y
    if family.quasi:
        raise MethodError(f"{family.name} is a quasi-family: it has no distribution, hence no quantile residuals.")
    if family.support.integer:
        return _discrete_bounds(problem, eta, psi)
    if family.name not in _CDF or family.dispersion is None:
        raise MethodError(
            f"quantile residuals need a distribution function, which {family.name} lacks here. "
            "Use 'deviance' or 'pearson' residuals."
        )
    w = 1.0 if problem.design.weights is None else problem.design.weights
    dispersion = np.broadcast_to(family.dispersion(auxiliary_values(problem, psi)) / w, np.shape(y))
    high = _CDF[family.name](y, problem.link.mean(eta), np.asarray(dispersion))
    return high, high


def _discrete_bounds(problem: Problem, eta: Floats, psi: Floats) -> tuple[Floats, Floats]:
    """Sums of the density over 0 .. y − 1 and 0 .. y, by the family's own kernel, all rows at once for each value."""
    y, trials = problem.response.y, problem.response.trials
    factory = counting_factory(problem)
    values = _row_psi(problem, psi)
    order = np.argsort(y, kind="stable")
    below, at = np.zeros(len(y)), np.zeros(len(y))
    for value in range(int(y.max()) + 1):
        rows = order[np.searchsorted(y[order], value) :]
        some = None if trials is None else trials[rows]
        own = values if values.ndim == 1 else values[:, rows]
        p = np.exp(factory(np.full(len(rows), float(value)), some, None).derivatives(eta[rows], own).value)
        last = y[rows] == value
        at[rows[last]] = p[last]
        below[rows[~last]] += p[~last]
    return np.minimum(below, 1.0), np.minimum(below + at, 1.0)


def counting_factory(problem: Problem) -> KernelFactory:
    """The kernel factory of a family's density on its link; the graph's where there is no closed form."""
    family = problem.family
    closed = family.kernel(problem.link.name) if family.kernel is not None else None
    if closed is None:
        from bayesglmm.graph.kernel import graph_kernel

        closed = graph_kernel(family, problem.link)
    return closed


def zero_probability(problem: Problem, eta: Floats, psi: Floats) -> Floats:
    """P(y = 0) of every row under a count model, shape (n,)."""
    if not problem.family.support.integer:
        raise MethodError(f"zeros have a probability only for counts, and {problem.family.name} is not one.")
    zero = np.zeros(problem.design.nobs)
    kernel = counting_factory(problem)(zero, problem.response.trials, None)
    return np.exp(kernel.derivatives(eta, _row_psi(problem, psi)).value)


def _row_psi(problem: Problem, psi: Floats) -> Floats:
    """ψ as kernels take it: shape (n_aux,), or (n_aux, n) where an auxiliary has a linear predictor."""
    if not problem.design.auxiliaries:
        return psi
    return expand_rows(problem.aux_designs(problem.design), psi)
