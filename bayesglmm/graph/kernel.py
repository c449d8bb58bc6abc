"""Kernels by automatic differentiation: any family that PyMC can write, as a function of the linear predictor.

The log-density of a row is differentiated symbolically three times in η and, with its first two η-derivatives, once
in each unconstrained auxiliary ψ_j. The data are inputs, so that one compilation serves every data set of a
family and link (two: few rows are left to numpy, many to C code); they are kept for the life of the process.

Autodiffed densities lose their derivatives in the tails: from |η| of about 40 on, 0 · ∞ makes NaN of what should be a
small number. Where that happens, the row is evaluated at the nearest η of a short list that is finite, and continued
from there by its second-order Taylor polynomial; the log-densities in question are linear there up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.families import eta_domain
from bayesglmm.families.base import (
    AuxDerivatives,
    BoundKernel,
    Derivatives,
    Family,
    KernelFactory,
    unknown_moments,
)
from bayesglmm.graph.compiled import compile_quietly, elementwise_mode, without_checks
from bayesglmm.graph.rows import row_distribution
from bayesglmm.links import Link, get_link

Floats = NDArray[np.float64]
Function = Callable[..., list[Floats]]

#: Where a row is evaluated instead when its derivatives at a larger \|η\| are not numbers.
SAFE = (300.0, 100.0, 50.0, 36.0, 30.0, 25.0, 20.0, 15.0, 10.0, 7.0, 5.0, 3.0, 1.0)

#: Rows from which on C code pays (see :func:`bayesglmm.graph.compiled.elementwise_mode`).
LARGE = 5_000


@dataclass(frozen=True)
class Likelihood:
    """A family with its link, and the compiled functions of its rows (eta, y, trials?, weights?, *psi).

    Parameters
    ----------
    family, link : Family, Link
        What is differentiated.
    eta : callable
        → value and three η-derivatives.
    aux : callable or None
        → value, first and second η-derivative, each differentiated in ψ_1, then each in ψ_2, ...
    """

    family: Family
    link: Link
    eta: Function
    aux: Function | None


_COMPILED: dict[Any, Likelihood] = {}


def graph_kernel(family: Family, link: Link) -> KernelFactory:
    """Kernel of a family by automatic differentiation of its PyMC distribution.

    Parameters
    ----------
    family : Family
        With a ``distribution``.
    link : Link
        Its link.

    Returns
    -------
    KernelFactory
        (y, trials, weights) → BoundKernel. Its ``expected_weight`` is w μ'² / (φ V(μ)) for exponential families, where
        that is the Fisher information; for others it is not known without integrating over y, and the observed −d2
        stands in where it is positive, else the squared score.

    Raises
    ------
    MethodError
        A quasi-family, which has no distribution.
    """
    if family.distribution is None:
        raise MethodError(f"{family.name} has no likelihood, hence no graph to differentiate.")

    def bind(y: Floats, trials: Floats | None, weights: Floats | None) -> BoundKernel:
        inside = weights if family.weighted == "scale" else None
        outside = None if family.weighted == "scale" else weights
        likelihood = _likelihood(family, link, trials is not None, inside is not None, len(y) > LARGE)
        return GraphKernel(likelihood, np.asarray(y, dtype=float), trials, inside, outside)

    return bind


@dataclass(frozen=True)
class GraphKernel:
    """A :class:`~bayesglmm.families.base.BoundKernel` on compiled graphs.

    Parameters
    ----------
    likelihood : Likelihood
        The compiled functions.
    y : ndarray, shape (n,)
        Responses.
    trials, inside, outside : ndarray, shape (n,), or None
        Denominators; weights that scale the dispersion; weights that multiply the log-density.
    """

    likelihood: Likelihood
    y: Floats
    trials: Floats | None
    inside: Floats | None
    outside: Floats | None

    @property
    def n_aux(self) -> int:
        """Number of auxiliaries."""
        return len(self.likelihood.family.auxiliaries)

    def derivatives(self, eta: Floats, psi: Floats) -> Derivatives:
        """Value and three η-derivatives, each of η's shape."""
        eta = np.asarray(eta, dtype=float)
        parts = self._evaluate(self.likelihood.eta, eta, psi)
        weight = 1.0 if self.outside is None else self.outside
        return Derivatives(*(weight * part.reshape(eta.shape) for part in parts))

    def aux_derivatives(self, eta: Floats, psi: Floats) -> AuxDerivatives:
        """ψ-derivatives of value, d1 and d2, each shape (n_aux, *η.shape)."""
        eta = np.asarray(eta, dtype=float)
        if self.likelihood.aux is None:
            empty = np.empty((0, *eta.shape))
            return AuxDerivatives(empty, empty, empty)
        parts = np.stack(self._evaluate(self.likelihood.aux, eta, psi)).reshape(self.n_aux, 3, *eta.shape)
        weight = 1.0 if self.outside is None else self.outside
        return AuxDerivatives(*(weight * parts[:, k] for k in range(3)))

    def expected_weight(self, eta: Floats, psi: Floats) -> Floats:
        """Information in η: Fisher's for exponential families, else the observed one made positive."""
        eta = np.asarray(eta, dtype=float)
        information = self._quasi_information(eta, psi)
        bad = ~(np.isfinite(information) & (information > 0))
        if bad.any():
            at = self.derivatives(eta, psi)
            observed = np.where(at.d2 < 0, -at.d2, np.square(at.d1))
            information = np.where(bad, np.nan_to_num(observed, nan=0.0, posinf=0.0), information)
        return information

    def subset(self, rows: NDArray[np.int64]) -> GraphKernel:
        """The same kernel on some of the rows."""
        kept = [None if a is None else a[rows] for a in (self.trials, self.inside, self.outside)]
        return GraphKernel(self.likelihood, self.y[rows], *kept)

    def _quasi_information(self, eta: Floats, psi: Floats) -> Floats:
        family, link = self.likelihood.family, self.likelihood.link
        if family.variance is unknown_moments:
            return np.full(eta.shape, np.nan)
        aux: Any = tuple(get_link(a.link).mean(np.asarray(v)) for a, v in zip(family.auxiliaries, psi))
        weight = np.ones(eta.shape)
        for factor in (self.trials, self.inside, self.outside):
            weight = weight if factor is None else weight * factor
        with np.errstate(all="ignore"):
            scale = family.scale
            if scale is None:
                scale = np.nan if family.dispersion is None else family.dispersion(aux)
            return weight * np.square(link.slope(eta)) / (scale * family.variance(link.mean(eta), aux))

    def _evaluate(self, function: Function, eta: Floats, psi: Floats) -> list[Floats]:
        """Outputs of a compiled function at every entry of η, guarded."""
        given = [a for a in (self.y, self.trials, self.inside) if a is not None]
        given += list(np.asarray(psi, dtype=float)[: self.n_aux])
        data = [np.broadcast_to(a, eta.shape).ravel() for a in given]
        x = eta.ravel()
        out = function(x, *data)
        domain = eta_domain(self.likelihood.family, self.likelihood.link)
        outside = ~((x > domain[0]) & (x < domain[1]))
        finite = np.logical_and.reduce([np.isfinite(o) for o in out])
        if np.all(finite & ~outside):
            return out
        rows = np.flatnonzero(~finite & ~outside)
        steps = len(out) if function is self.likelihood.eta else 3
        for start in range(0, len(out), steps):
            _continue(function, out, slice(start, start + steps), x, data, rows)
        first = 0 if function is self.likelihood.eta else None
        for k, o in enumerate(out):
            o[outside] = -np.inf if k == first else np.nan
        return out


