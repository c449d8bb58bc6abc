"""NIST's reference problems for linear regression."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from arrays import array_problem

from bayesglmm.errors import DataWarning
from bayesglmm.scores import fit_irls
from bayesglmm.scores.polish import refined_least_squares

PROBLEMS = json.loads((Path(__file__).parent / "nist_strd.json").read_text())["problems"]
HARD = ("Filip",)


def columns(row: dict) -> np.ndarray:
    x = np.array(row["x"], dtype=float)
    if row["model"] == "polynomial":
        return np.vander(x, row["degree"] + 1, increasing=True)
    return x[:, None] if row["model"] == "origin" else np.column_stack([np.ones(len(x)), x])


@pytest.mark.parametrize("name", [n for n in PROBLEMS if n not in HARD])
def test_nine_digits(name: str) -> None:
    row = PROBLEMS[name]
    result = fit_irls(array_problem(columns(row), row["y"]))
    se = np.sqrt(np.diag(result.cov_beta))
    np.testing.assert_allclose(result.beta, row["estimate"], rtol=1e-9)
    if row["sd"] > 0:
        np.testing.assert_allclose(se, row["se"], rtol=1e-9)
        assert np.sqrt(result.scale) == pytest.approx(row["sd"], rel=1e-9)
    else:
        assert se.max() < 1e-9 * np.abs(row["estimate"]).min()
    assert result.status.converged


def test_filip_is_refused_nine_digits_by_double_precision_and_says_so() -> None:
    """Columns x^k rounded to double precision hold the certified solution to eight digits only."""
    row = PROBLEMS["Filip"]
    with pytest.warns(DataWarning, match="nearly linearly dependent"):
        result = fit_irls(array_problem(columns(row), row["y"]))
    np.testing.assert_allclose(result.beta, row["estimate"], rtol=1e-7)
    assert "correct digits" in result.status.notes[0]


def test_filip_centred_has_full_accuracy() -> None:
    row = PROBLEMS["Filip"]
    x = np.array(row["x"]) + 6.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit_irls(array_problem(np.polynomial.chebyshev.chebvander(x / 3.0, 10), row["y"]))
    assert np.sqrt(result.scale) == pytest.approx(row["sd"], rel=1e-12)


def test_refinement_of_a_large_residual_problem() -> None:
    """κ² times the residual is what spoils least squares without refining the residual too."""
    row = PROBLEMS["Wampler5"]
    X, y = columns(row), np.array(row["y"], dtype=float)
    plain = np.linalg.lstsq(X, y, rcond=None)[0]
    refined, residual = refined_least_squares(X, y, np.ones(len(y)))
    error = lambda beta: np.max(np.abs(beta / row["estimate"] - 1.0))  # noqa: E731
    assert error(refined) < 1e-8
    assert error(refined) < 1e-2 * error(plain)
    assert float(residual @ residual) == pytest.approx(row["sd"] ** 2 * (len(y) - 6), rel=1e-12)
