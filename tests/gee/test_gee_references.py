"""Fits of geepack and gee: coefficients, robust and model-based standard errors, scale, correlation, CIC."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from gee_cases import CLUSTER
from reference_data import fit as reference_fit
from reference_data import frame, reference

import bayesglmm as bg

ALL = [(name, f) for name in CLUSTER for f in reference(name)["fits"] if f["method"].startswith("gee")]
# Left out: two fits of gee that its authors' program says did not converge (correlation not positive definite).
TARGETS = [(name, f) for name, f in ALL if f["converged"]]
PARAMETERS = [pytest.param(name, f, id=f"{name}-{f['id']}") for name, f in TARGETS]
COVARIANCE = {"jack": "one-step-jackknife", "j1s": "one-step-jackknife", "fij": "jackknife"}


def plain(name: str) -> str:
    name = "(Intercept)" if name == "Intercept" else name
    return ":".join(sorted(name.replace("[T.", "").replace("]", "").split(":")))


@cache
def fitted(name: str, id: str) -> bg.Fit:
    f = reference_fit(name, id)
    kind, settings = f["method"].removeprefix("gee-"), f["settings"]
    options: dict[str, Any] = {"corr": "stationary", "m": 2} if kind == "stationary2" else {"corr": kind}
    if settings.get("waves"):
        options["time"] = settings["waves"]
    options["cov"] = COVARIANCE.get(settings.get("std.err", ""), "robust")
    options["convention"] = "geepack" if f["software"].startswith("geepack") else "gee"
    return bg.Model(f["formula"], frame(name), f["family"]).fit("gee", groups=CLUSTER[name], **options)


def test_nothing_else_is_left_out() -> None:
    assert len(ALL) == 50
    assert [f["id"] for _, f in ALL if not f["converged"]] == ["gau-gee-stat_M_dep", "pois-offset-gee-stat_M_dep"]


@pytest.mark.parametrize(("name", "f"), PARAMETERS)
def test_coefficients_and_robust_errors(name: str, f: dict[str, Any]) -> None:
    fit = fitted(name, f["id"])
    assert fit.status.converged
    table = fit.fixed.rename(index=plain)
    expected = {plain(k): v for k, v in f["fixed"].items()}
    assert set(table.index) == set(expected)
    for term, value in expected.items():
        assert table.loc[term, "estimate"] == pytest.approx(value["estimate"], rel=1e-7)
        assert table.loc[term, "se"] == pytest.approx(value["se"], rel=1e-7)


@pytest.mark.parametrize(("name", "f"), PARAMETERS)
def test_model_based_errors(name: str, f: dict[str, Any]) -> None:
    fit = fitted(name, f["id"])
    errors = dict(zip(map(plain, fit.cov.index), np.sqrt(np.diag(fit.result.extras["cov_model"]))))
    for term, value in f["fixed_se_naive"].items():
        assert errors[plain(term)] == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(("name", "f"), PARAMETERS)
def test_scale_and_correlation(name: str, f: dict[str, Any]) -> None:
    fit = fitted(name, f["id"])
    assert fit.result.scale == pytest.approx(f["dispersion"], rel=1e-8)
    if f.get("alpha"):
        assert list(fit.result.extras["alpha"].values()) == pytest.approx(f["alpha"], rel=1e-7)
    if f.get("working_correlation"):
        np.testing.assert_allclose(fit.result.extras["working_correlation"], f["working_correlation"], rtol=1e-7)


@pytest.mark.parametrize(("name", "f"), [p for p in PARAMETERS if p.values[1].get("qic")])
def test_criteria(name: str, f: dict[str, Any]) -> None:
    """CIC is geepack's; its quasi-likelihood has φ = 1 and leaves out what is free of the means."""
    fit = fitted(name, f["id"])
    extras, expected = fit.result.extras, f["qic"]
    assert extras["cic"] == pytest.approx(expected["CIC"], rel=1e-7)
    assert extras["qic"] - extras["qicu"] == pytest.approx(2 * (extras["cic"] - len(fit.result.beta)), rel=1e-9)
    other = next(
        (g, fitted(name, g["id"]))
        for g in reference(name)["fits"]
        if g["method"] == "gee-independence" and g["formula"] == f["formula"] and g.get("qic")
    )
    change = fit.deviance - other[1].deviance
    assert -0.5 * change == pytest.approx(expected["Quasi Lik"] - other[0]["qic"]["Quasi Lik"], abs=1e-7 * fit.deviance)


# geepack 1.3.9 and gee 4.13.25 under R 4.2.2, run for these tests: coefficients, robust standard errors, alpha, phi.
GAPS = {
    "ar1": "17.4383261877 6.82924189688 -0.879284234095 1.09575638036 "
    "0.984675837054 0.0792709657082 1.46114802457 1.81042572612 0.936365702123 50.4125979742",
    "exchangeable": "15.4860526232 6.93950140378 -0.876602468366 1.65391113888 "
    "1.09368436614 0.0837995895372 1.57685522758 1.88220431778 0.764517825835 49.0730609131",
}
TRIALS = {
    "independence": "-1.26902348937 -1.17076272514 -1.30140533386 -1.78227863534 "
    "0.275026064652 0.439569642929 0.495650088901 0.387960892241 2.19015134509",
    "exchangeable": "-1.2700193163 -1.1607417925 -1.28979126899 -1.76332623099 "
    "0.275393782617 0.437010549867 0.492471200893 0.379365890078 0.0274923404007 2.17832200997",
}


def read(text: str) -> list[float]:
    return [float(v) for v in text.split()]


def numbers(fit: bg.Fit) -> list[float]:
    return [*fit.result.beta, *fit.fixed["se"], *fit.result.extras["alpha"].values(), fit.result.scale]


@pytest.mark.parametrize("corr", list(GAPS))
def test_missing_occasions(corr: str) -> None:
    """dietox without rows 2, 7, 12, ... and 3, 10, 17, ...: geepack with waves = Time."""
    data = frame("dietox")
    row = np.arange(1, len(data) + 1)
    model = bg.Model("Weight ~ Time + Cu", data[(row % 5 != 2) & (row % 7 != 3)].sample(frac=1.0, random_state=0))
    assert numbers(model.fit("gee", groups="Pig", time="Time", corr=corr)) == pytest.approx(read(GAPS[corr]), rel=1e-8)


@pytest.mark.parametrize("corr", list(TRIALS))
def test_binomial_trials(corr: str) -> None:
    """cbpp, cases out of herd sizes: gee with cbind(incidence, size - incidence)."""
    model = bg.Model("p(incidence, size) ~ period", frame("cbpp"), "binomial")
    found = numbers(model.fit("gee", groups="herd", corr=corr, convention="gee"))
    assert found == pytest.approx(read(TRIALS[corr]), rel=1e-8)
