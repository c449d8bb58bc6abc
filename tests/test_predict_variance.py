"""Standard errors of predictions over all parameters: glmmTMB's, and derivatives of modes found anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_data import frame

import bayesglmm as bg
from bayesglmm.latent.posterior import found_optimum
from bayesglmm.latent.prediction import linear_predictor_variance, row_parts

# glmmTMB 1.1, predict(fit, se.fit = TRUE): rows 1 to 4.
GLMMTMB: dict[str, tuple[str, str, dict[str, Any], str, list[float]]] = {
    "cbpp": (
        "p(incidence, size) ~ period + (1 | herd)",
        "cbpp",
        {"family": "binomial"},
        "linear",
        [0.378330128526723, 0.430200063614448, 0.449510770861178, 0.532487500589496],
    ),
    "correlated slopes": (
        "Reaction ~ Days + (1 + Days | Subject)",
        "sleepstudy",
        {},
        "linear",
        [12.9451346938142, 11.0659335656843, 9.46648629150305, 8.30993040417443],
    ),
    "gamma": (
        "Reaction ~ Days + (1 | Subject)",
        "sleepstudy",
        {"family": "gamma", "link": "log"},
        "linear",
        [0.0320393565327431, 0.0311947003482375, 0.0305329802156502, 0.0300662771245641],
    ),
    "zero inflation": (
        "count ~ mined + (1 | site)",
        "salamanders",
        {"family": "zero_inflated_poisson"},
        "mean",
        [0.084035, 0.191278, 0.053606, 0.264086],
    ),
}


@pytest.mark.parametrize("case", GLMMTMB)
def test_standard_errors_are_glmmtmbs(case: str) -> None:
    formula, data, options, kind, expected = GLMMTMB[case]
    fit = bg.Model(formula, frame(data), priors="flat", **options).fit("laplace")
    np.testing.assert_allclose(fit.predict(kind=kind)["se"][:4], expected, rtol=2e-5)


def test_a_level_that_was_not_seen_as_in_glmmtmb() -> None:
    """glmmTMB: predict(..., newdata, allow.new.levels = TRUE, se.fit = TRUE) of herd 1, period 1 and herd 99, 2."""
    data = frame("cbpp").astype({"herd": str, "period": str})
    fit = bg.Model("p(incidence, size) ~ period + (1 | herd)", data, "binomial", priors="flat").fit("laplace")
    new = pd.DataFrame({"period": ["1", "2"], "herd": ["1", "99"], "size": [1, 1]})
    np.testing.assert_allclose(fit.predict(new, kind="linear")["se"], [0.3783301, 0.7132551], rtol=3e-6)


@pytest.mark.parametrize(
    ("formula", "data", "family", "priors", "method"),
    [
        ("y ~ lbase + (1 + V4 || subject)", "epil", "negative_binomial", "default", "laplace"),
        ("y ~ lbase + (1 + V4 || subject)", "epil", "negative_binomial", "default", "agq"),
        ("y ~ trt + (1 | subject) + (1 | period)", "epil", "poisson", "default", "laplace"),
        ("Reaction ~ Days + (1 + Days | Subject)", "sleepstudy", "gaussian", "flat", "laplace"),
    ],
)
def test_linear_predictors_move_with_all_parameters_as_modes_found_anew_do(
    formula: str, data: str, family: str, priors: str, method: str
) -> None:
    model = bg.Model(formula, frame(data), family, priors=priors)
    fit = model.fit(method)
    problem, result = model.problem, fit.result
    parts = row_parts(problem, result, problem.design)
    target, _ = found_optimum(problem, result)
    coordinates = target.coordinates
    x, slope = coordinates.join(result.beta, result.theta, result.psi), coordinates.slope(result.theta)
    numeric = []
    for j in range(len(x)):
        ends = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[j] += sign * 1e-4
            mode = target.at(moved).mode
            beta, theta, _ = coordinates.split(moved)
            loadings = target.objective.structure.at(target.objective.lambdas(theta))
            ends.append(target.objective.X @ beta + loadings.expand(mode.u))
        numeric.append((ends[0] - ends[1]) / 2e-4 / slope[j])
    assert np.array_equal(target.objective.X, problem.design.X)
    got = np.hstack([parts.x, parts.moves])
    np.testing.assert_allclose(got, np.array(numeric).T, rtol=1e-5, atol=1e-6 * np.abs(got).max(axis=0).min())


def test_a_variance_at_zero_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.poisson(3.0, 60), "x": rng.normal(size=60), "g": np.repeat(np.arange(12), 5)})
    with pytest.warns(bg.SingularFitWarning):
        fit = bg.Model("y ~ x + (1 | g)", data, "poisson", priors="flat").fit("laplace")
    X = fit.model.design.X
    plain = np.einsum("ij,jk,ik->i", X, fit.result.cov_beta, X)
    variance = linear_predictor_variance(fit.model.problem, fit.result, fit.model.design)
    np.testing.assert_allclose(variance, plain, rtol=1e-9)


def test_methods_that_hold_the_variances_say_nothing_of_them() -> None:
    fit = bg.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy"), priors="flat").fit("ml")
    assert row_parts(fit.model.problem, fit.result, fit.model.design).moves.shape == (180, 0)
