"""Kenward and Roger's adjusted covariance of the fixed effects, and their degrees of freedom.

V is (to first order) linear in γ = (σ², entries of the random effects' covariance matrices): V = Σ γ_r G_r. With

    P_r = −X'V⁻¹G_rV⁻¹X,   Q_rs = X'V⁻¹G_rV⁻¹G_sV⁻¹X,   Φ = (X'V⁻¹X)⁻¹

and W the inverse expected REML information of γ, the adjusted covariance is Φ_A = Φ + 2Φ{Σ W_rs(Q_rs − P_rΦP_s)}Φ and
the F statistic of a hypothesis is scaled and given degrees of freedom by matching two moments (Kenward & Roger 1997,
Biometrics 53; Halekoh & Højsgaard 2014, J. Stat. Software 59(9), section 3, whose notation this is).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance
from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.plan import weighted_blocks
from bayesglmm.latent.linear.small_sample import FTest
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.refit import solution_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Most unknowns for which the dense matrices of several grouping factors are made.
LARGEST = 3000


@dataclass(frozen=True)
class KenwardRoger:
    """Kenward and Roger's approximation.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    unadjusted : ndarray, shape (p, p)
        Φ.
    cov : ndarray, shape (p, p)
        Φ_A.
    P : ndarray, shape (r, p, p)
        P_r.
    W : ndarray, shape (r, r)
        Covariance of the variance parameters.
    """

    beta: Floats
    unadjusted: Floats
    cov: Floats
    P: Floats
    W: Floats

    def df(self, contrast: Floats) -> float:
        """Degrees of freedom of the t statistic of one contrast."""
        return self._moments(contrast[None])[1]

    def f_test(self, L: Floats, value: Floats | float = 0.0) -> FTest:
        """Scaled F test of Lβ = value."""
        rows = _independent_rows(L)
        gap = (L @ self.beta - value)[rows]
        L = L[rows]
        factor, df = self._moments(L)
        statistic = float(gap @ np.linalg.solve(L @ self.cov @ L.T, gap)) / len(L)
        return FTest(factor * statistic, len(L), df)

    def _moments(self, L: Floats) -> tuple[float, float]:
        """Scale factor λ and denominator degrees of freedom m (Kenward & Roger 1997, section 3)."""
        q = len(L)
        F = self.unadjusted
        theta = L.T @ np.linalg.solve(L @ F @ L.T, L)
        M = np.array([theta @ F @ P @ F for P in self.P])
        traces = np.trace(M, axis1=1, axis2=2)
        a1 = float(traces @ self.W @ traces)
        a2 = float(np.einsum("rs,rij,sji->", self.W, M, M))
        b = (a1 + 6.0 * a2) / (2.0 * q)
        g = ((q + 1.0) * a1 - (q + 4.0) * a2) / ((q + 2.0) * a2)
        d = 3.0 * q + 2.0 * (1.0 - g)
        c1, c2, c3 = g / d, (q - g) / d, (q + 2.0 - g) / d
        # V*/(2E*²) with E* = 1/(1 − A₂/q); numerator and denominator may vanish together in balanced designs.
        first, second, third = 1.0 + c1 * b, 1.0 - c2 * b, 1.0 - c3 * b
        first, second = (0.0 if abs(v) < 1e-10 else v for v in (first, second))
        ratio = 1.0 if second == 0.0 and abs(1.0 - a2 / q) < 1e-10 else (1.0 - a2 / q) / second
        rho = ratio**2 * first / (third * q)
        df = 4.0 + (q + 2.0) / (q * rho - 1.0)
        scale = 1.0 if abs(df - 2.0) < 1e-2 else df * (1.0 - a2 / q) / (df - 2.0)
        return float(scale), float(df)


def _independent_rows(L: Floats) -> NDArray[np.int64]:
    """Rows of L that are not combinations of earlier ones."""
    keep: list[int] = []
    for i in range(len(L)):
        if np.linalg.matrix_rank(L[[*keep, i]]) > len(keep):
            keep.append(i)
    return np.array(keep, dtype=np.int64)


def kenward_roger(problem: Problem, result: Result) -> KenwardRoger:
    """Kenward and Roger's approximation at a REML fit.

    Covariance forms whose entries are not linear in their parameters (``cs``, ``ar1``) are taken to first order.

    Raises
    ------
    MethodError
        A fit not by REML, or several grouping factors with too many levels for dense matrices.
    """
    at = solution_of(problem, result)
    if len(at.model.parts) > len(at.model.covariance) and at.model.parts[-1].n_params:
        raise MethodError(
            "Kenward and Roger's degrees of freedom are for variances alone, and this model estimates a correlation of "
            "the errors: ask for df='satterthwaite', which counts its uncertainty."
        )
    if not at.model.reml:
        raise MethodError("Kenward-Roger is defined for REML fits; fit by 'reml', or ask for df='satterthwaite'.")
    pieces = _pieces(at, problem.covariance, result.theta)
    p = len(at.beta)
    Ti = np.linalg.inv(at.model.basis.T)  # β = T⁻¹ × (coefficients on Q)
    phi = at.scale * np.linalg.inv(at.root @ at.root.T)
    info = pieces.K - 2.0 * np.einsum("ij,rsji->rs", phi, pieces.Q)
    M = np.array([phi @ P for P in pieces.P])
    info = info + np.einsum("rij,sji->rs", M, M)
    W = 2.0 * np.linalg.pinv(0.5 * (info + info.T), hermitian=True)
    U = np.einsum("rs,rsij->ij", W, pieces.Q - np.einsum("rij,jk,skl->rsil", pieces.P, phi, pieces.P))
    adjusted = phi + phi @ (U + U.T) @ phi
    back = np.array([at.model.basis.T.T @ P @ at.model.basis.T for P in pieces.P]).reshape(len(pieces.P), p, p)
    return KenwardRoger(at.beta, Ti @ phi @ Ti.T, Ti @ adjusted @ Ti.T, back, W)


@dataclass(frozen=True)
class _Pieces:
    """P_r and Q_rs on the orthonormal basis, and K_rs = tr(V⁻¹G_rV⁻¹G_s); r = 0 is the residual variance."""

    P: Floats
    Q: Floats
    K: Floats


def _pieces(at: Solution, covariance: tuple[BlockCovariance, ...], theta: Floats) -> _Pieces:
    """All of it from level-sized matrices: S = Z'WZ, M = Λ'S, C = H⁻¹M, T = Z'V₀⁻¹Z = S − M'C."""
    model, s2 = at.model, at.scale
    batch = _Batch.one_factor(at) if _block_diagonal(at) else _Batch.dense(at)
    T = batch.S - np.swapaxes(batch.M, 1, 2) @ batch.C
    CP = np.swapaxes(batch.C, 1, 2) @ batch.prior
    T2 = T - CP @ batch.C  # Z'V₀⁻¹W⁻¹V₀⁻¹Z
    w = model.weights
    E = batch.split(model.design.cross(w, at.R))  # Z'V₀⁻¹Q
    PB = batch.split(model.structure.penalty(at.B))
    E2 = E - np.swapaxes(batch.C, 1, 2) @ PB  # Z'V₀⁻¹W⁻¹V₀⁻¹Q
    D = batch.directions(at, covariance, theta)
    DT, DE = [d @ T for d in D], [d @ E for d in D]
    r, p, n = len(D) + 1, at.R.shape[1], len(w)
    P, Q, K = np.zeros((r, p, p)), np.zeros((r, r, p, p)), np.zeros((r, r))
    RWR = at.R.T @ (w[:, None] * at.R)
    HP = batch.inverse @ batch.prior
    P[0] = -RWR / s2**2
    Q[0, 0] = (RWR - _gram(PB, batch.inverse @ PB)) / s2**3
    K[0, 0] = (n - batch.count + np.sum(HP * np.swapaxes(HP, 1, 2))) / s2**2
    for i in range(1, r):
        P[i] = -_gram(E, DE[i - 1]) / s2**2
        Q[0, i] = _gram(E2, DE[i - 1]) / s2**3
        Q[i, 0] = Q[0, i].T
        K[0, i] = K[i, 0] = np.sum(T2 * np.swapaxes(np.broadcast_to(D[i - 1], T2.shape), 1, 2)) / s2**2
        for j in range(1, r):
            Q[i, j] = _gram(DE[i - 1], T @ DE[j - 1]) / s2**3
            K[i, j] = np.sum(DT[i - 1] * np.swapaxes(DT[j - 1], 1, 2)) / s2**2
    return _Pieces(P, Q, K)


def _gram(a: Floats, b: Floats) -> Floats:
    """Σ over the batch of a'b, shape (p, p)."""
    return np.einsum("lmi,lmj->ij", a, b)


