"""Wishart priors of covariance matrices: density, gradient, draws, names, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_data import frame
from scipy import stats
from scipy.optimize import approx_fprime

import bayesglmm as bg
from bayesglmm.errors import SpecError
from bayesglmm.priors import Prior
from bayesglmm.priors.wishart import draw_factors, factor_density, natural_density

SCALE = ((0.8, 0.2, -0.1), (0.2, 0.5, 0.15), (-0.1, 0.15, 1.3))
PRIORS = {
    "precision": Prior("Wishart", df=5.5, scale=SCALE, on="precision"),
    "covariance": Prior("Wishart", df=4.2, scale=SCALE),
    "inverse": Prior("InverseWishart", df=5.0, scale=SCALE),
    "diagonal": Prior("Wishart", df=3.5, scale=[0.5, 1.0, 2.0], on="precision"),
}


def by_scipy(prior: Prior, cov: np.ndarray) -> float:
    """Log-density of Σ."""
    values = dict(prior.params)
    scale = np.asarray(values["scale"])
    scale = np.diag(scale) if scale.ndim == 1 else scale
    if prior.name == "InverseWishart":
        return float(stats.invwishart(df=values["df"], scale=scale).logpdf(cov))
    own = stats.wishart(df=values["df"], scale=scale)
    if prior.on == "value":
        return float(own.logpdf(cov))
    return float(own.logpdf(np.linalg.inv(cov)) - (len(cov) + 1) * np.linalg.slogdet(cov)[1])


def packed(seed: int, q: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    L = np.tril(rng.normal(size=(q, q)))
    np.fill_diagonal(L, rng.uniform(0.4, 1.5, q))
    return L[np.tril_indices(q)]


def unpacked(theta: np.ndarray, q: int = 3) -> np.ndarray:
    L = np.zeros((q, q))
    L[np.tril_indices(q)] = theta
    return L


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("seed", [1, 2])
def test_density_of_the_factor_is_scipys_times_the_jacobian(kind: str, seed: int) -> None:
    """Its Jacobian by differences of Σ = LL', not by the formula."""
    prior, theta = PRIORS[kind], packed(seed)
    rows = np.tril_indices(3)
    jacobian = np.stack(
        [
            ((unpacked(theta + h) @ unpacked(theta + h).T - unpacked(theta - h) @ unpacked(theta - h).T) / 2e-5)[rows]
            for h in 1e-5 * np.eye(6)
        ]
    )
    L = unpacked(theta)
    expected = by_scipy(prior, L @ L.T) + np.linalg.slogdet(jacobian)[1]
    value, grad = factor_density(prior, theta)
    assert value == pytest.approx(expected, rel=1e-9)
    numeric = [
        (factor_density(prior, theta + h)[0] - factor_density(prior, theta - h)[0]) / 2e-6 for h in 1e-6 * np.eye(6)
    ]
    np.testing.assert_allclose(grad, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", PRIORS)
def test_density_of_sds_and_correlations(kind: str) -> None:
    sd = np.array([[0.5, 1.2, 0.9], [1.0, 0.3, 2.0]])
    corr = np.stack([unpacked(packed(s)) @ unpacked(packed(s)).T for s in (3, 4)])
    root = np.sqrt(np.einsum("kii->ki", corr))
    corr = corr / root[:, :, None] / root[:, None, :]
    found = natural_density(PRIORS[kind], sd, corr)

    def entries(x: np.ndarray) -> np.ndarray:
        R = np.eye(3)
        R[np.tril_indices(3, -1)] = x[3:]
        R = np.tril(R) + np.tril(R, -1).T
        return (x[:3, None] * R * x[:3])[np.tril_indices(3)]

    for s, R, value in zip(sd, corr, found):
        x = np.concatenate([s, R[np.tril_indices(3, -1)]])
        slope = np.linalg.slogdet(approx_fprime(x, entries, 1e-7))[1]
        assert value == pytest.approx(by_scipy(PRIORS[kind], s[:, None] * R * s) + slope, abs=1e-5)


def test_one_column_is_a_gamma_of_the_precision() -> None:
    wishart = Prior("Wishart", df=3.0, scale=[0.7], on="precision")
    gamma = Prior("Gamma", alpha=1.5, beta=1 / 1.4, on="precision")
    for sd in (0.2, 1.0, 3.0):
        assert factor_density(wishart, np.array([sd]))[0] == pytest.approx(float(gamma.log_density(sd)[0]), rel=1e-12)


@pytest.mark.parametrize("kind", PRIORS)
def test_draws_are_scipys(kind: str) -> None:
    """Traces of Σ and its log-determinants, two-sample Kolmogorov-Smirnov against SciPy's generator."""
    prior, count = PRIORS[kind], 4000
    L = draw_factors(prior, np.random.default_rng(6), count)
    assert np.all(np.triu(L, 1) == 0)
    assert np.all(np.einsum("kii->ki", L) > 0)
    values = dict(prior.params)
    scale = np.asarray(values["scale"])
    scale = np.diag(scale) if scale.ndim == 1 else scale
    named = stats.invwishart if prior.name == "InverseWishart" else stats.wishart
    theirs = named(df=values["df"], scale=scale).rvs(count, random_state=7)
    theirs = np.linalg.inv(theirs) if prior.on == "precision" else theirs
    ours = L @ np.swapaxes(L, 1, 2)
    for read in (lambda m: m[:, 0, 0], lambda m: m[:, 0, 2] / np.sqrt(m[:, 0, 0] * m[:, 2, 2]), lambda m: m[:, 2, 2]):
        assert stats.ks_2samp(read(ours), read(theirs)).pvalue > 1e-3


DATA = frame("sleepstudy")
FORMULA = "Reaction ~ Days + (Days | Subject)"


def model(prior: Any, formula: str = FORMULA, **others: Any) -> bg.Model:
    return bg.Model(formula, DATA, "gaussian", priors={"Subject.cov": prior, **others})


def test_the_table_has_one_row_for_the_matrix() -> None:
    table = model(Prior("Wishart", df=4, scale=0.01, on="precision")).priors
    assert list(table.index) == ["Intercept", "Days", "Subject.cov", "sigma"]
    assert table.loc["Subject.cov", "prior"] == "Wishart(df=4, scale=[0.01, 0.01]) on the precision"


def test_matrix_priors_are_compared_and_printed() -> None:
    prior = Prior("Wishart", df=4, scale=np.diag([1.0, 2.0]), on="precision")
    assert prior == Prior("Wishart", df=4, scale=[[1, 0], [0, 2]], on="precision")
    assert hash(prior) == hash(Prior("Wishart", df=4.0, scale=((1, 0), (0, 2)), on="precision"))
    assert eval(repr(prior)) == prior
    assert str(Prior("InverseWishart", df=3, scale=2)) == "InverseWishart(df=3, scale=2)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Prior("Wishart", df=3), "needs scale"),
        (lambda: Prior("Wishart", df=-1, scale=1), "df of Wishart is -1; a positive number"),
        (lambda: Prior("Wishart", df=3, scale="one"), "scale of Wishart is 'one'"),
        (lambda: Prior("Wishart", df=3, scale=[[1, 0.5]]), "square matrix"),
        (lambda: Prior("Wishart", df=3, scale=[[1, 0.5], [0.4, 1]]), "symmetric and positive definite"),
        (lambda: Prior("Wishart", df=3, scale=[1, -1]), "symmetric and positive definite"),
        (lambda: Prior("Wishart", df=3, scale=1, on="variance"), "can be on the 'precision'"),
        (lambda: Prior("InverseWishart", df=3, scale=1, on="precision"), "on the covariance itself"),
        (lambda: Prior("Wishart", df=3, scale=1).log_density(1.0), "a prior of a matrix"),
        (lambda: Prior("LKJ", eta=2).log_density(0.5), "a prior of a matrix"),
        (lambda: model(Prior("Wishart", df=1, scale=1)), "must be above 1, such as 3"),
        (lambda: model(Prior("Wishart", df=3, scale=[1, 1, 1])), "the term has 2 columns"),
        (lambda: model(Prior("LKJ", eta=2)), "use Wishart"),
        (lambda: model(Prior("Wishart", df=3, scale=1), "Reaction ~ Days + (1 | Subject)"), "Gamma"),
        (lambda: model(Prior("Wishart", df=3, scale=1), "Reaction ~ Days + (Days || Subject)"), "correlated columns"),
        (lambda: model(Prior("Wishart", df=3, scale=1), **{"Subject.corr": Prior("LKJ", eta=2)}), "leave one of them"),
        (lambda: model(Prior("Wishart", df=3, scale=1), **{"Subject.Days.sd": Prior("HalfNormal")}), "leave one"),
        (
            lambda: bg.Model(FORMULA, DATA, priors={"Subject.corr": Prior("Wishart", df=3, scale=1)}),
            "Subject.cov is the covariance matrix",
        ),
        (lambda: bg.Model(FORMULA, DATA, priors={"Subject.sd": Prior("Wishart", df=3, scale=1)}), "HalfNormal"),
        (lambda: bg.Model(FORMULA, DATA, priors={"Days": Prior("Wishart", df=3, scale=1)}), "Normal"),
    ],
)
def test_what_a_wishart_prior_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make()


