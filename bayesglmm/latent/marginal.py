"""Laplace and adaptive quadrature: fit a problem by its marginal likelihood or posterior, or evaluate it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import plain, takes
from bayesglmm.errors import MethodError, SeparationWarning, warn
from bayesglmm.latent.boundary import find_boundary
from bayesglmm.latent.draws import draw
from bayesglmm.latent.identified import identification_notes
from bayesglmm.latent.objective import Evaluation, Objective, make_objective
from bayesglmm.latent.outer import Optimum
from bayesglmm.latent.quadrature.enough_nodes import nodes_note
from bayesglmm.latent.quadrature.nodes import in_words
from bayesglmm.latent.restart import search
from bayesglmm.latent.start import starting_point
from bayesglmm.latent.target import Coordinates, Target
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.units import check_units, in_units
from bayesglmm.parameters import likelihood_scale
from bayesglmm.result import Result, Status

if TYPE_CHECKING:
    from bayesglmm.problem import Problem

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@takes(order=plain, kernel=plain)
def marginal_loglik(
    problem: Problem,
    beta: Floats,
    theta: Floats,
    psi: Floats,
    *,
    nodes: int | tuple[int, int] = 1,
    kernel: str = "auto",
    prune: float = 0.0,
    order: int = 1,
) -> float:
    """Log marginal likelihood at given parameters, with all constants.

    Parameters
    ----------
    problem : Problem
        The model.
    beta, theta, psi : ndarray
        Coefficients, natural covariance parameters, unconstrained auxiliaries.
    nodes : int or (int, int)
        Quadrature nodes per dimension; 1 is the Laplace approximation. (outer, inner) for two nested factors.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or the PyMC graph.
    prune : float
        Share of the quadrature's weight that may be dropped.
    order : {1, 2}
        2 adds Laplace's second-order correction (Shun & McCullagh 1995), which goes with one node.

    Returns
    -------
    float
        −inf where the random effects have no mode.

    Raises
    ------
    MethodError
        For a quasi-family, or nodes that do not go with the model.
    DataError
        A response too large or small (see :func:`bayesglmm.latent.units.check_units`).
    """
    _require_likelihood(problem)
    check_units(problem)
    if order not in (1, 2) or (order == 2 and nodes != 1):
        raise MethodError(f"order={order!r}, nodes={nodes}: order 2 is Laplace's second-order correction, of one node.")
    with one_thread():
        objective = make_objective(problem, nodes, kernel, prune)
        beta, theta, psi = (np.asarray(v, dtype=float) for v in (beta, theta, psi))
        found = objective.evaluate(beta, theta, psi, with_gradient=False)
        return found.value + (_second_order(objective, psi, found) if order == 2 else 0.0)


def _second_order(objective: Objective, psi: Floats, found: Evaluation) -> float:
    from bayesglmm.latent.second_order import second_order

    correction = second_order(objective.kernel, psi, found.mode) if np.isfinite(found.value) else np.zeros(1)
    if correction is None:
        raise MethodError("order=2: the correction of crossed factors with so many rows takes too long.")
    return float(correction.sum())


def fit_marginal(
    problem: Problem,
    *,
    nodes: int | tuple[int, int] = 1,
    kernel: str = "auto",
    prune: float = 0.0,
    draws: int = 0,
    seed: int | None = None,
    resolve: bool | None = None,
) -> Result:
    """Maximise the marginal likelihood (flat priors) or the marginal posterior of (β, θ, ψ).

    Parameters
    ----------
    problem : Problem
        The model.
    nodes : int or (int, int)
        Quadrature nodes per dimension; 1 is the Laplace approximation. (outer, inner) for two nested factors.
    kernel : {"auto", "graph"}
        Closed forms where there are some, or the PyMC graph.
    prune : float
        Share of the quadrature's weight that may be dropped.
    draws : int
        Joint draws of parameters and random effects from the Gaussian approximation; 0 for none.
    seed : int, optional
        Of the draws.
    resolve : bool, optional
        Whether every draw finds its own conditional modes, which also gives the exact target density at the draw
        (``log_p``); by default where that is cheap. Otherwise the modes move linearly with the parameters.

    Returns
    -------
    Result
        ``effects`` are the conditional modes at the estimate and ``effects_sd`` their conditional standard
        deviations given the parameters (lme4's ``condVar``); ``extras["effects_sd_full"]`` adds the uncertainty
        of the parameters (glmmTMB's). ``extras["log_density"]`` is the maximised target: the log-likelihood
        itself, or the log posterior density in working coordinates.

    Raises
    ------
    MethodError
        For a quasi-family, or nodes that do not go with the model.
    ConvergenceError
        When there is no point with a finite marginal likelihood.

    Warns
    -----
    SeparationWarning
        Some estimates are infinite; the columns and rows are named.
    """
    _require_likelihood(problem)
    begin = time.perf_counter()
    units = in_units(problem)
    if units.unit == 1.0:
        check_units(problem)
    with one_thread():
        target = units.target(nodes, kernel, prune)
        optimum = search(target, starting_point(units.problem, target.objective, target.coordinates))
        drawn = draw(target, optimum, draws, seed, resolve) if draws else None
    seconds = time.perf_counter() - begin
    return units.back(_result(units.problem, target, optimum, drawn, seconds, {"nodes": nodes, "seed": seed}))


def _require_likelihood(problem: Problem) -> None:
    if problem.family.quasi:
        raise MethodError(
            f"{problem.family.name} is a quasi-family: it has no likelihood to integrate. Use method='pql' or 'mql'."
        )


def _result(problem: Problem, target: Target, optimum: Optimum, drawn, seconds: float, options: dict) -> Result:  # type: ignore[no-untyped-def]
    coordinates, objective, mode = target.coordinates, target.objective, optimum.point.mode
    beta, theta, psi = coordinates.split(optimum.point.x)
    slope = coordinates.slope(theta)
    boundary, edge = _boundary(problem, coordinates, optimum)
    joint = optimum.curvature.covariance * np.outer(slope, slope)
    joint[edge], joint[:, edge] = np.nan, np.nan
    cov_beta = joint[: coordinates.p, : coordinates.p]
    given, full = _effect_sds(target, optimum, theta)
    eta = np.empty(objective.structure.n)
    eta[objective.order] = mode.eta
    separated = _separation(problem, beta, optimum.converged)
    if separated:
        warn(f"{separated}.", SeparationWarning)
    evaluation = optimum.point.evaluation
    assert evaluation is not None
    return Result(
        method="laplace" if objective.nodes == 1 else "agq",
        objective=_objective_words(problem, objective),
        estimand="conditional",
        beta=beta,
        cov_beta=cov_beta,
        theta=theta,
        psi=psi,
        cov_joint=joint,
        effects=objective.structure.effects(objective.lambdas(theta), mode.u),
        effects_sd=given,
        eta=eta,
        scale=likelihood_scale(problem, psi),
        loglik=evaluation.value,
        df_model=len(optimum.point.x),
        df_resid=float(problem.design.nobs - coordinates.p),
        status=Status(
            optimum.converged and not separated,
            separated or optimum.message,
            optimum.iterations,
            optimum.evaluations,
            optimum.decrement,
            () if separated else boundary,
            (
                *optimum.notes,
                *(() if separated else identification_notes(problem, coordinates, optimum.curvature)),
                *nodes_note(target, optimum),
            ),
            seconds,
            condition=optimum.curvature.condition,
            scaled_gradient=optimum.curvature.scaled_gradient(optimum.point.gradient),
        ),
        draws=drawn,
        options=options,
        extras={"effects_sd_full": full, "log_density": optimum.point.value, "inner_decrement": mode.decrement},
    )


def _objective_words(problem: Problem, objective: Objective) -> str:
    how = "Laplace approximation" if objective.nodes == 1 else f"adaptive quadrature, {in_words(objective.nodes)} nodes"
    if not objective.structure.layouts:
        how = "no random effects, exact"
    return f"marginal {'likelihood' if problem.priors is None else 'posterior'} ({how})"


def _effect_sds(target: Target, optimum: Optimum, theta: Floats) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Sds of b given the parameters, and with the parameters' uncertainty (first order)."""
    objective, mode = target.objective, optimum.point.mode
    assert mode.factor is not None
    lambdas = objective.lambdas(theta)
    given, full = [], []
    spread = np.where(np.isnan(optimum.curvature.covariance), 0.0, optimum.curvature.covariance)
    moves = _effect_slopes(target, optimum, theta)
    for b, L, own, move in zip(objective.structure.layouts, lambdas, mode.factor.level_covariances, moves):
        variance = np.einsum("rs,jst,rt->jr", L, own, L)
        given.append(np.sqrt(variance))
        extra = np.sum((move @ spread) * move, axis=-1)
        full.append(np.sqrt(variance + np.maximum(extra, 0.0)).reshape(b.levels, b.size))
    return tuple(given), tuple(full)


def _effect_slopes(target: Target, optimum: Optimum, theta: Floats) -> list[Floats]:
    """Derivatives of b = Λû in the vector x, shape (levels, q, d) per factor."""
    objective, coordinates = target.objective, target.coordinates
    x, u, slopes = optimum.point.x, optimum.point.mode.u, optimum.curvature.mode_slopes
    base = objective.lambdas(theta)
    out = [
        np.einsum("rs,jsd->jrd", L, slopes[b.start : b.stop].reshape(b.levels, b.size, -1))
        for b, L in zip(objective.structure.layouts, base)
    ]
    for i in range(coordinates.theta.start, coordinates.theta.stop):
        h = 1e-6 * max(1.0, abs(x[i]))
        up, down = (objective.lambdas(coordinates.split(x + s * h * (np.arange(len(x)) == i))[1]) for s in (1, -1))
        for k, b in enumerate(objective.structure.layouts):
            out[k][:, :, i] += u[b.start : b.stop].reshape(b.levels, b.size) @ ((up[k] - down[k]) / (2 * h)).T
    return out


def _boundary(problem: Problem, coordinates: Coordinates, optimum: Optimum) -> tuple[tuple[str, ...], Bools]:
    """What sits at an edge in words, and which entries of (β, θ, ψ) have no standard error because of it."""
    _, theta, _ = coordinates.split(optimum.point.x)
    edge = ~optimum.curvature.free
    terms: list[str] = []
    position = coordinates.theta.start
    weights = np.abs(optimum.point.mode.derivatives.d2)
    layouts = optimum.point.mode.factor.plan.structure.layouts if optimum.point.mode.factor else ()
    for block, cov, own, b in zip(problem.design.blocks, coordinates.covariance, coordinates.blockwise(theta), layouts):
        # An sd that a level's rows could just tell from zero.
        sizes = np.sqrt(b.levels / np.maximum(weights @ b.z**2, 1e-300))
        found, flags = find_boundary(block, cov, own, sizes)
        here = slice(position, position + cov.n_params)
        if not found and edge[here].any():
            found = (f"the covariance of {block.group} is at the edge of its range",)
        terms += found
        edge[here] |= flags
        position += cov.n_params
    for auxiliary, at_edge in zip(problem.auxiliaries, edge[position:]):
        if at_edge:
            terms.append(f"{auxiliary.name} is at the edge of its range")
    return tuple(terms), edge


def _separation(problem: Problem, beta: Floats, converged: bool) -> str:
    """What is separated in words, or nothing. Random effects do not matter: infinite β under them is the same."""
    if problem.priors is not None:
        return ""
    from bayesglmm.scores.rows import problem_rows
    from bayesglmm.scores.separation import find_separation

    found = find_separation(problem_rows(problem), problem.family, problem.link, beta, converged=converged)
    return "" if found is None else found.describe(problem.design.index)
