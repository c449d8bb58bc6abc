"""Whatever ends a study, what was finished is kept, nothing is done twice, and the table is the undisturbed one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_cases import study
from test_study import same

import bayesglmm as bg
from bayesglmm.study import core
from bayesglmm.study.journal import Journal
from bayesglmm.study.replicate import Replicate

HERE = Path(__file__).parent


def started(path: Path, replicates: int, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "study_cases.py", str(path), str(replicates), str(workers)]
    return subprocess.Popen(command, cwd=HERE, stderr=subprocess.DEVNULL)


def records(path: Path) -> int:
    """Records that are committed, read without disturbing the writer."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM replicate").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


def killed_until_done(path: Path, replicates: int, workers: int, moments: int) -> tuple[int, list[int]]:
    """Kill the process at random moments of its work; how often, and what was finished each time."""
    rng = np.random.default_rng(11)
    kills, finished = 0, []
    while kills < moments:
        before = records(path)
        process = started(path, replicates, workers)
        wanted = before + int(rng.integers(1, max(2, (replicates - before) // (moments - kills + 1) + 1)))
        while process.poll() is None and records(path) < wanted:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0.0, 0.03)))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        finished.append(records(path))
    assert started(path, replicates, workers).wait() == 0
    return kills, finished


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_ten_random_moments(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "study.sqlite"
    kills, finished = killed_until_done(path, 400, workers, 10)
    assert kills == 10
    assert finished == sorted(finished)
    assert 0 < finished[0] < finished[-1]
    same(study(400).run(path, workers=1), study(400).run(workers=1))


def test_killed_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    kills, finished = killed_until_done(path, 60, 1, 1)
    assert kills == 1
    assert 0 < finished[0] < 60
    same(study(60).run(path, workers=1), study(60).run(workers=1))


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.sqlite"
    first = study(4).run(path, workers=1)
    done: list[tuple[int, int]] = []
    conduct = core.conduct

    def watched(task, places, executor, workers):
        done.extend(places)
        return conduct(task, places, executor, workers)

    monkeypatch.setattr(core, "conduct", watched)
    said: list[str] = []
    same(study(4).run(path, workers=1, tell=said.append), first)
    assert done == []
    assert said == [f"{path}: 4 finished replicates found."]
    study(6).run(path, workers=1)
    assert done == [(0, 4), (0, 5)]


def test_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    study(2).run(path, workers=1)
    for other in (study(2, seed=4), study(2, methods=["pql"]), study(2, options={"agq": {"nodes": 7}})):
        with pytest.raises(bg.BayesGLMMError, match="holds another study"):
            other.run(path, workers=1)
    same(study(2).run(path, workers=1), study(2).run(workers=1))


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    process = started(path, 2000, 1)
    try:
        while records(path) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(bg.BayesGLMMError, match=r"in use by another process|another process is running"):
            study(2000).run(path, workers=1)
    finally:
        process.kill()
        process.wait()


def damaged_last_record(path: Path) -> None:
    """Other bytes where the last record's content is."""
    connection = sqlite3.connect(path)
    text = connection.execute("SELECT content FROM replicate ORDER BY rowid DESC LIMIT 1").fetchone()[0]
    connection.close()
    content = path.read_bytes()
    at = content.index(text.encode()[:300])
    path.write_bytes(content[: at + 200] + b"7777" + content[at + 204 :])


@pytest.mark.parametrize("damage", ["last record", "cut off", "half", "zeros", "nonsense"])
def test_damage_is_said_and_done_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "study.sqlite"
    first = study(8, methods=["mql", "pql"]).run(path, workers=1)
    content = path.read_bytes()
    if damage == "last record":
        damaged_last_record(path)
    elif damage == "nonsense":
        path.write_bytes(b"this is not a database" * 400)
    elif damage == "zeros":
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    else:
        path.write_bytes(content[: -4096 if damage == "cut off" else len(content) // 2])
    said: list[str] = []
    again = study(8, methods=["mql", "pql"]).run(path, workers=1, tell=said.append)
    same(again, first)
    assert "damaged records were left out and are done again" in said[0]
    assert (tmp_path / "study.sqlite.damaged").exists()
    if damage == "last record":
        assert "7 finished replicates found" in said[0]
    if damage == "cut off":
        found = int(said[0].split("finished")[0].split()[-1])
        assert 1 <= found < 8, "what stands before the cut is not lost"
        assert "4096 bytes at its end are missing" in said[0]
    assert records(path) == 8


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Journal(path, "me") as journal:
        size = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        # SQLite then says what it says of a full disk.
        journal._connection.execute(f"PRAGMA max_page_count = {size + 2}")
        many = [Replicate(0, k, failure="x" * 1000) for k in range(100)]
        with pytest.raises(bg.BayesGLMMError, match=r"disk is full.* replicates are kept there; make room and run"):
            list(map(journal.add, many))
        kept = len(journal.finished)
    assert 0 < kept < 100
    with Journal(path, "me") as journal:
        assert sorted(journal.finished) == [(0, k) for k in range(kept)]
        assert journal.said == f"{kept} finished replicates found"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(bg.BayesGLMMError, match="cannot be made"):
        study(2).run(tmp_path / "file" / "study.sqlite")


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.sqlite"
    conduct = core.conduct

    def interrupted(task, places, executor, workers):
        for k, replicate in enumerate(conduct(task, places, executor, workers)):
            if k == 3:
                raise KeyboardInterrupt
            yield replicate

    with monkeypatch.context() as patch:
        patch.setattr(core, "conduct", interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"3 of 8 replicates are kept in .*; run the same study again"):
            study(8).run(path, workers=1)
        with pytest.raises(KeyboardInterrupt, match="none were kept: give a path"):
            study(8).run(workers=1)
    same(study(8).run(path, workers=1), study(8).run(workers=1))


def test_workers_end_with_the_process_that_conducts(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    process = started(path, 5000, 2)
    try:
        while records(path) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    end = time.monotonic() + 20.0
    while any(os.path.exists(f"/proc/{pid}") for pid in children):
        assert time.monotonic() < end, "workers outlive the study"
        time.sleep(0.05)
    assert len(children) >= 2


def test_the_command_line_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bayesglmm", "study", "models/breslow_clayton_d1.toml", "--methods", "pql"]
    command += ["--replicates", "2", "--workers", "1", "--out", str(tmp_path)]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert "8 finished replicates found" in second.stderr
    assert first.stdout == second.stdout
    assert "Beside the published table" in first.stdout
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["n"].eq(2).all()
    assert (tmp_path / "report.html").exists()


def test_cores_are_counted_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    from bayesglmm.study.conduct import _cores

    assert _cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert _cores() == os.cpu_count()
