"""Robust covariances of marginal models, and what corrects them when clusters are few.

With A = (Σ G_g)⁻¹, G_g = D_g' V_g⁻¹ D_g and u_g = D_g' V_g⁻¹ (y_g − μ_g), all at unit scale, every one of them is
A (Σ ũ_g ũ_g') A with another ũ_g. Because D_g' V_g⁻¹ (I − H_g)^(-s) = (I − G_g A)^(-s) D_g' V_g⁻¹ for the cluster
leverage H_g = D_g A D_g' V_g⁻¹, matrices of the size of p are all it takes, whatever the size of the clusters:

    robust                  u_g                        Liang & Zeger (1986), Biometrika 73, 13-22
    bias-reduced            (I − G_g A)^(-1) u_g       Mancl & DeRouen (2001), Biometrics 57, 126-134
    kauermann-carroll       (I − G_g A)^(-1/2) u_g     Kauermann & Carroll (2001), JASA 96, 1387-1396
    fay-graubard            diag(1 − min(b, (G_g A)_jj))^(-1/2) u_g, b = 0.75
                                                       Fay & Graubard (2001), Biometrics 57, 1198-1206
    morel-bokossa-neerchal  c × robust + δ ξ φA        Morel, Bokossa & Neerchal (2003), Biometrical J. 45, 395-409
    one-step-jackknife      (K − q)/K × bias-reduced   Paik (1988), Comm. Statist. Simul. 17, 1155-1171
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.errors import MethodError
from bayesglmm.scores.gee_loop import Equations, Point

Floats = NDArray[np.float64]

#: Fay & Graubard's bound on the correction.
BOUND = 0.75
#: Clusters whose p × p matrices are held at once.
_CHUNK = 65536


@dataclass(frozen=True)
class Parts:
    """What the covariances are made of.

    Parameters
    ----------
    A : ndarray, shape (p, p)
        (Σ G_g)⁻¹, without the scale.
    u : ndarray, shape (K, p)
        Scores of the clusters.
    phi : float
        Scale.
    n : int
        Rows.
    n_parameters : int
        Coefficients, parameters of the correlation and scale, as far as they are estimated.
    informations : callable
        () → blocks (slice of the clusters, G of shape (k, p, p)).
    """

    A: Floats
    u: Floats
    phi: float
    n: int
    n_parameters: int
    informations: Callable[[], Iterator[tuple[slice, Floats]]]

    @property
    def count(self) -> int:
        """Number of clusters K."""
        return len(self.u)


def parts_at(equations: Equations, point: Point) -> Parts:
    """Scores and information of every cluster at a solution."""
    clusters = equations.clusters
    u = clusters.totals(point.B * point.solved).T

    def informations() -> Iterator[tuple[slice, Floats]]:
        solved = equations.correlation.solve(point.params, point.B)
        ends = np.r_[clusters.starts, clusters.n]
        for a in range(0, clusters.count, _CHUNK):
            b = min(a + _CHUNK, clusters.count)
            rows = slice(ends[a], ends[b])
            starts = clusters.starts[a:b] - ends[a]
            G = np.stack([np.add.reduceat(point.B[j, rows] * solved[:, rows], starts, axis=1) for j in range(len(u.T))])
            G = np.moveaxis(G, 2, 0)
            yield slice(a, b), 0.5 * (G + np.swapaxes(G, 1, 2))

    return Parts(point.factor.inverse(), u, point.phi, clusters.n, count_parameters(equations, point), informations)


def count_parameters(equations: Equations, point: Point) -> int:
    """Coefficients, and parameters of correlation and scale that are not held fixed."""
    alpha = len(point.params) if equations.alpha is None else 0
    return len(point.beta) + alpha + int(equations.scale is None)


def jackknife_factor(clusters: int, n_parameters: int) -> float:
    """(K − q)/K with q all estimated parameters, as geepack takes it.

    Raises
    ------
    MethodError
        Fewer clusters than parameters.
    """
    if clusters <= n_parameters:
        raise MethodError(
            f"a jackknife over {clusters} clusters cannot serve {n_parameters} parameters; take cov='robust' or a "
            "simpler working correlation."
        )
    return (clusters - n_parameters) / clusters


def model_covariance(parts: Parts) -> Floats:
    """φA."""
    return parts.phi * parts.A


def robust_covariance(parts: Parts) -> Floats:
    """A (Σ u u') A."""
    half = parts.u @ parts.A
    return half.T @ half


def corrected_scores(parts: Parts, power: float) -> Floats:
    """(I − G_g A)^(-power) u_g for every cluster, shape (K, p).

    Raises
    ------
    MethodError
        A cluster that alone determines some coefficient (leverage one).
    """
    C = linalg.cholesky(parts.A, lower=True)  # A = CC': (I − GA)^(-s) u = C'⁻¹ (I − C'GC)^(-s) C'u
    out = np.empty_like(parts.u)
    for where, G in parts.informations():
        values, vectors = np.linalg.eigh(C.T @ G @ C)
        left = 1.0 - values
        if left.min() < 1e-10:
            k = where.start + int(np.argmin(left.min(axis=1)))
            raise MethodError(
                f"cluster number {k + 1} alone determines a coefficient (its leverage is one), so that its residuals "
                "cannot be corrected; take cov='robust' or 'fay-graubard', or simplify the model."
            )
        rotated = np.einsum("kji,kj->ki", vectors, parts.u[where] @ C)
        out[where] = np.einsum("kij,kj->ki", vectors, left**-power * rotated)
    return linalg.solve_triangular(C, out.T, lower=True, trans=1).T


def _from_scores(parts: Parts, u: Floats) -> Floats:
    half = u @ parts.A
    return half.T @ half


def bias_reduced_covariance(parts: Parts) -> Floats:
    """Mancl & DeRouen."""
    return _from_scores(parts, corrected_scores(parts, 1.0))


def kauermann_carroll_covariance(parts: Parts) -> Floats:
    """Kauermann & Carroll."""
    return _from_scores(parts, corrected_scores(parts, 0.5))


def fay_graubard_covariance(parts: Parts) -> Floats:
    """Fay & Graubard, with their bound of 0.75."""
    u = np.empty_like(parts.u)
    for where, G in parts.informations():
        diagonal = np.einsum("kij,ji->ki", G, parts.A)
        u[where] = parts.u[where] / np.sqrt(1.0 - np.minimum(BOUND, diagonal))
    return _from_scores(parts, u)


def morel_covariance(parts: Parts) -> Floats:
    """Morel, Bokossa & Neerchal: c V + δ ξ φA.

    c = (n − 1)/(n − p) × K/(K − 1), δ = min(1/2, p/(K − p)), ξ = max(1, c tr(A Σuu')/(p φ)).
    """
    K, p = parts.u.shape
    c = (parts.n - 1.0) / (parts.n - p) * K / (K - 1.0)
    delta = p / (K - p) if 3 * p < K else 0.5
    xi = max(1.0, c * float(np.einsum("ki,ij,kj->", parts.u, parts.A, parts.u)) / (p * parts.phi))
    return c * robust_covariance(parts) + delta * xi * model_covariance(parts)


def one_step_jackknife_covariance(parts: Parts) -> Floats:
    """(K − q)/K Σ δδ', δ_g the one-step change of β when cluster g leaves; q as :func:`jackknife_factor`."""
    return jackknife_factor(parts.count, parts.n_parameters) * bias_reduced_covariance(parts)


def one_step_changes(parts: Parts) -> Floats:
    """β without each cluster less β, in one step with α and φ held, shape (K, p): −A (I − G_g A)⁻¹ u_g."""
    return -corrected_scores(parts, 1.0) @ parts.A


COVARIANCES: dict[str, Callable[[Parts], Floats]] = {
    "robust": robust_covariance,
    "model": model_covariance,
    "bias-reduced": bias_reduced_covariance,
    "kauermann-carroll": kauermann_carroll_covariance,
    "fay-graubard": fay_graubard_covariance,
    "morel-bokossa-neerchal": morel_covariance,
    "one-step-jackknife": one_step_jackknife_covariance,
}
