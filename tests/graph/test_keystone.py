"""The keystone: what the deterministic engines compute is what the PyMC graph says.

Every closed-form kernel has the value, three η-derivatives and ψ-derivatives of the automatically differentiated
PyMC density; and the joint log-density assembled from the numpy pieces (likelihood, random effects, priors, Jacobians)
is PyMC's, at random points of the space PyMC samples in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytest
from keystone_cases import (
    FORMS,
    LIKELIHOODS,
    PAIRS,
    N,
    centre,
    crossed_problem,
    is_bounded,
    pair_id,
    response,
    three_column_problem,
)
from pytensor.compile.mode import Mode

from bayesglmm import names
from bayesglmm.families.base import Family
from bayesglmm.graph import build_model
from bayesglmm.graph.covariance import level_factor
from bayesglmm.graph.decorrelate import Whitening
from bayesglmm.graph.kernel import graph_kernel
from bayesglmm.graph.variables import to_values, variable_names
from bayesglmm.joint import joint_logp
from bayesglmm.links import get_link
from bayesglmm.priors import Prior
from bayesglmm.problem import Problem

PLAIN = Mode(linker="py", optimizer=None)


# --- kernels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=pair_id)
def test_closed_form_equals_graph(pair: tuple[Family, str]) -> None:
    family, link = pair[0], get_link(pair[1], pair[0])
    rng = np.random.default_rng(3)
    y, trials = response(family, rng)
    weights = rng.uniform(0.5, 2.0, N)
    spread = 0.02 if is_bounded(family, link.name) else 1.5
    eta = centre(family, link.name, rng) + spread * rng.normal(size=(2, N))
    psi = 0.4 * rng.normal(size=len(family.auxiliaries))
    assert family.kernel is not None
    factory = family.kernel(link.name)
    assert factory is not None, "every built-in family and link has a closed form"
    closed, graph = factory(y, trials, weights), graph_kernel(family, link)(y, trials, weights)
    for ours, theirs in zip(closed.derivatives(eta, psi), graph.derivatives(eta, psi)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
    for ours, theirs in zip(closed.aux_derivatives(eta, psi), graph.aux_derivatives(eta, psi)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
    if family.exponential:
        np.testing.assert_allclose(closed.expected_weight(eta, psi), graph.expected_weight(eta, psi), rtol=1e-9)


# --- the joint density ----------------------------------------------------------------------------------------


def compiled_graph(problem: Problem, jacobian: bool) -> tuple[Any, Callable[..., Any]]:
    """A problem's graph, and PyMC's log-density and named variables as a function of its value variables."""
    model = build_model(problem)
    wanted = variable_names(problem) + [names.standardised_variable(b.group) for b in problem.design.blocks]
    outputs = [model.logp(jacobian=jacobian), *model.replace_rvs_by_values([model[w] for w in wanted])]
    function = pytensor.function(model.value_vars, outputs, mode=PLAIN, on_unused_input="ignore")
    return model, lambda *at: (lambda value, *rest: (float(value), dict(zip(wanted, rest))))(*function(*at))


def standardised(problem: Problem, found: dict[str, Any]) -> tuple[list[np.ndarray], float]:
    """u with b = Λu, and the log-Jacobian from the independent normals of the graph where K is known."""
    effects, shift = [], 0.0
    for block, cov in zip(problem.design.blocks, problem.covariance):
        u = found[names.standardised_variable(block.group)]
        if cov.precision is not None:
            u = level_factor(cov) @ u
            shift += 0.5 * u.shape[1] * cov.log_det_precision
        effects.append(u)
    return effects, shift


def random_point(model: Any, spread: float, rng: np.random.Generator) -> list[np.ndarray]:
    start = model.initial_point(random_seed=1)
    point = []
    for variable in model.value_vars:
        shape = np.shape(start[variable.name])
        if variable.name.endswith(".u"):
            point.append(rng.normal(size=shape))
        elif variable.name.startswith("beta"):
            point.append(spread * rng.normal(size=shape))
        elif variable.name.endswith("packed__"):
            diagonal = np.array([0, 2, 5])[: {1: 1, 3: 2, 6: 3}[shape[0]]]
            values = spread * rng.normal(size=shape)
            values[diagonal] = np.log(spread) + 0.4 * rng.normal(size=len(diagonal))
            point.append(values)
        elif ".sd" in variable.name or ".scale" in variable.name:
            point.append(np.log(spread) + 0.4 * rng.normal(size=shape))
        else:
            point.append(0.5 * rng.normal(size=shape))
    return point


def check_joint(problem: Problem, points: int = 2, spread: float = 0.5, tolerance: float = 1e-8) -> None:
    """In the coordinates PyMC samples in, with every Jacobian."""
    model, graph = compiled_graph(problem, jacobian=True)
    rng = np.random.default_rng(8)
    whitening = np.log(np.abs(np.diag(Whitening(problem.design.X).matrix))).sum()
    for _ in range(points):
        theirs, found = graph(*random_point(model, spread, rng))
        at = to_values(problem, found.__getitem__)
        u, shift = standardised(problem, found)
        ours = joint_logp(problem, at.beta, at.theta, at.psi, u, working=True) - shift - whitening
        assert np.isfinite(theirs)
        assert ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)


def spread_of(family: Family, link: str) -> float:
    return 0.02 if is_bounded(family, link) else 0.5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", LIKELIHOODS, ids=lambda f: f.name)
def test_joint_density_every_family_and_form(family: Family, form: str) -> None:
    link = family.links[0]
    check_joint(crossed_problem(family, link, form), spread=spread_of(family, link))


OTHER_LINKS = [(f, link) for f, link in PAIRS if link != f.links[0]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pair", OTHER_LINKS, ids=pair_id)
def test_joint_density_every_link(pair: tuple[Family, str], form: str) -> None:
    family, link = pair
    check_joint(crossed_problem(family, link, form), spread=spread_of(family, link))


@pytest.mark.parametrize("form", ["unstructured", "diagonal", "cs", "ar1", "known"])
def test_joint_density_three_columns_and_two_terms_of_a_group(form: str) -> None:
    check_joint(three_column_problem(form), points=4)


WISHARTS = {
    "precision": Prior("Wishart", df=4.5, scale=0.6, on="precision"),
    "covariance": Prior("Wishart", df=5, scale=0.3),
    "inverse": Prior("InverseWishart", df=3.5, scale=2),
}


@pytest.mark.parametrize("kind", WISHARTS)
def test_joint_density_under_wishart_priors(kind: str) -> None:
    priors = {"g.cov": WISHARTS[kind]}
    check_joint(three_column_problem("unstructured", priors), points=4, tolerance=1e-10)
    check_joint(crossed_problem(LIKELIHOODS[0], LIKELIHOODS[0].links[0], "known", priors), tolerance=1e-10)


USER_PRIORS = {
    "x": Prior("StudentT", nu=4, sigma=2),
    "g.x.sd": Prior("Gamma", alpha=0.5, beta=0.2, on="precision"),
    "h.sd": Prior("Uniform", lower=0, upper=5),
    "g.Intercept.sd": Prior("PC", upper=2, probability=0.1),
    "sigma": Prior("InverseGamma", alpha=2, beta=1),
}


@pytest.mark.parametrize("priors", ["flat", USER_PRIORS], ids=["flat", "mixed"])
@pytest.mark.parametrize("form", FORMS)
def test_joint_density_under_other_priors(form: str, priors: Any) -> None:
    """Over natural parameters: a bounded prior is sampled in coordinates of PyMC's own choice."""
    if form == "ar1" and priors != "flat":  # one sd for both columns
        priors = {k: v for k, v in priors.items() if k not in ("g.x.sd", "g.Intercept.sd")} | {
            "g.sd": priors["g.Intercept.sd"]
        }
    problem = crossed_problem(LIKELIHOODS[0], LIKELIHOODS[0].links[0], form, priors)
    model, graph = compiled_graph(problem, jacobian=False)
    rng = np.random.default_rng(4)
    for _ in range(3):
        theirs, found = graph(*random_point(model, 0.5, rng))
        at = to_values(problem, found.__getitem__)
        u, shift = standardised(problem, found)
        log_slope = at.psi.sum()  # of sigma = exp ψ
        ours = joint_logp(problem, at.beta, at.theta, at.psi, u) - shift - log_slope
        assert ours == pytest.approx(theirs, rel=1e-8, abs=2e-8)
