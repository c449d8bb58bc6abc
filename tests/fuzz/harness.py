"""What every fuzzed input must do: end within a second, with a value or one of the package's errors, touching nothing.

An audit hook hears what Python runs, opens and contacts; it cannot be taken off again, so that a harness has a process
of its own.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayesglmm.errors import BayesGLMMError, BayesGLMMWarning

#: Seconds of processor time that one input may take.
PATIENCE = 1.0

#: Events that no formula and no model file may cause.
FORBIDDEN = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.",
    "ctypes.",
    "pickle.find_class",
    "webbrowser.",
)


class Trespass(Exception):  # noqa: N818 - what it is
    """An input did what no input may."""


class Watch:
    """Listens while an input is handled.

    Parameters
    ----------
    allowed : Path or None
        The one folder whose files may be opened.
    """

    def __init__(self, allowed: Path | None = None) -> None:
        self.allowed = None if allowed is None else str(allowed.resolve())
        self.listening = False
        self.heard = ""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event.startswith(FORBIDDEN):
            self.heard = f"{event} {arguments!r}"[:300]
        elif event == "open" and not self._may_open(arguments[0]):
            self.heard = f"open {arguments[0]!r}"

    def _may_open(self, path: Any) -> bool:
        text = str(path)
        # Modules that are imported at first use are Python's own doing.
        if text.endswith((".py", ".pyc", ".so")) or "__pycache__" in text or isinstance(path, int):
            return True
        return self.allowed is not None and str(Path(text).resolve()).startswith(self.allowed)

    def __call__(self, handle: Callable[[], Any]) -> str:
        """Handle one input; give the name of the error it ended with, or nothing.

        Raises
        ------
        Trespass
            When it took too long, or did something forbidden. Any other exception passes through: it is a finding too.
        """
        begin, ending, self.heard = time.process_time(), "", ""
        self.listening = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BayesGLMMWarning)
                handle()
        except BayesGLMMError as error:
            ending = type(error).__name__
        finally:
            self.listening = False
        if self.heard:
            raise Trespass(self.heard)
        if time.process_time() - begin > PATIENCE:
            raise Trespass(f"took {time.process_time() - begin:.1f} s")
        return ending
