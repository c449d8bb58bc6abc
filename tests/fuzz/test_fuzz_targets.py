"""The fuzzers' targets on their seeds and on damaged ones, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

RUN = """
import sys
import numpy as np
import targets

handle, seeds = targets.TARGETS[sys.argv[1]]()
rng = np.random.default_rng(7)
endings = [handle(s) for s in seeds]
for seed in seeds[: int(sys.argv[2])]:
    for _ in range(int(sys.argv[3])):
        content = bytearray(seed)
        for _ in range(rng.integers(1, 6)):
            kind, at = rng.integers(3), int(rng.integers(len(content)))
            if kind == 0:
                content[at] = rng.integers(256)
            elif kind == 1:
                del content[at : at + int(rng.integers(1, 9))]
            else:
                other = seeds[rng.integers(len(seeds))]
                start = int(rng.integers(len(other)))
                content[at:at] = other[start : start + int(rng.integers(1, 20))]
            content = content or bytearray(b"y")
        endings.append(handle(bytes(content)))
print(len(endings), sum(not e for e in endings))
"""


CASES = [("formula", 30, 20), ("model_file", 6, 30), ("saved_fit", 1, 40)]


@pytest.mark.parametrize(("target", "seeds", "times"), CASES)
def test_damaged_seeds_end_well(target: str, seeds: int, times: int) -> None:
    command = [sys.executable, "-c", RUN, target, str(seeds), str(times)]
    out = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    handled, accepted = map(int, out.stdout.split())
    assert handled > seeds
    assert accepted > 0


def test_the_watch_hears_trespasses(tmp_path: Path) -> None:
    code = """
import socket, subprocess, sys, time
from harness import Trespass, Watch
watch = Watch()
bad = [
    lambda: open(sys.argv[1], "w"),
    lambda: subprocess.run(["true"]),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=0.1),
    lambda: [k for k in range(10**9) if time.process_time() > t0 + 1.2 and 1 / 0],
]
for act in bad:
    t0 = time.process_time()
    try:
        watch(act)
    except Trespass as error:
        print(str(error).split()[0])
    except Exception as error:
        print(type(error).__name__, watch.heard.split()[0] if watch.heard else "")
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], cwd=HERE, capture_output=True, text=True, check=True
    ).stdout
    assert out.split("\n")[:3] == ["open", "subprocess.Popen", "ConnectionRefusedError socket.connect"]
