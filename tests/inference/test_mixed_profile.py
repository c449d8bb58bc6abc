"""Profile intervals of marginal-likelihood fits: references, their own definition, edges of the parameter space."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from building import problem_of, reference_problem
from glm_references import CASES, by_column, problem
from reference_data import coefficient_name, fit, frame
from scipy import optimize, stats

from bayesglmm.errors import ConvergenceWarning, MethodError
from bayesglmm.inference.intervals import confint
from bayesglmm.latent import fit_marginal, fit_working, marginal_loglik
from bayesglmm.marginals import marginals

CUT = stats.chi2.ppf(0.95, 1)
SCALE_FIXED = [
    (n, i) for n, i in CASES if "confint_profile" in fit(n, i) and fit(n, i)["family"] in ("binomial", "poisson")
]
LME4 = {"Subject.sd[Intercept]": "sd_(Intercept)|Subject", "Subject.sd[Days]": "sd_Days|Subject",
        "Subject.corr[Days, Intercept]": "cor_Days.(Intercept)|Subject", "Residual.sd": "sigma",
        "herd.sd": "sd_(Intercept)|herd"}  # fmt: skip


def by_laplace(found):
    return fit_marginal(found)


def by_ml(found):
    return fit_working(found, method="ml")


@pytest.mark.parametrize(
    ("name", "id", "method", "rtol"),
    [
        # lme4 interpolates its profile with splines: five digits.
        ("sleepstudy", "corr-profile", by_ml, 1e-5),
        ("sleepstudy", "corr-profile", by_laplace, 1e-5),
        ("sleepstudy", "uncorr-profile", by_ml, 1e-5),
        ("cbpp", "logit-glmer-profile", by_laplace, 2e-4),
    ],
)
def test_lme4_profiles(name, id, method, rtol):
    f = fit(name, id)
    made = reference_problem(name, f)
    table = confint(made, method(made), "profile")
    expected = [f["confint_profile"][LME4.get(row, coefficient_name(row))] for row in table.index]
    expected = [[e["lower"], e["upper"]] for e in expected]
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], expected, rtol=rtol, atol=5e-5)


@pytest.mark.parametrize(("name", "id"), SCALE_FIXED)
def test_without_random_effects_it_is_the_profile_of_the_glm(name, id):
    made = problem(name, id)
    table = confint(made, fit_marginal(made), "profile")
    expected = by_column(made, fit(name, id)["confint_profile"], "lower", "upper")
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], expected, rtol=1e-5, atol=2e-6)


def test_rows_are_the_parameters_of_the_fit_with_their_estimates():
    made = reference_problem("sleepstudy", fit("sleepstudy", "corr-profile"))
    result = by_ml(made)
    table = confint(made, result, "profile", parameters=["Residual.sd", "Days"])
    assert list(table.index) == ["Residual.sd", "Days"]
    found = marginals(made, result)
    assert list(confint(made, result, "profile").index) == list(found)
    assert table["estimate"].tolist() == [found["Residual.sd"].estimate, found["Days"].estimate]


N = 120
RNG = np.random.default_rng(8)
TABLE = pd.DataFrame({"x": RNG.standard_normal(N), "w": RNG.standard_normal(N), "g": (np.arange(N) % 12).astype(str)})
EFFECTS = RNG.multivariate_normal(np.zeros(3), [[0.4, 0.1, 0.0], [0.1, 0.3, 0.1], [0.0, 0.1, 0.2]], 12)
ETA = 0.4 + 0.3 * TABLE["x"] + np.sum(EFFECTS[np.arange(N) % 12] * np.c_[np.ones(N), TABLE[["x", "w"]]], axis=1)
TABLE["y"] = RNG.poisson(np.exp(ETA))
TABLE["z"] = RNG.poisson(np.exp(0.4 + 0.3 * TABLE["x"]))


def held_maximum(made, name, value, start, nodes=1):
    """The constrained maximum over sds and correlations by Nelder-Mead: no shared code but L itself."""
    cov = made.covariance[0]
    q, p = cov.size, made.design.X.shape[1]
    lower = np.tril_indices(q, -1)

    def negative(free):
        x = np.insert(free, name, value)
        beta, sd, z = x[:p], x[p : p + q], x[p + q :]
        corr = np.eye(q)
        corr[lower] = z
        corr = corr + corr.T - np.eye(q)
        if np.any(sd < 0) or np.linalg.eigvalsh(corr)[0] <= 1e-9:
            return 1e10
        return -marginal_loglik(made, beta, cov.from_sd_corr(sd, corr), np.empty(0), nodes=nodes)

    x = np.delete(start, name)
    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000, "adaptive": True}
    for _ in range(2):
        x = optimize.minimize(negative, x, method="Nelder-Mead", options=options).x
    return -negative(x)


@pytest.mark.parametrize(
    ("row", "nodes"), [("g.sd[x]", 1), ("g.corr[x, Intercept]", 1), ("x", 1), ("g.corr[x, Intercept]", 13)]
)
def test_the_deviance_at_an_end_is_the_cutoff(row, nodes):
    made = problem_of("y ~ x + (1 + x | g)", TABLE, "poisson")
    result = fit_marginal(made, nodes=nodes)
    table = confint(made, result, "profile", parameters=row)
    names = ["Intercept", "x", "g.sd[Intercept]", "g.sd[x]", "g.corr[x, Intercept]"]
    found = marginals(made, result)
    start = np.array([found[n].estimate for n in names])
    for end in table.loc[row, ["ci_low", "ci_high"]]:
        if not abs(end) < 1.0:
            continue
        held = held_maximum(made, names.index(row), end, start, nodes)
        assert 2 * (result.loglik - held) == pytest.approx(CUT, abs=2e-5)


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1"])
def test_three_columns_in_every_form(form):
    """Each end is where a refit with the parameter's own test would leave it: the profile is symmetric in columns."""
    made = problem_of("y ~ x + (1 + x + w | g)", TABLE, "poisson", covariance={"g": form})
    turned = problem_of("y ~ x + (1 + w + x | g)", TABLE, "poisson", covariance={"g": form})
    table = confint(made, fit_marginal(made), "profile")
    again = confint(turned, fit_marginal(turned), "profile")
    rename = {"g.corr[w, x]": "g.corr[x, w]"}
    shared = [r for r in table.index if rename.get(r, r) in again.index]
    assert len(shared) >= (4 if form != "ar1" else 3)
    if form != "ar1":  # neighbours change with the order there
        ours = table.loc[shared, ["ci_low", "ci_high"]]
        theirs = again.loc[[rename.get(r, r) for r in shared], ["ci_low", "ci_high"]]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    estimates = table["estimate"]
    assert np.all((table["ci_low"] <= estimates) & (estimates <= table["ci_high"]))


