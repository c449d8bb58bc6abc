"""The linear mixed model by the textbook's dense formulas: V = ZGZ' + R, GLS, BLUP, ML and REML.

Searle, Casella & McCulloch (1992), Variance Components, chapters 6 and 7. Everything is n × n: for small data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

Floats = NDArray[np.float64]


def indicator(block) -> Floats:
    """Z of one grouping factor, shape (n, levels · q), the columns of a level side by side."""
    n, q = block.z.shape
    Z = np.zeros((n, len(block.levels) * q))
    for c in range(q):
        Z[np.arange(n), block.codes * q + c] = block.z[:, c]
    return Z


def effects_covariance(block, covariance, theta: Floats) -> Floats:
    """G of one grouping factor: K ⊗ ΛΛ'."""
    L = covariance.factor(theta)
    levels = len(block.levels)
    K = np.eye(levels) if covariance.precision is None else np.linalg.inv(covariance.precision.toarray())
    return np.kron(K, L @ L.T)


@dataclass(frozen=True)
class Dense:
    """The dense pieces at given variance parameters (θ absolute, residual variance σ²/w)."""

    X: Floats
    y: Floats
    Z: Floats
    G: Floats
    V: Floats

    @property
    def information(self) -> Floats:
        return self.X.T @ np.linalg.solve(self.V, self.X)

    @property
    def beta(self) -> Floats:
        """Generalised least squares."""
        return np.linalg.solve(self.information, self.X.T @ np.linalg.solve(self.V, self.y))

    @property
    def residual(self) -> Floats:
        return self.y - self.X @ self.beta

    @property
    def blup(self) -> Floats:
        """GZ'V⁻¹(y − Xβ̂)."""
        return self.G @ self.Z.T @ np.linalg.solve(self.V, self.residual)

    @property
    def conditional_covariance(self) -> Floats:
        """Var(b | y) with β and the variances known: G − GZ'V⁻¹ZG."""
        GZ = self.G @ self.Z.T
        return self.G - GZ @ np.linalg.solve(self.V, GZ.T)

    @property
    def prediction_error(self) -> Floats:
        """Var(b̂ − b) with β estimated: the above plus the part that comes from β̂."""
        GZ = self.G @ self.Z.T
        B = GZ @ np.linalg.solve(self.V, self.X)
        return self.conditional_covariance + B @ np.linalg.solve(self.information, B.T)

    @property
    def deviance(self) -> float:
        """−2 × the Gaussian log-likelihood at the GLS β."""
        r = self.residual
        logdet = np.linalg.slogdet(self.V)[1]
        return float(len(r) * np.log(2 * np.pi) + logdet + r @ np.linalg.solve(self.V, r))

    @property
    def reml_criterion(self) -> float:
        """−2 × the restricted log-likelihood (lme4's convention: no log|X'X| term)."""
        p = self.X.shape[1]
        return float(self.deviance - p * np.log(2 * np.pi) + np.linalg.slogdet(self.information)[1])

    def log_density(self, beta: Floats) -> float:
        """The Gaussian log-likelihood at any β."""
        r = self.y - self.X @ beta
        logdet = np.linalg.slogdet(self.V)[1]
        return float(-0.5 * (len(r) * np.log(2 * np.pi) + logdet + r @ np.linalg.solve(self.V, r)))


def dense(problem, theta: Floats, sigma2: float, *, y: Floats | None = None, weights: Floats | None = None) -> Dense:
    """The dense model of a problem; `y` and `weights` replace its own (a working response)."""
    design = problem.design
    ends = np.cumsum([0, *(c.n_params for c in problem.covariance)])
    G = block_diag(
        *(
            effects_covariance(b, c, theta[i:j])
            for b, c, i, j in zip(design.blocks, problem.covariance, ends[:-1], ends[1:])
        )
    )
    Z = np.hstack([indicator(b) for b in design.blocks])
    w = problem.case_weights if weights is None else weights
    y = problem.mean_response if y is None else y
    return Dense(design.X, y - design.offset, Z, G, Z @ G @ Z.T + np.diag(sigma2 / w))
