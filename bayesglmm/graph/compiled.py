"""Compiling PyTensor graphs quietly, by the back end that costs least."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pymc as pm
import pytensor
from pytensor.compile.mode import Mode


def c_mode() -> Mode | str:
    """C code where there is a compiler, else numba.

    Measured on 2 cores: the C back end compiles the kernels of :mod:`bayesglmm.graph.kernel` in a third of numba's
    time, keeps them on disk for the next process, and runs them as fast. BLAS rewrites are left out: PyTensor warns
    about a missing BLAS library, and no matrix products are compiled here.
    """
    if not pytensor.config.cxx:
        return "NUMBA"
    return Mode(linker="cvm", optimizer="fast_run").excluding("blas", "BlasOpt")


def compile_quietly(inputs: Sequence[Any], outputs: Any, mode: Any = None, **options: Any) -> Any:
    """Compile with PyMC's rewrites; PyTensor's remarks on the machine (no BLAS found) are not the user's concern."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        return pm.pytensorf.compile(inputs, outputs, mode=mode or c_mode(), **options)
