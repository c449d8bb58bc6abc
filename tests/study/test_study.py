"""Studies: tables that are the same however they are made, scores by their definitions, failures that are said."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_cases import TRUTH, Deadly, model, study

import bayesglmm as bg
from bayesglmm.study.replicate import Replicate, run_replicate
from bayesglmm.study.scores import beside_published, score_rows, with_variances


@pytest.fixture(scope="module")
def found() -> bg.StudyResult:
    return study(6).run(workers=1)


def same(a: bg.StudyResult, b: bg.StudyResult) -> None:
    """To the last bit."""
    pd.testing.assert_frame_equal(a.rows, b.rows, check_exact=True)
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)
    pd.testing.assert_frame_equal(a.failures, b.failures)


def test_a_replicate_is_its_model_simulated_and_fitted(found: bg.StudyResult) -> None:
    source = study().task.sources[0]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(3, spawn_key=(0, 4))))
    problem, _ = source.draw(rng)
    data = pd.DataFrame({"y": problem.response.y, "x": problem.design.X[:, 1], "g": np.repeat(np.arange(12), 5)})
    fit = bg.Model("y ~ x + (1 | g)", data, family="poisson", priors="flat").fit("agq", nodes=5)
    own = found.rows.query("replicate == 4 and method == 'agq'").set_index("parameter")
    assert own.loc["x", "estimate"] == pytest.approx(fit.fixed.loc["x", "estimate"], rel=1e-12)
    assert own.loc["x", ["ci_low", "ci_high"]].tolist() == pytest.approx(
        fit.fixed.loc["x", ["ci_low", "ci_high"]].tolist(), rel=1e-12
    )
    assert own.loc["g.sd", "estimate"] == pytest.approx(fit.varcomp["sd"].iloc[0], rel=1e-12)
    assert own["truth"].to_dict() == TRUTH


def test_the_same_table_from_threads_and_processes(found: bg.StudyResult) -> None:
    with ThreadPoolExecutor(2) as pool:
        same(study(6).run(executor=pool), found)
    same(study(6).run(workers=2), found)


@pytest.mark.slow
def test_the_same_table_from_dask(found: bg.StudyResult) -> None:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cluster's own, on ports and sockets
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            result = study(6).run(executor=client)
    same(result, found)


def test_more_replicates_and_methods_leave_the_others_alone(found: bg.StudyResult) -> None:
    more = study(8, methods=["agq", "laplace"]).run(workers=1).rows
    for method in ("agq", "laplace"):
        own = [r.query(f"method == '{method}' and replicate < 6").reset_index(drop=True) for r in (more, found.rows)]
        pd.testing.assert_frame_equal(*own, check_exact=True)


def test_arms_have_their_own_data_and_truth() -> None:
    arms = {"small": model(), "large": model()}
    truth = {"small": TRUTH, "large": TRUTH | {"g.sd": 1.0}}
    result = bg.Study(arms, truth, ["laplace"], replicates=3, seed=1).run(workers=1)
    table = result.table.set_index(["arm", "parameter"])
    assert table.loc[("large", "g.sd"), "truth"] == 1.0
    assert table.loc[("large", "g.sd"), "mean"] > table.loc[("small", "g.sd"), "mean"]
    assert result.seconds["arm"].tolist() == ["small", "large"]


def test_a_generator_makes_new_data_and_may_say_the_truth() -> None:
    def generator(rng: np.random.Generator) -> tuple[bg.Model, dict[str, float]]:
        slope = rng.normal()
        data = pd.DataFrame({"x": rng.normal(size=40)})
        data["y"] = 1.0 + slope * data["x"] + 0.1 * rng.normal(size=40)
        return bg.Model("y ~ x", data, priors="flat"), {"Intercept": 1.0, "x": slope, "sigma": 0.1}

    rows = bg.Study(generator, methods=["irls"], replicates=5, seed=2).run(workers=1).rows
    slopes = rows[rows["parameter"] == "x"]
    assert slopes["truth"].nunique() == 5
    assert np.allclose(slopes["estimate"], slopes["truth"], atol=0.08)  # five standard errors
    assert rows.loc[rows["parameter"] == "Residual.sd", "truth"].to_list() == pytest.approx([0.1] * 5, rel=1e-12)


def test_scores_by_their_definitions() -> None:
    rng = np.random.default_rng(0)
    n = 400
    estimate, sd = rng.normal(1.1, 0.5, n), np.full(n, 0.4)
    rows = pd.DataFrame(
        {
            "arm": "", "replicate": range(n), "method": "m", "parameter": "p", "truth": 1.0, "estimate": estimate,
            "sd": sd, "ci_low": estimate - 1.96 * sd, "ci_high": estimate + 1.96 * sd,
        }
    )  # fmt: skip
    other = rows.assign(method="r", sd=0.8)
    score = score_rows(pd.concat([rows, other]), reference="r").set_index("method").loc["m"]
    assert score["bias"] == pytest.approx(estimate.mean() - 1.0, rel=1e-12)
    assert score["bias_mcse"] == pytest.approx(estimate.std(ddof=1) / 20.0, rel=1e-12)
    assert score["rmse"] == pytest.approx(np.sqrt(score["bias"] ** 2 + estimate.var()), rel=1e-12)
    assert score["se_ratio"] == pytest.approx(0.4 / estimate.std(ddof=1), rel=1e-12)
    inside = np.mean(np.abs(estimate - 1.0) <= 1.96 * 0.4)
    assert score["coverage"] == pytest.approx(inside, rel=1e-12)
    assert score["coverage_mcse"] == pytest.approx(np.sqrt(inside * (1 - inside) / n), rel=1e-12)
    assert score["sd_ratio"] == pytest.approx(0.5, rel=1e-12)


def test_published_means_of_variances(found: bg.StudyResult) -> None:
    published = [{"source": "s", "parameter": "g.var", "method": "agq", "mean": 0.2}]
    row = beside_published(found.rows, published).iloc[0]
    sds = found.rows.query("method == 'agq' and parameter == 'g.sd'")["estimate"]
    assert row["ours"] == pytest.approx((sds**2).mean(), rel=1e-12)
    assert row["difference"] == pytest.approx((row["ours"] - 0.2) / (np.std(sds**2, ddof=1) / np.sqrt(6)), rel=1e-9)
    truth = with_variances(found.rows).query("parameter == 'g.var'")["truth"]
    assert truth.eq(0.4**2).all()


def test_a_failing_fit_is_a_row_with_its_reason() -> None:
    def generator(rng: np.random.Generator) -> bg.Model:
        data = pd.DataFrame({"y": np.zeros(20), "g": np.repeat(np.arange(4), 5)})
        if rng.random() < 0.5:
            raise ValueError("no data today")
        data["y"] = rng.poisson(2.0, 20)
        return bg.Model("y ~ 1 + (1 | g)", data, family="poisson", priors="flat")

    result = bg.Study(generator, {"Intercept": 1.0, "g.sd": 0.1}, ["laplace"], replicates=10, seed=1).run(workers=1)
    reasons = result.failures["reason"]
    assert 0 < len(reasons) < 10
    assert reasons.str.startswith("no data: ValueError: no data today").all()
    assert result.table["n"].eq(10 - len(reasons)).all()
    assert result.table["failures"].eq(len(reasons)).all()


def test_a_method_that_cannot_is_refused_before_anything_runs() -> None:
    with pytest.raises(bg.MethodError, match="'ml' is for the gaussian family"):
        study(methods=["ml"])
    with pytest.raises(bg.MethodError, match="no option 'nods'"):
        study(options={"agq": {"nods": 5}})
    with pytest.raises(bg.MethodError, match="no value given for x"):
        bg.Study(model(), {"Intercept": 1.0, "g.sd": 0.4}, ["laplace"])
    with pytest.raises(bg.MethodError, match="needs the truth"):
        bg.Study(model(), methods=["laplace"])
    with pytest.raises(bg.MethodError, match="'agq' is not among the methods"):
        bg.Study(model(), TRUTH, ["laplace"], reference="agq")
    with pytest.raises(bg.MethodError, match="replicates is 0; a whole number, 1 or more"):
        study(replicates=0)
    with pytest.raises(bg.MethodError, match="takes a Model, or a function"):
        bg.Study([1], TRUTH)
    with pytest.raises(bg.MethodError, match="model is an empty mapping"):
        bg.Study({})
    with pytest.raises(bg.MethodError, match="truth is 'posterior'"):
        bg.Study(model(), "posterior")
    with pytest.raises(bg.MethodError, match="quasi-family"):
        bg.Study(bg.Model("y ~ x", model().data, family="quasipoisson"), {"Intercept": 0, "x": 0}, ["irls"])
    with pytest.raises(bg.MethodError, match="Executor is expected"):
        study(2).run(executor=3)


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    def run(name: str, workers: int) -> bg.StudyResult:
        generator = Deadly(tmp_path / name)
        if workers == 1:
            (tmp_path / name).touch()  # nothing is to die here
        return bg.Study(generator, TRUTH, ["pql"], replicates=12, seed=1).run(workers=workers)

    same(run("a", 2), run("b", 1))
    assert (tmp_path / "a").exists()


def test_a_replicate_that_always_kills_its_worker_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    alive = bg.Study(Deadly(tmp_path / "a"), TRUTH, ["pql"], replicates=12, seed=1).run(workers=1)
    result = bg.Study(Deadly(tmp_path / "a", always=True), TRUTH, ["pql"], replicates=12, seed=1).run(workers=2)
    assert result.failures["reason"].str.startswith("its worker process died").all()
    left = alive.rows[~alive.rows["replicate"].isin(result.failures["replicate"])].reset_index(drop=True)
    assert 0 < len(result.failures) < 12
    pd.testing.assert_frame_equal(result.rows, left, check_exact=True)


def test_replicates_come_back_from_their_text() -> None:
    replicate = run_replicate(study().task, 0, 1)
    assert Replicate.read(replicate.text()) == replicate


def test_the_report_holds_the_tables(found: bg.StudyResult, tmp_path: Path) -> None:
    path = found.report(tmp_path / "out")
    page = path.read_text()
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1].replace("http://www.w3.org", "")
    assert page.count("data:image/svg+xml") == 3
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    pd.testing.assert_frame_equal(table, found.table, rtol=1e-12)


def test_pictures_show_every_method_and_parameter(found: bg.StudyResult) -> None:
    for kind in ("bias", "coverage", "calibration"):
        figure = found.plot(kind)
        assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["Intercept", "x", "g.sd"]
        assert [t.get_text() for t in figure.legends[0].get_texts()] == ["mql", "pql", "laplace", "agq"]
    with pytest.raises(bg.MethodError, match="unknown plot"):
        found.plot("pie")
