"""One BLAS thread for the inner work: on many small blocks more threads only wait for each other."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    # Finding the libraries means reading the process's memory map: once is enough, but only after SciPy's own BLAS
    # has been loaded.
    import scipy.linalg.lapack  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> Any:
    """Context manager that holds BLAS to one thread.

    Examples
    --------
    >>> with one_thread():
    ...     pass
    """
    return _controller().limit(limits=1)
