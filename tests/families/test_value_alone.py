"""The log-density alone is that of the derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from bayesglmm.families import get_family
from bayesglmm.families.kernels.bound import log_density

CASES = [("binomial", "logit"), ("binomial", "probit"), ("poisson", "log"), ("poisson", "sqrt"), ("gamma", "log")]


@pytest.mark.parametrize(("name", "link"), CASES)
def test_value_alone(name: str, link: str) -> None:
    rng = np.random.default_rng(0)
    n = 60
    y = {"binomial": rng.integers(0, 4, n), "poisson": rng.poisson(3.0, n), "gamma": rng.gamma(2.0, size=n)}[name]
    trials = np.full(n, 3.0) if name == "binomial" else None
    family = get_family(name)
    kernel = family.kernel(link)(y.astype(float), trials, rng.uniform(0.5, 2.0, n))
    eta = rng.standard_normal((4, n)) * np.array([[0.5], [3.0], [30.0], [300.0]])
    eta = np.abs(eta) + 0.1 if link == "sqrt" else eta
    psi = np.full(kernel.n_aux, 0.3)
    given = eta.copy()
    np.testing.assert_allclose(log_density(kernel, eta, psi), kernel.derivatives(eta, psi).value, rtol=1e-13)
    np.testing.assert_array_equal(eta, given)
