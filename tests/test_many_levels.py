"""Questions asked of a fit with many levels: only what is needed is made, and it is what the small way gives."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm import idata, responses
from bayesglmm.diagnose import group_influence, loo
from bayesglmm.latent import draws as drawing
from bayesglmm.latent.copies import Points
from bayesglmm.latent.elimination import ordering
from bayesglmm.latent.posterior import found_optimum, marginal_draws
from bayesglmm.latent.weights import importance
from bayesglmm.latent.weights.importance import weigh
from bayesglmm.latent.weights.nested_points import NestedPoints
from bayesglmm.posterior import parameter_draws


def table(levels: int, rows: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(levels), rows)
    x = rng.standard_normal(len(g))
    y = rng.poisson(np.exp(0.3 + 0.5 * x + 0.7 * rng.standard_normal(levels)[g]))
    return pd.DataFrame({"y": y, "x": x, "g": [f"l{k:05d}" for k in g], "h": [f"h{k % 7}" for k in range(len(g))]})


@pytest.fixture(scope="module")
def fit() -> bg.Fit:
    return bg.Model("y ~ x + (1 + x | g)", table(60), "poisson").fit("laplace")


@pytest.mark.parametrize("formula", ["y ~ x + (1 + x | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_draws_of_some_levels_have_the_covariance_that_they_have_among_all(formula: str) -> None:
    """H⁻¹ in full, and draws that do not find modes anew, as of a model of many rows."""
    fit = bg.Model(formula, table(60), "poisson").fit("laplace")
    target, optimum = found_optimum(fit.model.problem, fit.result)
    factor = optimum.point.mode.factor
    assert factor is not None
    structure = target.objective.structure
    some = [np.array([3, 17, 42]), np.array([0, 5])][: len(structure.layouts)]
    noise = drawing.Noise(factor, some)
    flags = np.zeros(structure.m, dtype=bool)
    for layout, levels in zip(structure.layouts, some):
        flags[layout.start : layout.stop].reshape(layout.levels, layout.size)[levels] = True
    np.testing.assert_array_equal(noise.unknowns, np.flatnonzero(flags))
    inverse = factor.solve(np.eye(structure.m))[np.ix_(noise.unknowns, noise.unknowns)]
    scale = np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
    drawn = noise.draw(np.random.default_rng(1), 20_000)
    np.testing.assert_allclose(drawn.T @ drawn / 20_000 / scale, inverse / scale, atol=5 * np.sqrt(2 / 20_000))
    few, every = (drawing.draw(target, optimum, 400, 1, False, own) for own in (some, None))
    np.testing.assert_array_equal(few.beta, every.beta)
    for own, whole, levels in zip(few.effects, every.effects, some):
        other = whole[:, :, levels]
        assert own.shape == other.shape
        reach = 5 * np.sqrt(2 / 400) * other.std(axis=(0, 1))
        assert np.all(np.abs(own.mean(axis=(0, 1)) - other.mean(axis=(0, 1))) < reach)


def test_responses_of_a_few_rows_are_drawn_with_their_own_levels_only(
    fit: bg.Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(*args: Any) -> Any:
        sample = parameter_draws(*args)
        seen.append([e.shape[2] for e in sample.effects])
        return sample

    monkeypatch.setattr(responses, "parameter_draws", watched)
    rows = fit.model.data.iloc[[0, 1, 200]]
    drawn = fit.predict(rows, kind="response", draws=300, seed=2)
    fit.predict(rows, kind="response", level="population", draws=300, seed=2)
    fit.predict(rows, kind="response", level="marginal", draws=300, seed=2)
    fit.posterior_predictive(20, seed=1)
    assert seen == [[2], [0], [0], [60]]
    assert drawn.shape == (3, 300)


def test_responses_of_a_few_rows_are_those_rows_of_all(fit: bg.Fit) -> None:
    """Modes are found anew in a small model, whatever is wanted of them: the same draws then, level by level."""
    problem, result = fit.model.problem, fit.result
    some = [np.array([0, 40])]
    few = marginal_draws(problem, result, 40, 3, some)
    np.testing.assert_array_equal(few.effects[0], marginal_draws(problem, result, 40, 3).effects[0][:, :, some[0]])


def test_levels_that_were_not_seen_stay_so_when_levels_are_left_out(fit: bg.Fit) -> None:
    rows = fit.model.data.iloc[[0, 100, 0]].assign(g=["l00000", "new", "newer"])
    y = fit.predict(rows, kind="response", draws=1000, seed=1).to_numpy()
    assert y[1].var() > 1.5 * y[0].var() or y[2].var() > 1.5 * y[0].var()


@pytest.mark.parametrize("level", ["conditional", "marginal"])
def test_portions_change_nothing(fit: bg.Fit, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    whole = fit.residuals("quantile", predictive=True, seed=1, draws=50, level="conditional")
    weighted = weigh(fit.model.problem, fit.result, seed=1, draws=100)
    sample = parameter_draws(fit.model.problem, fit.result, 40, np.random.default_rng(5))
    likelihood = idata.log_likelihood(fit.model.problem, sample)
    monkeypatch.setattr(responses, "portions", lambda count, width, most=0: ordering.portions(count, width, 2000))
    monkeypatch.setattr(idata, "PORTION", 700)
    np.testing.assert_array_equal(
        fit.residuals("quantile", predictive=True, seed=1, draws=50, level="conditional"), whole
    )
    monkeypatch.setattr(ordering.portions, "__defaults__", (2000,))
    assert len(list(ordering.portions(50, 300))) == 9
    again = weigh(fit.model.problem, fit.result, seed=1, draws=100)
    # The noise comes in another order.
    assert again.solved.u.shape == weighted.solved.u.shape
    assert again.weights.ess == pytest.approx(weighted.weights.ess, rel=0.3)
    np.testing.assert_allclose(idata.log_likelihood(fit.model.problem, sample), likelihood, rtol=1e-13)
    np.testing.assert_allclose(
        idata.total_log_likelihood(fit.model.problem, sample), likelihood.sum(axis=2), rtol=1e-12
    )
    assert np.isfinite(fit.posterior_predictive(30, seed=1, level=level)).all()


def test_a_log_likelihood_that_is_too_large_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bg.Model("y ~ x + (1 | g)", table(20), "poisson")
    assert "log_likelihood" in model.fit("laplace", seed=1).idata.children
    monkeypatch.setattr(idata, "MOST_HELD", 99_999)
    with pytest.warns(bg.BayesGLMMWarning, match=r"without log_likelihood: 100 rows at 1000 draws .*fewer draws"):
        tree = model.fit("laplace", seed=1).idata
    assert "log_likelihood" not in tree.children
    assert tree["posterior"]["g"].shape == (4, 250, 20, 1)


def test_where_candidates_are_noise_quadrature_is_taken_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "MOST_VALUES", 1)
    monkeypatch.setattr(importance, "NOISE", 0.02)
    fit = bg.Model("y ~ x + (1 | g)", table(300), "poisson").fit("laplace")
    given = {"draws": 60, "proposals": 60, "seed": 1}
    found, kept = (weigh(fit.model.problem, fit.result, **given, keep=keep) for keep in (False, True))
    assert (found.work.nodes, found.work.pairs) == (5, 0)
    assert (kept.work.nodes, kept.work.pairs) == (5, importance.FEWEST_PAIRS)
    assert found.solved.u.shape == (60, 0)
    assert kept.solved.u.shape == (60, 300)
    np.testing.assert_allclose(found.log_marginal, kept.log_marginal, rtol=1e-12)
    assert found.weights.ess > 40


@pytest.mark.parametrize(("method", "sizes"), [("laplace", (20, 80)), ("agq", (15, 60))])
def test_the_step_without_a_level_is_off_by_a_share_of_one_in_the_number_of_levels(
    method: str, sizes: tuple[int, int]
) -> None:
    shares = []
    for levels in sizes:
        fit = bg.Model("y ~ x + (1 | g)", table(levels), "poisson").fit(method)
        step, refits = fit.influence("g", refit=False), fit.influence("g", refit=True)
        assert (step.attrs["how"][:3], refits.attrs["how"][:4]) == ("one", "fits")
        assert list(step.columns) == list(refits.columns)
        assert step["rows"].tolist() == [5] * levels
        change = [t[[c for c in t if c.startswith("without")]].to_numpy() - fit_estimates(fit) for t in (step, refits)]
        shares.append(np.abs(change[0] - change[1]).max(axis=0) / np.abs(change[1]).max(axis=0))
    scaled, exact = step.filter(like="dfbetas"), refits.filter(like="dfbetas")
    np.testing.assert_allclose(scaled, exact, atol=0.1 * exact.abs().to_numpy().max())
    np.testing.assert_allclose(
        step["cooks_distance"], refits["cooks_distance"], atol=0.1 * refits["cooks_distance"].max()
    )
    assert np.all(shares[1] < 0.2)
    assert shares[1].max() < 0.5 * shares[0].max()


def fit_estimates(fit: bg.Fit) -> np.ndarray:
    from bayesglmm.marginals import marginals

    return np.array([m.estimate for m in marginals(fit.model.problem, fit.result).values()])


def test_very_many_levels_are_stepped_without_being_asked(fit: bg.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_influence, "REFITS", 10)
    table = fit.influence("g")
    assert table.attrs["how"] == "one Newton step without each level"
    assert table.notna().all(axis=None)


def test_steps_that_cannot_be_taken_say_why(fit: bg.Fit) -> None:
    crossed = bg.Model("y ~ x + (1 | g) + (1 | h)", table(20), "poisson").fit("laplace")
    with pytest.raises(bg.MethodError, match=r"refit=False: the levels of 'h' are not independent"):
        crossed.influence("h", refit=False)
    linear = bg.Model("y ~ x + (1 | g)", table(20)).fit("reml")
    with pytest.raises(bg.MethodError, match=r"refit=False: the step is for fits by laplace and agq.*'reml'"):
        linear.influence("g", refit=False)
    with pytest.raises(bg.MethodError, match=r"refit: for the influence of groups only"):
        fit.influence(refit=False)


@pytest.mark.parametrize("method", ["laplace", "inla"])
def test_rows_left_out_in_portions_as_all_at_once(fit: bg.Fit, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    data = table(12).assign(o=[f"o{k // 2 if k < 20 else k}" for k in range(60)])
    fit = bg.Model("y ~ x + (1 | g) + (1 | o)", data, "poisson").fit(method)
    whole = fit.loo(draws=50, seed=1)
    monkeypatch.setattr(loo, "MOST_HELD", 100)
    monkeypatch.setattr(loo, "portions", lambda count, width: ordering.portions(count, width, 4000))
    parts = fit.loo(draws=50, seed=1)
    for name in ("elpd", "se", "p", "n_samples", "n_data_points", "good_k", "warning", "approx_posterior"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-10)
    np.testing.assert_allclose(parts.elpd_i, whole.elpd_i, rtol=1e-10)
    np.testing.assert_allclose(parts.pareto_k, whole.pareto_k, rtol=1e-8)
    assert parts.elpd_i["row"].to_numpy().tolist() == list(range(60))


def test_points_of_many_levels_are_given_back_without_the_garbage_collector() -> None:
    """A parameter vector of a model of many rows takes tens of megabytes."""
    fit = bg.Model("y ~ x + (1 | g)", table(60), "poisson").fit("laplace")
    target, optimum = found_optimum(fit.model.problem, fit.result)
    nested = NestedPoints.of(target.objective, optimum)
    assert nested is not None
    at = nested.at(Points.of(target.coordinates, optimum.point.x[None]))
    at.laplace(), at.candidates([at.levels.split(np.zeros((60, 1)))], antithetic=True)
    gone = weakref.ref(at)
    gc.disable()
    try:
        del at
        assert gone() is None
    finally:
        gc.enable()
