"""Working correlations one by one: inverses, determinants, moments, and one brought by the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from gee_cases import clustered, dense, gee
from scipy import optimize

import bayesglmm as bg
from bayesglmm.scores.clusters import Clusters, make_clusters
from bayesglmm.scores.correlation import WorkingCorrelation, get_correlation
from bayesglmm.scores.correlation.exchangeable import Exchangeable

Floats = np.ndarray


def clusters_of(data: pd.DataFrame, inner: str | None = None) -> Clusters:
    codes = data["g"].to_numpy(np.int64)
    subgroups = None if inner is None else data[inner].to_numpy(np.int64)
    return make_clusters(codes, pd.RangeIndex(codes.max() + 1), data["t"], subgroups)


def nested_data(seed: int = 1) -> pd.DataFrame:
    """Rows in children in families, shuffled; child numbers repeat between families."""
    rng = np.random.default_rng(seed)
    rows = [(g, c, k) for g in range(60) for c in range(rng.integers(1, 4)) for k in range(rng.integers(1, 4))]
    data = pd.DataFrame(rows, columns=["g", "child", "t"])
    family = rng.normal(size=60)[data["g"]]
    child = rng.normal(size=(60, 4))[data["g"], data["child"]]
    data["x"], data["z"] = rng.normal(size=len(data)), rng.normal(size=60)[data["g"]]
    data["y"] = data["x"] + 0.6 * family + 0.9 * child + rng.normal(size=len(data))
    return data.sample(frac=1.0, random_state=0).reset_index(drop=True)


def R_of(name: str, clusters: Clusters, params: Floats, rows: slice) -> Floats:
    """The correlation of one cluster, entry by entry from its definition."""
    at = clusters.positions[rows]
    size = len(at)
    if name == "nested":
        same = clusters.subgroups[rows][:, None] == clusters.subgroups[rows]
        R = np.where(same, params[0], params[1])
    elif name == "exchangeable":
        R = np.full((size, size), params[0])
    elif name == "ar1":
        R = params[0] ** np.abs(at[:, None] - at).astype(float)
    elif name == "stationary":
        by_lag = np.r_[1.0, params, np.zeros(20)]
        R = by_lag[np.abs(at[:, None] - at)]
    else:
        upper = np.zeros((7, 7))
        upper[np.triu_indices(7, 1)] = params
        R = (upper + upper.T)[np.ix_(at, at)]
    R = R.astype(float)
    np.fill_diagonal(R, 1.0)
    return R


CASES: list[tuple[str, dict[str, Any], Floats]] = [
    ("exchangeable", {}, np.array([0.4])),
    ("exchangeable", {}, np.array([-0.2])),
    ("ar1", {}, np.array([0.6])),
    ("ar1", {}, np.array([-0.5])),
    ("stationary", {"m": 2}, np.array([0.4, 0.2])),
    ("unstructured", {}, np.linspace(0.1, 0.3, 21)),
    ("nested", {}, np.array([0.6, 0.2])),
    ("nested", {}, np.array([0.1, 0.2])),
]


@pytest.mark.parametrize(("name", "options", "params"), CASES, ids=lambda v: v if isinstance(v, str) else None)
def test_inverse_gram_and_determinant(name: str, options: dict[str, Any], params: Floats) -> None:
    clusters = clusters_of(nested_data(), "child") if name == "nested" else clusters_of(clustered())
    correlation = get_correlation(name, **options).bind(clusters)
    assert correlation.objection(params) is None
    rhs = np.random.default_rng(0).normal(size=(3, clusters.n))
    found, gram, logdet = correlation.solve(params, rhs), np.zeros((3, 3)), []
    for start, size in zip(clusters.starts, clusters.sizes):
        rows = slice(start, start + size)
        R = R_of(name, clusters, params, rows)
        exact = np.linalg.solve(R, rhs[:, rows].T).T
        np.testing.assert_allclose(found[:, rows], exact, rtol=1e-9, atol=1e-11)
        gram += exact @ rhs[:, rows].T
        logdet.append(np.linalg.slogdet(R)[1])
    np.testing.assert_allclose(correlation.gram(params, rhs), gram, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(correlation.logdet(params), logdet, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("exchangeable", {}, np.array([-0.3])),
        ("exchangeable", {}, np.array([1.0])),
        ("ar1", {}, np.array([1.01])),
        ("stationary", {"m": 1}, np.array([0.9])),
        ("unstructured", {}, np.full(21, -0.5)),
        ("nested", {}, np.array([0.2, 0.9])),
        ("nested", {}, np.array([1.1, 0.2])),
        ("nested", {}, np.array([np.nan, 0.2])),
    ],
)
def test_what_is_not_positive_definite_is_refused(name: str, options: dict[str, Any], params: Floats) -> None:
    clusters = clusters_of(nested_data(), "child") if name == "nested" else clusters_of(clustered())
    assert get_correlation(name, **options).bind(clusters).objection(params)


def test_nested_reduces_to_exchangeable_and_takes_the_mean_over_its_pairs() -> None:
    data = nested_data()
    model = bg.Model("y ~ x + z", data)
    same = model.fit("gee", groups="g", corr="nested", subgroups="child", alpha=[0.3, 0.3])
    plain = model.fit("gee", groups="g", corr="exchangeable", alpha=0.3)
    np.testing.assert_allclose(same.fixed, plain.fixed, rtol=1e-9)
    fit = model.fit("gee", groups="g", corr="nested", subgroups="child")
    e = fit.residuals("pearson")
    i, j = np.triu_indices(len(e), 1)
    family = data["g"].to_numpy()[i] == data["g"].to_numpy()[j]
    child = family & (data["child"].to_numpy()[i] == data["child"].to_numpy()[j])
    products = e[i] * e[j] / fit.result.scale
    expected = {"alpha[within]": products[child].mean(), "alpha[between]": products[family & ~child].mean()}
    assert fit.result.extras["alpha"] == pytest.approx(expected, rel=1e-7)
    assert expected["alpha[within]"] > expected["alpha[between]"] > 0


def real_times(seed: int = 3) -> pd.DataFrame:
    """Gaussian clusters with correlation 0.7^|t − t'| at irregular times."""
    rng = np.random.default_rng(seed)
    parts = []
    for g in range(400):
        t = np.sort(rng.uniform(0, 6, rng.integers(2, 6)))
        e = np.linalg.cholesky(0.7 ** np.abs(t[:, None] - t)) @ rng.normal(size=len(t))
        x = rng.normal(size=len(t))
        parts.append(pd.DataFrame({"g": g, "t": t, "x": x, "z": rng.normal(), "y": 1 + x + e}))
    return pd.concat(parts, ignore_index=True).sample(frac=1.0, random_state=1)


