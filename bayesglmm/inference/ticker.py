"""Progress of long computations: a bar on a terminal once they have taken two seconds, or a callback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bayesglmm.errors import MethodError

#: Seconds before a bar appears.
PATIENCE = 2.0

Progress = bool | str | Callable[[int, int], None]


@contextmanager
def ticker(total: int, progress: Progress, what: str) -> Iterator[Callable[[int], None]]:
    """Count what is done.

    Parameters
    ----------
    total : int
        How much there is to do.
    progress : bool, "auto" or callable
        Never, at once, on a terminal after two seconds; or ``progress(done, total)``.
    what : str
        Label of the bar.

    Yields
    ------
    callable
        To be told how many more are done.
    """
    if not (isinstance(progress, bool) or callable(progress) or (isinstance(progress, str) and progress == "auto")):
        raise MethodError(f"progress is {progress!r}; True, False, 'auto' or a function (done, total) is expected.")
    done, begin = 0, time.perf_counter()
    bar: Any = None
    task: Any = None

    def advance(count: int) -> None:
        nonlocal done, bar, task
        done += count
        if callable(progress):
            progress(done, total)
            return
        wanted = progress is True or (progress == "auto" and sys.stderr.isatty())
        if bar is None and wanted and (progress is True or time.perf_counter() - begin > PATIENCE):
            from rich.console import Console
            from rich.progress import Progress as Bar

            bar = Bar(console=Console(stderr=True), transient=True)
            task = bar.add_task(what, total=total)
            bar.start()
        if bar is not None:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()
