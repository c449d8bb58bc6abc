"""Adaptive Gauss-Hermite quadrature for two nested grouping factors: the inner integrals at every outer node.

Outer unit j has effects u ~ N(0, I), its inner units k effects v_k. With F(u) = −½u'u + Σ_k log ∫ exp h_k(v; u) dv
(densities of the normals included) the unit contributes log|C| + log Σ_a w_a exp(F(û + C x_a) + ½x_a'x_a), where û
belongs to the joint mode (û, v̂) and CC' is the inverse of the Schur complement S = H_uu − H_uv H_vv⁻¹ H_vu there. Every
inner integral is a quadrature of its own around the conditional mode v̂_k(u_a) and its own information: Pinheiro &
Chao (2006), J. Comput. Graph. Statist. 15, section 3; Rabe-Hesketh, Skrondal & Pickles (2005), J. Econometrics 128.

With one node at both levels this is F at û: h(û, v̂) − ½log|H_vv| − ½log|S| = h − ½log|H|, the Laplace approximation of
all effects together, identically.

The gradient: F's own, in each row's η and loadings, is that of a one-factor quadrature; the outer nodes move with û
and S. As S = [I −B] H [I −B]' with B = H_uv H_vv⁻¹, a row with loadings (a, c) and weight w enters it as w ã ã' with
ã = a − Bc, and (at that B, stationary) so do its derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination import blocks
from bayesglmm.latent.elimination.structure import Loadings
from bayesglmm.latent.laplace import row_gradient
from bayesglmm.latent.mode import Mode, Warm, find_mode
from bayesglmm.latent.nesting import nesting
from bayesglmm.latent.quadrature.grid import Grid, grid
from bayesglmm.latent.quadrature.integral import Sums, information_gradient
from bayesglmm.latent.quadrature.nested_layout import Portion, make_portions

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.elimination.structure import Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NestedFactors:
    """The integral over the effects of two nested grouping factors, outer unit by outer unit.

    Parameters
    ----------
    structure : Structure
        The random part, two grouping factors of which one is nested in the other; rows in any order.
    kernel : BoundKernel
        The log-density.
    nodes : (int, int)
        Nodes per dimension, outer and inner.
    prune : float
        Share of their weight that may be dropped.
    """

    structure: Structure
    kernel: BoundKernel
    nodes: tuple[int, int]
    prune: float = 0.0

    @cached_property
    def factors(self) -> tuple[int, int]:
        """Which grouping factor is the outer and which the inner one."""
        order = nesting(self.structure.layouts)
        assert order is not None
        return order

    @cached_property
    def grid(self) -> Grid:
        """Nodes of an outer unit."""
        return grid(self.nodes[0], self.structure.layouts[self.factors[0]].size, self.prune)

    @cached_property
    def portions(self) -> tuple[Portion, ...]:
        """Outer units in portions that are evaluated together."""
        outer, inner = (self.structure.layouts[k] for k in self.factors)
        return make_portions(outer, inner, self.kernel, len(self.grid), self.nodes[1], self.prune)

    def value(self, fixed: Floats, psi: Floats, mode: Mode) -> float:
        """Log marginal likelihood; −∞ where some inner effects have no mode."""
        total = 0.0
        for portion in self.portions:
            at = _at_outer_nodes(self, portion, fixed, psi, mode)
            if at is None:
                return -np.inf
            f = portion.integral.levels(at.fixed, psi, at.inner)
            total += float(_weigh(at, f)[1].sum())
        return total

    def sums(self, fixed: Floats, psi: Floats, mode: Mode) -> Sums:
        """Value and the sums the gradient needs; the value is −∞ where some inner effects have no mode."""
        structure, n_aux = self.structure, self.kernel.n_aux
        outer, inner = (structure.layouts[k] for k in self.factors)
        score, curvature = np.empty(structure.n), np.empty(structure.n)
        loaded = {k: np.empty((structure.n, structure.layouts[k].size)) for k in self.factors}
        direction, pull = np.empty((structure.n, structure.width)), np.zeros(structure.m)
        aux, value = np.empty((n_aux, structure.n)), 0.0
        for portion in self.portions:
            at = _at_outer_nodes(self, portion, fixed, psi, mode)
            if at is None:
                value = -np.inf
                break
            part = _sums(at, psi)
            rows = portion.rows
            value += part.value
            score[rows], curvature[rows], aux[:, rows] = part.score, part.curvature, part.aux
            for k, own in zip(self.factors, part.loaded):
                loaded[k][rows] = own
            direction[rows, outer.column : outer.column + outer.size] = part.direction[:, : outer.size]
            direction[rows, inner.column : inner.column + inner.size] = part.direction[:, outer.size :]
            pull[outer.start : outer.stop].reshape(-1, outer.size)[portion.outer] = part.pull.reshape(-1, outer.size)
        return Sums(value, score, tuple(loaded[k] for k in sorted(loaded)), curvature, direction, pull, aux)


@dataclass(frozen=True)
class _AtNodes:
    """All outer nodes of a portion: where they are, and the conditional modes of the inner effects there.

    Parameters
    ----------
    portion : Portion
        The outer units.
    grid : Grid
        Their nodes.
    a, c : ndarray, shape (rows, q)
        Loadings of the outer and the inner effects.
    C, B : ndarray, shape (q, q, outer units), (q_outer, q_inner, inner units)
        CC' = S⁻¹, and H_uv H_vv⁻¹.
    u : ndarray, shape (nodes, q, outer units)
        The nodes.
    fixed : ndarray, shape (nodes × rows,)
        The part of η that is fixed for the inner integrals.
    inner : Mode
        Conditional modes of the inner effects of all nodes.
    dead : ndarray of bool, shape (nodes, outer units), or None
        Nodes outside the range of η: they have weight zero, and are evaluated at the mode instead.
    """

    portion: Portion
    grid: Grid
    a: Floats
    c: Floats
    C: Floats
    B: Floats
    u: Floats
    fixed: Floats
    inner: Mode
    dead: NDArray[np.bool_] | None


def _at_outer_nodes(
    integral: NestedFactors, portion: Portion, fixed: Floats, psi: Floats, mode: Mode
) -> _AtNodes | None:
    """Place the outer nodes and find the inner modes at them; None where there are none."""
    factor = mode.factor
    assert factor is not None
    outer, inner = (integral.structure.layouts[k] for k in integral.factors)
    rows = portion.rows
    a, c = (factor.loadings.rows[k][rows] for k in integral.factors)
    C, B = _spread(portion, a, c, -mode.derivatives.d2[rows])
    u_hat = mode.u[outer.start : outer.stop].reshape(-1, outer.size)[portion.outer].T
    v_hat = mode.u[inner.start : inner.stop].reshape(-1, inner.size)[portion.inner].T
    away = np.einsum("rsl,ks->krl", C, integral.grid.nodes)
    start = v_hat - np.einsum("rsm,krm->ksm", B, away[:, :, portion.inner_outer])
    dead = None
    for _ in range(2):
        shifted = fixed[rows] + _times(a, u_hat + away, portion.outer_codes)
        own = shifted.ravel()
        loadings = Loadings(portion.structure, (np.tile(c, (len(integral.grid), 1)),))
        found = find_mode(loadings, portion.kernel, own, psi, Warm(np.moveaxis(start, 1, 2).ravel()))
        if found.found:
            return _AtNodes(portion, integral.grid, a, c, C, B, u_hat + away, own, found, dead)
        eta = shifted + _times(c, start, portion.inner_codes)
        values = portion.kernel.derivatives(eta.ravel(), psi).value.reshape(eta.shape)
        dead = ~np.isfinite(portion.by_outer(portion.by_inner(values)))
        away = np.where(dead[:, None], 0.0, away)
        start = np.where(dead[:, None, portion.inner_outer], v_hat, start)
        if not dead.any():
            return None
    return None


def _times(loadings: Floats, effects: Floats, codes: Ints) -> Floats:
    """Each row's loadings times its level's effects, shape (nodes, rows); `effects` (nodes, q, levels)."""
    out = np.zeros((len(effects), len(codes)))
    for r in range(loadings.shape[1]):
        out += loadings[:, r] * effects[:, r].take(codes, axis=-1)
    return out


def _spread(portion: Portion, a: Floats, c: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """C with CC' = S⁻¹, and B = H_uv H_vv⁻¹, from the joint information at the mode."""
    q, p = a.shape[1], c.shape[1]
    vv = np.stack([[portion.by_inner(weights * c[:, r] * c[:, s]) for s in range(p)] for r in range(p)])
    uv = np.stack([[portion.by_inner(weights * a[:, r] * c[:, s]) for s in range(p)] for r in range(q)])
    uu = np.stack([[portion.by_inner(weights * a[:, r] * a[:, s]) for s in range(q)] for r in range(q)])
    vv[np.arange(p), np.arange(p)] += 1.0
    L = blocks.cholesky(vv)
    B = np.moveaxis(blocks.backward(L, blocks.forward(L, np.moveaxis(uv, 0, 2))), 2, 0)
    S = portion.by_outer(uu - np.einsum("rsm,tsm->rtm", B, uv))
    S[np.arange(q), np.arange(q)] += 1.0
    eye = np.broadcast_to(np.eye(q)[:, None, :], (q, S.shape[2], q))
    return np.moveaxis(blocks.backward(blocks.cholesky(S), eye), 2, 1), B


