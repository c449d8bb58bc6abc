"""A kernel whose auxiliaries have linear predictors: dispersion models and zero inflation by formula."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, BoundKernel, Derivatives

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModelledKernel:
    """A :class:`~bayesglmm.families.base.BoundKernel` in the coefficients γ of its auxiliaries, ψ_j = X_j γ_j.

    Parameters
    ----------
    inner : BoundKernel
        In ψ, one value per row.
    designs : tuple of ndarray, shape (n, k_j), or None
        One per auxiliary; None for one that is a single number for all rows.
    """

    inner: BoundKernel
    designs: tuple[Floats | None, ...]

    @property
    def n_aux(self) -> int:
        """Number of coefficients, all auxiliaries together."""
        return sum(1 if X is None else X.shape[1] for X in self.designs)

    def expand(self, gamma: Floats) -> Floats:
        """ψ of every row, shape (n_aux of the inner kernel, n)."""
        return expand_rows(self.designs, gamma)

    def derivatives(self, eta: Floats, psi: Floats) -> Derivatives:
        """Value and three η-derivatives, each of η's shape."""
        return self.inner.derivatives(eta, self.expand(psi))

    def aux_derivatives(self, eta: Floats, psi: Floats) -> AuxDerivatives:
        """Derivatives in the coefficients of value, d1 and d2, each shape (n_aux, *η.shape)."""
        rows = self.inner.aux_derivatives(eta, self.expand(psi))
        return AuxDerivatives(*(self._pull(part) for part in rows))

    def expected_weight(self, eta: Floats, psi: Floats) -> Floats:
        """Fisher information in η, of η's shape."""
        return self.inner.expected_weight(eta, self.expand(psi))

    def subset(self, rows: NDArray[np.int64]) -> ModelledKernel:
        """The same kernel on some of the rows."""
        kept = tuple(None if X is None else np.ascontiguousarray(X[rows]) for X in self.designs)
        return replace(self, inner=self.inner.subset(rows), designs=kept)

    def _pull(self, by_row: Floats) -> Floats:
        """From derivatives in ψ_j of a row to those in γ_j: times the row of X_j."""
        out = np.empty((self.n_aux, *by_row.shape[1:]))
        start = 0
        for values, X in zip(by_row, self.designs):
            for column in (np.ones(1),) if X is None else X.T:
                np.multiply(values, column, out=out[start])
                start += 1
        return out


def expand_rows(designs: tuple[Floats | None, ...], gamma: Floats) -> Floats:
    """ψ_j = X_j γ_j of every row.

    Parameters
    ----------
    designs : tuple of ndarray, shape (n, k_j), or None
        One per auxiliary; at least one is not None.
    gamma : ndarray, shape (..., Σ k_j)
        Coefficients (one number where there is no design); leading axes are draws.

    Returns
    -------
    ndarray, shape (n_aux, ..., n)
    """
    n = next(len(X) for X in designs if X is not None)
    out = np.empty((len(designs), *gamma.shape[:-1], n))
    start = 0
    for row, X in zip(out, designs):
        size = 1 if X is None else X.shape[1]
        own = gamma[..., start : start + size]
        row[...] = own if X is None else own @ X.T
        start += size
    return out
