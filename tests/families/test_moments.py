"""What a log-density, its derivatives, its variance and its deviance must have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from bayesglmm.families import FAMILIES, StudentT, Tweedie, get_family
from bayesglmm.families.base import Derivatives, Family
from bayesglmm.links import get_link

Floats = Any

# Natural auxiliaries and a mean for each family with a likelihood.
SETTINGS: dict[str, tuple[tuple[float, ...], float]] = {
    "gaussian": ((0.7,), 1.3),
    "binomial": ((), 0.37),
    "poisson": ((), 2.4),
    "negative_binomial": ((1.8,), 2.4),
    "negative_binomial_1": ((0.8,), 2.4),
    "gamma": ((2.3,), 1.6),
    "inverse_gaussian": ((2.3,), 1.2),
    "beta": ((6.0,), 0.37),
    "beta_binomial": ((3.0,), 0.37),
    "student_t": ((0.7, 7.5), 1.3),
    "tweedie": ((0.6, 1.45), 1.2),
    "zero_inflated_poisson": ((0.25,), 2.4),
    "zero_inflated_negative_binomial": ((1.8, 0.25), 2.4),
    "zero_inflated_negative_binomial_1": ((0.8, 0.25), 2.4),
    "hurdle_poisson": ((0.25,), 2.4),
    "hurdle_negative_binomial": ((1.8, 0.25), 2.4),
    "cumulative": ((0.8, 1.3), 0.4),
}
LIKELIHOODS = [n for n in FAMILIES if not get_family(n).quasi]
TRIALS = 6.0
# Their deviance is that of the mean-variance relation, or none.
NB1 = ("negative_binomial_1", "zero_inflated_negative_binomial_1")
WITHOUT_DEVIANCE = ("cumulative", *NB1, "beta", "beta_binomial")


def test_every_likelihood_has_settings() -> None:
    assert sorted(SETTINGS) == sorted(LIKELIHOODS)


def family_and_links(name: str) -> tuple[Family, tuple[str, ...]]:
    family = get_family(name, **({"levels": 4} if name == "cumulative" else {}))
    return family, family.links


def densities(name: str, link: str, y: Floats, w: float = 1.0) -> tuple[Callable[[Floats], Derivatives], Floats, Any]:
    """η ↦ derivatives for responses y at the family's setting; that η; the kernel with ψ."""
    family, _ = family_and_links(name)
    aux, mean = SETTINGS[name]
    assert family.kernel is not None
    factory = family.kernel(link)
    assert factory is not None
    y = np.asarray(y, dtype=float)
    kernel = factory(y, np.full(y.shape, TRIALS) if family.trials else None, np.full(y.shape, w))
    psi = np.array([float(get_link(a.link).eta(np.array(v))) for a, v in zip(family.auxiliaries, aux, strict=True)])
    eta = np.full(y.shape, float(get_link(link).eta(np.array(mean))))
    return (lambda e: kernel.derivatives(e, psi)), eta, (kernel, psi)


def expect(name: str, link: str, f: Callable[[Floats, Derivatives], Floats], w: float = 1.0) -> Floats:
    """∑ or ∫ of f(y, derivatives) under the density, and at zero also the point mass."""
    family, _ = family_and_links(name)

    def terms(y: Floats) -> Floats:
        evaluate, eta, _ = densities(name, link, y, w)
        found = evaluate(eta)
        return np.exp(found.value) * f(np.asarray(y, dtype=float), found)

    if name == "cumulative":
        return terms(np.arange(4.0)).sum(axis=-1)
    if family.trials:
        return terms(np.arange(TRIALS + 1.0)).sum(axis=-1)
    if family.support.integer:
        return terms(np.arange(400.0)).sum(axis=-1)
    low, high = {"beta": (0.0, 1.0), "gaussian": (-12.0, 14.0), "student_t": (-np.inf, np.inf)}.get(name, (0.0, np.inf))
    if high == np.inf:
        # t = e^x carries (0, ∞) to the line; the Student-t's tails by sinh.
        grid = np.linspace(-40.0, 8.0, 40001) if low == 0.0 else np.linspace(-14.0, 14.0, 40001)
        y, jacobian = (np.exp(grid), np.exp(grid)) if low == 0.0 else (np.sinh(grid), np.cosh(grid))
        whole = integrate.simpson(terms(y) * jacobian, x=grid)
    elif name == "beta":
        grid = np.linspace(-45.0, 36.0, 40001)
        y = 1.0 / (1.0 + np.exp(-grid))
        whole = integrate.simpson(terms(y) * y / (1.0 + np.exp(grid)), x=grid)
    else:
        grid = np.linspace(low, high, 40001)
        whole = integrate.simpson(terms(grid), x=grid)
    return whole + terms(np.zeros(1)).sum(axis=-1) if name == "tweedie" else whole


