"""Strangers' model files: no file outside their folder is opened, nothing is run, no network reached, nothing hangs."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bayesglmm as bg
from bayesglmm.spec import files, list_models

ROOT = Path(__file__).parents[2]
TABLE = "y,x\n" + "\n".join(f"{k % 5},{k}" for k in range(20)) + "\n"
MODEL = '[model]\nformula = "y ~ x"\nfamily = "poisson"\n[data]\nfile = {file}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stranger's folder, with something of ours beside it."""
    (tmp_path / "secret.csv").write_text(TABLE.replace("y,x", "y,x").replace("0,0", "4,77"))
    stranger = tmp_path / "stranger"
    (stranger / "data").mkdir(parents=True)
    (stranger / "d.csv").write_text(TABLE)
    (stranger / "data" / "d.csv").write_text(TABLE)
    return stranger


def load(folder: Path, file: str) -> bg.Model:
    path = folder / "m.toml"
    path.write_text(MODEL.format(file=json.dumps(file)))
    return bg.load_model(path)


@pytest.mark.parametrize("file", ["d.csv", "data/d.csv", "./d.csv", "data/./d.csv"])
def test_files_inside_are_read(folder: Path, file: str) -> None:
    assert load(folder, file).design.nobs == 20


OUTSIDE = [
    "../secret.csv",
    "data/../../secret.csv",
    "data/../d.csv",
    "..",
    "../../../../../../../../etc/passwd",
    "..\\secret.csv",
    "data\\..\\..\\secret.csv",
    "/etc/passwd",
    "/etc/hosts.csv",
    "//server/share/d.csv",
    "\\\\server\\share\\d.csv",
    "C:\\d.csv",
    "C:d.csv",
    "C:/d.csv",
    "~/d.csv",
    "~root/d.csv",
    "$HOME/d.csv",
    "%HOME%/d.csv",
    "file:///etc/passwd",
    "file://d.csv",
    "http://127.0.0.1:9/d.csv",
    "https://127.0.0.1:9/d.csv.gz",
    "ftp://127.0.0.1/d.csv",
    "s3://bucket/d.csv",
    "gs://bucket/d.csv",
    "memory://d.csv",
    "zip://d.csv::d.csv",
    "data:text/csv,y,x.csv",
    "d.csv\0.csv",
    "d.csv\n",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "d.pkl",
    "d.pickle",
    "d.parquet",
    "d.h5",
    "d.xlsx",
    "d.npy",
    "d.py",
    "d.csv.bz2",
    "d.csv.xz",
    "d.csv.zip",
    "d.txt",
    "data",
    "data/",
    ".",
    "none.csv",
    "d.csv/",
    "d.csv/x.csv",
    "a" * 5000 + ".csv",
    "a/" * 2000 + "d.csv",
]


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: ascii(file)[:40])
def test_files_outside_and_of_other_kinds_are_refused(folder: Path, file: str) -> None:
    start = time.process_time()
    with pytest.raises(bg.SpecError, match=r"data\.file"):
        load(folder, file)
    assert time.process_time() - start < 1.0


def test_a_link_out_is_refused_and_a_link_inside_is_read(folder: Path) -> None:
    (folder / "out.csv").symlink_to(folder.parent / "secret.csv")
    (folder / "passwd.csv").symlink_to("/etc/passwd")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "broken.csv").symlink_to("nothing.csv")
    (folder / "in.csv").symlink_to("data/d.csv")
    for file in ("out.csv", "passwd.csv", "up/secret.csv"):
        with pytest.raises(bg.SpecError, match="link that leads out"):
            load(folder, file)
    for file in ("loop.csv", "broken.csv"):
        with pytest.raises(bg.SpecError, match="does not exist"):
            load(folder, file)
    assert load(folder, "in.csv").design.nobs == 20


def test_a_folder_reached_through_a_link_still_holds_its_files(folder: Path) -> None:
    link = folder.parent / "shortcut"
    link.symlink_to(folder)
    load(folder, "d.csv")
    assert bg.load_model(link / "m.toml").design.nobs == 20


def test_pipes_and_devices_are_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    os.mkfifo(folder / "pipe.toml")
    start = time.process_time()
    with pytest.raises(bg.SpecError, match="not a regular file"):
        load(folder, "pipe.csv")
    with pytest.raises(bg.SpecError, match="not a regular file"):
        bg.load_model(folder / "pipe.toml")
    assert time.process_time() - start < 1.0
    assert next(m for m in list_models(folder) if m.name == "pipe").problem


def test_archives_that_explode_are_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_DATA_BYTES", 2**20)
    with gzip.open(folder / "bomb.csv.gz", "wb") as stream:
        for _ in range(64):
            stream.write(b"0" * 2**20)
    with pytest.raises(bg.SpecError, match="unpacks to more than 1 MiB"):
        load(folder, "bomb.csv.gz")
    (folder / "big.csv").write_bytes(b"0" * (2**20 + 1))
    with pytest.raises(bg.SpecError, match="larger than 1 MiB"):
        load(folder, "big.csv")


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", b"\x1f\x8b\x08\x00", gzip.compress(TABLE.encode(), mtime=0)[:-9]],
    ids=["empty", "text", "header only", "cut short"],
)
def test_archives_that_are_none(folder: Path, content: bytes) -> None:
    (folder / "bad.csv.gz").write_bytes(content)
    with pytest.raises((bg.SpecError, bg.DataError), match=r"not a readable gzip|is empty"):
        load(folder, "bad.csv.gz")


