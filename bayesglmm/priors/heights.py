"""The prior density of several parameters that are independent, but for lines whose height at the means has a prior.

A line β₀ + Σ_j x_j β_j whose Intercept has a prior "at the columns' means" has a height γ₀ = β₀ + Σ_j x̄_j β_j that is
independent of the slopes. In γ = Aβ, A the identity with x̄ in the Intercept's row and |A| = 1, every parameter has its
own univariate density, so that with p = Π p_k(γ_k)

    ∇ log p(β) = A' (log p_k)'(γ),        ∂² log p(β) = A' diag((log p_k)''(γ)) A,

and the density of the Intercept is that given the slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.priors.prior import Batch, Prior, batches, evaluate, evaluate_bend

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Height:
    """A line whose height at the means of its columns has the prior that its Intercept is listed with.

    Parameters
    ----------
    index : int
        Which parameter is the Intercept.
    means : tuple of float
        Per parameter the mean of its column; zero for the Intercept and for parameters of other lines.
    """

    index: int
    means: tuple[float, ...]

    def among(self, start: int, count: int) -> Height:
        """The same where the line's parameters are those from `start` on of `count`."""
        after = count - start - len(self.means)
        return Height(start + self.index, (0.0,) * start + self.means + (0.0,) * after)


def heights_of(columns: Sequence[str], priors: Sequence[Prior], X: Floats) -> tuple[Height, ...]:
    """The heights that priors of a line's coefficients are stated at: one, or none."""
    means = np.where(np.array(columns) == "Intercept", 0.0, X.mean(axis=0)) if len(X) else np.zeros(len(columns))
    return tuple(Height(k, tuple(means.tolist())) for k, prior in enumerate(priors) if prior.at == "means")


@dataclass(frozen=True)
class Density:
    """Prior log-density of several parameters.

    Parameters
    ----------
    parts : tuple of Batch
        Univariate densities, of the parameters themselves or of heights.
    heights : tuple of Height
        Which are of heights.
    """

    parts: tuple[Batch, ...]
    heights: tuple[Height, ...] = ()

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """Log-densities, one per parameter, of `x`, shape (..., k), and the gradient of their sum."""
        if not self.heights:
            return evaluate(self.parts, x)
        value, slope = evaluate(self.parts, self.expand(x))
        return value, self.collect(slope)

    def bends(self, x: Floats) -> tuple[Floats, Floats]:
        """Second and third derivatives of the univariate log-densities in γ = Aβ, at parameters `x`, shape (k,).

        Raises
        ------
        SpecError
            For a distribution whose log-density is not smooth.
        """
        return evaluate_bend(self.parts, self.expand(x))

    def expand(self, x: Floats) -> Floats:
        """Heights in place of Intercepts: Aβ for `x` of shape (..., k)."""
        if not self.heights:
            return x
        out = np.array(x, dtype=float)
        for h in self.heights:
            out[..., h.index] += x @ np.array(h.means)
        return out

    def contract(self, gamma: Floats) -> Floats:
        """Intercepts in place of heights: A⁻¹γ."""
        out = np.array(gamma, dtype=float)
        for h in self.heights:
            out[..., h.index] -= gamma @ np.array(h.means)
        return out

    def collect(self, v: Floats) -> Floats:
        """A'v, for `v` of shape (..., k): a gradient in γ becomes that in β."""
        out = v
        for h in self.heights:
            out = out + v[..., h.index, None] * np.array(h.means)
        return out

    def matrix(self, diagonal: Floats) -> Floats:
        """A' diag(d) A, shape (k, k): curvatures in γ become those in β."""
        out = np.diag(diagonal)
        for h in self.heights:
            row = np.array(h.means)
            row[h.index] = 1.0
            own = diagonal[h.index] * np.outer(row, row)
            own[h.index, h.index] = 0.0
            out += own
        return out


def density_of(priors: Sequence[Prior], heights: tuple[Height, ...] = ()) -> Density:
    """The density of parameters with the given univariate priors, some of them at heights."""
    return Density(batches(priors), heights)
