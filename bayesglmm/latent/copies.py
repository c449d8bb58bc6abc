"""One model at many parameter vectors at once: copies of its rows and random effects, side by side.

The copies share no random effect, so their conditional modes are those of one larger model whose H is block-diagonal:
the same Newton steps, factors and kernels serve, and the cost of a call is paid once for all copies. Within a copy the
random effects fall into *units*, groups of levels that no row joins to another (the levels of a single factor, the
outer levels of nested ones, everything where factors are crossed): integrals over u are products over units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.latent.elimination.structure import Loadings, Structure
from bayesglmm.latent.mode import TOLERANCE, Mode, Warm, find_mode

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.elimination.factor import Factor
    from bayesglmm.latent.objective import Objective
    from bayesglmm.latent.target import Coordinates

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows of all copies together: enough to make a call's overhead small, few enough to stay in cache (30,000 took a fifth
#: longer).
ROWS = 12_000
#: Updates of the sparse columns that remain when the leading factor is eliminated, all copies together.
UPDATES = 2_000_000


@dataclass(frozen=True)
class Points:
    """Parameter vectors in natural coordinates, one row each."""

    beta: Floats
    theta: Floats
    psi: Floats

    @classmethod
    def of(cls, coordinates: Coordinates, x: Floats) -> Points:
        """The points of working vectors `x`, shape (count, d)."""
        return cls(*coordinates.split_many(x))

    def __getitem__(self, rows: slice) -> Points:
        return Points(self.beta[rows], self.theta[rows], self.psi[rows])

    def __len__(self) -> int:
        return len(self.beta)


@dataclass(frozen=True)
class Copies:
    """`count` copies of an objective.

    Unknowns of all copies are ordered factor by factor, then copy by copy: :meth:`gather` and :meth:`scatter` go
    between that and one row per copy.

    Parameters
    ----------
    objective : Objective
        The model.
    count : int
        How many copies; one is the model itself.
    structure : Structure
        Of all copies together.
    kernel : BoundKernel
        Of all their rows, in ψ by row.
    """

    objective: Objective
    count: int
    structure: Structure
    kernel: BoundKernel

    def mode(self, points: Points, start: Floats, tolerance: float = TOLERANCE) -> Mode:
        """Conditional modes of every copy at its own point; `start`, shape (count, m), is where to begin."""
        fixed, psi = self.fixed(points), self.psi(points)
        warm = Warm(self.scatter(start), tolerance=tolerance)
        with np.errstate(all="ignore"):
            return find_mode(self.loadings(points), self.kernel, fixed, psi, warm)

    def loadings(self, points: Points) -> Loadings:
        """A = ZΛ(θ) of every copy."""
        rows = tuple(
            np.einsum("nq,sqr->snr", b.z, own).reshape(-1, b.size)
            for b, own in zip(self.objective.structure.layouts, self.objective.lambdas(points.theta))
        )
        return Loadings(self.structure, rows)

    def fixed(self, points: Points) -> Floats:
        """Xβ + offset of every row, shape (count · n,)."""
        return (points.beta @ self.objective.X.T + self.objective.offset).ravel()

    def psi(self, points: Points) -> Floats:
        """ψ of every row, shape (n_aux, count · n)."""
        return row_psi(self.objective, points.psi)

    def collect_psi(self, by_row: Floats) -> Floats:
        """Sums over the rows of every copy of derivatives in ψ by row, shape (n_aux, count · n): shape (count, k)."""
        rows = by_row.reshape(len(by_row), self.count, self.objective.structure.n)
        designs = _designs(self.objective)
        if designs is None:
            return rows.sum(axis=2).T
        parts = [own.sum(axis=1, keepdims=True) if X is None else own @ X for own, X in zip(rows, designs)]
        return np.concatenate(parts, axis=1)

    def gather(self, u: NDArray[Any]) -> NDArray[Any]:
        """One row per copy, shape (count, m, ...), of the unknowns of all copies, shape (count · m, ...)."""
        parts = [u[b.start : b.stop].reshape(self.count, -1, *u.shape[1:]) for b in self.structure.layouts]
        return np.concatenate([*parts, np.empty((self.count, 0, *u.shape[1:]), dtype=u.dtype)], axis=1)

    def scatter(self, u: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`gather`, for shape (count, m)."""
        parts = [u[:, b.start : b.stop].ravel() for b in self.objective.structure.layouts]
        return np.concatenate([*parts, np.empty(0, dtype=u.dtype)])

    @cached_property
    def units(self) -> Units:
        """The units of all copies: those of the first copy first."""
        own = find_units(self.objective.structure)
        shift = own.count * np.arange(self.count)[:, None]
        unknowns = self.scatter(own.of_unknown + shift)
        return Units((own.of_row + shift).ravel(), unknowns, own.count * self.count)

    def by_unit(self, rows: Floats, unknowns: Floats) -> Floats:
        """Sums over each unit of values per row and per unknown, shape (count, units)."""
        total = np.bincount(self.units.of_row, rows, self.units.count)
        return total.reshape(self.count, -1) + self.by_unknown(unknowns)

    def by_unknown(self, unknowns: Floats) -> Floats:
        """Sums over each unit of values per unknown, shape (count, units)."""
        return np.bincount(self.units.of_unknown, unknowns, self.units.count).reshape(self.count, -1)

    def laplace(self, mode: Mode) -> Floats:
        """Laplace's log integral of every unit: h(û) − ½ log|H| + ½ log|P|, shape (count, units)."""
        assert mode.factor is not None
        pull = self.structure.penalty(mode.u)
        value = self.by_unit(mode.derivatives.value, -0.5 * mode.u * pull - 0.5 * log_pivots(mode.factor))
        # A known precision makes one unit of everything.
        return value + 0.5 * self.objective.structure.log_det_prior


