"""Draws that would not fit are refused with the estimate, before any is made."""

from __future__ import annotations

import pandas as pd
import pytest

import bayesglmm as bg

DATA = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "g": list("aabbcc")})


def test_responses_that_would_not_fit() -> None:
    fit = bg.Model("y ~ 1", DATA, family="poisson").fit("irls")
    with pytest.raises(bg.MethodError, match=r"1000000000 draws of 6 responses would take about 89 GB .* take fewer"):
        fit.posterior_predictive(10**9)


def test_chains_that_would_not_fit() -> None:
    model = bg.Model("y ~ 1 + (1 | g)", DATA, family="poisson")
    with pytest.raises(bg.MethodError, match=r"4 chains of 1000000000 draws of 4 .* about 238 GB"):
        model.fit("mcmc", draws=10**9, chains=4)
