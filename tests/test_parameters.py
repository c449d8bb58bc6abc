"""Parameters by name: what a point of the likelihood may be, and the words where it is something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

RNG = np.random.default_rng(1)
DATA = pd.DataFrame({"x": RNG.normal(size=40), "g": np.arange(40) % 8, "y": RNG.poisson(2.0, 40)})
POINT: dict[str, Any] = {
    "Intercept": 0.5,
    "x": 0.1,
    "g.sd": [0.4, 0.2],
    "g.corr": 0.3,
    "theta": 2.0,
    "zi": 0.1,
}


def model() -> bg.Model:
    return bg.Model("y ~ x + (1 + x | g)", DATA, "negative_binomial", zi="~ 1", priors="flat")


def test_one_number_may_be_written_as_an_array_of_one() -> None:
    plain = model().loglik(POINT)
    assert np.isfinite(plain)
    assert model().loglik(POINT | {"x": np.array([0.1]), "theta": np.float32(2.0)}) == pytest.approx(plain, rel=1e-12)
    assert model().loglik(POINT | {"g.corr": [[1.0, 0.3], [0.3, 1.0]]}) == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", [0.1, 0.2], r"x is \[0.1, 0.2\]; one number is expected"),
        ("x", "wide", "x is 'wide'; a number, or an array of numbers, is expected"),
        ("x", np.nan, "x is nan; one number is expected"),
        ("x", None, "x is None"),
        ("theta", -1.0, r"theta is -1.0; one number above 0, on its natural scale, is expected"),
        ("theta", [1.0, 2.0], "theta is"),
        ("zi", -2.2, r"zi is -2.2; one number between 0 and 1, on its natural scale, is expected"),
        ("g.sd", [0.4, np.nan], "expected 2 non-negative"),
        ("g.sd", [0.4, 0.2, 0.1], "expected 2 non-negative"),
        ("g.sd", -0.4, "expected 2 non-negative"),
        ("g.corr", 1.3, "2 x 2 correlation matrix"),
        ("g.corr", np.nan, "2 x 2 correlation matrix"),
        ("g.corr", [[1.0, 0.3], [0.9, 1.0]], "2 x 2 correlation matrix"),
    ],
)
def test_what_is_no_value_of_a_parameter(name: str, value: Any, message: str) -> None:
    with pytest.raises(bg.MethodError, match=message):
        model().loglik(POINT | {name: value})


def test_a_response_in_absurd_units_is_refused_as_in_a_fit() -> None:
    own = bg.Model("y ~ x + (1 | g)", DATA.assign(y=DATA.y * 1e200), priors="flat")
    with pytest.raises(bg.DataError, match="Give it in other units"):
        own.loglik({"Intercept": 0.0, "x": 0.0, "g.sd": 1.0, "sigma": 1.0})
