"""NUTS over the parameters alone, the random effects integrated out by Laplace or quadrature and drawn afterwards.

``model.fit("mcmc", marginalize="laplace")`` comes here, and so does whoever wants to go on from a fit:
:func:`sample`. Not a method of its own: the result is that of ``mcmc``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from bayesglmm.arguments import plain, takes
from bayesglmm.errors import MethodError
from bayesglmm.graph.runner import Plan, Progress
from bayesglmm.priors import flat_priors
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

#: What `options["sampler"]` says of chains in step, the sampler unless another is given.
OWN = "in step"
#: Share of proposals of the random effects' independence sampler below which a note says so.
GAUSSIAN_ENOUGH = 0.5
#: Sds that Laplace may move posterior means before a note says so.
SHIFT = 0.1


@takes(marginalize=plain)
def nodes_of(problem: Problem, marginalize: bool | str, nodes: Any) -> Any:
    """Quadrature nodes per dimension of a request: 1 for Laplace.

    Parameters
    ----------
    problem : Problem
        The model.
    marginalize : {True, "laplace", "agq"}
        True is ``"agq"`` where `nodes` are given, else ``"laplace"``.
    nodes : int, (int, int) or None
        For ``"agq"``: as many as the method ``agq`` takes unless given.

    Raises
    ------
    MethodError
        Another request, or nodes for Laplace.
    """
    if marginalize not in (True, "laplace", "agq"):
        raise MethodError(f"marginalize={marginalize!r}; True, 'laplace' or 'agq' is expected.")
    if marginalize == "laplace" and nodes not in (None, 1):
        raise MethodError(f"marginalize='laplace' with nodes={nodes!r}: Laplace is one node; use marginalize='agq'.")
    if nodes is not None:
        return nodes
    if marginalize != "agq" or not problem.design.blocks:
        return 1
    from bayesglmm.latent.quadrature.nodes import default_nodes

    return default_nodes(problem.design.blocks)


def sample(
    problem: Problem,
    start: Result | None = None,
    *,
    draws: int = 1000,
    tune: int = 100,
    chains: int = 4,
    seed: int | None = None,
    nodes: int | tuple[int, int] | None = None,
    kernel: str = "auto",
    effects: str = "exact",
    sampler: str | None = None,
    target_accept: float = 0.65,
    progress: Progress | bool | None = None,
) -> Result:
    """Sample the marginal posterior of the parameters by NUTS, then the random effects given each draw.

    What is sampled is p(β, θ, ψ | y) with the random effects integrated out by Laplace's approximation or adaptive
    quadrature; with enough nodes it is exact. Under ``priors="flat"`` the priors are flat on the natural scale of
    every parameter, as in the PyMC graph.

    Parameters
    ----------
    problem : Problem
        The model.
    start : Result, optional
        A fit by ``"laplace"``, ``"agq"`` or ``"inla"`` to start from; its mode is found first when left out.
    draws, tune : int
        Draws kept and warm-up draws, per chain. The sampler starts with the mass matrix of the fit, so that few
        warm-up draws do.
    chains : int
        Number of chains. They move in step: for small data sixteen take little longer than four of as many draws.
    seed : int, optional
        The same seed gives the same draws on the same machine; one is drawn and kept in ``options`` when left out.
    nodes : int or (int, int), optional
        Quadrature nodes per dimension; those of `start` when left out, else 1 (Laplace).
    kernel : {"auto", "graph"}
        Closed forms where there are some, or derivatives of the PyMC graph.
    effects : {"exact", "gaussian"}
        Random effects from the Gaussian at their conditional modes, or from their conditional distribution itself (a
        few independence Metropolis steps with that Gaussian as the proposal).
    sampler : {"nutpie"}, optional
        Our own NUTS, all chains in step, unless ``"nutpie"`` is given: that goes chain by chain, evaluates the same
        density, and is there to check the other.
    target_accept : float
        Mean acceptance probability the step size is adapted to. In whitened coordinates 0.65 takes about half the
        gradients that 0.8 takes for the same effective size.
    progress : callable or bool, optional
        ``progress(fraction, text)`` is called a few times a second, or True for a line on the terminal.

    Returns
    -------
    Result
        As by ``mcmc``: means, covariances, draws (random effects included), R-hat, effective sizes, divergences.
        ``draws.stats["lp"]`` is the log marginal posterior density at the draw, in working coordinates.

    Raises
    ------
    MethodError
        A quasi-family, or nodes that do not go with the model.
    ConvergenceError
        No point with a finite marginal posterior.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 1, 0], "g": list("aabbccdd")})
    >>> model = bg.Model("y ~ 1 + (1 | g)", data, family="poisson")
    >>> result = sample(model.problem, draws=50, tune=50, chains=2, seed=1)
    >>> result.draws.effects[0].shape
    (2, 50, 4, 1)
    """
    _check(problem, effects, sampler)
    from bayesglmm.latent.laplace_error import marginal_shift
    from bayesglmm.latent.nuts.chains import sample_by_nutpie, sample_target, whiten
    from bayesglmm.latent.nuts.effects import draw_effects
    from bayesglmm.latent.target import make_target
    from bayesglmm.latent.threads import one_thread

    began = time.perf_counter()
    if nodes is None:
        nodes = 1 if start is None else start.options.get("nodes") or 1
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    plan = Plan(draws, tune, chains, seed, target_accept, progress)
    proper = _with_priors(problem)
    with one_thread():
        target = make_target(proper, nodes, kernel)
        optimum = _centre(proper, target, start)
        shift = marginal_shift(target, optimum) if nodes == 1 else np.nan
        sampled = (sample_by_nutpie if sampler == "nutpie" else sample_target)(whiten(target, optimum), plan)
        x = sampled.x.reshape(-1, sampled.x.shape[-1])
        u, accepted = draw_effects(target, optimum, x, np.random.default_rng((seed, 1)), effects == "exact")
    found = _packed(target, x, u, sampled.x.shape[:2], sampled.stats)
    options = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "sampler": sampler or OWN}
    options |= {"marginalize": "laplace" if nodes == 1 else "agq", "nodes": nodes, "kernel": kernel}
    options |= {"effects": effects, "target_accept": target_accept}
    return _result(problem, found, accepted, shift, options, time.perf_counter() - began)


def _check(problem: Problem, effects: str, sampler: str | None) -> None:
    if effects not in ("exact", "gaussian"):
        raise MethodError(f"effects={effects!r}; 'exact' or 'gaussian' is expected.")
    if sampler not in (None, OWN, "nutpie"):
        raise MethodError(
            f"sampler={sampler!r}: the marginal posterior is sampled by nutpie or, with sampler=None, by NUTS of our "
            "own. model.to_pymc(marginalize=True) is a PyMC model for other samplers."
        )
    if problem.family.quasi:
        raise MethodError(f"{problem.family.name} is a quasi-family: it has no likelihood to integrate.")


def marginal_graph(problem: Problem, marginalize: bool | str = True, nodes: Any = None) -> Any:
    """The PyMC model of the parameters alone; see :func:`bayesglmm.graph.marginalized.build_marginal_model`."""
    from bayesglmm.graph import build_marginal_model
    from bayesglmm.latent.loglik import MarginalLoglik

    return build_marginal_model(problem, MarginalLoglik(problem, nodes_of(problem, marginalize, nodes)))


def complete(problem: Problem, draws: Draws, seed: int, effects: str = "exact") -> Draws:
    """Draw the random effects given draws of the parameters that came without.

    Parameters
    ----------
    problem : Problem
        The model.
    draws : Draws
        Draws of the parameters, of any sampler of the marginal posterior.
    seed : int
        Of the generator.
    effects : {"exact", "gaussian"}
        As for :func:`sample`.
    """
    from bayesglmm.latent.nuts.effects import draw_effects
    from bayesglmm.latent.target import make_target
    from bayesglmm.latent.threads import one_thread

    proper, shape = _with_priors(problem), draws.beta.shape[:2]
    flat = [a.reshape(shape[0] * shape[1], a.shape[-1]) for a in (draws.beta, draws.theta, draws.psi)]
    with one_thread():
        target = make_target(proper)
        x = np.stack([target.coordinates.join(*values) for values in zip(*flat)])
        optimum = _centre(proper, target, None)
        u, _ = draw_effects(target, optimum, x, np.random.default_rng(seed), effects == "exact")
    return replace(draws, effects=_packed(target, x, u, shape, {}).effects)


def _with_priors(problem: Problem) -> Problem:
    """The problem with flat priors spelled out: flat on the natural scale of every parameter, as in the graph."""
    if problem.priors is not None:
        return problem
    return replace(problem, priors=flat_priors(problem.design, problem.family, problem.covariance))


def _centre(problem: Problem, target: Any, start: Result | None) -> Any:
    """Where the sampler starts, with curvature and derivatives of the modes."""
    from bayesglmm.latent.curvature import curvature
    from bayesglmm.latent.outer import Optimum
    from bayesglmm.latent.restart import search
    from bayesglmm.latent.start import starting_point

    coordinates = target.coordinates
    if start is not None and start.cov_joint is not None:
        with np.errstate(all="ignore"):
            x = coordinates.join(start.beta, start.theta, start.psi)
            spread = np.sqrt(np.diag(start.cov_joint)) / np.abs(coordinates.slope(start.theta))
        if np.all(np.isfinite(x)) and np.all(np.isfinite(spread)):
            point = target.at(x)
            if np.isfinite(point.value):
                bent = curvature(target, point, np.where(spread > 0, spread, 1.0))
                if bent.definite:
                    return Optimum(point, bent, 0.0, True, "", 0, 0)
    return search(target, starting_point(problem, target.objective, coordinates))


def _packed(target: Any, x: Any, u: Any, shape: tuple[int, int], stats: dict[str, Any]) -> Draws:
    from bayesglmm.latent.draws import pack_draws

    flat = pack_draws(target, x, u, {})

    def chained(a: Any) -> Any:
        return a.reshape(*shape, *a.shape[2:])

    own = tuple(map(chained, flat.effects))
    return Draws(chained(flat.beta), chained(flat.theta), chained(flat.psi), own, independent=False, stats=stats)


def _result(
    problem: Problem, draws: Draws, accepted: Any, shift: float, options: dict[str, Any], seconds: float
) -> Result:
    from bayesglmm.graph.variables import scalar_parameters
    from bayesglmm.methods.mcmc import judge, summarise
    from bayesglmm.parameters import posterior_variables

    parameters = scalar_parameters(problem, posterior_variables(problem, draws).__getitem__)
    status = judge(problem, parameters, draws, seconds)
    nodes = options["nodes"]
    how = "Laplace's approximation" if nodes == 1 else f"adaptive quadrature, nodes={nodes}"
    facts: dict[str, str] = {"random effects": f"integrated out by {how}, then drawn given the parameters"}
    if shift > SHIFT:
        note = "held against quadrature at the mode, Laplace's approximation of the random effects moves posterior "
        note += f"means by up to {shift:.2g} sds: use marginalize='agq'."
        status = replace(status, notes=(*status.notes, note))
    if np.isfinite(accepted).any():
        share = float(np.nanmean(accepted))
        facts["Gaussian proposals of random effects taken"] = f"{100 * share:.0f} %"
        if share < GAUSSIAN_ENOUGH:
            note = f"only {100 * share:.0f} % of the Gaussian proposals of random effects were taken: the conditional "
            note += "distributions are far from Gaussian, and so may be what Laplace makes of the parameters."
            status = replace(status, notes=(*status.notes, note))
    result = summarise(problem, draws, status, options)
    facts = facts if problem.design.blocks else {}
    return replace(result, objective=f"marginal posterior of the parameters ({how}), by NUTS", extras={"facts": facts})
