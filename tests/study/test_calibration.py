"""Simulation-based calibration: the test has its size and its power, and tells right posteriors from wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesglmm as bg
from bayesglmm.study.calibration import band, uniformity


def model(priors: object = None) -> bg.Model:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=40), "g": np.repeat(np.arange(10), 4)})
    data["y"] = rng.poisson(2.0, 40)
    own = {
        "Intercept": bg.Prior("Normal", mu=0.5, sigma=0.5),
        "x": bg.Prior("Normal", mu=0.0, sigma=0.5),
        "g.sd": bg.Prior("Gamma", alpha=4.0, beta=8.0),
    }
    return bg.Model("y ~ x + (1 | g)", data, family="poisson", priors=own if priors is None else priors)


def test_the_test_has_its_size() -> None:
    rng = np.random.default_rng(2)
    p = np.array([uniformity(rng.integers(0, 50, 100), 49) for _ in range(400)])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.03)  # three binomial standard errors
    assert stats.kstest(p, "uniform").statistic < 0.1


@pytest.mark.parametrize("shape", [(1.0, 1.6), (1.6, 1.0), (0.6, 0.6), (2.0, 2.0)])
def test_the_test_has_power(shape: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    ranks = rng.binomial(99, rng.beta(*shape, 300))
    assert uniformity(ranks, 99) < 0.01


def test_the_band_holds_what_it_says() -> None:
    low, high = band(80, 49)
    rng = np.random.default_rng(4)
    drawn = np.cumsum(rng.multinomial(80, np.full(50, 0.02), size=2000), axis=1)[:, :49] / 80
    inside = np.mean(np.all((drawn >= low) & (drawn <= high), axis=1))
    assert inside == pytest.approx(0.95, abs=0.02)


def test_nested_laplace_is_calibrated_and_ranks_do_not_depend_on_workers(tmp_path: Path) -> None:
    found = bg.sbc(model(), ["inla"], 60, draws=49, seed=5, workers=1, path=tmp_path / "sbc.sqlite", progress=False)
    assert found.table["parameter"].tolist() == ["Intercept", "x", "g.sd"]
    assert (found.table["adjusted"] > 0.01).all(), str(found)
    for text in (str(found), found._repr_html_()):  # a table that says what its columns are
        assert "place: mean place of the truth in its posterior, 0.5 is right" in text
    again = bg.sbc(model(), ["inla"], 60, draws=49, seed=5, workers=2, path=tmp_path / "sbc.sqlite", progress=False)
    pd.testing.assert_frame_equal(again.ranks, found.ranks)
    assert found.ranks["rank"].between(0, 49).all()


def test_a_wrong_posterior_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws that are too narrow, and too low, for the slope."""
    from dataclasses import replace

    from bayesglmm.study import replicate

    right = replicate.parameter_draws

    def wrong(problem, result, count, rng):
        draws = right(problem, result, count, rng)
        beta = draws.beta.copy()
        centre = beta[..., 1].mean()
        beta[..., 1] = centre + 0.4 * (beta[..., 1] - centre)
        beta[..., 0] -= 0.5 * beta[..., 0].std()
        return replace(draws, beta=beta)

    monkeypatch.setattr(replicate, "parameter_draws", wrong)
    found = bg.sbc(model(), "laplace", 150, draws=49, seed=6, workers=1, progress=False).table.set_index("parameter")
    assert found.loc["x", "verdict"] == "too narrow"
    assert found.loc["x", "spread"] > 1.3
    assert "too low" in found.loc["Intercept", "verdict"]
    assert found.loc["Intercept", "place"] > 0.55


@pytest.mark.slow
def test_mcmc_is_calibrated() -> None:
    """NUTS with the random effects integrated out by quadrature: nothing is compiled anew for every data set.

    The ranks are those of parameters, so the random effects need not be drawn exactly.
    """
    options = {"mcmc": {"marginalize": "agq", "nodes": 5, "effects": "gaussian", "draws": 400, "tune": 100}}
    found = bg.sbc(model(), "mcmc", 40, draws=49, seed=7, options=options, workers=1, progress=False)
    ranked = found.ranks.groupby("parameter").size()
    assert (ranked >= 36).all(), str(found)
    assert (found.table["adjusted"] > 0.01).all(), str(found)


def test_places_are_laid_out_for_arviz() -> None:
    found = bg.sbc(model(), "laplace", 12, draws=19, seed=8, workers=1, progress=False)
    group = found.idata["laplace"]["prior_sbc"].to_dataset()
    assert set(group.data_vars) == {"Intercept", "x", "g.sd"}
    assert group["x"].dims == ("sample",)
    ranks = found.ranks.query("parameter == 'x'")["rank"].to_numpy()
    assert np.allclose(group["x"], (ranks + 0.5) / 20)
    figure = found.plot()
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["Intercept", "x", "g.sd"]


def test_what_has_no_posterior_is_refused() -> None:
    with pytest.raises(bg.MethodError, match="'pql' has no posterior"):
        bg.sbc(model(), "pql")
    with pytest.raises(bg.MethodError, match="nothing to draw a truth from"):
        bg.sbc(model("flat"), "laplace")
    with pytest.raises(bg.SpecError, match="no probability distribution to draw from"):
        bg.sbc(model({"x": bg.Prior("Flat")}), "laplace")
    with pytest.raises(bg.MethodError, match="draws is 0"):
        bg.sbc(model(), "laplace", draws=0)
