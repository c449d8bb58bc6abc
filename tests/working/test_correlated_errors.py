"""Errors that go together within groups: nlme's numbers, the dense formulas, and what leaves them aside is refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dense_textbook import Dense, effects_covariance, indicator
from error_series import series
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_data import frame
from scipy.linalg import block_diag

import bayesglmm as bg
from bayesglmm.latent.refit import solution_of
from bayesglmm.parameters import theta_slices

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "errors.json").read_text())["fits"]
STEPS = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
KNOWN = 0.8 * 0.5**STEPS + 0.2 * np.eye(10)


def reference_model(name: str) -> bg.Model:
    """The model of a reference fit; nlme's variance covariate is one over our weight."""
    diet, sleep = frame("dietox"), frame("sleepstudy")
    gaps = diet[np.arange(1, len(diet) + 1) % 5 != 3]
    sleep = sleep.assign(hours=0.7 * sleep["Days"], w=1.0 / (1.0 + sleep["Days"] / 10.0))
    one = "Reaction ~ Days + (1 | Subject)"
    return {
        "dietox-gaps-gls-ar1": lambda: bg.Model("Weight ~ Time + Cu", gaps, errors=bg.AR1Errors("Pig", "Time")),
        "sleepstudy-intercept-ar1": lambda: bg.Model(one, sleep, errors=bg.AR1Errors("Subject", "Days")),
        "sleepstudy-car1-weights": lambda: bg.Model(
            one, sleep, weights="w", errors=bg.AR1Errors("Subject", time="hours")
        ),
        "sleepstudy-known": lambda: bg.Model(one, sleep, errors=bg.KnownErrors(KNOWN, "Subject", position="Days")),
    }[name]()


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_nlme(name):
    """nlme stops at about 1e-6 of its parameters; the log-likelihood is flat there."""
    case, method = name.rsplit("-", 1)
    fit, expected = reference_model(case).fit(method.lower()), REFERENCE[name]
    assert fit.loglik == pytest.approx(expected["loglik"], abs=1e-8)
    assert np.sqrt(fit.result.scale) == pytest.approx(expected["sigma"], rel=3e-6)
    np.testing.assert_allclose(fit.result.beta, list(expected["coef"].values()), rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov)), list(expected["se"].values()), rtol=3e-6)
    if "rho" in expected:
        assert fit.params["errors.rho"] == pytest.approx(expected["rho"], rel=3e-6)
    if "sd" in expected:
        assert fit.params["Subject.sd"] == pytest.approx(expected["sd"], rel=3e-6)
        assert fit.random["Subject"].iloc[0, 0] == pytest.approx(expected["blup_first"], rel=1e-5)


def autoregression(data: pd.DataFrame, rho: float) -> np.ndarray:
    """R of AR(1) series."""
    gap = np.abs(np.subtract.outer(data["t"].to_numpy(), data["t"].to_numpy()))
    return np.where(data["id"].to_numpy()[:, None] == data["id"].to_numpy(), rho**gap, 0.0)


def textbook(fit, R: np.ndarray) -> Dense:
    """V = ZGZ' + σ²W^-½RW^-½ at a fit."""
    problem, result = fit.model.problem, fit.result
    pairs = zip(problem.design.blocks, problem.covariance, theta_slices(problem))
    G = block_diag(*(effects_covariance(b, c, result.theta[s]) for b, c, s in pairs))
    Z = np.hstack([indicator(b) for b in problem.design.blocks])
    root = np.sqrt(result.scale / problem.case_weights)
    return Dense(problem.design.X, problem.mean_response, Z, G, Z @ G @ Z.T + root[:, None] * R * root)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | id)", "y ~ x + (1 + x || id)"])
