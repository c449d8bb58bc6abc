"""Live progress of a comparison: one line per method; plain lines when nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.spinner import Spinner
from rich.table import Column
from rich.text import Text

from bayesglmm.cli.screen import err
from bayesglmm.report.words import seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bayesglmm.comparison import Event, Outcome


@contextmanager
def show_progress(methods: Sequence[str], console: Console | None = None) -> Iterator[Callable[[Event], None]]:
    """Show how the methods fare while they run.

    Parameters
    ----------
    methods : sequence of str
        In the order they run.
    console : Console, optional
        Standard error when left out.

    Yields
    ------
    callable
        To be given to ``compare(progress=...)``.
    """
    console = console or err
    if not console.is_terminal:
        yield lambda event: _line(console, event)
        return
    width = max(len(m) for m in methods)
    with Progress(_Mark(), _Name(width), _Clock(), _Said(), console=console, transient=False) as bars:
        tasks = {m: bars.add_task(m, start=False, total=1, outcome=None, said="") for m in methods}
        yield lambda event: _update(bars, tasks[event.method], event)


def result_words(outcome: Outcome) -> str:
    """What came out, in a few words."""
    if outcome.fit is None:
        return outcome.error.splitlines()[0]
    status = outcome.fit.status
    if status.r_hat is not None:
        return f"R-hat {status.r_hat:.3f}, ESS {status.ess:.0f}, {status.divergences} divergent"
    if not status.converged:
        return f"not converged: {status.reason}"
    boundary = f"; on the boundary: {', '.join(status.boundary)}" if status.boundary else ""
    return f"converged in {status.iterations} iterations{boundary}" if status.iterations else f"converged{boundary}"


def _line(console: Console, event: Event) -> None:
    outcome = event.outcome
    if outcome is None:  # starts and shares done are for those who watch
        return
    state = "failed" if outcome.fit is None else "done"
    text = f"{outcome.method:<8} {state:<7} {seconds(outcome.seconds):>9}   {result_words(outcome)}"
    console.print(text, markup=False, soft_wrap=True)


def _update(bars: Progress, task: TaskID, event: Event) -> None:
    if event.outcome is None:
        if event.fraction is None:
            bars.start_task(task)
        else:
            bars.update(task, said=f"{event.fraction:4.0%}  {event.text}")
        return
    bars.update(task, completed=1, outcome=event.outcome)
    bars.stop_task(task)


class _Mark(ProgressColumn):
    """A spinner while it runs, then a tick or a cross."""

    def __init__(self) -> None:
        super().__init__()
        self.spinner = Spinner("dots", style="cyan")

    def render(self, task: Task) -> RenderableType:
        outcome = task.fields["outcome"]
        if outcome is not None:
            return Text("✗", style="red") if outcome.fit is None else Text("✓", style="green")
        return Text("·", style="dim") if task.start_time is None else self.spinner.render(task.get_time())


class _Name(ProgressColumn):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def render(self, task: Task) -> Text:
        return Text(f"{task.description:<{self.width}}", style="bold" if task.start_time is not None else "dim")


class _Clock(ProgressColumn):
    def render(self, task: Task) -> Text:
        outcome = task.fields["outcome"]
        text = seconds(outcome.seconds) if outcome is not None else f"{task.elapsed:.0f} s" if task.elapsed else ""
        return Text(f"{text:>9}", style="" if outcome is not None else "cyan")


class _Said(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        outcome = task.fields["outcome"]
        if outcome is not None:
            return Text(result_words(outcome), style="red" if outcome.fit is None else "")
        return Text("waiting" if task.start_time is None else task.fields["said"] or "running", style="dim")