def _continue(
    function: Function, out: list[Floats], chain: slice, x: Floats, data: list[Floats], rows: NDArray[np.int64]
) -> None:
    """Replace the non-finite entries of a chain (f, f', f'', ...) of outputs by a Taylor polynomial from a safe η."""
    for cut in SAFE:
        rows = rows[~np.logical_and.reduce([np.isfinite(o[rows]) for o in out[chain]])]
        if not len(rows):
            return
        near = np.clip(x[rows], -cut, cut)
        f, f1, f2, *higher = function(near, *(d[rows] for d in data))[chain]
        step = x[rows] - near
        with np.errstate(all="ignore"):
            values = [f + f1 * step + 0.5 * f2 * step**2, f1 + f2 * step, f2, *higher]
        usable = (step != 0) & np.logical_and.reduce([np.isfinite(v) for v in values])
        for o, v in zip(out[chain], values):
            replace = rows[usable & ~np.isfinite(o[rows])]
            o[replace] = v[usable & ~np.isfinite(o[rows])]


def _likelihood(family: Family, link: Link, trials: bool, weights: bool, large: bool) -> Likelihood:
    """Compiled functions of a family and link, from the cache or made now."""
    auxiliaries = tuple((a.name, a.link) for a in family.auxiliaries)
    key = (family.distribution, family.links[0], link.name, link.symbolic, auxiliaries, trials, weights, large)
    if key not in _COMPILED:
        _COMPILED[key] = _compile(family, link, trials, weights, large)
    return _COMPILED[key]


def _compile(family: Family, link: Link, trials: bool, weights: bool, large: bool) -> Likelihood:
    eta, y = pt.dvector("eta"), pt.dvector("y")
    n = pt.dvector("trials") if trials else None
    w = pt.dvector("weights") if weights else None
    psi = [pt.dvector(f"psi_{a.name}") for a in family.auxiliaries]
    aux = {a.name: get_link(a.link).symbolic(pt, p) for a, p in zip(family.auxiliaries, psi)}
    at = y.astype("int64") if family.categories == "ordered" else y  # a category is an index
    value = without_checks(pm.logp(row_distribution(family, link, eta, aux, n, w), at))
    chain = [value]
    for _ in range(3):
        chain.append(_derivative(chain[-1], eta))
    inputs = [v for v in (eta, y, n, w, *psi) if v is not None]
    by_eta = _compiled(inputs, chain, large)
    if not psi:
        return Likelihood(family, link, by_eta, None)
    by_psi = _compiled(inputs, [_derivative(d, p) for p in psi for d in chain[:3]], large)
    return Likelihood(family, link, by_eta, by_psi)


def _compiled(inputs: list[Any], outputs: list[Any], large: bool) -> Function:
    whole = [pt.broadcast_to(o, inputs[0].shape) for o in outputs]
    function = compile_quietly(inputs, whole, elementwise_mode(large), on_unused_input="ignore")

    def call(*args: Floats) -> list[Floats]:
        with np.errstate(all="ignore"):
            return [np.array(o, dtype=float) for o in function(*args)]

    return call


def _derivative(values: Any, by: Any) -> Any:
    """Entry-wise derivative: entry i of `values` depends on entry i of `by` alone."""
    return pytensor.grad(pt.sum(values), by, disconnected_inputs="ignore", return_disconnected="zero")
