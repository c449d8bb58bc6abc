"""Responses a family cannot have produced, each with one clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayesglmm.design.types import Response
from bayesglmm.errors import DataError, DataWarning
from bayesglmm.families import check_response, get_family


def response(y: Any, trials: Any = None, levels: tuple[str, ...] | None = None) -> Response:
    return Response(
        "y", np.asarray(y, dtype=float), None if trials is None else np.asarray(trials, dtype=float), levels
    )


@pytest.mark.parametrize(
    ("family", "given"),
    [
        ("gaussian", response([-3.0, 0.0, 1e9])),
        ("poisson", response([0, 3, 7])),
        ("binomial", response([0, 1, 1])),
        ("binomial", response([0, 3, 5], [2, 3, 9])),
        ("binomial", response([0, 1], levels=("no", "yes"))),
        ("beta_binomial", response([0, 3], [2, 3])),
        ("quasibinomial", response([0.0, 0.2, 1.0])),
        ("quasipoisson", response([0.0, 0.2, 1.7])),
        ("gamma", response([1e-9, 3.0])),
        ("beta", response([0.01, 0.99])),
        ("tweedie", response([0.0, 2.2])),
        ("cumulative", response([0, 1, 2], levels=("a", "b", "c"))),
    ],
)
def test_good_responses_pass_unchanged(family: str, given: Response) -> None:
    assert check_response(get_family(family), given, integer=True) is given


@pytest.mark.parametrize(
    ("family", "given", "words"),
    [
        ("poisson", response([0, -1, 3, -2]), r"'y'.*outside.*'poisson'.*a count.*: row 1 \(-1\), row 3 \(-2\)\."),
        ("gamma", response([0.0] * 9), r"a positive number: row 0 \(0\), .*, \.\.\. \(9 rows in all\)"),
        ("inverse_gaussian", response([2.0, -1.0]), r"row 1 \(-1\)"),
        ("beta", response([0.5, 1.0]), r"strictly between 0 and 1: row 1 \(1\)"),
        ("binomial", response([0, 2]), r"0 or 1, or successes out of trials: row 1 \(2\)"),
        ("binomial", response([1, 4], [3, 3]), r"more successes than trials: row 1 \(4\)"),
        ("binomial", response([0, 0], [3, 0]), r"trials of 'y' must be positive: row 1 \(0\)"),
        ("binomial", response([0, -1], [3, 3]), r"outside the support.*row 1 \(-1\)"),
        ("poisson", response([1, 2], [3, 3]), r"'poisson' takes no trials.*'beta_binomial'"),
        ("binomial", response([0, 1, 2], levels=("a", "b", "c")), r"has 3 levels \('a', 'b', 'c'\).*takes two"),
        ("binomial", response([0, 1], [1, 1], ("a", "b")), r"categorical and cannot have trials"),
        ("poisson", response([0, 1], levels=("a", "b")), r"categorical \('a', 'b'\).*'poisson' takes a count"),
        ("cumulative", response([0, 1, 2]), r"takes an ordered categorical response; 'y' is numeric"),
        ("quasipoisson", response([-0.1]), r"not negative: row 0"),
        ("quasibinomial", response([1.1]), r"row 0 \(1.1\)"),
    ],
)
def test_bad_responses(family: str, given: Response, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_response(get_family(family), given)


def test_no_response() -> None:
    with pytest.raises(DataError, match="no response"):
        check_response(get_family("poisson"), None)


@pytest.mark.parametrize(
    ("family", "given", "advice"),
    [
        ("poisson", response([0.5, 1.0]), "quasipoisson"),
        ("binomial", response([0.5, 1.0]), "quasibinomial"),
        ("binomial", response([1.5, 1.0], [2.0, 2.0]), "quasibinomial"),
        ("binomial", response([1.0, 1.0], [2.5, 2.0]), "quasibinomial"),
        ("negative_binomial", response([0.5, 1.0]), "quasi_negative_binomial"),
    ],
)
def test_counts_that_are_not_whole(family: str, given: Response, advice: str) -> None:
    with pytest.warns(DataWarning, match=rf"not whole numbers.*row 0 .*'{advice}'"):
        assert check_response(get_family(family), given) is given
    with pytest.raises(DataError, match=advice):
        check_response(get_family(family), given, integer=True)


def test_factorials_of_other_numbers_are_continued_by_the_gamma_function() -> None:
    """What the warning promises: the estimating equations stay those of the mean, the density is finite."""
    kernel = get_family("poisson").kernel
    assert kernel is not None
    y, eta = np.array([0.5, 2.25]), np.array([0.1, 0.8])
    found = kernel("log")(y, None, None).derivatives(eta, np.empty(0))  # type: ignore[misc]
    np.testing.assert_allclose(found.d1, y - np.exp(eta), rtol=1e-14)
    from scipy.special import gammaln

    np.testing.assert_allclose(found.value, y * eta - np.exp(eta) - gammaln(y + 1.0), rtol=1e-14)
