"""Sums over rows that a scoring step needs, gathered block by block and mergeable in any order.

Two ways to hold X'WX. The *Gram* way adds it up (compiled, in register tiles: cheaper than BLAS's ``syrk`` of a
weighted copy). The *triangle* way keeps the R of a QR decomposition of [B, W^½ r], B = W^½ X, updated
block by block (sequential tall-skinny QR; Golub & Van Loan, Matrix Computations, 4th ed., section 5.3): it costs a few
times more and loses half as many digits on ill-conditioned columns. Neither makes an n × p temporary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.fused import Kind, fused_kind, fused_sums
from bayesglmm.scores.rows import Rows, RowSource
from bayesglmm.scores.separation import perfect_ends
from bayesglmm.scores.working import Aux, deviance_terms, inside_domain, working_quantities

Floats = NDArray[np.float64]
#: Rows → log-likelihood of a perfect fit.
Saturated = Callable[[Rows], float]


@dataclass(frozen=True)
class Sums:
    """Sums over a set of rows at one β; ``a + b`` merges two disjoint sets.

    Parameters
    ----------
    n : int
        Rows.
    deviance, pearson : float
        Σ w d and Σ w (y − μ)² / V.
    objective : float
        What a step may not raise: the deviance, unless the score is adjusted.
    eta_norm : float
        Σ W η², for judging when a step is round-off.
    inside : bool
        Every mean is inside its range.
    gram : ndarray, shape (p, p), or None
        X'WX.
    triangle : ndarray, shape (≤ p + 1, p + 1), or None
        R of the QR decomposition of [W^½ X, W^½ r].
    score : ndarray, shape (p,)
        X's.
    edge : float
        Smallest distance of a mean from an end of its range that the link reaches at infinity only; infinite where
        there is no such end.
    weight : float
        Σ W.
    saturated : float
        Log-likelihood of a perfect fit, where it was asked for.
    """

    n: int
    deviance: float
    pearson: float
    objective: float
    eta_norm: float
    inside: bool
    gram: Floats | None
    triangle: Floats | None
    score: Floats
    edge: float = np.inf
    weight: float = 0.0
    saturated: float = np.nan

    def __add__(self, other: Sums) -> Sums:
        gram = None if self.gram is None or other.gram is None else self.gram + other.gram
        triangle = None
        if self.triangle is not None and other.triangle is not None:
            triangle = upper_triangle(np.vstack([self.triangle, other.triangle]))
        return Sums(
            self.n + other.n,
            self.deviance + other.deviance,
            self.pearson + other.pearson,
            self.objective + other.objective,
            self.eta_norm + other.eta_norm,
            self.inside and other.inside,
            gram,
            triangle,
            self.score + other.score,
            min(self.edge, other.edge),
            self.weight + other.weight,
            self.saturated + other.saturated,
        )


def upper_triangle(A: Floats) -> Floats:
    """The R of A = QR, shape (min(m, k), k)."""
    (_, _), R = linalg.qr(A, mode="raw", check_finite=False)
    return np.triu(R[: min(A.shape)])


def block_sums(
    rows: Rows,
    eta: Floats,
    family: Family,
    link: Link,
    aux: Aux = (),
    *,
    qr: bool = False,
    from_offset: bool = False,
) -> Sums:
    """Sums over one block at a given linear predictor.

    Parameters
    ----------
    rows : Rows
        The block, m rows.
    eta : ndarray, shape (m,)
        Its linear predictor.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale.
    qr : bool
        Keep the triangle instead of the Gram matrix.
    from_offset : bool
        Take the working response minus the offset where the working residual stands: the step is then the next
        iterate itself.
    """
    work = working_quantities(family, link, eta, rows.y, rows.w, aux)
    residual = work.residual + eta - rows.offset if from_offset else work.residual
    p = rows.X.shape[1]
    gram = triangle = None
    if qr:
        triangle = weighted_triangle(rows.X, work.weight, residual)
        score = rows.X.T @ (work.weight * residual if from_offset else work.score)
    else:
        from bayesglmm.scores.tiles import weighted_products

        products = weighted_products(rows.X, work.weight, residual)
        gram, score = products[:p, :p], products[:p, p]
    deviance = float(deviance_terms(family, work.mu, rows.y, rows.w, aux).sum())
    with np.errstate(over="ignore", invalid="ignore"):  # a wild step is refused by its deviance
        pearson, eta_norm = float(work.score @ work.residual), float(work.weight @ np.square(eta))
    return Sums(
        n=len(eta),
        deviance=deviance,
        objective=deviance,
        pearson=pearson,
        eta_norm=eta_norm,
        inside=inside_domain(family, link, eta, rows.y, work),
        gram=gram,
        triangle=triangle,
        score=score,
        edge=_edge(work.mu, tuple(perfect_ends(family, link))),
        weight=float(work.weight.sum()),
    )


def _fused_block(rows: Rows, beta: Floats, family: Family, link: Link, kind: Kind) -> Sums | None:
    """Sums over one block from one compiled reading of it; None where it is to be done array by array."""
    found = fused_sums(rows, beta, kind)
    if found is None:
        return None
    p = len(beta)
    return Sums(
        n=len(rows.y),
        deviance=found.deviance,
        objective=found.deviance,
        pearson=found.pearson,
        eta_norm=found.eta_norm,
        inside=True,
        gram=found.products[:p, :p],
        triangle=None,
        score=found.products[:p, p],
        edge=_edge(link.mean(found.ends), tuple(perfect_ends(family, link))),
        weight=found.weight,
    )


def weighted_triangle(X: Floats, weight: Floats, residual: Floats) -> Floats:
    """R of the QR decomposition of W^½ [X, r], shape (min(m, p + 1), p + 1)."""
    m, p = X.shape
    root = np.sqrt(weight)
    B = np.empty((m, p + 1))
    np.einsum("ij,i->ij", X, root, out=B[:, :p])
    np.multiply(root, residual, out=B[:, p])
    return upper_triangle(B)


def _edge(mu: Floats, ends: tuple[float, ...]) -> float:
    """Smallest distance of a mean, none of which is beyond an end, from one of them."""
    if not ends or len(mu) == 0:
        return np.inf
    low, high = float(mu.min()), float(mu.max())
    if np.isnan(low):
        return 0.0
    return min(min(abs(low - end), abs(high - end)) for end in ends)


def sweep(
    source: RowSource,
    family: Family,
    link: Link,
    aux: Aux = (),
    beta: Floats | None = None,
    *,
    qr: bool = False,
    saturated: Saturated | None = None,
) -> Sums:
    """One pass over the rows, at β or at the family's starting means.

    Parameters
    ----------
    source : RowSource
        The rows.
    family, link : Family, Link
        The model's.
    aux : tuple of float
        Auxiliaries, natural scale.
    beta : ndarray, shape (p,), or None
        Coefficients. None: η = g(starting mean of each row), and the step found from the sums is the first β.
    qr : bool
        Keep the triangle instead of the Gram matrix.
    saturated : callable, optional
        Rows → log-likelihood of a perfect fit, to be summed in the same pass.
    """
    part = partial(_sweep_part, family=family, link=link, aux=aux, beta=beta, qr=qr, saturated=saturated)
    total: Sums | None = None
    for sums in [part(source)] if source.map is None else source.map(part):
        total = sums if total is None else total if sums is None else total + sums
    assert total is not None
    return total


def _sweep_part(
    source: RowSource,
    family: Family,
    link: Link,
    aux: Aux,
    beta: Floats | None,
    qr: bool,
    saturated: Saturated | None,
) -> Sums | None:
    """Sums over the rows of one source; None when it has none."""
    total: Sums | None = None
    kind = None if qr or beta is None else fused_kind(family, link, aux)
    for rows in source.blocks():
        part = None if kind is None or beta is None else _fused_block(rows, beta, family, link, kind)
        if part is None:
            with np.errstate(all="ignore"):
                eta = link.eta(family.initial_mean(rows.y, rows.w)) if beta is None else rows.X @ beta + rows.offset
            part = block_sums(rows, eta, family, link, aux, qr=qr, from_offset=beta is None)
        if saturated is not None:
            part = replace(part, saturated=saturated(rows))
        total = part if total is None else total + part
    return total
