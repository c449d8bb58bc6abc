"""Trusted fits of generalized linear models, and the problems they belong to."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from reference_data import coefficient_name, fit, fits, frame

from bayesglmm.design import build_design
from bayesglmm.errors import DataWarning
from bayesglmm.families import get_family
from bayesglmm.families.negative_binomial import NegativeBinomial
from bayesglmm.families.tweedie import Tweedie
from bayesglmm.links import get_link
from bayesglmm.problem import Problem

DATASETS = (
    "anorexia budworm ceb clotting dobson epil esoph hills owls quine warpbreaks".split()  # noqa: SIM905
)
FAMILIES = {
    "Gamma": "gamma",
    "inverse.gaussian": "inverse_gaussian",
    "negative binomial (NB2)": "negative_binomial",
    "negative binomial (NB2), theta fixed at 2": lambda: NegativeBinomial(theta=2.0),
    "tweedie p=1.5": lambda: Tweedie(power=1.5),
}
RESPONSES = {
    "cbind(ndead, ntotal - ndead)": "p(ndead, ntotal)",
    "cbind(ncases, ncontrols)": "p(ncases, total)",
    "round(y)": "y_rounded",
}
#: (data set, id) of every reference fit by R's glm and glm.nb
CASES = [(name, f["id"]) for name in DATASETS for f in fits(name, "glm", "glm.nb")]


def table(name: str) -> Any:
    """A data set with the columns that R made on the fly."""
    data = frame(name)
    if name == "esoph":
        data["total"] = data["ncases"] + data["ncontrols"]
    if name == "ceb":
        data["y_rounded"] = np.round(data["y"])
    return data


@cache
def problem(name: str, id: str) -> Problem:
    """The problem of a reference fit."""
    reference = fit(name, id)
    left, right = (side.strip() for side in reference["formula"].split("~"))
    formula = f"{RESPONSES.get(left, left)} ~ {right}"
    family = FAMILIES.get(reference["family"], reference["family"])
    row = get_family(family() if callable(family) else family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        design = build_design(formula, table(name))
    return Problem(design, row, get_link(reference["link"], row), (), None)


def by_column(problem: Problem, values: dict[str, Any], *keys: str) -> np.ndarray:
    """Reference values in the order of the problem's columns; a column per key, or the values themselves."""
    # R writes the factors of an interaction in the order in which they first occur in the formula
    found = {frozenset(name.split(":")): row for name, row in values.items()}
    rows = [found[frozenset(coefficient_name(c).split(":"))] for c in problem.design.columns]
    return np.array([[row[k] for k in keys] for row in rows] if keys else rows, dtype=float)
