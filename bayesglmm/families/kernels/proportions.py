"""Kernels of the beta and beta-binomial families, through the logs of mean and complement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesglmm.families.base import AuxDerivatives, Derivatives, KernelFactory
from bayesglmm.families.kernels.bound import ClosedKernel, Data, Formulas, Psi, row_weights
from bayesglmm.families.kernels.jit import compiled
from bayesglmm.families.kernels.logs import Pair, log_pair

Floats = NDArray[np.float64]


def _through_logs(module: str, link: str, weight: Callable[[Pair, Psi, Data], Floats]) -> Formulas:
    """Formulas on η of compiled rows that take A, A', ..., B''', ψ and the data."""
    pair = log_pair(link)
    rows, aux_rows = compiled(module, "derivatives"), compiled(module, "aux")

    def derivatives(eta: Floats, psi: Psi, data: Data) -> Derivatives:
        up, down = pair(eta)
        found = rows(*up, *down, *psi, *data)
        outside = np.isnan(up[0] + down[0]) & ~np.isnan(eta)
        return Derivatives(np.where(outside, -np.inf, found[0]), *found[1:])

    def aux(eta: Floats, psi: Psi, data: Data) -> AuxDerivatives:
        up, down = pair(eta)
        return AuxDerivatives(*(a[None] for a in aux_rows(*up, *down, *psi, *data)))

    return Formulas(derivatives, lambda eta, psi, data: weight(pair(eta), psi, data), aux, 1)


def beta_factory(link: str) -> KernelFactory:
    """Kernel factory of the beta family with precision φ, ψ = log φ, for a link of a proportion."""
    rows = compiled("rows_beta", "weight")

    def weight(pair: Pair, psi: Psi, data: Data) -> Floats:
        return np.asarray(rows(*pair[0], *pair[1], *psi, *data))

    formulas = _through_logs("rows_beta", link, weight)

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        return ClosedKernel(formulas, (np.log(y), np.log1p(-np.asarray(y)), row_weights(y, weights)))

    return bind


def _beta_binomial_weight(pair: Pair, psi: Psi, data: Data) -> Floats:
    # (d mean/dη)²/Var: the information of the mean alone, a lower bound of the Fisher information, which is a sum
    # over the support. Var(y) = m μ(1 − μ)(1 + (m − 1)/(1 + φ)).
    y, f, w, _ = data
    m = y + f
    return w * m / (1.0 + (m - 1.0) / (1.0 + np.exp(psi[0]))) * -(pair[0][1] * pair[1][1])


def beta_binomial_factory(link: str) -> KernelFactory:
    """Kernel factory of the beta-binomial with precision φ, ψ = log φ, for a link of a proportion."""
    formulas = _through_logs("rows_beta_binomial", link, _beta_binomial_weight)

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> ClosedKernel:
        y = np.asarray(y, dtype=float)
        m = np.ones(len(y)) if trials is None else np.asarray(trials, dtype=float)
        log_choose = gammaln(m + 1.0) - gammaln(y + 1.0) - gammaln(m - y + 1.0)
        return ClosedKernel(formulas, (y, m - y, row_weights(y, weights), log_choose))

    return bind