def test_a_secret_does_not_leak_through_messages(folder: Path) -> None:
    """A model file that is a link to some other file says what is wrong with it, not what is in it."""
    (folder.parent / "private.toml").write_text("password = hunter2 hunter2\n")
    (folder / "evil.toml").symlink_to(folder.parent / "private.toml")
    with pytest.raises(bg.SpecError) as caught:
        bg.load_model(folder / "evil.toml")
    assert "hunter2" not in str(caught.value)


WATCH = """
import json, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import hostile
import bayesglmm as bg
import bayesglmm.methods.agq
folder = Path(sys.argv[1])
warnings.simplefilter("ignore")
bg.load_model(folder / "good.toml")
bg.load_model(folder / "good.toml", priors="flat")
heard, listening = [], False
def hook(event, args):
    wrapped = event == "open" and isinstance(args[0], int)  # a descriptor that is open already
    if listening and event.startswith(hostile.LISTEN) and not wrapped:
        heard.append([event, str(args[0]) if args else ""])
sys.addaudithook(hook)
out = {}
for path in sorted(folder.glob("*.toml")):
    heard.clear()
    listening = True
    try:
        bg.load_model(path)
        result = "loaded"
    except bg.BayesGLMMError as error:
        result = type(error).__name__
    except BaseException as error:
        result = "LEAK " + type(error).__name__
    listening = False
    out[path.name] = [result, list(heard)]
print(json.dumps(out))
"""
EVIL = "__import__('os').system('touch CANARY')"
EVIL_FILES: dict[str, str] = {
    "formula": f'[model]\nformula = "y ~ {EVIL}"\nfamily = "poisson"\n[data]\nfile = "d.csv"\n',
    "family": f'[model]\nformula = "y ~ x"\nfamily = "{EVIL}"\n[data]\nfile = "d.csv"\n',
    "link": f'[model]\nformula = "y ~ x"\nfamily = "poisson"\nlink = "{EVIL}"\n[data]\nfile = "d.csv"\n',
    "offset": f'[model]\nformula = "y ~ x"\nfamily = "poisson"\noffset = "{EVIL}"\n[data]\nfile = "d.csv"\n',
    "column": f'[model]\nformula = "y ~ `{EVIL}`"\nfamily = "poisson"\n[data]\nfile = "evil_header.csv"\n',
    "cells": '[model]\nformula = "y ~ x"\nfamily = "poisson"\n[data]\nfile = "evil_cells.csv"\n',
    "url": MODEL.format(file='"http://127.0.0.1:9/d.csv"'),
    "outside": MODEL.format(file='"../secret.csv"'),
    "link_out": MODEL.format(file='"out.csv"'),
    "prior": MODEL.format(file='"d.csv"') + f'[priors]\nx = {{ dist = "{EVIL}" }}\n',
    "prior_attribute": MODEL.format(file='"d.csv"') + '[priors]\nx = { dist = "__class__" }\n',
    "prior_pymc": MODEL.format(file='"d.csv"') + '[priors]\nx = { dist = "CustomDist" }\n',
    "family_option": MODEL.format(file='"d.csv"') + f'[family_options]\nvariance = "{EVIL}"\n',
    "quasi": '[model]\nformula = "y ~ x"\nfamily = "quasi"\n[data]\nfile = "d.csv"\n'
    + f'[family_options]\nvariance = "{EVIL}"\n',
    "method": MODEL.format(file='"d.csv"') + "[fit.os]\nsystem = 'touch CANARY'\n",
    "option": MODEL.format(file='"d.csv"') + f'[fit.agq]\nkernel = "{EVIL}"\n',
    "about": MODEL.format(file='"d.csv"') + f'[about]\nsource = "<script>{EVIL}</script>"\n',
    "python": "import os\nos.system('touch CANARY')\n",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each hostile model file does, as heard by Python's audit hook in a process of its own."""
    home = tmp_path_factory.mktemp("watched")
    (home / "secret.csv").write_text(TABLE)
    folder = home / "stranger"
    folder.mkdir()
    (folder / "d.csv").write_text(TABLE)
    (folder / "evil_header.csv").write_text(TABLE.replace("x", f'"{EVIL}"', 1))
    (folder / "evil_cells.csv").write_text(TABLE.replace("1,1", f'1,"=cmd|{EVIL}"', 1))
    (folder / "out.csv").symlink_to(home / "secret.csv")
    (folder / "good.toml").write_text(MODEL.format(file='"d.csv"'))
    for name, text in EVIL_FILES.items():
        (folder / f"{name}.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(folder), str(Path(__file__).parent)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(home.rglob("CANARY"))
    return {"folder": folder, "files": json.loads(done.stdout)}


@pytest.mark.parametrize("name", ["good", *EVIL_FILES])
def test_nothing_is_run_and_only_the_folder_is_read(watched: dict[str, Any], name: str) -> None:
    result, heard = watched["files"][f"{name}.toml"]
    assert result in ("loaded", "SpecError", "FormulaError", "DataError", "FamilyError", "MethodError"), result
    for event, argument in heard:
        assert event == "open", (event, argument)
        assert Path(argument).resolve().is_relative_to(watched["folder"].resolve()), argument
    harmless = name in ("good", "column", "about", "option")
    assert (result == "loaded") == harmless or name == "cells", result


def test_names_and_texts_are_escaped_in_html(folder: Path) -> None:
    evil = "<script>alert(1)</script>"
    (folder / "d.csv").write_text(TABLE.replace("y,x", f"y,{evil}"))
    path = folder / "m.toml"
    path.write_text(MODEL.format(file='"d.csv"').replace("y ~ x", f"y ~ `{evil}`"))
    fit = bg.load_model(path, priors="flat").fit("irls")
    assert evil in fit.fixed.index
    assert "<script>" not in fit._repr_html_()
