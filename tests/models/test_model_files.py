"""Every model that ships loads, fits, and meets the numbers in its file."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from reference_data import reference

import bayesglmm as bg
from bayesglmm.spec import check_numbers, list_models, read_spec

FOLDER = Path(__file__).parents[2] / "models"
MODELS = list_models(FOLDER)
ENTRIES = [
    pytest.param(info.path, method, k, id=f"{info.name}-{method}-{k}")
    for info in MODELS
    for method, entries in read_spec(info.path).get("numbers", {}).items()
    for k in range(len(entries))
]


@cache
def model(path: Path, priors: str | None) -> bg.Model:
    return bg.load_model(path, priors=priors)


@cache
def fitted(path: Path, priors: str | None, method: str, options: tuple[tuple[str, Any], ...]) -> bg.Fit:
    with warnings.catch_warnings():
        # Shun & McCullagh's array has its maximum at a column variance of zero.
        warnings.simplefilter("ignore" if path.stem == "shun1995" else "error", bg.SingularFitWarning)
        return model(path, priors).fit(method, **dict(options))


@pytest.mark.parametrize(("path", "method", "k"), ENTRIES)
def test_a_fit_meets_the_numbers_of_its_file(path: Path, method: str, k: int) -> None:
    entry = read_spec(path)["numbers"][method][k]
    priors = entry.get("priors")
    fit = None if "at" in entry else fitted(path, priors, method, tuple(entry.get("options", {}).items()))
    checks = check_numbers(model(path, priors), method, entry, fit)
    assert checks
    missed = [c for c in checks if not c.met]
    assert not missed, "\n".join(map(str, missed))
    assert fit is None or fit.status.converged


@pytest.mark.parametrize("info", MODELS, ids=lambda info: info.name)
def test_every_model_fits_by_laplace_or_its_natural_method(info: Any) -> None:
    loaded = model(info.path, "flat")
    method = "laplace" if "laplace" in loaded.methods else loaded.natural_method
    fit = fitted(info.path, "flat", method, ())
    assert fit.status.converged
    assert set(fit.fixed.index) == set(loaded.design.columns)
    assert (fit.fixed["se"] > 0).all()


@pytest.mark.parametrize("info", MODELS, ids=lambda info: info.name)
def test_every_model_says_what_it_is(info: Any) -> None:
    about = read_spec(info.path)["about"]
    assert info.problem is None
    assert info.title != info.name
    assert all(len(about[key]) > 20 for key in ("teaches", "source", "licence", "citation"))


def test_the_models_asked_for_are_there() -> None:
    names = {info.name for info in MODELS}
    assert names >= {
        "cbpp", "epilepsy", "seeds", "contraception", "contraception_slope", "grouseticks", "verbagg", "sleepstudy",
        "ceb", "shun1995", "warpbreaks", "clotting", "budworm_logit", "budworm_probit", "budworm_cloglog", "quine",
        "dyestuff", "penicillin", "pastes", "machines", "bonds", "cake", "split_plot", "animal",
    }  # fmt: skip


def test_the_readme_names_every_model_and_data_file() -> None:
    text = (FOLDER / "README.md").read_text()
    for path in [*FOLDER.glob("*.toml"), *(FOLDER / "data").glob("*.csv*")]:
        assert f"`{path.name.split('.')[0]}`" in text, path.name


@pytest.mark.parametrize("info", MODELS, ids=lambda info: info.name)
def test_level_orders_are_those_of_the_reference_fits(info: Any) -> None:
    """Where a file gives a factor's levels, all of them are in the data and none is forgotten."""
    data = read_spec(info.path)["data"]
    name = Path(data["file"]).stem
    if name in ("seeds", "ceb", "lambs") or "categories" not in data:  # no reference fit, or another baseline
        return
    columns = reference(name)["columns"]
    for column, levels in data.get("categories", {}).items():
        assert levels == [str(v) for v in columns[column]["levels"]]


def test_a_check_fails_when_a_number_is_wrong() -> None:
    path = FOLDER / "ceb.toml"
    entry = read_spec(path)["numbers"]["irls"][0]
    wrong = {**entry, "coef": {**entry["coef"], "Intercept": entry["coef"]["Intercept"] + 1e-4}}
    checks = check_numbers(model(path, "flat"), "irls", wrong)
    assert [c.name for c in checks if not c.met] == ["Intercept"]
    with pytest.raises(bg.SpecError, match=r"no 'Intercep' under 'coef'. Did you mean 'Intercept'"):
        check_numbers(model(path, "flat"), "irls", {**entry, "coef": {"Intercep": 1.0}})
