"""Mean bias reduction: adjusted score equations whose solution has smaller bias and is finite under separation.

The score of row i is raised by φ h_i μ''(η_i) / (2 μ'(η_i)), with h_i the leverage at the current β. Firth (1993),
Bias reduction of maximum likelihood estimates, Biometrika 80, 27-38; in this form Kosmidis, Kenne Pagui & Sartori
(2020), Statistics and Computing 30, 43-59, equation 10. For logistic regression it is the score penalised by
Jeffreys' prior.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.sandwich import leverages
from bayesglmm.scores.scoring import Adjust
from bayesglmm.scores.solve import factorise
from bayesglmm.scores.sums import Sums
from bayesglmm.scores.working import Aux, working_quantities

Floats = NDArray[np.float64]


def firth_adjustment(source: RowSource, family: Family, link: Link, aux: Aux = ()) -> Adjust:
    """Turn sums into those of the bias-reducing adjusted score equations.

    Parameters
    ----------
    source : RowSource
        The rows.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale.

    Returns
    -------
    callable
        (β, sums) → sums whose score is adjusted, and whose objective is the squared length of the adjusted score in the
        metric of the information (it falls to zero at the solution).
    """

    def adjust(beta: Floats, sums: Sums) -> Sums:
        factor = factorise(sums)
        if factor is None:
            return replace(sums, objective=np.inf, inside=False)
        phi = family.scale if family.scale is not None else sums.pearson / max(sums.n - len(beta), 1)
        score = sums.score.copy()
        for rows in source.blocks():
            eta = rows.X @ beta + rows.offset
            work = working_quantities(family, link, eta, rows.y, rows.w, aux)
            with np.errstate(all="ignore"):
                bend = link.curvature(eta) / work.slope
            bend = np.where(np.isfinite(bend), bend, 0.0)
            score += rows.X.T @ (0.5 * phi * leverages(rows.X, work.weight, factor) * bend)
        return replace(sums, score=score, objective=float(score @ factor.solve(score)))

    return adjust
