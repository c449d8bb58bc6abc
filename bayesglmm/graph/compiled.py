"""Compiling PyTensor graphs quietly, by the back end that costs least."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytensor
from pymc.logprob.utils import local_remove_check_parameter
from pytensor.compile.mode import Mode
from pytensor.graph.rewriting.basic import in2out
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.graph.rewriting.utils import rewrite_graph

#: Merging and the rewrites that keep log(1 − sigmoid(x)) and the like exact, but no fusion: fused loops run three times
#: faster, and each takes the C compiler seconds, where single operations are shared by every family and kept on disk.
_REWRITES = RewriteDatabaseQuery(include=["merge", "stabilize", "useless"])


def elementwise_mode(large: bool) -> Mode:
    """How to run a function that works entry by entry.

    Measured on 2 cores (value and three η-derivatives): numpy calls are ready in 0.1 to 0.8 s and take 1 to 7 ms for
    200 rows, but 0.1 to 3 s for 100,000; C operations take up to 20 s to compile the first time on a machine and 0.5 s
    later, and 20 to 100 ms for 100,000 rows. Numba and fused C functions take 5 to 50 s to compile per family and link.

    Parameters
    ----------
    large : bool
        Whether there are rows enough for C code to pay.
    """
    return Mode(linker="vm" if large and pytensor.config.cxx else "py", optimizer=_REWRITES)


def without_checks(graph: Any) -> Any:
    """Remove PyMC's assertions on parameters: they hold or fail for all rows at once, and a row is to fail alone."""
    return rewrite_graph(graph, include=(), custom_rewrite=in2out(local_remove_check_parameter))


def compile_quietly(inputs: Sequence[Any], outputs: Any, mode: Any, **options: Any) -> Any:
    """Compile; PyTensor's remarks on the machine (no BLAS found) are not the user's concern."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        return pytensor.function(inputs, outputs, mode=mode, **options)
