"""One prior: a distribution by its PyMC name, its parameters, and the scale on which it is stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import plain, refused
from bayesglmm.errors import SpecError
from bayesglmm.priors import wishart
from bayesglmm.priors.distributions import DISTRIBUTIONS, Distribution

Floats = NDArray[np.float64]

#: Scales on which a prior of a positive parameter x may be stated: the power k of t = xᵏ.
SCALES = {"value": 1, "variance": 2, "precision": -2}

#: Where the height of a line has a prior: where its predictors are zero (its Intercept), or at their columns' means.
PLACES = ("zero", "means")

#: The prior of a correlation matrix.
LKJ = "LKJ"
#: Priors that are no density of a number.
OF_MATRICES = (LKJ, *wishart.NAMES)


@dataclass(frozen=True, init=False, repr=False)
class Prior:
    """A prior distribution, by its PyMC name and parameters.

    Parameters
    ----------
    name : str
        ``"Normal"``, ``"StudentT"``, ``"Cauchy"``, ``"Laplace"``, ``"Logistic"``, ``"Flat"``; for scales
        ``"HalfNormal"``, ``"HalfStudentT"``, ``"HalfCauchy"``, ``"HalfFlat"``, ``"Exponential"``, ``"Gamma"``,
        ``"InverseGamma"``, ``"LogNormal"``, ``"Weibull"``, and ``"PC"``, the penalised-complexity prior of a standard
        deviation, P(sd > upper) = probability (Simpson et al. 2017): exponential; on an interval ``"Uniform"``,
        ``"Beta"``, ``"TruncatedNormal"``; ``"LKJ"`` for correlation matrices (Lewandowski, Kurowicka & Joe 2009); and
        for a whole covariance matrix ``"Wishart"`` (of its inverse with ``on="precision"``, of itself without) and
        ``"InverseWishart"``.
    on : {"value", "variance", "precision"}
        For a positive parameter x, the scale on which the distribution is stated: x itself, x² or x⁻². The
        density of x then carries the change of variable. A covariance matrix or (``"precision"``) its inverse.
    at : {"zero", "means"}
        For an Intercept, where the line has the height that is described: where every predictor is zero, which is the
        Intercept itself, or at the means of the columns, in the middle of the data.
    **params : float
        Parameters as PyMC calls them; PyMC's defaults hold for those left out. Of a Wishart distribution ``df`` and
        ``scale``, with mean df · scale: a number times the identity, a diagonal, or a matrix.

    Raises
    ------
    SpecError
        An unknown name or parameter, a missing or non-positive one.

    Examples
    --------
    >>> print(Prior("Normal", mu=0, sigma=2.5))
    Normal(mu=0, sigma=2.5)
    >>> print(Prior("PC", upper=1, probability=0.01))
    PC(upper=1, probability=0.01)
    >>> print(Prior("Gamma", alpha=0.5, beta=0.0164, on="precision"))
    Gamma(alpha=0.5, beta=0.0164) on the precision
    >>> print(Prior("Normal", mu=0, sigma=2.5, at="means"))
    Normal(mu=0, sigma=2.5) at means
    >>> print(Prior("Wishart", df=5, scale=[1, 0.25], on="precision"))
    Wishart(df=5, scale=[1, 0.25]) on the precision
    """

    name: str
    params: tuple[tuple[str, Any], ...]
    on: str
    at: str

    def __init__(self, name: str, *, on: str = "value", at: str = "zero", **params: Any) -> None:
        plain("on", on)
        plain("at", at)
        if not isinstance(name, str):
            raise refused("name", name, "the name of a distribution, such as 'Normal',", SpecError)
        if on not in SCALES:
            raise SpecError(f"a prior is stated on {on!r}; it can be on {', '.join(map(repr, SCALES))}.")
        if at not in PLACES:
            raise SpecError(f"a prior is stated at {at!r}; it can be at {', '.join(map(repr, PLACES))}.")
        values = _checked(name, params)
        if name in wishart.NAMES:
            values = wishart.checked_parameters(name, on, values)
        if name == "PC" and (values["probability"] >= 1.0 or on != "value"):
            wrong = f"probability={values['probability']:g}" if on == "value" else f"on={on!r}"
            raise SpecError(
                f"a PC prior says P(sd > upper) = probability, below 1, of the sd itself; {wrong} was given."
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "params", tuple(values.items()))
        object.__setattr__(self, "on", on)
        object.__setattr__(self, "at", at)
        if name not in wishart.NAMES and on != "value" and (name == LKJ or self._row.support(values)[0] < 0):
            raise SpecError(f"{self.name} cannot be a prior on the {on}: it reaches below zero.")
        if at != "zero" and (self.of_matrix or self.support != (-np.inf, np.inf)):
            raise SpecError(
                f"{self.name} cannot be a prior at the columns' means: the height of a line may be any number, so its "
                "prior must be a distribution on the whole line, such as Normal."
            )

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={_printed(v)}" for k, v in self.params)
        where = "" if self.at == "zero" else " at means"
        return f"{self.name}({inside})" + ("" if self.on == "value" else f" on the {self.on}") + where

    def __repr__(self) -> str:
        inside = "".join(f", {k}={v!r}" for k, v in self.params)
        scale = "" if self.on == "value" else f", on={self.on!r}"
        return f"Prior({self.name!r}{inside}{scale}" + ("" if self.at == "zero" else f", at={self.at!r}") + ")"

    @property
    def _row(self) -> Distribution:
        return DISTRIBUTIONS[self.name]

    @property
    def power(self) -> int:
        """The k of t = xᵏ, where t is what the named distribution describes."""
        return SCALES[self.on]

    @property
    def proper(self) -> bool:
        """Whether it is a probability distribution."""
        return self.of_matrix or self._row.proper

    @property
    def of_matrix(self) -> bool:
        """Whether it is a prior of a correlation or covariance matrix."""
        return self.name in OF_MATRICES

    @property
    def support(self) -> tuple[float, float]:
        """Ends of the support of the parameter itself (of the correlations for LKJ, of an entry of a covariance)."""
        if self.of_matrix:
            return (-1.0, 1.0) if self.name == LKJ else (-np.inf, np.inf)
        low, high = self._row.support(dict(self.params))
        if self.on == "value":
            return low, high
        with np.errstate(divide="ignore"):
            ends = np.array([low, high]) ** (1.0 / self.power)
        return float(ends.min()), float(ends.max())

    def log_density(self, x: Any) -> tuple[Floats, Floats]:
        """Log-density and its derivative at `x`.

        Parameters
        ----------
        x : array_like
            Values of the parameter.

        Returns
        -------
        value, slope : ndarray
            Of the shape of `x`; outside the support −inf and 0.

        Raises
        ------
        SpecError
            A prior of a matrix.
        """
        if self.of_matrix:
            raise SpecError(f"{self} is a prior of a matrix: it has no density at numbers one by one.")
        x = np.asarray(x, dtype=float)
        flat = x.reshape(-1)
        one = batches((self,))[0]
        value, slope = evaluate((replace(one, index=np.arange(flat.size)),), flat)
        return value.reshape(x.shape), slope.reshape(x.shape)


def _printed(value: Any) -> str:
    """A number, or a matrix as nested lists."""
    return f"[{', '.join(map(_printed, value))}]" if isinstance(value, tuple) else f"{value:.6g}"


def _checked(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the named distribution, in its order, with defaults filled in."""
    if name == LKJ:
        known: tuple[str, ...] = ("eta",)
        missing: tuple[str, ...] = () if "eta" in params else known
        positive = known
        defaults: dict[str, float] = {}
    elif name in wishart.NAMES:
        known, positive, defaults = wishart.PARAMETERS, (), {}
        missing = tuple(k for k in known if k not in params)
    else:
        if name not in DISTRIBUTIONS:
            raise SpecError(_unknown("prior distribution", name, (*DISTRIBUTIONS, *OF_MATRICES)))
        rows = DISTRIBUTIONS[name].parameters
        known = tuple(p.name for p in rows)
        missing = tuple(p.name for p in rows if p.default is None and p.name not in params)
        positive = tuple(p.name for p in rows if p.positive)
        defaults = {p.name: p.default for p in rows if p.default is not None}
    for key in params:
        if key not in known:
            raise SpecError(_unknown(f"parameter of {name}", key, known))
    if missing:
        raise SpecError(f"{name} needs {', '.join(missing)}: Prior({name!r}, {', '.join(f'{k}=...' for k in known)}).")
    if name in wishart.NAMES:
        return dict(params)
    values = {}
    for key in known:
        try:
            values[key] = float(params.get(key, defaults.get(key)))
        except (TypeError, ValueError):
            raise SpecError(f"{key} of {name} is {params[key]!r}; a number is expected.") from None
        if np.isnan(values[key]) or (key in positive and not 0 < values[key] < np.inf):
            expected = "a positive number" if key in positive else "a number"
            raise SpecError(f"{key} of {name} is {values[key]:g}; {expected} is expected.")
    if "lower" in values and not values["lower"] < values["upper"]:
        raise SpecError(
            f"{name} has lower={values['lower']:g} and upper={values['upper']:g}; lower < upper is expected."
        )
    return values


