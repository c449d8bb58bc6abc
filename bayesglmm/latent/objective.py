"""The log marginal likelihood of a problem and its exact gradient, in (β, natural θ, ψ)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.structure import Loadings, Structure, analyse
from bayesglmm.latent.laplace import Gradient, Laplace, gradient
from bayesglmm.latent.mode import Mode, Warm, find_mode
from bayesglmm.latent.quadrature.integral import OneFactor
from bayesglmm.latent.quadrature.nested import NestedFactors
from bayesglmm.latent.quadrature.nodes import Nodes, settle_nodes

if TYPE_CHECKING:
    from bayesglmm.covariance import BlockCovariance
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """The log marginal likelihood at one point.

    Parameters
    ----------
    value : float
        With all constants; −inf when there is no conditional mode.
    beta, theta, psi : ndarray
        Its gradient, θ in natural coordinates; empty when it was not asked for.
    mode : Mode
        The conditional modes there.
    """

    value: float
    beta: Floats
    theta: Floats
    psi: Floats
    mode: Mode


class AtFactors(NamedTuple):
    """The log marginal likelihood at given Λ: −inf without conditional modes, the gradient where it was asked for."""

    value: float
    gradient: Gradient | None
    mode: Mode


@dataclass(frozen=True)
class Objective:
    """A problem made ready for repeated evaluation.

    Rows are sorted by the level of the largest grouping factor: its levels are then contiguous in memory.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Fixed-effects matrix.
    offset : ndarray, shape (n,)
        Known part of η.
    kernel : BoundKernel
        The log-density.
    structure : Structure
        The random part.
    covariance : tuple of BlockCovariance
        One per grouping factor.
    nodes : int or (int, int)
        Quadrature nodes per dimension; 1 is Laplace, a pair is for two nested factors.
    order : ndarray of int64, shape (n,)
        Position in the original data of every row here.
    prune : float
        Share of the quadrature's weight that may be dropped.
    """

    X: Floats
    offset: Floats
    kernel: BoundKernel
    structure: Structure
    covariance: tuple[BlockCovariance, ...]
    nodes: Nodes
    order: Ints
    prune: float = 0.0

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each grouping factor's parameters stand in θ."""
        ends = np.cumsum([0, *(c.n_params for c in self.covariance)])
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))

    @cached_property
    def integral(self) -> Laplace | OneFactor | NestedFactors:
        """How the random effects are integrated out around their modes."""
        if self.nodes == 1:
            return Laplace(self.kernel)
        if isinstance(self.nodes, tuple):
            return NestedFactors(self.structure, self.kernel, self.nodes, self.prune)
        return OneFactor(self.structure, self.kernel, self.nodes, self.prune)

    def loadings(self, theta: Floats) -> Loadings:
        """A = ZΛ(θ)."""
        return self.structure.at(self.lambdas(theta))

    def lambdas(self, theta: Floats) -> tuple[Floats, ...]:
        """Λ of every grouping factor; leading axes of θ are points."""
        return tuple(c.factor(theta[..., s]) for c, s in zip(self.covariance, self.slices))

    def evaluate(
        self, beta: Floats, theta: Floats, psi: Floats, start: Warm | Mode | None = None, *, with_gradient: bool = True
    ) -> Evaluation:
        """Log marginal likelihood (and gradient) at a point.

        Parameters
        ----------
        beta, theta, psi : ndarray
            Coefficients, natural covariance parameters, unconstrained auxiliaries.
        start : Warm or Mode, optional
            Where to start looking for the conditional modes.
        with_gradient : bool
            Whether to compute the gradient.
        """
        at = self.at_factors(beta, self.lambdas(theta), psi, start, with_gradient=with_gradient)
        if at.gradient is None:
            return replace(_nowhere(at.mode), value=at.value)
        g = at.gradient
        g_theta = [c.pullback(theta[s], G) for c, s, G in zip(self.covariance, self.slices, g.lambdas)]
        return Evaluation(at.value, g.beta, np.concatenate([*g_theta, np.empty(0)]), g.psi, at.mode)

    def at_factors(
        self,
        beta: Floats,
        lambdas: Sequence[Floats],
        psi: Floats,
        start: Warm | Mode | None = None,
        *,
        with_gradient: bool = True,
    ) -> AtFactors:
        """Evaluate at given factors Λ, one (q, q) array per grouping factor, whatever θ they come from."""
        fixed = self.offset + self.X @ beta
        with np.errstate(all="ignore"):
            mode = find_mode(self.structure.at(lambdas), self.kernel, fixed, psi, start)
            if not mode.found:
                return AtFactors(-np.inf, None, mode)
            if not with_gradient:
                return AtFactors(self.integral.value(fixed, psi, mode), None, mode)
            sums = self.integral.sums(fixed, psi, mode)
            if not np.isfinite(sums.value):
                return AtFactors(-np.inf, None, mode)
            return AtFactors(sums.value, gradient(self.kernel, psi, self.X, mode, sums), mode)


def _nowhere(mode: Mode) -> Evaluation:
    empty = np.empty(0)
    return Evaluation(-np.inf, empty, empty, empty, mode)


def make_objective(problem: Problem, nodes: Any = 1, kernel: str = "auto", prune: float = 0.0) -> Objective:
    """Sort the rows, analyse the structure, bind the kernel.

    Parameters
    ----------
    problem : Problem
        The model.
    nodes : int or (int, int)
        Quadrature nodes per dimension; for two nested factors also (outer, inner).
    kernel : {"auto", "graph"}
        Which kernel to use.
    prune : float
        Share of the quadrature's weight that may be dropped.

    Raises
    ------
    MethodError
        When `nodes` cannot be used with this model.
    """
    design = problem.design
    order = _row_order(design.blocks)
    bound = problem.kernel(kernel)
    X, offset, blocks = design.X, design.offset, design.blocks
    if order is None:
        order = np.arange(design.nobs)
    else:
        X, offset, bound = X[order], offset[order], bound.subset(order)
        blocks = tuple(replace(b, codes=b.codes[order], z=b.z[order]) for b in blocks)
    structure = analyse(blocks, problem.covariance, design.nobs)
    settled = settle_nodes(structure, nodes, prune)
    return Objective(np.ascontiguousarray(X), offset, bound, structure, problem.covariance, settled, order, prune)


def _row_order(blocks: Sequence) -> Ints | None:
    """A stable order by the largest factor's level, or None when the rows have it."""
    if not blocks:
        return None
    codes = max(blocks, key=lambda b: len(b.levels) * b.z.shape[1]).codes
    return None if np.all(codes[1:] >= codes[:-1]) else np.argsort(codes, kind="stable")
