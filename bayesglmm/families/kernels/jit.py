"""Compilation of scalar row formulas into broadcasting array functions, cached on disk.

Modules whose row formulas are to be compiled (``rows_*.py``) import numba at the top and are imported only from
inside a kernel factory. numba's disk cache looks at the date of the file that holds the compiled function, not at
the helpers it calls: after editing ``special.py`` remove the ``__pycache__`` folders (``make clean``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any


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

    function = getattr(import_module(f"bayesglmm.families.kernels.{module}"), name)
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    n_out = sum(a.startswith("out_") for a in arguments)
    n_in = len(arguments) - n_out
    layout = ",".join(["()"] * n_in) + "->" + ",".join(["()"] * n_out)
    signature = (float64,) * n_in + (float64[:],) * n_out
    return guvectorize([signature], layout, cache=True)(function)
