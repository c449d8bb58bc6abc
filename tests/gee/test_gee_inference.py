"""Wald and score tests, diagnostics of the working correlation, influence of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from gee_cases import clustered, dense, gee
from scipy import stats

import bayesglmm as bg


def models(seed: int = 1, clusters: int = 200) -> tuple[bg.Model, bg.Model]:
    data = clustered("poisson", clusters=clusters, seed=seed)
    return bg.Model("y ~ x", data, "poisson"), bg.Model("y ~ x + z + t", data, "poisson")


def test_generalized_wald() -> None:
    small, full = (m.fit("gee", groups="g") for m in models())
    by_terms, table = full.test(["z = 0", "t = 0"]), bg.anova(small, full)
    gap, V = full.result.beta[2:], full.cov.to_numpy()[2:, 2:]
    statistic = gap @ np.linalg.solve(V, gap)
    assert by_terms.statistic == pytest.approx(statistic, rel=1e-9)
    assert table["chi2"].iloc[1] == pytest.approx(statistic, rel=1e-8)
    assert table["p"].iloc[1] == pytest.approx(stats.chi2.sf(statistic, 2), rel=1e-7)
    single = bg.anova(full)
    assert list(single.index) == ["x", "z", "t"]
    np.testing.assert_allclose(single["chi2"], np.square(full.fixed["z"].iloc[1:]), rtol=1e-9)
    with_f = models()[1].fit("gee", groups="g", df="clusters", cov="bias-reduced")
    assert list(bg.anova(with_f)["df_denominator"]) == [196] * 3


def test_generalized_score_by_plain_matrices() -> None:
    small_model, full_model = models()
    small = small_model.fit("gee", groups="g", corr="exchangeable")
    found = small.score_test(full_model)
    parts = dense(small)
    X = small.result.extras["marginal"].equations.clusters.sort(full_model.design.X)
    mu = small.result.extras["marginal"].equations.clusters.sort(np.exp(small.result.eta))
    D = X * mu[:, None]
    U, A, J, start = np.zeros(4), np.zeros((4, 4)), np.zeros((4, 4)), 0
    for V, r in zip(parts["V"], parts["r"]):
        rows = slice(start, start + len(r))
        start += len(r)
        u = D[rows].T @ np.linalg.solve(V, r)
        U, A, J = U + u, A + D[rows].T @ np.linalg.solve(V, D[rows]), J + np.outer(u, u)
    S = np.linalg.inv(A) @ U
    V = np.linalg.inv(A) @ J @ np.linalg.inv(A)
    statistic = S[2:] @ np.linalg.solve(V[2:, 2:], S[2:])
    assert found.statistic == pytest.approx(statistic, rel=1e-8)
    assert found.df == 2
    few = small.score_test(full_model, small_sample=True)
    assert few.statistic == pytest.approx(199 / 200 * statistic, rel=1e-8)
    table = bg.anova(small, full_model.fit("gee", groups="g"), test="score")
    assert table["chi2"].iloc[1] == pytest.approx(statistic, rel=1e-8)


def test_the_score_statistic_does_not_depend_on_the_coding() -> None:
    small_model, full_model = models()
    small = small_model.fit("gee", groups="g")
    other = bg.Model("y ~ I(x + z) + I(z - t) + I(2 * t)", full_model.data, "poisson")
    same = bg.Model("y ~ x + z + t", full_model.data, "poisson")
    assert small.score_test(same).statistic == pytest.approx(small.score_test(full_model).statistic, rel=1e-10)
    with pytest.raises(bg.MethodError, match="not nested"):
        small.score_test(bg.Model("y ~ z + t", full_model.data, "poisson"))
    spanned = bg.Model("y ~ I(x + z) + z + t", full_model.data, "poisson")
    assert small.score_test(spanned).statistic == pytest.approx(small.score_test(full_model).statistic, rel=1e-8)
    with pytest.raises(bg.MethodError, match="not nested"):
        bg.anova(full_model.fit("gee", groups="g"), small)
    assert other.fit("gee", groups="g").qic == pytest.approx(full_model.fit("gee", groups="g").qic, rel=1e-8)


def test_score_and_wald_agree_near_the_hypothesis() -> None:
    small_model, full_model = models(clusters=4000)
    small, full = small_model.fit("gee", groups="g"), full_model.fit("gee", groups="g")
    nothing = bg.Model("y ~ x + t", full_model.data, "poisson")
    score, wald = small.score_test(nothing).statistic, bg.anova(small, nothing.fit("gee", groups="g"))["chi2"].iloc[1]
    assert score == pytest.approx(wald, rel=0.05)
    assert full.test("z = 0").p < 1e-6


def test_diagnostics_by_their_formulas_and_at_the_truth() -> None:
    rng = np.random.default_rng(4)
    data = clustered("gaussian", clusters=3000, seed=4)
    data["y"] = 1 + data["x"] + rng.normal(size=3000)[data["g"]] + rng.normal(size=len(data))
    right, wrong = gee("gaussian", data), gee("gaussian", data, corr="independence")
    good, bad = right.correlation_diagnostics(), wrong.correlation_diagnostics()
    assert good["C1"] == pytest.approx(1.0, abs=0.05)
    assert good["C2"] == pytest.approx(1.0, abs=0.1)
    assert bad["RJ"] > 5 * good["RJ"]
    assert good["gaussian_pseudolikelihood"] > bad["gaussian_pseudolikelihood"] + 100
    gamma = np.linalg.solve(right.result.extras["cov_model"], right.result.extras["cov_robust"])
    assert good["C1"] == pytest.approx(np.trace(gamma) / 3, rel=1e-9)
    assert good["C2"] == pytest.approx(np.trace(gamma @ gamma) / 3, rel=1e-9)
    assert good["DBAR"] == pytest.approx(good["C2"] - 2 * good["C1"] + 1)
    parts, phi = dense(right), right.result.scale
    exact = sum(np.linalg.slogdet(phi * V)[1] + r @ np.linalg.solve(phi * V, r) for V, r in zip(parts["V"], parts["r"]))
    assert good["gaussian_pseudolikelihood"] == pytest.approx(-0.5 * exact, rel=1e-9)


def test_influence_of_clusters_is_leaving_them_out() -> None:
    data = clustered("gaussian", clusters=40)
    fit = gee("gaussian", data, alpha=0.3, scale=1.0)
    table = fit.influence()
    assert list(table.index) == list(range(40))
    assert table["rows"].sum() == len(data)
    assert table["leverage"].sum() == pytest.approx(3.0, rel=1e-10)
    V = fit.result.extras["cov_model"]
    for k in (0, 7, 39):
        left = gee("gaussian", data[data["g"] != k], alpha=0.3, scale=1.0)
        change = left.result.beta - fit.result.beta
        assert table.loc[k, "cooks_distance"] == pytest.approx(change @ np.linalg.solve(V, change) / 3, rel=1e-6)
        np.testing.assert_allclose(
            table.loc[k, [c for c in table if c.startswith("dfbetas")]].astype(float),
            -change / np.sqrt(np.diag(V)),
            rtol=1e-5,
            atol=1e-12,
        )


def test_criteria() -> None:
    data = clustered("poisson", clusters=300)
    fit = gee("poisson", data)
    extras = fit.result.extras
    assert fit.qic == pytest.approx(-2 * fit.quasi_loglik + 2 * extras["cic"])
    assert fit.qic_at(fit) == pytest.approx(
        -2 * fit.quasi_loglik + 2 * extras["cic"] * extras["independence_scale"] / fit.result.scale
    )
    held = gee("poisson", data, scale=2.0)
    assert held.qic_at(1.0) == pytest.approx(held.qic * 2.0, rel=1e-8)
    assert extras["qicu"] == pytest.approx(fit.deviance / fit.result.scale + 6)
    independent = gee("poisson", data, corr="independence")
    expected = np.trace(np.linalg.solve(independent.result.extras["cov_model"], fit.result.extras["cov_robust"]))
    assert extras["cic"] == pytest.approx(expected, rel=1e-8)


def test_there_is_no_likelihood_to_profile() -> None:
    fit = gee("poisson", clustered("poisson"))
    wald = fit.confint("wald")
    np.testing.assert_allclose(wald, fit.fixed[["estimate", "ci_low", "ci_high"]])
    with pytest.raises(bg.MethodError, match="no likelihood to profile"):
        fit.confint("profile")
