"""Every trusted fit of R's glm and glm.nb: estimates, standard errors, likelihood, sandwiches."""

from __future__ import annotations

import numpy as np
import pytest
from glm_references import CASES, by_column, problem
from reference_data import fit

from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores import fit_irls
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.solve import require_factor
from bayesglmm.scores.sums import sweep

SANDWICHES = [(n, i) for n, i in CASES if "sandwich_se" in fit(n, i)]


def fitted(name: str, id: str, **options: object) -> tuple[Problem, Result]:
    made = problem(name, id)
    if id == "nb2-theta2":  # R's summary estimates the dispersion although the family fixes it
        options.setdefault("scale", "pearson")
    return made, fit_irls(made, **options)


def distance_of_reference(made: Problem, result: Result, beta: np.ndarray) -> float:
    """How far, in standard errors, the reference's own coefficients are from solving the score equations.

    R stops when the deviance stands still to 1e-14, which for links that are not canonical leaves a score that is not
    zero; its standard errors come from the weights one step earlier.
    """
    aux = auxiliary_values(made, result.psi)
    sums = sweep(problem_rows(made), made.family, made.link, aux, beta, qr=True)
    step = require_factor(sums).step(sums.score)
    return float(np.sqrt(abs(step @ sums.score) / result.scale))


@pytest.mark.parametrize(("name", "id"), CASES)
def test_estimates_and_standard_errors(name: str, id: str) -> None:
    made, result = fitted(name, id)
    reference = fit(name, id)
    estimate, se = by_column(made, reference["fixed"], "estimate", "se").T
    loose = distance_of_reference(made, result, estimate)
    assert loose < 1e-6
    assert result.status.converged
    # 1e-8 relative, unless the reference itself is farther than that from the solution
    np.testing.assert_allclose(result.beta, estimate, rtol=1e-8, atol=(1e-8 + 10 * loose) * se.max())
    assert np.max(np.abs(result.beta - estimate) / se) < 1e-8 + 10 * loose
    np.testing.assert_allclose(np.sqrt(np.diag(result.cov_beta)), se, rtol=3e-8)


@pytest.mark.parametrize(("name", "id"), CASES)
def test_fit_statistics(name: str, id: str) -> None:
    made, result = fitted(name, id)
    reference = fit(name, id)
    assert result.df_resid == reference["df_residual"]
    assert result.extras["deviance"] == pytest.approx(reference["deviance"], rel=1e-8)
    assert result.scale == pytest.approx(reference["dispersion"], rel=1e-7)
    assert result.extras["pearson_chi2"] == pytest.approx(reference["pearson_chi2"], rel=2e-7)
    if reference["loglik"] is not None and id != "nb2-theta2":
        assert result.loglik == pytest.approx(reference["loglik"], rel=1e-10)
        assert -2 * result.loglik + 2 * result.df_model == pytest.approx(reference["aic"], rel=1e-10)
        bic = -2 * result.loglik + np.log(made.design.nobs) * result.df_model
        assert bic == pytest.approx(reference["bic"], rel=1e-10)
    if made.family.quasi:
        assert result.loglik is None


@pytest.mark.parametrize(("name", "id"), SANDWICHES)
@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
def test_sandwich_standard_errors(name: str, id: str, kind: str) -> None:
    made, result = fitted(name, id, cov=kind)
    expected = by_column(made, fit(name, id)["sandwich_se"][kind])
    np.testing.assert_allclose(np.sqrt(np.diag(result.cov_beta)), expected, rtol=1e-8)


@pytest.mark.parametrize("id", ["nb2-main", "nb2-inter"])
def test_negative_binomial_shape(id: str) -> None:
    made, result = fitted("quine", id)
    reference = fit("quine", id)
    (theta,) = auxiliary_values(made, result.psi)
    assert theta == pytest.approx(reference["theta"], rel=1e-8)
    # theta.ml stops at eps^(1/4): its standard error is of the step before
    assert theta * np.sqrt(result.cov_joint[-1, -1]) == pytest.approx(reference["theta_se"], rel=1e-4)
    assert result.df_model == len(result.beta) + 1


def test_tweedie_density_at_the_pearson_dispersion() -> None:
    from bayesglmm.scores.likelihood import loglik_at

    made, result = fitted("owls", "tweedie15-glm")
    value = loglik_at(made, result.eta, result.psi)
    assert value == pytest.approx(fit("owls", "tweedie15-glm")["loglik_at_pearson_phi"], rel=1e-9)
    assert result.loglik > value  # the log-likelihood is reported at the dispersion that maximises it


def test_iterations_are_counted_as_in_r() -> None:
    assert fitted("ceb", "additive")[1].status.iterations == 4
