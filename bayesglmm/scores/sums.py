"""Sums over rows that a scoring step needs, gathered block by block and mergeable in any order.

Two ways to hold X'WX. The *Gram* way adds up B'B with B = W^½ X (one BLAS ``syrk`` per block: the cheapest there
is). The *triangle* way keeps the R of a QR decomposition of [B, W^½ r], updated block by block (sequential
tall-skinny QR; Golub & Van Loan, Matrix Computations, 4th ed., section 5.3): it costs a few times more and loses
half as many digits on ill-conditioned columns. Neither makes an n × p temporary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.rows import Rows, RowSource
from bayesglmm.scores.working import Aux, deviance_terms, inside_domain, working_quantities

Floats = NDArray[np.float64]


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
    buffer: Floats | None = None,
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
    buffer : ndarray, shape (≥ m, padded_width(p)), optional
        Work space for [W^½ X, W^½ r], zero beyond.
    """
    work = working_quantities(family, link, eta, rows.y, rows.w, aux)
    residual, score = work.residual, work.score
    if from_offset:
        residual = residual + eta - rows.offset
        score = work.weight * residual
    root = np.sqrt(work.weight)
    m, p = rows.X.shape
    B = np.zeros((m, padded_width(p))) if buffer is None else buffer[:m]
    np.einsum("ij,i->ij", rows.X, root, out=B[:, :p])
    np.multiply(root, residual, out=B[:, p])
    gram = triangle = None
    if qr:
        triangle = upper_triangle(B[:, : p + 1])
        products = rows.X.T @ score
    else:  # the score stands beside the Gram matrix, at a fraction of the cost of another pass over X
        full = cross_product(B)
        gram, products = full[:p, :p], full[:p, p]
    deviance = float(deviance_terms(family, work.mu, rows.y, rows.w, aux).sum())
    with np.errstate(over="ignore", invalid="ignore"):  # a wild step is refused by its deviance
        pearson, eta_norm = float(work.score @ work.residual), float(work.weight @ np.square(eta))
    return Sums(
        n=m,
        deviance=deviance,
        objective=deviance,
        pearson=pearson,
        eta_norm=eta_norm,
        inside=inside_domain(family, link, eta, rows.y, work),
        gram=gram,
        triangle=triangle,
        score=products,
    )


def padded_width(p: int) -> int:
    """Columns of the work space: room for the working residual, and a whole number of BLAS's register tiles."""
    return -(-(p + 1) // 4) * 4


def cross_product(B: Floats) -> Floats:
    """B'B by the symmetric rank-k update of BLAS (half the work of a product), shape (p, p)."""
    if B.shape[1] == 0:
        return np.zeros((0, 0))
    upper = linalg.blas.dsyrk(1.0, B.T)
    full = upper + upper.T
    full[np.diag_indices_from(full)] *= 0.5
    return full


def sweep(
    source: RowSource, family: Family, link: Link, aux: Aux = (), beta: Floats | None = None, *, qr: bool = False
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
    """
    part = partial(_sweep_part, family=family, link=link, aux=aux, beta=beta, qr=qr)
    total: Sums | None = None
    for sums in [part(source)] if source.map is None else source.map(part):
        total = sums if total is None else total if sums is None else total + sums
    assert total is not None
    return total


def _sweep_part(source: RowSource, family: Family, link: Link, aux: Aux, beta: Floats | None, qr: bool) -> Sums | None:
    """Sums over the rows of one source; None when it has none."""
    total: Sums | None = None
    buffer = np.zeros((0, padded_width(len(source.columns))))
    for rows in source.blocks():
        if len(buffer) < len(rows.y):
            buffer = np.zeros((len(rows.y), padded_width(len(source.columns))))
        with np.errstate(all="ignore"):
            eta = link.eta(family.initial_mean(rows.y, rows.w)) if beta is None else rows.X @ beta + rows.offset
        part = block_sums(
            rows,
            eta,
            family,
            link,
            aux,
            qr=qr,
            from_offset=beta is None,
            buffer=buffer,
        )
        total = part if total is None else total + part
    return total
