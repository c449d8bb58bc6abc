"""Zero-inflated and hurdle versions of a count kernel, built from its formulas.

The count formulas' data are (y, w, log y!); the last auxiliary is the log odds of π, the probability of a structural
zero (zero inflation) or of any zero (hurdle). l is the count log-density at zero, with its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import Data, Formulas, Psi, along
from bayesglmm.families.kernels.counts import bind_counts
from bayesglmm.families.kernels.jit import compiled
from bayesglmm.families.kernels.paths import log_mean_path

Floats = NDArray[np.float64]


def _parts(data: Data) -> tuple[Floats, Floats, Data, Data]:
    """Which rows are zero, their weights, the count formulas' data, and the same for responses of zero."""
    y, w, c = data
    one, none = np.ones_like(w), np.zeros_like(w)
    return y == 0.0, w, (y, one, c), (none, one, none)


def _finish(zero: Floats, w: Floats, at_zero: list[Floats], above: list[Floats]) -> list[Floats]:
    return [w * np.where(zero, a, b) for a, b in zip(at_zero, above, strict=True)]


def zero_inflated(count: Formulas) -> Formulas:
    """Formulas of π + (1 − π) f(0) at zero and (1 − π) f(y) above (Lambert 1992, Technometrics 34, 1-14).

    Parameters
    ----------
    count : Formulas
        Of f, in log μ.

    Returns
    -------
    Formulas
        With the log odds of π as an additional, last auxiliary.
    """

    def at_zero(s: Floats, psi: Psi, data: Data) -> tuple[Derivatives, Floats, Floats]:
        """Count derivatives at zero; probabilities T, U = 1 − T that a zero is one of the count's, or structural."""
        zero = count.derivatives(s, psi[:-1], data)
        T = expit(zero.value - psi[-1])
        # Where no zero can come from the count its derivatives do not matter, and may have overflown.
        rest = [np.where(T > 0.0, d, 0.0) for d in zero[1:]]
        return Derivatives(zero.value, *rest), T, expit(psi[-1] - zero.value)

    def derivatives(s: Floats, psi: Psi, data: Data) -> Derivatives:
        is_zero, w, rows, zeros = _parts(data)
        at0, T, U = at_zero(s, psi, zeros)
        f = count.derivatives(s, psi[:-1], rows)
        inside = log_expit(-np.asarray(psi[-1]))
        TU = T * U
        lower = [
            np.logaddexp(log_expit(np.asarray(psi[-1])), inside + at0.value),
            T * at0.d1,
            T * at0.d2 + TU * at0.d1**2,
            T * at0.d3 + TU * at0.d1 * (3.0 * at0.d2 + (U - T) * at0.d1**2),
        ]
        return Derivatives(*_finish(is_zero, w, lower, [f.value + inside, f.d1, f.d2, f.d3]))

    def aux(s: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        is_zero, w, rows, zeros = _parts(data)
        at0, T, U = at_zero(s, psi, zeros)
        TU = T * U
        pi, rest = expit(psi[-1]), expit(-np.asarray(psi[-1]))
        zi_zero = [-rest * U * np.expm1(at0.value), -TU * at0.d1, -TU * (at0.d2 + (U - T) * at0.d1**2)]
        zi_above = [np.broadcast_to(-pi, np.shape(T)), np.zeros_like(T), np.zeros_like(T)]
        out = [_finish(is_zero, w, zi_zero, zi_above)]
        if count.aux is not None:
            g, f = count.aux(s, psi[:-1], zeros), count.aux(s, psi[:-1], rows)
            for j in reversed(range(count.n_aux)):
                lower = [
                    T * g.value[j],
                    T * g.d1[j] + TU * g.value[j] * at0.d1,
                    T * g.d2[j] + TU * (g.value[j] * (at0.d2 + (U - T) * at0.d1**2) + 2.0 * at0.d1 * g.d1[j]),
                ]
                out.insert(0, _finish(is_zero, w, lower, [f.value[j], f.d1[j], f.d2[j]]))
        return AuxDerivatives(*(np.stack(parts) for parts in zip(*out, strict=True)))

    def weight(s: Floats, psi: Psi, data: Data) -> Floats:
        _, w, rows, zeros = _parts(data)
        at0, _, U = at_zero(s, psi, zeros)
        information = count.weight(s, psi[:-1], rows) - np.exp(at0.value) * U * at0.d1**2
        return w * expit(-np.asarray(psi[-1])) * np.maximum(information, 0.0)

    return Formulas(derivatives, weight, aux, count.n_aux + 1)


def hurdle(count: Formulas) -> Formulas:
    """Formulas of π at zero and (1 − π) f(y)/(1 − f(0)) above (Mullahy 1986, Journal of Econometrics 33, 341-365).

    Parameters
    ----------
    count : Formulas
        Of f, in log μ.

    Returns
    -------
    Formulas
        With the log odds of π as an additional, last auxiliary.
    """
    log_complement = compiled("rows_logs", "cloglog")

    def truncation(s: Floats, psi: Psi, data: Data) -> tuple[list[Floats], list[Floats], Derivatives]:
        """A = log(1 − e^l) with derivatives in λ = log(−l), and λ with derivatives in s."""
        at0 = count.derivatives(s, psi[:-1], data)
        # Nothing is cut off where f(0) underflows to zero, and λ = s to first order where it rounds to one.
        usual = np.isfinite(at0.value) & (at0.value < 0.0)
        value = np.where(usual, at0.value, -1.0)
        r1, r2, r3 = (np.where(usual, d / value, 1.0) for d in at0[1:])
        steps = [np.where(at0.value < 0.0, np.log(-at0.value), s), r1, r2 - r1**2, r3 - 3.0 * r1 * r2 + 2.0 * r1**3]
        return list(log_complement(steps[0])), steps, at0

    def derivatives(s: Floats, psi: Psi, data: Data) -> Derivatives:
        is_zero, w, rows, zeros = _parts(data)
        f = count.derivatives(s, psi[:-1], rows)
        (A, A1, A2, A3), (_, r1, r2, r3), _ = truncation(s, psi, zeros)
        above = [
            f.value - A + log_expit(-np.asarray(psi[-1])),
            f.d1 - A1 * r1,
            f.d2 - A2 * r1**2 - A1 * r2,
            f.d3 - A3 * r1**3 - 3.0 * A2 * r1 * r2 - A1 * r3,
        ]
        nothing = np.zeros_like(A)
        lower = [np.broadcast_to(log_expit(np.asarray(psi[-1])), A.shape), nothing, nothing, nothing]
        return Derivatives(*_finish(is_zero, w, lower, above))

    def aux(s: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        is_zero, w, rows, zeros = _parts(data)
        (A, A1, A2, A3), (_, r1, r2, _), at0 = truncation(s, psi, zeros)
        nothing = np.zeros_like(A)
        pi, rest = (np.broadcast_to(expit(sign * np.asarray(psi[-1])), A.shape) for sign in (1.0, -1.0))
        out = [_finish(is_zero, w, [rest, nothing, nothing], [-pi, nothing, nothing])]
        if count.aux is not None:
            g, f = count.aux(s, psi[:-1], zeros), count.aux(s, psi[:-1], rows)
            for j in reversed(range(count.n_aux)):
                p = g.value[j] / at0.value
                p1 = g.d1[j] / at0.value - r1 * p
                p2 = g.d2[j] / at0.value - at0.d2 / at0.value * p - 2.0 * r1 * p1
                above = [
                    f.value[j] - A1 * p,
                    f.d1[j] - A2 * p * r1 - A1 * p1,
                    f.d2[j] - A3 * p * r1**2 - A2 * (2.0 * r1 * p1 + p * r2) - A1 * p2,
                ]
                out.insert(0, _finish(is_zero, w, [nothing] * 3, above))
        return AuxDerivatives(*(np.stack(parts) for parts in zip(*out, strict=True)))

    def weight(s: Floats, psi: Psi, data: Data) -> Floats:
        _, w, rows, zeros = _parts(data)
        (_, A1, A2, _), (_, r1, r2, _), at0 = truncation(s, psi, zeros)
        information = (count.weight(s, psi[:-1], rows) + np.exp(at0.value) * at0.d2) / -np.expm1(at0.value)
        information = information + A2 * r1**2 + A1 * r2
        return w * expit(-np.asarray(psi[-1])) * np.maximum(information, 0.0)

    return Formulas(derivatives, weight, aux, count.n_aux + 1)


def factory(link: str, count: Formulas, wrap: Callable[[Formulas], Formulas]) -> KernelFactory:
    """Kernel factory of a wrapped count for a link of a positive mean.

    Parameters
    ----------
    link : str
        Name of the link.
    count : Formulas
        In log μ.
    wrap : callable
        :func:`zero_inflated` or :func:`hurdle`.

    Returns
    -------
    KernelFactory
    """
    return bind_counts(along(wrap(count), log_mean_path(link)))
