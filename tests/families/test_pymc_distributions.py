"""Every family's PyMC distribution has the log-density of its kernel, and draws from it have its mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayesglmm.families import FAMILIES, NegativeBinomial, StudentT, Tweedie, eta_domain, get_family
from bayesglmm.families.base import Family
from bayesglmm.families.tweedie import draw
from bayesglmm.links import Link, get_link

N = 10
CASES: list[Family] = [
    *(get_family(name) for name in FAMILIES if name != "cumulative" and not get_family(name).quasi),
    get_family("cumulative", levels=4),
    Tweedie(1.4),
    StudentT(nu=4.0),
    NegativeBinomial(theta=2.0),
]


def linear_predictors(family: Family, link: Link, rng: np.random.Generator) -> Any:
    low, high = eta_domain(family, link)
    if np.isfinite(low) and np.isfinite(high):
        return rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low), N)
    if np.isfinite(low):
        return low + rng.uniform(0.2, 2.0, N)
    return high - rng.uniform(0.2, 2.0, N) if np.isfinite(high) else rng.uniform(-1.5, 1.5, N)


def responses(family: Family, rng: np.random.Generator) -> tuple[Any, Any]:
    if family.trials:
        m = rng.integers(1, 20, N).astype(float)
        return np.floor(rng.uniform(0.0, 1.0, N) * (m + 1.0)), m
    if family.categories == "ordered":
        return rng.integers(0, 4, N).astype(float), None
    if family.name == "beta":
        return rng.uniform(0.02, 0.98, N), None
    if family.support.integer:
        return rng.poisson(2.0, N).astype(float), None
    if family.support.low == 0.0:
        y = rng.gamma(2.0, 1.0, N)
        y[: 3 if not family.support.low_open else 0] = 0.0
        return y, None
    return rng.normal(size=N), None


@pytest.mark.parametrize("family", CASES, ids=lambda f: "-".join([f.name, *map(str, f.options.values())]))
def test_distribution_equals_kernel(family: Family) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    rng = np.random.default_rng(11)
    names = family.links[:1] if family.categories == "ordered" else family.links
    for name in names:
        link = get_link(name)
        y, m = responses(family, rng)
        eta, w = linear_predictors(family, link, rng), rng.uniform(0.5, 2.0, N)
        assert family.kernel is not None
        assert family.distribution is not None
        factory = family.kernel(name)
        assert factory is not None
        kernel = factory(y, m, w)
        psi = rng.uniform(-0.7, 0.7, kernel.n_aux)
        aux = {a.name: get_link(a.link).symbolic(pt, pt.as_tensor(p)) for a, p in zip(family.auxiliaries, psi)}
        e = pt.as_tensor(eta)
        distribution = family.distribution(
            pm,
            e if name == family.links[0] else None,
            link.symbolic(pt, e),
            aux,
            m,
            w if family.weighted == "scale" else None,
        )
        got = pm.logp(distribution, y).eval(mode="FAST_COMPILE")
        got = got * w if family.weighted == "power" else got
        np.testing.assert_allclose(got, kernel.derivatives(eta, psi).value, rtol=1e-10, atol=1e-11)


def test_tweedie_draws_have_mean_variance_and_zeros_of_the_family() -> None:
    rng = np.random.default_rng(3)
    mu, phi, p, n = 1.7, 0.8, 1.45, 200_000
    y = draw(mu, phi, p, rng, (n,))
    variance = phi * mu**p
    assert y.mean() == pytest.approx(mu, abs=5.0 * np.sqrt(variance / n))
    assert y.var() == pytest.approx(variance, rel=0.03)
    rate = mu ** (2.0 - p) / (phi * (2.0 - p))
    assert (y == 0.0).mean() == pytest.approx(np.exp(-rate), abs=0.005)
