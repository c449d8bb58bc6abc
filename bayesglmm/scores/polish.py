"""Last digits of an ill-conditioned linear model: iterative refinement in extended precision.

Least squares loses digits twice: with the condition κ of the columns, and with κ² times the size of the residual.
Refining coefficients *and* residuals of the augmented system

    [ I  A ] [r]   [b]
    [ A' 0 ] [x] = [0]

with its residuals computed in extended precision, one QR factor serving every round, removes both (Björck 1967,
Iterative refinement of linear least squares solutions I, BIT 7, 257-278; Golub & Van Loan, section 5.3.8).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bayesglmm.families.base import Family
from bayesglmm.links import Link
from bayesglmm.scores.opening import GRAM_CONDITION
from bayesglmm.scores.rows import RowSource
from bayesglmm.scores.scoring import Scored

Floats = NDArray[np.float64]

#: n p above which the extra n × p copies are not worth the last digits.
MAX_ELEMENTS = 2_000_000
_ROUNDS = 10


def is_linear(family: Family, link: Link) -> bool:
    """Whether the score equations are linear in β: identity link and constant variance."""
    if link.name != "identity":
        return False
    probe = np.array([0.2, 0.4, 0.9])
    return bool(np.ptp(family.variance(probe, tuple(1.0 for _ in family.auxiliaries))) == 0.0)


def polish(source: RowSource, family: Family, link: Link, scored: Scored) -> Scored:
    """Refine the coefficients of a small, ill-conditioned linear model; any other fit is returned as it is.

    Parameters
    ----------
    source : RowSource
        The rows, held in memory.
    family, link : Family, Link
        The model's.
    scored : Scored
        Solution in double precision.

    Returns
    -------
    Scored
        With coefficients, deviance and Pearson statistic to nearly full double precision, as long as the columns'
        condition number times machine precision is below one.
    """
    p = len(scored.beta)
    small = source.n is not None and source.n * p <= MAX_ELEMENTS
    if not small or not is_linear(family, link) or scored.factor.condition <= GRAM_CONDITION:
        return scored
    blocks = list(source.blocks())
    X = np.vstack([b.X for b in blocks])
    z = np.concatenate([b.y - b.offset for b in blocks])
    root = np.sqrt(np.concatenate([b.w for b in blocks]))
    beta, residual = refined_least_squares(X, z, root)
    rss = float(residual @ residual)
    sums = replace(scored.sums, deviance=rss, pearson=rss, objective=rss)
    return replace(scored, beta=beta, sums=sums, converged=True, message="least squares solved and refined")


def refined_least_squares(X: Floats, z: Floats, root: Floats) -> tuple[Floats, NDArray[np.longdouble]]:
    """Minimise ‖root ∘ (z − Xβ)‖ with refinement in extended precision.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns.
    z : ndarray, shape (n,)
        Target.
    root : ndarray, shape (n,)
        Square roots of the weights.

    Returns
    -------
    beta : ndarray, shape (p,)
        Coefficients.
    residual : ndarray of longdouble, shape (n,)
        Weighted residuals at the refined coefficients.
    """
    A = X.astype(np.longdouble) * root.astype(np.longdouble)[:, None]
    # powers of two: scaling must not round the columns
    length = np.exp2(np.round(np.log2(np.sqrt(np.square(A).sum(axis=0)))))
    A = A / length
    b = z.astype(np.longdouble) * root
    Q, R = linalg.qr(A.astype(np.float64), mode="economic", check_finite=False)
    x = np.zeros(A.shape[1], dtype=np.longdouble)
    r = np.zeros(A.shape[0], dtype=np.longdouble)
    last = np.inf
    for _ in range(_ROUNDS):
        f = (b - r - A @ x).astype(np.float64)
        g = (-(A.T @ r)).astype(np.float64)
        h = linalg.solve_triangular(R, g, trans=1, check_finite=False)
        d = Q.T @ f
        dx = linalg.solve_triangular(R, d - h, check_finite=False)
        size = float(np.abs(dx).max())
        if not size < last:  # no longer shrinking: round-off, or too ill-conditioned to refine
            break
        x, r = x + dx, r + (f - Q @ d + Q @ h)
        last = size
        if size <= 1e-18 * float(np.abs(x).max()):
            break
    return (x / length).astype(np.float64), b - A @ x
