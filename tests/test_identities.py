"""Identities that hold exactly, whatever the data: worth more than golden numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_data import frame
from scipy import integrate, stats

import bayesglmm as bg

LIKELIHOODS = ("gaussian", "binomial", "poisson", "negative_binomial", "gamma", "inverse_gaussian", "beta", "student_t")


def simulated(family: str, seed: int = 0, groups: int = 12, size: int = 6, sd: float = 0.6) -> pd.DataFrame:
    """A mixed-model data set with a response for `family`, x, z, a group g and a second one h."""
    rng = np.random.default_rng(seed)
    n = groups * size
    g, h = np.repeat(np.arange(groups), size), rng.integers(0, 5, n)
    x, z = rng.normal(size=n), rng.uniform(-1, 1, n)
    eta = 0.4 + 0.5 * x - 0.3 * z + sd * rng.normal(size=groups)[g] + 0.3 * rng.normal(size=5)[h]
    mu, p = np.exp(eta), 1.0 / (1.0 + np.exp(-eta))
    y = {
        "gaussian": lambda: eta + rng.normal(size=n),
        "student_t": lambda: eta + 0.5 * rng.standard_t(5, size=n),
        "binomial": lambda: rng.binomial(1, p),
        "poisson": lambda: rng.poisson(mu),
        "negative_binomial": lambda: rng.negative_binomial(2.0, 2.0 / (2.0 + mu)),
        "gamma": lambda: rng.gamma(4.0, mu / 4.0),
        "inverse_gaussian": lambda: rng.wald(mu, 5.0),
        "beta": lambda: np.clip(rng.beta(8 * p, 8 * (1 - p)), 1e-6, 1 - 1e-6),
    }[family]()
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{i:02d}" for i in g], "h": [f"h{i}" for i in h]})


LINK = {"gamma": "log", "inverse_gaussian": "log"}


def build(formula: str, data: Any, family: str, **arguments: Any) -> bg.Model:
    return bg.Model(formula, data, family, link=LINK.get(family), priors="flat", **arguments)


def quiet(model: bg.Model, method: str, **options: Any) -> bg.Fit:
    """A fit whose variance may be at zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.SingularFitWarning)
        fit = model.fit(method, **options)
    assert fit.status.converged, fit.status.message
    return fit


def same(a: bg.Fit, b: bg.Fit, rel: float = 1e-6, loglik: bool = True) -> None:
    """Two fits of the same thing: coefficients, standard errors, sds, log-likelihood."""
    pd.testing.assert_series_equal(a.fixed["estimate"], b.fixed["estimate"], rtol=rel, atol=rel * 0.1)
    pd.testing.assert_series_equal(a.fixed["se"], b.fixed["se"], rtol=max(1e-4, rel))
    assert a.varcomp["sd"].to_numpy() == pytest.approx(b.varcomp["sd"].to_numpy(), rel=rel, abs=1e-5)
    if loglik:
        assert a.loglik == pytest.approx(b.loglik, abs=1e-8)


# --- one method is another ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_one_node_is_laplace(family: str) -> None:
    model = build("y ~ x + z + (1 | g)", simulated(family), family)
    same(quiet(model, "agq", nodes=1), quiet(model, "laplace"))
    slopes = build("y ~ x + (1 + x | g)", simulated(family, seed=4), family)
    point = quiet(slopes, "laplace").params
    assert slopes.loglik(point, "agq", nodes=1) == pytest.approx(slopes.loglik(point), abs=1e-9)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + z + (1 + x | g)", "y ~ x + (1 + x || g)"])
