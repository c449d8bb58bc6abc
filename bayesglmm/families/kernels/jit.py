"""Compilation of scalar row formulas into broadcasting array functions, cached on disk.

Modules whose row formulas are to be compiled (``rows_*.py``) import numba at the top and are imported only from
inside a kernel factory. numba's disk cache looks at the date of the file that holds the compiled function, not at
the helpers it calls from ``special.py``: a checksum of that file is made part of the cached name. It keeps a function
and its ufunc wrapper in two files, and the wrapper knows the function by a name that differs from process to process:
files of two processes that compile at the same time must not be mixed (a call would be a segmentation fault), so that
one process at a time reads and writes them.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

_HERE = "bayesglmm.families.kernels"


@cache
def _helpers() -> str:
    return f"{zlib.crc32(Path(__file__).with_name('special.py').read_bytes()):08x}"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock beside numba's cache, or, where nothing can be written there, in the folder for temporary files."""
    from filelock import FileLock

    beside = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent / "__pycache__")
    lock = FileLock(beside / "bayesglmm.lock")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):  # read-only, or a file system without locks
        lock = FileLock(Path(tempfile.gettempdir()) / f"bayesglmm-{Path.home().name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@cache
def compiled(module: str, name: str) -> Callable[..., Any]:
    """The row formula `name` of ``bayesglmm.families.kernels.<module>`` as a NumPy generalized ufunc.

    Parameters
    ----------
    module, name : str
        Where the scalar function is. Its last arguments, those whose names start with ``out_``, are outputs (arrays
        of one element); all others are floats.

    Returns
    -------
    callable
        Takes the inputs, broadcast against each other, and returns the outputs.
    """
    from numba import float64, guvectorize

    found = getattr(import_module(f"{_HERE}.{module}"), name)
    function = FunctionType(found.__code__, found.__globals__, name)
    function.__module__ = found.__module__
    function.__qualname__ = f"{name}_{_helpers()}"
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    n_out = sum(a.startswith("out_") for a in arguments)
    n_in = len(arguments) - n_out
    layout = ",".join(["()"] * n_in) + "->" + ",".join(["()"] * n_out)
    signature = (float64,) * n_in + (float64[:],) * n_out
    with _one_at_a_time():
        return guvectorize([signature], layout, cache=True)(function)