def test_the_fit_is_the_dense_one(method, formula):
    data = series()
    model = bg.Model(formula, data, weights="w", errors=bg.AR1Errors("id", time="t"))
    with pytest.warns(bg.SingularFitWarning) if "||" in formula else nullcontext():
        fit = model.fit(method)
    oracle = textbook(fit, autoregression(data, fit.params["errors.rho"]))
    criterion = oracle.reml_criterion if method == "reml" else oracle.deviance
    assert fit.loglik == pytest.approx(-0.5 * criterion, abs=1e-9)
    np.testing.assert_allclose(fit.result.beta, oracle.beta, rtol=1e-9)
    np.testing.assert_allclose(fit.result.effects[0].ravel(), oracle.blup, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(fit.cov, np.linalg.inv(oracle.information), rtol=1e-8)
    sds = np.sqrt(np.maximum(np.diag(oracle.conditional_covariance), 0.0))
    np.testing.assert_allclose(fit.result.effects_sd[0].ravel(), sds, rtol=1e-6, atol=1e-9)
    # a linear predictor's prediction error, own rows and the same rows as new data
    D = np.hstack([oracle.X, oracle.Z])
    C = np.linalg.inv(_equations(oracle, fit, autoregression(data, fit.params["errors.rho"])))
    expected = np.sqrt(np.einsum("ij,jk,ik->i", D, C, D))
    np.testing.assert_allclose(fit.predict(kind="linear")["se"], expected, rtol=1e-7)
    np.testing.assert_allclose(fit.predict(data, kind="linear")["se"], expected, rtol=1e-7)
    plain = (oracle.residual - oracle.Z @ oracle.blup) * np.sqrt(model.problem.case_weights / fit.result.scale)
    half = np.linalg.inv(np.linalg.cholesky(_by_time(data, autoregression(data, fit.params["errors.rho"]))))
    order = np.lexsort((data["t"], data["id"]))
    np.testing.assert_allclose(fit.residuals("normalized")[order], half @ plain[order], atol=1e-8)
    np.testing.assert_allclose(fit.residuals("response"), oracle.residual - oracle.Z @ oracle.blup, atol=1e-8)


def _by_time(data: pd.DataFrame, R: np.ndarray) -> np.ndarray:
    """R with the rows in series and time order: its Cholesky factor is the one whitening uses."""
    order = np.lexsort((data["t"], data["id"]))
    return R[np.ix_(order, order)]


def _equations(oracle: Dense, fit, R: np.ndarray) -> np.ndarray:
    """Henderson's coefficient matrix; a variance of zero is taken as very small."""
    root = np.sqrt(fit.result.scale / fit.model.problem.case_weights)
    D = np.hstack([oracle.X, oracle.Z])
    C = D.T @ np.linalg.solve(root[:, None] * R * root, D)
    p = oracle.X.shape[1]
    C[p:, p:] += np.linalg.inv(oracle.G + 1e-9 * np.eye(len(oracle.G)))
    return C


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("formula", ["y ~ x", "y ~ x + (1 | id)", "y ~ x + (1 + x | id)"])
def test_the_gradient_is_exact(formula, reml):
    model = bg.Model(formula, series(3), weights="w", errors=bg.AR1Errors("id", time="t"))
    from bayesglmm.latent.elimination.structure import analyse
    from bayesglmm.latent.working.expansion import Expansion
    from bayesglmm.latent.working.model import Loop

    p = model.problem
    loop = Loop(p, analyse(p.design.blocks, p.covariance, p.design.nobs), False, reml, None, False)
    linear = loop.model(Expansion(p.mean_response, p.case_weights))
    k = sum(part.n_params for part in linear.parts)
    theta = np.array([*[0.7, 0.3, 0.5][: k - 1], -0.35])
    at = linear.solve(theta)
    for j in range(k):
        h = 1e-6 * np.eye(k)[j]
        slope = (linear.solve(theta + h).criterion - linear.solve(theta - h).criterion) / 2e-6
        assert at.gradient[j] == pytest.approx(slope, rel=1e-6, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rho=st.floats(-0.95, 0.95))
def test_whitening_makes_r_the_identity(seed, rho):
    data = series(seed)
    errors = bg.Model("y ~ x", data, errors=bg.AR1Errors("id", time="t")).problem.errors
    at, R = np.array([rho]), autoregression(data, rho)
    half = errors.whiten(at, np.eye(len(data)))
    np.testing.assert_allclose(half @ R @ half.T, np.eye(len(data)), atol=1e-8)
    np.testing.assert_allclose(errors.color(at, half), np.eye(len(data)), atol=1e-8)
    assert errors.log_det(at) == pytest.approx(np.linalg.slogdet(R)[1], abs=1e-8)
    up, down = (errors.whiten(at + h, data["y"].to_numpy()) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(errors.whiten_slopes(at, data["y"].to_numpy())[0], (up - down) / 2e-6, atol=1e-4)


def test_order_of_rows_means_nothing_and_time_left_out_is_the_order_of_rows():
    data = series().sort_values(["id", "t"], ignore_index=True)
    formula = "y ~ x + (1 | id)"
    sorted_fit = bg.Model(formula, data, errors=bg.AR1Errors("id", time="t")).fit("reml")
    shuffled = bg.Model(formula, data.sample(frac=1.0, random_state=2), errors=bg.AR1Errors("id", time="t")).fit("reml")
    assert shuffled.loglik == pytest.approx(sorted_fit.loglik, abs=1e-9)
    assert shuffled.params["errors.rho"] == pytest.approx(sorted_fit.params["errors.rho"], abs=1e-6)
    data["order"] = data.groupby("id").cumcount()
    plain = bg.Model(formula, data, errors=bg.AR1Errors("id")).fit("reml")
    assert plain.loglik == pytest.approx(
        bg.Model(formula, data, errors=bg.AR1Errors("id", time="order")).fit("reml").loglik, abs=1e-12
    )


def test_given_errors_however_they_are_given():
    """One matrix by position, a DataFrame with names, a matrix per group: the same likelihood; the identity is none."""
    data = series()
    times = sorted(data["t"].unique())
    M = 0.6 ** np.abs(np.subtract.outer(times, times))
    formula = "y ~ x + (1 | id)"
    own = {g: M[np.ix_(*[[times.index(v) for v in rows["t"]]] * 2)] for g, rows in data.groupby("id")}
    given_ways = [
        bg.KnownErrors(M, "id", position="t", levels=times),
        bg.KnownErrors(pd.DataFrame(M, index=times, columns=times), "id", position="t"),
        bg.KnownErrors(own, group="id"),
    ]
    values = [bg.Model(formula, data, errors=e).fit("ml").loglik for e in given_ways]
    np.testing.assert_allclose(values, values[0], atol=1e-9)
    fit = bg.Model(formula, data, errors=given_ways[0]).fit("ml")
    assert fit.loglik == pytest.approx(-0.5 * textbook(fit, autoregression(data, 0.6)).deviance, abs=1e-9)
    none = bg.Model(formula, data, errors=bg.KnownErrors(np.eye(len(times)), "id", position="t", levels=times))
    assert none.fit("reml").loglik == pytest.approx(bg.Model(formula, data).fit("reml").loglik, abs=1e-9)


def test_an_exact_covariance_leaves_no_scale_to_estimate():
    """A random-effects meta-analysis: the covariance of the estimates is known."""
    data = series()
    variance = np.linspace(0.5, 1.5, len(data))
    fit = bg.Model("y ~ 1 + (1 | id)", data, errors=bg.KnownErrors(dict(_by_group(data, variance)), "id", exact=True))
    fit = fit.fit("reml")
    assert fit.result.scale == 1.0
    other = bg.Model("y ~ 1 + (1 | id)", data, weights=1.0 / variance, family="gaussian").fit(
        "pql", reml=True, scale=1.0
    )
    assert fit.params["id.sd"] == pytest.approx(other.params["id.sd"], rel=1e-6)
    assert fit.loglik == pytest.approx(other.result.extras["working_loglik"], abs=1e-9)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_small_sample_tests_are_those_of_the_whitened_rows(df):
    data = series()
    times = sorted(data["t"].unique())
    errors = bg.KnownErrors(0.6 ** np.abs(np.subtract.outer(times, times)), "id", position="t", levels=times)
    model = bg.Model("y ~ x + (1 | id)", data, errors=errors)
    white = model.problem.errors.whiten(np.empty(0), np.column_stack([np.ones(len(data)), data["x"], data["y"]]))
    rows = pd.DataFrame(white, columns=["one", "x", "y"]).assign(id=data["id"])
    plain = bg.Model("y ~ 0 + one + x + (0 + one | id)", rows)
    expected, found = (m.fit("reml", df=df).fixed for m in (plain, model))
    np.testing.assert_allclose(found[["estimate", "se", "df"]], expected[["estimate", "se", "df"]], rtol=1e-6)


def _by_group(data, variance):
    for g, rows in data.groupby("id"):
        yield g, np.diag(variance[rows.index])


def test_the_correlation_is_reported_with_its_error():
    data = series()
    fit = bg.Model("y ~ x + (1 | id)", data, errors=bg.AR1Errors("id", time="t")).fit("reml")
    row = fit.auxiliary.loc["errors.rho"]
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < 1.0
    at = solution_of(fit.model.problem, fit.result)
    # the standard error is that of the whole criterion's curvature: profile by hand along rho
    from scipy.optimize import minimize

    def profiled(rho):
        best = minimize(
            lambda s: at.model.solve(np.array([s[0], rho])).criterion,
            [at.theta[0]],
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-12},
        )
        return best.fun

    h, rho = 1e-3, row["estimate"]
    second = (profiled(rho + h) - 2.0 * profiled(rho) + profiled(rho - h)) / h**2
    assert row["se"] == pytest.approx(np.sqrt(2.0 / second), rel=1e-3)
    text = fit.summary()
    assert "AR(1) within id over t" in text
    assert "errors.rho" in text
    assert "restricted log-likelihood" in text
    df = fit.model.fit("reml", df="satterthwaite").fixed["df"]
    assert np.all((df > 1.0) & (df < len(data)))


def test_simulated_errors_go_together():
    data = series().sort_values(["id", "t"], ignore_index=True)
    model = bg.Model("y ~ x + (1 | id)", data, errors=bg.AR1Errors("id", time="t"))
    fit = model.fit("reml")
    y = fit.posterior_predictive(draws=4000, seed=1)
    spread = np.cov(y, rowvar=False)
    same = np.flatnonzero(np.diff(data["id"]) == 0)[:20]
    scale = float(fit.result.scale)
    gap = (data["t"].to_numpy()[same + 1] - data["t"].to_numpy()[same]).astype(float)
    observed = np.mean([spread[i, i + 1] for i in same])
    # the draws move coefficients and effects as well, so errors alone are at most this covariance
    assert observed > scale * np.mean(np.abs(fit.params["errors.rho"]) ** gap) * np.sign(fit.params["errors.rho"]) - 0.1
    assert len(bg.bootstrap(fit, replicates=3, seed=1).estimates) == 3


def test_save_and_load(tmp_path):
    fit = bg.Model("y ~ x + (1 | id)", series(), errors=bg.AR1Errors("id", time="t")).fit("reml")
    fit.save(tmp_path / "fit.nc")
    assert bg.load_fit(tmp_path / "fit.nc").params == fit.params


def test_in_a_model_file(tmp_path):
    series().to_csv(tmp_path / "series.csv", index=False)
    (tmp_path / "series.toml").write_text(
        '[model]\nformula = "y ~ x + (1 | id)"\nfamily = "gaussian"\n[data]\nfile = "series.csv"\nlabels = ["id"]\n'
        '[errors]\nar1 = {group = "id", time = "t"}\n'
    )
    fit = bg.load_model(tmp_path / "series.toml").fit()
    assert fit.method == "reml"
    own = bg.Model("y ~ x + (1 | id)", series(), errors=bg.AR1Errors("id", time="t")).fit("reml")
    assert fit.loglik == pytest.approx(own.loglik, abs=1e-9)
