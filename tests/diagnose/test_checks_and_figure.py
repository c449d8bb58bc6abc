"""Checks reject what is wrong and leave alone what is right; the figure shows what it should."""

from __future__ import annotations

import numpy as np
import pytest
from arrays import array_problem
from scipy import stats

from bayesglmm.diagnose.checks import overdispersion, shapiro_wilk, variance_diagnostic, zero_inflation
from bayesglmm.diagnose.figure import plot_diagnostics
from bayesglmm.diagnose.smooth import lowess
from bayesglmm.errors import MethodError
from bayesglmm.scores import fit_irls

RNG = np.random.default_rng(21)
N = 400
X = np.column_stack([np.ones(N), RNG.normal(size=N)])
MU = np.exp(X @ np.array([1.2, 0.5]))
POISSON = array_problem(X, RNG.poisson(MU), "poisson")
OVERDISPERSED = array_problem(X, RNG.poisson(MU * RNG.gamma(2.0, 0.5, N)), "poisson")
INFLATED = array_problem(X, RNG.poisson(MU) * (RNG.uniform(size=N) > 0.2), "poisson")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def test_shapiro_wilk(rng: np.random.Generator) -> None:
    found = shapiro_wilk(POISSON, fit_irls(POISSON), "quantile")
    assert found.p > 0.01
    y = X[:, 1] + rng.exponential(size=N)
    skewed = array_problem(X, y)
    result = fit_irls(skewed)
    found = shapiro_wilk(skewed, result, "response")
    assert (found.statistic, found.p) == pytest.approx(tuple(stats.shapiro(y - result.eta)))
    assert found.p < 1e-6
    two = array_problem(np.ones((2, 1)), [1.0, 2.0])
    with pytest.raises(MethodError, match="at least 3 rows"):
        shapiro_wilk(two, fit_irls(two))


def test_variance_diagnostic(rng: np.random.Generator) -> None:
    right = variance_diagnostic(POISSON, fit_irls(POISSON))
    assert right.test.p > 0.01
    assert "no sign" in right.suggestion
    wrong = array_problem(X, rng.gamma(4.0, MU / 4.0), "quasipoisson")  # the variance is as μ², not μ
    found = variance_diagnostic(wrong, fit_irls(wrong))
    assert found.test.p < 0.01
    assert "faster" in found.suggestion
    assert (np.diff(found.fitted) >= 0).all()
    too_fast = array_problem(X, rng.poisson(20 * MU) + 1.0, "gamma", "log")
    assert "more slowly" in variance_diagnostic(too_fast, fit_irls(too_fast)).suggestion


def test_overdispersion(rng: np.random.Generator) -> None:
    right, wrong = (overdispersion(p, fit_irls(p)) for p in (POISSON, OVERDISPERSED))
    for kind in ("pearson", "score"):
        assert right[kind].p > 0.01
        assert wrong[kind].p < 1e-6
    result = fit_irls(OVERDISPERSED, scale="pearson")
    assert wrong["pearson"].extras["ratio"] == pytest.approx(result.scale, rel=1e-12)
    gamma = array_problem(X, rng.gamma(2.0, MU), "gamma", "log")
    with pytest.raises(MethodError, match="free scale"):
        overdispersion(gamma, fit_irls(gamma))


def test_overdispersion_of_proportions_has_the_right_size(rng: np.random.Generator) -> None:
    """Dean's statistic is standard normal for binomial data and large for beta-binomial data."""
    trials = np.full(200, 8.0)
    columns, z = np.ones((200, 1)), []
    for _ in range(150):
        made = array_problem(columns, rng.binomial(8, 0.3, 200), "binomial", trials=trials)
        z.append(overdispersion(made, fit_irls(made))["score"].statistic)
    assert np.std(z) == pytest.approx(1.0, abs=0.25)
    clustered = array_problem(columns, rng.binomial(8, rng.beta(3, 7, 200)), "binomial", trials=trials)
    assert overdispersion(clustered, fit_irls(clustered))["score"].p < 1e-6


def test_zero_inflation(rng: np.random.Generator) -> None:
    assert zero_inflation(POISSON, fit_irls(POISSON)).p > 0.01
    found = zero_inflation(INFLATED, fit_irls(INFLATED))
    assert found.p < 1e-6
    assert found.extras["observed"] == (INFLATED.response.y == 0).sum() > 2 * found.extras["expected"]
    gamma = array_problem(X, rng.gamma(2.0, MU), "gamma", "log")
    with pytest.raises(MethodError, match="counts"):
        zero_inflation(gamma, fit_irls(gamma))


def test_zero_inflation_of_one_mean_is_van_den_broeks_statistic(rng: np.random.Generator) -> None:
    y = rng.poisson(1.3, 150) * (rng.uniform(size=150) > 0.1)
    made = array_problem(np.ones((150, 1)), y, "poisson")
    n, mean = 150, y.mean()
    p0 = np.exp(-mean)
    expected = ((y == 0).sum() - n * p0) / p0 / np.sqrt(n * (1 - p0) / p0 - n * mean)
    assert zero_inflation(made, fit_irls(made)).statistic == pytest.approx(expected, rel=1e-8)


# --- local regression ---------------------------------------------------------------------------------------------


def test_lowess_reproduces_a_line_and_ignores_an_outlier(rng: np.random.Generator) -> None:
    x = np.sort(rng.uniform(size=80))
    np.testing.assert_allclose(lowess(x, 2 + 3 * x), 2 + 3 * x, rtol=1e-9)
    spoilt = 2 + 3 * x + 0.01 * np.sin(37 * x)
    spoilt[40] += 50
    np.testing.assert_allclose(lowess(x, spoilt), 2 + 3 * x, atol=0.03)


def test_lowess_follows_a_curve(rng: np.random.Generator) -> None:
    x = np.linspace(0, 1, 300)
    y = np.sin(6 * x) + 0.05 * rng.normal(size=300)
    assert np.abs(lowess(x, y, span=0.2) - np.sin(6 * x))[20:-20].max() < 0.06


# --- the figure ---------------------------------------------------------------------------------------------------


def test_figure_has_four_named_panels_and_names_the_worst_points(tmp_path) -> None:
    figure = plot_diagnostics(OVERDISPERSED, fit_irls(OVERDISPERSED))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["Residuals against fitted", "Normal Q-Q", "Scale against location", "Leverage"]
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    from bayesglmm.diagnose.influence import influence

    worst = str(influence(OVERDISPERSED, fit_irls(OVERDISPERSED))["cooks_distance"].argmax())
    assert worst in [text.get_text() for text in figure.axes[3].texts]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000


def test_figure_of_a_quasi_family_shows_deviance_residuals(rng: np.random.Generator) -> None:
    made = array_problem(X, rng.poisson(MU), "quasipoisson")
    figure = plot_diagnostics(made, fit_irls(made))
    assert figure.axes[0].get_ylabel() == "Std. deviance residual"


def test_figure_of_many_rows_draws_a_sample(rng: np.random.Generator) -> None:
    columns = np.column_stack([np.ones(6000), rng.normal(size=6000)])
    made = array_problem(columns, columns[:, 1] + rng.normal(size=6000))
    figure = plot_diagnostics(made, fit_irls(made))
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(points[0].get_xdata()) == 5000
    assert "5000 of 6000" in figure.get_suptitle()
