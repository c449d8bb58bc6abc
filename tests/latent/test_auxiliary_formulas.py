"""Dispersion models and zero inflation by formula, from the gradient to the prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import a_point, difference, made_up, value_of

import bayesglmm as bg
from bayesglmm.design.types import AuxDesign
from bayesglmm.diagnose.distribution import zero_probability
from bayesglmm.families import get_family
from bayesglmm.latent.objective import make_objective


def with_formula(problem, auxiliary, family=None, columns=2):
    """The problem with a linear predictor of one auxiliary."""
    X = np.c_[np.ones(problem.design.nobs), np.linspace(-1.0, 1.0, problem.design.nobs) ** 2][:, :columns]
    own = AuxDesign(auxiliary, None, X, ("Intercept", "z")[:columns])
    row = problem.family if family is None else get_family(family)
    return replace(problem, family=row, design=replace(problem.design, auxiliaries=(own,)))


CASES = [
    ("gaussian", None, "sigma"),
    ("negative_binomial", None, "theta"),
    ("gamma", None, "shape"),
    ("poisson", "zero_inflated_poisson", "zi"),
    ("poisson", "hurdle_poisson", "zi"),
    ("negative_binomial", "zero_inflated_negative_binomial", "theta"),
    ("negative_binomial", "zero_inflated_negative_binomial", "zi"),
    ("negative_binomial", "zero_inflated_negative_binomial_1", "zi"),
    ("negative_binomial", "hurdle_negative_binomial", "theta"),
]


@pytest.mark.parametrize("nodes", [1, 4])
@pytest.mark.parametrize(("data", "family", "auxiliary"), CASES)
def test_gradient(data, family, auxiliary, nodes):
    problem = with_formula(made_up(data, [(7, 1)], "log" if data == "gamma" else None), auxiliary, family)
    objective = make_objective(problem, nodes)
    beta, theta, psi = a_point(problem, objective.kernel.n_aux)
    assert len(psi) == len(problem.auxiliaries) == len(problem.family.auxiliaries) + 1
    at = objective.evaluate(beta, theta, psi)
    found = np.concatenate([at.beta, at.theta, at.psi])
    numeric = difference(value_of(objective, (len(beta), len(theta))), np.concatenate([beta, theta, psi]))
    np.testing.assert_allclose(found, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("data", "family", "auxiliary"), CASES)
def test_one_column_of_ones_is_the_scalar(data, family, auxiliary):
    problem = made_up(data, [(7, 1)], "log" if data == "gamma" else None)
    scalar = problem if family is None else replace(problem, family=get_family(family))
    modelled = with_formula(problem, auxiliary, family, columns=1)
    beta, theta, psi = a_point(scalar, len(scalar.family.auxiliaries))
    one, other = (make_objective(p).evaluate(beta, theta, psi) for p in (scalar, modelled))
    assert other.value == pytest.approx(one.value, rel=1e-13)
    np.testing.assert_allclose(other.psi, one.psi, rtol=1e-9, atol=1e-10)


# --- the public surface -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heteroscedastic():
    rng = np.random.default_rng(1)
    n = 400
    x, g = rng.normal(size=n), rng.integers(0, 20, n)
    y = 1.0 + x + 0.5 * rng.normal(size=20)[g] + np.exp(0.3 + 0.5 * x) * rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{j:02}" for j in g], "w": rng.integers(0, 2, n)})


@pytest.fixture(scope="module")
def salamanders():
    from reference_data import frame

    return frame("salamanders")


def test_dispersion_of_a_factor_is_each_groups_own(heteroscedastic):
    """Without random effects two groups with their own coefficients and σ are two separate fits."""
    data = heteroscedastic.assign(f=np.where(heteroscedastic.w == 1, "b", "a"))
    both = bg.Model("y ~ 0 + f + f:x", data, priors="flat", dispersion="~ 0 + f").fit()
    assert both.method == "laplace"
    parts = [bg.Model("y ~ x", data[data.f == level], priors="flat").fit("laplace") for level in "ab"]
    assert both.loglik == pytest.approx(sum(p.loglik for p in parts), rel=1e-10)
    for level, part in zip("ab", parts):
        log_sigma = both.auxiliary.loc[f"sigma[f[{level}]]"]
        assert log_sigma["estimate"] == pytest.approx(np.log(part.auxiliary.loc["sigma", "estimate"]), abs=1e-6)
        assert log_sigma["se"] == pytest.approx(part.auxiliary.loc["sigma", "link_se"], rel=1e-5)


def test_units_of_a_predictor_do_not_matter(heteroscedastic):
    small = heteroscedastic.assign(x=heteroscedastic.x * 1e-5)
    one, other = (
        bg.Model("y ~ x + (1 | g)", d, priors="flat", dispersion="~ x").fit() for d in (heteroscedastic, small)
    )
    assert other.status.converged
    assert other.loglik == pytest.approx(one.loglik, abs=1e-7)
    ratio = other.auxiliary.loc["sigma[x]"] / one.auxiliary.loc["sigma[x]"].drop("link")
    np.testing.assert_allclose(ratio[["estimate", "se"]].astype(float), 1e5, rtol=1e-5)


def test_names_parameters_and_residuals(heteroscedastic):
    model = bg.Model("y ~ x + (1 | g)", heteroscedastic, dispersion="~ x")
    fit = model.fit()
    assert list(fit.auxiliary.index) == ["sigma[Intercept]", "sigma[x]"]
    assert {"sigma[Intercept]", "sigma[x]"} < set(model.priors.index)
    assert model.methods == ("laplace", "agq", "inla", "map", "mcmc")
    assert model.loglik(fit.params) == pytest.approx(fit.loglik, rel=1e-12)
    assert fit.dispersion is None
    assert "sigma[x]" in fit.summary().split("Auxiliaries")[1]
    sigma = np.exp(fit.params["sigma[Intercept]"] + fit.params["sigma[x]"] * heteroscedastic.x)
    np.testing.assert_allclose(fit.residuals("pearson"), fit.residuals("response") / sigma, rtol=1e-9)
    np.testing.assert_allclose(fit.residuals("quantile"), fit.residuals("pearson"), rtol=1e-6, atol=1e-9)


def test_new_rows_have_their_own_dispersion(heteroscedastic):
    fit = bg.Model("y ~ x + (1 | g)", heteroscedastic, priors="flat", dispersion="~ x").fit()
    new = pd.DataFrame({"x": [-2.0, 2.0], "g": "g01"})
    spread = fit.predict(new, kind="response", draws=4000, seed=1).to_numpy().std(axis=1)
    sigma = np.exp(fit.params["sigma[Intercept]"] + fit.params["sigma[x]"] * new.x)
    # A new observation varies by its own σ and by what is not known of its linear predictor.
    uncertain = fit.predict(new, kind="linear")["se"]
    np.testing.assert_allclose(spread, np.hypot(sigma, uncertain), rtol=0.06)


def test_means_are_those_of_the_mixture(salamanders):
    """glmmTMB's fitted values are E(y); draws have that mean; and a zero has the mixture's probability."""
    from reference_data import reference

    family = {"zip-glmmTMB": "poisson", "zinb2-glmmTMB": "negative_binomial", "hurdle-glmmTMB": "hurdle_poisson"}
    for name, own in family.items():
        f = next(f for f in reference("salamanders")["fits"] if f["id"] == name)
        fit = bg.Model(f["formula"], salamanders, own, priors="flat", zi=f["ziformula"]).fit()
        mean = fit.predict()
        np.testing.assert_allclose(mean["estimate"][:10], f["fitted_first10"], rtol=2e-4)
        np.testing.assert_allclose(fit.predict(salamanders)["estimate"], mean["estimate"], rtol=1e-12)
        response = salamanders["count"].to_numpy() - mean["estimate"]
        np.testing.assert_allclose(fit.residuals("response"), response, rtol=1e-9)
        y = fit.predict(kind="response", draws=300, seed=2).to_numpy()
        assert y.mean() == pytest.approx(mean["estimate"].mean(), rel=0.06)
        if own == "negative_binomial":
            continue  # the log odds of its zeros are known to ±2: draws spread them, on one side of a small probability
        zero = zero_probability(fit.model.problem, fit.result.eta, fit.result.psi)
        assert (y == 0).mean() == pytest.approx(zero.mean(), abs=0.015)


def test_standard_errors_of_means_include_the_zero_part(salamanders):
    """Intercepts only: E(y) = (1 − π) μ, by hand."""
    fit = bg.Model("count ~ 1", salamanders, "poisson", priors="flat", zi="~ 1").fit()
    mean = fit.predict(level="population").iloc[0]
    pi, mu = fit.params["zi"], np.exp(fit.params["Intercept"])
    slope = np.array([(1 - pi) * mu, -pi * (1 - pi) * mu])
    assert mean["estimate"] == pytest.approx((1 - pi) * mu)
    assert mean["se"] == pytest.approx(np.sqrt(slope @ fit.result.cov_joint @ slope), rel=1e-5)


def test_rows_with_a_gap_in_the_second_formula_are_dropped(salamanders):
    data = salamanders.assign(z=np.where(np.arange(len(salamanders)) < 4, np.nan, 1.0 * np.arange(len(salamanders))))
    with pytest.warns(bg.DataWarning, match="4"):
        model = bg.Model("count ~ mined + (1 | site)", data, "poisson", zi="~ z")
    assert model.design.nobs == len(data) - 4 == len(model.design.auxiliaries[0].X)


@pytest.mark.parametrize(
    ("family", "options", "error", "words"),
    [
        ("gaussian", {"zi": "~ 1"}, bg.FamilyError, "adds zeros to a count"),
        ("poisson", {"dispersion": "~ mined"}, bg.FamilyError, "no dispersion"),
        ("poisson", {"zi": "y ~ 1"}, bg.FormulaError, "left of its '~'"),
        ("poisson", {"zi": "~ (1 | site)"}, bg.FormulaError, "fixed effects only"),
        ("poisson", {"zi": True}, bg.FormulaError, "one-sided formula"),
        ("poisson", {"zi": "~ nowhere"}, bg.DataError, "nowhere"),
    ],
)
def test_what_cannot_be(salamanders, family, options, error, words):
    with pytest.raises(error, match=words):
        bg.Model("count ~ 1", salamanders, family, **options)


def test_methods_of_mean_and_variance_take_one_dispersion(heteroscedastic):
    model = bg.Model("y ~ x", heteroscedastic, dispersion="~ x")
    with pytest.raises(bg.MethodError, match="one dispersion for all rows"):
        model.fit("irls")


# --- ordered categories -----------------------------------------------------------------------------------------


def test_probabilities_of_ordered_categories(heteroscedastic):
    cut = pd.cut(heteroscedastic.y, [-np.inf, 0.0, 1.5, np.inf], labels=["low", "mid", "high"])
    data = heteroscedastic.assign(y=cut)
    fit = bg.Model("y ~ x + (1 | g)", data, "cumulative", priors="flat").fit("agq", nodes=7)
    p = fit.predict(kind="category")
    assert list(p.columns) == ["low", "mid", "high"]
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    linear = fit.predict(kind="linear")["estimate"].to_numpy()
    np.testing.assert_allclose(p["low"], 1.0 / (1.0 + np.exp(linear)), rtol=1e-9)
    own = fit.predict(kind="category").to_numpy()[np.arange(len(data)), cut.cat.codes]
    kernel = fit.model.problem.kernel().derivatives(fit.result.eta, fit.result.psi).value
    np.testing.assert_allclose(np.log(own), kernel, rtol=1e-8, atol=1e-10)
    with pytest.raises(bg.MethodError, match="cumulative"):
        bg.Model("x ~ 1", data).fit("irls").predict(kind="category")
