"""Henderson's mixed-model equations of a fit, and prediction-error variances of its random effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.linear.solution import Solution
from bayesglmm.latent.refit import solution_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MixedEquations:
    """The linear equations C (β̂, b̂) = r.

        C = [[X'R⁻¹X, X'R⁻¹Z], [Z'R⁻¹X, Z'R⁻¹Z + G⁻¹]],   r = [X'R⁻¹y, Z'R⁻¹y]

    and C⁻¹ the covariance of (β̂, b̂ − b); Henderson (1975), Biometrics 31, eq. 3-8.

    Parameters
    ----------
    coefficients : scipy sparse array, shape (p + m, p + m)
        C.
    rhs : ndarray, shape (p + m,)
        r.
    names : tuple of str
        What each equation is for: coefficients, then ``"group[level] column"``.
    """

    coefficients: Any
    rhs: Floats
    names: tuple[str, ...]

    def solve(self) -> Floats:
        """(β̂, b̂), shape (p + m,)."""
        from scipy.sparse.linalg import spsolve

        return spsolve(self.coefficients.tocsc(), self.rhs)


def mixed_equations(problem: Problem, result: Result) -> MixedEquations:
    """The mixed-model equations at the estimated variances.

    Parameters
    ----------
    problem, result
        A fit by ML or REML; for PQL and MQL, the equations of the final working response.

    Raises
    ------
    MethodError
        Another method, or a variance estimated at zero (G has no inverse then).
    """
    return equations_at(problem, solution_of(problem, result))


def equations_at(problem: Problem, at: Solution) -> MixedEquations:
    """The mixed-model equations at a penalised least-squares solution; see :func:`mixed_equations`."""
    from scipy import sparse

    model = at.model
    R_inverse = sparse.diags_array(model.weights / at.scale)
    XZ = sparse.hstack([sparse.csr_array(model.X), _sparse_z(at)]).tocsr()
    p = len(at.beta)
    G_inverse = sparse.block_diag([sparse.csr_array((p, p)), *_precisions(problem, at)])
    C = XZ.T @ R_inverse @ XZ + G_inverse
    rhs = np.asarray(XZ.T @ (R_inverse @ model.y))
    names = list(problem.design.columns)
    for block in problem.design.blocks:
        names += [f"{block.group}[{level}] {column}" for level in block.levels for column in block.columns]
    return MixedEquations(sparse.csc_array(C), rhs, tuple(names))


def _sparse_z(at: Solution) -> Any:
    """Z, shape (n, m)."""
    from scipy import sparse

    structure = at.model.structure
    rows = np.tile(np.arange(structure.n), structure.width)
    columns = [b.start + b.codes * b.size + c for b in structure.layouts for c in range(b.size)]
    values = [b.z[:, c] for b in structure.layouts for c in range(b.size)]
    shape = (structure.n, structure.m)
    return sparse.csr_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape)


def _precisions(problem: Problem, at: Solution) -> list[Any]:
    """G⁻¹ = K⁻¹ ⊗ (ΛΛ')⁻¹ of every grouping factor."""
    from scipy import sparse

    out = []
    for block, layout, L in zip(problem.design.blocks, at.model.structure.layouts, at.lambdas):
        covariance = at.scale * L @ L.T
        if np.linalg.matrix_rank(covariance, hermitian=True) < layout.size:
            raise MethodError(
                f"the covariance of {block.group} is singular: it has no inverse, and so no mixed-model equations. "
                "Leave the term out whose variance is zero."
            )
        between = sparse.eye_array(layout.levels) if layout.precision is None else layout.precision
        out.append(sparse.kron(between, np.linalg.inv(covariance)))
    return out


def prediction_errors_at(at: Solution) -> tuple[Floats, ...]:
    """Standard deviations of b̂ − b, the estimation of β included (the variances taken as known).

    Var(b̂ − b) = σ²ΛH⁻¹Λ' + ΛB Cov(β̂) B'Λ' with B = H⁻¹A'WX: Henderson (1975), eq. 8.

    Parameters
    ----------
    at : Solution
        A penalised least-squares solution.

    Returns
    -------
    tuple of ndarray, shape (levels, q)
        One per grouping factor.
    """
    half = np.linalg.solve(at.root, at.B.T).T * np.sqrt(at.scale)  # B Cov(β̂) B' = half half'
    out = []
    for layout, L, own in zip(at.model.structure.layouts, at.lambdas, at.factor.level_covariances):
        moved = np.einsum("cd,ldp->lcp", L, half[layout.start : layout.stop].reshape(layout.levels, layout.size, -1))
        known = at.scale * np.einsum("cd,lde,ce->lc", L, own, L)
        out.append(np.sqrt(known + np.sum(moved**2, axis=2)))
    return tuple(out)
