"""``Study``: what is simulated, how it is fitted, how often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bayesglmm.arguments import mapping, place, plain, taught, texts, whole
from bayesglmm.errors import MethodError
from bayesglmm.inference.ticker import Progress, ticker
from bayesglmm.latent.elimination.ordering import need_memory
from bayesglmm.methods.registry import choose, get_method
from bayesglmm.model import Model
from bayesglmm.study.conduct import conduct
from bayesglmm.study.journal import Journal
from bayesglmm.study.replicate import Task
from bayesglmm.study.result import StudyResult
from bayesglmm.study.source import Generated, Source, fixed_design

#: Name of the only arm of a study that has one.
ONLY = ""
#: Numbers that one fit of one replicate comes to in memory: some ten parameters, six values each, with their names.
KEPT = 200


@taught
@dataclass(frozen=True)
class Study:
    """Simulate at a known truth, fit by many methods, many times.

    Parameters
    ----------
    model : Model, callable, or mapping of these
        A model whose design is kept and whose response is simulated anew; or a function ``generator(rng)`` that makes a
        model (or a pair of a model and its truth) with new data; or several of them by name, the arms of the study.
    truth : mapping, Fit or "prior", optional
        Parameters by name, as :meth:`Model.loglik` takes them, or a fit to take them from. Per arm when its values are
        mappings themselves. ``"prior"``: new ones from the model's priors in every replicate. May be left out when the
        generator says it.
    methods : sequence of str
        Names of methods.
    replicates : int
        Per arm.
    seed : int
        Every replicate has a seed of its own below it: tables are the same, to the last bit, whatever the order, the
        number of workers, and how often the study was stopped and resumed.
    options : mapping, optional
        Method → its options, e.g. ``{"agq": {"nodes": 25}}``.
    reference : str, optional
        One of the methods, to compare standard errors with.
    title : str
        For the report.
    published : sequence of mapping
        Printed means to stand beside ours: ``source, parameter, method, mean``.
    ranks : int
        Draws of every posterior among which the truth is ranked (see :func:`bayesglmm.sbc`); 0 for none.

    Raises
    ------
    MethodError
        No methods, an unknown one, an incomplete truth, a model that cannot be simulated.

    Examples
    --------
    >>> import bayesglmm as bg, numpy as np, pandas as pd
    >>> data = pd.DataFrame({"y": range(40), "x": np.tile([0.0, 1.0], 20), "g": np.repeat(list("abcdefgh"), 5)})
    >>> model = bg.Model("y ~ x + (1 | g)", data, family="poisson")
    >>> truth = {"Intercept": 1.0, "x": 0.5, "g.sd": 0.3}
    >>> found = bg.Study(model, truth, ["pql", "laplace"], replicates=5, seed=1).run(workers=1)
    >>> found.table.query("parameter == 'x'")["n"].tolist()
    [5, 5]
    """

    model: Any
    truth: Any = None
    methods: Sequence[str] = ("laplace",)
    replicates: int = 100
    seed: int = 1
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: str | None = None
    title: str = ""
    published: Sequence[Mapping[str, Any]] = ()
    ranks: int = 0

    def __post_init__(self) -> None:
        if not self.arms:
            raise MethodError("model is an empty mapping; a Model, a function that makes one, or arms by name, please.")
        if isinstance(self.methods, str) or not texts("methods", self.methods):
            raise MethodError(
                f"methods is {self.methods!r}; a list of method names is expected, e.g. ['pql', 'laplace']."
            )
        mapping("options", self.options)
        for method, own in self.options.items():
            mapping(f"options[{method!r}]", own)
        for name in (*self.methods, *self.options, *([self.reference] if self.reference else [])):
            get_method(name)
            if name not in self.methods:
                raise MethodError(f"{name!r} is not among the methods of the study: {', '.join(self.methods)}.")
        for name, least in (("replicates", 1), ("seed", 0), ("ranks", 0)):
            whole(least)(name, getattr(self, name))
        for source in self.task.sources:
            if not isinstance(source, Generated):
                for name, options in self.task.methods.items():
                    choose(name, source.problem, options)

    @property
    def arms(self) -> dict[str, Any]:
        """Name → model or generator."""
        return dict(self.model) if isinstance(self.model, Mapping) else {ONLY: self.model}

    @cached_property
    def task(self) -> Task:
        """What every replicate does, as it is sent to workers."""
        sources = tuple(_source(one, _truth_of(self.truth, arm)) for arm, one in self.arms.items())
        methods = {m: _without_draws(m, self.options.get(m, {})) for m in dict.fromkeys(self.methods)}
        return Task(sources, methods, int(self.seed), int(self.ranks))

    @cached_property
    def identity(self) -> str:
        """A text that is the same for two studies whose replicates are."""
        from bayesglmm import __version__

        task = self.task
        words = [__version__, [s.identity for s in task.sources], list(self.arms), task.methods, task.seed, task.ranks]
        return hashlib.sha256(json.dumps(words, default=repr).encode()).hexdigest()

    def run(
        self,
        path: str | Path | None = None,
        *,
        executor: Any = None,
        workers: int | None = None,
        progress: Progress = "auto",
        tell: Callable[[str], None] | None = None,
    ) -> StudyResult:
        """Run the replicates that are not done yet.

        Parameters
        ----------
        path : str or Path, optional
            Where every finished replicate is kept at once; run again with the same path to go on after an interruption.
            Nothing is kept when left out.
        executor : concurrent.futures.Executor or dask.distributed.Client, optional
            Where replicates are fitted. Processes of our own when left out: a script then needs the usual
            ``if __name__ == "__main__":``.
        workers : int, optional
            Processes of our own: one per core when left out, none when 1.
        progress : bool, "auto" or callable
            A bar with the time left on a terminal after two seconds, by default; or ``progress(done, total)``.
        tell : callable, optional
            Told, in a sentence, what was found in `path`.

        Returns
        -------
        StudyResult

        Raises
        ------
        BayesGLMMError
            When `path` is another study's, in use, or cannot be written.
        KeyboardInterrupt
            Ctrl-C, with a message that says what is kept and how to go on.
        """
        outcomes = float(self.replicates) * len(self.arms) * len(self.task.methods)
        what = f"{self.replicates} replicates of {len(self.arms)} arm(s) by {len(self.task.methods)} method(s)"
        need_memory(outcomes * KEPT, what, "take fewer replicates")
        wanted = [(a, k) for k in range(self.replicates) for a in range(len(self.arms))]
        keeper = nullcontext() if path is None else Journal(place("path", path), self.identity)
        with keeper as journal:
            done = {} if journal is None else {p: r for p, r in journal.finished.items() if p in set(wanted)}
            if journal is not None and journal.said and tell is not None:
                tell(f"{journal.path}: {journal.said}.")
            rest = [place for place in wanted if place not in done]
            try:
                with ticker(len(wanted), progress, "study") as advance:
                    advance(len(done))
                    for replicate in conduct(self.task, rest, executor, workers):
                        if journal is not None:
                            journal.add(replicate)
                        done[replicate.arm, replicate.number] = replicate
                        advance(1)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_how_to_go_on(len(done), len(wanted), path)) from None
        return StudyResult(self, [done[place] for place in wanted])


def _how_to_go_on(done: int, total: int, path: Any) -> str:
    if path is None:
        return f"stopped after {done} of {total} replicates; none were kept: give a path to keep them."
    return f"stopped: {done} of {total} replicates are kept in {path}; run the same study again to go on."


def _truth_of(truth: Any, arm: str) -> Any:
    if isinstance(truth, Mapping) and truth and all(isinstance(v, Mapping) for v in truth.values()):
        if arm not in truth:
            raise MethodError(f"truth says nothing of the arm {arm!r}; it has {', '.join(map(repr, truth))}.")
        return truth[arm]
    return truth


def _source(one: Any, truth: Any) -> Source:
    values = getattr(truth, "params", truth)
    if values is not None and not isinstance(values, Mapping) and plain("truth", values) != "prior":
        raise MethodError(f"truth is {values!r}; parameters by name, a fit, or 'prior' is expected.")
    if isinstance(one, Model):
        if values is None:
            raise MethodError("a study needs the truth to simulate from: parameters by name, or a fit.")
        return fixed_design(one, values)
    if callable(one):
        return Generated(one, values)
    raise MethodError(f"a study takes a Model, or a function that makes one; got {type(one).__name__}.")


def _without_draws(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method; an approximation whose draws nobody reads makes none."""
    row = get_method(method)
    spare = {"draws": 0} if "draws" in row.options and method in ("laplace", "agq") else {}
    return {**spare, **options}
