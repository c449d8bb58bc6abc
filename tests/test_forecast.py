"""Forecasts of new rows whose errors go with those seen: against dense conditional normal distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm.forecast import forecast

DISTANCE = np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0)))
KNOWN = 0.5 * np.exp(-0.3 * DISTANCE) + 0.5 * np.eye(12)
SERIES = 9


def table(seed: int = 1) -> pd.DataFrame:
    """Series of six to eight of twelve times, in no order."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(0.6**DISTANCE)
    parts = []
    for g in range(SERIES):
        t = np.sort(rng.choice(12, 6 + g % 3, replace=False))
        y = 1.0 + 0.2 * t + rng.normal() + 0.8 * (root @ rng.normal(size=12))[t]
        parts.append(pd.DataFrame({"g": f"s{g}", "t": t, "x": rng.normal(size=len(t)), "y": y}))
    data = pd.concat(parts).sample(frac=1.0, random_state=3).reset_index(drop=True)
    return data.assign(w=rng.uniform(0.5, 2.0, len(data)))


def new_rows(data: pd.DataFrame) -> pd.DataFrame:
    """Every time that was not seen: inside, before and after; and a series that was not seen."""
    every = pd.MultiIndex.from_product([sorted(data.g.unique()), range(12)], names=["g", "t"]).to_frame(index=False)
    left = every.merge(data[["g", "t"]], how="left", indicator=True).query("_merge == 'left_only'")[["g", "t"]]
    out = pd.concat([left, pd.DataFrame({"g": "new", "t": [2, 3, 7]})], ignore_index=True)
    rng = np.random.default_rng(7)
    return out.assign(x=rng.normal(size=len(out)), w=rng.uniform(0.5, 2.0, len(out))).sample(frac=1.0, random_state=1)


STRUCTURES: dict[str, Any] = {
    "ar1": bg.AR1Errors("g", time="t"),
    "known": bg.KnownErrors(KNOWN, "g", position="t"),
    "exact": bg.KnownErrors(KNOWN, "g", position="t", exact=True),
}


