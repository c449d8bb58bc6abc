"""Log-likelihood and auxiliaries of a fit with no random effects, summed in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.families.base import BoundKernel, Family
from bayesglmm.links import Link, get_link
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.scores.rows import RawResponse, Rows
from bayesglmm.scores.working import deviance_terms

Floats = NDArray[np.float64]

_CHUNK = 16384
#: Families whose log-likelihood R reports at φ = deviance / n.
DEVIANCE_OVER_N = ("gaussian", "gamma", "inverse_gaussian")
#: Unconstrained auxiliaries beyond this are at infinity for all purposes (exp(16) is about nine million).
PSI_LIMIT = 16.0
_SMALL_COUNT = 4096


def kernels(problem: Problem, eta: Floats) -> Iterator[tuple[BoundKernel, Floats]]:
    """Bound kernels over blocks of rows with the linear predictor they are to be evaluated at.

    A link for which the family has no closed form goes through the mean: the kernel of the family's default link
    at that link's η of the same mean. The density is the same.
    """
    r, weights = problem.response, problem.design.weights
    for start in range(0, problem.design.nobs, _CHUNK):
        part = slice(start, start + _CHUNK)
        data = (r.y[part], None if r.trials is None else r.trials[part], None if weights is None else weights[part])
        yield bound_kernel(problem.family, problem.link, data, eta[part])


def bound_kernel(family: Family, link: Link, data: RawResponse, eta: Floats) -> tuple[BoundKernel, Floats]:
    """Kernel of some rows, and the linear predictor it is to be evaluated at."""
    if family.kernel is None:
        raise MethodError(f"{family.name} has no closed-form likelihood.")
    factory = family.kernel(link.name)
    if factory is not None:
        return factory(*data), eta
    usual = get_link(family.links[0])
    factory = family.kernel(usual.name)
    assert factory is not None
    return factory(*data), usual.eta(link.mean(eta))


def saturated_loglik(rows: Rows, family: Family, link: Link) -> float:
    """Log-likelihood plus half the deviance of a block of rows: free of the coefficients, where it `follows_deviance`.

    Taken at means near the responses; small counts without weights once for each value that occurs.
    """
    y, trials, weights = rows.raw
    counts = np.ones(1)
    if trials is None and weights is None and len(y) and y.min() >= 0.0 and y.max() < _SMALL_COUNT:
        whole = y.astype(np.int64)
        if np.array_equal(whole, y):
            occurring = np.bincount(whole)
            values = np.flatnonzero(occurring).astype(float)
            counts = occurring[occurring > 0].astype(float)
            rows = Rows(np.empty((len(values), 0)), values, np.ones(len(values)), values, (values, None, None))
    mu = family.initial_mean(rows.y, rows.w)
    eta = link.eta(mu)
    kernel, at = bound_kernel(family, link, rows.raw, eta)
    loglik = kernel.derivatives(at, np.empty(0)).value
    return float(np.sum(counts * (loglik + 0.5 * deviance_terms(family, link.mean(eta), rows.y, rows.w))))


def follows_deviance(family: Family) -> bool:
    """Whether log-likelihood and half the deviance add up to a number free of the coefficients."""
    return (
        family.scale == 1.0
        and family.exponential
        and not (family.quasi or family.auxiliaries or family.kernel is None or family.profile is not None)
    )


def loglik_at(problem: Problem, eta: Floats, psi: Floats) -> float:
    """Full log-likelihood at a linear predictor, shape (n,), and unconstrained auxiliaries."""
    return float(sum(k.derivatives(e, psi).value.sum() for k, e in kernels(problem, eta)))


def aux_score(problem: Problem, eta: Floats, psi: Floats) -> Floats:
    """Derivative of the log-likelihood in the unconstrained auxiliaries, shape (n_aux,)."""
    return np.sum([k.aux_derivatives(e, psi).value.sum(axis=-1) for k, e in kernels(problem, eta)], axis=0)


def psi_for_scale(problem: Problem, phi: float) -> Floats:
    """The auxiliary, unconstrained, at which the family's dispersion is φ; empty when it has none."""
    from scipy import optimize

    family = problem.family
    if not family.auxiliaries or family.dispersion is None or not phi > 0:
        return np.zeros(len(family.auxiliaries))
    dispersion = family.dispersion

    def gap(psi: float) -> float:
        return float(np.log(dispersion(auxiliary_values(problem, np.array([psi]))) / phi))

    # every dispersion in use is a power of the auxiliary, so that the gap is a line and one secant step is exact
    low, high = gap(0.0), gap(1.0)
    guess = low / (low - high)
    return np.array([optimize.newton(gap, guess, tol=1e-15) if abs(gap(guess)) > 1e-12 else guess])