def _unknown(what: str, given: str, known: Sequence[str]) -> str:
    near = get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what}: {given!r}.{hint} Known: {', '.join(known) or 'none'}."


@dataclass(frozen=True)
class Batch:
    """Parameters that share a distribution, so that their densities are one array operation."""

    row: Distribution
    power: int
    index: NDArray[np.int64]
    params: tuple[Floats, ...]
    low: Floats
    high: Floats


def batches(priors: Sequence[Prior]) -> tuple[Batch, ...]:
    """Group univariate priors by distribution and scale."""
    groups: dict[tuple[str, int], list[int]] = {}
    for i, prior in enumerate(priors):
        groups.setdefault((prior.name, prior.power), []).append(i)
    out = []
    for (name, power), index in groups.items():
        row = DISTRIBUTIONS[name]
        params = tuple(np.array([priors[i].params[j][1] for i in index]) for j in range(len(row.parameters)))
        ends = np.array([priors[i].support for i in index])
        out.append(Batch(row, power, np.array(index), params, ends[:, 0], ends[:, 1]))
    return tuple(out)


def evaluate(parts: Sequence[Batch], x: Floats) -> tuple[Floats, Floats]:
    """Log-densities and derivatives of the parameters `x`, shape (..., k); −inf and 0 outside the support."""
    value, slope = np.zeros(x.shape), np.zeros(x.shape)
    for part in parts:
        at = x[..., part.index]
        inside = (at >= part.low) & (at <= part.high)
        k = part.power
        with np.errstate(all="ignore"):
            v, s = part.row.density(at if k == 1 else at**k, *part.params)
            if k != 1:  # density of x from that of t = xᵏ
                v = v + np.log(abs(k)) + (k - 1) * np.log(at)
                s = s * k * at ** (k - 1) + (k - 1) / at
        value[..., part.index] = np.where(inside, v, -np.inf)
        slope[..., part.index] = np.where(inside, s, 0.0)
    return value, slope


def evaluate_bend(parts: Sequence[Batch], x: Floats) -> tuple[Floats, Floats]:
    """Second and third derivatives of the log-densities of coefficients `x`, one entry each.

    Raises
    ------
    SpecError
        For a distribution whose log-density is not smooth.
    """
    second, third = np.zeros(len(x)), np.zeros(len(x))
    for part in parts:
        if part.row.bend is None:
            raise SpecError(
                f"the log-density of a {part.row.name} prior of a coefficient has no curvature to build a Gaussian "
                "approximation on: use Normal, StudentT, Cauchy or Logistic, or another method."
            )
        second[part.index], third[part.index] = part.row.bend(x[part.index], *part.params)
    return second, third
