"""Problems for tests, built as a Model builds them but without the façade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reference_data import frame, reference

from bayesglmm.covariance import bind_covariance
from bayesglmm.design import build_design
from bayesglmm.families import check_response, get_family
from bayesglmm.links import get_link
from bayesglmm.problem import Problem


def problem_of(
    formula: str,
    data: Any,
    family: Any = "gaussian",
    *,
    link: Any = None,
    covariance: dict[str, Any] | None = None,
    weights: Any = None,
    offset: Any = None,
) -> Problem:
    """The problem of a formula and a table, with flat priors."""
    row = get_family(family)
    design = build_design(formula, data, weights=weights, offset=offset)
    design = replace(design, response=check_response(row, design.response))
    bound = get_link(row.links[0] if link is None else link, row)
    return Problem(design, row, bound, bind_covariance(design.blocks, covariance), None)


#: R's way of writing some left and right sides, and ours.
_SPELLING = {
    "cbind(incidence, size - incidence)": "p(incidence, size)",
    "I(Time^2)": "I(Time**2)",
}


def reference_problem(name: str, fit: dict[str, Any]) -> Problem:
    """The problem of a reference fit."""
    formula = fit["formula"]
    for theirs, ours in _SPELLING.items():
        formula = formula.replace(theirs, ours)
    assert reference(name)["dataset"]
    return problem_of(formula, frame(name), fit["family"].lower(), link=fit["link"])
