"""A response in other units: everything a fit says is the same number in those units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayesglmm as bg
from bayesglmm.latent.units import in_units
from bayesglmm.posterior import with_draws

SCALE = 1e40
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dispersion": {"dispersion": "~ x"},
    "weights and offset": {"weights": "w", "offset": "o"},
    "correlated": {"covariance": {"g": "cs"}},
}


def table(scale: float) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(12), 8), rng.normal(size=96)
    effects = rng.normal(size=(12, 2)) * [0.8, 0.5]
    r = 1 + 0.5 * x + effects[g, 0] + effects[g, 1] * x + rng.normal(0, 0.6, 96)
    o = rng.normal(0, 0.2, 96)
    return pd.DataFrame(
        {"r": scale * (r + o), "x": x, "g": g.astype(str), "w": rng.uniform(0.5, 2, 96), "o": scale * o}
    )


def fits(case: str, priors: str, **options: Any) -> tuple[Any, Any]:
    made = [bg.Model("r ~ x + (x | g)", table(s), priors=priors, **CASES[case]) for s in (1.0, SCALE)]
    assert in_units(made[0].problem).unit == 1.0
    assert in_units(made[1].problem).unit == pytest.approx(SCALE, rel=2.0)
    return made[0].fit("laplace", **options), made[1].fit("laplace", **options)


@pytest.mark.parametrize("priors", ["flat", "default"])
@pytest.mark.parametrize("case", CASES)
def test_a_fit_in_other_units(case: str, priors: str) -> None:
    here, there = fits(case, priors)
    assert there.status.converged
    for name in ("estimate", "se"):
        assert_allclose(there.fixed[name] / SCALE, here.fixed[name], rtol=1e-6)
    assert_allclose(there.varcomp[["sd", "se"]] / SCALE, here.varcomp[["sd", "se"]], rtol=1e-5)
    assert_allclose(there.random["g"].select_dtypes(float) / SCALE, here.random["g"].select_dtypes(float), rtol=1e-5)
    assert_allclose(there.predict()["se"] / SCALE, here.predict()["se"], rtol=1e-5)
    assert there.loglik + 96 * np.log(SCALE) == pytest.approx(here.loglik, abs=1e-6)
    # The log-density of the parameters, priors and all: a density of y, stated per unit of coefficient and log sd.
    logs = [f.result.extras["log_density"] for f in (here, there)]
    longer = 0 if priors == "flat" else 2 + (case != "correlated")  # β, and the entry of Λ that is not logged
    assert logs[1] + (96 + longer) * np.log(SCALE) == pytest.approx(logs[0], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_profile_and_a_path_in_other_units(case: str) -> None:
    here, there = fits(case, "flat")
    table_here = here.confint(method="profile")
    wanted = [name for name in table_here.index if name == "x" or ".sd" in name]
    table_there = there.confint(method="profile")
    assert_allclose(table_there.loc[wanted] / SCALE, table_here.loc[wanted], rtol=1e-5)
    rest = [name for name in table_here.index if name.startswith(("g.corr", "sigma[x]"))]
    assert_allclose(table_there.loc[rest], table_here.loc[rest], rtol=1e-5)
    paths = [f.quadrature_path([1, 3])[["loglik", "loglik_at_estimate"]] for f in (here, there)]
    assert_allclose(paths[1] + 96 * np.log(SCALE), paths[0], atol=1e-6)


def test_draws_in_other_units() -> None:
    made = [with_draws(f.model.problem, f.result).draws for f in fits("correlated", "default", draws=4000, seed=1)]
    for name in ("beta", "theta"):
        here, there = (getattr(d, name).reshape(4000, -1) for d in made)
        size = np.array([SCALE, SCALE] if name == "beta" else [SCALE, SCALE, 1.0])
        for moment in (np.mean, np.std):
            assert_allclose(moment(there / size, axis=0), moment(here, axis=0), atol=0.03)
    # log p − log q is what draws are weighted by; its scale is the log evidence, per unit of y.
    weights = [np.median(d.stats["log_p"] - d.stats["log_q"]) for d in made]
    assert weights[1] + 96 * np.log(SCALE) == pytest.approx(weights[0], abs=0.05)


def test_the_gradient_of_the_posterior_in_other_units() -> None:
    problem = bg.Model("r ~ x + (x | g)", table(SCALE), dispersion="~ x").problem
    target = in_units(problem).target()
    x = np.array([0.9, 0.4, -0.3, 0.2, -0.8, -0.6, 0.1])
    steps = 1e-5 * np.eye(len(x))
    slopes = [(target.at(x + h).value - target.at(x - h).value) / 2e-5 for h in steps]
    assert_allclose(target.at(x).gradient, slopes, rtol=1e-6, atol=1e-6)
    values, gradients = target.priors_at(x[None])
    numeric = [(target.priors_at((x + h)[None])[0][0] - target.priors_at((x - h)[None])[0][0]) / 2e-5 for h in steps]
    assert_allclose(gradients[0], numeric, rtol=1e-6, atol=1e-6)
    assert np.isfinite(values).all()


def test_a_sigma_without_a_constant_stays_in_the_units_given() -> None:
    problem = bg.Model("r ~ x + (1 | g)", table(1e6), dispersion="~ 0 + x").problem
    assert in_units(problem).unit == 1.0
