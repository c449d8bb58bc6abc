"""Families made from a PyMC distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bayesglmm.errors import FamilyError
from bayesglmm.families import Family, check_response
from bayesglmm.families.base import unknown_moments


def builder(mu: Any, sigma: Any, kappa: Any, nu: float = 4.0) -> dict[str, Any]:
    return {"mu": mu, "sigma": sigma, "kappa": kappa, "nu": nu}


def test_auxiliaries_are_the_parameters_without_a_default() -> None:
    family = Family.from_pymc("mine", builder, link="log", auxiliaries={"kappa": "logit"})
    assert [(a.name, a.link) for a in family.auxiliaries] == [("sigma", "log"), ("kappa", "logit")]
    assert family.links == ("log",)
    assert family.kernel is None
    assert not family.quasi
    assert not family.exponential
    assert family.distribution is not None
    built = family.distribution(None, "eta", "mu", {"sigma": "s", "kappa": "k"}, None, None)
    assert built == {"mu": "mu", "sigma": "s", "kappa": "k", "nu": 4.0}


def test_starting_values() -> None:
    family = Family.from_pymc("mine", builder, link="log", auxiliaries={"kappa": "logit"})
    y, w = np.array([1.0, 3.0, 8.0]), np.array([1.0, 1.0, 2.0])
    np.testing.assert_allclose(family.initial_mean(y, w), 5.0)
    np.testing.assert_allclose(family.initial_mean(-y, w), 1.0)
    sigma, kappa = (a.start(y, np.full(3, 5.0), w) for a in family.auxiliaries)
    assert sigma == pytest.approx(np.sqrt((16.0 + 4.0 + 18.0) / 4.0))
    assert kappa == 0.5


def test_what_it_cannot_say() -> None:
    family = Family.from_pymc("mine", lambda mu: mu)
    assert family.variance is unknown_moments
    with pytest.raises(FamilyError, match="states no variance function"):
        family.unit_deviance(np.ones(1), np.ones(1), ())
    y = np.array([-2.5, 7.0])
    given = type("R", (), {"name": "y", "y": y, "trials": None, "levels": None})()
    assert check_response(family, given) is given


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Family.from_pymc("two words", builder), "is a word"),
        (lambda: Family.from_pymc("m", builder, link="lgo"), r"Did you mean 'log'\?"),
        (lambda: Family.from_pymc("m", builder, auxiliaries={"tau": "log"}), r"tau are not parameters .*sigma, kappa"),
        (lambda: Family.from_pymc("m", builder, auxiliaries={"sigma": "lgo"}), "unknown link"),
        (lambda: Family.from_pymc("m", lambda *a: a), "must name its parameters"),
        (lambda: Family.from_pymc("m", lambda: None), "must name its parameters"),
    ],
)
def test_mistakes(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(FamilyError, match=words):
        make()
