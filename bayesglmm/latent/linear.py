"""The weighted linear mixed model: penalised least squares, the profiled ML and REML criteria and their exact gradient.

    z = Xβ + ZΛu + e,   u ~ N(0, σ²P⁻¹),   e_i ~ N(0, σ²/w_i),   V = σ²V₀,   V₀ = W⁻¹ + AP⁻¹A',   A = ZΛ(θ),

so θ here is *relative* to σ. With H = A'WA + P everything comes from H's factor (Bates, Mächler, Bolker & Walker
2015, J. Stat. Software 67(1), section 3): log|V₀| = log|H| − log|P| − Σ log w_i, V₀⁻¹X = W(X − AH⁻¹A'WX), and

    −2ℓ(θ, σ²) = log|V₀| + n log(2πσ²) + r²/σ²                        (their eq. 34-36; profiled over σ²: eq. 39)
    REML       = log|V₀| + log|X'V₀⁻¹X| + (n − p) log(2πσ²) + r²/σ²    (their eq. 40-41)

with r² the penalised residual sum of squares at the solution (û, β̂). The fixed effects are orthonormalised in the
weights first (X = QT, Q'WQ = I) and z replaced by its weighted least-squares residual, so that neither the scaling
of the columns nor a large mean costs digits.

Gradient in Λ (for one grouping factor, entry (d, c); l(i) is the level of row i, G_i = H⁻¹a_i):

    ∂ log|H|         =  2 Σ_i w_i z_id G_ic
    ∂ log|X'V₀⁻¹X|   = −2 Σ_i w_i z_id Σ_j R_ij B_l(i)c,j     R = (Q − AB)L⁻ᵀ,  B = H⁻¹A'WQ L⁻ᵀ,  LL' = Q'V₀⁻¹Q
    ∂ r²             = −2 Σ_i w_i z_id e_i u_l(i)c            e = z − Xβ̂ − Aû (envelope theorem)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance
from bayesglmm.latent.factor import Factor
from bayesglmm.latent.structure import Loadings, Structure

if TYPE_CHECKING:
    from bayesglmm.covariance.charted import Charted
    from bayesglmm.latent.correlated import CorrelatedRows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """Fixed effects orthonormal in the weights, and the response less its weighted least-squares fit.

    Parameters
    ----------
    Q : ndarray, shape (n, p)
        Q'WQ = I.
    T : ndarray, shape (p, p)
        Upper triangular, X = QT.
    start : ndarray, shape (p,)
        Coefficients on Q of the weighted least-squares fit.
    residual : ndarray, shape (n,)
        The response less that fit.
    """

    Q: Floats
    T: Floats
    start: Floats
    residual: Floats


@dataclass(frozen=True)
class LinearModel:
    """A weighted linear mixed model, ready to be evaluated at any θ.

    Parameters
    ----------
    structure : Structure
        The random part's pattern.
    covariance : tuple of BlockCovariance
        One per grouping factor.
    X : ndarray, shape (n, p)
        Fixed-effects matrix of full column rank.
    y : ndarray, shape (n,)
        (Working) response less the offset.
    weights : ndarray, shape (n,)
        Positive; the error variances are σ²/w.
    reml : bool
        Restricted likelihood.
    scale : float or None
        σ² when it is known, None when it is estimated.
    rows : CorrelatedRows or None
        Where errors go together within groups: the rows as they were given, everything above being whitened.
    """

    structure: Structure
    covariance: tuple[BlockCovariance, ...]
    X: Floats
    y: Floats
    weights: Floats
    reml: bool = False
    scale: float | None = None
    rows: CorrelatedRows | None = None

    @property
    def parts(self) -> tuple[Charted, ...]:
        """What θ is made of: every grouping factor's covariance, then the parameters of the errors' correlation."""
        return self.covariance if self.rows is None else (*self.covariance, self.rows.errors)

    @property
    def nu(self) -> int:
        """Degrees of freedom of σ²: n, or n − p for REML."""
        n, p = self.X.shape
        return n - p if self.reml else n

    @cached_property
    def basis(self) -> Basis:
        """The orthonormalised fixed effects."""
        root = np.sqrt(self.weights)
        Q, T = np.linalg.qr(root[:, None] * self.X)
        start = Q.T @ (root * self.y)
        Q = Q / root[:, None]
        return Basis(Q, T, start, self.y - Q @ start)

    @cached_property
    def design(self) -> Loadings:
        """Z itself (A at Λ = I)."""
        return self.structure.at([np.eye(b.size) for b in self.structure.layouts])

    @cached_property
    def gathered(self) -> Floats:
        """Z'W[Q, residual], shape (m, p + 1): the same at every θ."""
        return self.design.cross(self.weights, np.column_stack([self.basis.Q, self.basis.residual]))

    def loaded(self, lambdas: tuple[Floats, ...]) -> Floats:
        """A'W[Q, residual] = Λ'(Z'W[Q, residual]), shape (m, p + 1)."""
        out = np.empty_like(self.gathered)
        for b, L in zip(self.structure.layouts, lambdas):
            own, there = (a[b.start : b.stop].reshape(b.levels, b.size, -1) for a in (self.gathered, out))
            for d in range(b.size):
                there[:, d] = own[:, d] * L[d, d]
                for c in range(d + 1, b.size):
                    there[:, d] += own[:, c] * L[c, d]
        return out

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the parameters of each of :attr:`parts` stand in θ."""
        ends = np.cumsum([0, *(c.n_params for c in self.parts)])
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))

    def lambdas(self, theta: Floats) -> tuple[Floats, ...]:
        """Λ of every grouping factor."""
        return tuple(c.factor(theta[s]) for c, s in zip(self.covariance, self.slices))

    def solve(self, theta: Floats, scale: float | None = None) -> Solution:
        """Solve the penalised least-squares problem and evaluate the criterion.

        Parameters
        ----------
        theta : ndarray, shape (k,)
            Covariance parameters relative to σ.
        scale : float, optional
            σ² at which the criterion is evaluated; the model's own when left out, and where that is None the
            minimising one, r²/ν.

        Raises
        ------
        NotPositiveDefiniteError
            If H is not finite.
        """
        if self.rows is not None and not np.array_equal(self.rows.at, theta[self.slices[-1]]):
            return self.rows.model(self, theta[self.slices[-1]]).solve(theta, scale)
        scale = self.scale if scale is None else scale
        w, basis = self.weights, self.basis
        lambdas = self.lambdas(theta)
        loadings = self.structure.at(lambdas)
        factor = loadings.factorize(w)
        both = factor.solve(self.loaded(lambdas))
        B, u0 = both[:, :-1], both[:, -1]
        R = basis.Q - loadings.expand(B)
        S = R.T @ (w[:, None] * R) + B.T @ self.structure.penalty(B)
        root = np.linalg.cholesky(S)
        delta = _cho_solve(root, R.T @ (w * basis.residual))
        u = u0 - B @ delta
        e = basis.residual - basis.Q @ delta - loadings.expand(u)
        r2 = float(e @ (w * e) + u @ self.structure.penalty(u))
        sigma2 = r2 / self.nu if scale is None else scale
        logdet = factor.logdet - self.structure.log_det_prior
        logdet += self.rows.log_det if self.rows is not None else -float(np.log(w).sum())
        logdet_x = 2.0 * float(np.log(np.diag(root)).sum() + np.log(np.abs(np.diag(basis.T))).sum())
        criterion = logdet + self.nu * np.log(2 * np.pi * sigma2) + r2 / sigma2 + (logdet_x if self.reml else 0.0)
        beta = np.linalg.solve(basis.T, basis.start + delta)
        return Solution(self, theta, lambdas, loadings, factor, beta, u, e, R, B, root, r2, sigma2, float(criterion))


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
    u : ndarray, shape (m,)
        Conditional modes on the standardised scale.
    residual : ndarray, shape (n,)
        e = z − Xβ̂ − Aû.
    R, B : ndarray, shape (n, p) and (m, p)
        Q − AB and B = H⁻¹A'WQ.
    root : ndarray, shape (p, p)
        Lower Cholesky factor of Q'V₀⁻¹Q.
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
    u: Floats
    residual: Floats
    R: Floats
    B: Floats
    root: Floats
    r2: float
    scale: float
    criterion: float

    @cached_property
    def gradient(self) -> Floats:
        """Derivative of the criterion in relative θ with σ² held fixed, shape (k,).

        At the profiled σ² this is the gradient of the profiled criterion as well (envelope theorem).
        """
        model = self.model
        determinant: list[Floats] | list[float] = [0.0] * len(model.covariance)
        if model.reml:
            # Σ_j R_ij B_j with (R, B) L⁻ᵀ on both sides: all of it on the side that has levels instead of rows.
            determinant = self._outer_sums(self.R, _cho_solve(self.root, self.B.T).T)
        parts = []
        for k, (b, cov, s) in enumerate(zip(model.structure.layouts, model.covariance, model.slices)):
            inverse = self.factor.row_inverse[:, b.column : b.column + b.size]
            G = 2.0 * (model.weights[:, None] * b.z).T @ inverse - 2.0 * determinant[k]
            parts.append(cov.pullback(self.theta[s], G))
        if model.rows is not None:
            parts.append(model.rows.determinant_slopes(self))
        return np.concatenate([*parts, np.empty(0)]) + self.fit_gradient

    @cached_property
    def fit_gradient(self) -> Floats:
        """The part of :attr:`gradient` that comes from r²/σ², shape (k,)."""
        sums = self._outer_sums(self.residual[:, None], self.u[:, None] / self.scale)
        parts = [
            cov.pullback(self.theta[s], -2.0 * G) for cov, s, G in zip(self.model.covariance, self.model.slices, sums)
        ]
        if self.model.rows is not None:
            parts.append(self.model.rows.fit_slopes(self))
        return np.concatenate([*parts, np.empty(0)])

    def _outer_sums(self, left: Floats, right: Floats) -> list[Floats]:
        """Σ_i w_i z_id Σ_j left_ij right_l(i)c,j, shape (q, q) per grouping factor."""
        gathered = self.model.design.cross(self.model.weights, left)
        shapes = [(b.levels, b.size, left.shape[1]) for b in self.model.structure.layouts]
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

    @property
    def scale_slope(self) -> float:
        """Derivative of the criterion in log σ with relative θ held fixed."""
        return 2.0 * self.model.nu - 2.0 * self.r2 / self.scale

    @cached_property
    def cov_beta(self) -> Floats:
        """σ²(X'V₀⁻¹X)⁻¹, shape (p, p)."""
        half = np.linalg.inv(self.root.T @ self.model.basis.T)
        return self.scale * half @ half.T

    @property
    def effects(self) -> tuple[Floats, ...]:
        """Conditional modes b = Λû, one (levels, q) array per grouping factor."""
        return self.model.structure.effects(self.lambdas, self.u)


def _cho_solve(L: Floats, x: Floats) -> Floats:
    """Solve LL'y = x for a small lower-triangular L."""
    return np.linalg.solve(L.T, np.linalg.solve(L, x))


def right_solve(R: Floats, L: Floats) -> Floats:
    """R L⁻ᵀ for a small lower-triangular L."""
    return np.linalg.solve(L, R.T).T
