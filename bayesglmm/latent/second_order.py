"""The second-order correction of Laplace's log-likelihood.

With h(u) = Σ ℓ_i(η_i) − ½ u'Pu, V = H⁻¹ and S = AVA' (the conditional covariance of the linear predictors),

    log ∫ e^h ≈ Laplace + ⅛ Σ_i ℓ_i'''' S_ii² + ⅛ Σ_ik ℓ_i''' ℓ_k''' S_ii S_kk S_ik + 1/12 Σ_ik ℓ_i''' ℓ_k''' S_ik³:

the terms of fourth derivatives and of squared third derivatives of Shun & McCullagh (1995), J. R. Statist. Soc. B 57,
749-760, eq. 5, for an h whose derivatives of order three and more are sums over rows. Raudenbush, Yang & Yosef (2000),
J. Comput. Graph. Statist. 9, 141-157, use the same terms (and one of sixth order) cluster by cluster. It is a divergent
series' next term: worth having while it is small, and a warning when it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.copies import find_units
from bayesglmm.latent.elimination import blocks

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.mode import Mode

Floats = NDArray[np.float64]

#: Step of the difference that gives the fourth derivative; its error is of fourth order in it.
STEP = 1e-2
#: Most rows of a model of several factors: the correction takes the square of them.
MOST_ROWS = 10_000


def fourth_derivative(kernel: BoundKernel, eta: Floats, psi: Floats) -> Floats:
    """ℓ'''' of every row, by a five-point difference of the third derivative, shape (n,)."""
    steps = (-2.0, -1.0, 1.0, 2.0)
    third = [kernel.derivatives(eta + k * STEP, psi).d3 for k in steps]
    return (third[0] - 8.0 * third[1] + 8.0 * third[2] - third[3]) / (12.0 * STEP)


def second_order(kernel: BoundKernel, psi: Floats, mode: Mode) -> Floats | None:
    """Correction of every unit's log integral.

    Parameters
    ----------
    kernel, psi
        The log-density and its auxiliaries.
    mode : Mode
        The conditional modes at the parameters in question.

    Returns
    -------
    ndarray, shape (units,), or None
        Units are those of :func:`~bayesglmm.latent.copies.find_units`; None for crossed factors with too many rows.
    """
    factor = mode.factor
    assert factor is not None
    structure = factor.plan.structure
    units = find_units(structure)
    if not structure.m:
        return np.zeros(units.count)
    single = len(structure.layouts) == 1 and structure.layouts[0].precision is None
    if not single and structure.n > MOST_ROWS:
        return None
    third, spread = mode.derivatives.d3, factor.row_quad
    fourth = fourth_derivative(kernel, mode.eta, psi)
    g = factor.loadings.collect(third * spread)
    out = np.bincount(units.of_row, fourth * spread**2 / 8.0, units.count)
    out += np.bincount(units.of_unknown, g * factor.solve(g) / 8.0, units.count)
    return out + (_cubes_by_level(mode) if single else _cubes(mode, units.of_row, units.count)) / 12.0


def _cubes_by_level(mode: Mode) -> Floats:
    """Σ_ik ℓ_i''' ℓ_k''' S_ik³ within every level: the squared norm of the third-derivative tensor, whitened."""
    factor = mode.factor
    assert factor is not None
    assert factor.lead is not None
    (layout,) = factor.plan.structure.layouts
    q = layout.size
    # w_i = L⁻¹a_i, so that S_ik = w_i'w_k within a level.
    rows = factor.loadings.rows[0]
    whitened = blocks.forward(factor.lead[:, :, layout.codes], np.ascontiguousarray(rows.T))
    out = np.zeros(layout.levels)
    for a in range(q):
        for b in range(a, q):
            for c in range(b, q):
                weights = mode.derivatives.d3 * whitened[a] * whitened[b] * whitened[c]
                distinct = len({a, b, c})
                out += {1: 1.0, 2: 3.0, 3: 6.0}[distinct] * np.bincount(layout.codes, weights, layout.levels) ** 2
    return out


def _cubes(mode: Mode, unit: NDArray[np.int64], count: int) -> Floats:
    """The same by unit for any structure, a portion of rows of S at a time."""
    factor = mode.factor
    assert factor is not None
    structure, loadings = factor.plan.structure, factor.loadings
    third, totals = mode.derivatives.d3, np.zeros(structure.n)
    for a in range(0, structure.n, 500):
        portion = slice(a, min(a + 500, structure.n))
        chosen = np.zeros((structure.n, portion.stop - a))
        chosen[np.arange(a, portion.stop), np.arange(portion.stop - a)] = 1.0
        S = loadings.expand(factor.solve(loadings.collect(chosen)))
        totals[portion] = third[portion] * (third @ S**3)
    return np.bincount(unit, totals, count)
