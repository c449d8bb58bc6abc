"""The latent field x = (u, β) given the hyperparameters: its mode and the factor of its information.

The information of the field is that of u, H = A'WA + P, bordered by the few coefficients:

    J = [[H, A'WX], [X'WA, X'WX + Q]],   |J| = |H| |S|,   S = X'WX + Q − X'WA K,   K = H⁻¹A'WX,

with Q minus the curvature of the log prior of β. The factor of H is the one every other method uses; S is a small
dense matrix. With X̃ = X − AK, row i of J⁻¹ (a_i, x_i) is S⁻¹x̃_i for β and H⁻¹a_i − K S⁻¹x̃_i for u.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError
from bayesglmm.latent.mode import Inner, Mode, Point, Warm, climb

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.elimination.plan import Plan
    from bayesglmm.latent.elimination.structure import Loadings
    from bayesglmm.priors.heights import Density

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """What multiplies the field in every row: (a_i, x_i).

    Parameters
    ----------
    random : Loadings
        A.
    X : ndarray, shape (n, p)
        Fixed-effects matrix.
    """

    random: Loadings
    X: Floats

    @property
    def m(self) -> int:
        """Number of random effects: where β starts in the field."""
        return self.random.structure.m

    def expand(self, x: Floats) -> Floats:
        """Au + Xβ, shape (n,) or (n, k)."""
        return self.random.expand(x[: self.m]) + self.X @ x[self.m :]

    def collect(self, v: Floats) -> Floats:
        """(A'v, X'v), shape (m + p,)."""
        return np.concatenate([self.random.collect(v), self.X.T @ v])

    def cross(self, weights: Floats, X: Floats) -> Floats:
        """(A, X)' diag(weights) times the columns of another `X`, shape (m + p, k)."""
        weighted = weights[:, None] * X
        return np.concatenate([self.random.collect(weighted), self.X.T @ weighted])

    def factorize(self, weights: Floats, precision: Floats) -> FieldFactor:
        """Factor of J with the given row weights and prior precision of β, shape (p, p).

        Raises
        ------
        NotPositiveDefiniteError
            If J is not positive definite.
        """
        inner = self.random.factorize(weights)
        cross = self.random.cross(weights, self.X)
        K = inner.solve(cross)
        S = self.X.T @ (weights[:, None] * self.X) - cross.T @ K + precision
        diagonal = np.diag(S)
        if not np.all(diagonal > 0.0) or not np.all(np.isfinite(S)):
            raise NotPositiveDefiniteError("the information of the coefficients is not positive definite")
        scale = 1.0 / np.sqrt(diagonal)
        try:
            root = np.linalg.cholesky(S * np.outer(scale, scale))
        except np.linalg.LinAlgError as failure:
            raise NotPositiveDefiniteError(str(failure)) from failure
        half = scale[:, None] * np.linalg.inv(root).T
        logdet = inner.logdet + 2.0 * float(np.log(np.diag(root)).sum() - np.log(scale).sum())
        return FieldFactor(self, inner, cross, K, half, logdet)


