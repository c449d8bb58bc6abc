"""Draws that would not fit are refused with the estimate, before any is made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm.idata import log_likelihood
from bayesglmm.result import Draws

DATA = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "g": list("aabbcc")})


def test_responses_that_would_not_fit() -> None:
    fit = bg.Model("y ~ 1", DATA, family="poisson").fit("irls")
    with pytest.raises(bg.MethodError, match=r"1000000000 draws of 6 responses would take about 89 GB .* take fewer"):
        fit.posterior_predictive(10**9)


def test_chains_that_would_not_fit() -> None:
    model = bg.Model("y ~ 1 + (1 | g)", DATA, family="poisson")
    with pytest.raises(bg.MethodError, match=r"4 chains of 1000000000 draws of 4 .* about 238 GB"):
        model.fit("mcmc", draws=10**9, chains=4)


def test_draws_of_a_laplace_fit_that_would_not_fit() -> None:
    fit = bg.Model("y ~ 1 + (1 | g)", DATA, family="poisson").fit("laplace", draws=10**9)
    with pytest.raises(bg.MethodError, match=r"1000000000 draws of 4 parameters and random effects .* about 60 GB"):
        _ = fit.idata


def test_a_log_likelihood_that_would_not_fit() -> None:
    model = bg.Model("y ~ 1", pd.DataFrame({"y": range(3000)}), family="poisson")
    point = np.zeros((1, 1, 1))
    draws = Draws(np.broadcast_to(point, (4, 10**5, 1)), point[..., :0], point[..., :0], ())
    with pytest.raises(bg.MethodError, match=r"the log-likelihood of 3000 rows at 400000 draws .* about 18 GB"):
        log_likelihood(model.problem, draws)
