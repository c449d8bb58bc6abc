"""The penalised least-squares solution of a linear mixed model at one θ, and the criterion's exact gradient there.

In the notation of :mod:`bayesglmm.latent.linear.criterion`. Gradient in Λ (for one grouping factor, entry (d, c); l(i)
is the level of row i, G_i = H⁻¹a_i):

    ∂ log|H|         =  2 Σ_i w_i z_id G_ic
    ∂ log|X'V₀⁻¹X|   = −2 Σ_i w_i z_id Σ_j R_ij B_l(i)c,j     R = (Q − AB)L⁻ᵀ,  B = H⁻¹A'WQ L⁻ᵀ,  LL' = Q'V₀⁻¹Q
    ∂ r²             = −2 Σ_i w_i z_id e_i u_l(i)c            e = z − Xβ̂ − Aû (envelope theorem)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.factor import Factor
from bayesglmm.latent.elimination.structure import Loadings

if TYPE_CHECKING:
    from bayesglmm.latent.linear.criterion import LinearModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The penalised least-squares solution at one θ.

    Parameters
    ----------
    model : LinearModel
        What was solved.
    theta : ndarray, shape (k,)
        Covariance parameters relative to σ.
    lambdas : tuple of ndarray
        Λ(θ), one per grouping factor.
    loadings, factor : Loadings, Factor
        A, and the factor of H.
    beta : ndarray, shape (p,)
        Generalised least-squares coefficients.
    delta : ndarray, shape (p,)
        What they are on Q, less the weighted least-squares fit.
    u : ndarray, shape (m,)
        Conditional modes on the standardised scale.
    B : ndarray, shape (m, p)
        H⁻¹A'WQ.
    root : ndarray, shape (p, p)
        Lower Cholesky factor of Q'V₀⁻¹Q.
    by_level : bool
        Whether it was made of the sums by level (:mod:`bayesglmm.latent.elimination.level_sums`), or over the rows.
    r2 : float
        Penalised residual sum of squares.
    scale : float
        σ², profiled or as given.
    criterion : float
        −2 × the log-likelihood (or restricted log-likelihood), every constant kept.
    """

    model: LinearModel
    theta: Floats
    lambdas: tuple[Floats, ...]
    loadings: Loadings
    factor: Factor
    beta: Floats
    delta: Floats
    u: Floats
    B: Floats
    root: Floats
    by_level: bool
    r2: float
    scale: float
    criterion: float

    @cached_property
    def R(self) -> Floats:
        """The columns less their prediction, Q − AB, shape (n, p)."""
        return self.model.basis.Q - self.loadings.expand(self.B)

    @cached_property
    def residual(self) -> Floats:
        """Residuals e = z − Xβ̂ − Aû, shape (n,)."""
        basis = self.model.basis
        return basis.residual - basis.Q @ self.delta - self.loadings.expand(self.u)

    @cached_property
    def _gathered(self) -> Floats:
        """Z'W[Q − AB, e], shape (m, p + 1)."""
        model = self.model
        if self.by_level:
            return model.sums.remainder(self.lambdas, self.B, self.u, self.delta)
        return model.design.cross(model.weights, np.column_stack([self.R, self.residual]))

    @cached_property
    def gradient(self) -> Floats:
        """Derivative of the criterion in relative θ with σ² held fixed, shape (k,).

        At the profiled σ² this is the gradient of the profiled criterion as well (envelope theorem).
        """
        model = self.model
        determinant: list[Floats] | list[float] = [0.0] * len(model.covariance)
        if model.reml:
            # Σ_j R_ij B_j with (R, B) L⁻ᵀ on both sides: all of it on the side that has levels instead of rows.
            determinant = self._outer_sums(self._gathered[:, :-1], cho_solve(self.root, self.B.T).T)
        parts = []
        for k, (cov, s) in enumerate(zip(model.covariance, model.slices)):
            G = 2.0 * (self._log_determinant(k) - determinant[k])
            parts.append(cov.pullback(self.theta[s], G))
        if model.rows is not None:
            parts.append(model.rows.determinant_slopes(self))
        return np.concatenate([*parts, np.empty(0)]) + self.fit_gradient

    def _log_determinant(self, k: int) -> Floats:
        """Σ_i w_i z_i (H⁻¹a_i)', shape (q, q), of the k-th grouping factor: half the slope of log|H| in Λ."""
        model = self.model
        if self.by_level:
            known = model.sums.log_determinant(self.lambdas, self.factor.level_covariances)
            if known is not None:
                return known
        b = model.structure.layouts[k]
        inverse = self.factor.row_inverse[:, b.column : b.column + b.size]
        return (model.weights[:, None] * b.z).T @ inverse

    @cached_property
    def fit_gradient(self) -> Floats:
        """The part of :attr:`gradient` that comes from r²/σ², shape (k,)."""
        sums = self._outer_sums(self._gathered[:, -1:], self.u[:, None] / self.scale)
        parts = [
            cov.pullback(self.theta[s], -2.0 * G) for cov, s, G in zip(self.model.covariance, self.model.slices, sums)
        ]
        if self.model.rows is not None:
            parts.append(self.model.rows.fit_slopes(self))
        return np.concatenate([*parts, np.empty(0)])

    def _outer_sums(self, gathered: Floats, right: Floats) -> list[Floats]:
        """Σ_l,j gathered_ldj right_lcj, shape (q, q) per grouping factor."""
        shapes = [(b.levels, b.size, gathered.shape[1]) for b in self.model.structure.layouts]
        own = [slice(b.start, b.stop) for b in self.model.structure.layouts]
        return [
            np.einsum("ldj,lcj->dc", gathered[s].reshape(shape), right[s].reshape(shape))
            for s, shape in zip(own, shapes)
        ]

    @property
    def weight_gradient(self) -> Floats:
        """Derivative of the criterion in the weights, θ and σ² held fixed, shape (n,).

        From ∂log|V₀|/∂w_i = a_i'H⁻¹a_i − 1/w_i, ∂r²/∂w_i = e_i² and ∂(X'V₀⁻¹X)/∂w_i = r_i r_i', r_i a row of X − AB.
        """
        out = self.factor.row_quad - 1.0 / self.model.weights + np.square(self.residual) / self.scale
        if self.model.reml:
            out = out + np.sum(np.square(right_solve(self.R, self.root)), axis=1)
        return out

    @cached_property
    def cov_beta(self) -> Floats:
        """σ²(X'V₀⁻¹X)⁻¹, shape (p, p)."""
        half = np.linalg.inv(self.root.T @ self.model.basis.T)
        return self.scale * half @ half.T

    @property
    def effects(self) -> tuple[Floats, ...]:
        """Conditional modes b = Λû, one (levels, q) array per grouping factor."""
        return self.model.structure.effects(self.lambdas, self.u)


def cho_solve(L: Floats, x: Floats) -> Floats:
    """Solve LL'y = x for a small lower-triangular L."""
    return np.linalg.solve(L.T, np.linalg.solve(L, x))


def right_solve(R: Floats, L: Floats) -> Floats:
    """R L⁻ᵀ for a small lower-triangular L."""
    return np.linalg.solve(L, R.T).T
