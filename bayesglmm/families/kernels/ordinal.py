"""Kernel of the cumulative family for an ordered response with codes 0 … K − 1.

P(y > k) = G(η − τ_k) with G the inverse link, τ_0 = 0 and τ_k the sum of k positive gaps (ψ: their logarithms). A
category between the ends has probability G(a) − G(b) with a = η − τ_(k−1), b = η − τ_k. With A = log G and
B = log(1 − G) its logarithm is A(a) + N(A(a) − A(b)) = B(b) + N(B(b) − B(a)), N(u) = log(1 − e^−u): the first form
where G is small, the second where 1 − G is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, row_weights
from bayesglmm.families.kernels.logs import Logs, log_pair

Floats = NDArray[np.float64]
UNDERFLOW = -700.0
# Log-probability of category, its three η-derivatives, and the derivative in b with two η-derivatives of its own.
Category = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats]


def _log_difference(top: Logs, far: Logs) -> tuple[Logs, Logs]:
    """N(u) with u = top − far and its η-derivatives; N' = n and its derivatives in u."""
    u, u1, u2, u3 = (t - f for t, f in zip(top, far, strict=True))
    n1 = 1.0 / np.expm1(u)
    n2 = -n1 * (1.0 + n1)
    n3 = -n2 * (1.0 + 2.0 * n1)
    value = np.where(u < 0.7, np.log(-np.expm1(-u)), np.log1p(-np.exp(-u)))
    derivatives = (value, n1 * u1, n2 * u1 * u1 + n1 * u2, n3 * u1 * u1 * u1 + 3.0 * n2 * u1 * u2 + n1 * u3)
    return derivatives, (n1, n2 * u1, n3 * u1 * u1 + n2 * u2, n3)


def _product(f: Logs, g: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """F g and two derivatives of it."""
    return f[0] * g[0], f[1] * g[0] + f[0] * g[1], f[2] * g[0] + 2.0 * f[1] * g[1] + f[0] * g[2]


def _between(a: tuple[Logs, Logs], b: tuple[Logs, Logs]) -> Category:
    """A category with neighbours on both sides."""
    low, n = _log_difference(a[0], b[0])
    by_low = (*(t + d for t, d in zip(a[0], low, strict=True)), *(-p for p in _product(n, b[0][1:])))
    high, n = _log_difference(b[1], a[1])
    above = (1.0 + n[0], *n[1:])
    by_high = (*(t + d for t, d in zip(b[1], high, strict=True)), *_product(above, b[1][1:]))
    # Where log G(b) > log(1 − G(b)) the complement is the smaller.
    upper = b[0][0] > b[1][0]
    return tuple(np.where(upper, h, v) for h, v in zip(by_high, by_low, strict=True))  # type: ignore[return-value]


def factory(link: str, categories: int) -> KernelFactory:
    """Kernel factory for one link and number of categories.

    Parameters
    ----------
    link : str
        Any link for a proportion.
    categories : int
        K ≥ 2; there are K − 2 auxiliaries.

    Returns
    -------
    KernelFactory
    """
    pair = log_pair(link)

    def thresholds(psi: Psi, n: int) -> Floats:
        """τ_0 … τ_(K−2), shape (K − 1, n)."""
        gaps = [np.broadcast_to(np.exp(np.asarray(p)), (n,)) for p in psi]
        return np.cumsum(np.stack([np.zeros(n), *gaps]), axis=0)

    def category(eta: Floats, y: Floats, tau: Floats) -> Category:
        code = y.astype(np.int64)
        rows = np.arange(len(code))
        a = pair(eta - tau[np.maximum(code - 1, 0), rows])
        b = pair(eta - tau[np.minimum(code, categories - 2), rows])
        nothing = np.zeros_like(eta)
        middle = _between(a, b)
        last = (*a[0], nothing, nothing, nothing)
        first = (*b[1], *b[1][1:])
        return tuple(  # type: ignore[return-value]
            np.where(code == 0, f, np.where(code == categories - 1, e, m))
            for f, e, m in zip(first, last, middle, strict=True)
        )

    def derivatives(eta: Floats, psi: Psi, data: Data) -> Derivatives:
        y, w = data
        return Derivatives(*(w * d for d in category(eta, y, thresholds(psi, len(y)))[:4]))

    def aux(eta: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        y, w = data
        found = category(eta, y, thresholds(psi, len(y)))
        out = []
        for j, p in enumerate(psi, start=1):
            # The gap moves b of category j, and both a and b of the categories above it.
            gap = w * np.exp(np.asarray(p))
            out.append([-gap * np.where(y > j, d, np.where(y == j, e, 0.0)) for d, e in zip(found[1:4], found[4:])])
        return AuxDerivatives(*(np.stack(parts) for parts in zip(*out, strict=True)))

    def weight(eta: Floats, psi: Psi, data: Data) -> Floats:
        y, w = data
        tau = thresholds(psi, len(y))
        found = [category(eta, np.full(len(y), float(k)), tau) for k in range(categories)]
        # A category whose probability has underflown adds nothing, however large its score.
        return w * sum(np.where(f[0] > UNDERFLOW, np.exp(f[0]) * f[1] ** 2, 0.0) for f in found)

    n_aux = categories - 2
    formulas = Formulas(derivatives, weight, aux if n_aux else None, n_aux)

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        return ClosedKernel(formulas, (y, row_weights(y, weights)))

    return bind
