"""Draws from the posterior of the whole graph, by NUTS."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from numpy.typing import NDArray

from bayesglmm import names
from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.graph.model import build_model
from bayesglmm.graph.runner import Plan, progress_words, run_nutpie, sampler_stats, ticking, whole_or_stopped
from bayesglmm.graph.start import initial_values
from bayesglmm.graph.variables import scalar_parameters, scalars, to_values, users_variables, variable_names
from bayesglmm.problem import Problem
from bayesglmm.result import Draws, Result

Floats = NDArray[np.float64]


#: (model, names of the variables to keep, plan, initial values or None) → DataTree
Sampler = Callable[[pm.Model, list[str], Plan, "dict[str, Any] | None"], Any]

#: What a sampler needs beyond what the package depends on.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "nutpie": (),
    "pymc": (),
    "numpyro": ("jax", "numpyro"),
    "blackjax": ("jax", "blackjax"),
}


class Sampled(NamedTuple):
    """Draws, and every scalar parameter by name (shape (chains, draws)) for the diagnostics."""

    draws: Draws
    parameters: dict[str, Floats]


def sample_posterior(
    problem: Problem,
    sampler: str,
    plan: Plan,
    model: pm.Model | None = None,
    centred: Collection[str] = (),
    start: Result | None = None,
) -> Sampled:
    """Sample the full posterior.

    Parameters
    ----------
    problem : Problem
        The model.
    sampler : str
        A name of `SAMPLERS`.
    plan : Plan
        How much of it.
    model : pymc.Model, optional
        The problem's graph, extended by its user; built when left out. Where it has no random effects (they were
        integrated out) those of the draws are left empty.
    centred : collection of str
        Grouping factors with centred effects.
    start : Result, optional
        A fit whose estimate chains start at.

    Raises
    ------
    MethodError
        An unknown sampler, or one that is not installed.
    ConvergenceError
        No starting point with a finite density.
    """
    if sampler not in SAMPLERS:
        raise MethodError(f"unknown sampler {sampler!r}. Known samplers: {', '.join(SAMPLERS)}.")
    if callable(plan.progress):
        plan.progress(0.0, "compiling the model")
    _require(sampler)
    model = build_model(problem, centred) if model is None else model
    groups = [names.group_variable(b.group) for b in problem.design.blocks]
    with_effects = all(g in model.named_vars for g in groups)
    wanted = variable_names(problem, effects=with_effects)
    missing = [w for w in wanted if w not in model.named_vars]
    if missing:
        raise MethodError(f"the PyMC model has no {', '.join(missing)}: extend what model.to_pymc() returns.")
    free, derived = (users_variables(problem, v) for v in (model.free_RVs, model.deterministics))
    with warnings.catch_warnings():
        # Remarks on the machine and on compiled code; what matters about the draws is in the status.
        warnings.simplefilter("ignore")
        try:
            first = None if start is None else initial_values(problem, start, [v.name for v in model.free_RVs])
            tree = SAMPLERS[sampler](model, [*wanted, *free, *derived], plan, first)
        except ImportError as error:
            raise MethodError(f"sampler={sampler!r} is not installed ({error}).") from None
        except NotImplementedError as error:
            raise MethodError(
                f"{sampler} cannot run this graph: {str(error).splitlines()[0]}. nutpie and pymc can, also where "
                "random effects are integrated out."
            ) from error
        except (pm.exceptions.SamplingError, RuntimeError) as error:
            raise ConvergenceError(f"{sampler} could not sample: {str(error).splitlines()[0]}") from error
    posterior, stats = tree["posterior"], tree["sample_stats"]

    def get(name: str) -> Floats:
        return np.asarray(posterior[name].values)

    shape = (plan.chains, plan.draws)
    values = to_values(problem, get, shape, with_effects=with_effects)
    others = {name: np.asarray(get(name), dtype=float) for name in (*free, *derived)}
    draws = Draws(values.beta, values.theta, values.psi, values.effects, False, sampler_stats(stats), others)
    # What is derived may be constant, and converges when what it is derived from does.
    return Sampled(draws, scalar_parameters(problem, get) | scalars({name: others[name] for name in free}))


def _require(sampler: str) -> None:
    """Refuse a sampler that is not installed, or in a version PyMC cannot use, before anything is compiled."""
    for package in PACKAGES[sampler]:
        if importlib.util.find_spec(package) is None:
            raise MethodError(
                f"sampler={sampler!r} needs {package}, which is not installed: pip install 'bayesglmm[mcmc]'."
            )
    if sampler == "blackjax" and tuple(map(int, importlib.metadata.version("blackjax").split(".")[:2])) >= (1, 6):
        raise MethodError(
            f"PyMC {pm.__version__} cannot use blackjax {importlib.metadata.version('blackjax')}: "
            "pip install 'bayesglmm[mcmc]' gives a version it can."
        )


def _nutpie(model: pm.Model, wanted: list[str], plan: Plan, first: dict[str, Any] | None) -> Any:
    import nutpie

    start: dict[str, Any] = {} if first is None else {"initial_points": first, "jitter_rvs": set()}
    compiled = nutpie.compile_pymc_model(model, var_names=wanted, **start)
    return run_nutpie(compiled, plan, min(plan.chains, os.cpu_count() or 1))


def _through_pymc(name: str) -> Sampler:
    def sample(model: pm.Model, wanted: list[str], plan: Plan, first: dict[str, Any] | None) -> Any:
        started, done, divergences, finished = 0.0, 0, 0, 0
        total = plan.chains * (plan.draws + plan.tune)

        def report(trace: Any, draw: Any) -> None:
            nonlocal started, done, divergences, finished
            started = started or time.perf_counter()  # of the draws: compiling says nothing of how long they take
            done += 1
            finished += bool(draw.is_last)
            divergences += any(s.get("diverging", False) for s in draw.stats) and not draw.tuning
            if (done % 50 == 0 or done == total) and callable(plan.progress):
                words = progress_words(done, total, divergences, time.perf_counter() - started)
                plan.progress(done / total, f"{finished} of {plan.chains} chains done, {words}")

        own = name == "pymc"
        start: dict[str, Any] = {}
        if first is not None:
            start = {"initvals": first} | ({"init": "adapt_diag"} if own else {"nuts": {"jitter": False}})
        # Loops of the other two are compiled whole: they can only be timed from outside.
        with nullcontext() if own else ticking(plan, f"compiling and sampling by {name}"):
            tree = pm.sample(
                plan.draws,
                tune=plan.tune,
                chains=plan.chains,
                cores=min(plan.chains, os.cpu_count() or 1),
                random_seed=plan.seed,
                target_accept=plan.target_accept,
                nuts_sampler=name,
                var_names=wanted,
                model=model,
                quiet=plan.progress is not True,
                progressbar=plan.progress is True,
                compute_convergence_checks=False,
                callback=report if own and callable(plan.progress) else None,
                **start,
            )
        tree = whole_or_stopped(tree, plan)
        if not own and callable(plan.progress):
            words = progress_words(total, total, int(tree["sample_stats"]["diverging"].values.sum()), 0.0)
            plan.progress(1.0, f"{plan.chains} of {plan.chains} chains done, {words}")
        return tree

    return sample


#: Samplers by name.
SAMPLERS: Mapping[str, Sampler] = {
    "nutpie": _nutpie,
    "pymc": _through_pymc("pymc"),
    "numpyro": _through_pymc("numpyro"),
    "blackjax": _through_pymc("blackjax"),
}
