"""A power of the variance function estimated by profile likelihood (Tweedie)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import BayesGLMMWarning
from bayesglmm.links import get_link
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]


def fit_profiled(problem: Problem, fit: Callable[[Problem], Result]) -> Result:
    """Maximise the profile log-likelihood over the free parameter and report the fit there.

    Parameters
    ----------
    problem : Problem
        Its family has a `profile`.
    fit : callable
        Problem with the parameter fixed → Result with a log-likelihood.

    Returns
    -------
    Result
        Of the free family: the parameter is one more auxiliary and counts in ``df_model``. ``extras["profile"]`` holds
        the values tried and their log-likelihoods.
    """
    from scipy import optimize

    row = problem.family.profile
    assert row is not None
    tried: dict[float, float] = {}

    def loss(value: float) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BayesGLMMWarning)
            result = fit(replace(problem, family=row.at(value)))
        assert result.loglik is not None
        tried[float(value)] = result.loglik
        return -result.loglik

    found = optimize.minimize_scalar(loss, bounds=(row.low, row.high), method="bounded", options={"xatol": 1e-7})
    value = float(found.x)
    best = fit(replace(problem, family=row.at(value)))
    position = next(k for k, a in enumerate(problem.family.auxiliaries) if a.name == row.parameter)
    link = get_link(problem.family.auxiliaries[position].link)
    psi = np.insert(best.psi, position, float(link.eta(np.asarray(value))))
    edge = min(value - row.low, row.high - value) < 1e-4
    boundary = (*best.status.boundary, row.parameter) if edge else best.status.boundary
    profile = np.array(sorted(tried.items()))
    return replace(
        best,
        psi=psi,
        cov_joint=None,
        df_model=best.df_model + 1,
        status=replace(best.status, boundary=boundary, evaluations=len(tried)),
        extras={**best.extras, "profile": profile},
    )
