"""The first admissible coefficients, and whether the normal equations are well conditioned enough to go on from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError
from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import factorise
from bayesglmm.scores.start import feasible_points
from bayesglmm.scores.sums import Saturated, Sums, sweep
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]

#: Above this condition number of the scaled columns, steps are found by QR instead of the normal equations.
GRAM_CONDITION = 1e3


@dataclass(frozen=True)
class Opening:
    """Where scoring begins.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients inside the domain.
    sums : Sums
        Sums there.
    evaluations : int
        Passes over the rows it took.
    qr : bool
        Whether steps are to be found by QR.
    solved : int
        Weighted least-squares solutions it took.
    """

    beta: Floats
    sums: Sums
    evaluations: int
    qr: bool
    solved: int


def first_point(
    source: RowSource, family: Family, link: Link, aux: Aux, start: Floats | None, qr: bool, saturated: Saturated | None
) -> Opening:
    """First admissible β: the given one, else the first iterate, else a point found inside the domain.

    Decides on the way whether the normal equations are well conditioned enough.
    """
    evaluations = 0

    def candidates() -> Iterator[tuple[Floats, int]]:
        nonlocal evaluations, qr
        if start is not None:
            yield np.asarray(start, dtype=float), 0
        opening = sweep(source, family, link, aux, qr=qr)
        factor = factorise(opening)
        evaluations += 1
        if not qr and (factor is None or factor.condition > GRAM_CONDITION):
            qr = True
            factor, evaluations = factorise(sweep(source, family, link, aux, qr=qr)), evaluations + 1
        if factor is not None:
            yield factor.step(opening.score), 1
        for beta in feasible_points(source, family, link, aux):
            yield beta, 1

    for beta, solved in candidates():
        sums = sweep(source, family, link, aux, beta, qr=qr, saturated=saturated)
        evaluations += 1
        if sums.inside and np.isfinite(sums.deviance):
            factor = factorise(sums)
            if not qr and (factor is None or factor.condition > GRAM_CONDITION):
                qr = True
                sums, evaluations = sweep(source, family, link, aux, beta, qr=qr, saturated=saturated), evaluations + 1
            return Opening(beta, sums, evaluations, qr, solved)
    raise ConvergenceError(
        f"no coefficients were found at which every mean is inside its range under the {link.name} link. "
        "Choose another link or give starting values (start=)."
    )