@dataclass(frozen=True)
class Units:
    """Which unit every row and every unknown belongs to, and how many there are."""

    of_row: Ints
    of_unknown: Ints
    count: int


def find_units(structure: Structure) -> Units:
    """Group the levels that rows (or a known covariance) join, directly or through others.

    Parameters
    ----------
    structure : Structure
        Of one copy.
    """
    layouts = structure.layouts
    if not layouts:
        return Units(np.zeros(structure.n, dtype=np.int64), np.empty(0, dtype=np.int64), 1)
    starts = np.cumsum([0, *(b.levels for b in layouts)])
    if any(b.precision is not None for b in layouts):
        labels = np.zeros(starts[-1], dtype=np.int64)
    elif len(layouts) == 1:
        labels = np.arange(starts[-1])
    else:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = [(layouts[0].codes, starts[k] + b.codes) for k, b in enumerate(layouts) if k]
        i, j = (np.concatenate(side) for side in zip(*pairs))
        graph = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(starts[-1], starts[-1]))
        labels = connected_components(graph, directed=False)[1].astype(np.int64)
    unknowns = [np.repeat(labels[a : a + b.levels], b.size) for a, b in zip(starts, layouts)]
    return Units(labels[layouts[0].codes], np.concatenate(unknowns), int(labels.max()) + 1)


def log_pivots(factor: Factor) -> Floats:
    """Contributions of the unknowns to log|H|, shape (m,): twice the logs of the factor's diagonal."""
    lead, tail = np.empty((1, 0)), np.empty(0)
    if factor.lead is not None:
        lead = np.log(np.einsum("rrl->rl", factor.lead))
    if factor.tail is not None:
        plan = factor.tail.plan
        tail = np.empty(plan.size)
        tail[plan.order] = np.log(np.concatenate([factor.tail.values[: plan.sparse], factor.tail.block.diagonal()]))
    return 2.0 * factor.joined(lead, tail)


def make_copies(objective: Objective, count: int) -> Copies:
    """Lay `count` copies of an objective side by side (fewer where that would not pay; see :func:`how_many`)."""
    structure = objective.structure
    if count == 1:
        return Copies(objective, 1, structure, _row_kernel(objective, 1))
    layouts, start = [], 0
    shift = np.arange(count)[:, None]
    for b in structure.layouts:
        codes = (b.codes + b.levels * shift).ravel()
        layout = replace(b, codes=codes, z=np.tile(b.z, (count, 1)), levels=count * b.levels, start=start)
        layouts.append(layout)
        start = layout.stop
    return Copies(
        objective,
        count,
        Structure(count * structure.n, start, tuple(layouts)),
        _row_kernel(objective, count),
    )


def how_many(objective: Objective, wanted: int) -> int:
    """How many copies are worth putting side by side."""
    structure = objective.structure
    if any(b.precision is not None for b in structure.layouts):
        return 1
    size = structure.plan.size if structure.layouts else 0
    units = find_units(structure).count
    # What remains of crossed factors is dense within each unit.
    updates = units * (size / units) ** 3 / 6.0
    return int(max(1, min(wanted, ROWS // max(structure.n, 1), UPDATES // max(updates, 1.0))))


def _row_kernel(objective: Objective, count: int) -> BoundKernel:
    """The kernel of all copies' rows, in ψ by row."""
    kernel = getattr(objective.kernel, "inner", objective.kernel)
    return kernel if count == 1 else kernel.subset(np.tile(np.arange(objective.structure.n), count))


def row_psi(objective: Objective, psi: Floats) -> Floats:
    """ψ of every row at many points, shape (n_aux, points · n), point after point; `psi` has one row per point."""
    designs = _designs(objective)
    if designs is None:
        return np.repeat(psi.T, objective.structure.n, axis=1)
    from bayesglmm.families.kernels.modelled import expand_rows

    return expand_rows(tuple(designs), psi).reshape(len(designs), -1)


def _designs(objective: Objective) -> Sequence[Floats | None] | None:
    """Matrices of the auxiliaries' linear predictors, where they have some."""
    return getattr(objective.kernel, "designs", None)
