"""What samplers are asked for and what they say on the way, whatever the density: imports no sampler and no PyMC."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Plan(NamedTuple):
    """What a sampler is asked for."""

    draws: int
    tune: int
    chains: int
    seed: int
    target_accept: float
    progress: Progress | bool | None


def sampler_stats(stats: Any) -> dict[str, Floats]:
    """Statistics of every draw, shape (chains, draws), under ArviZ's names."""
    return {
        ours: np.asarray(stats[theirs].values)
        for ours, options in _STATS.items()
        for theirs in options
        if theirs in stats
    }


def run_nutpie(compiled: Any, plan: Plan, cores: int) -> Any:
    """Draw by nutpie, telling `plan.progress` a few times a second.

    Parameters
    ----------
    compiled : nutpie.CompiledModel
        The density.
    plan : Plan
        What is asked for.
    cores : int
        Chains at a time.

    Returns
    -------
    xarray.DataTree
    """
    import nutpie

    started = time.perf_counter()
    hook = plan.progress

    def report(chains: list[Any]) -> None:
        total = sum(c.total_draws for c in chains)
        done = sum(c.finished_draws for c in chains)
        divergences = sum(c.divergences for c in chains)
        finished = sum(c.finished_draws >= c.total_draws for c in chains)
        assert callable(hook)
        words = progress_words(done, total, divergences, time.perf_counter() - started)
        hook(done / total if total else 0.0, f"{finished} of {plan.chains} chains done, {words}")

    tree = nutpie.sample(
        compiled,
        draws=plan.draws,
        tune=plan.tune,
        chains=plan.chains,
        cores=cores,
        seed=plan.seed,
        target_accept=plan.target_accept,
        save_warmup=False,
        progress_bar=plan.progress is True,
        progress_callback=report if callable(hook) else None,
    )
    return whole_or_stopped(tree, plan)


def whole_or_stopped(tree: Any, plan: Plan) -> Any:
    """Give the draws back when they are all there; on Ctrl-C samplers return what they have, as if nothing was amiss.

    Raises
    ------
    KeyboardInterrupt
        Chains that were cut short.
    """
    posterior = tree["posterior"]
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    last = [posterior[name].isel(draw=-1) for name in posterior.data_vars] if draws else []
    if (chains, draws) != (plan.chains, plan.draws) or any(bool(v.isnull().all()) for v in last):
        raise KeyboardInterrupt(
            f"stopped with {draws} of {plan.draws} draws of {chains} of {plan.chains} chains; chains cut short are not "
            "kept: fit again, with fewer draws= if need be."
        )
    return tree


def progress_words(done: int, total: int, divergences: int, seconds: float) -> str:
    """How far a sampler is, in words."""
    ending = f", about {seconds * (total - done) / done:.0f} s left" if 0 < done < total else ""
    return f"{done} of {total} draws, {divergences} divergences{ending}"


def teller(plan: Plan, every: float = 0.2) -> Progress:
    """Where a sampler of our own reports to: `plan.progress`, a line on the terminal, or nowhere.

    Parameters
    ----------
    plan : Plan
        What is asked for.
    every : float
        Seconds between two reports.
    """
    if not plan.progress:
        return lambda fraction, text: None
    last = 0.0

    def tell(fraction: float, text: str) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last < every and fraction < 1.0:
            return
        last = now
        if callable(plan.progress):
            plan.progress(fraction, text)
        else:
            sys.stderr.write(f"\r{100.0 * fraction:3.0f} %  {text}" + ("\n" if fraction >= 1.0 else ""))
            sys.stderr.flush()

    return tell


@contextmanager
def ticking(plan: Plan, text: str, every: float = 1.0) -> Iterator[None]:
    """Say to `plan.progress` how long it has been, while something runs that says nothing itself.

    Parameters
    ----------
    plan : Plan
        What is asked for.
    text : str
        What is going on.
    every : float
        Seconds between two reports.
    """
    hook, over, begun = plan.progress, Event(), time.perf_counter()

    def tick() -> None:
        assert callable(hook)
        while not over.wait(every):
            hook(0.0, f"{text}, {time.perf_counter() - begun:.0f} s so far")

    thread = Thread(target=tick, daemon=True)
    if callable(hook):
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