def test_a_variance_at_zero_has_an_interval_from_zero():
    made = problem_of("z ~ x + (1 | g)", TABLE, "poisson")
    result = fit_marginal(made)
    assert result.theta[0] == 0.0
    table = confint(made, result, "profile", parameters=["g.sd"])
    low, high = table.loc["g.sd", ["ci_low", "ci_high"]]
    assert low == 0.0
    # The upper end against the likelihood maximised over β by brute force.
    best = optimize.minimize(
        lambda b: -marginal_loglik(made, b, np.array([high]), np.empty(0)), result.beta, method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10},
    )  # fmt: skip
    assert 2 * (result.loglik + best.fun) == pytest.approx(CUT, abs=1e-5)


def test_a_correlation_with_a_zero_variance_can_be_anything():
    made = problem_of("z ~ x + (1 + x | g)", TABLE, "poisson")
    result = fit_marginal(made)
    assert result.theta[0] == 0.0
    table = confint(made, result, "profile", parameters=["g.corr[x, Intercept]"])
    assert table[["ci_low", "ci_high"]].to_numpy().tolist() == [[-1.0, 1.0]]


def test_a_correlation_of_one_has_an_interval_up_to_one():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(200), np.arange(200) % 20
    rng.poisson(np.exp(0.5 + 0.3 * x))
    b = rng.standard_normal(20)
    y = rng.poisson(np.exp(0.5 + 0.3 * x + 0.5 * b[g] + 0.3 * b[g] * x))
    made = problem_of("y ~ x + (1 + x | g)", pd.DataFrame({"y": y, "x": x, "g": g.astype(str)}), "poisson")
    result = fit_marginal(made)
    assert "±1" in result.status.boundary[0]
    low, high = confint(made, result, "profile", parameters=["g.corr[x, Intercept]"]).iloc[0][["ci_low", "ci_high"]]
    assert high == 1.0
    assert 0.0 < low < 0.99


def test_a_shape_without_an_upper_limit():
    made = problem_of("z ~ x + (1 | g)", TABLE, "negative_binomial")
    table = confint(made, fit_marginal(made), "profile", parameters=["theta"])
    assert table.loc["theta", "ci_high"] == np.inf
    assert 0.5 < table.loc["theta", "ci_low"] < 100


def test_a_dispersion_on_its_own_scale():
    rng = np.random.default_rng(4)
    data = TABLE.assign(v=rng.gamma(3.0, np.exp(0.2 * TABLE["x"]) / 3.0))
    made = problem_of("v ~ x + (1 | g)", data, "gamma", link="log")
    result = fit_marginal(made)
    low, high = confint(made, result, "profile", parameters=["dispersion"]).iloc[0][["ci_low", "ci_high"]]
    assert low < result.scale < high
    assert low > 0


def test_a_higher_maximum_found_on_the_way_is_said():
    """A linear model with two maxima, presented with the lower one."""
    from dataclasses import replace

    rng = np.random.default_rng(21)
    X = rng.standard_normal((12, 7))
    data = pd.DataFrame(X, columns=list("abcdefh")).assign(g=np.repeat(list("pqrs"), 3), y=rng.standard_normal(12))
    made = problem_of("y ~ a + b + c + d + e + f + h + (1 | g)", data)
    best = fit_marginal(made)
    lower = fit_marginal(problem_of("y ~ a + b + c + d + e + f + h", data))
    wrong = replace(best, beta=lower.beta, theta=np.zeros(1), psi=lower.psi, loglik=lower.loglik)
    with pytest.warns(ConvergenceWarning, match="the fit is not at the highest"):
        confint(made, wrong, "profile", parameters=["g.sd"])


def test_what_has_no_profile_says_so():
    from bayesglmm import Model

    data = frame("cbpp")
    posterior = Model("p(incidence, size) ~ period + (1 | herd)", data, "binomial").fit("laplace")
    with pytest.raises(MethodError, match="this fit has priors"):
        posterior.confint("profile")
    made = problem_of("y ~ x + (1 | g)", TABLE, "poisson")
    result = fit_marginal(made)
    with pytest.raises(MethodError, match=r"no parameter is named 'h.sd'; there are Intercept, x, g.sd"):
        confint(made, result, "profile", parameters=["h.sd"])
    with pytest.raises(MethodError, match="cut off by 'chi2' only"):
        confint(made, result, "profile", reference="F")
    with pytest.raises(MethodError, match="'pql' maximises no marginal likelihood"):
        confint(made, fit_working(made, method="pql"), "profile")
