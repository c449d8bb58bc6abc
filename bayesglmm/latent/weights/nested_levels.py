"""Grouping factors within one another: H at many parameter vectors at once, eliminated level by level.

Where every factor has one column and each level of a factor lies within one level of the next, a level of the finest
factor meets one level of every other. Eliminating it touches the entries of those alone, so that H never fills: all
levels of a factor, at all parameter vectors, are eliminated by the same few array operations.

Arrays have one row per data row or level and one column per parameter vector. Unknowns are lists of arrays, one per
factor, from the finest to the coarsest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.nesting import lies_within

if TYPE_CHECKING:
    from bayesglmm.latent.elimination.structure import Layout, Structure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: One array per factor, or per pair of a factor and one that is no finer, by their positions.
PerFactor = list[Floats]
PerPair = dict[tuple[int, int], Floats]


@dataclass(frozen=True)
class Levels:
    """Grouping factors from the finest to the coarsest.

    Parameters
    ----------
    layouts : tuple of Layout
        The factors.
    order : tuple of int
        Where each stands among the model's factors.
    rows : tuple of scipy sparse array, shape (levels, n)
        Sums over the rows of every level.
    up : dict
        (k, a), k finer than a → level of factor a that each level of factor k lies in.
    into : dict
        (k, a) → sums over the levels of factor k within every level of factor a, scipy sparse.
    plain : bool
        Whether all columns z are ones.
    """

    layouts: tuple[Layout, ...]
    order: tuple[int, ...]
    rows: tuple[Any, ...]
    up: dict[tuple[int, int], Ints]
    into: dict[tuple[int, int], Any]
    plain: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Positions (k, a) with k at most a."""
        count = len(self.layouts)
        return [(k, a) for k in range(count) for a in range(k, count)]

    @property
    def units(self) -> list[Ints]:
        """The coarsest factor's level that the levels of each factor lie in."""
        last = len(self.layouts) - 1
        return [*(self.up[k, last] for k in range(last)), np.arange(self.layouts[last].levels)]

    def expand(self, effects: Sequence[Floats]) -> Floats:
        """Σ z b of every row, shape (n, points), of effects b by level."""
        if self.plain:
            return self.spread(self.to_finest(effects))
        return np.sum([b.z * own.take(b.codes, axis=0) for b, own in zip(self.layouts, effects)], axis=0)

    def to_finest(self, effects: Sequence[Floats]) -> Floats:
        """Sums of effects along the levels that each level of the finest factor lies in."""
        total = effects[-1]
        for k in range(len(self.layouts) - 2, -1, -1):
            total = effects[k] + total.take(self.up[k, k + 1], axis=0)
        return total

    def spread(self, values: Floats) -> Floats:
        """Values by level of the finest factor, row by row."""
        return values.take(self.layouts[0].codes, axis=0)

    def collect(self, values: Floats) -> PerFactor:
        """Σ z v over the rows of every level."""
        if not self.plain:
            return [rows @ (b.z * values) for b, rows in zip(self.layouts, self.rows)]
        out = [self.rows[0] @ values]
        for k in range(len(self.layouts) - 1):
            out.append(self.into[k, k + 1] @ out[-1])
        return out

    def collect_pairs(self, weights: Floats) -> PerPair:
        """Σ w z_k z_a over the rows of every level of factor k."""
        if self.plain:
            own = self.collect(weights)
            return {(k, a): own[k] for k, a in self.pairs}
        z = [b.z for b in self.layouts]
        return {(k, a): self.rows[k] @ (z[k] * z[a] * weights) for k, a in self.pairs}

    def to_unit(self, values: Sequence[Floats]) -> Floats:
        """Sums of values by level over every level of the coarsest factor."""
        return sum((self.up_to_unit(k, own) for k, own in enumerate(values[:-1])), start=values[-1])

    def up_to_unit(self, k: int, values: Floats) -> Floats:
        """The same of values by level of factor k alone."""
        last = len(self.layouts) - 1
        return values if k == last else self.into[k, last] @ values

    def split(self, u: Floats) -> PerFactor:
        """Unknowns in the model's order, shape (m, points), by factor."""
        return [u[b.start : b.stop] for b in self.layouts]

    def join(self, parts: Sequence[Floats]) -> Floats:
        """The inverse of :meth:`split`."""
        return np.concatenate([parts[k] for k in np.argsort(self.order)])

    def eliminate(self, sums: PerPair, scales: Sequence[Floats]) -> Eliminated:
        """Factorise H = Λ'Z'WZΛ + I.

        Parameters
        ----------
        sums : dict
            Z'WZ, from :meth:`collect_pairs`.
        scales : sequence of ndarray, shape (points,)
            Λ of every factor.
        """
        H = {(k, a): sums[k, a] * (scales[k] * scales[a]) for k, a in self.pairs}
        ratios: PerPair = {}
        for k in range(len(self.layouts)):
            H[k, k] = H[k, k] + 1.0
        for k, a in self.pairs:
            if a == k:
                continue
            ratios[k, a] = H[k, a] / H[k, k]
            for b in range(a, len(self.layouts)):
                H[a, b] = H[a, b] - self.into[k, a] @ (ratios[k, a] * H[k, b])
        return Eliminated(self, [H[k, k] for k in range(len(self.layouts))], ratios)