def test_ar1_with_real_valued_times() -> None:
    data = real_times()
    fit = gee("gaussian", data, corr="ar1", time="t")
    alpha = fit.result.extras["alpha"]["alpha"]
    assert alpha == pytest.approx(0.7, abs=0.04)
    # the least squares of products on powers of α, over all pairs
    e, scale = fit.residuals("pearson"), fit.result.scale
    g, t = data["g"].to_numpy(), data["t"].to_numpy()
    i, j = np.triu_indices(len(e), 1)
    i, j = i[g[i] == g[j]], j[g[i] == g[j]]
    z, d = e[i] * e[j] / scale, np.abs(t[i] - t[j])
    best = optimize.minimize_scalar(lambda a: np.square(z - a**d).sum(), bounds=(0.3, 0.95), options={"xatol": 1e-10})
    assert alpha == pytest.approx(best.x, rel=1e-5)
    # and the equations with those correlations
    fixed, parts = 0.0, 0.0
    for k in range(400):
        rows = np.flatnonzero(g == k)
        X = fit.model.design.X[rows]
        W = np.linalg.inv(alpha ** np.abs(t[rows][:, None] - t[rows]))
        fixed, parts = fixed + X.T @ W @ X, parts + X.T @ W @ fit.model.design.response.y[rows]
    np.testing.assert_allclose(fit.result.beta, np.linalg.solve(fixed, parts), rtol=1e-8)


