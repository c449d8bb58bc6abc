"""Checks by replicated responses: what the statistics are, what they find, what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesglmm as bg
from bayesglmm.diagnose.predictive import check_statistics, loo_tree
from bayesglmm.plots_predictive import plot_loo_pit
from bayesglmm.prior_predictive import new_effects


def grouped(family: str = "poisson", groups: int = 24, size: int = 6, sd: float = 0.7) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=len(g))
    mu = np.exp(0.9 + 0.4 * x + sd * rng.normal(size=groups)[g])
    y = rng.poisson(mu if family == "poisson" else rng.gamma(0.8, mu / 0.8))
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    return data.sample(frac=1.0, random_state=3).reset_index(drop=True)  # rows of a group apart


FORMULA = "y ~ x + (1 | g)"
DATA, OVER = grouped(), grouped("negative_binomial")


@pytest.fixture(scope="module")
def fit() -> bg.Fit:
    return bg.Model(FORMULA, DATA, family="poisson").fit("laplace", seed=1)


@pytest.fixture(scope="module")
def over() -> dict[str, bg.Fit]:
    families = ("poisson", "negative_binomial")
    return {f: bg.Model(FORMULA, OVER, family=f).fit("laplace", seed=1) for f in families}


def icc(y: np.ndarray, g: np.ndarray) -> float:
    """One-way analysis of variance, written out."""
    table = pd.DataFrame({"y": y, "g": g}).groupby("g")["y"]
    n, mean = table.size(), table.mean()
    between = float((n * (mean - y.mean()) ** 2).sum()) / (len(n) - 1)
    within = float(((y - table.transform("mean")) ** 2).sum()) / (n.sum() - len(n))
    usual = (n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1)
    return (between - within) / (between + (usual - 1) * within)


def test_statistics_are_those_of_the_draws(fit: bg.Fit) -> None:
    some = fit.posterior_predictive(60, seed=4)
    found = check_statistics(fit.model.problem, fit.result, {"odd": lambda y: np.mean(y % 2)}, draws=60, seed=4)
    g = DATA["g"].to_numpy()
    direct = {
        "mean": np.mean,
        "zeros": lambda y: np.mean(y == 0),
        "maximum": np.max,
        "sd": lambda y: np.std(y, ddof=1),
        "sd between g": lambda y: pd.Series(y).groupby(g).mean().std(),
        "icc g": lambda y: icc(y, g),
        "odd": lambda y: np.mean(y % 2),
    }
    assert [name for name in found.observed if name != "dispersion"] == list(direct)
    y = DATA["y"].to_numpy()
    for name, f in direct.items():
        assert found.observed[name] == pytest.approx(f(y), rel=1e-12), name
        assert found.replicated[name] == pytest.approx([f(draw) for draw in some], rel=1e-10), name


def test_dispersion_is_about_the_means_of_each_draw() -> None:
    fit = bg.Model(FORMULA, DATA, family="poisson").fit("laplace").refine("psis", draws=60, seed=1)
    held = fit.result.draws
    found = check_statistics(fit.model.problem, fit.result, ["dispersion"], draws=60, seed=4)
    y, g, x = (DATA[c].to_numpy() for c in "ygx")
    levels = list(fit.model.problem.design.blocks[0].levels)
    codes = np.array([levels.index(str(k)) for k in g])
    beta, effects = held.beta.reshape(60, 2), held.effects[0].reshape(60, -1)
    eta = beta @ np.stack([np.ones(len(x)), x]) + effects[:, codes]
    variance = np.maximum(fit.posterior_predictive(60, seed=4).var(axis=0, ddof=1), 1 / 60)
    direct = np.mean((y - np.exp(eta)) ** 2 / variance, axis=1)
    assert np.sort(found.observed["dispersion"]) == pytest.approx(np.sort(direct), rel=1e-10)
    new = check_statistics(fit.model.problem, fit.result, ["dispersion"], draws=60, seed=4, level="marginal")
    some = fit.posterior_predictive(60, seed=4, level="marginal")
    variance = np.maximum(some.var(axis=0, ddof=1), 1 / 60)
    assert new.observed["dispersion"] == pytest.approx(np.mean((y - some.mean(axis=0)) ** 2 / variance), rel=1e-12)


def test_p_values_count_ties_half(fit: bg.Fit) -> None:
    table = fit.ppc_statistics(["maximum"], draws=80, seed=4)
    top = fit.posterior_predictive(80, seed=4).max(axis=1)
    seen = DATA["y"].max()
    assert table.loc["maximum", "p"] == pytest.approx(np.mean(top > seen) + np.mean(top == seen) / 2)
    assert table.loc["maximum", "observed"] == seen
    assert table.loc["maximum", "ci_high"] == np.quantile(top, 0.975)


@pytest.mark.parametrize("level", ["conditional", "marginal"])
def test_overdispersion_is_found_under_poisson_and_not_under_the_right_family(over: dict[str, bg.Fit], level) -> None:
    names = ["zeros", "dispersion", "sd"]
    wrong, right = (over[f].ppc_statistics(names, level=level, seed=2)["p"] for f in ("poisson", "negative_binomial"))
    # New groups can be anything, and the data are less surprising among them.
    assert (wrong < (0.005 if level == "conditional" else 0.05)).all()
    assert ((right > 0.02) & (right < 0.98)).all()


def test_a_model_that_is_right_is_left_alone(fit: bg.Fit) -> None:
    for level in ("conditional", "marginal"):
        p = fit.ppc_statistics(level=level, seed=2)["p"]
        assert ((p > 0.02) & (p < 0.98)).all()


def test_rows_of_a_new_group_share_its_effect(fit: bg.Fit) -> None:
    same, new = (fit.posterior_predictive(800, seed=3, level=v) for v in ("conditional", "marginal"))
    g = DATA["g"].to_numpy()
    first = np.flatnonzero(g == g.min())
    # The same group hardly differs from replication to replication; a new one does, and takes its rows along.
    assert new[:, first].mean(axis=1).var() > 3 * same[:, first].mean(axis=1).var()
    together = np.corrcoef(np.log1p(new[:, first]).T)[np.triu_indices(len(first), 1)].mean()
    others = [np.flatnonzero(g == k)[0] for k in range(6)]
    apart = np.corrcoef(np.log1p(new[:, others]).T)[np.triu_indices(6, 1)].mean()
    assert together > 0.3
    assert abs(apart) < 0.1
    table = fit.ppc_statistics(["sd between g"], level="marginal", seed=3)
    assert table["sd"].iloc[0] > 2 * fit.ppc_statistics(["sd between g"], seed=3)["sd"].iloc[0]


def test_new_effects_have_the_covariance_of_their_parameters() -> None:
    model = bg.Model("y ~ x + (1 + x | g)", DATA, family="poisson")
    theta = np.repeat(model.fit("laplace").result.theta[None], 4000, axis=0)
    b = new_effects(model.problem, theta, np.random.default_rng(2))[0][0]
    L = model.problem.covariance[0].factor(theta[0])
    assert np.cov(b[:, 3].T) == pytest.approx(L @ L.T, abs=0.06)
    assert abs(np.corrcoef(b[:, 3, 0], b[:, 4, 0])[0, 1]) < 0.07


def test_an_unmodelled_group_shows_in_the_intraclass_correlation() -> None:
    flat = bg.Model("y ~ x", DATA, family="poisson").fit("laplace", seed=1)
    codes = pd.get_dummies(DATA["g"]).to_numpy(dtype=float)

    def between(y: np.ndarray) -> float:
        return float(np.var(y @ codes / codes.sum(axis=0), ddof=1))

    assert flat.ppc_statistics({"between": between}, seed=1).loc["between", "p"] < 0.005


def test_predictive_residuals_are_standard_normal_under_the_model(over: dict[str, bg.Fit]) -> None:
    right = over["negative_binomial"].residuals("quantile", predictive=True)
    assert stats.kstest(right, "norm").pvalue > 0.05
    wrong = over["poisson"].residuals("quantile", predictive=True)
    assert wrong.std() > 1.2 * right.std()


def test_places_among_replications_are_exactly_uniform() -> None:
    """The response is one more replication: drawn from the posterior predictive distribution itself."""
    fit = bg.Model(FORMULA, DATA, family="poisson").fit("laplace", seed=1)
    fit = fit.refine("psis", seed=1)  # draws that stay what they are whatever the response
    problem = fit.model.problem
    places = []
    for k, y in enumerate(fit.posterior_predictive(40, seed=77)):
        design = replace(problem.design, response=replace(problem.response, y=y))
        fit.model.problem = replace(problem, design=design)
        places.append(stats.norm.cdf(fit.residuals("quantile", predictive=True, draws=50, seed=k)))
    fit.model.problem = problem
    assert stats.kstest(np.ravel(places)[:: len(DATA) // 12], "uniform").pvalue > 0.01
    assert np.mean(places) == pytest.approx(0.5, abs=0.02)
    assert np.var(places) == pytest.approx(1 / 12, abs=0.006)


def test_predictive_residuals_agree_with_the_distribution_function() -> None:
    data = DATA.assign(z=DATA["x"] * 2 + np.random.default_rng(1).normal(size=len(DATA)))
    fit = bg.Model("z ~ x", data).fit("laplace", seed=1)
    gap = fit.residuals("quantile", predictive=True, draws=4000) - fit.residuals("quantile")
    assert np.sqrt(np.mean(gap**2)) < 0.06


def test_predictive_residuals_need_no_distribution_function() -> None:
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"y": rng.standard_t(3, size=200), "x": rng.normal(size=200)})
    fit = bg.Model("y ~ x", data, family="student_t").fit("laplace", seed=1)
    with pytest.raises(bg.MethodError, match="distribution function"):
        fit.residuals("quantile")
    assert stats.kstest(fit.residuals("quantile", predictive=True), "norm").pvalue > 0.05


def test_leave_one_out_places(over: dict[str, bg.Fit], fit: bg.Fit) -> None:
    assert stats.kstest(fit.loo_pit(seed=1), "uniform").pvalue > 0.05
    wrong, right = (over[f].loo_pit(seed=1) for f in ("poisson", "negative_binomial"))
    assert stats.kstest(right, "uniform").pvalue > 0.05
    assert wrong.var() > 1.25 / 12 > right.var() * 0.9


def test_a_row_left_out_is_predicted_by_the_others() -> None:
    """Against the predictive distribution of a fit without the row, in closed form."""
    rng = np.random.default_rng(3)
    y = np.append(rng.normal(size=15), 2.5)
    fit = bg.Model("y ~ 1", pd.DataFrame({"y": y})).fit("laplace", seed=1)
    rest, n = y[:-1], 15
    exact = stats.t.cdf((y[-1] - rest.mean()) / (rest.std(ddof=1) * np.sqrt(1 + 1 / n)), n - 1)
    assert fit.loo_pit(4000, seed=2)[-1] == pytest.approx(exact, abs=0.01)
    # With the row among the data its place is less extreme.
    assert stats.norm.cdf(fit.residuals("quantile", predictive=True)[-1]) < fit.loo_pit(4000, seed=2)[-1]


def test_trees_are_labelled(fit: bg.Fit) -> None:
    tree = fit.predictive_tree(30, seed=1, level="marginal")
    assert dict(tree["posterior_predictive"]["y"].sizes) == {"chain": 1, "draw": 30, "obs_id": len(DATA)}
    assert tree["posterior_predictive"]["y"].dtype == np.int64
    assert (tree["observed_data"]["y"].to_numpy() == DATA["y"]).all()
    assert (tree["posterior_predictive"]["y"].to_numpy()[0] == fit.posterior_predictive(30, 1, "marginal")).all()
    loo = loo_tree(fit.model.problem, fit.result, 100, seed=1)
    assert loo["log_likelihood"]["y"].shape == loo["posterior_predictive"]["y"].shape == (1, 100, len(DATA))


def test_trials_are_proportions() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"s": rng.binomial(10, 0.4, 30), "n": 10})
    fit = bg.Model("p(s, n) ~ 1", data, family="binomial").fit("laplace", seed=1)
    table = fit.ppc_statistics(seed=1)
    assert table.loc["maximum", "observed"] == data["s"].max() / 10
    assert table.loc["mean", "mean"] == pytest.approx(data["s"].mean() / 10, abs=0.01)
    assert "constant_data" in fit.predictive_tree(5)


def test_a_binary_response_has_a_mean_and_groups() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.integers(0, 2, 40), "g": np.repeat(np.arange(8), 5)})
    fit = bg.Model("y ~ 1 + (1 | g)", data, family="binomial").fit("laplace", seed=1)
    assert list(fit.ppc_statistics(draws=50, seed=1).index) == ["mean", "sd between g", "icc g"]


def test_pictures_show_the_numbers(fit: bg.Fit) -> None:
    import matplotlib.pyplot as plt

    figure = fit.plot_ppc(kind="tstat", statistics=["zeros", "icc g"], draws=100, seed=1)
    observed = fit.ppc_statistics(["zeros", "icc g"], draws=100, seed=1)["observed"]
    lines = {float(line.get_xdata()[0]) for a in figure.axes for line in a.lines if len(set(line.get_xdata())) == 1}
    assert set(observed) <= lines
    titles = [a.get_title(loc="left") or a.get_title() for a in figure.axes]
    assert titles[:2] == ["zeros", "icc g"]
    curve = plot_loo_pit(fit, 300, 1).axes[0].lines[0]
    places = np.sort(fit.loo_pit(300, seed=1))
    assert np.asarray(curve.get_ydata())[-1] == pytest.approx(0.0, abs=1e-9)
    assert len(places) == len(DATA)
    assert plt.get_fignums() == []


def test_what_has_no_distribution_says_so() -> None:
    quasi = bg.Model("y ~ x", DATA, family="quasipoisson").fit("irls")
    calls = (quasi.ppc_statistics, quasi.predictive_tree, quasi.loo_pit, quasi.plot_loo_pit)
    for call in (*calls, lambda: quasi.residuals("quantile", predictive=True), lambda: quasi.plot_ppc(kind="tstat")):
        with pytest.raises(bg.MethodError, match="quasi-family"):
            call()
    scaled = bg.Model("y ~ x", DATA, family="poisson").fit("irls", scale="pearson")
    with pytest.raises(bg.MethodError, match="scale"):
        scaled.ppc_statistics()
    plain = bg.Model("y ~ x", DATA, family="poisson").fit("irls")
    assert plain.ppc_statistics(seed=1).loc["mean", "p"] == pytest.approx(0.5, abs=0.15)
    with pytest.raises(bg.MethodError, match="posterior"):
        plain.loo_pit()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.ppc_statistics(["zeroes"]), "zeroes"),
        (lambda f: f.ppc_statistics(draws=1), "draws"),
        (lambda f: f.ppc_statistics(level="groups"), "level"),
        (lambda f: f.plot_ppc(kind="bars"), "kind"),
        (lambda f: f.plot_ppc(kind="rootogram", statistics=["mean"]), "tstat"),
        (lambda f: f.residuals("pearson", predictive=True), "quantile"),
        (lambda f: f.residuals("quantile", level="marginal"), "predictive"),
    ],
)
def test_wrong_questions(fit: bg.Fit, call, words: str) -> None:
    with pytest.raises(bg.MethodError, match=words):
        call(fit)