@dataclass(frozen=True)
class Eliminated:
    """H = L D L' at many parameter vectors.

    Parameters
    ----------
    levels : Levels
        The pattern.
    pivots : list of ndarray, shape (levels, points)
        D; positive where H is positive definite.
    ratios : dict
        (k, a) → entries of L, shape (levels of k, points).
    """

    levels: Levels
    pivots: PerFactor
    ratios: PerPair

    @property
    def definite(self) -> NDArray[np.bool_]:
        """At which parameter vectors H is positive definite, shape (points,)."""
        # NaN pivots are not.
        return np.all([(own > 0.0).all(axis=0) & np.isfinite(own).all(axis=0) for own in self.pivots], axis=0)

    @cached_property
    def sds(self) -> PerFactor:
        """Standard deviations of the unknowns given those of coarser factors."""
        return [1.0 / np.sqrt(pivot) for pivot in self.pivots]

    def take(self, points: NDArray[np.bool_]) -> Eliminated:
        """At some of the parameter vectors."""
        ratios = {key: own[:, points] for key, own in self.ratios.items()}
        return Eliminated(self.levels, [own[:, points] for own in self.pivots], ratios)

    def put(self, points: Ints, other: Eliminated) -> None:
        """Take what another one holds, at some of the parameter vectors."""
        for own, new in zip(self.pivots, other.pivots):
            own[:, points] = new
        for key, own in self.ratios.items():
            own[:, points] = other.ratios[key]

    def solve(self, rhs: Sequence[Floats]) -> PerFactor:
        """H⁻¹ rhs."""
        out = list(rhs)
        for k, a in self.ratios:
            out[a] = out[a] - self.levels.into[k, a] @ (self.ratios[k, a] * out[k])
        return self._upper([own / pivot for own, pivot in zip(out, self.pivots)])

    def half_solve(self, noise: Sequence[Floats]) -> PerFactor:
        """C z with CC' = H⁻¹."""
        return self._upper([z * sd for z, sd in zip(noise, self.sds)])

    def _upper(self, out: PerFactor) -> PerFactor:
        """Solve L'u = out, in place of the list's entries."""
        for k, a in reversed(self.ratios):
            out[k] = out[k] - self.ratios[k, a] * out[a].take(self.levels.up[k, a], axis=0)
        return out


def find_levels(structure: Structure) -> Levels | None:
    """Order the factors from the finest to the coarsest; None where they are not nested, or have more columns than one.

    Parameters
    ----------
    structure : Structure
        Of the model.
    """
    layouts = structure.layouts
    if not layouts or any(b.size != 1 or b.precision is not None for b in layouts):
        return None
    order = sorted(range(len(layouts)), key=lambda k: -layouts[k].levels)
    ordered = tuple(layouts[k] for k in order)
    if any(not lies_within(one.codes, other.codes) for one, other in itertools.pairwise(ordered)):
        return None
    up = {}
    for k, one in enumerate(ordered[:-1]):
        if np.bincount(one.codes, minlength=one.levels).min() == 0:  # it would lie nowhere
            return None
        for a in range(k + 1, len(ordered)):
            up[k, a] = np.empty(one.levels, dtype=np.int64)
            up[k, a][one.codes] = ordered[a].codes
    return Levels(
        ordered,
        tuple(order),
        tuple(_sums(b.codes, b.levels) for b in ordered),
        up,
        {(k, a): _sums(parents, ordered[a].levels) for (k, a), parents in up.items()},
        all(bool(np.all(b.z == 1.0)) for b in ordered),
    )


def _sums(codes: Ints, count: int) -> Any:
    """The sparse matrix, shape (count, len(codes)), whose product with values is their sums by code."""
    from scipy.sparse import csr_array

    order = np.argsort(codes, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))])
    return csr_array((np.ones(len(codes)), order, ptr), shape=(count, len(codes)))
