"""Auxiliaries with linear predictors, and mixtures that were brought: the graph says what the engines compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from keystone_cases import crossed_problem
from test_keystone import check_joint

import bayesglmm as bg
from bayesglmm.design.types import AuxDesign
from bayesglmm.families import get_family
from bayesglmm.priors import resolve_priors


@pytest.mark.parametrize(
    ("family", "auxiliary"),
    [("gaussian", "sigma"), ("zero_inflated_negative_binomial_1", "phi"), ("zero_inflated_poisson", "zi")],
)
def test_joint_density(family, auxiliary):
    row = get_family(family)
    problem = crossed_problem(row, row.links[0])
    n = problem.design.nobs
    own = AuxDesign(auxiliary, None, np.c_[np.ones(n), np.linspace(-1.0, 1.0, n)], ("Intercept", "z"))
    design = replace(problem.design, auxiliaries=(own,))
    priors = resolve_priors("default", design, row, problem.link, problem.covariance)
    check_joint(replace(problem, design=design, priors=priors))


def mixture(pm, kind):
    """A mixture of two, the second one further up by a step that is an auxiliary."""
    if kind == "normal":
        parts = lambda mu, step: [pm.Normal.dist(mu, 0.7), pm.Normal.dist(mu + step, 0.7)]  # noqa: E731
    else:
        parts = lambda mu, step: [pm.Poisson.dist(mu), pm.Poisson.dist(mu * (1.0 + step))]  # noqa: E731

    def build(mu, step, share):
        weights = pm.math.stack([1.0 - share, share], axis=-1)
        return pm.Mixture.dist(w=weights, comp_dists=parts(mu, step))

    return build


@pytest.mark.parametrize(("kind", "link"), [("normal", "identity"), ("poisson", "log")])
def test_finite_mixture_that_was_brought(kind, link):
    """Laplace on the differentiated density finds the mixture, and its log-likelihood is the one by hand."""
    import pymc as pm
    from scipy import stats

    rng = np.random.default_rng(5)
    n = 400
    x, second = rng.normal(size=n), rng.random(n) < 0.3
    linear = 0.5 + 0.4 * x
    y = linear + 4.0 * second + 0.7 * rng.normal(size=n)
    if kind == "poisson":
        y = rng.poisson(np.exp(linear + 0.8) * np.where(second, 5.0, 1.0))
        linear = linear + 0.8
    family = bg.Family.from_pymc(f"two_{kind}", mixture(pm, kind), link, {"share": "logit"})
    fit = bg.Model("y ~ x", pd.DataFrame({"x": x, "y": y}), family, priors="flat").fit("laplace")
    assert fit.status.converged
    at = fit.params
    eta = at["Intercept"] + at["x"] * x
    if kind == "normal":
        densities = [stats.norm.pdf(y, eta + shift, 0.7) for shift in (0.0, at["step"])]
    else:
        densities = [stats.poisson.pmf(y, np.exp(eta) * factor) for factor in (1.0, 1.0 + at["step"])]
    by_hand = np.log((1.0 - at["share"]) * densities[0] + at["share"] * densities[1]).sum()
    assert fit.loglik == pytest.approx(by_hand, rel=1e-9)
    assert at["share"] == pytest.approx(0.3, abs=0.08)
    assert at["step"] == pytest.approx(4.0, rel=0.2)
    assert at["x"] == pytest.approx(0.4, abs=0.15)
