"""Nested Laplace against long NUTS runs (R-hat below 1.005, effective sizes above 4,000) of shipped models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from posterior_cases import CASES

from bayesglmm.marginals import marginals

ROOT = Path(__file__).parents[2]
#: Models of seconds; the rest, and the other approximations, are in ``benchmarks/bench_posterior.py``.
FAST = ("seeds", "cbpp", "ohio", "contraception", "shun1995", "epilepsy", "sleepstudy")
SLOW = ("contraception_slope", "salamanders", "owls")
NAMES = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", NAMES)
def test_means_and_sds_are_those_of_nuts(name: str) -> None:
    truth = json.loads((ROOT / "benchmarks" / "references" / f"{name}.json").read_text())
    fit = CASES[name]().fit("inla")
    found = marginals(fit.model.problem, fit.result)
    rows = truth["parameters"]
    assert set(rows) == set(found)
    for parameter, row in rows.items():
        bias = (found[parameter].estimate - row["mean"]) / row["sd"]
        limit = 0.05 if row["kind"] == "fixed" else 0.1
        assert abs(bias) < limit + 2.0 * row["mcse"] / row["sd"], parameter
        assert found[parameter].sd / row["sd"] == pytest.approx(1.0, abs=0.08), parameter
        ends = found[parameter].quantiles(np.array([0.025, 0.975]))
        apart = (ends - np.array(row["quantiles"])[[0, -1]]) / row["sd"]
        assert np.abs(apart).max() < 0.25, parameter
    for k, block in enumerate(fit.model.design.blocks):
        mean, sd = (np.array(truth["effects"][block.group][part]) for part in ("mean", "sd"))
        assert np.abs((fit.result.effects[k] - mean) / sd).max() < 0.06
        np.testing.assert_allclose(fit.result.effects_sd[k] / sd, 1.0, atol=0.05)
