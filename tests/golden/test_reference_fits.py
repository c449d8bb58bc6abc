"""Every reference fit of a method we have, through the public surface: estimates, log-likelihoods, standard errors.

:func:`reason_against` says what is not compared, and why; the last test holds that nothing else is left out.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from reference_data import HERE, frame, reference

import bayesglmm as bg

# --- from R's formulas and names to ours ----------------------------------------------------------------------

FAMILIES = {
    "gaussian": "gaussian",
    "binomial": "binomial",
    "poisson": "poisson",
    "Gamma": "gamma",
    "inverse.gaussian": "inverse_gaussian",
    "quasipoisson": "quasipoisson",
    "quasibinomial": "quasibinomial",
    "nbinom2": "negative_binomial",
    "nbinom1": "negative_binomial_1",
    "negative binomial (NB2)": "negative_binomial",
    "negative binomial (NB2), theta fixed at 2": "negative_binomial theta=2",
    "beta": "beta",
    "betabinomial": "beta_binomial",
    "tweedie": "tweedie",
    "tweedie p=1.5": "tweedie power=1.5",
    "truncated_poisson": "hurdle_poisson",
}
LINKS = {"1/mu^2": "inverse_squared"}
CANONICAL = {"binomial": "logit", "poisson": "log", "gaussian": "identity"}


def ours(formula: str) -> str:
    """R's formula in our notation."""
    text = re.sub(r"cbind\((\w+), (\w+) - \1\)", r"p(\1, \2)", formula)
    return re.sub(r"cbind\((\w+), (\w+)\)", r"p(\1, \1 + \2)", text)


def family_of(f: dict[str, Any]) -> str | None:
    """Our family of a reference fit, with its options; None when there is none."""
    return FAMILIES.get(f["family"])


def plain(name: str) -> str:
    """A coefficient's name without what only notation adds."""
    name = "(Intercept)" if name == "Intercept" else name
    name = name.replace("[T.", "").replace("[", "").replace("]", "").replace(" ", "").replace("**", "^")
    return ":".join(sorted(name.split(":")))  # R and we differ in the order of an interaction's parts


# --- what runs and what does not ------------------------------------------------------------------------------


