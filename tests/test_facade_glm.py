"""What a user of R's glm expects of a fit, through the fit itself: criteria, checks, regions, estimability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_data import fit as reference
from reference_data import frame, published
from scipy import stats

import bayesglmm as bg

CEB = published()["ceb"]


MODELS = Path(__file__).parent.parent / "models"


def ceb(formula="y ~ dur + res + educ", family="quasipoisson", **options):
    data = bg.load_model(MODELS / "ceb_quasi.toml").data.assign(rounded=lambda d: d["y"].round())
    return bg.Model(formula, data, family=family, exposure="n").fit("irls", **options)


@pytest.fixture(scope="module")
def quasi():
    return ceb()


@pytest.fixture(scope="module")
def poisson():
    return ceb("rounded ~ dur + res + educ", "poisson")


def test_criteria_of_a_likelihood(poisson):
    assert poisson.aic == pytest.approx(CEB["rounded_y"]["aic"], abs=0.005)
    k, n = 11, 70
    assert poisson.aicc == pytest.approx(poisson.aic + 2 * k * (k + 1) / (n - k - 1), rel=1e-12)
    assert poisson.bic == pytest.approx(poisson.aic + k * (np.log(n) - 2), rel=1e-12)


@pytest.mark.parametrize("criterion", ["loglik", "aic", "aicc", "bic"])
def test_likelihood_criteria_of_a_quasi_fit_are_refused(quasi, criterion):
    with pytest.raises(bg.MethodError, match="likelihood"):
        getattr(quasi, criterion)


def test_criteria_of_a_quasi_likelihood(quasi, poisson):
    assert quasi.dispersion == pytest.approx(CEB["pearson_phi"], abs=2e-5)
    assert quasi.quasi_loglik == pytest.approx(-0.5 * quasi.deviance / quasi.dispersion, rel=1e-12)
    assert quasi.qic > -2 * quasi.quasi_loglik
    small = ceb("rounded ~ dur + educ", "poisson")
    pearson = np.square(poisson.residuals("pearson")).sum() / poisson.df_resid
    assert small.qaic(parent=poisson) == pytest.approx(-2 * small.loglik / pearson + 2 * (9 + 1), rel=1e-9)


def test_checks_are_those_of_the_published_analysis(quasi, poisson):
    shapiro = {kind: quasi.checks.shapiro_wilk(kind) for kind in ("deviance", "pearson")}
    for kind, found in shapiro.items():
        printed = CEB[f"shapiro_{kind}_residuals"]
        # printed at an iterate one step short of the solution
        assert (found.statistic, found.p) == pytest.approx((printed["W"], printed["p"]), rel=1e-3)
    over = poisson.checks.overdispersion()["pearson"]
    assert over.p == pytest.approx(stats.chi2.sf(over.statistic, 59), rel=1e-12)
    assert over.extras["ratio"] == pytest.approx(np.square(poisson.residuals("pearson")).sum() / 59, rel=1e-12)


def test_the_table_of_checks_leaves_out_what_has_no_meaning(quasi, poisson):
    table = poisson.checks.table()
    assert list(table.index) == [
        "Pearson χ²",
        "Dean's score test",
        "zero inflation",
        "variance diagnostic",
        "Shapiro-Wilk",
    ]
    assert table.loc["variance diagnostic", "p"] == poisson.checks.variance().test.p
    assert table.loc["zero inflation", "statistic"] == poisson.checks.zero_inflation().statistic
    assert list(quasi.checks.table().index) == ["variance diagnostic", "Shapiro-Wilk"]
    assert repr(quasi.checks).count("\n") == 2
    with pytest.raises(bg.MethodError, match="free scale"):
        quasi.checks.overdispersion()
    with pytest.raises(bg.MethodError, match="only for counts"):
        quasi.checks.zero_inflation()


def test_region_and_joint_test_are_one(quasi):
    """The hypothesised point lies on the edge of the region whose level is 1 − p of the joint test."""
    test = quasi.test(["res[T.Suva] = 0", "res[T.urban] = 0"])
    names = ["res[T.Suva]", "res[T.urban]"]
    zero = np.zeros(2)
    assert quasi.wald_ellipsoid(names, level=1 - test.p + 1e-9).contains(zero)
    assert not quasi.wald_ellipsoid(names, level=1 - test.p - 1e-9).contains(zero)
    assert quasi.wald_ellipsoid().labels == tuple(quasi.model.design.columns)


def test_score_test_against_a_larger_model(quasi):
    small = ceb("y ~ dur + educ")
    found = small.score_test(quasi.model)
    assert found.df == 2
    X, mu, y = quasi.model.design.X, small.predict()["estimate"].to_numpy(), small.model.problem.response.y
    U = X.T @ (y - mu)
    assert found.statistic == pytest.approx(
        U @ np.linalg.solve(X.T @ (X * mu[:, None]), U) / small.dispersion, rel=1e-9
    )


def test_estimable_functions_and_optimality():
    data = frame("ceb").assign(twice=lambda d: 2 * d["n"])
    with pytest.warns(bg.DataWarning, match="twice"):
        model = bg.Model("mean ~ n + twice", data)
    fit = model.fit("irls")
    assert fit.estimable(["n + 2*twice", "n", "twice", "Intercept"]).tolist() == [True, False, False, True]
    values = np.linalg.eigvalsh(model.design.X.T @ model.design.X)
    found = fit.optimality()
    assert found["A"] == pytest.approx((1 / values).sum(), rel=1e-9)
    assert found["E"] == pytest.approx(values[0], rel=1e-9)
    assert found["log_det"] == pytest.approx(np.log(values).sum(), rel=1e-9)


def test_intervals_of_means_by_the_delta_method(quasi):
    found = quasi.predict()
    X, V = quasi.model.design.X, quasi.cov.to_numpy()
    mu = np.exp(X @ quasi.result.beta + np.log(frame("ceb")["n"].to_numpy()))
    np.testing.assert_allclose(found["se"], mu * np.sqrt(np.einsum("ij,jk,ik->i", X, V, X)), rtol=1e-9)
    assert found["estimate"].sum() == pytest.approx(frame("ceb")["y"].sum(), rel=1e-9)  # the canonical link


def test_cluster_robust_covariance_with_few_clusters_warns():
    with pytest.warns(bg.BayesGLMMWarning, match="6 clusters for 11 coefficients"):
        ceb(cov="cluster", groups="dur")
    fit = ceb("y ~ res", cov="cluster", groups="dur")
    assert fit.fixed["df"].unique().tolist() == [67]  # as documented: rows minus coefficients


def test_digits_of_a_summary_follow_the_standard_errors():
    fit = bg.Model("lot1 ~ log(u)", frame("clotting"), family="gamma", link="inverse").fit("irls")
    text = str(fit)
    for name, row in reference("clotting", "lot1-gamma-inverse")["fixed"].items():
        assert f"{row['se']:.6f}" in text, name
    assert "Dispersion 0.002446" in text
    shape = str(bg.Model("Days ~ Sex", frame("quine"), family="negative_binomial").fit("irls"))
    assert "theta" in shape
    assert "Dispersion" not in shape
