"""Priors of whole models: defaults, targets, joint density with gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

from bayesglmm.errors import SpecError
from bayesglmm.priors import Prior, flat_priors, log_prior, resolve_priors
from bayesglmm.priors.prior_set import lkj_constant
from bayesglmm.problem import Problem


def table(n: int = 60, unit: float = 1.0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "y": unit * (rng.normal(5.0, 2.0, n) + shift),
            "count": rng.poisson(4.0, n),
            "x": rng.normal(3.0, 2.0, n),
            "f": rng.choice(["a", "b", "c"], n),
            "g": [f"g{i % 6}" for i in range(n)],
            "h": [f"h{i % 5}" for i in range(n)],
        }
    )


def priors_of(problem: Problem, request: Any = "default") -> Any:
    return resolve_priors(request, problem.design, problem.family, problem.link, problem.covariance)


def as_dict(problem: Problem, request: Any = "default") -> dict[str, Prior]:
    return dict(priors_of(problem, request).items())


# --- defaults -------------------------------------------------------------------------------------------------


def test_gaussian_defaults_by_hand() -> None:
    data = table()
    priors = as_dict(problem_of("y ~ x + (1 + x | g)", data))
    s, sx = data.y.std(), data.x.std()
    slope = 2.5 * s / sx
    assert priors["x"] == Prior("Normal", mu=0, sigma=slope)
    assert priors["Intercept"] == Prior("Normal", mu=data.y.mean(), sigma=2.5 * s, at="means")
    assert dict(priors["g.Intercept.sd"].params)["sigma"] == pytest.approx(2.5 * s)
    assert dict(priors["g.x.sd"].params)["sigma"] == pytest.approx(slope)
    assert priors["g.corr"] == Prior("LKJ", eta=2)
    assert dict(priors["sigma"].params) == pytest.approx({"nu": 4.0, "sigma": s})


def test_log_link_defaults_do_not_scale_with_the_response() -> None:
    data = table()
    priors = as_dict(problem_of("count ~ x + (1 | g)", data, "poisson"))
    assert dict(priors["x"].params)["sigma"] == pytest.approx(2.5 / data.x.std())
    assert dict(priors["Intercept"].params)["mu"] == pytest.approx(np.log(data["count"].mean()))
    assert priors["g.sd"] == Prior("HalfNormal", sigma=2.5)


def test_proportions_are_pooled_and_the_offset_is_taken_off() -> None:
    data = pd.DataFrame(
        {"k": [1, 2, 9, 3], "n": [10, 20, 30, 40], "o": [0.5, 1.0, 1.5, 2.0], "x": [1.0, 2.0, 3.0, 5.0]}
    )
    priors = as_dict(problem_of("p(k, n) ~ x + offset(o)", data, "binomial"))
    pooled = 15 / 100
    assert dict(priors["Intercept"].params)["mu"] == pytest.approx(np.log(pooled / (1 - pooled)) - 1.25)


def test_unit_of_a_gaussian_response_scales_everything() -> None:
    small, large = (as_dict(problem_of("y ~ x + f + (x | g)", table(unit=u))) for u in (1.0, 1000.0))
    for name, prior in small.items():
        if name == "g.corr":
            assert large[name] == prior
            continue
        scaled = {k: v if k == "nu" else 1000.0 * v for k, v in prior.params}
        assert dict(large[name].params) == pytest.approx(scaled)


def test_log_link_of_a_positive_response_is_free_of_its_unit() -> None:
    small, large = (
        as_dict(problem_of("y ~ x + (x | g)", table(unit=u, shift=9.0), "gamma", link="log")) for u in (1.0, 1000.0)
    )
    assert {k: v for k, v in small.items() if k != "Intercept"} == pytest.approx(
        {k: v for k, v in large.items() if k != "Intercept"}
    )
    a, b = (dict(p["Intercept"].params)["mu"] for p in (small, large))
    assert b - a == pytest.approx(np.log(1000.0))


def test_cell_means_have_the_mean_as_centre() -> None:
    data = table(shift=100.0)
    priors = as_dict(problem_of("y ~ 0 + f", data))
    centres = [dict(priors[f"f[{k}]"].params)["mu"] for k in "abc"]
    np.testing.assert_allclose(centres, data.y.mean())


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1"])
def test_forms_have_their_own_parameters(form: str) -> None:
    priors = as_dict(problem_of("y ~ x + (0 + f | g)", table(), covariance={"g": form}))
    own = {k: v for k, v in priors.items() if k.startswith("g.")}
    if form == "ar1":
        assert list(own) == ["g.sd", "g.corr"]
        assert own["g.corr"] == Prior("Uniform", lower=-1, upper=1)
        return
    assert [k for k in own if k.endswith(".sd")] == [f"g.f[{c}].sd" for c in "abc"]
    expected = {"unstructured": Prior("LKJ", eta=2), "cs": Prior("Uniform", lower=-0.5, upper=1)}
    assert own.get("g.corr") == expected.get(form)


def test_flat_is_none_and_can_be_spelled_out() -> None:
    problem = problem_of("y ~ x + (x | g)", table())
    assert priors_of(problem, "flat") is None
    flat = dict(flat_priors(problem.design, problem.family, problem.covariance).items())
    assert flat["Intercept"] == flat["x"] == Prior("Flat")
    assert flat["g.x.sd"] == flat["sigma"] == Prior("HalfFlat")
    assert flat["g.corr"] == Prior("LKJ", eta=1)


def test_table() -> None:
    problem = problem_of("y ~ x + (1 | g)", table())
    shown = priors_of(problem).table()
    assert list(shown.index) == ["Intercept", "x", "g.sd", "sigma"]
    assert shown.index.name == "parameter"
    assert shown.loc["g.sd", "prior"].startswith("HalfNormal(sigma=")
    assert "g.sd" in str(priors_of(problem))


# --- targets --------------------------------------------------------------------------------------------------


def test_specific_targets_win() -> None:
    problem = problem_of("y ~ x + f + (x | g)", table())
    wide, narrow, scale = Prior("Normal", sigma=9), Prior("Normal", sigma=1), Prior("Exponential", lam=1)
    priors = as_dict(
        problem,
        {"fixed": wide, "x": narrow, "g.sd": scale, "g.x.sd": Prior("HalfNormal"), "g.corr": Prior("LKJ", eta=4)},
    )
    assert priors["x"] == narrow
    assert priors["f[T.b]"] == priors["f[T.c]"] == wide
    assert priors["Intercept"] == as_dict(problem)["Intercept"]
    assert (priors["g.Intercept.sd"], priors["g.x.sd"]) == (scale, Prior("HalfNormal"))
    assert priors["g.corr"] == Prior("LKJ", eta=4)


def test_scalar_groups_go_by_either_name() -> None:
    problem = problem_of("count ~ x + (1 | g)", table(), "poisson")
    scale = Prior("Uniform", lower=0, upper=10)
    assert as_dict(problem, {"g.sd": scale})["g.sd"] == as_dict(problem, {"g.Intercept.sd": scale})["g.sd"] == scale


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"interceptt": Prior("Normal")}, "unknown prior target 'interceptt'. Did you mean 'Intercept'?"),
        ({"h.sd": Prior("HalfNormal")}, "unknown prior target 'h.sd'"),
        ({"x": 2.5}, "the prior of 'x' is 2.5"),
        ({"x": Prior("HalfNormal")}, "HalfNormal(sigma=1) cannot be the prior of 'x': a coefficient may be any number"),
        ({"g.sd": Prior("Normal")}, "Normal(mu=0, sigma=1) cannot be the prior of 'g.sd': it is positive"),
        ({"g.corr": Prior("Uniform", lower=-1, upper=1)}, "a correlation matrix: use LKJ"),
        ({"sigma": Prior("LKJ", eta=2)}, "cannot be the prior of 'sigma'"),
        ("wide", "priors='wide'; expected 'default', 'flat', or a dict"),
        (3, "priors is a int"),
    ],
)
def test_bad_requests(request_: Any, message: str) -> None:
    problem = problem_of("y ~ x + (x | g)", table())
    with pytest.raises(SpecError) as error:
        priors_of(problem, request_)
    assert message in str(error.value)


def test_single_correlations_stay_in_their_interval() -> None:
    problem = problem_of("y ~ x + (0 + f | g)", table(), covariance={"g": "cs"})
    fine = Prior("Beta", alpha=2, beta=2)
    assert as_dict(problem, {"g.corr": fine})["g.corr"] == fine
    with pytest.raises(SpecError, match=r"a correlation between -0\.5 and 1"):
        priors_of(problem, {"g.corr": Prior("Uniform", lower=-1, upper=1)})


def test_the_names_of_tables_are_targets_too() -> None:
    data = table()
    narrow, tight = Prior("HalfNormal", sigma=0.1), Prior("LKJ", eta=9)
    problem = problem_of("y ~ x + (x | g)", data)
    asked = {
        "g.sd[x]": narrow,
        "g.corr[x, Intercept]": tight,
        "Residual.sd": narrow,
        "g.sd": Prior("Exponential", lam=1),
    }
    found = as_dict(problem, asked)
    assert (found["g.x.sd"], found["g.corr"], found["sigma"]) == (narrow, tight, narrow)
    assert found["g.Intercept.sd"] == Prior("Exponential", lam=1)
    assert as_dict(problem_of("y ~ x + (1 | g)", data), {"g.sd": narrow})["g.sd"] == narrow
    with pytest.raises(SpecError, match=r"'g\.sd\[x\]' and 'g\.x\.sd', which are one parameter"):
        priors_of(problem, {"g.sd[x]": narrow, "g.x.sd": narrow})
    with pytest.raises(SpecError, match=r"unknown prior target 'Residual\.sd'"):
        priors_of(problem_of("count ~ x", data, "poisson"), {"Residual.sd": narrow})


def test_unknown_target_lists_the_known_ones() -> None:
    problem = problem_of("y ~ x + (x | g)", table())
    with pytest.raises(SpecError) as error:
        priors_of(problem, {"nonsense": Prior("Normal")})
    listed = str(error.value).split("Targets: ")[1].rstrip(".").split(", ")
    assert listed == ["Intercept", "x", "fixed", "b", "g.cov", "g.Intercept.sd", "g.sd", "g.x.sd", "g.corr", "sigma"]


# --- the joint density ------------------------------------------------------------------------------------------


FORMULAS = {
    "scalar": ("y ~ x + (1 | g) + (1 | h)", None),
    "unstructured": ("y ~ x + (0 + f | g) + (1 | g) + (x | h)", None),
    "diagonal": ("y ~ x + (x || g)", None),
    "cs": ("y ~ x + (0 + f | g)", {"g": "cs"}),
    "ar1": ("y ~ x + (0 + f | g) + (1 | h)", {"g": "ar1"}),
}
REQUESTS = {
    "default": "default",
    "mixed": {
        "x": Prior("StudentT", nu=3, sigma=2),
        "g.sd": Prior("Gamma", alpha=0.5, beta=0.3, on="precision"),
        "sigma": Prior("LogNormal", mu=0.3, sigma=1.1),
    },
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("name", FORMULAS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gradient_is_the_finite_difference(name: str, request_: str, seed: int) -> None:
    formula, covariance = FORMULAS[name]
    problem = problem_of(formula, table(), covariance=covariance)
    priors = priors_of(problem, REQUESTS[request_])
    rng = np.random.default_rng(seed)
    theta = np.concatenate([c.from_working(rng.normal(size=c.n_params), True) for c in problem.covariance])
    beta, psi = 3.0 * rng.normal(size=2), rng.normal(size=1)
    links = [a.link for a in problem.family.auxiliaries]

    def value(x: np.ndarray) -> float:
        b, t, p = np.split(x, [2, 2 + len(theta)])
        return log_prior(priors, problem.covariance, b, t, p, links)[0]

    x = np.concatenate([beta, theta, psi])
    gradient = np.concatenate(log_prior(priors, problem.covariance, beta, theta, psi, links)[1:])
    for i in range(len(x)):
        h = np.zeros(len(x))
        h[i] = 1e-6 * max(abs(x[i]), 1e-2)
        numeric = (value(x + h) - value(x - h)) / (2 * h[i])
        assert gradient[i] == pytest.approx(numeric, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
def test_lkj_constant_of_two_is_the_beta_integral(eta: float) -> None:
    """∫₋₁¹ (1 − r²)^(η−1) dr = √π Γ(η) / Γ(η + ½)."""
    integral = 0.5 * np.log(np.pi) + gammaln(eta) - gammaln(eta + 0.5)
    assert lkj_constant(eta, 2) == pytest.approx(-integral, rel=1e-12)


def test_lkj_constant_of_three_is_the_volume_of_the_elliptope() -> None:
    """The set of 3 × 3 correlation matrices has volume π²/2 (Rousseeuw & Molenberghs 1994)."""
    assert lkj_constant(1.0, 3) == pytest.approx(-np.log(np.pi**2 / 2), rel=1e-12)


def test_density_of_the_factor_has_mass_one() -> None:
    """Importance sampling over (log diagonal, below) of a 2 × 2 factor."""
    problem = problem_of("y ~ x + (x | g)", table())
    priors = priors_of(problem, {"g.sd": Prior("LogNormal", mu=0, sigma=0.5), "g.corr": Prior("LKJ", eta=2)})
    rng = np.random.default_rng(0)
    sd, tail = np.array([0.7, 1.0, 0.9]), 5.0
    t = rng.standard_t(tail, size=(20_000, 3))
    log_q = np.sum(
        gammaln((tail + 1) / 2)
        - gammaln(tail / 2)
        - 0.5 * np.log(tail * np.pi)
        - np.log(sd)
        - (tail + 1) / 2 * np.log1p(t**2 / tail),
        axis=1,
    )
    w = sd * t
    theta = np.column_stack([np.exp(w[:, 0]), w[:, 1], np.exp(w[:, 2])])
    beta = np.zeros(2)
    at_beta = sum(float(p.log_density(0.0)[0]) for p in priors.coefficients)
    psi, links = np.zeros(1), ["log"]
    at_psi = float(priors.auxiliaries[0].log_density(1.0)[0])
    log_p = np.array([log_prior(priors, problem.covariance, beta, k, psi, links)[0] for k in theta]) - at_beta - at_psi
    ratio = np.exp(log_p + w[:, 0] + w[:, 2] - log_q)
    assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.std() / np.sqrt(len(ratio)))
    assert ratio.std() / np.sqrt(len(ratio)) < 0.02


def test_outside_the_support_is_minus_infinity() -> None:
    problem = problem_of("count ~ x + (1 | g)", table(), "poisson")
    priors = priors_of(problem, {"g.sd": Prior("Uniform", lower=0, upper=1)})
    value, _, grad_theta, _ = log_prior(priors, problem.covariance, np.zeros(2), np.array([1.5]), np.zeros(0), [])
    assert value == -np.inf
    assert grad_theta == np.zeros(1)
