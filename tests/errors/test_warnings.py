"""A warning points at the line of the user's own that it is about, and not into the package."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import bayesglmm as bg

ROWS = pd.DataFrame(
    {
        "y": [0, 0, 0, 1, 1, 1],
        "x": [1.0, 2, 3, 4, 5, 6],
        "twice": [2.0, 4, 6, 8, 10, 12],
        "gap": [np.nan, 2, 3, 4, 5, 6],
        "half": [0.5, 1, 2, 3, 4, 5],
        "text": list("123456"),
        "even": [1.0, 2, 1, 2, 1, 2],
        "g": list("aabbcc"),
    }
)
NORMAL = {"x": bg.Prior("Normal", mu=0, sigma=1)}


def chunked() -> None:
    bg.Model("y ~ gap + twice", [ROWS[:3], ROWS[3:]], family="binomial")


CASES = {
    "rows left out": (bg.DataWarning, lambda: bg.Model("y ~ gap", ROWS)),
    "columns left out": (bg.DataWarning, lambda: bg.Model("y ~ x + twice", ROWS)),
    "numbers as text": (bg.DataWarning, lambda: bg.Model("y ~ text", ROWS[:4].assign(text=["1.5", "2", "1.5", "2"]))),
    "rows left out of chunks": (bg.DataWarning, chunked),
    "not whole": (bg.DataWarning, lambda: bg.Model("half ~ 1", ROWS, family="poisson")),
    "separation, irls": (bg.SeparationWarning, lambda: bg.Model("y ~ x", ROWS, family="binomial").fit("irls")),
    "separation, laplace": (
        bg.SeparationWarning,
        lambda: bg.Model("y ~ x", ROWS, family="binomial", priors="flat").fit("laplace"),
    ),
    "singular": (bg.SingularFitWarning, lambda: bg.Model("even ~ 1 + (1 | g)", ROWS).fit("ml")),
    "priors left aside": (bg.BayesGLMMWarning, lambda: bg.Model("even ~ x", ROWS, priors=NORMAL).fit("irls")),
    "few clusters": (
        bg.BayesGLMMWarning,
        lambda: bg.Model("even ~ x + I(x**2)", ROWS).fit("irls", cov="cluster", groups="g"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_warning_points_at_the_caller(case: str) -> None:
    category, call = CASES[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert category in [w.category for w in caught]
    assert {w.filename for w in caught if issubclass(w.category, bg.BayesGLMMWarning)} == {__file__}
