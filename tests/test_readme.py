"""The README's example runs and prints what the README shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_example(tmp_path, monkeypatch):
    block = README.split("<!-- example:start -->")[1].split("<!-- example:end -->")[0]
    code, shown = (re.search(rf"```{kind}\n(.*?)```", block, re.DOTALL).group(1) for kind in ("python", "text"))
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    # Everything up to the status line is deterministic; below it are seconds and Monte-Carlo error.
    expected = shown.split("\nConverged")[0].splitlines()
    got = printed.getvalue().split("\nConverged")[0].splitlines()
    assert [line.rstrip() for line in got] == [line.rstrip() for line in expected]
    verdicts = [line.split()[0] for line in printed.getvalue().splitlines()[-5:]]
    assert verdicts == ["mql", "pql", "laplace", "agq", "mcmc"]
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    assert (tmp_path / "out/cbpp/report.html").exists()


def test_paths_and_commands_named_in_the_readme_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets
    linked = re.findall(r"\]\(([\w./-]+)\)", README) + re.findall(r"`(bayesglmm/[\w./]+)`", README)
    assert [p for p in linked if not (ROOT / p).exists()] == []
