"""Fit one model by many methods: a method that fails does not stop the others."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesglmm.arguments import plain, refused
from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning, MethodError
from bayesglmm.methods.registry import get_method

if TYPE_CHECKING:
    from bayesglmm.fit import Fit
    from bayesglmm.model import Model


@dataclass(frozen=True)
class Outcome:
    """How one method fared.

    Parameters
    ----------
    method : str
        Its name.
    fit : Fit or None
        None when it failed.
    seconds : float
        Wall time, compilation and sampling included.
    error : str
        Why it failed; empty when it did not.
    warnings : tuple of str
        What the package warned of on the way.
    """

    method: str
    fit: Fit | None
    seconds: float
    error: str = ""
    warnings: tuple[str, ...] = ()


class Stopped(KeyboardInterrupt):
    """Ctrl-C during a comparison.

    Attributes
    ----------
    fits : list of Fit
        Those that were finished, for ``bg.compare(..., fits=...)`` to go on from.
    """

    def __init__(self, fits: list[Fit], total: int) -> None:
        self.fits = fits
        names = ", ".join(f.method for f in fits) or "none"
        super().__init__(
            f"stopped: {len(fits)} of {total} fits are finished ({names}). They are this exception's .fits; the same "
            "call with fits=error.fits goes on from there."
        )


@dataclass(frozen=True)
class Event:
    """What a progress callback is told: a method has started, is so far (perhaps from another thread), or has ended.

    Parameters
    ----------
    method : str
        Its name.
    outcome : Outcome or None
        When it has ended.
    fraction : float or None
        How much is done, between 0 and 1, from methods that can tell.
    text : str
        What it is doing.
    """

    method: str
    outcome: Outcome | None = None
    fraction: float | None = None
    text: str = ""


Progress = Callable[[Event], None]


def made_before(model: Model, fits: Sequence[Fit]) -> dict[str, Outcome]:
    """Outcomes of fits that are there already, by method.

    Raises
    ------
    MethodError
        A fit of another model or other rows, or two by one method.
    """
    made: dict[str, Outcome] = {}
    if not hasattr(model, "problem"):
        raise refused("model", model, "a Model")
    for fit in fits:
        if not hasattr(fit, "result"):
            raise refused("fits", fit, "a list of fits")
        mine, theirs = ((m.formula, m.family.name, m.link.name, m.design.nobs) for m in (model, fit.model))
        if mine != theirs:
            raise MethodError(f"the fit by {fit.method!r} is of another model: {fit.model!r}; compared is {model!r}.")
        if fit.method in made:
            raise MethodError(f"there are two fits by {fit.method!r}; give one of each method.")
        made[fit.method] = Outcome(fit.method, fit, fit.status.seconds)
    return made


def check_request(
    methods: Sequence[str],
    reference: str,
    options: Mapping[str, Mapping[str, Any]],
    made: Mapping[str, Outcome] | None = None,
) -> list[str]:
    """Methods to compare, in order, the reference and those whose fits are there already among them.

    Raises
    ------
    MethodError
        No methods, an unknown method, or options for a method that is not run.
    """
    if isinstance(methods, str):
        raise MethodError(f"methods is the text {methods!r}; give a list of method names, e.g. ['laplace', 'mcmc'].")
    order = list(dict.fromkeys(plain("methods", m) for m in [*methods, *(made or ())]))
    if not order:
        raise MethodError("no methods given to compare; name at least one, e.g. methods=['laplace'].")
    if plain("reference", reference) not in order:
        order.append(reference)
    for name in order:
        if name not in (made or ()):
            get_method(name)
    for name in options:
        if name not in order:
            raise MethodError(f"options are given for {name!r}, which is not among the methods: {', '.join(order)}.")
    return order


def run_method(model: Model, method: str, options: Mapping[str, Any]) -> Outcome:
    """Fit one method and keep what it says, its failure included."""
    start = time.perf_counter()
    fit, error = None, ""
    with _own_warnings() as said:
        try:
            fit = model.fit(method, **options)
        except BayesGLMMError as problem:
            error = str(problem)
        except Exception as problem:  # an engine's accident is that method's result, hours of others' work stay
            error = f"{type(problem).__name__}: {problem}"
    return Outcome(method, fit, time.perf_counter() - start, error, tuple(said))


@contextmanager
def _own_warnings() -> Iterator[list[str]]:
    """Collect the package's own warnings and let the others pass.

    Python's warning filters belong to all threads at once, so in any but the main one nothing is caught: the
    warnings are then shown as usual.
    """
    said: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield said
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BayesGLMMWarning)
        yield said
    for warning in caught:
        if issubclass(warning.category, BayesGLMMWarning):
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def run_methods(
    model: Model,
    methods: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> dict[str, Outcome]:
    """Outcomes of every method, in the order asked for."""
    outcomes: dict[str, Outcome] = {}
    try:
        for outcome in _stream(model, methods, options, progress, executor):
            outcomes[outcome.method] = outcome
            if progress is not None:
                progress(Event(outcome.method, outcome))
    except KeyboardInterrupt:
        raise Stopped([o.fit for o in outcomes.values() if o.fit is not None], len(methods)) from None
    return {m: outcomes[m] for m in methods}


def _stream(
    model: Model,
    methods: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    progress: Progress | None,
    executor: Executor | None,
) -> Iterator[Outcome]:
    if progress is not None and not callable(progress):
        raise refused("progress", progress, "a function of an Event")
    tell = progress or (lambda event: None)
    if executor is None:
        for method in methods:
            tell(Event(method))
            yield run_method(model, method, _reporting(method, options.get(method, {}), progress))
        return
    jobs = {}
    for method in methods:
        tell(Event(method))
        own = _reporting(method, options.get(method, {}), progress)
        jobs[executor.submit(run_method, model, method, own)] = method
    for job in as_completed(jobs):
        problem = job.exception()  # the method's own errors are in its outcome: this one is the executor's
        failed = Outcome(jobs[job], None, float("nan"), f"{type(problem).__name__}: {problem}")
        yield job.result() if problem is None else failed


def _reporting(method: str, options: Mapping[str, Any], progress: Progress | None) -> Mapping[str, Any]:
    """Options with a callback for methods that can say how far they are."""
    if progress is None or "progress" in options or "progress" not in get_method(method).options:
        return options

    def so_far(fraction: float, text: str) -> None:
        progress(Event(method, fraction=fraction, text=text))

    return {**options, "progress": so_far}


def seeded(
    methods: Sequence[str], options: Mapping[str, Mapping[str, Any]], seed: int | None
) -> dict[str, dict[str, Any]]:
    """Options per method, with the seed for those that draw (a seed of their own stays)."""
    full = {m: dict(options.get(m, {})) for m in methods}
    if seed is not None:
        for method, own in full.items():
            if "seed" in get_method(method).options:
                own.setdefault("seed", seed)
    return full
