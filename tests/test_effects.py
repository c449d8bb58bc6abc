"""Average marginal effects: by hand where they can be, by differences of predictions and parameters elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm.parameters import auxiliary_values


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    g = np.arange(n) % 15
    x, f = rng.normal(size=n), np.array(list("abc"))[rng.integers(0, 3, n)]
    eta = 0.4 + 0.5 * x + 0.6 * (f == "b") - 0.3 * (f == "c") + 0.7 * rng.normal(size=15)[g]
    return pd.DataFrame(
        {
            "count": rng.poisson(np.exp(eta)),
            "hit": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int),
            "y": eta + rng.normal(size=n),
            "x": x,
            "f": f,
            "g": g,
            "size": rng.uniform(0.5, 2.0, n),
        }
    )


DATA = table()


def test_logistic_slope_and_difference_by_hand() -> None:
    fit = bg.Model("hit ~ x + f", DATA, family="binomial").fit("irls")
    beta, V = fit.fixed["estimate"].to_numpy(), fit.cov.to_numpy()
    X = fit.model.design.X
    p = 1 / (1 + np.exp(-X @ beta))
    found = fit.average_effects().set_index(["variable", "effect"])
    slope = found.loc[("x", "slope")]
    assert slope["estimate"] == pytest.approx(np.mean(beta[1] * p * (1 - p)), rel=1e-7)
    gradient = np.mean((p * (1 - p))[:, None] * (np.eye(4)[1] + (beta[1] * (1 - 2 * p))[:, None] * X), axis=0)
    assert slope["se"] == pytest.approx(np.sqrt(gradient @ V @ gradient), rel=1e-6)
    high, low = (np.array(X) for _ in range(2))
    high[:, 2:], low[:, 2:] = [1, 0], 0
    ends = [1 / (1 + np.exp(-M @ beta)) for M in (high, low)]
    contrast = found.loc[("f", "b - a")]
    assert contrast["estimate"] == pytest.approx(np.mean(ends[0] - ends[1]), rel=1e-9)
    slopes = [((q * (1 - q))[:, None] * M).mean(axis=0) for q, M in zip(ends, (high, low))]
    assert contrast["se"] == pytest.approx(np.sqrt((slopes[0] - slopes[1]) @ V @ (slopes[0] - slopes[1])), rel=1e-8)
    assert contrast["ci_high"] - contrast["estimate"] == pytest.approx(1.959963984540054 * contrast["se"], rel=1e-9)


def test_in_a_linear_model_it_is_the_coefficient() -> None:
    fit = bg.Model("y ~ x + f + (1 + x | g)", DATA).fit("reml")
    for level in ("population", "marginal"):
        found = fit.average_effects("x", level=level).iloc[0]
        assert found["estimate"] == pytest.approx(fit.fixed.loc["x", "estimate"], rel=1e-8)
        assert found["se"] == pytest.approx(fit.fixed.loc["x", "se"], rel=1e-7)
    own = fit.average_effects("x", level="conditional")["estimate"].iloc[0]
    modes = dict(zip(fit.model.design.blocks[0].levels, fit.result.effects[0][:, 1]))
    slopes = [modes[str(g)] for g in DATA["g"]]
    assert own == pytest.approx(fit.fixed.loc["x", "estimate"] + np.mean(slopes), rel=1e-7)


def test_conditional_effects_carry_the_random_effects() -> None:
    fit = bg.Model("count ~ x + (1 | g)", DATA, family="poisson", priors="flat").fit("laplace")
    found = fit.average_effects("x", level="conditional").iloc[0]
    mu, X = np.exp(fit.result.eta), fit.model.design.X
    beta, sd = fit.result.beta, fit.varcomp["sd"].iloc[0]
    Z = (DATA["g"].to_numpy()[:, None] == np.arange(15)).astype(float)
    A = sd * Z
    assert found["estimate"] == pytest.approx(beta[1] * mu.mean(), rel=1e-7)
    H = A.T @ (mu[:, None] * A) + np.eye(15)
    d = beta[1] * mu / len(mu)

    def effect(point: np.ndarray) -> float:
        """The average slope with the modes found anew, the random effects moving with all parameters."""
        u = np.zeros(15)
        for _ in range(50):
            m = np.exp(X @ point[:2] + point[2] * Z @ u)
            hessian = point[2] ** 2 * Z.T @ (m[:, None] * Z) + np.eye(15)
            u = u + np.linalg.solve(hessian, point[2] * Z.T @ (DATA["count"].to_numpy() - m) - u)
        return float(point[1] * np.exp(X @ point[:2] + point[2] * Z @ u).mean())

    at, step = np.append(beta, sd), 1e-5
    gradient = np.array([(effect(at + m) - effect(at - m)) / (2 * step) for m in step * np.eye(3)])
    expected = gradient @ fit.result.cov_joint @ gradient + (A.T @ d) @ np.linalg.solve(H, A.T @ d)
    assert found["se"] == pytest.approx(np.sqrt(expected), rel=1e-5)


@pytest.mark.parametrize("level", ["marginal", "population"])
def test_the_delta_method_over_all_parameters(level: str) -> None:
    zeros = np.random.default_rng(4).random(len(DATA)) < 0.3
    data = DATA.assign(count=np.where(zeros, 0, DATA["count"]))
    model = bg.Model("count ~ x + f + (1 | g)", data, family="poisson", priors="flat", zi="~ 1")
    fit = model.fit("laplace")
    found = fit.average_effects("f", compare={"f": ("c", "b")}, level=level).iloc[0]
    result = fit.result
    sizes = np.cumsum([len(result.beta), len(result.theta)])

    def effect(point: np.ndarray) -> float:
        beta, theta, psi = np.split(point, sizes)
        zi = auxiliary_values(model.problem, psi)[-1]
        variance = theta[0] ** 2 if level == "marginal" else 0.0
        means = []
        for column in ("f[T.b]", "f[T.c]"):
            X = np.array(model.design.X)
            X[:, 2:] = [name == column for name in model.design.columns[2:]]
            means.append(np.mean((1 - zi) * np.exp(X @ beta + 0.5 * variance)))
        return means[0] - means[1]

    point = np.concatenate([result.beta, result.theta, result.psi])
    assert found["effect"] == "b - c"
    assert found["estimate"] == pytest.approx(effect(point), rel=1e-8)
    h = 1e-5
    gradient = np.array([(effect(point + e) - effect(point - e)) / (2 * h) for e in h * np.eye(len(point))])
    assert found["se"] == pytest.approx(np.sqrt(gradient @ result.cov_joint @ gradient), rel=1e-6)


def test_steps_groups_new_rows_and_offsets() -> None:
    fit = bg.Model("count ~ x + f", DATA, family="poisson", exposure="size").fit("irls")
    step = fit.average_effects("x", compare={"x": 1.0}).iloc[0]
    mean = fit.predict()["estimate"]
    assert step["effect"] == "+1"
    assert step["estimate"] == pytest.approx(mean.mean() * np.expm1(fit.fixed.loc["x", "estimate"]), rel=1e-9)
    by = fit.average_effects("x", by="f").set_index("f")["estimate"]
    slope = fit.fixed.loc["x", "estimate"] * mean.groupby(DATA["f"]).mean()
    assert by.to_dict() == pytest.approx(slope.to_dict(), rel=1e-7)
    few = fit.average_effects("x", DATA.iloc[:5])["estimate"].iloc[0]
    assert few == pytest.approx(fit.fixed.loc["x", "estimate"] * mean.iloc[:5].mean(), rel=1e-7)
    array = bg.Model("count ~ x + f", DATA, family="poisson", exposure=DATA["size"].to_numpy()).fit("irls")
    pd.testing.assert_frame_equal(array.average_effects(), fit.average_effects(), rtol=1e-9)


def test_missing_values_do_not_shift_rows() -> None:
    holes = DATA.copy()
    holes.loc[[3, 50], "x"] = np.nan
    kept = DATA.drop(index=[3, 50])
    with pytest.warns(bg.DataWarning, match="2 of 120 rows"):
        fit = bg.Model("count ~ x + f", holes, family="poisson").fit("irls")
    whole = bg.Model("count ~ x + f", kept, family="poisson").fit("irls")
    pd.testing.assert_frame_equal(fit.average_effects(by="g"), whole.average_effects(by="g"), rtol=1e-6)


def test_a_marginal_model_is_averaged_already() -> None:
    fit = bg.Model("hit ~ x + (1 | g)", DATA, family="binomial").fit("gee", corr="exchangeable")
    levels = [fit.average_effects("x", level=level)["estimate"].iloc[0] for level in ("marginal", "population")]
    assert levels[0] == levels[1]


def test_draws_of_a_posterior() -> None:
    model = bg.Model("count ~ x + (1 | g)", DATA, family="poisson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.ConvergenceWarning)  # few draws will do for an identity
        fit = model.fit("mcmc", draws=200, tune=200, chains=2, seed=1)
    found = fit.average_effects("x", level="conditional").iloc[0]
    draws = fit.result.draws
    beta, b = draws.beta.reshape(-1, 2), draws.effects[0].reshape(-1, 15)
    mu = np.exp(beta @ model.design.X.T + b[:, model.design.blocks[0].codes])
    values = beta[:, 1] * mu.mean(axis=1)
    assert found["estimate"] == pytest.approx(values.mean(), rel=1e-6)
    assert found["ci_low"] == pytest.approx(np.quantile(values, 0.025), rel=1e-6)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "column": ({"variables": "z"}, bg.MethodError, "no column 'z'; it uses x, f"),
    "level": ({"level": "mean"}, bg.MethodError, "level is 'mean'"),
    "ci": ({"ci": 2}, bg.MethodError, "ci is 2"),
    "pair": ({"variables": "f", "compare": {"f": "b"}}, bg.MethodError, r"a pair \(from, to\)"),
    "no level": ({"variables": "f", "compare": {"f": ("a", "z")}}, bg.MethodError, "'z' is no level"),
    "by": ({"by": "nothing"}, bg.MethodError, "no column of the table"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_named(name: str) -> None:
    fit = bg.Model("count ~ x + f", DATA, family="poisson").fit("irls")
    arguments, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        fit.average_effects(**arguments)
