"""Identities of PQL and MQL: no variance is IRLS, labels and order mean nothing, fixed points are fixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from dense_textbook import dense
from reference_data import frame

from bayesglmm import families
from bayesglmm.covariance import Known
from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.scores import fit_irls
from bayesglmm.scores.working import working_quantities

CBPP = "p(incidence, size) ~ period + (1 | herd)"


def cbpp():
    return problem_of(CBPP, frame("cbpp"), "binomial")


@pytest.mark.parametrize("method", ["pql", "mql"])
@pytest.mark.parametrize(
    ("formula", "data", "family", "link"),
    [
        ("p(incidence, size) ~ period", "cbpp", "binomial", "logit"),
        ("p(incidence, size) ~ period", "cbpp", "binomial", "probit"),
        ("TICKS ~ YEAR + cHEIGHT", "grouseticks", "poisson", "log"),
        ("TICKS ~ YEAR + cHEIGHT", "grouseticks", "quasipoisson", "log"),
        ("Reaction ~ Days", "sleepstudy", "gamma", "log"),
    ],
)
def test_without_random_effects_both_are_irls(method, formula, data, family, link):
    problem = problem_of(formula, frame(data), family, link=link)
    result, glm = fit_working(problem, method=method, scale="fixed"), fit_irls(problem)
    np.testing.assert_allclose(result.beta, glm.beta, rtol=1e-7)
    np.testing.assert_allclose(result.cov_beta, glm.cov_beta / glm.scale, rtol=1e-6)
    assert result.theta.shape == (0,)
    assert result.effects == ()


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_where_the_variance_is_zero_both_are_irls(method):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"x": rng.normal(size=200), "g": np.repeat(list("abcdefghij"), 20)})
    # The groups' totals are made equal to their expectation: less variation between groups than chance would give.
    data["y"] = np.tile(np.repeat([0, 1], 10), 10)
    problem = problem_of("y ~ x + (1 | g)", data, "binomial")
    result = fit_working(problem, method=method)
    glm = fit_irls(problem_of("y ~ x", data, "binomial"))
    assert result.theta[0] == 0.0
    assert result.status.boundary == ("the sd of Intercept in g is zero",)
    assert result.status.converged
    np.testing.assert_allclose(result.beta, glm.beta, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.effects[0], 0.0, atol=1e-12)
    assert np.all(np.isnan(result.cov_joint[2]))
    np.testing.assert_allclose(result.cov_joint[:2, :2], result.cov_beta, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_the_end_is_a_fixed_point_of_the_dense_formulas(method):
    problem = cbpp()
    result = fit_working(problem, method=method, reml=True, scale="free")
    d = problem.design
    fixed = d.X @ result.beta + d.offset
    eta = fixed if method == "mql" else result.eta
    work = working_quantities(problem.family, problem.link, eta, problem.mean_response, problem.case_weights)
    oracle = dense(problem, result.theta, result.scale, y=eta + work.residual, weights=work.weight)
    np.testing.assert_allclose(result.beta, oracle.beta, rtol=1e-8)
    np.testing.assert_allclose(result.effects[0].ravel(), oracle.blup, rtol=1e-7)
    np.testing.assert_allclose(result.effects_sd[0].ravel() ** 2, np.diag(oracle.conditional_covariance), rtol=1e-7)
    np.testing.assert_allclose(result.cov_beta, np.linalg.inv(oracle.information), rtol=1e-7)
    assert result.extras["working_loglik"] == pytest.approx(-0.5 * oracle.reml_criterion, abs=1e-8)
    for step in (0.98, 1.02):
        other = dense(problem, step * result.theta, result.scale, y=eta + work.residual, weights=work.weight)
        assert other.reml_criterion > oracle.reml_criterion


@pytest.mark.parametrize("method", ["pql", "mql"])
def test_order_and_labels_mean_nothing(method):
    data = frame("cbpp")
    order = np.random.default_rng(4).permutation(len(data))
    shuffled = data.iloc[order].reset_index(drop=True)
    names = {v: f"z{(7 * k) % 15:02d}" for k, v in enumerate(data["herd"].cat.categories)}
    shuffled["herd"] = shuffled["herd"].map(names).astype(str)
    a, b = cbpp(), problem_of(CBPP, shuffled, "binomial")
    one, other = (fit_working(p, method=method) for p in (a, b))
    np.testing.assert_allclose(one.beta, other.beta, rtol=1e-8)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-7)
    np.testing.assert_allclose(one.eta[order], other.eta, rtol=1e-7)
    first, second = (dict(zip(p.design.blocks[0].levels, r.effects[0][:, 0])) for p, r in ((a, one), (b, other)))
    for level, name in names.items():
        assert first[level] == pytest.approx(second[name], abs=1e-8)


def test_splitting_a_binomial_row_changes_no_estimate_at_a_fixed_scale():
    data = frame("cbpp")
    rows = [
        {"y": int(k < r.incidence), "period": r.period, "herd": r.herd}
        for r in data.itertuples()
        for k in range(r.size)
    ]
    split = pd.DataFrame(rows)
    split["period"] = pd.Categorical(split["period"], categories=data["period"].cat.categories)
    for method in ("pql", "mql"):
        whole = fit_working(cbpp(), method=method)
        parts = fit_working(problem_of("y ~ period + (1 | herd)", split, "binomial"), method=method)
        np.testing.assert_allclose(parts.beta, whole.beta, rtol=1e-7)
        np.testing.assert_allclose(parts.theta, whole.theta, rtol=1e-6)
        np.testing.assert_allclose(parts.cov_beta, whole.cov_beta, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_scaling_and_shifting_the_response(method):
    data = frame("sleepstudy")
    base = fit_working(problem_of("Reaction ~ Days + (1 + Days | Subject)", data), method=method)
    data["Reaction"] = 1000.0 * data["Reaction"] + 5e4
    moved = fit_working(problem_of("Reaction ~ Days + (1 + Days | Subject)", data), method=method)
    np.testing.assert_allclose(moved.beta - [5e4, 0.0], 1000.0 * base.beta, rtol=1e-8)
    np.testing.assert_allclose(moved.theta, 1000.0 * base.theta, rtol=1e-6)
    np.testing.assert_allclose(moved.effects[0], 1000.0 * base.effects[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(moved.effects_sd[0], 1000.0 * base.effects_sd[0], rtol=1e-6)
    nu = 180 if method == "ml" else 178
    assert moved.loglik == pytest.approx(base.loglik - nu * np.log(1000.0), abs=1e-6)
    size = np.array([1e3] * 5 + [1.0])
    np.testing.assert_allclose(moved.cov_joint / np.outer(size, size), base.cov_joint, rtol=1e-4, atol=1e-4)
    assert moved.psi[0] == pytest.approx(base.psi[0] + np.log(1000.0), abs=1e-8)


def test_weights_count_rows_when_the_scale_is_fixed():
    data = frame("grouseticks")
    double = pd.concat([data, data], ignore_index=True)
    weighted = problem_of("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", weights=np.full(len(data), 2.0))
    doubled = problem_of("TICKS ~ YEAR + (1 | BROOD)", double, "poisson")
    for method in ("pql", "mql"):
        one, other = (fit_working(p, method=method) for p in (weighted, doubled))
        np.testing.assert_allclose(one.beta, other.beta, rtol=1e-7)
        np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6)


def test_a_quasi_family_has_its_likelihood_twins_estimates_with_a_free_scale():
    data = frame("grouseticks")
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD)"
    quasi = fit_working(problem_of(formula, data, "quasipoisson"))
    twin = fit_working(problem_of(formula, data, "poisson"), scale="free")
    np.testing.assert_allclose(quasi.beta, twin.beta, rtol=1e-9)
    np.testing.assert_allclose(quasi.theta, twin.theta, rtol=1e-8)
    assert quasi.scale == pytest.approx(twin.scale, rel=1e-8)
    assert quasi.scale > 1.5


def test_a_number_for_the_scale_holds_it_there():
    free = fit_working(cbpp(), scale="free")
    held = fit_working(cbpp(), scale=free.scale)
    np.testing.assert_allclose(held.beta, free.beta, rtol=1e-7)
    np.testing.assert_allclose(held.theta, free.theta, rtol=1e-6)
    assert held.df_model == free.df_model - 1


def test_known_covariance_of_identity_is_an_ordinary_intercept():
    data = frame("dyestuff")
    K = pd.DataFrame(np.eye(6), index=list("ABCDEF"))
    plain = fit_working(problem_of("Yield ~ 1 + (1 | Batch)", data), method="reml")
    known = fit_working(problem_of("Yield ~ 1 + (1 | Batch)", data, covariance={"Batch": Known(K)}), method="reml")
    assert known.loglik == pytest.approx(plain.loglik, abs=1e-9)
    np.testing.assert_allclose(known.theta, plain.theta, rtol=1e-7)
    np.testing.assert_allclose(known.effects[0], plain.effects[0], rtol=1e-6)


def test_gaussian_auxiliary_is_log_sigma_and_gammas_is_the_one_of_its_scale():
    gauss = fit_working(problem_of("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")), method="ml")
    assert gauss.psi[0] == pytest.approx(0.5 * np.log(gauss.scale), abs=1e-12)
    problem = problem_of("Reaction ~ Days + (1 | Subject)", frame("sleepstudy"), "gamma", link="log")
    gamma = fit_working(problem, method="pql")
    natural = tuple(np.exp(gamma.psi))
    assert problem.family.dispersion(natural) == pytest.approx(gamma.scale, rel=1e-10)
    # Var(y) = φμ²: the log response has about the same sd, and PQL with it the Gaussian model's.
    assert np.sqrt(gamma.scale) == pytest.approx(0.09, abs=0.02)
    assert np.sqrt(gamma.cov_joint[-1, -1]) == pytest.approx(2.0 * np.sqrt(gauss.cov_joint[-1, -1]), rel=0.05)


def test_negative_binomial_theta_minimises_the_working_criterion():
    data = frame("grouseticks")
    problem = problem_of("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", data, "negative_binomial")
    result = fit_working(problem)
    assert result.status.converged

    def criterion(psi, theta):
        aux = (float(np.exp(psi)),)
        work = working_quantities(problem.family, problem.link, result.eta, problem.mean_response, np.ones(403), aux)
        return dense(problem, theta, 1.0, y=result.eta + work.residual, weights=work.weight).deviance

    best = criterion(result.psi[0], result.theta)
    for d in (-0.05, 0.05):
        assert criterion(result.psi[0] + d, result.theta) > best
        assert criterion(result.psi[0], result.theta * (1 + d)) > best
    given = problem_of(
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", data, families.NegativeBinomial(theta=float(np.exp(result.psi[0])))
    )
    held = fit_working(given)
    np.testing.assert_allclose(held.beta, result.beta, rtol=1e-6)
    np.testing.assert_allclose(held.theta, result.theta, rtol=1e-5)
    assert held.df_model == result.df_model - 1


def test_quasi_loglik_of_a_gaussian_model_is_its_loglik_up_to_the_constant():
    problem = problem_of("Reaction ~ Days + (1 + Days | Subject)", frame("sleepstudy"))
    exact = fit_working(problem, method="ml")
    constant = -0.5 * 180 * np.log(2 * np.pi * exact.scale)
    for method in ("pql", "mql"):
        result = fit_working(problem, method=method)
        assert result.loglik is None
        assert result.extras["quasi_loglik"] + constant == pytest.approx(exact.loglik, abs=1e-6)


def test_estimands_are_said():
    assert fit_working(cbpp(), method="pql").estimand == "conditional"
    assert fit_working(cbpp(), method="mql").estimand == "marginal"


# --- what goes wrong says so --------------------------------------------------------------------------------------


def test_the_cap_is_a_status_not_a_silence():
    result = fit_working(cbpp(), max_iterations=2)
    assert not result.status.converged
    assert "cap of 2 iterations" in result.status.message


def test_separation_is_said():
    data = pd.DataFrame(
        {"x": np.repeat([0.0, 1.0], 40), "y": np.repeat([0, 1], 40), "g": np.tile(list("abcdefgh"), 10)}
    )
    result = fit_working(problem_of("y ~ x + (1 | g)", data, "binomial"))
    assert not result.status.converged
    assert "without bound" in result.status.message


def test_options_that_make_no_sense():
    with pytest.raises(MethodError, match="'fixed', 'free' or a positive number"):
        fit_working(cbpp(), scale="loose")
    with pytest.raises(MethodError, match="'fixed', 'free' or a positive number"):
        fit_working(cbpp(), scale=-1.0)
    with pytest.raises(MethodError, match="gaussian family with identity link"):
        fit_working(cbpp(), method="ml")


def test_problem_is_left_as_it_was():
    problem = cbpp()
    before = replace(problem.design, X=problem.design.X.copy())
    fit_working(problem)
    np.testing.assert_array_equal(problem.design.X, before.X)


def test_little_information_per_level_is_noted():
    assert any(
        "ID carry little information" in n
        for n in fit_working(problem_of("y ~ trt + (1 | ID)", frame("bacteria"), "binomial")).status.notes
    )
    assert fit_working(problem_of("Reaction ~ Days + (1 | Subject)", frame("sleepstudy"))).status.notes == ()
    assert fit_working(problem_of("use ~ age + (1 | district)", frame("contraception"), "binomial")).status.notes == ()


def test_a_likelihood_that_is_not_solved_by_mean_and_variance_is_refused():
    problem = problem_of("Reaction ~ Days + (1 | Subject)", frame("sleepstudy"), "student_t")
    with pytest.raises(MethodError, match="mean and variance alone"):
        fit_working(problem)


def test_no_place_to_start_is_said():
    data = pd.DataFrame({"y": np.linspace(-3.0, 1.0, 40), "g": np.tile(list("abcdefgh"), 5)})
    with pytest.raises(ConvergenceError, match="no place to start"):
        fit_working(problem_of("y ~ 1 + (1 | g)", data, link="log"))


@pytest.mark.parametrize("link", ["log", "inverse", "identity"])
def test_gamma_fixed_points_under_every_link(link):
    # Against the dense formulas at the end point: the loop's end is a root whatever the link's range.
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(12), 8)
    mean = np.exp(1.0 + 0.2 * rng.normal(size=12))[g]
    data = pd.DataFrame({"y": rng.gamma(6.0, mean / 6.0), "x": rng.normal(size=96), "g": g.astype(str)})
    problem = problem_of("y ~ x + (1 | g)", data, "gamma", link=link)
    result = fit_working(problem)
    assert result.status.converged
    work = working_quantities(problem.family, problem.link, result.eta, problem.mean_response, np.ones(96))
    oracle = dense(problem, result.theta, result.scale, y=result.eta + work.residual, weights=work.weight)
    np.testing.assert_allclose(result.beta, oracle.beta, rtol=1e-7)
    np.testing.assert_allclose(result.effects[0].ravel(), oracle.blup, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_far_past_the_data_does_not_run_away(order):
    # With variance μ³ the smallest responses weigh most where the loop starts, and its first steps overshoot the data.
    rng = np.random.default_rng(4)
    n, g = 150, rng.integers(0, 15, 150)
    x, a = rng.normal(size=n), rng.choice(list("pqr"), n)
    mu = np.exp(0.3 + 0.5 * x + rng.normal(size=15)[g])
    data = pd.DataFrame({"y": rng.wald(mu, 0.7 * mu), "x": x, "a": a, "g": g.astype(str)})
    problem = problem_of("y ~ x + a + (1 | g)", data, "inverse_gaussian", link="log")
    result = fit_working(problem, method="pql", order=order)
    assert result.status.converged
    if order == 2:
        np.testing.assert_allclose(result.beta, fit_working(problem).beta, atol=0.1)
        return
    work = working_quantities(problem.family, problem.link, result.eta, problem.mean_response, np.ones(n))
    oracle = dense(problem, result.theta, result.scale, y=result.eta + work.residual, weights=work.weight)
    np.testing.assert_allclose(result.beta, oracle.beta, rtol=1e-7)
    np.testing.assert_allclose(result.effects[0].ravel(), oracle.blup, rtol=1e-6, atol=1e-9)


def test_a_variance_that_the_fixed_part_explains_away_is_said():
    problem = problem_of("score ~ Worker + (1 | Worker)", frame("machines"))
    status = fit_working(problem, method="reml").status
    assert any("say nothing about the covariance of Worker" in note for note in status.notes)
    assert not fit_working(problem_of("score ~ Machine + (1 | Worker)", frame("machines")), method="reml").status.notes


def test_a_residual_variance_of_zero_is_a_boundary():
    data = frame("machines")
    data["own"] = data.groupby("Worker", observed=True)["score"].transform("mean")
    for formula, answer in (("own ~ 1 + (1 | Worker)", True), ("score ~ 1 + (1 | Worker)", False)):
        boundary = fit_working(problem_of(formula, data), method="reml").status.boundary
        assert any("residual variance is zero" in term for term in boundary) is answer
