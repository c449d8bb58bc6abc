"""What a working correlation is: moments to parameters, and R⁻¹ times many right-hand sides."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import refused
from bayesglmm.errors import MethodError
from bayesglmm.scores.clusters import Clusters

Floats = NDArray[np.float64]

CONVENTIONS = ("geepack", "gee")


class WorkingCorrelation:
    """A family of working correlations R(α), one matrix per cluster.

    To bring one of your own, subclass it and write :meth:`update` and :meth:`solve`; then give an instance as
    ``corr=``. Rows reach you sorted by cluster and time; ``self.clusters`` says where each cluster starts
    (:class:`~bayesglmm.scores.clusters.Clusters`).

    Parameters
    ----------
    convention : {"geepack", "gee"}
        Whose moment estimators the built-in correlations follow (see each of them).

    Examples
    --------
    Exchangeable with a correlation that is known (``class Known(bg.WorkingCorrelation)`` to a user):

    >>> import numpy as np
    >>> class Known(WorkingCorrelation):
    ...     name = "known"
    ...     def update(self, residuals, scale, n_coefficients):
    ...         return np.array([0.3])
    ...     def solve(self, params, rhs):
    ...         c = self.clusters
    ...         share = 0.3 / (1 + (c.sizes - 1) * 0.3)
    ...         return (rhs - c.spread(share * c.totals(rhs))) / 0.7
    """

    name = "working correlation"
    #: Number of parameters is fixed and `alpha=` can hold them; False for a correlation that has none.
    estimated = True
    #: Whether it depends on the order of the rows in time.
    ordered = False
    clusters: Clusters

    def __init__(self, convention: str = "geepack") -> None:
        if not isinstance(convention, str):
            raise refused("convention", convention, "a word")
        self.convention = convention

    def bind(self, clusters: Clusters) -> Self:
        """A copy bound to clusters; override to prepare index arrays once."""
        bound = copy.copy(self)
        bound.clusters = clusters
        return bound

    def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
        """Parameters from the residuals.

        Parameters
        ----------
        residuals : ndarray, shape (n,)
            Pearson residuals √w (y − μ) / √V(μ) of the sorted rows; their variance is φ.
        scale : float
            The current φ.
        n_coefficients : int
            p, for corrections of degrees of freedom.

        Returns
        -------
        ndarray, shape (q,)
        """
        raise MethodError(f"the working correlation {self.name} has no update(residuals, scale, n_coefficients).")

    def solve(self, params: Floats, rhs: Floats) -> Floats:
        """R(α)⁻¹ times right-hand sides over sorted rows, shape (k, n) → (k, n)."""
        raise MethodError(f"the working correlation {self.name} has no solve(params, rhs).")

    def gram(self, params: Floats, B: Floats) -> Floats:
        """Σ_g B_g' R_g⁻¹ B_g, shape (p, p), for B of shape (p, n)."""
        G = B @ self.solve(params, B).T
        return 0.5 * (G + G.T)

    def objection(self, params: Floats) -> str | None:
        """Why R(α) is not a positive definite correlation for these clusters, or None."""
        return None if np.isfinite(params).all() else "it is not a finite number"

    def logdet(self, params: Floats) -> Floats:
        """Log-determinant of R for every cluster, shape (K,)."""
        raise MethodError(f"the working correlation {self.name} states no logdet(params).")

    def matrix(self, params: Floats) -> Floats | None:
        """R over all occasions, for printing; None where there is no one matrix."""
        return None

    def labels(self, params: Floats) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(f"alpha[{k + 1}]" for k in range(len(params))) if len(params) > 1 else ("alpha",) * len(params)


def pairs_denominator(pairs: float, n_coefficients: int, convention: str, what: str) -> float:
    """Number of pairs, less p by the convention of ``gee``.

    Raises
    ------
    MethodError
        Nothing is left to divide by.
    """
    left = pairs - (n_coefficients if convention == "gee" else 0)
    if not left > 0:
        raise MethodError(
            f"{what} has {pairs:g} pairs of rows and {n_coefficients} coefficients to pay for by the convention of "
            "gee; take convention='geepack' or corr='independence'."
        )
    return left
