"""Leave-one-out at the right unit, against brute-force refits; marginal likelihoods against integration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

import bayesglmm as bg
from bayesglmm.diagnose.evidence import bridge
from bayesglmm.diagnose.loo import exact, pointwise
from bayesglmm.diagnose.moment_match import _Row, _vectors
from bayesglmm.idata import log_likelihood
from bayesglmm.joint import joint_logp
from bayesglmm.latent import marginal_loglik
from bayesglmm.latent.target import make_target
from bayesglmm.latent.unit_loglik import unit_log_likelihood, units_of
from bayesglmm.methods.registry import METHODS
from bayesglmm.parameters import pack, theta_slices
from bayesglmm.problem import without_rows
from bayesglmm.result import Draws


def table(groups: int = 10, size: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=groups * size)
    eta = 0.8 + 0.4 * x + 0.6 * rng.normal(size=groups)[g]
    data = pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "g": g, "h": g // 2})
    return data.sample(frac=1.0, random_state=3).reset_index(drop=True)  # rows of a group apart


DATA = table()
MODEL = bg.Model("y ~ x + (1 | g)", DATA, family="poisson")


@pytest.fixture(scope="module")
def fit() -> bg.Fit:
    return MODEL.fit("laplace")


def at(fit: bg.Fit) -> Draws:
    r = fit.result
    return Draws(r.beta[None, None], r.theta[None, None], r.psi[None, None], ())


@pytest.mark.parametrize(
    ("formula", "random"),
    [("y ~ x + (1 | g)", {"g.sd": 0.6}), ("y ~ x + (1 + x | g)", {"g.sd": [0.6, 0.3], "g.corr": 0.4})],
)
def test_units_add_up_to_the_marginal_likelihood(formula: str, random: dict[str, object]) -> None:
    model = bg.Model(formula, DATA, family="poisson")
    point = pack(model.problem, {"Intercept": 0.7, "x": 0.4, **random})
    draws = Draws(point.beta[None, None], point.theta[None, None], point.psi[None, None], ())
    units = unit_log_likelihood(model.problem, draws, nodes=15)[0, 0]
    total = marginal_loglik(model.problem, point.beta, point.theta, point.psi, nodes=15)
    assert units.shape == (10,)
    assert units.sum() == pytest.approx(total, rel=1e-12)


def test_each_unit_is_the_likelihood_of_its_rows(fit: bg.Fit) -> None:
    name, labels, of_row = units_of(MODEL.problem)
    units = unit_log_likelihood(MODEL.problem, at(fit), nodes=15)[0, 0]
    assert name == "g"
    r = fit.result
    for j, label in enumerate(labels):
        assert set(DATA["g"][of_row == j].astype(str)) == {label}
        rest = without_rows(MODEL.problem, of_row == j)
        others = marginal_loglik(rest, r.beta, r.theta, r.psi, nodes=15)
        assert units[j] == pytest.approx(units.sum() - others, abs=1e-10)


def test_nested_units_are_the_outer_levels() -> None:
    model = bg.Model("y ~ x + (1 | h/g)", DATA, family="poisson")
    fit = model.fit("laplace")
    name, labels, of_row = units_of(model.problem)
    assert (name, len(labels)) == ("h", 5)
    assert all(set(DATA["h"][of_row == j].astype(str)) == {label} for j, label in enumerate(labels))
    r = fit.result
    units = unit_log_likelihood(model.problem, at(fit))[0, 0]
    assert units.sum() == pytest.approx(marginal_loglik(model.problem, r.beta, r.theta, r.psi), rel=1e-12)


def test_fewer_rows_are_the_same_model_of_fewer_rows() -> None:
    out = DATA["g"].to_numpy() == 3
    flat = bg.Model("y ~ x + (1 | g)", DATA, family="poisson", priors="flat")
    point = {"Intercept": 0.7, "x": 0.3, "g.sd": 0.5}
    small = bg.Model("y ~ x + (1 | g)", DATA[~out], family="poisson", priors="flat").loglik(point)
    rest = without_rows(flat.problem, out)
    assert marginal_loglik(rest, np.array([0.7, 0.3]), np.array([0.5]), np.empty(0)) == pytest.approx(small, rel=1e-12)


@pytest.mark.parametrize("unit", ["group", "row"])
def test_against_brute_force_refits(fit: bg.Fit, unit: str) -> None:
    smoothed = fit.loo(unit, seed=1)
    brute = fit.loo(unit, refit=-np.inf, seed=1)
    assert smoothed.approx_posterior
    good = smoothed.pareto_k.to_numpy() < 0.7
    assert good.mean() > 0.85
    # Monte-Carlo error of a thousand draws on either side; where k-hat is high more is allowed, and asked for below.
    gap = np.abs((smoothed.elpd_i - brute.elpd_i).to_numpy())
    assert gap[good].max() < 0.25
    mended = fit.loo(unit, refit=True, seed=1)
    assert np.array_equal(mended.elpd_i.to_numpy()[good], smoothed.elpd_i.to_numpy()[good])
    assert np.allclose(mended.elpd_i.to_numpy()[~good], brute.elpd_i.to_numpy()[~good], rtol=0, atol=1e-12)
    assert not mended.warning
    assert mended.elpd == pytest.approx(brute.elpd, abs=0.5)
    assert brute.elpd == pytest.approx(float(brute.elpd_i.sum()), rel=1e-12)


@pytest.mark.parametrize(("unit", "j"), [("row", 16), ("row", 11), ("group", 9)])
def test_what_is_left_out_is_a_ratio_of_marginal_likelihoods(fit: bg.Fit, unit: str, j: int) -> None:
    found = pointwise(MODEL.problem, fit.result, unit, seed=1)
    left = exact(MODEL.problem, fit.result, found, j, nodes=15, draws=1000, seed=1)
    without = without_rows(MODEL.problem, found.of_row == j)
    few = bridge(without, METHODS["laplace"].run(without, draws=0), draws=4000, seed=1)
    whole = fit.evidence(draws=4000, seed=1)
    # log p(y) − log p(y without j) is log p(y_j | the others); four standard errors of bridges and draws.
    assert left == pytest.approx(whole.log_evidence - few.log_evidence, abs=0.08)


def test_sampled_and_weighted_draws_agree(fit: bg.Fit) -> None:
    nested = MODEL.fit("inla", seed=2)
    refined = fit.refine(seed=3)
    for unit in ("row", "group"):
        weighted, resampled, mixed = (f.loo(unit, seed=4).elpd for f in (fit, refined, nested))
        assert weighted == pytest.approx(resampled, abs=0.6)  # Monte-Carlo error, two or three times over
        assert mixed == pytest.approx(weighted, abs=1.2)  # its random effects are Gaussian but for skewness


def test_matched_moments_come_nearer_to_exact_refits(fit: bg.Fit) -> None:
    """The least expected group, of few draws: what smoothing alone gets wrong."""
    few = fit.refine(draws=200, seed=8)
    plain = few.loo("group")
    moved = few.loo("group", moment_match=True)
    brute = fit.loo("group", refit=-np.inf, seed=1).elpd_i.to_numpy()
    poor = plain.pareto_k.to_numpy() > plain.good_k
    assert poor.any()
    assert np.array_equal(moved.elpd_i.to_numpy()[~poor], plain.elpd_i.to_numpy()[~poor])
    assert moved.pareto_k.to_numpy()[poor].max() < plain.pareto_k.to_numpy()[poor].max()
    assert np.abs(moved.elpd_i.to_numpy() - brute)[poor].max() < 0.25
    with pytest.raises(bg.MethodError, match=r"take fit.refine\(\) first"):
        fit.loo("group", moment_match=True)


def test_matched_moments_of_rows_come_nearer_to_exact_refits() -> None:
    """Pairs of rows, two of them far from their partners: without one of the two a pair's effect is elsewhere."""
    rng = np.random.default_rng(3)
    x, g = rng.normal(size=50), np.repeat(np.arange(25), 2)
    y = 0.5 * x + 2.0 * rng.normal(size=25)[g] + 0.5 * rng.normal(size=50)
    y[[3, 10]] += 3.0
    fit = bg.Model("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g})).fit("laplace")
    draws = fit.refine(draws=2000, proposals=10000, seed=2)
    plain, moved = draws.loo("row"), draws.loo("row", moment_match=True)
    k = plain.pareto_k.to_numpy()
    poor = k > plain.good_k
    assert poor.sum() >= 4
    assert np.array_equal(moved.elpd_i.to_numpy()[~poor], plain.elpd_i.to_numpy()[~poor])
    assert moved.elpd == pytest.approx(float(moved.elpd_i.sum()))
    assert moved.pareto_k.to_numpy()[poor].max() < moved.good_k
    exact = draws.loo("row", refit=True, seed=1).elpd_i.to_numpy()
    off = [np.abs(f.elpd_i.to_numpy() - exact)[poor] for f in (plain, moved)]
    assert off[1].mean() < 0.5 * off[0].mean()
    assert off[1].max() < 0.25


def test_density_of_a_row_is_the_joint_one() -> None:
    """Of parameters and u of the row's levels, other random effects fixed, differences against the joint density."""
    K = 0.5 * np.eye(5) + 0.5
    model = bg.Model(
        "y ~ x + (1 + x | g) + (1 | h)", DATA, family="negative_binomial", covariance={"h": bg.Known(K, list("01234"))}
    )
    problem = model.problem
    target, rng = make_target(problem), np.random.default_rng(2)
    theta = np.abs(rng.normal(0.5, 0.2, (2, 3, 4)))
    effects = tuple(0.4 * rng.normal(size=(2, 3, len(b.levels), len(b.columns))) for b in problem.design.blocks)
    draws = Draws(0.3 * rng.normal(size=(2, 3, 2)), theta, 0.3 * rng.normal(size=(2, 3, 1)), effects)
    row = _Row.of(problem, target, draws, 7)
    x = row.together(_vectors(target, draws))
    moved = x + 0.1 * np.random.default_rng(1).normal(size=x.shape)
    ours = row.log_density(moved) - row.log_density(x)

    def joint(sample: Draws) -> np.ndarray:
        out = np.empty(sample.beta.shape[:2])
        for at in np.ndindex(*out.shape):
            factors = [c.factor(sample.theta[at][s]) for c, s in zip(problem.covariance, theta_slices(problem))]
            u = [np.linalg.solve(L, b[at].T).T for L, b in zip(factors, sample.effects)]
            out[at] = joint_logp(problem, sample.beta[at], sample.theta[at], sample.psi[at], u, working=True)
            # from densities of all u to those of the other levels' b
            out[at] -= sum((len(v) - 1) * np.linalg.slogdet(L)[1] for L, v in zip(factors, u))
        return out

    np.testing.assert_allclose(ours, joint(row._sample(moved)) - joint(draws), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(row.log_likelihood(x, 0), log_likelihood(problem, draws)[..., 7], rtol=1e-10)


def test_groups_are_harder_to_predict_than_rows_of_known_groups(fit: bg.Fit) -> None:
    assert fit.loo("group", seed=1).elpd < fit.loo("row", seed=1).elpd
    assert fit.loo("g", seed=1).elpd == fit.loo("group", seed=1).elpd


def test_arviz_compares_them(fit: bg.Fit) -> None:
    import arviz as az

    other = bg.Model("y ~ 1 + (1 | g)", DATA, family="poisson").fit("laplace")
    table = az.compare({"x": fit.loo("group", seed=1), "none": other.loo("group", seed=1)})
    assert table.index[0] == "x"


def test_waic_is_near_loo_where_both_can_be_trusted() -> None:
    fit = MODEL.fit("laplace").refine(draws=4000, seed=5)
    found = fit.waic("group")
    values = pointwise(MODEL.problem, fit.result, "group").values.reshape(-1, 10)
    by_hand = np.log(np.exp(values).mean(axis=0)) - values.var(axis=0, ddof=1)
    assert found["elpd"] == pytest.approx(by_hand.sum(), rel=1e-10)
    # Half of the ten groups have penalties near WAIC's limit: over seeds it is 0.11 above, with an sd of 0.04.
    assert found["elpd"] == pytest.approx(fit.loo("group").elpd, abs=0.3)


def test_a_marginal_likelihood_by_integration() -> None:
    data = DATA[["y", "g"]]
    priors = {"Intercept": bg.Prior("Normal", mu=0.5, sigma=1.0), "g.sd": bg.Prior("Exponential", lam=1.5)}
    model = bg.Model("y ~ 1 + (1 | g)", data, family="poisson", priors=priors)

    def density(sd: float, b: float) -> float:
        prior = np.exp(-0.5 * (b - 0.5) ** 2) / np.sqrt(2 * np.pi) * 1.5 * np.exp(-1.5 * sd)
        return prior * np.exp(model.loglik({"Intercept": b, "g.sd": sd}, method="agq", nodes=15) + 90.0)

    total = integrate.dblquad(density, 0.0, 2.0, 0.02, 3.0, epsrel=1e-4)[0]
    expected = np.log(total) - 90.0
    found = model.fit("laplace").evidence(seed=6)
    assert found.log_evidence == pytest.approx(expected, abs=4 * found.error + 2e-3)
    assert found.error < 0.02
    nested = model.fit("inla")
    assert nested.log_evidence == pytest.approx(expected, abs=0.04)  # an approximation's
    found = nested.evidence(draws=500, seed=6)
    assert found.log_evidence == pytest.approx(expected, abs=4 * found.error + 2e-3)


def test_what_cannot_be_left_out_is_said() -> None:
    crossed = DATA.assign(k=np.arange(40) % 4)
    fit = bg.Model("y ~ x + (1 | g) + (1 | k)", crossed, family="poisson").fit("laplace")
    with pytest.raises(bg.MethodError, match="g and k are crossed"):
        fit.loo("group")
    with pytest.raises(bg.MethodError, match="unit is 'h'; 'row', 'group' or 'g' is expected"):
        MODEL.fit("laplace").loo("h")
    with pytest.raises(bg.MethodError, match="fit by 'pql' is no posterior"):
        MODEL.fit("pql").loo()
    with pytest.raises(bg.MethodError, match="fit by 'laplace' with flat priors is no posterior"):
        bg.Model("y ~ x + (1 | g)", DATA, family="poisson", priors="flat").fit("laplace").loo()
    with pytest.raises(bg.MethodError, match="these are an approximation's"):
        MODEL.fit("laplace").waic()
    with pytest.raises(bg.MethodError, match="needs proper priors"):
        bg.Model("y ~ x", DATA, family="poisson", priors="flat").fit("laplace").evidence()
