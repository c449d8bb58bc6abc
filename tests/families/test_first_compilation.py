"""Two processes that compile a kernel for the first time at the same moment leave a cache that works."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from bayesglmm.families.kernels import jit

ROOT = Path(__file__).parents[2]
#: Compiles another formula first when told to: the names numba gives then differ between the processes.
SCRIPT = """
import sys
import numpy as np
from bayesglmm.families.kernels.jit import compiled
if sys.argv[1] == "late":
    compiled("rows_logs", "cloglog")
if sys.argv[1] != "after":
    sys.stdin.readline()
rows = compiled("rows_binomial", "probit")
print([float(x[0]) for x in rows(*[np.array([0.3])] * rows.nin)])
"""


def start(which: str, cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, which], env=environment, **pipes)


def test_two_processes_compile_at_the_same_moment(tmp_path: Path) -> None:
    racers = [start(which, tmp_path) for which in ("early", "late")]
    said = [r.communicate("go\n", timeout=120)[0] for r in racers]
    after = start("after", tmp_path)
    said.append(after.communicate(timeout=120)[0])
    assert [r.returncode for r in (*racers, after)] == [0, 0, 0]
    assert len(set(said)) == 1
    assert said[0].startswith("[-0.0399161681")


def test_compilation_waits_for_whoever_compiles(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "bayesglmm.lock")
    with lock:
        waiting = start("after", tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.communicate(timeout=6)
    assert waiting.communicate(timeout=120)[0].startswith("[-0.0399161681")


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with jit._one_at_a_time():
        (lock,) = tmp_path.glob("bayesglmm-*.lock")
        with pytest.raises(Timeout):
            FileLock(lock).acquire(timeout=0)
    FileLock(lock).acquire(timeout=0).lock.release()
