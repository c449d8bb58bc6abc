"""A pedigree in a table beside the model file: what it gives, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

MODEL = """
[model]
formula = "y ~ 1 + (1 | calf)"
family = "gaussian"

[data]
file = "d.csv"

[covariance.calf]
pedigree = { file = "p.csv", id = "id", sire = "s", dam = "d" }
"""
PEDIGREE = "id,s,d\n1,,\n2,0,0\n3,NA,\n4,1,2\n5,3,2\n6,1,4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d.csv").write_text("y,calf\n1.5,4\n2.5,5\n2.0,6\n3.1,3\n")
    (tmp_path / "p.csv").write_text(PEDIGREE)
    (tmp_path / "m.toml").write_text(MODEL)
    return tmp_path


def test_it_is_the_model_with_that_pedigree(folder: Path) -> None:
    model = bg.load_model(folder / "m.toml")
    family = pd.DataFrame({"id": list("123456"), "s": ["", "", "", "1", "3", "1"], "d": ["", "", "", "2", "2", "4"]})
    known = bg.pedigree(family, id="id", sire="s", dam="d")
    same = bg.Model("y ~ 1 + (1 | calf)", pd.read_csv(folder / "d.csv"), covariance={"calf": known})
    assert model.design.blocks[0].levels == same.design.blocks[0].levels
    ours, theirs = (m.problem.covariance[0].precision.toarray() for m in (model, same))
    np.testing.assert_allclose(ours, theirs)
    # The relationship of 6 (a daughter of 1 with her own daughter) is inbred: A has 1.25 on its diagonal.
    A = np.linalg.inv(ours)
    at = list(model.design.blocks[0].levels).index("6")
    assert A[at, at] == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"p.csv"', '"../p.csv"', r"covariance\.calf\.pedigree: .*leads out of the model file's folder"),
        ('"p.csv"', '"/etc/passwd"', "absolute path"),
        ('"p.csv"', '"nowhere.csv"', "does not exist"),
        ('"p.csv"', '"p.py"', "the kinds a model file can name"),
        ('sire = "s"', 'sire = "q"', r"covariance\.calf\.pedigree: .*'q'"),
        (', dam = "d"', "", "'dam' is required"),
        ('dam = "d"', 'dam = "d", code = "x"', "unknown key 'code'"),
        ("pedigree =", "kinship =", "unknown key 'kinship'"),
        ('dam = "d"', "dam = 3", "expected a non-empty text"),
    ],
)
def test_what_a_file_may_not_say(folder: Path, old: str, new: str, words: str) -> None:
    (folder / "m.toml").write_text(MODEL.replace(old, new))
    with pytest.raises(bg.SpecError, match=words):
        bg.load_model(folder / "m.toml")


def test_a_pedigree_that_is_none_is_refused_as_data(folder: Path) -> None:
    (folder / "p.csv").write_text(PEDIGREE.replace("4,1,2", "4,6,2"))
    with pytest.raises(bg.DataError, match="has a loop"):
        bg.load_model(folder / "m.toml")
    (folder / "p.csv").write_text(PEDIGREE.replace("3,NA,\n", ""))
    with pytest.raises(bg.DataError, match="3"):
        bg.load_model(folder / "m.toml")
