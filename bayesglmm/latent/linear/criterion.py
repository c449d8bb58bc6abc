"""The weighted linear mixed model: penalised least squares, and the profiled ML and REML criteria.

    z = Xβ + ZΛu + e,   u ~ N(0, σ²P⁻¹),   e_i ~ N(0, σ²/w_i),   V = σ²V₀,   V₀ = W⁻¹ + AP⁻¹A',   A = ZΛ(θ),

so θ here is *relative* to σ. With H = A'WA + P everything comes from H's factor (Bates, Mächler, Bolker & Walker
2015, J. Stat. Software 67(1), section 3): log|V₀| = log|H| − log|P| − Σ log w_i, V₀⁻¹X = W(X − AH⁻¹A'WX), and

    −2ℓ(θ, σ²) = log|V₀| + n log(2πσ²) + r²/σ²                        (their eq. 34-36; profiled over σ²: eq. 39)
    REML       = log|V₀| + log|X'V₀⁻¹X| + (n − p) log(2πσ²) + r²/σ²    (their eq. 40-41)

with r² the penalised residual sum of squares at the solution (û, β̂). The fixed effects are orthonormalised in the
weights first (X = QT, Q'WQ = I) and z replaced by its weighted least-squares residual, so that neither the scaling
of the columns nor a large mean costs digits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance
from bayesglmm.latent.elimination.level_sums import LevelSums
from bayesglmm.latent.elimination.structure import Loadings, Structure
from bayesglmm.latent.linear.solution import Solution, cho_solve

if TYPE_CHECKING:
    from bayesglmm.covariance.charted import Charted
    from bayesglmm.latent.linear.correlated import CorrelatedRows

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

    @cached_property
    def log_weights(self) -> float:
        """Σ log w."""
        return float(np.log(self.weights).sum())

    @cached_property
    def column_rms(self) -> tuple[Floats, ...]:
        """Weighted root mean square of the columns of every grouping factor's z, each of shape (q,)."""
        total = float(self.weights.sum())
        found = [np.sqrt(self.weights @ np.square(b.z) / total) for b in self.structure.layouts]
        return tuple(np.where(rms > 0, rms, 1.0) for rms in found)

    @cached_property
    def sums(self) -> LevelSums:
        """What every θ needs of the rows."""
        residual = self.basis.residual
        return LevelSums(self.structure, self.weights, self.gathered, float(self.weights @ np.square(residual)))

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
        by_level = self.rows is None and self.structure.m > 0
        factor = loadings.factorize(w, self.sums.lead(lambdas) if by_level else None)
        loaded = self.loaded(lambdas)
        both = factor.solve(loaded)
        B, u0 = both[:, :-1], both[:, -1]
        condensed = self.sums.condense(loaded, B, u0) if by_level else None
        S, delta, r2 = condensed or self._over_rows(loadings, B, u0)
        root = np.linalg.cholesky(S)
        u = u0 - B @ delta
        sigma2 = r2 / self.nu if scale is None else scale
        logdet = factor.logdet - self.structure.log_det_prior
        logdet += self.rows.log_det if self.rows is not None else -self.log_weights
        logdet_x = 2.0 * float(np.log(np.diag(root)).sum() + np.log(np.abs(np.diag(basis.T))).sum())
        criterion = logdet + self.nu * np.log(2 * np.pi * sigma2) + r2 / sigma2 + (logdet_x if self.reml else 0.0)
        beta = np.linalg.solve(basis.T, basis.start + delta)
        parts = (beta, delta, u, B, root, condensed is not None)
        return Solution(self, theta, lambdas, loadings, factor, *parts, r2, sigma2, float(criterion))

    def _over_rows(self, loadings: Loadings, B: Floats, u0: Floats) -> tuple[Floats, Floats, float]:
        """Q'V₀⁻¹Q, δ and r² as sums of squares over the rows."""
        w, basis = self.weights, self.basis
        R = basis.Q - loadings.expand(B)
        S = R.T @ (w[:, None] * R) + B.T @ self.structure.penalty(B)
        delta = cho_solve(np.linalg.cholesky(S), R.T @ (w * basis.residual))
        u = u0 - B @ delta
        e = basis.residual - basis.Q @ delta - loadings.expand(u)
        return S, delta, float(e @ (w * e) + u @ self.structure.penalty(u))