def method_of(f: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our method and options for a reference fit."""
    kind, settings = f["method"], f["settings"]
    if kind in ("glm", "glm.nb"):
        return "irls", {}
    if kind in ("lmer-reml", "glmmTMB-reml"):
        return "reml", {}
    if kind == "lmer-ml":
        return "ml", {}
    if kind in ("glmer-laplace", "glmmTMB-laplace", "glmmTMB-ml"):  # without random effects, and for a Gaussian, exact
        return "laplace", {}
    if kind == "glmer-agq":
        return "agq", {"nodes": int(settings["nAGQ"])}
    if kind == "exact-ml":
        return "agq", {"nodes": int(settings["quadrature_points"])}
    working = re.fullmatch(r"(pql|mql)1-(ml|reml)-(fixed|free)scale-own", kind)
    assert working is not None, kind
    return working[1], {"reml": working[2] == "reml", "scale": working[3]}


def reason_against(f: dict[str, Any]) -> str | None:
    """Why a reference fit is not compared; None when it is."""
    kind = f["method"]
    if kind.startswith("gee"):
        return "compared where estimating equations are tested"
    if kind.endswith("profile"):
        return "the fit is there without the profile intervals; these are compared where intervals are tested"
    if kind == "glmmPQL":
        return "stops at a loose tolerance (1e-3); the converged pql1-ml-freescale-own is compared instead"
    if kind == "glmer.nb-laplace":
        return "log link is not canonical: expected information in lme4's determinant; glmmTMB's fit is compared"
    if family_of(f) is None:
        return f"the family {f['family']} is not among the families here"
    canonical = CANONICAL.get(f["family"]) == f["link"]
    if kind == "glmer-laplace" and not canonical:
        return "not canonical: lme4 takes the expected information in the determinant; glmmTMB's fit is compared"
    if kind == "glmer-agq" and not canonical and f["settings"]["nAGQ"] < 25:
        return "not canonical: lme4 places its nodes by the expected information, which matters for few nodes"
    return None


DATASETS = sorted(p.stem for p in (HERE / "reference" / "fits").glob("*.json"))
ALL = [(name, f) for name in DATASETS for f in reference(name)["fits"]]
COMPARED = [(name, f) for name, f in ALL if reason_against(f) is None]


def marks(dataset: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if dataset == "insteval" else []


PARAMETERS = [pytest.param(name, f, id=f"{name}-{f['id']}", marks=marks(name)) for name, f in COMPARED]


# Columns that the reference transformed before fitting (its notes say so).
PREPARED = {
    ("epil", "y ~ lbase*trt + lage + period + (1 + period | subject)"): {"period": lambda d: (d.period - 2.5) / 5}
}


@cache
def model(dataset: str, formula: str, family: str, link: str, zi: str | None) -> bg.Model:
    name, _, option = family.partition(" ")
    key, _, value = option.partition("=")
    row = bg.families.get_family(name, **({key: float(value)} if option else {}))
    return bg.Model(
        ours(formula),
        frame(dataset).assign(**PREPARED.get((dataset, formula), {})),
        row,
        link=LINKS.get(link, link),
        priors="flat",
        zi=zi,
    )


@cache
def fitted(
    dataset: str, formula: str, family: str, link: str, zi: str | None, method: str, options: tuple[Any, ...]
) -> bg.Fit:
    with warnings.catch_warnings():
        # Fractional counts and rows with missing values are announced; the reference fits have them too.
        warnings.simplefilter("ignore", bg.DataWarning)
        warnings.simplefilter("ignore", bg.SingularFitWarning)
        return model(dataset, formula, family, link, zi).fit(method, **dict(options))


def fit_of(dataset: str, f: dict[str, Any]) -> bg.Fit:
    method, options = method_of(f)
    family = family_of(f)
    assert family is not None
    return fitted(dataset, f["formula"], family, f["link"], f.get("ziformula"), method, tuple(options.items()))


def shortfall(dataset: str, f: dict[str, Any]) -> float:
    """What a reference lacks of its own maximum, in log-likelihood.

    The gain of one more Newton step (glmmTMB), what the same model's other fit has more (glmer), or what R's ``glm``
    leaves when it stops because the deviance changes by less than ε.
    """
    lack = abs(f["settings"].get("newton_step_gain_loglik") or 0.0)
    if f["method"] == "glmer-laplace":
        same = ("formula", "family", "link")
        partners = [g for g in reference(dataset)["fits"] if g["method"] == "glmmTMB-laplace"]
        lack = max([0.0, *(g["loglik"] - f["loglik"] for g in partners if all(g[k] == f[k] for k in same))])
    if f["method"] in ("glm", "glm.nb"):
        lack = 0.5 * f["settings"].get("epsilon", 1e-8) * (f["deviance"] / (f["dispersion"] or 1.0) + 0.1)
    return float(lack)


def distance(dataset: str, f: dict[str, Any]) -> float:
    """How far a reference may be from its own maximum, in standard errors."""
    return float(np.sqrt(2.0 * shortfall(dataset, f)))


# --- the comparison -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "f"), PARAMETERS)
def test_coefficients(dataset: str, f: dict[str, Any]) -> None:
    fit = fit_of(dataset, f)
    table = fit.fixed.rename(index=plain)
    expected = {plain(k): v for k, v in f["fixed"].items() if v["estimate"] is not None}
    assert set(table.index[table["estimate"].notna()]) == set(expected)
    tight = 1e-8 if f["method"] == "glm" else 1e-5
    for name, value in expected.items():
        found, size = table.loc[name, "estimate"], max(abs(value["estimate"]), value["se"])
        assert abs(found - value["estimate"]) <= tight * size + distance(dataset, f) * value["se"], name


@pytest.mark.parametrize(("dataset", "f"), PARAMETERS)
def test_log_likelihood(dataset: str, f: dict[str, Any]) -> None:
    fit = fit_of(dataset, f)
    if f["loglik"] is None:  # R's Tweedie glm gives none, ours has one
        assert fit.result.loglik is None or f["family"].startswith("tweedie")
        return
    assert fit.loglik == pytest.approx(f["loglik"], abs=1e-4 + shortfall(dataset, f))


@pytest.mark.parametrize(("dataset", "f"), PARAMETERS)
def test_dispersion(dataset: str, f: dict[str, Any]) -> None:
    fit = fit_of(dataset, f)
    expected = f.get("theta") if f["method"] == "glm.nb" else f["dispersion"]
    if f["dispersion_kind"].startswith("fixed"):
        assert fit.dispersion in (None, 1.0)
    else:
        assert fit.dispersion == pytest.approx(expected, rel=1e-5 + distance(dataset, f))


@pytest.mark.parametrize(("dataset", "f"), [p for p in PARAMETERS if p.values[1]["varcomp"]])
def test_variance_components(dataset: str, f: dict[str, Any]) -> None:
    fit = fit_of(dataset, f)
    table = fit.varcomp.dropna(subset=["sd"])
    found = {(plain(r.group), plain(str(r.term))): r.sd for r in table.itertuples()}
    for group, block in f["varcomp"].items():
        group = plain(re.sub(r"(__|\.)1$", "", group))  # R's name of a second term of the same group
        for term, sd in zip(block["names"], block["sd"]):
            slack = (1e-5 + distance(dataset, f)) * sd + 1e-6 if sd > 1e-3 else 1e-3  # glmmTMB cannot reach zero
            assert abs(found[group, plain(term)] - sd) <= slack, (group, term, found[group, plain(term)], sd)
        if len(block["sd"]) == 2:
            corr = fit.params[f"{group}.corr"][1, 0]
            assert corr == pytest.approx(block["corr"][1][0], abs=2e-5 + distance(dataset, f))


# glmmTMB's and glmer's come from a finite-difference Hessian (of the gradient, of the value): where ours are 3e-4 from
# glmmTMB's, they agree with fourth-order differences of our own log-likelihood to 1e-6.
# For REML, glmmTMB inverts the observed information of coefficients and variances together, lmer (and we) the expected.
SE_TOLERANCE = {"glm": 1e-7, "glmmTMB": 5e-4, "glmer": 5e-3, "glmmTMB-reml": 2e-2}
SE_UNUSABLE = {
    "beta-glm-glmmTMB": "steps of 1e-3 along coefficients whose standard error is 6e-4: off by a factor of two",
    "beta-glmmTMB": "the same, off by 7e-4",
}


@pytest.mark.parametrize(("dataset", "f"), PARAMETERS)
def test_standard_errors(dataset: str, f: dict[str, Any]) -> None:
    fit = fit_of(dataset, f)
    if f["id"] in SE_UNUSABLE:
        return
    table = fit.fixed.rename(index=plain)
    tight = SE_TOLERANCE.get(f["method"], SE_TOLERANCE.get(f["method"].split("-")[0], 1e-4))
    # With theta held fixed, R's summary multiplies by the Pearson scale.
    factor = np.sqrt(f["pearson_dispersion"]) if f["id"] == "nb2-theta2" else 1.0
    for name, value in f["fixed"].items():
        if value["se"] is not None:
            assert factor * table.loc[plain(name), "se"] == pytest.approx(value["se"], rel=tight), name


@pytest.mark.parametrize(("dataset", "f"), [p for p in PARAMETERS if p.values[1].get("ziformula")])
def test_zero_part(dataset: str, f: dict[str, Any]) -> None:
    table = fit_of(dataset, f).auxiliary
    table = table[table.index.str.startswith("zi")]
    assert len(table) == len(f["zi"])
    single = list(table.index) == ["zi"]
    names = ["(Intercept)"] if single else [plain(name[len("zi[") : -1]) for name in table.index]
    for name, row in zip(names, table.itertuples()):
        found = np.log(row.estimate) - np.log1p(-row.estimate) if single else row.estimate
        assert found == pytest.approx(f["zi"][name]["estimate"], abs=1e-4 * f["zi"][name]["se"]), name
        assert row.link_se == pytest.approx(f["zi"][name]["se"], rel=1e-3), name


def test_log_likelihoods_of_zero_inflated_fits_are_as_high_as_the_references() -> None:
    zeros = [(name, f) for name, f in COMPARED if f.get("ziformula")]
    assert len(zeros) == 6
    for name, f in zeros:
        assert fit_of(name, f).loglik >= f["loglik"] - 1e-5


@pytest.mark.parametrize(("dataset", "f"), [p for p in PARAMETERS if p.values[1]["varcomp"]])
def test_zero_variances_are_reported(dataset: str, f: dict[str, Any]) -> None:
    smallest = min(min(block["sd"]) for block in f["varcomp"].values())
    assert bool(fit_of(dataset, f).status.boundary) == (smallest < 1e-3)


def test_everything_is_compared_or_has_its_reason() -> None:
    left_out = [(name, f["id"], reason_against(f)) for name, f in ALL if (name, f) not in COMPARED]
    assert all(reason for _, _, reason in left_out)
    assert len(COMPARED) > 200
    assert len(COMPARED) + len(left_out) == len(ALL)
