"""Kernels by automatic differentiation: families of a user's own, the tails, many rows, subsets, whole fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from building import problem_of
from keystone_cases import LIKELIHOODS, centre, response
from reference_data import frame
from scipy import stats

from bayesglmm.errors import MethodError
from bayesglmm.families import get_family
from bayesglmm.families.base import Family
from bayesglmm.graph import kernel as graph
from bayesglmm.graph.kernel import graph_kernel
from bayesglmm.latent import marginal_loglik
from bayesglmm.links import get_link

IDENTITY = get_link("identity")


def student4() -> Family:
    return Family.from_pymc("student4", lambda mu, sigma: pm.StudentT.dist(nu=4, mu=mu, sigma=sigma))


def test_a_family_of_the_users_own() -> None:
    y = np.array([-1.0, 0.2, 3.0])
    eta, psi = np.array([0.1, 0.0, 0.5]), np.array([np.log(1.3)])
    kernel = graph_kernel(student4(), IDENTITY)(y, None, None)
    exact = stats.t(4, eta, 1.3)
    at = kernel.derivatives(eta, psi)
    np.testing.assert_allclose(at.value, exact.logpdf(y), rtol=1e-9)
    h = 1e-5
    up, down = (kernel.derivatives(eta + s * h, psi) for s in (1, -1))
    for k in range(3):
        np.testing.assert_allclose(at[k + 1], (up[k] - down[k]) / (2 * h), rtol=1e-6, atol=1e-8)
    by_psi = kernel.aux_derivatives(eta, psi)
    up, down = (kernel.derivatives(eta, psi + s * h) for s in (1, -1))
    for k in range(3):
        np.testing.assert_allclose(by_psi[k][0], (up[k] - down[k]) / (2 * h), rtol=1e-6, atol=1e-8)
    assert np.all(kernel.expected_weight(np.array([9.0, 0.2, 3.0]), psi) >= 0)  # also where −d2 < 0


def test_discrete_family_of_the_users_own() -> None:
    family = Family.from_pymc("geometric", lambda mu: pm.Geometric.dist(p=1 / (1 + mu)), link="log")
    y, eta = np.array([1.0, 2.0, 5.0]), np.array([0.3, -0.2, 1.0])
    value = graph_kernel(family, get_link("log"))(y, None, None).derivatives(eta, np.empty(0)).value
    np.testing.assert_allclose(value, stats.geom(1 / (1 + np.exp(eta))).logpmf(y), rtol=1e-10)


def test_nodes_rows_and_row_wise_auxiliaries() -> None:
    rng = np.random.default_rng(0)
    family = get_family("negative_binomial")
    y, w = rng.poisson(3.0, 6).astype(float), rng.uniform(0.5, 2, 6)
    kernel = graph_kernel(family, get_link("log"))(y, None, w)
    eta = rng.normal(size=(2, 3, 6))
    per_row = rng.normal(size=(1, 6))
    whole = kernel.derivatives(eta, per_row)
    for i in range(6):
        one = kernel.subset(np.array([i])).derivatives(eta[..., i : i + 1], per_row[:, i])
        for a, b in zip(whole, one):
            np.testing.assert_allclose(a[..., i : i + 1], b, rtol=1e-12)


def test_many_rows_go_through_c_code_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y, eta = rng.poisson(2.0, 50).astype(float), rng.normal(size=50)
    small = graph_kernel(get_family("poisson"), get_link("log"))(y, None, None).derivatives(eta, np.empty(0))
    monkeypatch.setattr(graph, "LARGE", 10)
    large = graph_kernel(get_family("poisson"), get_link("log"))(y, None, None).derivatives(eta, np.empty(0))
    for a, b in zip(small, large):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_one_compilation_serves_every_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    family, link = get_family("gamma"), get_link("log")
    graph_kernel(family, link)(np.array([1.0, 2.0]), None, None)
    monkeypatch.setattr(graph, "_compile", lambda *a: pytest.fail("compiled again"))
    y, eta, psi = np.array([3.0, 4.0, 5.0]), np.array([0.5, 1.0, 2.0]), np.array([0.3])
    again = graph_kernel(family, link)(y, None, None).derivatives(eta, psi)
    closed = family.kernel("log")(y, None, None).derivatives(eta, psi)
    np.testing.assert_allclose(again.d1, closed.d1, rtol=1e-10)


@pytest.mark.parametrize("eta", [40.0, -40.0, 300.0, -300.0, 700.0, -700.0])
@pytest.mark.parametrize("name", ["binomial", "poisson", "negative_binomial", "beta", "student_t", "cumulative"])
def test_nothing_in_the_tails_is_not_a_number(name: str, eta: float) -> None:
    family = next(f for f in LIKELIHOODS if f.name == name)
    rng = np.random.default_rng(1)
    y, trials = response(family, rng)
    psi = np.zeros(len(family.auxiliaries))
    kernel = graph_kernel(family, get_link(family.links[0], family))(y, trials, None)
    at = kernel.derivatives(np.full(len(y), eta), psi)
    assert all(np.isfinite(part).all() for part in at)
    assert np.isfinite(kernel.aux_derivatives(np.full(len(y), eta), psi).value).all()
    inside = kernel.derivatives(centre(family, family.links[0], rng, len(y)), psi)
    assert at.value.sum() < inside.value.sum()  # far from the data is worse


def test_tail_of_the_logit_is_exact() -> None:
    y = np.array([0.0, 1.0])
    kernel = graph_kernel(get_family("binomial"), get_link("logit"))(y, None, None)
    value, d1, d2, d3 = kernel.derivatives(np.array([700.0, 700.0]), np.empty(0))
    np.testing.assert_allclose(value, [-700.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(d1, [-1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose([d2, d3], 0.0, atol=1e-12)


def test_outside_the_links_domain() -> None:
    kernel = graph_kernel(get_family("poisson"), get_link("identity"))(np.array([1.0, 2.0]), None, None)
    value, d1, _, _ = kernel.derivatives(np.array([-0.5, 2.0]), np.empty(0))
    assert value[0] == -np.inf
    assert np.isnan(d1[0])
    assert value[1] == pytest.approx(stats.poisson(2.0).logpmf(2))


@pytest.mark.parametrize(
    ("formula", "data", "family"),
    [
        ("p(incidence, size) ~ period + (1 | herd)", "cbpp", "binomial"),
        ("Yield ~ 1 + (1 | Batch)", "dyestuff", "gaussian"),
    ],
)
def test_marginal_likelihood_is_the_same_by_either_kernel(formula: str, data: str, family: str) -> None:
    problem = problem_of(formula, frame(data), family)
    p, m = len(problem.design.columns), len(problem.family.auxiliaries)
    beta = np.linalg.lstsq(problem.design.X, problem.link.eta(np.clip(problem.mean_response, 0.05, None)), rcond=None)[
        0
    ]
    at = (beta[:p], np.array([0.7]), np.full(m, np.log(50.0)))
    values = [marginal_loglik(problem, *at, nodes=3, kernel=k) for k in ("auto", "graph")]
    assert values[0] == pytest.approx(values[1], rel=1e-10)


def test_quasi_family_has_no_graph_kernel() -> None:
    with pytest.raises(MethodError, match="no graph to differentiate"):
        graph_kernel(get_family("quasipoisson"), get_link("log"))


def test_check_is_of_a_row_not_of_all() -> None:
    """One impossible row does not make its neighbours impossible."""

    def uniform(mu: Any) -> Any:
        return pm.Uniform.dist(lower=0.0, upper=mu)

    kernel = graph_kernel(Family.from_pymc("uniform", uniform), IDENTITY)(np.array([1.0, 1.0]), None, None)
    value = kernel.derivatives(np.array([2.0, 0.5]), np.empty(0)).value
    assert value[0] == pytest.approx(-np.log(2.0))
    assert not value[1] > -1e3
