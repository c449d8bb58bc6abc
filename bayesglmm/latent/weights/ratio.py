"""Ratios of a unit's joint density to the Gaussian around its mode; see :mod:`bayesglmm.latent.weights.conditional`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.kernels.bound import log_density
from bayesglmm.latent.copies import Copies, log_pivots
from bayesglmm.latent.quadrature.grid import grid

if TYPE_CHECKING:
    from bayesglmm.latent.mode import Mode

Floats = NDArray[np.float64]


def log_mean(ratios: Floats) -> Floats:
    """Log of the mean of exp over the first axis."""
    top = ratios.max(axis=0)
    return top + np.log(np.exp(ratios - top).mean(axis=0))


class Ratio:
    """r_j(û + Cz) of every unit as a function of z, for copies with modes."""

    def __init__(self, copies: Copies, mode: Mode, fixed: Floats, psi: Floats) -> None:
        assert mode.factor is not None
        self.copies, self.u, self.factor, self.fixed, self.psi = copies, mode.u, mode.factor, fixed, psi
        self.pivots = log_pivots(mode.factor)
        self.base = 0.5 * copies.objective.structure.log_det_prior

    def at(self, z: Floats, move: Floats) -> tuple[Floats, Floats]:
        """Ratios, shape (copies, units), and u, shape (copies · m,), at noise z with Cz = `move`."""
        u = self.u + move
        eta = self.fixed + self.factor.loadings.expand(u)
        with np.errstate(all="ignore"):
            value = log_density(self.copies.kernel, eta, self.psi)
        # Beyond the range of η the density is zero; a number as small as this keeps differences finite.
        value = np.where(np.isfinite(value), value, -1e300)
        pull = self.copies.structure.penalty(u)
        return self.copies.by_unit(value, 0.5 * (z * z - u * pull - self.pivots)) + self.base, u

    def candidates(self, z: Floats, *, antithetic: bool) -> tuple[Floats, Floats]:
        """Ratios, shape (candidates, copies, units), and the draws, shape (candidates, copies, m)."""
        ratios, draws = [], []
        for noise in map(self.copies.scatter, z):
            move = self.factor.half_solve(noise)
            for sign in (1.0, -1.0) if antithetic else (1.0,):
                r, u = self.at(noise, sign * move)
                ratios.append(r)
                draws.append(self.copies.gather(u))
        return np.stack(ratios), np.stack(draws)

    def quadrature(self, nodes: int) -> Floats:
        """Log integral of every unit by adaptive Gauss-Hermite quadrature, for a single factor: log Σ_k w_k exp r_j."""
        (layout,) = self.copies.structure.layouts
        product = grid(nodes, layout.size)
        count = self.copies.count
        ratios = np.empty((len(product.nodes), count, self.copies.units.count // count))
        for k, node in enumerate(product.nodes):
            z = np.tile(node, layout.levels)
            ratios[k] = self.at(z, self.factor.half_solve(z))[0] + product.log_weights[k]
        return log_mean(ratios) + np.log(len(ratios))
