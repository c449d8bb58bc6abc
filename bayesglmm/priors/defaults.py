"""Default priors: weakly informative, scaled by the data, in the manner of rstanarm and Bambi.

With s a typical size of the linear predictor's variation, m a typical value of it, and sd(x) the sample standard
deviation (denominator n − 1) of a column:

==============================  ==========================================================================
parameter                       prior
==============================  ==========================================================================
slope of column x               Normal(0, 2.5 s / sd(x))
Intercept                       Normal(m, 2.5 s) for the line's height at the columns' means: given the slopes the
                                Intercept is Normal(m − Σ_j x̄_j β_j, 2.5 s)
sd of a group's Intercept       HalfNormal(2.5 s)
sd of a group's slope of z      HalfNormal(2.5 s / sd(z))
correlation matrix              LKJ(2): smooth, and zero where a correlation is ±1, so that a posterior mode
                                is not a singular one
one correlation (cs, ar1)       Uniform on the interval it may have
sigma                           HalfStudentT(4, sd(y − offset)); sd(y) under links other than the identity
shapes and precisions (theta,   InverseGamma(0.4, 0.3), for the inverse Gaussian (0.4, 0.3 ȳ): values near zero
shape, phi of the beta)         (extreme overdispersion) are ruled out, infinity (none) is not
dispersions (phi of the NB1     HalfCauchy(2.5), HalfCauchy(2.5 √ȳ): none is not ruled out, and a lot neither
and of the Tweedie)
nu of the Student-t             Gamma(2, 0.1) (Juárez & Steel 2010, Journal of Business & Economic Statistics
                                28, 52-66)
gaps between thresholds         HalfNormal(2.5)
auxiliaries on an interval      Uniform on it
other auxiliaries               Normal(0, 2.5)
coefficients of an auxiliary's  as slopes and Intercept, with s = 1 and m = 0 (m = log sd(y − offset) for sigma), on
own linear predictor            the scale of its link
==============================  ==========================================================================

The scale of the linear predictor. Under log, logit, probit, complementary log-log and the like the linear
predictor has no unit, and s = 1, as in rstanarm and Bambi. Otherwise it has the unit of y (identity) or of a
function of it, and s = sd(y) |g'(ȳ)|; for a Gaussian response with the identity link that is sd(y). In every case
m = g(ȳ) less the mean offset: with it the unit in which a response is measured (euro or cent, day or second, exposure
in persons or thousands) changes the Intercept and nothing else. rstanarm and Bambi take m = 0 for the unitless links.

The Intercept is where the line is at x = 0, which may be far from every row (log(age) has mean 3.3 and sd 0.2), so
nothing is said of it: its prior is that of the line's height in the middle of the data (as in brms, rstanarm and
Bambi), independent of the slopes. Adding a constant to a predictor then changes the Intercept and nothing else. A
user's own prior of ``"Intercept"`` is of the Intercept itself, independent of the slopes, unless it says
``at="means"``.

Columns that are constant but not named Intercept count as |value| times one. Without an Intercept, when some
combination c of the columns is constant (cell means, ``0 + group``), coefficients have prior means m c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.covariance import Coordinate
from bayesglmm.families import auxiliary_range
from bayesglmm.priors.prior import Prior

if TYPE_CHECKING:
    from bayesglmm.design.types import AuxDesign, Design
    from bayesglmm.families.base import Auxiliary, Family
    from bayesglmm.links import Link

Floats = NDArray[np.float64]

#: Links whose linear predictor has no unit.
UNITLESS = frozenset({"log", "logit", "probit", "cloglog", "loglog", "cauchit"})

WIDTH = 2.5


@dataclass(frozen=True)
class Scaling:
    """Typical value and variation of the linear predictor, and of the response.

    Parameters
    ----------
    center, spread : float
        m and s.
    response_sd : float
        Standard deviation of the response (less the offset, under the identity link).
    response_mean : float
        Its mean, where that is positive; else 1.
    """

    center: float
    spread: float
    response_sd: float
    response_mean: float


def scaling(design: Design, link: Link) -> Scaling:
    """Read m, s and sd(y) off the data."""
    response = design.response
    assert response is not None
    trials = np.ones(design.nobs) if response.trials is None else response.trials
    y = response.y / trials
    identity = link.name == "identity"
    y = y - design.offset if identity else y
    mean = float(np.average(y, weights=trials))
    sd = _sd(y) or 1.0
    with np.errstate(all="ignore"):
        center = float(link.eta(np.asarray(mean)))
        slope = abs(float(link.slope(np.asarray(center))))
    if not np.isfinite(center):
        center = 0.0
    elif not identity:
        center -= float(design.offset.mean())
    unit = 1.0 if link.name in UNITLESS or not 0 < slope < np.inf else sd / slope
    return Scaling(center, unit, sd, mean if mean > 0 else 1.0)


def _sd(x: Floats) -> float:
    """Sample standard deviation; 0 for a column that is constant up to rounding."""
    if len(x) < 2:
        return 0.0
    sd = float(np.std(x, ddof=1))
    return sd if sd > 1e-12 * float(np.abs(x).max()) else 0.0


def _unit(x: Floats) -> float:
    """The change of `x` that counts as one: its sd, or its size when it is constant."""
    return _sd(x) or float(np.abs(x).max()) or 1.0


def auxiliary_coefficient_priors(auxiliary: Auxiliary, own: AuxDesign, scale: Scaling) -> tuple[Prior, ...]:
    """Priors of the coefficients of an auxiliary's linear predictor, on the scale of its link."""
    center = float(np.log(scale.response_sd)) if auxiliary.name == "sigma" and scale.response_sd > 0 else 0.0
    return _normal_priors(own.X, own.columns, replace(scale, center=center, spread=1.0))


