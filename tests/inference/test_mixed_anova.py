"""Likelihood-ratio tests of mixed models: the right mixture, and refusal of what cannot be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of, reference_problem
from reference_data import fit, frame
from scipy import stats

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.inference.anova import anova
from bayesglmm.latent import fit_marginal, fit_working
from bayesglmm.scores import fit_irls

SLEEP = frame("sleepstudy")


def lmm(formula, method="ml", data=SLEEP, **options):
    made = problem_of(formula, data, "gaussian", **options)
    if not made.design.blocks:
        return made, fit_irls(made)
    return made, fit_working(made, method=method)


def tail(t, m):
    return 0.5 * (stats.chi2.sf(t, m - 1) if m > 1 else 0.0) + 0.5 * stats.chi2.sf(t, m)


@pytest.mark.parametrize(
    ("small", "full", "m", "zero"),
    [
        ("Reaction ~ Days", "Reaction ~ Days + (1 | Subject)", 1, 1),
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (1 + Days | Subject)", 2, 1),
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (1 + Days || Subject)", 1, 1),
        ("Reaction ~ Days + (1 + Days || Subject)", "Reaction ~ Days + (1 + Days | Subject)", 1, 0),
        ("Reaction ~ Days", "Reaction ~ Days + (1 + Days | Subject)", 3, 2),
        ("Reaction ~ 1 + (1 | Subject)", "Reaction ~ Days + (1 | Subject)", 1, 0),
        ("Reaction ~ 1 + (1 | Subject)", "Reaction ~ Days + (1 + Days | Subject)", 3, 1),
    ],
)
def test_the_reference_follows_from_the_random_terms(small, full, m, zero):
    a, b = lmm(small), lmm(full)
    row = anova(b, a).iloc[1]
    statistic = 2 * (b[1].loglik - a[1].loglik)
    assert row["chi2"] == pytest.approx(statistic)
    assert row["df"] == m
    assert row["p"] == pytest.approx(tail(statistic, m) if zero else stats.chi2.sf(statistic, m), rel=1e-12)
    mixture = f"½χ²({m - 1}) + ½χ²({m})"
    assert row["reference"] == [f"χ²({m})", mixture, f"at most {mixture}"][zero]


def test_a_ratio_of_zero_has_a_p_value_of_one():
    data = pd.DataFrame({"y": np.tile([0, 1, 2, 3, 1, 2], 10), "g": np.repeat(np.arange(10), 6).astype(str)})
    small, full = problem_of("y ~ 1", data, "poisson"), problem_of("y ~ 1 + (1 | g)", data, "poisson")
    row = anova((small, fit_irls(small)), (full, fit_marginal(full))).iloc[1]
    assert row["p"] == pytest.approx(1.0 if row["chi2"] <= 0 else 0.5, abs=1e-3)


def test_the_published_comparison_of_the_sleep_study():
    """lme4's vignette: the slope's variance and covariance, on the naive χ²(2): 42.139 (ML), p = 7.072e-10."""
    row = anova(lmm("Reaction ~ Days + (1 | Subject)"), lmm("Reaction ~ Days + (1 + Days | Subject)")).iloc[1]
    assert row["chi2"] == pytest.approx(42.139, abs=1e-3)
    assert row["p"] < 7.072e-10


@pytest.mark.slow
def test_the_mixture_holds_under_the_null():
    """Simulated: P(ratio > c) of one variance component against ½P(χ²(1) > c), and how often the estimate is zero."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(40), 6)
    data = pd.DataFrame({"x": rng.standard_normal(240), "g": g.astype(str)})
    ratios = []
    for _ in range(400):
        data["y"] = rng.poisson(np.exp(0.8 + 0.3 * data["x"]))
        small, full = problem_of("y ~ x", data, "poisson"), problem_of("y ~ x + (1 | g)", data, "poisson")
        ratios.append(2 * (fit_marginal(full).loglik - fit_irls(small).loglik))
    ratios = np.array(ratios)
    for c in (0.1, 1.0, 2.7):
        p = tail(c, 1)
        assert abs(np.mean(ratios > c) - p) < 3.5 * np.sqrt(p * (1 - p) / len(ratios)) + 0.02


def test_laplace_without_random_effects_and_irls_are_the_same_likelihood():
    f = fit("cbpp", "logit-glmer-profile")
    full = reference_problem("cbpp", f)
    small = problem_of("p(incidence, size) ~ period", frame("cbpp"), "binomial")
    found = fit_marginal(full)
    by_irls = anova((small, fit_irls(small)), (full, found))
    by_laplace = anova((small, fit_marginal(small)), (full, found))
    assert by_irls["p"].iloc[1] == pytest.approx(by_laplace["p"].iloc[1], rel=1e-6)


def test_restricted_likelihoods_of_the_same_fixed_effects():
    row = anova(lmm("Reaction ~ Days + (1 | Subject)", "reml"), lmm("Reaction ~ Days + (1 + Days | Subject)", "reml"))
    assert row["chi2"].iloc[1] == pytest.approx(42.837, abs=1e-3)


def refused(words, *pairs):
    with pytest.raises(MethodError, match=words):
        anova(*pairs)


def test_what_cannot_be_compared_is_refused():
    intercept = lmm("Reaction ~ Days + (1 | Subject)")
    refused("restricted likelihoods of different fixed effects",
            lmm("Reaction ~ 1 + (1 | Subject)", "reml"), lmm("Reaction ~ Days + (1 | Subject)", "reml"))  # fmt: skip
    refused("different methods", intercept, lmm("Reaction ~ Days + (1 + Days | Subject)", "reml"))
    refused("not of the same responses", intercept, lmm("Reaction ~ Days + (1 + Days | Subject)", data=SLEEP.iloc[:-1]))
    weights = np.where(np.arange(len(SLEEP)) < 9, 2.0, 1.0)
    refused("different weights", intercept, lmm("Reaction ~ Days + (1 + Days | Subject)", weights=weights))
    other = SLEEP.assign(half=(np.arange(len(SLEEP)) % 2).astype(str))
    refused("random effects of half are not among the larger's",
            lmm("Reaction ~ Days + (1 | half)", data=other), lmm("Reaction ~ Days + (1 + Days | Subject)"))  # fmt: skip
    refused("same number of parameters", intercept, intercept)


def test_posterior_modes_and_different_quadratures_are_refused():
    data = frame("cbpp")
    small = bg.Model("p(incidence, size) ~ 1 + (1 | herd)", data, "binomial")
    full = bg.Model("p(incidence, size) ~ period + (1 | herd)", data, "binomial")
    with pytest.raises(MethodError, match="these fits have priors"):
        bg.anova(small.fit("laplace"), full.fit("laplace"))
    flat = [bg.Model(m.formula, data, "binomial", priors="flat") for m in (small, full)]
    with pytest.raises(MethodError, match=r"different numbers of quadrature nodes \(5 and 9\)"):
        bg.anova(flat[0].fit("agq", nodes=5), flat[1].fit("agq", nodes=9))
    assert bg.anova(*(m.fit("agq", nodes=9) for m in flat))["df"].iloc[1] == 3


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_working_fits_have_no_likelihood_to_compare(method):
    data = frame("cbpp")
    formulas = ("p(incidence, size) ~ 1 + (1 | herd)", "p(incidence, size) ~ period + (1 | herd)")
    fits = [bg.Model(formula, data, family="binomial").fit(method) for formula in formulas]
    with pytest.raises(MethodError, match=rf"by '{method}'\) has no likelihood ratio; use .*kind='III'"):
        bg.anova(*fits)
    assert bg.anova(fits[1], kind="III").loc["period", "df"] == 3
