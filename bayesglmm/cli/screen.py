"""The two consoles: results go to standard output, progress, warnings and errors to standard error."""

from __future__ import annotations

import os
import sys

from rich.console import Console

#: Width of what is written to a file or a pipe, unless COLUMNS says otherwise.
PIPE_WIDTH = 120


def make_console(*, stderr: bool = False) -> Console:
    """A console whose tables are not squeezed when nobody watches."""
    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=PIPE_WIDTH if piped else None, highlight=False)


out = make_console()
err = make_console(stderr=True)
