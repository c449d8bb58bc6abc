"""Log-densities of the rows at many parameter vectors: η has one row per data row and one column per vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.kernels.bound import ByGroup, ClosedKernel, log_density
from bayesglmm.latent.copies import row_psi

if TYPE_CHECKING:
    from bayesglmm.families.base import BoundKernel
    from bayesglmm.latent.objective import Objective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Size of η at which its exponential, and that of what is added to it, are far from the ends of the range.
IN_RANGE = 300.0


@dataclass(frozen=True)
class Broadcast:
    """A family without auxiliaries whose formulas take arrays of any shape: nothing has to be laid out.

    Parameters
    ----------
    kernel : ClosedKernel
        Its data as columns, shape (n, 1).
    """

    kernel: ClosedKernel

    def take(self, points: Ints) -> Broadcast:
        """At some of the parameter vectors."""
        return self

    def slopes(self, eta: Floats) -> tuple[Floats, Floats]:
        """First and second derivative in η."""
        assert self.kernel.formulas.slopes is not None
        return self.kernel.formulas.slopes(eta, self.kernel.data)

    def value(self, eta: Floats) -> Floats:
        """Log-density."""
        return self.kernel.value(eta, np.empty(0))

    def shifts(self, eta: Floats, collect: ByGroup, spread: ByGroup) -> Callable[[Floats | None], Floats] | None:
        """Sums by group as a function of what is added to η; None where the exponential of η is out of range."""
        if self.kernel.formulas.shifts is None or not max(eta.max(), -eta.min()) < IN_RANGE:
            return None
        return self.kernel.formulas.shifts(eta, self.kernel.data, collect, spread)


@dataclass(frozen=True)
class Repeated:
    """Any kernel, every row of the data repeated once per parameter vector.

    Parameters
    ----------
    single : BoundKernel
        The kernel of the data, in ψ by row.
    psi : ndarray, shape (n_aux, n, points)
        Its auxiliaries.
    kernel : BoundKernel
        Of the repeated rows.
    """

    single: BoundKernel
    psi: Floats
    kernel: BoundKernel

    @classmethod
    def of(cls, single: BoundKernel, psi: Floats) -> Repeated:
        """Repeat the rows of a kernel."""
        _, n, points = psi.shape
        return cls(single, psi, single.subset(np.repeat(np.arange(n), points)))

    def take(self, points: Ints) -> Repeated:
        """At some of the parameter vectors."""
        return self.of(self.single, self.psi[:, :, points])

    def slopes(self, eta: Floats) -> tuple[Floats, Floats]:
        """First and second derivative in η."""
        found = self.kernel.derivatives(eta.ravel(), self._flat)
        return found.d1.reshape(eta.shape), found.d2.reshape(eta.shape)

    def value(self, eta: Floats) -> Floats:
        """Log-density."""
        return log_density(self.kernel, eta.ravel(), self._flat).reshape(eta.shape)

    def shifts(self, eta: Floats, collect: ByGroup, spread: ByGroup) -> Callable[[Floats | None], Floats] | None:
        """None: there is no shorter way."""
        return None

    @property
    def _flat(self) -> Floats:
        return self.psi.reshape(len(self.psi), -1)


def lay_out(objective: Objective, psi: Floats) -> Broadcast | Repeated:
    """The rows of a model at many parameter vectors.

    Parameters
    ----------
    objective : Objective
        The model.
    psi : ndarray, shape (points, n_aux)
        Its auxiliaries.
    """
    kernel = getattr(objective.kernel, "inner", objective.kernel)
    if isinstance(kernel, ClosedKernel) and kernel.formulas.slopes is not None:
        return Broadcast(replace(kernel, data=tuple(d[:, None] for d in kernel.data)))
    rows = row_psi(objective, psi)
    return Repeated.of(kernel, np.swapaxes(rows.reshape(len(rows), len(psi), objective.structure.n), 1, 2))
