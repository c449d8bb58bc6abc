"""The coordinates the marginal sampler moves in: the target's own, but for sds with a sign and bounded parameters.

Standard deviations of uncorrelated columns enter with a sign, y = ± sd, which the marginal likelihood does not see,
unless their prior vanishes at zero or explodes there (inverse gammas, gammas of a precision), or zero is far: then as
their logs, which are less skewed (cbpp, sd 0.75 ± 0.21: effective size 1035 of 1040 draws, against 830 with signs).
Where the posterior reaches down to zero its density is smooth there and the sampler walks through; the log of the sd
has a long tail to the left instead (six groups of three binary rows: 9 divergences and effective sizes of 350 to 1000
from 2400 draws, against none and 1100 with signs).

A parameter whose prior ends somewhere (``Uniform(0, 5)`` on an sd) is moved to the whole line, since a sampler cannot
step over the end of a support.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.links import get_link

if TYPE_CHECKING:
    from bayesglmm.latent.target import Target
    from bayesglmm.priors import Prior

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: A standard deviation smaller than this is taken as this.
SMALLEST = 1e-9

#: Standard deviation of a log sd from which on the posterior is taken to reach down to zero.
NEAR_ZERO = 0.4


@dataclass(frozen=True)
class Chart:
    """From the sampler's vector y to the target's x.

    Parameters
    ----------
    signed : ndarray of bool, shape (d,)
        Entries of y that are standard deviations with a sign; x has their logs.
    low, high : ndarray, shape (d,)
        Ends of the range of every entry of x; infinite for most.
    """

    signed: Bools
    low: Floats
    high: Floats

    def target(self, y: Floats) -> tuple[Floats, Floats, Any, Floats]:
        """The target's vectors at y, shape (..., d).

        Returns
        -------
        x : ndarray, shape (..., d)
        slope : ndarray, shape (..., d)
            dx/dy, elementwise.
        log_slope : ndarray, shape (...)
            Log of their product: what the log-density of y is more than that of x.
        bend : ndarray, shape (..., d)
            Derivative of `log_slope` in y.
        """
        x, slope, bend = y.copy(), np.ones(y.shape), np.zeros(y.shape)
        s = self.signed
        sd = np.where(np.abs(y[..., s]) < SMALLEST, SMALLEST, y[..., s])
        x[..., s], slope[..., s], bend[..., s] = np.log(np.abs(sd)), 1.0 / sd, -1.0 / sd
        for k in self._ends:
            x[..., k], slope[..., k], bend[..., k] = _inside(y[..., k], self.low[k], self.high[k])
        return x, slope, np.log(np.abs(slope)).sum(axis=-1), bend

    def sampler(self, x: Floats) -> Floats:
        """The vector y of a target's vector, ends of ranges kept at a distance."""
        y = x.copy()
        y[self.signed] = np.exp(x[self.signed])
        for k in self._ends:
            y[k] = _outside(float(x[k]), self.low[k], self.high[k])
        return y

    def log_slope(self, x: Floats) -> Any:
        """The same as the third of :meth:`target`, at the target's vectors x, shape (..., d)."""
        total = -x[..., self.signed].sum(axis=-1)
        for k in self._ends:
            up, down = x[..., k] - self.low[k], self.high[k] - x[..., k]
            if np.isfinite(self.low[k]) and np.isfinite(self.high[k]):
                total = total + np.log(up * down / (up + down))
            else:  # x = high − log(1 + exp(−y)), slope 1 − exp(x − high)
                total = total + np.log(-np.expm1(-np.minimum(up, down)))
        return total

    @property
    def bounded(self) -> Bools:
        """Entries with an end."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.bounded).tolist())


def _inside(y: Floats, low: float, high: float) -> tuple[Floats, Floats, Floats]:
    """X between its ends, dx/dy, and the derivative of log dx/dy."""
    up = 1.0 / (1.0 + np.exp(-y))
    down = 1.0 / (1.0 + np.exp(y))
    if not np.isfinite(low):  # sd = high / (1 + exp(−y)) for x = log sd
        return high - np.logaddexp(0.0, -y), down, -up
    if not np.isfinite(high):
        return low + np.logaddexp(0.0, y), up, down
    return low + (high - low) * up, (high - low) * up * down, down - up


#: How far from the ends of its range (on the whole line) a chain may begin.
_FAR = 3.0


def _outside(x: float, low: float, high: float) -> float:
    """The inverse of :func:`_inside`, between −3 and 3."""
    with np.errstate(all="ignore"):
        if not np.isfinite(low):
            y = -np.log(np.expm1(high - x))
        elif not np.isfinite(high):
            y = np.log(np.expm1(x - low))
        else:
            y = np.log((x - low) / (high - x))
    return float(np.clip(np.nan_to_num(y, nan=0.0, posinf=_FAR, neginf=-_FAR), -_FAR, _FAR))


def make_chart(target: Target, spread: Floats | None = None) -> Chart:
    """The chart of a posterior (scales on the log scale).

    Parameters
    ----------
    target : Target
        The posterior.
    spread : ndarray, shape (d,), optional
        Approximate standard deviations of the entries of x: sds whose logs have one of less than 0.4 stay logged.
    """
    coordinates = target.coordinates
    d = coordinates.theta.stop + coordinates.n_aux
    low, high = np.full(d, -np.inf), np.full(d, np.inf)
    if target.priors is not None:
        _bound_theta(target, low, high)
        for k, (prior, link) in enumerate(zip(target.priors.auxiliaries, target.aux_links)):
            at = coordinates.theta.stop + k
            unit = 1.0 if coordinates.aux_units is None else coordinates.aux_units[k]
            with np.errstate(all="ignore"):
                ends = sorted(unit * float(get_link(link).eta(np.asarray(e))) for e in prior.support)
            low[at], high[at] = ends if not np.isnan(ends).any() else (-np.inf, np.inf)
    bounded = np.isfinite(low) | np.isfinite(high)
    signed = _signed(target) & ~bounded
    return Chart(signed if spread is None else signed & (spread > NEAR_ZERO), low, high)


def _bound_theta(target: Target, low: Floats, high: Floats) -> None:
    """Fill in the ends of the working coordinates of covariance parameters with priors of their own."""
    coordinates, priors = target.coordinates, target.priors
    assert priors is not None
    at = coordinates.theta.start
    for cov, terms in zip(coordinates.covariance, priors.blocks):
        for prior, where in zip(terms, cov.slices):
            own: tuple[Prior, ...] = () if prior.is_cholesky else prior.scales
            if prior.correlation is not None and not prior.is_cholesky:
                own = (*own, prior.correlation)
            for k, one in enumerate(own):
                entry = coordinates.entries[at - coordinates.theta.start + where.start + k]
                a, b = one.support
                if entry.kind == "interval":
                    a, b = ((e - entry.low) / (entry.high - e) if e < entry.high else np.inf for e in (a, b))
                with np.errstate(all="ignore"):
                    low[at + where.start + k], high[at + where.start + k] = np.log(max(a, 0.0)), np.log(b)
        at += cov.n_params


def _signed(target: Target) -> Bools:
    """Logged standard deviations that may go through zero: of uncorrelated columns, with priors that let them."""
    coordinates = target.coordinates
    signed = np.zeros(coordinates.theta.stop + coordinates.n_aux, dtype=bool)
    if target.priors is None:
        return signed
    at = coordinates.theta.start
    for cov, priors in zip(coordinates.covariance, target.priors.blocks):
        for term, form, prior in zip(cov.terms, cov.forms, priors):
            own = form.coordinates(term.size)
            alone = all(c.kind != "free" for c in own)
            for k, (entry, scale) in enumerate(zip(own, prior.scales)):
                signed[at + k] = alone and entry.even and entry.logged(coordinates.log_scales) and _level_at_zero(scale)
            at += len(own)
    return signed


def _level_at_zero(prior: Prior) -> bool:
    """Whether a density neither vanishes nor explodes at zero (as those of precisions do)."""
    near, nearer = prior.log_density(np.array([1e-4, 1e-8]))[0]
    return bool(np.isfinite(near) and abs(near - nearer) < 0.1)