def test_gaussian_laplace_is_quadrature_is_maximum_likelihood(formula: str) -> None:
    model = build(formula, simulated("gaussian", seed=3), "gaussian")
    exact = quiet(model, "ml")
    for fit in (quiet(model, "laplace"), quiet(model, "agq", nodes=5), quiet(model, "pql"), quiet(model, "mql")):
        assert fit.fixed["estimate"].to_numpy() == pytest.approx(exact.fixed["estimate"].to_numpy(), rel=1e-5)
        assert fit.varcomp["sd"].to_numpy() == pytest.approx(exact.varcomp["sd"].to_numpy(), rel=2e-5, abs=1e-5)
    assert quiet(model, "laplace").loglik == pytest.approx(exact.loglik, abs=1e-8)
    assert quiet(model, "agq", nodes=5).loglik == pytest.approx(exact.loglik, abs=1e-8)


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_without_random_effects_laplace_is_irls(family: str) -> None:
    model = build("y ~ x + z", simulated(family), family)
    assert ("irls" in model.methods) == (family not in ("beta", "student_t"))
    if "irls" in model.methods:
        laplace, irls = quiet(model, "laplace"), quiet(model, "irls")
        assert laplace.fixed["estimate"].to_numpy() == pytest.approx(irls.fixed["estimate"].to_numpy(), rel=1e-6)
    else:
        assert model.natural_method == "laplace"


@pytest.mark.parametrize("method", ["laplace", "agq", "pql", "mql"])
@pytest.mark.parametrize("family", ["binomial", "poisson", "negative_binomial"])
def test_zero_variance_is_irls(family: str, method: str) -> None:
    """Groups more alike than chance: the variance is zero, and every method is the GLM."""
    data = simulated(family, seed=1, sd=0.0)
    data = data.sort_values(["y", "x"], ignore_index=True)
    data["g"] = [f"g{i % 12:02d}" for i in range(len(data))]  # deal the responses out evenly
    glm = quiet(build("y ~ x", data, family), "laplace" if method in ("laplace", "agq") else "irls")
    fit = quiet(build("y ~ x + (1 | g)", data, family), method)
    if family == "negative_binomial" and method in ("pql", "mql"):
        return
    assert fit.varcomp.loc[0, "sd"] == pytest.approx(0.0, abs=1e-4)
    assert fit.status.boundary
    pd.testing.assert_series_equal(fit.fixed["estimate"], glm.fixed["estimate"], rtol=1e-5)
    pd.testing.assert_series_equal(fit.fixed["se"], glm.fixed["se"], rtol=1e-3)
    if method in ("laplace", "agq"):
        assert fit.loglik == pytest.approx(glm.loglik, abs=1e-7)


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_at_sd_zero_the_marginal_likelihood_is_the_glm_one(family: str) -> None:
    data = simulated(family)
    glm = quiet(build("y ~ x", data, family), "laplace")
    mixed = build("y ~ x + (1 | g) + (1 | h)", data, family)
    assert mixed.loglik({**glm.params, "g.sd": 0.0, "h.sd": 0.0}) == pytest.approx(glm.loglik, abs=1e-9)


def test_quasi_is_the_likelihood_fit_with_a_scale() -> None:
    data = simulated("negative_binomial")
    plain = quiet(build("y ~ x + z", data, "poisson"), "irls")
    quasi = quiet(build("y ~ x + z", data, "quasipoisson"), "irls")
    pd.testing.assert_series_equal(plain.fixed["estimate"], quasi.fixed["estimate"], rtol=1e-10)
    ratio = quasi.fixed["se"] / plain.fixed["se"]
    assert ratio.to_numpy() == pytest.approx(np.sqrt(quasi.dispersion), rel=1e-9)
    assert quasi.dispersion == pytest.approx((plain.residuals("pearson") ** 2).sum() / plain.df_resid, rel=1e-9)
    free = quiet(build("y ~ x + (1 | g)", data, "poisson"), "pql", scale="free")
    same(quiet(build("y ~ x + (1 | g)", data, "quasipoisson"), "pql", scale="free"), free, loglik=False)


# --- the same data written otherwise --------------------------------------------------------------------------


