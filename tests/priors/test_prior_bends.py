"""Second and third derivatives of the priors of coefficients, against differences of their exact slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayesglmm.errors import SpecError
from bayesglmm.priors import DISTRIBUTIONS, Prior
from bayesglmm.priors.prior import batches, evaluate_bend

SMOOTH = {
    "Normal": {"mu": 0.3, "sigma": 1.7},
    "StudentT": {"nu": 4.5, "mu": -0.2, "sigma": 1.3},
    "Cauchy": {"alpha": 0.4, "beta": 1.2},
    "Logistic": {"mu": 0.2, "s": 0.7},
    "Flat": {},
}


def test_all_smooth_priors_on_the_line_have_one() -> None:
    assert {name for name, row in DISTRIBUTIONS.items() if row.bend is not None} == set(SMOOTH)


@pytest.mark.parametrize("name", SMOOTH)
def test_bends_are_derivatives_of_the_slope(name: str) -> None:
    params: dict[str, Any] = SMOOTH[name]
    prior, x, h = Prior(name, **params), np.array([-2.3, -0.4, 0.2, 1.1, 3.7]), 1e-3
    down, at, up = (prior.log_density(x + s)[1] for s in (-h, 0.0, h))
    second, third = evaluate_bend(batches((prior,) * len(x)), x)
    np.testing.assert_allclose(second, (up - down) / (2 * h), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(third, (up - 2 * at + down) / h**2, rtol=1e-5, atol=1e-6)


def test_a_corner_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="Laplace prior of a coefficient has no curvature"):
        evaluate_bend(batches((Prior("Laplace", mu=0.0, b=1.0),)), np.zeros(1))
