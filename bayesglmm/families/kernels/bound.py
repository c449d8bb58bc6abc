"""From formulas on a family's own scale to a bound kernel on η.

A family writes its log-density once, with derivatives in a variable s that suits it: μ itself (gaussian), log μ
(positive means). A *path* gives s and its three derivatives in η for a link; :func:`along` composes the two by
the chain rule. Where s = η the formulas are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, BoundKernel, Derivatives
from bayesglmm.families.kernels.jit import compiled

Floats = NDArray[np.float64]
Data = tuple[Floats, ...]
#: Auxiliaries, one entry each: a number, or one per row.
Psi = Floats | tuple[Floats | float, ...]
#: From rows to groups, or from groups to rows.
ByGroup = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Formulas:
    """Log-density and derivatives as functions of (s, psi, data).

    Parameters
    ----------
    derivatives : callable
        (s, psi, data) → :class:`Derivatives` in s.
    weight : callable
        (s, psi, data) → expected −(second derivative in s).
    aux : callable or None
        (s, psi, data) → :class:`AuxDerivatives`; None without auxiliaries.
    n_aux : int
        Number of auxiliaries.
    value : callable or None
        (s, psi, data) → log-density alone, where that is less work than `derivatives`.
    slopes : callable or None
        (s, data) → the first two derivatives alone, of a family without auxiliaries: near a mode, where digits in the
        far tails do not matter. Like `value` it takes arrays that are broadcast against each other.
    shifts : callable or None
        (s, data, collect, spread) → sums of the log-density by group, as a function of what is added to s group by
        group (None: nothing). `collect` sums rows by group, `spread` gives every row its group's value.
    """

    derivatives: Callable[[Floats, Psi, Data], Derivatives]
    weight: Callable[[Floats, Psi, Data], Floats]
    aux: Callable[[Floats, Psi, Data], AuxDerivatives] | None = None
    n_aux: int = 0
    value: Callable[[Floats, Psi, Data], Floats] | None = None
    slopes: Callable[[Floats, Data], tuple[Floats, Floats]] | None = None
    shifts: Callable[[Floats, Data, ByGroup, ByGroup], Callable[[Floats | None], Floats]] | None = None


@dataclass(frozen=True)
class Path:
    """The scale s of a family's formulas as a function of η: s, s', s'', s''' and the open domain of η."""

    steps: Callable[[Floats], tuple[Floats, Floats, Floats, Floats]]
    domain: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True)
class ClosedKernel:
    """A :class:`~bayesglmm.families.base.BoundKernel` made of formulas and the rows' data.

    An overflow shows in the values (−inf), not as a warning: an optimiser that goes too far steps back.

    Parameters
    ----------
    formulas : Formulas
        On η.
    data : tuple of ndarray, each shape (n,)
        Responses, weights and constants that the formulas take.
    """

    formulas: Formulas
    data: Data

    @property
    def n_aux(self) -> int:
        """Number of auxiliaries."""
        return self.formulas.n_aux

    def derivatives(self, eta: Floats, psi: Floats) -> Derivatives:
        """Value and three η-derivatives, each of η's shape."""
        with np.errstate(all="ignore"):
            return self.formulas.derivatives(eta, psi, self.data)

    def value(self, eta: Floats, psi: Floats) -> Floats:
        """Value alone, of η's shape."""
        if self.formulas.value is None:
            return self.derivatives(eta, psi).value
        with np.errstate(all="ignore"):
            return self.formulas.value(eta, psi, self.data)

    def aux_derivatives(self, eta: Floats, psi: Floats) -> AuxDerivatives:
        """ψ-derivatives of value, d1 and d2, each shape (n_aux, *η.shape)."""
        if self.formulas.aux is None:
            empty = np.empty((0, *np.shape(eta)))
            return AuxDerivatives(empty, empty, empty)
        with np.errstate(all="ignore"):
            return self.formulas.aux(eta, psi, self.data)

    def expected_weight(self, eta: Floats, psi: Floats) -> Floats:
        """Fisher information in η, of η's shape."""
        with np.errstate(all="ignore"):
            return self.formulas.weight(eta, psi, self.data)

    def subset(self, rows: NDArray[np.int64]) -> BoundKernel:
        """The same kernel on some of the rows."""
        return ClosedKernel(self.formulas, tuple(d[rows] for d in self.data))


def log_density(kernel: BoundKernel, eta: Floats, psi: Floats) -> Floats:
    """Value of any kernel, by the shorter way where it has one."""
    return kernel.value(eta, psi) if isinstance(kernel, ClosedKernel) else kernel.derivatives(eta, psi).value


def compiled_formulas(module: str, weight: Callable[[Floats, Psi, Data], Floats], n_aux: int = 0) -> Formulas:
    """Formulas whose row functions ``derivatives`` and, with auxiliaries, ``aux`` are compiled.

    Parameters
    ----------
    module : str
        Module of ``bayesglmm.families.kernels``. Its functions take s, the auxiliaries and the data of a row;
        ``aux`` gives the derivatives of value, d1 and d2 for one auxiliary after the other.
    weight : callable
        As in :class:`Formulas`.
    n_aux : int
        Number of auxiliaries.

    Returns
    -------
    Formulas
    """
    rows = compiled(module, "derivatives")

    def derivatives(s: Floats, psi: Psi, data: Data) -> Derivatives:
        return Derivatives(*rows(s, *psi, *data))

    def aux(s: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        found = compiled(module, "aux")(s, *psi, *data)
        return AuxDerivatives(*(np.stack(found[k::3]) for k in range(3)))

    return Formulas(derivatives, weight, aux if n_aux else None, n_aux)


def fix(formulas: Formulas, values: Mapping[int, float]) -> Formulas:
    """The same formulas with some auxiliaries held at a value.

    Parameters
    ----------
    formulas : Formulas
        With all auxiliaries.
    values : mapping of int to float
        Position → value of ψ.

    Returns
    -------
    Formulas
        Of the remaining auxiliaries.
    """
    if not values:
        return formulas
    free = [j for j in range(formulas.n_aux) if j not in values]

    def full(psi: Psi) -> Psi:
        given = iter(psi)
        return tuple(values[j] if j in values else next(given) for j in range(formulas.n_aux))

    def aux(s: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        assert formulas.aux is not None
        return AuxDerivatives(*(a[free] for a in formulas.aux(s, full(psi), data)))

    return Formulas(
        lambda s, psi, data: formulas.derivatives(s, full(psi), data),
        lambda s, psi, data: formulas.weight(s, full(psi), data),
        aux if free else None,
        len(free),
    )


def row_weights(y: Floats, weights: Floats | None) -> Floats:
    """Prior weights as an array, shape (n,)."""
    return np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)


def along(formulas: Formulas, path: Path | None) -> Formulas:
    """Formulas in s, as formulas in η.

    Parameters
    ----------
    formulas : Formulas
        In s.
    path : Path or None
        s as a function of η; None where s = η.

    Returns
    -------
    Formulas
        In η. Outside the path's domain the value is −inf and the derivatives are NaN.
    """
    if path is None:
        return formulas
    low, high = path.domain
    bounded = np.isfinite(low) or np.isfinite(high)

    def steps(eta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        if bounded:
            eta = np.where((eta > low) & (eta < high), eta, np.nan)
        return path.steps(eta)

    def derivatives(eta: Floats, psi: Psi, data: Data) -> Derivatives:
        s, s1, s2, s3 = steps(eta)
        value, f1, f2, f3 = formulas.derivatives(s, psi, data)
        # Products from left to right: a derivative that vanishes does so before s'² or s'³ overflows.
        if bounded:
            value = np.where(np.isnan(s) & ~np.isnan(eta), -np.inf, value)
        return Derivatives(value, f1 * s1, f2 * s1 * s1 + f1 * s2, f3 * s1 * s1 * s1 + 3.0 * f2 * s1 * s2 + f1 * s3)

    def aux(eta: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        assert formulas.aux is not None
        s, s1, s2, _ = steps(eta)
        value, f1, f2 = formulas.aux(s, psi, data)
        return AuxDerivatives(value, f1 * s1, f2 * s1 * s1 + f1 * s2)

    def weight(eta: Floats, psi: Psi, data: Data) -> Floats:
        s, s1, _, _ = steps(eta)
        return formulas.weight(s, psi, data) * s1**2

    return Formulas(derivatives, weight, aux if formulas.n_aux else None, formulas.n_aux)