@dataclass(frozen=True)
class FieldFactor:
    """Factor of J, with the members that a factor of H has.

    Parameters
    ----------
    loadings : Rows
        (A, X).
    inner : Factor
        Of H.
    cross, K : ndarray, shape (m, p)
        A'WX and H⁻¹A'WX.
    half : ndarray, shape (p, p)
        C with CC' = S⁻¹.
    logdet : float
        log|J|.
    """

    loadings: Rows
    inner: Factor
    cross: Floats
    K: Floats
    half: Floats
    logdet: float

    @property
    def plan(self) -> Plan:
        """The analysed elimination of H."""
        return self.inner.plan

    @cached_property
    def beta_covariance(self) -> Floats:
        """S⁻¹, the covariance of β."""
        return self.half @ self.half.T

    def solve(self, rhs: Floats) -> Floats:
        """J⁻¹ rhs, shape (m + p,) or (m + p, k)."""
        if rhs.size == 0:
            return np.zeros(rhs.shape)
        m = self.loadings.m
        alone = self.inner.solve(rhs[:m])
        beta = self.beta_covariance @ (rhs[m:] - self.cross.T @ alone)
        return np.concatenate([alone - self.K @ beta, beta])

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draws from N(0, J⁻¹), shape (size, m + p)."""
        beta = rng.standard_normal((size, len(self.half))) @ self.half.T
        return np.concatenate([self.inner.sample(rng, size) - beta @ self.K.T, beta], axis=1)

    @cached_property
    def beta_rows(self) -> Floats:
        """S⁻¹x̃_i, shape (n, p): β's part of J⁻¹(a_i, x_i)."""
        return self._partial @ self.beta_covariance

    @cached_property
    def _partial(self) -> Floats:
        """X̃, the coefficients' columns with the random effects regressed out."""
        return self.loadings.X - self.loadings.random.expand(self.K)

    @cached_property
    def row_inverse(self) -> Floats:
        """The rest of J⁻¹(a_i, x_i), only at the unknowns of u that row i has; shape (n, q_total)."""
        out = np.array(self.inner.row_inverse)
        for b in self.plan.structure.layouts:
            own = self.K[b.start : b.stop].reshape(b.levels, b.size, -1)
            for c in range(b.size):
                out[:, b.column + c] -= np.einsum("ij,ij->i", own[:, c].take(b.codes, axis=0), self.beta_rows)
        return out

    @cached_property
    def row_quad(self) -> Floats:
        """Variance of η_i, shape (n,)."""
        return self.inner.row_quad + np.einsum("ij,ij->i", self._partial, self.beta_rows)

    def level_covariances(self, half: Floats | None = None) -> tuple[Floats, ...]:
        """Cov(u) at each level, shape (levels, q, q) per grouping factor; β's covariance is CC', `half` or its own."""
        reach = self.K @ (self.half if half is None else half)
        out = []
        for b, own in zip(self.plan.structure.layouts, self.inner.level_covariances):
            here = reach[b.start : b.stop].reshape(b.levels, b.size, -1)
            out.append(own + np.einsum("jrk,jsk->jrs", here, here))
        return tuple(out)


@dataclass(frozen=True)
class Field(Inner):
    """log p(y | x) + log p(x) up to constants of u, and its derivatives, at fixed hyperparameters.

    Parameters
    ----------
    loadings, kernel, fixed, psi
        As in :class:`Inner`; `fixed` is the offset alone.
    X : ndarray, shape (n, p)
        Fixed-effects matrix.
    priors : Density
        Of the coefficients.
    """

    X: Floats
    priors: Density

    @cached_property
    def rows(self) -> Rows:
        """(A, X)."""
        return Rows(self.loadings, self.X)

    @property
    def origin(self) -> Floats:
        """Where to start when there is nothing better."""
        return np.zeros(self.rows.m + self.X.shape[1])

    def split(self, x: Floats) -> tuple[Floats, Floats]:
        """Split the field into (u, β)."""
        return x[: self.rows.m], x[self.rows.m :]

    def at(self, x: Floats) -> Point:
        """Evaluate at x."""
        u, beta = self.split(x)
        eta = self.fixed + self.rows.expand(x)
        d = self.kernel.derivatives(eta, self.psi)
        pull = self.loadings.structure.penalty(u)
        density, slope = self.priors(beta)
        value = float(d.value.sum() - 0.5 * (u @ pull) + density.sum())
        return Point(x, eta, d, self.rows.collect(d.d1) + np.concatenate([-pull, slope]), value)

    def observed(self, point: Point) -> FieldFactor:  # type: ignore[override]
        """Factor of the observed information."""
        return self.rows.factorize(-point.derivatives.d2, self.precision(point.u))

    def factor(self, point: Point) -> tuple[FieldFactor, bool]:  # type: ignore[override]
        """Factor for a Newton step, and whether it is the observed information (else the expected one)."""
        try:
            return self.observed(point), True
        except NotPositiveDefiniteError:
            weights = np.maximum(self.kernel.expected_weight(point.eta, self.psi), 0.0)
            # Where the data say nothing of a coefficient and its prior bends the wrong way, any short step will do.
            precision = np.maximum(-self.bends(point.u)[0], 1e-10 * (weights @ self.X**2))
            return self.rows.factorize(weights, self.priors.matrix(precision)), False

    def bends(self, x: Floats) -> tuple[Floats, Floats]:
        """Second and third derivatives of the univariate log priors of β (of heights, where those have the priors)."""
        return self.priors.bends(self.split(x)[1])

    def precision(self, x: Floats) -> Floats:
        """Q, minus the curvature of the log prior of β, shape (p, p)."""
        return self.priors.matrix(-self.bends(x)[0])

    def mode(self, start: Warm | Mode | None = None) -> Mode:
        """Return the mode of the field; its `factor` is a :class:`FieldFactor`."""
        return climb(self, start)
