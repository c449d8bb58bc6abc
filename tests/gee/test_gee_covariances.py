"""Small-sample covariances by the papers' own formulas on plain matrices, and the jackknife by brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gee_cases import clustered, dense, gee
from scipy import linalg, stats

import bayesglmm as bg

CORRELATIONS: list[dict[str, Any]] = [
    {"corr": "independence"},
    {"corr": "exchangeable"},
    {"corr": "ar1", "time": "t"},
    {"corr": "stationary", "m": 1, "time": "t"},
]
SEED = 11


def by_hand(fit: bg.Fit, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """A Σ D'V⁻¹ e ẽ' ... A with e = change(I − H, r)."""
    parts = dense(fit)
    p = len(fit.result.beta)
    A = np.linalg.inv(sum(D.T @ np.linalg.solve(V, D) for D, V in zip(parts["D"], parts["V"])))
    meat = np.zeros((p, p))
    for D, V, r in zip(parts["D"], parts["V"], parts["r"]):
        H = D @ A @ np.linalg.solve(V, D).T
        u = D.T @ np.linalg.solve(V, change(np.eye(len(r)) - H, r))
        meat += np.outer(u, u)
    return A @ meat @ A


CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "robust": lambda I_H, r: r,
    "bias-reduced": lambda I_H, r: np.linalg.solve(I_H, r),
    "kauermann-carroll": lambda I_H, r: np.linalg.solve(linalg.sqrtm(I_H).real, r),
}


@pytest.mark.parametrize("options", CORRELATIONS, ids=lambda o: o["corr"])
@pytest.mark.parametrize("cov", list(CHANGES))
@pytest.mark.parametrize("family", ["trials", "poisson", "gaussian"])
def test_corrected_residuals(family: str, cov: str, options: dict[str, Any]) -> None:
    fit = gee(family, clustered(family, clusters=25, seed=2), cov=cov, **options)
    np.testing.assert_allclose(fit.cov, by_hand(fit, CHANGES[cov]), rtol=1e-7)


def test_fay_graubard() -> None:
    fit = gee("poisson", clustered("poisson", clusters=12, seed=2), cov="fay-graubard")
    parts = dense(fit)
    informations = [D.T @ np.linalg.solve(V, D) for D, V in zip(parts["D"], parts["V"])]
    A = np.linalg.inv(sum(informations))
    meat = np.zeros_like(A)
    for G, D, V, r in zip(informations, parts["D"], parts["V"], parts["r"]):
        u = (D.T @ np.linalg.solve(V, r)) / np.sqrt(1 - np.minimum(0.75, np.diag(G @ A)))
        meat += np.outer(u, u)
    np.testing.assert_allclose(fit.cov, A @ meat @ A, rtol=1e-8)


@pytest.mark.parametrize("clusters", [8, 30])
def test_morel_bokossa_neerchal(clusters: int) -> None:
    """Formulas of the paper with the meat on the scale of V = φ A½RA½, as SAS documents them (VARADJ=MBN)."""
    data = clustered("poisson", clusters=clusters, seed=2)
    fit, robust = gee("poisson", data, cov="morel-bokossa-neerchal"), gee("poisson", data)
    model = fit.result.extras["cov_model"]
    n, p = len(data), 3
    c = (n - 1) / (n - p) * clusters / (clusters - 1)
    bread = np.linalg.inv(model)
    meat = bread @ robust.cov.to_numpy() @ bread
    delta = min(0.5, p / (clusters - p))
    xi = max(1.0, np.trace(model @ (c * meat)) / p)
    np.testing.assert_allclose(fit.cov, c * robust.cov + delta * xi * model, rtol=1e-8)


@pytest.mark.parametrize("options", CORRELATIONS, ids=lambda o: o["corr"])
def test_the_jackknife_by_brute_force(options: dict[str, Any]) -> None:
    data = clustered("poisson", clusters=30, seed=SEED)
    fit = gee("poisson", data, cov="jackknife", **options)
    changes = [gee("poisson", data[data["g"] != k], **options).result.beta - fit.result.beta for k in range(30)]
    estimated = 3 + 1 + len(fit.result.extras["alpha"])
    np.testing.assert_allclose(fit.cov, (30 - estimated) / 30 * np.transpose(changes) @ changes, rtol=1e-5)


def test_the_one_step_jackknife_is_one_step() -> None:
    data = clustered("gaussian", clusters=30, seed=7)
    fit = gee("gaussian", data, corr="exchangeable", alpha=0.3, cov="one-step-jackknife")
    full = gee("gaussian", data, corr="exchangeable", alpha=0.3, cov="jackknife")
    np.testing.assert_allclose(fit.cov, full.cov, rtol=1e-6)  # linear: one step is the whole way


def test_corrections_agree_when_clusters_are_many() -> None:
    data = clustered("binomial", clusters=4000, seed=4)
    robust = gee("binomial", data).fixed["se"]
    for cov in ("bias-reduced", "kauermann-carroll", "fay-graubard", "morel-bokossa-neerchal", "one-step-jackknife"):
        np.testing.assert_allclose(gee("binomial", data, cov=cov).fixed["se"], robust, rtol=2e-3)


def test_reference_distributions() -> None:
    data = clustered("binomial")
    normal, clusters, given = (gee("binomial", data, df=d) for d in (None, "clusters", 12.5))
    assert list(normal.fixed.columns)[4:] == ["z", "df", "p"]
    for fit, df in ((clusters, 40 - 3), (given, 12.5)):
        row = fit.fixed.loc["x"]
        assert row["df"] == df
        assert row["t"] == pytest.approx(normal.fixed.loc["x", "z"])
        assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["t"]), df))
        assert row["ci_high"] - row["estimate"] == pytest.approx(stats.t.ppf(0.975, df) * row["se"])
        outcome = fit.test(["x = 0", "z = 0"])
        assert (outcome.reference, outcome.df, outcome.df_denominator) == ("F", 2, df)


def test_a_cluster_that_alone_determines_a_coefficient_is_named() -> None:
    data = clustered("gaussian").assign(z=lambda d: (d["g"] == 3).astype(float))
    with pytest.raises(bg.MethodError, match="cluster number 4 alone determines a coefficient"):
        gee("gaussian", data, cov="bias-reduced")
    assert np.isfinite(gee("gaussian", data, cov="fay-graubard").fixed["se"]).all()