def _weigh(at: _AtNodes, inner: Floats) -> tuple[Floats, Floats]:
    """Posterior weights of the nodes, shape (nodes, outer units), and the log of every outer unit's integral.

    `inner` holds the logs of the inner integrals, node by node.
    """
    by_outer = at.portion.by_outer(inner.reshape(len(at.grid), -1))
    log_weights = at.grid.log_weights + 0.5 * np.sum(at.grid.nodes**2, axis=1)
    terms = by_outer - 0.5 * np.einsum("krl,krl->kl", at.u, at.u) + log_weights[:, None]
    if at.dead is not None:
        terms[at.dead] = -np.inf
    top = terms.max(axis=0)
    weights = np.exp(terms - top)
    total = weights.sum(axis=0)
    return weights / total, top + np.log(total) + np.log(np.einsum("rrl->rl", at.C)).sum(axis=0)


def _sums(at: _AtNodes, psi: Floats) -> Sums:
    """The sums of a portion's rows; columns of the outer factor first."""
    portion, nodes = at.portion, len(at.grid)
    sums, inner = portion.integral.sums_by_level(at.fixed, psi, at.inner)
    weights, values = _weigh(at, inner)
    row_weights = weights.take(portion.outer_codes, axis=1)
    rows = row_gradient(portion.kernel, psi, at.inner, sums)
    t = rows.eta.reshape(nodes, -1)
    weighted = row_weights * t
    q = at.a.shape[1]
    # ∇F at every outer node: only its weighted sums over nodes are needed.
    gradient = np.stack([portion.by_outer(portion.by_inner(at.a[:, r] * t)) for r in range(q)], axis=1) - at.u
    gradient *= weights[:, None]
    gamma = information_gradient(np.einsum("krl,ks->rsl", gradient, at.grid.nodes), at.C)
    B = at.B[:, :, portion.inner_codes]
    left = at.a - np.einsum("rsn,ns->nr", B, at.c)
    to_outer = -2.0 * np.einsum("rsn,ns->nr", gamma[:, :, portion.outer_codes], left)
    to_inner = -np.einsum("rsn,nr->ns", B, to_outer)
    return Sums(
        float(values.sum()),
        weighted.sum(axis=0),
        (
            np.stack(
                [np.sum(weighted * at.u[:, r].take(portion.outer_codes, axis=1), axis=0) for r in range(q)], axis=1
            ),
            np.einsum("kn,kns->ns", row_weights, rows.loadings[0].reshape(*t.shape, -1)),
        ),
        0.5 * np.einsum("nr,nr->n", to_outer, left),
        np.concatenate([to_outer, to_inner], axis=1),
        gradient.sum(axis=0).T.ravel(),
        np.einsum("kn,akn->an", row_weights, rows.psi.reshape(len(rows.psi), *t.shape)),
    )
