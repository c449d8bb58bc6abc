"""Profile-likelihood intervals of every parameter of a marginal-likelihood fit.

An interval holds the values that a likelihood-ratio test on χ²(1) does not reject, everything else maximised at each
value. An sd's interval starts at zero where zero is not rejected; a correlation's may end at ±1, a shape's at infinity.
With few quadrature nodes and several effects per level the likelihood depends a little on the order of the columns, and
so do the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm import names, quantiles
from bayesglmm.errors import ConvergenceWarning, MethodError, warn
from bayesglmm.inference.profile import Profile, profile_end
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.charts import Chart, covariance_chart
from bayesglmm.latent.held import HeldMaximum, signed_root
from bayesglmm.latent.quadrature.nodes import settings
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.units import Units, in_units
from bayesglmm.links import get_link
from bayesglmm.marginals import marginals
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Methods whose likelihood is the marginal one (``ml``: Laplace is exact for it).
METHODS = ("laplace", "agq", "ml")
#: Part of a standard error to which an end is found: an error of 4e-6 in the deviance.
TOLERANCE = 1e-6
#: A log-likelihood so much above the fit's own is another maximum.
HIGHER = 1e-4


@dataclass(frozen=True)
class Place:
    """A parameter by name: its chart, and the way from its coordinate to its natural scale."""

    name: str
    chart: Chart
    back: Callable[[float], float] = float


def profile_table(
    problem: Problem, result: Result, level: float = 0.95, parameters: Any = None, reference: str | None = None
) -> pd.DataFrame:
    """Profile-likelihood intervals of a fit by ``"laplace"``, ``"agq"`` or ``"ml"``.

    Parameters
    ----------
    problem, result
        The fit, by maximum likelihood (``priors="flat"``).
    level : float
        Coverage.
    parameters : str or list of str, optional
        Some of the parameters, by the names of the table; all when left out.
    reference : {"chi2"}, optional
        Only the χ² cut-off has a meaning here.

    Returns
    -------
    DataFrame
        ``estimate, ci_low, ci_high``, a row per parameter.

    Raises
    ------
    MethodError
        A fit with priors, an unknown parameter or reference.
    ConvergenceError
        A profile that could not be followed.

    Warns
    -----
    ConvergenceWarning
        A higher maximum was found on the way.

    Notes
    -----
    The cut-off is χ²(1) everywhere, as in lme4's ``confint``; where a variance is at zero the interval is conservative
    (the reference there is a mixture; Self & Liang 1987, J. Am. Stat. Assoc. 82, 605-610).
    """
    if problem.priors is not None and result.method != "ml":
        raise MethodError(
            "a profile needs a likelihood, and this fit has priors: use method='wald', the quantiles of fit.idata, or "
            "fit the model with priors='flat'."
        )
    problem.need_independent_errors("a profile")
    if reference not in (None, "chi2"):
        raise MethodError(f"reference is {reference!r}; a marginal-likelihood profile is cut off by 'chi2' only.")
    units = in_units(problem)
    places = {place.name: place for place in _places(units.problem, units.away(result))}
    chosen = list(places) if parameters is None else [str(v) for v in np.atleast_1d(parameters)]
    unknown = [name for name in chosen if name not in places]
    if unknown:
        raise MethodError(f"no parameter is named {unknown[0]!r}; there are {', '.join(places)}.")
    estimates = marginals(problem, result)
    cut = float(np.sqrt(quantiles.chi2.ppf(level, 1)))
    ends = []
    with one_thread(), ticker(len(chosen), "auto", "profiles") as advance:
        for name in chosen:
            ends.append(_interval(units, result, places[name], cut))
            advance(1)
    rows = {"estimate": [estimates[name].estimate for name in chosen]}
    rows |= {"ci_low": [low for low, _ in ends], "ci_high": [high for _, high in ends]}
    return pd.DataFrame(rows, index=pd.Index(chosen, name="parameter"))


def _places(problem: Problem, result: Result) -> Iterator[Place]:
    """Every parameter, in the order and by the names of :func:`bayesglmm.marginals.marginals`."""
    base = Chart(problem, result.beta, result.theta, result.psi, 0)
    p = len(result.beta)
    for j, name in enumerate(problem.design.columns):
        yield Place(name, Chart(problem, result.beta, result.theta, result.psi, j))
    for k, (block, cov) in enumerate(zip(problem.design.blocks, problem.covariance)):
        scales = [columns[0] for term in names.scale_columns(block, cov) for columns in term]
        for name in scales:
            j = block.columns.index(name)
            yield Place(names.sd_label(block, j, len(scales)), covariance_chart(base, k, j, j))
        for i, j in names.correlated_pairs(cov):
            yield Place(names.corr_label(block, i, j), covariance_chart(base, k, i, j))
    for j, auxiliary in enumerate(problem.auxiliaries):
        chart = Chart(problem, result.beta, result.theta, result.psi, p + len(result.theta) + j)
        yield Place(*_auxiliary(problem, auxiliary.name, auxiliary.link, chart))


def _auxiliary(problem: Problem, name: str, link: str, chart: Chart) -> tuple[str, Chart, Callable[[float], float]]:
    """An auxiliary by the name it goes by in tables, and its way back from ψ."""
    family, natural = problem.family, get_link(link).mean

    def value(psi: float) -> float:
        with np.errstate(all="ignore"):
            return float(natural(np.asarray(psi, dtype=float)))

    several = len(family.auxiliaries) > 1 or bool(problem.design.auxiliaries)
    if family.scale is not None or several or family.dispersion is None:
        return name, chart, value
    if family.name == "gaussian":
        return "Residual.sd", chart, value
    scale_of = family.dispersion

    def scale(psi: float) -> float:
        with np.errstate(all="ignore"):
            return float(scale_of((np.float64(value(psi)),)))  # type: ignore[arg-type]

    return "dispersion", chart, scale


def _interval(units: Units, result: Result, place: Place, cut: float) -> tuple[float, float]:
    if _undefined(place.chart):
        return -1.0, 1.0
    maximum = HeldMaximum(place.chart, **settings(result.options))
    chart = place.chart
    estimate = float(np.clip(chart.estimate, chart.low, chart.high))
    curve = Profile(signed_root(maximum), estimate, maximum.unit, chart.low, chart.high, TOLERANCE)
    ends = [profile_end(curve, cut, sign) for sign in (-1.0, 1.0)]
    entries = [entry for cov in chart.problem.covariance for entry in cov.coordinates]
    low, high = sorted(place.back(units.entry_back(end, chart.index, entries)) for end in ends)
    if (gain := maximum.highest - maximum.best) > HIGHER:
        warn(
            f"profiling {place.name} found a log-likelihood higher by {gain:.3g}: the fit is not at the highest "
            "maximum and its intervals are not to be used.",
            ConvergenceWarning,
        )
    return low, high


def _undefined(chart: Chart) -> bool:
    """A correlation with a zero variance: the likelihood is the same at all of its values."""
    if not np.isfinite(chart.low) or chart.low == 0.0:
        return False
    cov = chart.problem.covariance
    start = len(chart.beta)
    for c in cov:
        theta = chart.theta[start - len(chart.beta) : start - len(chart.beta) + c.n_params]
        if start <= chart.index < start + c.n_params:
            t = next(t for t, s in zip(c.terms, c.slices) if s.start <= chart.index - start < s.stop)
            return bool(np.any(c.sd_corr(theta)[0][t.start : t.stop] == 0.0))
        start += c.n_params
    return False