def dense(fit: Any, data: pd.DataFrame, new: pd.DataFrame, weighted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Universal kriging: generalised least squares and the variance of its errors, θ at the estimate."""
    both = pd.concat([data, new], ignore_index=True)
    n, params = len(data), fit.params
    rho = params.get("errors.rho")
    R = KNOWN if rho is None else rho**DISTANCE
    t, same = both.t.to_numpy(), both.g.to_numpy()[:, None] == both.g.to_numpy()[None, :]
    w = both.w.to_numpy() if weighted else np.ones(len(both))
    sigma = params.get("sigma", 1.0)
    V = sigma**2 * same * R[np.ix_(t, t)] / np.sqrt(np.outer(w, w)) + params.get("g.sd", 0.0) ** 2 * same
    X = np.column_stack([np.ones(len(both)), both.x, t])
    inner = np.linalg.inv(V[:n, :n])
    cov = np.linalg.inv(X[:n].T @ inner @ X[:n])
    beta = cov @ X[:n].T @ inner @ data.y.to_numpy()
    K = V[n:, :n] @ inner
    rest = X[n:] - K @ X[:n]
    mean = X[n:] @ beta + K @ (data.y.to_numpy() - X[:n] @ beta)
    return mean, V[n:, n:] - K @ V[:n, n:] + rest @ cov @ rest.T


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("random", ["", " + (1 | g)"], ids=["gls", "mixed"])
@pytest.mark.parametrize("weighted", [False, True])
def test_forecasts_are_conditional_normals(kind: str, random: str, weighted: bool) -> None:
    data = table()
    weights = "w" if weighted else None
    fit = bg.Model("y ~ x + t" + random, data, errors=STRUCTURES[kind], weights=weights).fit("reml")
    new = new_rows(data)
    found = fit.predict(new, level="forecast")
    mean, V = dense(fit, data, new, weighted)
    assert list(found.index) == list(new.index)
    np.testing.assert_allclose(found.estimate, mean, rtol=1e-7)
    np.testing.assert_allclose(found.sd, np.sqrt(np.diag(V)), rtol=1e-6)
    assert np.all(found.se < found.sd)
    strange = (new.g == "new").to_numpy()
    plain = fit.predict(new, level="conditional")
    np.testing.assert_allclose(found.estimate[strange], plain.estimate[strange], rtol=1e-9)
    np.testing.assert_allclose(found.se[strange], plain.se[strange], rtol=1e-9)


def test_drawn_responses_have_the_joint_distribution() -> None:
    """Of new rows of one series, means and covariances of 20,000 draws."""
    data = table()
    fit = bg.Model("y ~ x + t", data, errors=STRUCTURES["ar1"]).fit("reml")
    new = new_rows(data).query("g == 's0'")
    drawn = fit.predict(new, level="forecast", kind="response", draws=20_000, seed=1).to_numpy()
    mean, V = dense(fit, data, new, False)
    assert np.abs((drawn.mean(axis=1) - mean) / np.sqrt(np.diag(V))).max() < 0.03
    sd = np.sqrt(np.diag(V))
    assert np.abs((np.cov(drawn) - V) / np.outer(sd, sd)).max() < 0.04


def test_rows_in_their_order_go_on_where_the_series_ends() -> None:
    data = table().sort_values(["g", "t"], ignore_index=True)
    fit = bg.Model("y ~ x", data, errors=bg.AR1Errors("g")).fit("ml")
    new = pd.DataFrame({"g": ["s1", "s1"], "x": [0.3, -0.2]})
    rho, beta = fit.params["errors.rho"], fit.result.beta
    last = data[data.g == "s1"].iloc[-1]
    error = last.y - beta[0] - beta[1] * last.x
    found = fit.predict(new, level="forecast", kind="linear").estimate
    np.testing.assert_allclose(found, beta[0] + beta[1] * new.x + np.array([rho, rho**2]) * error, rtol=1e-9)


def test_conditional_weights_reach_the_nearest_rows_only() -> None:
    """AR(1) between two rows seen: linear in memory, and exact against the dense weights."""
    data = table()
    fit = bg.Model("y ~ x", data, errors=STRUCTURES["ar1"]).fit("reml")
    new = new_rows(data)
    from bayesglmm.design import rebind

    ahead = forecast(fit.model.problem, fit.result.theta, new, rebind(fit.model.design, new))
    assert ahead.weights.nnz <= 2 * len(new)
    assert ahead.variance.min() > 0


def test_a_fit_that_was_stored_forecasts_the_same(tmp_path: Any) -> None:
    data = table()
    fit = bg.Model("y ~ x + t + (1 | g)", data, errors=STRUCTURES["ar1"]).fit("reml")
    fit.save(tmp_path / "f.zip")
    new = new_rows(data)
    again = bg.load_fit(tmp_path / "f.zip").predict(new, level="forecast")
    np.testing.assert_allclose(again.to_numpy(), fit.predict(new, level="forecast").to_numpy(), rtol=1e-9)


def test_what_cannot_be_forecast() -> None:
    data = table()
    new = new_rows(data)
    fit = bg.Model("y ~ x + (1 | g)", data, errors=STRUCTURES["ar1"]).fit("reml")
    plain = bg.Model("y ~ x + (1 | g)", data).fit("reml")
    values = bg.Model("y ~ x", data, errors=bg.AR1Errors(data.g.to_numpy(), time="t")).fit("reml")
    for call, error, words in (
        (lambda: plain.predict(new, level="forecast"), bg.MethodError, "independent errors say nothing"),
        (lambda: fit.predict(level="forecast"), bg.MethodError, "no newdata"),
        (lambda: values.predict(new, level="forecast"), bg.MethodError, "group of the errors was given as values"),
        (lambda: fit.predict(data.head(2), level="forecast"), bg.DataError, "occurs twice"),
        (lambda: fit.predict(new.drop(columns="t"), level="forecast"), bg.DataError, "t"),
        (lambda: fit.predict(new, level="ahead"), bg.MethodError, "expected one of .*forecast"),
    ):
        with pytest.raises(error, match=words):
            call()
