"""One replicate: data from its own seed, every method on them, and what each found beside the truth."""

from __future__ import annotations

import json
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesglmm.errors import BayesGLMMWarning
from bayesglmm.marginals import Marginal, marginals
from bayesglmm.methods.registry import choose
from bayesglmm.parameters import Parameters
from bayesglmm.posterior import parameter_draws
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.study.source import Source
from bayesglmm.tables import fixed_table

#: What is kept of a parameter.
VALUES = ("truth", "estimate", "sd", "ci_low", "ci_high")


@dataclass(frozen=True)
class Task:
    """What every replicate does.

    Parameters
    ----------
    sources : tuple of Source
        One per arm.
    methods : dict
        Method → its options.
    seed : int
        Of the study. Replicate k of arm a draws its data from ``SeedSequence(seed, spawn_key=(a, k))``, and a method's
        own draws from a seed below that one: neither order nor number of workers matters, nor which methods run.
    ranks : int
        Draws of the posterior among which the truth is ranked; 0 for none.
    """

    sources: tuple[Source, ...]
    methods: dict[str, dict[str, Any]]
    seed: int
    ranks: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one method fared on one data set.

    Parameters
    ----------
    method : str
        Its name.
    seconds : float
        Wall time.
    failure : str
        Why there are no numbers; empty when there are.
    found : dict
        Parameter → [truth, estimate, sd, ci_low, ci_high].
    boundary : list of str
        Terms at the boundary of the parameter space.
    ranks : dict
        Parameter → how many draws of the posterior are below the truth, where that was asked for.
    """

    method: str
    seconds: float
    failure: str = ""
    found: dict[str, list[float]] = field(default_factory=dict)
    boundary: list[str] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Replicate:
    """One data set and every method's outcome; `failure` says why there are none."""

    arm: int
    number: int
    outcomes: list[Outcome] = field(default_factory=list)
    failure: str = ""

    def text(self) -> str:
        """As one line of JSON; numbers come back as they were."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Replicate:
        """The inverse of :meth:`text`."""
        content = json.loads(text)
        outcomes = [Outcome(**one) for one in content.pop("outcomes")]
        return cls(outcomes=outcomes, **content)


def run_replicate(task: Task, arm: int, number: int) -> Replicate:
    """Make the data of a replicate and fit them by every method."""
    seed = np.random.SeedSequence(task.seed, spawn_key=(arm, number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesGLMMWarning)  # what they say is in the status of each fit
        try:
            problem, truth = task.sources[arm].draw(np.random.Generator(np.random.PCG64(seed)))
            true = true_values(problem, truth)
        except Exception as error:  # a replicate without data is a row with its reason; the others go on
            return Replicate(arm, number, failure=f"no data: {_words(error)}")
        outcomes = [_fit(task, problem, true, m, _seeded(task, m, arm, number, problem)) for m in task.methods]
    return Replicate(arm, number, outcomes)


def true_values(problem: Problem, truth: Parameters) -> dict[str, float]:
    """The truth under the names of the tables: coefficients, sds, correlations, auxiliaries."""
    unknown = np.full((len(truth.beta),) * 2, np.nan)
    status = Status(True, "")
    # As if a method without a posterior had found it.
    point = Result("ml", "", "conditional", truth.beta, unknown, np.empty(0), status, truth.theta, truth.psi)
    return {name: m.estimate for name, m in marginals(problem, point).items()}


def _seeded(task: Task, method: str, arm: int, number: int, problem: Problem) -> Mapping[str, Any]:
    options = task.methods[method]
    if "seed" not in choose(method, problem, {}).options:
        return options
    key = (arm, number, 1 + zlib.crc32(method.encode()))
    own = np.random.SeedSequence(task.seed, spawn_key=key).generate_state(1)[0]
    return {"seed": int(own) >> 1, **options}


def _fit(task: Task, problem: Problem, true: dict[str, float], method: str, options: Mapping[str, Any]) -> Outcome:
    start = time.perf_counter()
    try:
        result = choose(method, problem, dict(options)).run(problem, **options)
        seconds = time.perf_counter() - start
        if not result.status.converged:
            return Outcome(method, seconds, f"not converged: {result.status.reason}")
        intervals = fixed_table(problem, result)
        found = {
            name: [true.get(name, float("nan")), *_numbers(m, intervals)]
            for name, m in marginals(problem, result).items()
        }
        ranks = _ranks(problem, result, true, task, options) if task.ranks else {}
    except Exception as error:  # an engine's accident is that method's result
        return Outcome(method, time.perf_counter() - start, _words(error))
    return Outcome(method, seconds, "", found, list(result.status.boundary), ranks)


def _ranks(
    problem: Problem, result: Result, true: dict[str, float], task: Task, options: Mapping[str, Any]
) -> dict[str, int]:
    """Rank of every truth among draws of the posterior (Talts, Betancourt, Simpson, Vehtari & Gelman 2018)."""
    rng = np.random.default_rng(int(options.get("seed", task.seed)))
    draws = replace(parameter_draws(problem, result, task.ranks, rng), independent=False)
    # As if they had been sampled: what the method says of marginals beside its draws is left aside.
    sampled = marginals(problem, replace(result, draws=draws, extras={}))
    below = {n: int(np.sum(m.draws < true[n])) for n, m in sampled.items() if m.draws is not None and n in true}
    ties = {n: int(np.sum(sampled[n].draws == true[n])) for n in below}
    return {n: rank + int(rng.integers(ties[n] + 1)) for n, rank in below.items()}


def _numbers(marginal: Marginal, intervals: pd.DataFrame) -> list[float]:
    """Estimate, sd and 95 % interval; a coefficient's as its own table has it (which may be t)."""
    if marginal.kind == "fixed" and marginal.draws is None:
        ends = intervals.loc[marginal.parameter, ["ci_low", "ci_high"]].to_numpy(dtype=float)
    else:
        ends = marginal.quantiles(np.array([0.025, 0.975]))
    return [float(marginal.estimate), float(marginal.sd), float(ends[0]), float(ends[1])]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
