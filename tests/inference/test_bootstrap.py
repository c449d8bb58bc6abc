"""Parametric bootstrap: the same whatever the workers, right in distribution, honest about failures."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from building import problem_of
from reference_data import frame
from scipy import stats

import bayesglmm as bg
from bayesglmm.errors import MethodError
from bayesglmm.inference.bootstrap import bootstrap
from bayesglmm.inference.replicates import Bootstrap, Refitted
from bayesglmm.latent import fit_marginal, fit_working
from bayesglmm.marginals import marginals
from bayesglmm.scores import fit_irls

CBPP = frame("cbpp")


def pair(formula, data, family, fitter=fit_marginal, **options):
    made = problem_of(formula, data, family, **options)
    return made, fitter(made)


@pytest.fixture(scope="module")
def herds():
    return pair("p(incidence, size) ~ period + (1 | herd)", CBPP, "binomial")


@pytest.fixture(scope="module")
def serial(herds):
    return bootstrap(herds, 24, seed=42, progress=False)


def test_workers_and_order_change_nothing(herds, serial):
    with ThreadPoolExecutor(3) as executor:
        threads = bootstrap(herds, 24, seed=42, executor=executor, progress=False)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        processes = bootstrap(herds, 24, seed=42, executor=executor, progress=False)
    pd.testing.assert_frame_equal(serial.estimates, threads.estimates, check_exact=True)
    pd.testing.assert_frame_equal(serial.estimates, processes.estimates, check_exact=True)


def test_a_replicate_has_its_own_seed(herds, serial):
    fewer = bootstrap(herds, 5, seed=42, progress=False)
    pd.testing.assert_frame_equal(fewer.estimates, serial.estimates.iloc[:5], check_exact=True)
    other = bootstrap(herds, 5, seed=43, progress=False)
    assert not np.allclose(other.estimates, fewer.estimates)


def test_columns_are_the_parameters_of_the_fit(herds, serial):
    found = marginals(*herds)
    assert list(serial.estimates.columns) == list(found)
    assert serial.table["estimate"].to_dict() == {name: m.estimate for name, m in found.items()}
    np.testing.assert_allclose(serial.table["se"], serial.estimates.std(ddof=1))


def test_a_linear_model_has_its_exact_sampling_distribution():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.standard_normal(30)})
    data["y"] = 1.0 + 0.5 * data["x"] + rng.standard_normal(30)
    made, result = pair("y ~ x", data, "gaussian", fit_irls)
    found = bootstrap((made, result), 600, seed=1, progress=False)
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose(found.table["se"][:2], se, rtol=0.1)
    assert stats.kstest((found.estimates["x"] - result.beta[1]) / se[1], "norm").pvalue > 0.001


def test_intervals_by_hand(serial):
    q = serial.estimates["period[T.2]"].quantile([0.05, 0.95])
    estimate = serial.original["period[T.2]"]
    row = serial.confint("percentile", 0.9).loc["period[T.2]"]
    np.testing.assert_allclose(row[["ci_low", "ci_high"]].astype(float), q)
    row = serial.confint("basic", 0.9).loc["period[T.2]"]
    np.testing.assert_allclose(
        row[["ci_low", "ci_high"]].astype(float), [2 * estimate - q[0.95], 2 * estimate - q[0.05]]
    )
    row = serial.confint("normal", 0.9).loc["period[T.2]"]
    middle = 2 * estimate - serial.estimates["period[T.2]"].mean()
    np.testing.assert_allclose(row[["ci_low", "ci_high"]].astype(float).mean(), middle)
    assert (serial.confint("basic", 0.999999).loc["herd.sd", "ci_low"]) >= 0.0


@pytest.mark.parametrize("method", ["ml", "reml", "pql"])
def test_other_methods_are_refitted_as_they_were(method):
    data = frame("sleepstudy")
    made = problem_of("Reaction ~ Days + (1 | Subject)", data)
    result = fit_working(made, method=method, reml=True) if method == "pql" else fit_working(made, method=method)
    found = bootstrap((made, result), 40, seed=2, progress=False)
    assert found.failures.empty
    np.testing.assert_allclose(found.table["se"][:2], np.sqrt(np.diag(result.cov_beta)), rtol=0.35)
    assert abs(found.table.loc["Residual.sd", "bias"]) < 2.5


def test_the_likelihood_ratio_is_bootstrapped():
    small = pair("p(incidence, size) ~ period", CBPP, "binomial")
    full = pair("p(incidence, size) ~ period + (1 | herd)", CBPP, "binomial")
    found = bootstrap(small, 60, alternative=full, seed=3, progress=False)
    assert found.ratio == pytest.approx(2 * (full[1].loglik - small[1].loglik))
    assert found.p == pytest.approx((1 + (found.ratios >= found.ratio).sum()) / 61)
    assert np.all(found.ratios > -1e-6)
    assert 0.2 < np.mean(found.ratios < 1e-6) < 0.85  # half of them are zero, more in small samples


@pytest.mark.slow
def test_the_bootstrapped_test_has_its_size():
    """Under the null its p-values are uniform: 40 data sets, a variance at the edge and few groups."""
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(12), 5).astype(str)
    p_values = []
    for k in range(40):
        data = pd.DataFrame({"x": rng.standard_normal(60), "g": g})
        data["y"] = rng.poisson(np.exp(np.full(60, 0.5)))
        small, full = pair("y ~ 1 + (1 | g)", data, "poisson"), pair("y ~ x + (1 | g)", data, "poisson")
        p_values.append(bootstrap(small, 29, alternative=full, seed=k, progress=False).p)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_failures_are_counted_with_their_reasons():
    """Nearly separated data: some replicates are separated, and are not among the estimates."""
    data = pd.DataFrame({"y": [0, 0, 0, 1, 0, 1, 1, 1], "x": np.arange(8.0)})
    found = bootstrap(pair("y ~ x", data, "binomial", fit_irls), 60, seed=4, progress=False)
    assert len(found.estimates) + len(found.failures) == 60
    assert 5 < len(found.failures) < 55
    assert found.failures["reason"].str.contains("separation").any()
    assert not set(found.failures.index) & set(found.estimates.index)
    assert "of 60 replicates\n" in str(found)
    assert "failed: " in str(found)


def test_nothing_but_failures():
    found = Bootstrap.collect(
        {"a": 1.0}, dict.fromkeys(range(3), Refitted({}, failure="not converged: here")), None, 1, 3
    )
    with pytest.raises(MethodError, match=r"0 replicates succeeded: too few for an interval\. 3 × not converged: here"):
        found.confint()
    assert "0 of 3 replicates" in str(found)


def test_progress_is_told(herds):
    said = []
    bootstrap(herds, 3, seed=1, progress=lambda done, total: said.append((done, total)))
    assert said == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_bootstrapped_is_refused(herds):
    made = problem_of("incidence ~ period", CBPP, "poisson")
    overdispersed = fit_irls(made, scale="pearson")
    quasi = problem_of("incidence ~ period", CBPP, "quasipoisson")
    full = pair("p(incidence, size) ~ 1 + (1 | herd)", CBPP, "binomial")
    for fit, options, words in (
        ((made, overdispersed), {}, "which no poisson distribution has"),
        ((quasi, fit_irls(quasi)), {}, "quasi-family"),
        ("fit", {}, "bootstrap takes a fit; got str"),
        (herds, {"replicates": 0}, "replicates is 0"),
        (herds, {"progress": 3}, "progress is 3"),
        (herds, {"alternative": full}, "same number|not nested"),
    ):
        with pytest.raises(MethodError, match=words):
            bootstrap(fit, **{"replicates": 2, **options})
    with pytest.raises(MethodError, match="unknown interval 'bca'"):
        bootstrap(herds, 2, seed=1, progress=False).confint("bca")
    with pytest.raises(MethodError, match="no larger model was fitted"):
        bootstrap(herds, 2, seed=1, progress=False).p  # noqa: B018


def test_a_family_of_functions_cannot_go_to_another_process():
    family = bg.Family.from_pymc("brought", lambda mu, sigma: None, link="identity")
    from bayesglmm.inference.portable import portable

    made = problem_of("y ~ 1", pd.DataFrame({"y": [1.0, 2.0]}), family)
    with pytest.raises(MethodError, match="use a ThreadPoolExecutor"):
        portable(made)


def test_through_the_facade():
    found = bg.Model("y ~ x", pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]}), "poisson").fit("irls")
    assert len(bg.bootstrap(found, 20, seed=1).estimates) == 20