def test_ar1_states_its_unit() -> None:
    data = clustered("gaussian", clusters=200)
    weekly = gee("gaussian", data.assign(t=7 * data["t"]), corr="ar1", time="t")
    assert list(weekly.result.extras["alpha"]) == ["alpha[step 7]"]
    hourly = real_times().assign(t=lambda d: 24 * d["t"])
    per_hour = gee("gaussian", hourly, corr="ar1", time="t").result.extras["alpha"]["alpha"]
    per_day = gee("gaussian", real_times(), corr="ar1", time="t").result.extras["alpha"]["alpha"]
    assert per_hour**24 == pytest.approx(per_day, rel=1e-6)


def test_negative_autocorrelation() -> None:
    rng = np.random.default_rng(2)
    e = rng.normal(size=(300, 6))
    for k in range(1, 6):
        e[:, k] = -0.6 * e[:, k - 1] + 0.8 * e[:, k]
    data = pd.DataFrame({"g": np.repeat(np.arange(300), 6), "t": np.tile(np.arange(6), 300), "y": e.ravel()})
    data["x"], data["z"] = rng.normal(size=(2, 1800))
    for convention in ("geepack", "gee"):
        fit = gee("gaussian", data, corr="ar1", time="t", convention=convention)
        assert fit.result.extras["alpha"]["alpha"] == pytest.approx(-0.6, abs=0.05)


def test_a_fixed_correlation_is_the_estimated_one_given() -> None:
    data = clustered("poisson", clusters=300, largest=3, seed=8)
    free = gee("poisson", data, corr="ar1", time="t")
    R = free.result.extras["working_correlation"]
    for options in ({"corr": "fixed", "R": R}, {"corr": R}):
        fixed = gee("poisson", data, time="t", **options)
        np.testing.assert_allclose(fixed.fixed, free.fixed, rtol=1e-7)


def test_a_correlation_of_ones_own() -> None:
    class Mine(WorkingCorrelation):
        """Exchangeable, written with nothing but the two calls of the protocol and plain loops."""

        name = "mine"

        def update(self, residuals: Floats, scale: float, n_coefficients: int) -> Floats:
            total, pairs = 0.0, 0
            for start, size in zip(self.clusters.starts, self.clusters.sizes):
                e = residuals[start : start + size]
                total += (np.outer(e, e).sum() - e @ e) / 2
                pairs += size * (size - 1) // 2
            return np.array([total / scale / pairs])

        def solve(self, params: Floats, rhs: Floats) -> Floats:
            out = np.empty_like(rhs)
            for start, size in zip(self.clusters.starts, self.clusters.sizes):
                R = np.full((size, size), params[0]) + (1 - params[0]) * np.eye(size)
                out[:, start : start + size] = np.linalg.solve(R, rhs[:, start : start + size].T).T
            return out

    data = clustered("binomial")
    for cov in ("robust", "bias-reduced", "jackknife"):
        mine, ours = gee("binomial", data, corr=Mine(), cov=cov), gee("binomial", data, corr=Exchangeable(), cov=cov)
        np.testing.assert_allclose(mine.fixed, ours.fixed, rtol=1e-8)
    assert "mine: alpha" in mine.summary()
    with pytest.raises(bg.MethodError, match="states no logdet"):
        mine.correlation_diagnostics()


def test_a_correlation_without_its_methods_says_which() -> None:
    class Empty(WorkingCorrelation):
        name = "empty"

    with pytest.raises(bg.MethodError, match="empty has no update"):
        gee("binomial", clustered(), corr=Empty())


