"""The simulated births in families in communities: the script makes the file, and each method errs as it should."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bayesglmm as bg

FOLDER = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("made", FOLDER / "scripts" / "rodriguez_goldman.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fits() -> dict[str, bg.Fit]:
    model = bg.load_model(FOLDER / "rodriguez_goldman.toml", priors="flat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.SingularFitWarning)  # MQL ends at a family variance of zero
        return {m: model.fit(m, **({"nodes": 11} if m == "agq" else {})) for m in ("mql", "pql", "laplace", "agq")}


def estimates(fit: bg.Fit) -> np.ndarray:
    return np.append(fit.fixed["estimate"], fit.varcomp["sd"])


def test_the_script_writes_the_file_byte_for_byte(script: Any) -> None:
    text = script.simulate().to_csv(index=False, lineterminator="\n")
    assert text.encode() == script.FILE.read_bytes()


def test_sizes_are_those_of_the_survey(script: Any) -> None:
    data = script.simulate()
    assert data["community"].nunique() == 161
    assert data["mother"].nunique() == 1558
    assert len(data) == 2415
    assert (data.groupby("mother")["community"].nunique() == 1).all()


def test_mql_is_worst_pql_biased_and_quadrature_near_the_truth(fits: dict[str, bg.Fit], script: Any) -> None:
    truth = np.array(list(script.TRUTH.values()))
    error = {m: estimates(f) - truth for m, f in fits.items()}
    assert list(fits["agq"].fixed.index) == list(script.TRUTH)[:4]
    size = {m: np.sqrt(np.mean(e**2)) for m, e in error.items()}
    assert size["mql"] > 1.3 * size["pql"] > 1.3 * 1.3 * size["laplace"] > 1.3 * 1.3 * 1.3 * size["agq"]
    se = np.append(fits["agq"].fixed["se"], fits["agq"].varcomp["se"])
    assert (np.abs(error["agq"]) < 2.0 * se).all()
    assert (error["mql"][1:4] < -0.14).all()
    assert (error["pql"][1:4] < -0.06).all()
    assert fits["mql"].varcomp["sd"][1] == 0.0
    assert fits["pql"].varcomp["sd"][1] < 0.4
    assert 0.5 < fits["laplace"].varcomp["sd"][1] < 0.65


def test_the_laplace_fit_says_that_it_is_poor(fits: dict[str, bg.Fit]) -> None:
    assert "the Laplace approximation is poor here" in str(fits["laplace"].status)
    assert fits["agq"].status.notes == ()
