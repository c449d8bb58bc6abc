"""Models that ship are found by name from anywhere: a checkout, or what an installation put under ``share/``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bayesglmm as bg
from bayesglmm.spec import shipped
from bayesglmm.study import load_study

ROOT = Path(__file__).parents[2]


def test_a_bare_name_is_a_model_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(bg.load_model("cbpp").formula) == str(bg.load_model(ROOT / "models" / "cbpp.toml").formula)
    assert load_study("breslow_clayton_d1", replicates=2).replicates == 2


def test_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shipped.models_folder() == Path("models")


def test_an_installation_has_them_under_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "site" / "share" / "bayesglmm" / "models"
    share.mkdir(parents=True)
    for name in ("dyestuff.toml", "data/dyestuff.csv"):
        (share / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "models" / name, share / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "HOME", tmp_path / "site")
    monkeypatch.setattr(shipped.sysconfig, "get_path", lambda name: str(tmp_path / "nothing" / name))
    assert shipped.models_folder() == share
    assert bg.load_model("dyestuff").fit("reml").nobs == 30


@pytest.mark.parametrize("name", ["cbp", "../models/cbpp", "cbpp.csv", "", 3])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(bg.SpecError, match=r"is not a model file: a (name|path) ending in .toml is expected"):
        bg.load_model(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(bg.SpecError, match="Did you mean 'cbpp'"):
        bg.load_model("cbp")