def test_a_correlation_that_binary_responses_cannot_have_is_noted() -> None:
    rng = np.random.default_rng(0)
    x = np.tile([-3.0, 0.0, 3.0], 300)
    shared = np.repeat(rng.normal(size=300), 3)
    data = pd.DataFrame({"g": np.repeat(np.arange(300), 3), "x": x, "z": rng.normal(size=900)})
    data["y"] = (x + shared + 0.3 * rng.normal(size=900) > 0).astype(int)
    fit = gee("binomial", data, alpha=0.2)
    (note,) = fit.status.notes
    eta = fit.result.eta.reshape(300, 3)
    beyond = int((np.exp(-0.5 * (eta.max(axis=1) - eta.min(axis=1))) < 0.2).sum())
    assert beyond > 0
    assert f"in {beyond} of 300 clusters" in note
    assert note.capitalize() in fit.summary() or note in fit.summary()
    assert gee("binomial", clustered("binomial")).status.notes == ()


@pytest.mark.parametrize(
    ("family", "link", "like"),
    [
        ("binomial", "probit", "binomial"),
        ("quasipoisson", "log", "poisson"),
        ("negative_binomial", "log", "poisson"),
        ("gamma", "inverse", "gamma"),
        ("inverse_gaussian", "log", "gamma"),
    ],
)
def test_families_and_links(family: str, link: str, like: str) -> None:
    """The score and its R⁻¹ by plain matrices, for a link that is not canonical and for free and quasi families."""
    data = clustered(like, clusters=200)
    fit = bg.Model("y ~ x", data, family, link=link).fit("gee", groups="g")
    assert fit.status.converged
    score = np.zeros(2)
    parts = dense(fit)
    for D, V, r in zip(parts["D"], parts["V"], parts["r"]):
        score += D.T @ np.linalg.solve(V, r)
    # in units of the standard error of the score
    assert np.sqrt(score @ fit.result.extras["cov_model"] @ score) / fit.result.scale < 1e-6


def test_a_tweedie_with_its_power() -> None:
    data = clustered("gamma", clusters=100)
    gamma = bg.Model("y ~ x", data, "gamma", link="log").fit("gee", groups="g")
    tweedie = bg.Model("y ~ x", data, bg.families.Tweedie(power=2.0 - 1e-7)).fit("gee", groups="g")
    np.testing.assert_allclose(tweedie.fixed["estimate"], gamma.fixed["estimate"], rtol=1e-5)
    np.testing.assert_allclose(tweedie.fixed["se"], gamma.fixed["se"], rtol=1e-5)


def test_long_clusters_make_no_matrix_over_their_rows() -> None:
    """Cost and memory are linear in the rows: nothing of the size of occasions squared is kept or made."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(np.arange(5), 4000), "t": np.tile(np.arange(4000), 5)})
    data["x"], data["z"] = rng.normal(size=(2, 20000))
    data["y"] = data["x"] + rng.normal(size=5)[data["g"]] + rng.normal(size=20000)
    fit = gee("gaussian", data, corr="exchangeable")
    assert fit.result.extras["working_correlation"] is None
    assert fit.result.extras["cluster_sizes"] == (4000, 4000)
    e = fit.residuals("pearson").reshape(5, 4000)
    products = (np.square(e.sum(axis=1)) - np.square(e).sum(axis=1)).sum() / (5 * 4000 * 3999)
    assert fit.result.extras["alpha"]["alpha"] == pytest.approx(products / fit.result.scale, rel=1e-8)
    with pytest.raises(bg.MethodError, match="there are 4000 distinct times"):
        gee("gaussian", data, corr="unstructured", time="t")


def test_rows_without_times_are_said_to_be_aligned_by_their_order() -> None:
    data = clustered("gaussian", clusters=200)
    (note,) = gee("gaussian", data, corr="ar1").status.notes
    assert "without time=, the k-th row of every cluster is its k-th occasion" in note
    assert gee("gaussian", data, corr="ar1", time="t").status.notes == ()
    assert gee("gaussian", data, corr="exchangeable").status.notes == ()
    whole = data[data.groupby("g")["g"].transform("size") == 5]
    assert gee("gaussian", whole, corr="ar1").status.notes == ()