def _block_diagonal(at: Solution) -> bool:
    layouts = at.model.structure.layouts
    return len(layouts) == 1 and layouts[0].precision is None


@dataclass(frozen=True)
class _Batch:
    """Level-sized matrices as a batch (levels, q, q): one factor's blocks, or a single dense matrix of all unknowns."""

    S: Floats
    M: Floats
    C: Floats
    inverse: Floats
    prior: Floats

    @property
    def count(self) -> int:
        """Number of unknowns."""
        return self.S.shape[0] * self.S.shape[1]

    @staticmethod
    def one_factor(at: Solution) -> _Batch:
        """One grouping factor: nothing couples its levels."""
        b, L = at.model.structure.layouts[0], at.lambdas[0]
        S = np.moveaxis(weighted_blocks(b, b.z, at.model.weights), 2, 0)
        inverse = at.factor.level_covariances[0]
        M = L.T @ S
        return _Batch(S, M, inverse @ M, inverse, np.eye(b.size)[None])

    @staticmethod
    def dense(at: Solution) -> _Batch:
        """Any structure, all unknowns in one matrix."""
        structure = at.model.structure
        m = structure.m
        if m > LARGEST:
            raise MethodError(
                f"Kenward-Roger needs dense matrices of order {m} here (at most {LARGEST}); ask for "
                "df='satterthwaite', which has no such limit."
            )
        eye = np.eye(m)
        Z = at.model.design.expand(eye)
        S = Z.T @ (at.model.weights[:, None] * Z)
        big = np.zeros((m, m))
        for b, L in zip(structure.layouts, at.lambdas):
            big[b.start : b.stop, b.start : b.stop] = np.kron(np.eye(b.levels), L)
        M = big.T @ S
        C, inverse, prior = at.factor.solve(M), at.factor.solve(eye), structure.penalty(eye)
        return _Batch(S[None], M[None], C[None], inverse[None], prior[None])

    def split(self, x: Floats) -> Floats:
        """An (m, p) array as a batch."""
        return x.reshape(self.S.shape[0], self.S.shape[1], -1)

    def directions(self, at: Solution, covariance: tuple[BlockCovariance, ...], theta: Floats) -> list[Floats]:
        """∂Cov(b)/∂γ_r, each broadcastable to the batch."""
        out = []
        for b, cov, s in zip(at.model.structure.layouts, covariance, at.model.slices):
            for D in _block_directions(cov, theta[s]):
                if _block_diagonal(at):
                    out.append(D[None])
                    continue
                K = np.eye(b.levels) if b.precision is None else np.linalg.inv(b.precision.toarray())
                whole = np.zeros(self.S.shape[1:])
                whole[b.start : b.stop, b.start : b.stop] = np.kron(K, D)
                out.append(whole[None])
        return out


def _block_directions(cov: BlockCovariance, theta: Floats) -> list[Floats]:
    """∂(ΛΛ')/∂γ of one grouping factor: its variances and covariances, or θ itself for forms not linear in those."""
    out, at = [], 0
    for term, form in zip(cov.terms, cov.forms):
        count = len(form.coordinates(term.size))
        if form.name in ("unstructured", "diagonal") or term.size == 1:
            pairs = [(i, j) for i in range(term.size) for j in range(i + 1)]
            for i, j in pairs if form.name == "unstructured" else [(i, i) for i in range(term.size)]:
                D = np.zeros((cov.size, cov.size))
                D[term.start + i, term.start + j] = D[term.start + j, term.start + i] = 1.0
                out.append(D)
        else:
            out += [_slope(cov, theta, at + k) for k in range(count)]
        at += count
    return out


def _slope(cov: BlockCovariance, theta: Floats, k: int) -> Floats:
    """∂(ΛΛ')/∂θ_k by a central difference."""
    h = 1e-6 * max(1.0, abs(theta[k]))
    up, down = (cov.factor(theta + sign * h * np.eye(len(theta))[k]) for sign in (1.0, -1.0))
    return (up @ up.T - down @ down.T) / (2.0 * h)
