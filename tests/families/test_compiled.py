"""Compilation: numba only when a kernel asks for it, once per machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import numpy as np
from bayesglmm.families import get_family
assert "numba" not in sys.modules, "importing the families loaded numba"
for name, link in (("gaussian", "identity"), ("binomial", "logit"), ("poisson", "log")):
    kernel = get_family(name).kernel(link)(np.ones(2), None, None)
    kernel.derivatives(np.zeros(2), np.zeros(kernel.n_aux))
    assert "numba" not in sys.modules, f"the kernel of {name} loaded numba"
for name, link in (("binomial", "probit"), ("binomial", "cloglog"), ("negative_binomial", "log")):
    kernel = get_family(name).kernel(link)(np.array([0.0, 1.0]), None, None)
    kernel.derivatives(np.zeros(2), np.zeros(kernel.n_aux))
    kernel.aux_derivatives(np.zeros(2), np.zeros(kernel.n_aux))
assert not {"pymc", "pytensor", "arviz"} & set(sys.modules)
"""


def run(cache: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"NUMBA_CACHE_DIR": str(cache), "NUMBA_DEBUG_CACHE": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert first.count("data saved") >= 4, first
    assert "data saved" not in second, second
    assert second.count("data loaded") >= 4, second
