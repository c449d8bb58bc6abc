"""Draws from the posterior of the whole graph, by NUTS."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from numpy.typing import NDArray

from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.graph.model import build_model
from bayesglmm.graph.variables import scalar_parameters, to_values, variable_names
from bayesglmm.problem import Problem
from bayesglmm.result import Draws

Floats = NDArray[np.float64]

#: (fraction done, what is going on) → None
Progress = Callable[[float, str], None]

#: Sampler statistics as ArviZ calls them ← as samplers do.
_STATS = {
    "diverging": ("diverging",),
    "energy": ("energy",),
    "lp": ("lp", "logp"),
    "n_steps": ("n_steps",),
    "tree_depth": ("tree_depth", "depth"),
    "step_size": ("step_size",),
    "acceptance_rate": ("acceptance_rate", "mean_tree_accept"),
}


class Sampled(NamedTuple):
    """Draws, and every scalar parameter by name (shape (chains, draws)) for the diagnostics."""

    draws: Draws
    parameters: dict[str, Floats]


class Plan(NamedTuple):
    """What a sampler is asked for."""

    draws: int
    tune: int
    chains: int
    seed: int
    target_accept: float
    progress: Progress | bool | None


def sample_posterior(problem: Problem, sampler: str, plan: Plan) -> Sampled:
    """Sample the full posterior.

    Parameters
    ----------
    problem : Problem
        The model.
    sampler : str
        A name of `SAMPLERS`.
    plan : Plan
        How much of it.

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
    model = build_model(problem)
    wanted = variable_names(problem)
    with warnings.catch_warnings():
        # Remarks on the machine and on compiled code; what matters about the draws is in the status.
        warnings.simplefilter("ignore")
        try:
            tree = SAMPLERS[sampler](model, wanted, plan)
        except ImportError as error:
            raise MethodError(f"sampler={sampler!r} is not installed ({error}).") from None
        except (pm.exceptions.SamplingError, RuntimeError) as error:
            raise ConvergenceError(f"{sampler} could not sample: {str(error).splitlines()[0]}") from error
    posterior, stats = tree["posterior"], tree["sample_stats"]

    def get(name: str) -> Floats:
        return np.asarray(posterior[name].values)

    shape = (plan.chains, plan.draws)
    values = to_values(problem, get, shape)
    found = {
        ours: np.asarray(stats[theirs].values)
        for ours, options in _STATS.items()
        for theirs in options
        if theirs in stats
    }
    draws = Draws(values.beta, values.theta, values.psi, values.effects, independent=False, stats=found)
    return Sampled(draws, scalar_parameters(problem, get))


def _nutpie(model: pm.Model, wanted: list[str], plan: Plan) -> Any:
    import nutpie

    compiled = nutpie.compile_pymc_model(model, var_names=wanted)
    started = time.perf_counter()
    hook = plan.progress

    def report(chains: list[Any]) -> None:
        total = sum(c.total_draws for c in chains)
        done = sum(c.finished_draws for c in chains)
        divergences = sum(c.divergences for c in chains)
        assert callable(hook)
        hook(done / total if total else 0.0, _words(done, total, divergences, time.perf_counter() - started))

    return nutpie.sample(
        compiled,
        draws=plan.draws,
        tune=plan.tune,
        chains=plan.chains,
        cores=min(plan.chains, os.cpu_count() or 1),
        seed=plan.seed,
        target_accept=plan.target_accept,
        save_warmup=False,
        progress_bar=plan.progress is True,
        progress_callback=report if callable(hook) else None,
    )


def _through_pymc(name: str) -> Callable[[pm.Model, list[str], Plan], Any]:
    def sample(model: pm.Model, wanted: list[str], plan: Plan) -> Any:
        started, done, divergences = time.perf_counter(), 0, 0
        total = plan.chains * (plan.draws + plan.tune)

        def report(trace: Any, draw: Any) -> None:
            nonlocal done, divergences
            done += 1
            divergences += any(s.get("diverging", False) for s in draw.stats) and not draw.tuning
            if done % 50 == 0 and callable(plan.progress):
                plan.progress(done / total, _words(done, total, divergences, time.perf_counter() - started))

        own = name == "pymc"
        return pm.sample(
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
        )

    return sample


def _words(done: int, total: int, divergences: int, seconds: float) -> str:
    left = seconds * (total - done) / done if done else float("nan")
    ending = "" if not done else f", about {left:.0f} s left"
    return f"{done} of {total} draws, {divergences} divergences{ending}"


#: Samplers by name: (model, names of the variables to keep, plan) → DataTree.
SAMPLERS: Mapping[str, Callable[[pm.Model, list[str], Plan], Any]] = {
    "nutpie": _nutpie,
    "pymc": _through_pymc("pymc"),
    "numpyro": _through_pymc("numpyro"),
    "blackjax": _through_pymc("blackjax"),
}
