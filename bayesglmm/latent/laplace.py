"""The Laplace approximation and the exact gradient shared by Laplace and quadrature.

L = h(û) − ½ log|H| (+ ½ log|P|). Its derivative moves û by the implicit function theorem and needs the entries
of H⁻¹ on H's own pattern only: Kristensen et al. (2016), section 2, written out for A = ZΛ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.quadrature.integral import Sums

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.mode import Mode

Floats = NDArray[np.float64]


def laplace_value(mode: Mode) -> float:
    """h(û) − ½ log|H| + ½ log|P|."""
    factor = mode.factor
    assert factor is not None
    return mode.value - 0.5 * factor.logdet + 0.5 * factor.plan.structure.log_det_prior


def laplace_sums(kernel: BoundKernel, psi: Floats, mode: Mode) -> Sums:
    """The sums of one node at the mode."""
    factor = mode.factor
    assert factor is not None
    structure = factor.plan.structure
    d1 = mode.derivatives.d1
    aux = np.zeros((0, structure.n))
    if kernel.n_aux:
        aux = kernel.aux_derivatives(mode.eta, psi).value
    return Sums(
        laplace_value(mode),
        d1,
        tuple(d1[:, None] * own for own in row_effects(mode, mode.u)),
        0.5 * factor.row_quad,
        factor.row_inverse,
        np.zeros(structure.m),
        aux,
    )


def row_effects(mode: Mode, u: Floats) -> tuple[Floats, ...]:
    """Each row's own entries of an (m,) vector, one (n, q) array per factor."""
    factor = mode.factor
    assert factor is not None
    return tuple(
        u[b.start : b.stop].reshape(b.levels, b.size).take(b.codes, axis=0) for b in factor.plan.structure.layouts
    )


@dataclass(frozen=True)
class Laplace:
    """The integral over all random effects by Laplace's approximation.

    Parameters
    ----------
    kernel : BoundKernel
        The log-density.
    """

    kernel: BoundKernel

    def value(self, fixed: Floats, psi: Floats, mode: Mode) -> float:
        """Log marginal likelihood."""
        return laplace_value(mode)

    def sums(self, fixed: Floats, psi: Floats, mode: Mode) -> Sums:
        """Value and the sums the gradient needs."""
        return laplace_sums(self.kernel, psi, mode)


@dataclass(frozen=True)
class Gradient:
    """Derivatives of the log marginal likelihood.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        In the coefficients.
    lambdas : tuple of ndarray, shape (q, q)
        In every entry of Λ, per factor.
    psi : ndarray, shape (n_aux,)
        In the unconstrained auxiliaries.
    """

    beta: Floats
    lambdas: tuple[Floats, ...]
    psi: Floats


@dataclass(frozen=True)
class RowGradient:
    """The same, row by row: in each row's fixed part of η, its row of A = ZΛ, and the auxiliaries.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        In Xβ + offset.
    loadings : tuple of ndarray, shape (n, q)
        In a_i, per factor.
    psi : ndarray, shape (n_aux, n)
        Each row's part of the derivative in ψ.
    """

    eta: Floats
    loadings: tuple[Floats, ...]
    psi: Floats


def gradient(kernel: BoundKernel, psi: Floats, X: Floats, mode: Mode, sums: Sums) -> Gradient:
    """Exact gradient at a conditional mode.

    Parameters
    ----------
    kernel, psi
        The log-density and its auxiliaries.
    X : ndarray, shape (n, p)
        Fixed-effects matrix.
    mode : Mode
        The conditional mode at these parameters.
    sums : Sums
        From :func:`laplace_sums` or one of the quadratures.
    """
    factor = mode.factor
    assert factor is not None
    rows = row_gradient(kernel, psi, mode, sums)
    lambdas = tuple(b.z.T @ own for b, own in zip(factor.plan.structure.layouts, rows.loadings))
    return Gradient(X.T @ rows.eta, lambdas, rows.psi.sum(axis=-1))


def row_gradient(kernel: BoundKernel, psi: Floats, mode: Mode, sums: Sums) -> RowGradient:
    """Each row's part of the gradient; arguments as for :func:`gradient`."""
    factor = mode.factor
    assert factor is not None
    d = mode.derivatives
    v = sums.curvature * d.d3
    q = factor.solve(factor.loadings.collect(v) + sums.pull)
    spread = factor.loadings.expand(q)
    moved = v + d.d2 * spread
    loadings = tuple(
        loaded
        + moved[:, None] * own
        + d.d1[:, None] * shift
        + d.d2[:, None] * sums.direction[:, b.column : b.column + b.size]
        for b, loaded, own, shift in zip(
            factor.plan.structure.layouts, sums.loaded, row_effects(mode, mode.u), row_effects(mode, q)
        )
    )
    g_psi = sums.aux
    if kernel.n_aux:
        aux = kernel.aux_derivatives(mode.eta, psi)
        g_psi = g_psi + aux.d2 * sums.curvature + aux.d1 * spread
    return RowGradient(sums.score + moved, loadings, g_psi)
