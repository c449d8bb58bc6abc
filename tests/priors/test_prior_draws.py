"""Draws from priors against their densities, and what they make of responses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

import bayesglmm as bg
from bayesglmm.errors import MethodError, SpecError
from bayesglmm.prior_predictive import LARGEST_MEAN, predictive_rows, prior_draws
from bayesglmm.priors import DISTRIBUTIONS
from bayesglmm.priors.random import DRAWS, draw_correlations, draw_prior

PRIORS = [
    bg.Prior("Normal", mu=1, sigma=2),
    bg.Prior("StudentT", nu=4, mu=1, sigma=2),
    bg.Prior("Cauchy", alpha=1, beta=2),
    bg.Prior("Laplace", mu=1, b=2),
    bg.Prior("Logistic", mu=1, s=2),
    bg.Prior("HalfNormal", sigma=2),
    bg.Prior("HalfStudentT", nu=4, sigma=2),
    bg.Prior("HalfCauchy", beta=2),
    bg.Prior("Exponential", lam=2),
    bg.Prior("PC", upper=2, probability=0.1),
    bg.Prior("Gamma", alpha=3, beta=2),
    bg.Prior("InverseGamma", alpha=3, beta=2),
    bg.Prior("LogNormal", mu=1, sigma=0.5),
    bg.Prior("Weibull", alpha=3, beta=2),
    bg.Prior("Uniform", lower=1, upper=3),
    bg.Prior("Beta", alpha=3, beta=2),
    bg.Prior("TruncatedNormal", mu=1, sigma=2, lower=2, upper=9),
    bg.Prior("TruncatedNormal", mu=1, sigma=2, lower=-4, upper=0.5),
    bg.Prior("Gamma", alpha=3, beta=2, on="precision"),
    bg.Prior("InverseGamma", alpha=3, beta=2, on="variance"),
]


def test_every_distribution_can_be_drawn() -> None:
    assert set(DRAWS) == {name for name, row in DISTRIBUTIONS.items() if row.proper}
    assert {p.name for p in PRIORS} == set(DRAWS)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_draws_have_the_density(prior: bg.Prior) -> None:
    """Kolmogorov-Smirnov against the distribution function integrated from the density, on a grid."""
    drawn = draw_prior(prior, np.random.default_rng(5), 4000)
    low, high = np.quantile(drawn, [0.002, 0.998])
    grid = np.linspace(low, high, 4001)
    density = np.exp(prior.log_density(grid)[0])
    below = quad(lambda x: float(np.exp(prior.log_density(x)[0])), prior.support[0], low, limit=200)[0]
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(grid)
    cdf = below + np.concatenate([[0.0], np.cumsum(steps)])
    inside = drawn[(drawn >= low) & (drawn <= high)]
    conditional = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
    assert kstest(inside, lambda x: np.interp(x, grid, conditional)).pvalue > 1e-3
    assert cdf[-1] == pytest.approx(0.998, abs=0.004)


@pytest.mark.parametrize("eta", [0.7, 1.0, 4.0])
def test_correlations_are_lkj(eta: float) -> None:
    """Under LKJ(η) every correlation of a q × q matrix is 2 Beta(η − 1 + q/2, same) − 1, whatever its place."""
    from scipy.stats import beta

    q = 4
    L = draw_correlations(eta, q, np.random.default_rng(1), 4000)
    R = L @ np.swapaxes(L, 1, 2)
    np.testing.assert_allclose(np.einsum("nii->ni", R), 1.0)
    own = beta(eta - 1 + q / 2, eta - 1 + q / 2)
    for i, j in ((1, 0), (3, 0), (3, 2), (2, 1)):
        assert kstest(0.5 * (R[:, i, j] + 1.0), own.cdf).pvalue > 1e-3


def slopes_model(family: str = "gaussian", **options: object) -> bg.Model:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=30), "g": np.repeat(list("abcdef"), 5)})
    data["y"] = rng.poisson(3.0, 30).astype(float)
    return bg.Model("y ~ x + (1 + x | g)", data, family=family, **options)  # type: ignore[arg-type]


def test_parameters_effects_and_rows_hang_together() -> None:
    """b has the covariance its sds and correlations say, and the residuals the sd sigma says."""
    problem = slopes_model().problem
    rng = np.random.default_rng(2)
    draws = prior_draws(problem, 4000, rng)
    sd, corr = zip(*(problem.covariance[0].sd_corr(t) for t in draws.theta[0]))
    standard = draws.effects[0][0] / np.array(sd)[:, None, :]
    np.testing.assert_allclose(standard.std(axis=(0, 1)), 1.0, atol=0.03)
    expected = np.array(corr)[:, 1, 0]
    product = standard[..., 0] * standard[..., 1]
    assert np.mean(product * expected[:, None]) == pytest.approx(np.mean(expected**2), abs=0.02)
    y = predictive_rows(problem, draws, rng)
    design = problem.design
    eta = draws.beta[0] @ design.X.T + np.einsum(
        "nj,dnj->dn", design.blocks[0].z, draws.effects[0][0][:, design.blocks[0].codes]
    )
    residual = (y - eta) / np.exp(draws.psi[0])
    assert residual.std() == pytest.approx(1.0, abs=0.01)
    assert problem.priors is not None
    mu = dict(problem.priors.items())["Intercept"].params[0][1]
    se = draws.beta[0, :, 0].std() / np.sqrt(4000)
    assert draws.beta[0, :, 0].mean() == pytest.approx(mu, abs=4 * se)


def test_tree() -> None:
    model = slopes_model("poisson")
    tree = model.prior_predictive(draws=50, seed=3)
    assert set(tree["prior"].data_vars) == {"beta", "g", "g.sd", "g.corr"}
    assert tree["prior"]["g"].dims == ("chain", "draw", "g.level", "g.column")
    y = tree["prior_predictive"]["y"].values
    assert y.shape == (1, 50, 30)
    assert np.all((y >= 0) & (y == np.round(y)))
    assert y.max() < 1.01 * LARGEST_MEAN
    np.testing.assert_array_equal(y, model.prior_predictive(draws=50, seed=3)["prior_predictive"]["y"].values)


def test_plot_shows_every_draw_and_the_data() -> None:
    figure = slopes_model().plot_prior_predictive(draws=12, seed=1)
    assert sum(len(axes.lines) for axes in figure.axes) >= 13


def test_flat_priors_cannot_be_drawn() -> None:
    with pytest.raises(MethodError, match="nothing to draw from"):
        slopes_model(priors="flat").prior_predictive()
    with pytest.raises(SpecError, match="the prior of x is Flat"):
        slopes_model(priors={"x": bg.Prior("Flat")}).prior_predictive()