PAIRS = [(n, link) for n in LIKELIHOODS for link in family_and_links(n)[1]]


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_density_sums_to_one_and_bartlett_identities_hold(name: str, link: str) -> None:
    one, score, first, square = (
        expect(name, link, f)
        for f in (
            lambda y, d: np.ones_like(y),
            lambda y, d: d.d1,
            lambda y, d: d.d2,
            lambda y, d: d.d1**2,
        )
    )
    tolerance = 2e-6 if name == "student_t" else 1e-9
    assert one == pytest.approx(1.0, abs=tolerance)
    assert score == pytest.approx(0.0, abs=tolerance * (1.0 + square))
    assert first == pytest.approx(-square, rel=1e-5 if name == "student_t" else 1e-8)
    third = expect(name, link, lambda y, d: d.d3 + 3.0 * d.d1 * d.d2 + d.d1**3)
    assert third == pytest.approx(0.0, abs=1e-5 if name == "student_t" else 1e-7 * (1.0 + square**1.5))


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_expected_weight_is_the_fisher_information(name: str, link: str) -> None:
    y = np.ones(1)
    _, eta, (kernel, psi) = densities(name, link, 0.5 * y if name == "beta" else y)
    weight = float(kernel.expected_weight(eta, psi)[0])
    information = float(expect(name, link, lambda y, d: d.d1**2))
    if name in (*NB1, "beta_binomial"):
        # There it is the part of the information that is in the mean.
        assert 0.5 * information < weight < information
    else:
        assert weight == pytest.approx(information, rel=1e-5 if name == "student_t" else 1e-8)


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_expected_weight_of_exponential_families_is_that_of_the_variance_function(name: str, link: str) -> None:
    family, _ = family_and_links(name)
    if not family.exponential and name not in ("tweedie", "negative_binomial_1", "beta_binomial"):
        assert name not in ("gaussian", "binomial", "poisson", "gamma")
        return
    aux, mean = SETTINGS[name]
    w = 1.7
    _, eta, (kernel, psi) = densities(name, link, np.ones(1), w)
    mu = np.array([mean])
    scale = family.scale if family.scale is not None else family.dispersion(aux)  # type: ignore[misc]
    trials = TRIALS if family.trials else 1.0
    if name == "beta_binomial":
        trials /= 1.0 + (TRIALS - 1.0) / (1.0 + aux[0])
    slope = get_link(link).slope(eta)
    want = w * trials * slope**2 / (scale * family.variance(mu, aux))
    np.testing.assert_allclose(kernel.expected_weight(eta, psi), want, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "cumulative"])
def test_variance_and_expectation(name: str) -> None:
    family, links = family_and_links(name)
    aux, mean = SETTINGS[name]
    per = TRIALS if family.trials else 1.0
    tolerance = 1e-4 if name == "student_t" else 1e-8
    first = float(expect(name, links[0], lambda y, d: y / per))
    expected = mean if family.expectation is None else float(family.expectation(np.array(mean), aux))
    assert first == pytest.approx(expected, rel=tolerance)
    second = float(expect(name, links[0], lambda y, d: (y / per - expected) ** 2))
    scale = family.scale if family.scale is not None else family.dispersion(aux)  # type: ignore[misc]
    want = scale * float(family.variance(np.array([mean]), aux)[0]) / per
    if name == "beta_binomial":
        want *= 1.0 + (TRIALS - 1.0) / (1.0 + aux[0])
    assert second == pytest.approx(want, rel=10 * tolerance)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n not in WITHOUT_DEVIANCE])
def test_deviance_is_twice_the_distance_to_the_best_log_density(name: str) -> None:
    """2φ(max over η of ℓ − ℓ) = w d, the maximum found numerically."""
    family, links = family_and_links(name)
    aux, mean = SETTINGS[name]
    y = {"gaussian": [-1.0, 3.0], "student_t": [-1.0, 3.0]}.get(name, [0.0, 1.0, 2.0, 5.0])
    y = [v for v in y if v > 0.0] if name in ("gamma", "inverse_gaussian") else y
    link = "log" if family.mean_range[0] == 0.0 and family.mean_range[1] == np.inf else links[0]
    evaluate, eta, _ = densities(name, link, np.array(y))
    grid = np.linspace(-30.0, 30.0, 240001)[:, None]
    best = evaluate(grid + 0.0 * eta).value.max(axis=0)
    scale = 1.0 if family.scale is not None or not family.exponential else family.dispersion(aux)  # type: ignore[misc]
    scale = family.dispersion(aux) if name == "tweedie" else scale  # type: ignore[misc]
    per = TRIALS if family.trials else 1.0
    deviance = per * family.unit_deviance(np.array(y) / per, np.full(len(y), mean), aux)
    np.testing.assert_allclose(deviance, 2.0 * scale * (best - evaluate(eta).value), atol=2e-6, rtol=1e-5)
    assert np.all(deviance >= 0.0)


def test_fixed_parameters_enter_variance_and_deviance() -> None:
    mu = np.array([0.5, 4.0])
    np.testing.assert_allclose(Tweedie(1.3).variance(mu, (2.0,)), mu**1.3)
    np.testing.assert_allclose(StudentT(nu=4.0).variance(mu, (2.0,)), 8.0)
    assert np.isinf(StudentT(nu=2.0).variance(mu, (2.0,))).all()
    nb = get_family("negative_binomial", theta=0.5)
    np.testing.assert_allclose(nb.variance(mu, ()), mu + 2.0 * mu**2)
    free = get_family("negative_binomial").unit_deviance
    np.testing.assert_allclose(nb.unit_deviance(mu[::-1], mu, ()), free(mu[::-1], mu, (0.5,)))