def coefficient_priors(design: Design, scale: Scaling) -> tuple[Prior, ...]:
    """Priors of the coefficients."""
    return _normal_priors(design.X, design.columns, scale)


def _normal_priors(X: Floats, names: tuple[str, ...], scale: Scaling) -> tuple[Prior, ...]:
    sigma = np.array([WIDTH * scale.spread / _unit(x) for x in X.T])
    mu = np.zeros(len(names))
    at = ["zero"] * len(names)
    if "Intercept" in names:
        k = names.index("Intercept")
        sigma[k], mu[k] = WIDTH * scale.spread, scale.center
        at[k] = "means" if len(names) > 1 else "zero"
    elif len(names):
        ones = np.ones(len(X))
        c = np.linalg.lstsq(X, ones, rcond=None)[0]
        if np.abs(X @ c - ones).max() < 1e-8:
            mu = scale.center * np.where(np.abs(c) < 1e-10, 0.0, c)
    return tuple(Prior("Normal", mu=m, sigma=s, at=where) for m, s, where in zip(mu, sigma, at))


def scale_prior(z: Floats, scale: Scaling) -> Prior:
    """Prior of the sd of the effects that multiply the columns `z`, shape (n, k): k > 1 when they share one sd."""
    unit = float(np.sqrt(np.mean([_unit(column) ** 2 for column in z.T])))
    return Prior("HalfNormal", sigma=WIDTH * scale.spread / unit)


def correlation_prior(coordinates: Sequence[Coordinate], eta: float = 2.0) -> Prior | None:
    """Prior of a term's correlation, by the kind of its coordinates."""
    if any(c.kind == "free" for c in coordinates):
        return Prior("LKJ", eta=eta)
    interval = next((c for c in coordinates if c.kind == "interval"), None)
    return None if interval is None else Prior("Uniform", lower=interval.low, upper=interval.high)


def auxiliary_prior(auxiliary: Auxiliary, family: Family, scale: Scaling) -> Prior:
    """Prior of an auxiliary, natural scale."""
    count = family.name.removeprefix("zero_inflated_").removeprefix("hurdle_")
    own = _AUXILIARY.get(f"{count}.{auxiliary.name}") or _AUXILIARY.get(auxiliary.name.split("_")[0])
    if own is not None:
        return own(scale)
    if auxiliary.link == "log":
        return Prior("InverseGamma", alpha=0.4, beta=0.3)
    low, high = auxiliary_range(auxiliary)
    bounded = np.isfinite(low) and np.isfinite(high)
    return Prior("Uniform", lower=low, upper=high) if bounded else Prior("Normal", mu=0, sigma=WIDTH)


_AUXILIARY: dict[str, Callable[[Scaling], Prior]] = {
    "sigma": lambda s: Prior("HalfStudentT", nu=4, sigma=s.response_sd),
    "nu": lambda s: Prior("Gamma", alpha=2, beta=0.1),
    "gap": lambda s: Prior("HalfNormal", sigma=WIDTH),
    "inverse_gaussian.shape": lambda s: Prior("InverseGamma", alpha=0.4, beta=0.3 * s.response_mean),
    "negative_binomial_1.phi": lambda s: Prior("HalfCauchy", beta=WIDTH),
    "tweedie.phi": lambda s: Prior("HalfCauchy", beta=WIDTH * np.sqrt(s.response_mean)),
}
