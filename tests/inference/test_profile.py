"""Profile-likelihood intervals against exact references and their own definition."""

from __future__ import annotations

import numpy as np
import pytest
from arrays import array_problem
from glm_references import CASES, by_column, problem
from reference_data import fit
from scipy import stats

from bayesglmm.errors import BayesGLMMWarning, MethodError
from bayesglmm.inference.intervals import confint
from bayesglmm.inference.profile import profile
from bayesglmm.scores import fit_irls

PROFILED = [(n, i) for n, i in CASES if "confint_profile" in fit(n, i)]
PROFILED_F = [(n, i) for n, i in CASES if "confint_profile_F" in fit(n, i)]


@pytest.mark.parametrize(("name", "id"), PROFILED)
def test_reference_profile_intervals(name: str, id: str) -> None:
    made = problem(name, id)
    table = confint(made, fit_irls(made), "profile")
    expected = by_column(made, fit(name, id)["confint_profile"], "lower", "upper")
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("name", "id"), PROFILED_F)
def test_reference_profile_intervals_with_the_f_reference(name: str, id: str) -> None:
    made = problem(name, id)
    table = confint(made, fit_irls(made), "profile", reference="F")
    expected = by_column(made, fit(name, id)["confint_profile_F"], "lower", "upper")
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], expected, rtol=1e-8, atol=1e-9)


def test_profile_of_a_linear_model_is_the_wald_interval() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    made = array_problem(X, rng.normal(size=30))
    result = fit_irls(made)
    by_f = confint(made, result, "profile", reference="F")
    wald = confint(made, result)
    np.testing.assert_allclose(by_f[["ci_low", "ci_high"]], wald[["ci_low", "ci_high"]], rtol=1e-8, atol=1e-10)


def test_shape_is_refitted_along_the_profile() -> None:
    """At the ends of the interval the likelihood, maximised over everything else, has fallen by half a χ² quantile."""
    made = problem("quine", "nb2-main")
    result = fit_irls(made)
    table = confint(made, result, "profile", parameters=["Sex[T.M]"])
    j = made.design.columns.index("Sex[T.M]")
    free = [k for k in range(7) if k != j]
    for end in table[["ci_low", "ci_high"]].iloc[0]:
        held = array_problem(
            made.design.X[:, free], made.response.y, "negative_binomial", offset=made.design.X[:, j] * end
        )
        drop = 2 * (result.loglik - fit_irls(held).loglik)
        assert drop == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-7)


def test_separated_coefficient_has_a_one_sided_interval() -> None:
    g = np.repeat([0.0, 1.0], 8)
    y = np.r_[[0.0, 1, 0, 1, 1, 0, 0, 1], np.ones(8)]
    made = array_problem(np.column_stack([np.ones(16), g]), y, "binomial")
    with pytest.warns(BayesGLMMWarning):
        result = fit_irls(made)
    row = confint(made, result, "profile", parameters=["x1"]).iloc[0]
    assert row["ci_high"] == np.inf
    assert 0 < row["ci_low"] < 3
    # at the lower end the deviance has risen by the cut-off from its infimum, that of the first group alone
    first = fit_irls(array_problem(np.ones((8, 1)), y[:8], "binomial")).extras["deviance"]
    held = fit_irls(array_problem(np.ones((16, 1)), y, "binomial", offset=g * row["ci_low"])).extras["deviance"]
    assert held - first == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-6)


def test_profile_stops_at_the_edge_of_the_domain() -> None:
    """A slope of a Poisson identity model can only be so small before a mean turns negative."""
    x = np.linspace(0, 1, 30)
    y = np.random.default_rng(2).poisson(0.5 + 4 * x).astype(float)
    made = array_problem(np.column_stack([np.ones(30), x]), y, "poisson", "identity")
    result = fit_irls(made)
    table = confint(made, result, "profile")
    assert table["ci_low"].iloc[0] >= 0
    assert np.isfinite(table.to_numpy()).all()


def test_signed_root_is_zero_at_the_estimate_and_nearly_straight() -> None:
    made = problem("quine", "poisson-main")
    curve = profile(made, fit_irls(made), 2)
    assert curve.at(curve.estimate) < 1e-5
    for z in (0.5, 2.0):
        assert curve.at(curve.estimate + z * curve.se) == pytest.approx(z, rel=0.05)


def test_what_has_no_profile() -> None:
    made = problem("quine", "poisson-main")
    with pytest.raises(MethodError, match="no likelihood to profile"):
        confint(made, fit_irls(made, penalty="firth"), "profile")
    with pytest.raises(MethodError, match="'chi2' or 'F'"):
        confint(made, fit_irls(made), "profile", reference="t")
