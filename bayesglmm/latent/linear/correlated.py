"""Linear mixed models whose errors go together within groups: whitened rows, and the gradient in the correlation.

Var(y | b) = σ²W^-½RW^-½ with R = LL' block-diagonal over groups. L⁻¹W^½ turns y, X and Z into the rows of an ordinary
linear mixed model with unit weights; where a group's rows share the level of every grouping factor the pattern of Z
stays, so all of :mod:`bayesglmm.latent.linear.criterion` serves. With * for whitened rows and ∂ for the derivative of
L⁻¹W^½ in a parameter of R, everything else held:

    ∂ log|V₀|        = ∂ log|R| + 2 Σ_i G_i'(Λ'∂z_i)          G_i = H⁻¹a*_i
    ∂ log|X'V₀⁻¹X|   = 2 tr S⁻¹R*'(∂Q − ∂A B)                 S = Q'V₀⁻¹Q, R* = Q* − A*B
    ∂ r²             = 2 e*'∂(y − Xβ̂ − Aû)                    (envelope theorem)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import BlockCovariance, RowErrors
from bayesglmm.errors import DataError, MethodError
from bayesglmm.latent.elimination.structure import Structure
from bayesglmm.latent.linear.criterion import LinearModel
from bayesglmm.latent.linear.solution import right_solve

if TYPE_CHECKING:
    from bayesglmm.latent.linear.solution import Solution

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CorrelatedRows:
    """Rows as they were given but for the weights, and how their errors go together.

    Parameters
    ----------
    errors : RowErrors
        The structure of R.
    structure : Structure
        The random part, columns multiplied by √w.
    X, y : ndarray, shape (n, p) and (n,)
        Multiplied by √w.
    log_weights : float
        Σ log w.
    at : ndarray, shape (k,)
        The parameters of R the model is whitened with.
    """

    errors: RowErrors
    structure: Structure
    X: Floats
    y: Floats
    log_weights: float
    at: Floats

    @property
    def log_det(self) -> float:
        """log|W^-½RW^-½|."""
        return self.errors.log_det(self.at) - self.log_weights

    def model(self, like: LinearModel, at: Floats) -> LinearModel:
        """The whitened model at other parameters of R."""
        there = replace(self, at=np.array(at))
        white = self.errors.whiten
        if not np.isfinite(there.log_det):
            raise np.linalg.LinAlgError("the errors' correlation is singular")
        structure = self.structure.with_columns([white(at, b.z) for b in self.structure.layouts])
        return replace(like, structure=structure, X=white(at, self.X), y=white(at, self.y), rows=there)

    def determinant_slopes(self, s: Solution) -> Floats:
        """The part of the criterion's gradient that comes from its determinants, shape (k,)."""
        out = np.array(self.errors.log_det_slopes(self.at))
        loadings = self.structure.at(s.lambdas)
        slopes = [self.errors.whiten_slopes(self.at, rows) for rows in loadings.rows]
        for b, parts in zip(self.structure.layouts, slopes):
            own = s.factor.row_inverse[:, b.column : b.column + b.size]
            out += [2.0 * float(np.sum(own * part)) for part in parts]
        if s.model.reml:
            left = right_solve(s.R, s.root)
            Q = np.linalg.solve(s.model.basis.T.T, self.X.T).T
            raw = right_solve(Q - loadings.expand(s.B), s.root)
            out += [2.0 * float(np.sum(left * part)) for part in self.errors.whiten_slopes(self.at, raw)]
        return out

    def fit_slopes(self, s: Solution) -> Floats:
        """The part that comes from r²/σ², shape (k,)."""
        raw = self.y - self.X @ s.beta - self.structure.at(s.lambdas).expand(s.u)
        slopes = self.errors.whiten_slopes(self.at, raw)
        return np.array([2.0 * float(s.residual @ part) / s.scale for part in slopes])


def correlated_model(
    errors: RowErrors,
    structure: Structure,
    covariance: tuple[BlockCovariance, ...],
    X: Floats,
    y: Floats,
    weights: Floats,
    *,
    reml: bool,
    scale: float | None,
) -> LinearModel:
    """A linear mixed model with errors that go together, whitened where a search starts.

    Raises
    ------
    MethodError
        Errors that go together across levels of a grouping factor.
    DataError
        A weight of zero.
    """
    if not all(errors.within(b.codes) for b in structure.layouts):
        raise MethodError(
            f"errors ({errors.label}) go together across the levels of a grouping factor of the random effects. Each "
            "group of errors has to lie within one level of every ( … | g)."
        )
    if not np.all(weights > 0.0):
        raise DataError("a weight is zero: with errors that go together every weight has to be positive. Drop the row.")
    root = np.sqrt(weights)
    scaled = structure.with_columns([root[:, None] * b.z for b in structure.layouts])
    rows = CorrelatedRows(errors, scaled, root[:, None] * X, root * y, float(np.log(weights).sum()), errors.start)
    like = LinearModel(structure, covariance, X, y, np.ones(len(y)), reml, scale, rows)
    return rows.model(like, errors.start)
