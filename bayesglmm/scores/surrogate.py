"""A scoring step bent by what a sample shows of the curvature: nearly one step more for a fraction of its cost.

A scoring step takes the score for a straight line. How it bends on the way is nearly the same for a sample of the rows:

    s(β + d) ≈ s(β) − I(β) d + (W / W₀) [s₀(β + d) − s₀(β) + I₀(β) d],

with s and I the score and the information of all rows, s₀ and I₀ those of the sample, and W and W₀ their total weights.
The root of the right side misses the solution by the sampling error of the bend alone (Jordan, Lee & Yang 2019,
Communication-efficient distributed statistical inference, JASA 114, 668-681, section 3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.solve import Factor
from bayesglmm.scores.sums import Sums, sweep
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]
#: (β, step, sums, factor) → where to go, or None.
Bend = Callable[[Floats, Floats, Sums, Factor], Floats | None]

_ROUNDS = 2
#: A bend longer than this share of the step says that the sample is not to be trusted with it.
_MOST = 0.5


def bent_steps(sample: RowSource, family: Family, link: Link, aux: Aux) -> Bend:
    """How a sample bends steps.

    Parameters
    ----------
    sample : RowSource
        Rows spread over all.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale.

    Returns
    -------
    callable
        (β, step, sums, factor) → the end of the bent step, shape (p,); None where the sample says nothing.
    """

    def bend(beta: Floats, step: Floats, sums: Sums, factor: Factor) -> Floats | None:
        here = sweep(sample, family, link, aux, beta)
        if here.gram is None or not here.weight > 0.0:
            return None
        ratio, bent = sums.weight / here.weight, step
        for _ in range(_ROUNDS):
            there = sweep(sample, family, link, aux, beta + bent)
            if not there.inside:
                return None
            bent = step + factor.solve(ratio * (there.score - here.score + here.gram @ bent))
        off, whole = (float(np.linalg.norm(factor.stretch(v))) for v in (bent - step, step))
        return beta + bent if off <= _MOST * whole else None

    return bend