def ml_dispersion(
    problem: Problem, maximise: Callable[[Floats], tuple[Floats, bool]], psi: Floats, deviance: float
) -> Floats | None:
    """The dispersion at which a log-likelihood is reported, unconstrained; None for a perfect fit.

    Parameters
    ----------
    problem : Problem
        A family whose scale is free.
    maximise : callable
        Start → maximum-likelihood auxiliary, and whether it is an interior maximum.
    psi : ndarray, shape (1,)
        Where to start.
    deviance : float
        Σ w d.

    Notes
    -----
    R's ``logLik.glm`` takes φ = deviance / n, which is the maximum for the gaussian and the inverse Gaussian and close
    to it for the gamma. Other families have no such convention: there φ is the maximum itself.
    """
    if not deviance > 0:
        return None
    if problem.family.name in DEVIANCE_OVER_N:
        return psi_for_scale(problem, deviance / problem.design.nobs)
    return maximise(psi)[0]


def maximise_auxiliary(problem: Problem, eta: Floats, psi: Floats) -> tuple[Floats, bool]:
    """Maximum-likelihood auxiliary at a fixed linear predictor.

    Parameters
    ----------
    problem : Problem
        With exactly one auxiliary that enters the variance (the θ of a negative binomial).
    eta : ndarray, shape (n,)
        Linear predictor.
    psi : ndarray, shape (1,)
        Where to start, unconstrained.

    Returns
    -------
    psi : ndarray, shape (1,)
        The maximiser.
    interior : bool
        False when the likelihood keeps rising to the edge (a negative binomial without overdispersion).
    """
    return maximise_score(lambda value: float(aux_score(problem, eta, np.array([value]))[0]), psi)


def maximise_score(score: Callable[[float], float], psi: Floats) -> tuple[Floats, bool]:
    """Root of the score of one unconstrained auxiliary, and whether it is an interior maximum.

    Parameters
    ----------
    score : callable
        Auxiliary → derivative of the log-likelihood.
    psi : ndarray, shape (1,)
        Where to start.
    """
    from scipy import optimize

    low = high = float(psi[0])
    step = 0.5
    while score(low) < 0 and low > -PSI_LIMIT:
        low -= step
        step *= 2.0
    step = 0.5
    while score(high) > 0 and high < PSI_LIMIT:
        high += step
        step *= 2.0
    low, high = max(low, -PSI_LIMIT), min(high, PSI_LIMIT)
    if score(high) > 0:
        return np.array([PSI_LIMIT]), False
    if score(low) < 0:
        return np.array([-PSI_LIMIT]), False
    if low == high:
        return np.array([low]), True
    return np.array([optimize.brentq(score, low, high, xtol=1e-13, rtol=8.9e-16)]), True


def auxiliary_information(score: Callable[[Floats], Floats], psi: Floats, h: float = 1e-4) -> float:
    """Observed information of a single unconstrained auxiliary, by central difference of its score."""
    up, down = (float(score(psi + s)[0]) for s in (h, -h))
    up2, down2 = (float(score(psi + s)[0]) for s in (2 * h, -2 * h))
    return -((8 * (up - down) - (up2 - down2)) / (12 * h))