def binomial_table(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grouped successes out of trials, and the same as Bernoulli rows."""
    data = simulated("binomial", seed, groups=10, size=4, sd=0.8)
    rng = np.random.default_rng(seed)
    t = rng.integers(2, 9, len(data))
    s = rng.binomial(t, 1 / (1 + np.exp(-0.3 - 0.8 * data.x)))
    grouped = data.drop(columns="y").assign(s=s, t=t)
    rows = grouped.loc[grouped.index.repeat(t)].reset_index(drop=True)
    success = np.concatenate([np.r_[np.ones(a, int), np.zeros(b - a, int)] for a, b in zip(s, t)])
    return grouped, rows.drop(columns=["s", "t"]).assign(y=success)


@pytest.mark.parametrize(("method", "options"), [("laplace", {}), ("agq", {"nodes": 7}), ("pql", {}), ("mql", {})])
def test_splitting_binomial_rows_changes_no_estimate(method: str, options: dict[str, Any]) -> None:
    grouped, rows = binomial_table()
    a = quiet(build("p(s, t) ~ x + (1 | g)", grouped, "binomial"), method, **options)
    b = quiet(build("y ~ x + (1 | g)", rows, "binomial"), method, **options)
    same(a, b, loglik=False)
    if method in ("laplace", "agq"):
        choose = stats.binom.logpmf(grouped.s, grouped.t, 0.5).sum() + grouped.t.sum() * np.log(2.0)
        assert a.loglik - b.loglik == pytest.approx(choose, abs=1e-7)


def test_binomial_of_one_trial_is_bernoulli() -> None:
    data = simulated("binomial").assign(one=1)
    formula = " ~ x + z + (1 | g)"
    same(
        quiet(build(f"p(y, one){formula}", data, "binomial"), "laplace"),
        quiet(build(f"y{formula}", data, "binomial"), "laplace"),
    )
    text = data.assign(y=np.where(data.y == 1, "yes", "no"))
    same(
        quiet(build(f"y{formula}", text, "binomial"), "laplace"),
        quiet(build(f"y{formula}", data, "binomial"), "laplace"),
    )


@pytest.mark.parametrize("method", ["laplace", "pql", "mql"])
@pytest.mark.parametrize("family", ["binomial", "poisson", "gaussian"])
def test_order_of_rows_and_names_of_levels_do_not_matter(family: str, method: str) -> None:
    data = simulated(family, seed=2)
    formula = "y ~ x + z + (1 | g) + (1 | h)"
    fit = quiet(build(formula, data, family), method)
    shuffled = data.sample(frac=1.0, random_state=5)
    renamed = shuffled.assign(g=shuffled.g.map(lambda v: f"{99 - int(v[1:])} ünïcode"))
    other = quiet(build(formula, renamed, family), method)
    same(fit, other, loglik=method == "laplace")
    left = fit.random["g"]["Intercept"]
    right = other.random["g"]["Intercept"]
    for level in left.index:
        assert right[f"{99 - int(level[1:])} ünïcode"] == pytest.approx(left[level], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("table", ["polars", "pyarrow", "dict", "categorical", "read-only", "big-endian", "odd index"])
def test_the_kind_of_table_does_not_matter(table: str) -> None:
    data = simulated("poisson", seed=2)
    formula = "y ~ x + g + (1 | h)"
    if table == "polars":
        other: Any = pytest.importorskip("polars").from_pandas(data)
    elif table == "pyarrow":
        other = pytest.importorskip("pyarrow").Table.from_pandas(data)
    elif table == "dict":
        other = {c: data[c].to_list() for c in data}
    elif table == "categorical":
        other = data.assign(g=data.g.astype("category"), h=data.h.astype("category"), x=data.x.astype("Float64"))
    elif table == "read-only":
        arrays = {c: data[c].to_numpy(copy=True) for c in data}
        for values in arrays.values():
            values.flags.writeable = False
        other = pd.DataFrame(arrays, copy=False)
    elif table == "big-endian":
        other = data.assign(x=data.x.to_numpy().astype(">f8"), y=data.y.to_numpy().astype(">i4"))
    else:
        other = data.set_index(np.zeros(len(data), int))
    same(
        quiet(build(formula, data, "poisson"), "laplace"), quiet(build(formula, other, "poisson"), "laplace"), rel=1e-9
    )


@pytest.mark.parametrize("family", ["binomial", "poisson", "negative_binomial"])
def test_whole_weights_are_repeated_rows(family: str) -> None:
    data = simulated(family)
    data["w"] = np.random.default_rng(0).integers(1, 4, len(data))
    rows = data.loc[data.index.repeat(data.w)].reset_index(drop=True)
    for formula, method in (("y ~ x + z", "irls"), ("y ~ x + z", "laplace"), ("y ~ x + (1 | g)", "laplace")):
        a = quiet(build(formula, data, family, weights="w"), method)
        b = quiet(build(formula, rows, family), method)
        same(a, b)


def test_offset_exposure_and_formula_offset_are_one() -> None:
    data = simulated("poisson").assign(n=lambda d: np.exp(d.z) * 3, log_n=lambda d: d.z + np.log(3))
    by = [
        build("y ~ x + (1 | g)", data, "poisson", exposure="n"),
        build("y ~ x + (1 | g)", data, "poisson", offset="log_n"),
        build("y ~ x + (1 | g) + offset(log(n))", data, "poisson"),
        build("y ~ x + (1 | g) + offset(z)", data, "poisson", offset=np.full(len(data), np.log(3))),
    ]
    fits = [quiet(m, "laplace") for m in by]
    for other in fits[1:]:
        same(fits[0], other, rel=1e-8)


@pytest.mark.parametrize(
    ("one", "other", "covariance"),
    [
        ("y ~ x + (1 + x || g)", "y ~ x + (1 | g) + (0 + x | g)", None),
        ("y ~ x + (1 + x || g)", "y ~ x + (1 + x | g)", {"g": "diagonal"}),
        ("y ~ x + (x | g)", "y ~ x + (1 + x | g)", None),
        ("y ~ x + (1 | h / g)", "y ~ x + (1 | h) + (1 | h:g)", None),
        ("y ~ x * z + (1 | g)", "y ~ x + z + x:z + (1 | g)", None),
        ("y ~ 0 + x + (1 | g)", "y ~ x - 1 + (1 | g)", None),
        ("y ~ I(x + z) + (1 | g)", "y ~ I(z + x) + (1 | g)", None),
    ],
)
def test_ways_of_writing_a_model(one: str, other: str, covariance: Any) -> None:
    data = simulated("poisson", seed=7, groups=20)
    data["h"] = data.g.str[2]
    a = quiet(build(one, data, "poisson"), "laplace")
    b = quiet(build(other, data, "poisson", covariance=covariance), "laplace")
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    assert a.fixed["estimate"].to_numpy() == pytest.approx(b.fixed["estimate"].to_numpy(), rel=1e-5)
    assert np.sort(a.varcomp["sd"].dropna()) == pytest.approx(np.sort(b.varcomp["sd"].dropna()), rel=1e-4, abs=1e-5)


def test_the_baseline_moves_coefficients_and_nothing_else() -> None:
    data = frame("cbpp")
    fit = quiet(build("p(incidence, size) ~ period + (1 | herd)", data, "binomial"), "laplace")
    data["period"] = data.period.cat.reorder_categories(["3", "1", "4", "2"])
    moved = quiet(build("p(incidence, size) ~ period + (1 | herd)", data, "binomial"), "laplace")
    assert moved.loglik == pytest.approx(fit.loglik, abs=1e-8)
    assert moved.varcomp["sd"].to_numpy() == pytest.approx(fit.varcomp["sd"].to_numpy(), rel=1e-6)
    was, now = fit.fixed["estimate"], moved.fixed["estimate"]
    assert now["Intercept"] == pytest.approx(was["Intercept"] + was["period[T.3]"], rel=1e-6)
    assert now["period[T.1]"] == pytest.approx(-was["period[T.3]"], rel=1e-6)
    assert now["period[T.2]"] == pytest.approx(was["period[T.2]"] - was["period[T.3]"], rel=1e-5)


# --- scale and shift ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reml", "ml", "laplace"])
@pytest.mark.parametrize("factor", [1e-6, 10.0, 1e6])
def test_scaling_a_gaussian_response_scales_the_estimates(method: str, factor: float) -> None:
    data = simulated("gaussian", seed=3)
    fit = quiet(build("y ~ x + (1 + x | g)", data, "gaussian"), method)
    big = quiet(build("y ~ x + (1 + x | g)", data.assign(y=factor * data.y), "gaussian"), method)
    assert big.fixed["estimate"].to_numpy() == pytest.approx(factor * fit.fixed["estimate"].to_numpy(), rel=1e-5)
    assert big.fixed["se"].to_numpy() == pytest.approx(factor * fit.fixed["se"].to_numpy(), rel=1e-4)
    assert big.varcomp["sd"].to_numpy() == pytest.approx(factor * fit.varcomp["sd"].to_numpy(), rel=1e-4)
    rows = len(data) - (2 if method == "reml" else 0)
    assert big.loglik == pytest.approx(fit.loglik - rows * np.log(factor), abs=1e-6)


@pytest.mark.parametrize("factor", [1e-150, 1e-8, 1e-3, 1e3, 1e8, 1e150])
@pytest.mark.parametrize("family", ["poisson", "binomial", "gaussian"])
def test_units_of_a_predictor_do_not_matter(family: str, factor: float) -> None:
    data = simulated(family, seed=5)
    fit = quiet(build("y ~ x + (1 | g)", data, family), "laplace")
    other = quiet(build("y ~ x + (1 | g)", data.assign(x=factor * data.x), family), "laplace")
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-6)
    assert other.fixed.loc["x", "estimate"] * factor == pytest.approx(fit.fixed.loc["x", "estimate"], rel=1e-4)
    assert other.fixed.loc["x", "se"] * factor == pytest.approx(fit.fixed.loc["x", "se"], rel=1e-3)


@pytest.mark.parametrize("shift", [1e2, 1e4])
def test_the_origin_of_a_predictor_does_not_matter(shift: float) -> None:
    data = simulated("poisson", seed=5)
    fit = quiet(build("y ~ x + (1 | g)", data, "poisson"), "laplace")
    other = quiet(build("y ~ x + (1 | g)", data.assign(x=data.x + shift), "poisson"), "laplace")
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-5)
    assert other.fixed.loc["x", "estimate"] == pytest.approx(fit.fixed.loc["x", "estimate"], rel=1e-3)


@pytest.mark.filterwarnings("ignore::bayesglmm.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bayesglmm.errors.DataWarning")
@pytest.mark.parametrize("shift", [1e6, 1e8, 1e12])
def test_an_origin_far_away_is_right_or_said_to_be_wrong(shift: float) -> None:
    data = simulated("poisson", seed=5)
    right = quiet(build("y ~ x + (1 | g)", data, "poisson"), "laplace").fixed.loc["x", "estimate"]
    try:
        other = build("y ~ x + (1 | g)", data.assign(x=data.x + shift), "poisson").fit("laplace")
    except bg.BayesGLMMError:
        return
    near = other.fixed.loc["x", "estimate"] == pytest.approx(right, rel=1e-2)
    assert near or not other.status.converged or other.model.design.aliased


# --- the objective itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_the_score_is_zero_at_the_estimate(family: str) -> None:
    model = build("y ~ x + z + (1 | g) + (1 | h)", simulated(family, groups=15), family)
    fit = quiet(model, "laplace")
    best = fit.params
    assert model.loglik(best) == pytest.approx(fit.loglik, abs=1e-9)
    for name, value in best.items():
        if name.endswith(".sd") and value < 1e-3:
            continue
        step = 1e-4 * (fit.fixed.loc[name, "se"] if name in fit.fixed.index else abs(value))
        up, down = (model.loglik({**best, name: value + s}) for s in (step, -step))
        assert up - fit.loglik < 1e-9, name
        assert abs(up - down) / 2.0 < 2e-9, name


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_quadrature_is_the_integral(link: str) -> None:
    """Against one-dimensional integrals by an adaptive rule, group by group."""
    data = simulated("binomial", groups=6, sd=1.2)
    model = bg.Model("y ~ x + (1 | g)", data, "binomial", link=link, priors="flat")
    point = {"Intercept": 0.3, "x": 0.6, "g.sd": 1.4}
    inverse = {
        "logit": lambda eta: 1 / (1 + np.exp(-eta)),
        "probit": stats.norm.cdf,
        "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    }[link]

    def group(rows: pd.DataFrame) -> float:
        def density(b: float) -> float:
            mu = inverse(point["Intercept"] + point["x"] * rows.x + b)
            return float(np.prod(np.where(rows.y == 1, mu, 1 - mu)) * stats.norm.pdf(b, 0, point["g.sd"]))

        return float(np.log(integrate.quad(density, -12, 12, epsabs=1e-14, epsrel=1e-11, limit=400)[0]))

    exact = sum(group(rows) for _, rows in data.groupby("g"))
    assert model.loglik(point, "agq", nodes=51) == pytest.approx(exact, abs=1e-7)
    assert abs(model.loglik(point) - exact) > 1e-3  # Laplace is an approximation


def test_limits_of_families() -> None:
    data = simulated("poisson")
    formula, point = "y ~ x + (1 | g)", {"Intercept": 0.4, "x": 0.5, "g.sd": 0.6}
    poisson = build(formula, data, "poisson").loglik(point)
    assert build(formula, data, "negative_binomial").loglik({**point, "theta": 1e9}) == pytest.approx(poisson, abs=1e-5)
    data = simulated("gaussian")
    normal = build(formula, data, "gaussian").loglik({**point, "sigma": 1.1})
    assert build(formula, data, "student_t").loglik({**point, "sigma": 1.1, "nu": 1e9}) == pytest.approx(
        normal, abs=1e-5
    )


# --- predictions and priors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gaussian", "binomial", "poisson", "gamma"])
def test_predicting_the_training_rows_is_the_fit(family: str) -> None:
    data = simulated(family, seed=6)
    model = build("y ~ poly(x, 2) + scale(z) + C(h) + (1 + z | g)", data, family)
    fit = quiet(model, "laplace")
    for kind in ("mean", "linear"):
        here, there = fit.predict(kind=kind), fit.predict(data, kind=kind)
        pd.testing.assert_frame_equal(here, there, rtol=1e-9)
        backwards = fit.predict(data.iloc[::-1].drop(columns="y"), kind=kind)
        assert backwards["estimate"].to_numpy()[::-1] == pytest.approx(here["estimate"].to_numpy(), rel=1e-9)
    assert fit.predict(kind="linear")["estimate"].to_numpy() == pytest.approx(fit.result.eta, rel=1e-9)
    few = fit.predict(data.iloc[[3]])
    assert few["estimate"].iloc[0] == pytest.approx(fit.predict()["estimate"].iloc[3], rel=1e-9)


def test_very_wide_priors_are_flat_ones() -> None:
    data = simulated("poisson", groups=20)
    wide = {name: bg.Prior("Normal", mu=0, sigma=1e5) for name in ("Intercept", "x")}
    wide["g.sd"] = bg.Prior("HalfFlat")
    bayes = quiet(bg.Model("y ~ x + (1 | g)", data, "poisson", priors=wide), "agq")
    flat = quiet(build("y ~ x + (1 | g)", data, "poisson"), "agq")
    # The posterior's mode is stated on the log of the sd, whose Jacobian moves it by less than a standard error.
    assert bayes.fixed.loc["x", "estimate"] == pytest.approx(flat.fixed.loc["x", "estimate"], rel=1e-2)
    assert bayes.varcomp.loc[0, "sd"] == pytest.approx(flat.varcomp.loc[0, "sd"], rel=0.2)


def test_a_tight_prior_wins() -> None:
    data = simulated("poisson")
    tight = bg.Model("y ~ x + (1 | g)", data, "poisson", priors={"x": bg.Prior("Normal", mu=-2, sigma=1e-4)})
    assert quiet(tight, "laplace").fixed.loc["x", "estimate"] == pytest.approx(-2.0, abs=1e-3)
