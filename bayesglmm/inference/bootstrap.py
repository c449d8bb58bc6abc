"""Parametric bootstrap: simulate responses from a fit, fit each again, and look at the spread.

Every replicate has a seed of its own, spawned from one: results are the same in any order and with any number of
workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from bayesglmm.arguments import executor, optional, refused, seed_or_none, takes, whole
from bayesglmm.errors import BayesGLMMWarning, MethodError, warn
from bayesglmm.inference.boundary import check_likelihoods, reference
from bayesglmm.inference.portable import portable
from bayesglmm.inference.replicates import Bootstrap, Refitted, Task, run_here, run_portable
from bayesglmm.inference.ticker import Progress, ticker
from bayesglmm.latent.elimination.ordering import need_memory
from bayesglmm.marginals import marginals
from bayesglmm.methods.registry import METHODS
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.simulate import check_simulable

Pair = tuple[Problem, Result]

#: Methods whose estimates are parameters of a distribution of the response.
SIMULABLE = ("irls", "ml", "reml", "mql", "pql", "laplace", "agq")
#: Replicates sent to a worker at once, at most.
CHUNK = 20


@takes(replicates=whole(), seed=seed_or_none, executor=optional(executor))
def bootstrap(
    fit: Any,
    replicates: int = 999,
    *,
    alternative: Any = None,
    seed: int | None = None,
    executor: Executor | None = None,
    progress: Progress = "auto",
    resume: Bootstrap | None = None,
) -> Bootstrap:
    """Bootstrap a fit parametrically: new random effects, new responses, the same method again.

    Parameters
    ----------
    fit : Fit, or tuple of (Problem, Result)
        What to simulate from.
    replicates : int
        How many times.
    alternative : Fit or tuple, optional
        A larger model of the same data. Both models are then fitted to every replicate: the reference distribution of
        the likelihood ratio, boundary and small samples included.
    seed : int, optional
        Replicate k uses the k-th seed spawned from it (``numpy.random.SeedSequence``).
    executor : concurrent.futures.Executor, optional
        Where replicates are fitted; one after the other when left out. The caller's to shut down.
    progress : bool, "auto" or callable
        A bar on a terminal after two seconds, by default; or ``progress(done, total)``.
    resume : Bootstrap, optional
        Of the same fit, stopped before its end or made with fewer replicates: those it holds are not done again, and
        the others take up its seeds, so that the whole is the same as if it had been made at once.

    Returns
    -------
    Bootstrap
        Estimates, intervals, failures with their reasons, and the test. After Ctrl-C, those that were finished, with a
        warning that says how to go on.

    Raises
    ------
    MethodError
        A fit that is not a distribution of the response, or models that are not nested.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
    >>> found = bg.bootstrap(fit, 200, seed=1)
    >>> list(found.confint("basic").columns)
    ['estimate', 'ci_low', 'ci_high']
    """
    problem, result = _pair(fit)
    _check(problem, result)
    other = None if alternative is None else _pair(alternative)
    ratio = None if other is None else _observed_ratio((problem, result), other)
    task = Task(
        problem,
        refit_options(result),
        result.method,
        (result.beta, result.theta, result.psi),
        None if other is None else (other[0], other[1].method, refit_options(other[1])),
    )
    original = {name: m.estimate for name, m in marginals(problem, result).items()}
    done = {} if resume is None else _finished(resume, original, ratio, seed)
    need_memory(float(replicates) * (30 + 10 * len(original)), f"{replicates} replicates", "take fewer replicates")
    root = int(np.random.SeedSequence(seed if resume is None else resume.seed).entropy)  # type: ignore[arg-type]
    seeds = np.random.SeedSequence(root).spawn(replicates)
    done = {k: one for k, one in done.items() if k < replicates}
    rest = [k for k in range(replicates) if k not in done]
    try:
        with ticker(replicates, progress, "bootstrap") as advance:
            if done:
                advance(len(done))
            for k, one in _run(task, [(k, seeds[k]) for k in rest], executor):
                done[k] = one
                advance(1)
    except KeyboardInterrupt:
        if not done:
            raise KeyboardInterrupt("stopped before the first replicate was finished; nothing is kept.") from None
        warn(
            f"stopped: the {len(done)} of {replicates} replicates that are finished are returned; "
            f"bg.bootstrap(fit, {replicates}, resume=...) with what is returned goes on.",
            BayesGLMMWarning,
        )
    return Bootstrap.collect(original, done, ratio, root, replicates)


def _finished(resume: Any, original: dict[str, float], ratio: float | None, seed: int | None) -> dict[int, Refitted]:
    """Replicates of an earlier bootstrap, when it is one of this fit."""
    if not isinstance(resume, Bootstrap) or resume.seed is None:
        raise refused("resume", resume, "what bg.bootstrap returned")
    if seed not in (None, resume.seed):
        raise MethodError(f"seed is {seed}, and resume was made with {resume.seed}: leave seed= out.")
    if dict(resume.original) != original or (resume.ratio is None) != (ratio is None):
        raise MethodError("resume is a bootstrap of another fit, or was made with another alternative=.")
    return resume.finished


def _pair(fit: Any) -> Pair:
    if isinstance(fit, tuple) and len(fit) == 2:
        return fit
    if hasattr(fit, "result") and hasattr(fit, "model"):
        return fit.model.problem, fit.result
    raise MethodError(f"bootstrap takes a fit; got {type(fit).__name__}.")


def _check(problem: Problem, result: Result) -> None:
    if result.method not in SIMULABLE:
        raise MethodError(f"a fit by {result.method!r} is not bootstrapped here; fit by one of {', '.join(SIMULABLE)}.")
    if len(result.psi) != len(problem.auxiliaries):
        raise MethodError(f"the fit estimates no {problem.auxiliaries[0].name}: fit by 'laplace'.")
    check_simulable(problem, result.scale if problem.family.scale is not None else 1.0)


def _observed_ratio(small: Pair, full: Pair) -> float:
    if small[1].loglik is None or full[1].loglik is None:
        raise MethodError("a bootstrapped likelihood ratio needs two fits with a likelihood.")
    check_likelihoods([small, full])
    reference(small, full)  # raises unless nested
    return 2.0 * (full[1].loglik - small[1].loglik)


def refit_options(result: Result) -> dict[str, Any]:
    """The options that the estimates depend on."""
    taken = set(METHODS[result.method].options) - {"draws", "seed", "df", "cov", "groups", "small_sample", "start"}
    own = {k: v for k, v in result.options.items() if k in taken}
    return own | ({"draws": 0} if "draws" in METHODS[result.method].options else {})


def _run(
    task: Task, numbered: Sequence[tuple[int, np.random.SeedSequence]], executor: Executor | None
) -> Iterator[tuple[int, Refitted]]:
    """Replicates, each with its number, as they are finished."""
    if executor is None:
        for k, seed in numbered:
            yield k, run_here(task, [seed])[0]
        return
    size = max(1, min(CHUNK, len(numbered) // 8))
    chunks = [numbered[start : start + size] for start in range(0, len(numbered), size)]
    here = isinstance(executor, ThreadPoolExecutor)
    run, sent = (run_here, task) if here else (run_portable, task.sent(portable))
    futures = {executor.submit(run, sent, [seed for _, seed in chunk]): chunk for chunk in chunks}
    try:
        for future in as_completed(futures):
            yield from zip((k for k, _ in futures[future]), future.result())
    finally:
        for future in futures:
            future.cancel()