def test_a_model_file_may_hold_a_matrix(tmp_path: Path) -> None:
    DATA.to_csv(tmp_path / "sleep.csv", index=False)
    (tmp_path / "m.toml").write_text(
        f'[model]\nformula = "{FORMULA}"\nfamily = "gaussian"\n[data]\nfile = "sleep.csv"\n[priors]\n'
        'sigma = {dist = "HalfNormal", sigma = 40}\n'
        '"Subject.cov" = {dist = "Wishart", df = 4, scale = [[0.01, 0.0], [0.0, 0.2]], on = "precision"}\n'
    )
    loaded = bg.load_model(tmp_path / "m.toml")
    assert loaded.priors.loc["Subject.cov", "prior"] == "Wishart(df=4, scale=[[0.01, 0], [0, 0.2]]) on the precision"
    fitted = loaded.fit("laplace")
    fitted.save(tmp_path / "m.fit")
    assert bg.load_fit(tmp_path / "m.fit").model.problem.priors == loaded.problem.priors


def test_the_posterior_of_a_covariance_whose_effects_are_seen_is_conjugate() -> None:
    """Σ⁻¹ given effects B of m levels is Wishart(ν + m, (S⁻¹ + B'B)⁻¹): its density is flat at the mode of θ."""
    rng = np.random.default_rng(4)
    levels = 12
    b = rng.multivariate_normal([0, 0], [[1.0, 0.4], [0.4, 0.5]], levels)
    code, x = np.repeat(np.arange(levels), 4), np.tile([0.0, 1.0], 2 * levels)
    y = b[code, 0] + b[code, 1] * x + 1e-4 * rng.normal(size=len(x))
    data = pd.DataFrame({"y": y, "x": x, "g": [f"g{c:02d}" for c in code]})
    inverse = np.array([[2.0, 0.3], [0.3, 1.0]])
    priors = {
        "g.cov": Prior("Wishart", df=6, scale=np.linalg.inv(inverse), on="precision"),
        "sigma": Prior("HalfNormal", sigma=1e-3),
    }
    theta = bg.Model("y ~ 0 + (x | g)", data, "gaussian", priors=priors).fit("laplace").result.theta
    own = Prior("Wishart", df=6 + levels, scale=np.linalg.inv(inverse + b.T @ b), on="precision")
    grad = factor_density(own, theta)[1] * [theta[0], 1.0, theta[2]] + [1.0, 0.0, 1.0]  # over the log of its diagonal
    np.testing.assert_allclose(grad, 0.0, atol=1e-2)
