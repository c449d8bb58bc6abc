"""Strangers' formulas and options: refused, quickly, and nothing was run, opened, imported or contacted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import ARGUMENTS, FORMULAS

ROOT = Path(__file__).parents[2]

# The few that mean something harmless: x*x*... is x, and (x + r)**k is x*r from k = 2 on.
HARMLESS = {"y ~ " + "x*" * 40 + "x", "y ~ (x + r)**999999999", "y ~ " + "x + " * 50_000 + "x"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "secret.csv").write_text("y,x\nTOPSECRET,1\n")
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "TOPSECRET" not in done.stdout + done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["secret.csv"], "a hostile text left something behind"
    return json.loads(done.stdout)


def ids(texts: list[Any]) -> list[str]:
    return [f"{k}-{str(t)[:40]!a}" for k, t in enumerate(texts)]


def check(outcome: dict[str, Any]) -> None:
    assert not outcome["heard"], outcome["heard"][:3]
    assert not outcome["outcome"].startswith("LEAK"), (outcome["outcome"], outcome["message"])
    assert outcome["seconds"] < 1.0
    assert len(outcome["message"]) < 1000


@pytest.mark.parametrize("k", range(len(FORMULAS)), ids=ids(FORMULAS))
def test_a_hostile_formula_is_refused(outcomes: dict[str, list[dict[str, Any]]], k: int) -> None:
    outcome = outcomes["formulas"][k]
    check(outcome)
    if FORMULAS[k] in HARMLESS:
        assert outcome["outcome"] in ("accepted", "FormulaError")
    else:
        assert outcome["outcome"] in ("FormulaError", "DataError"), outcome


@pytest.mark.parametrize("k", range(len(ARGUMENTS)), ids=ids(ARGUMENTS))
def test_a_hostile_option_is_refused(outcomes: dict[str, list[dict[str, Any]]], k: int) -> None:
    outcome = outcomes["arguments"][k]
    check(outcome)
    assert outcome["outcome"] in ("DataError", "FamilyError", "SpecError", "MethodError"), outcome


def test_the_listener_hears() -> None:
    """The hook reports what a hostile text would do, so that silence means something."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hostile; heard = []\n"
        "sys.addaudithook(lambda event, args: heard.append(event) if event.startswith(hostile.LISTEN) else None)\n"
        "eval('1'); open(sys.argv[1] + '/hostile.py').close(); __import__('os').system('true')\n"
        "print(*heard)"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True, timeout=60)
    assert {"exec", "open", "os.system"} <= set(done.stdout.split())


def test_a_column_may_be_called_anything() -> None:
    """Names are names: a column whose name is code is a column."""
    import numpy as np
    import pandas as pd

    import bayesglmm as bg

    name = "__import__('os').system('touch CANARY')"
    data = pd.DataFrame({"y": [1, 3, 2, 5, 4, 6], name: np.arange(6.0)})
    model = bg.Model(f"y ~ `{name}`", data, family="poisson", priors="flat")
    assert model.design.X[:, 1].tolist() == list(range(6))
    assert not Path("CANARY").exists()
