"""The full jackknife over clusters: every one left out in turn, coefficients, scale and correlation estimated anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.scores.gee_loop import Equations, Solved, solve_equations
from bayesglmm.scores.small_sample import count_parameters, jackknife_factor

Floats = NDArray[np.float64]


def jackknife_coefficients(equations: Equations, solved: Solved, tolerance: float = 1e-9) -> tuple[Floats, int]:
    """Coefficients without each cluster, shape (K, p), and how many of these fits did not converge.

    Parameters
    ----------
    equations : Equations
        The model.
    solved : Solved
        Its solution; every refit starts there.
    tolerance : float
        As for the fit.
    """
    K, p = equations.clusters.count, len(solved.point.beta)
    out, failed = np.empty((K, p)), 0
    for k in range(K):
        try:
            fit = solve_equations(_without(equations, k), solved.point.beta, tolerance=tolerance)
        except ConvergenceError as error:
            label = equations.clusters.labels[k]
            raise ConvergenceError(f"the jackknife failed without cluster {label!r}: {error}") from error
        out[k] = fit.point.beta
        failed += not fit.converged
    return out, failed


def _without(equations: Equations, cluster: int) -> Equations:
    left, gone = equations.clusters.without(cluster)
    q = equations
    return replace(
        q,
        XT=np.delete(q.XT, gone, axis=1),
        y=np.delete(q.y, gone),
        w=np.delete(q.w, gone),
        offset=np.delete(q.offset, gone),
        correlation=q.correlation.bind(left),
        denominator=q.denominator - (gone.stop - gone.start),
    )


def jackknife_covariance(equations: Equations, solved: Solved) -> tuple[Floats, tuple[str, ...]]:
    """(K − q)/K Σ (β₍g₎ − β)(β₍g₎ − β)', and what to note of it.

    Paik (1988), Comm. Statist. Simul. 17, 1155-1171; Lipsitz, Dear & Zhao (1994), Biometrics 50, 842-846 (the fully
    iterated jackknife of geepack), q counting every estimated parameter.
    """
    K = equations.clusters.count
    factor = jackknife_factor(K, count_parameters(equations, solved.point))
    beta, failed = jackknife_coefficients(equations, solved)
    gap = beta - solved.point.beta
    notes = (f"{failed} of the {K} fits of the jackknife did not converge",) if failed else ()
    return factor * (gap.T @ gap), notes
