"""Where scoring starts, and how its steps are bent, changes the number of passes and never the answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg
from bayesglmm.design import inspection
from bayesglmm.families import get_family
from bayesglmm.scores import chunked, rows
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.scoring import score_equations
from bayesglmm.scores.solve import require_factor
from bayesglmm.scores.sums import sweep
from bayesglmm.scores.surrogate import bent_steps

ROWS, GROUP = 6_000, 300


@pytest.fixture(autouse=True)
def few_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "FIRST_LOOK_ROWS", 1_000)
    monkeypatch.setattr(inspection, "SAMPLE_ROWS", 300)
    monkeypatch.setattr(inspection, "CHUNK_VALUES", 1)
    monkeypatch.setattr(inspection, "SAMPLE_ROWS_PER_COLUMN", 100)
    monkeypatch.setattr(chunked, "MANY_ROWS", 1_000)


def table(seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"x": rng.normal(size=ROWS), "z": rng.random(ROWS), "t": rng.normal(size=ROWS)})
    eta = 0.4 + 0.6 * data.x - 0.5 * data.z + 0.2 * data.x * data.z
    data["count"] = rng.poisson(np.exp(eta)).astype(float)
    data["hit"] = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    data["size"] = rng.integers(1, 9, ROWS)
    data["hits"] = rng.binomial(data["size"], 1.0 / (1.0 + np.exp(-eta)))
    data["amount"] = rng.gamma(3.0, np.exp(eta))
    data["level"] = eta + rng.normal(size=ROWS)
    data["over"] = rng.negative_binomial(2.0, 1.0 / (1.0 + np.exp(eta) / 2.0))
    data["w"] = rng.integers(1, 4, ROWS).astype(float)
    data["time"] = rng.random(ROWS) + 0.5
    return data


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "poisson": ("count ~ x*z", {"family": "poisson"}),
    "quasipoisson": ("count ~ x + z", {"family": "quasipoisson", "exposure": "time"}),
    "weights": ("count ~ x + offset(t)", {"family": "poisson", "weights": "w"}),
    "binomial": ("hit ~ x + z", {"family": "binomial"}),
    "trials": ("p(hits, size) ~ x + z", {"family": "binomial", "weights": "w"}),
    "gamma": ("amount ~ x + I(z**2)", {"family": "gamma", "link": "log"}),
    "gaussian": ("level ~ x*z", {"family": "gaussian"}),
    "negative binomial": ("over ~ x + z", {"family": "negative_binomial"}),
    "fixed shape": ("over ~ x + z", {"family": get_family("negative_binomial", theta=2.0)}),
    "probit": ("hit ~ x + z", {"family": "binomial", "link": "probit"}),
    "inverse gaussian": ("amount ~ x + z", {"family": "inverse_gaussian", "link": "log"}),
}
LOOKED = {"poisson", "quasipoisson", "weights", "binomial", "trials", "gamma", "gaussian", "fixed shape"}
ORDERS = {
    "shuffled": lambda data: data,
    "by response": lambda data: data.sort_values(list(data.columns[3:9])),
    "by predictor": lambda data: data.sort_values("x"),
    "by offset": lambda data: data.sort_values(["time", "t"]),
}


def stored(data: pd.DataFrame, folder: Path) -> Path:
    path = folder / "data.parquet"
    data.to_parquet(path, row_group_size=GROUP)
    return path


def assert_same(one: bg.Fit, other: bg.Fit, rtol: float = 1e-10) -> None:
    se = np.sqrt(np.diag(one.result.cov_beta))
    assert np.all(np.abs(one.result.beta - other.result.beta) <= rtol * (np.abs(one.result.beta) + se))
    np.testing.assert_allclose(np.sqrt(np.diag(other.result.cov_beta)), se, rtol=rtol)
    assert other.deviance == pytest.approx(one.deviance, rel=rtol)
    assert other.result.loglik == (None if one.result.loglik is None else pytest.approx(one.loglik, rel=rtol))
    np.testing.assert_allclose(other.result.psi, one.result.psi, rtol=1e-9, atol=1e-12)
    assert other.status.converged


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", CASES)
def test_a_first_look_changes_no_answer(name: str, order: str, tmp_path: Path) -> None:
    formula, model = CASES[name]
    data = ORDERS[order](table())
    streamed = bg.Model(formula, stored(data, tmp_path), **model)
    if name not in LOOKED:
        assert streamed.design.looked is None
    elif order == "shuffled":
        assert streamed.design.looked is not None
    assert_same(bg.Model(formula, data, **model).fit("irls"), streamed.fit("irls"))


def test_a_first_look_saves_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fits = stored(table(), tmp_path), []
    for rows_needed in (1_000, 10**9):
        monkeypatch.setattr(inspection, "FIRST_LOOK_ROWS", rows_needed)
        model = bg.Model("count ~ x + z", path, family="poisson")
        passes = _count_passes(model, monkeypatch)
        fits.append(model.fit("irls"))
        passes.append(len(passes))
        assert passes[-1] == fits[-1].status.evaluations - (rows_needed == 1_000)
    assert_same(*fits)
    assert fits[0].status.evaluations <= fits[1].status.evaluations


def _count_passes(model: bg.Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    passes: list[int] = []
    chunks, parts = model.design.chunks, model.design.chunks.parts
    monkeypatch.setattr(chunks, "parts", lambda columns: passes.append(1) or parts(columns))
    return passes


@pytest.mark.parametrize("bad", ["count", "x"])
def test_what_is_wrong_with_the_rows_is_said_of_the_right_ones(bad: str, tmp_path: Path) -> None:
    data = table()
    data.loc[GROUP * 12 + 5, bad] = {"count": -1.0, "x": np.inf}[bad]
    with pytest.raises(bg.DataError, match="In chunk 13"):
        bg.Model("count ~ x", stored(data, tmp_path), family="poisson")


def test_missing_rows_and_columns_left_out(tmp_path: Path) -> None:
    data = table()
    data.loc[:GROUP, "x"] = np.nan
    data["twice"] = 2.0 * data.z
    path, fits = stored(data, tmp_path), []
    for source in (data, path):
        with pytest.warns(bg.DataWarning):
            fits.append(bg.Model("count ~ x + z + twice", source, family="poisson").fit("irls"))
    assert fits[1].model.design.aliased == ("twice",)
    assert_same(*fits)


def test_labels_that_come_late(tmp_path: Path) -> None:
    data = table()
    data["g"] = np.where(np.arange(ROWS) < ROWS - 30, "a", "b")
    model = bg.Model("count ~ x + g", stored(data, tmp_path), family="poisson")
    assert model.design.looked is None
    assert_same(bg.Model("count ~ x + g", data, family="poisson").fit("irls"), model.fit("irls"))


def test_a_start_that_the_rest_of_the_rows_belies(tmp_path: Path) -> None:
    """The parts that are looked at first say the opposite of all others."""
    data = table()
    step = ROWS // GROUP // inspection.FIRST_LOOK_PARTS
    first = (np.arange(ROWS) // GROUP) % step == step // 2
    data.loc[first, "count"] = np.random.default_rng(1).poisson(np.exp(1.0 - 2.0 * data.x[first].clip(-2, 2)))
    model = bg.Model("count ~ x + z", stored(data, tmp_path), family="poisson")
    assert_same(bg.Model("count ~ x + z", data, family="poisson").fit("irls"), model.fit("irls"))


def test_separation_keeps_its_name(tmp_path: Path) -> None:
    data = table()
    data["hit"] = (data.x > 0.3).astype(float)
    model = bg.Model("hit ~ x + z", stored(data, tmp_path), family="binomial")
    with pytest.warns(bg.SeparationWarning, match="complete separation"), pytest.warns(bg.ConvergenceWarning):
        assert not model.fit("irls").status.converged


def test_other_options_begin_from_the_same_look(tmp_path: Path) -> None:
    data = table()
    memory = bg.Model("hit ~ x + z", data, family="binomial")
    streamed = bg.Model("hit ~ x + z", stored(data, tmp_path), family="binomial")
    for options in ({"penalty": "firth"}, {"cov": "HC0"}, {"start": np.array([0.1, 0.2, 0.3])}, {"scale": "pearson"}):
        assert_same(memory.fit("irls", **options), streamed.fit("irls", **options))


def _memory(name: str, data: pd.DataFrame) -> bg.Model:
    formula, model = CASES[name]
    return bg.Model(formula, data, **model)


@pytest.mark.parametrize("order", ["shuffled", "by response"])
@pytest.mark.parametrize("name", CASES)
def test_a_sample_changes_no_answer(name: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _memory(name, ORDERS[order](table()))
    plain = model.fit("irls")
    monkeypatch.setattr(rows, "MANY_ROWS", 1_000)
    assert problem_rows(model.problem).sample is not None
    assert_same(plain, model.fit("irls"))


def test_a_sample_that_sees_one_phase_of_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MANY_ROWS", 1_000)
    data = table()
    step = ROWS // (rows.SAMPLE_ROWS_PER_COLUMN * 3)
    for column in (np.arange(ROWS) % step == 0, np.arange(ROWS) % step != 0):
        data["phase"] = column.astype(float)
        data["again"] = np.random.default_rng(3).poisson(np.exp(0.2 + 0.5 * data.x + 2.0 * data.phase))
        model = bg.Model("again ~ x + phase", data, family="poisson")
        sampled = model.fit("irls")
        with monkeypatch.context() as patch:
            patch.setattr(rows, "MANY_ROWS", 10**9)
            assert_same(model.fit("irls"), sampled)


@pytest.mark.parametrize("name", ["poisson", "binomial", "gamma", "probit"])
def test_bent_steps_end_nearer_the_solution(name: str) -> None:
    problem = _memory(name, table()).problem
    source, family, link = rows.design_rows(problem.design), problem.family, problem.link
    aux = (1.0,) * len(family.auxiliaries)
    solution = score_equations(source, family, link, aux).beta
    beta = solution + 0.15 / np.sqrt(len(solution))
    sums = sweep(source, family, link, aux, beta)
    factor = require_factor(sums)
    step = factor.step(sums.score)
    bent = bent_steps(rows.design_rows(problem.design, step=5), family, link, aux)(beta, step, sums, factor)
    assert bent is not None
    far, near = (np.linalg.norm(factor.stretch(end - solution)) for end in (beta + step, bent))
    assert near < (0.3 if name in ("poisson", "binomial") else 0.7) * far  # expected information is not the curvature


def test_a_sample_of_another_world_bends_nothing() -> None:
    data = table()
    problem, other = _memory("poisson", data).problem, _memory("poisson", data.assign(x=-3.0 * data.x - 6.0)).problem
    source, family, link = rows.design_rows(problem.design), problem.family, problem.link
    beta = score_equations(source, family, link, ()).beta + 0.5
    sums = sweep(source, family, link, (), beta)
    factor = require_factor(sums)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bend = bent_steps(rows.design_rows(other.design), family, link, ())
        assert bend(beta, factor.step(sums.score), sums, factor) is None
