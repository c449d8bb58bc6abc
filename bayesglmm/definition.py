"""What a model was made of, and the problem that makes with a table.

The arguments of :class:`~bayesglmm.Model` are kept, so that it can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bayesglmm.covariance import bind_covariance, bind_errors, extra_levels
from bayesglmm.design import as_chunks, build_chunked_design, build_design, with_levels
from bayesglmm.design.auxiliary import auxiliary_formulas
from bayesglmm.errors import FormulaError, MethodError
from bayesglmm.families import get_family
from bayesglmm.families.check import check_response
from bayesglmm.latent.row_effects import check_row_effects
from bayesglmm.links import get_link
from bayesglmm.priors import resolve_priors
from bayesglmm.problem import Problem
from bayesglmm.scores.first_look import first_look


@dataclass(frozen=True)
class Definition:
    """The arguments a model was made of, as the user gave them.

    Parameters
    ----------
    formula, family, link, priors, covariance, weights, offset, exposure, dispersion, zi, errors
        See :class:`~bayesglmm.Model`.
    about, defaults : mapping
        Likewise.
    """

    formula: str
    family: Any = "gaussian"
    link: Any = None
    priors: Any = "default"
    covariance: Mapping[str, Any] | None = None
    weights: Any = None
    offset: Any = None
    exposure: Any = None
    dispersion: str | None = None
    zi: str | None = None
    errors: Any = None
    about: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of :class:`~bayesglmm.Model`, all but the data."""
        return dict(self.__dict__)


def bind(definition: Definition, data: Any) -> Problem:
    """Bind a model's arguments to a table: what the methods solve.

    Parameters
    ----------
    definition : Definition
        The arguments.
    data : table, or chunks of one
        See :class:`~bayesglmm.Model`.

    Returns
    -------
    Problem

    Raises
    ------
    FormulaError, DataError, FamilyError, MethodError, SpecError
        What is wrong with the formula, the table, the family, the covariance or the priors.
    """
    d, covariance = definition, definition.covariance
    if not isinstance(d.formula, str):
        raise FormulaError(f"formula is {d.formula!r}; a text such as 'y ~ x + (1 | g)' is expected.")
    if covariance is not None and not isinstance(covariance, Mapping):
        raise MethodError(f"covariance is {covariance!r}; a dict of group → form is expected.")
    family, auxiliaries = auxiliary_formulas(get_family(d.family), d.dispersion, d.zi)
    link = get_link(family.links[0] if d.link is None else d.link, family)
    rows = {"weights": d.weights, "offset": d.offset, "exposure": d.exposure}
    chunks = as_chunks(data)
    if chunks is None:
        design = build_design(d.formula, data, **rows, auxiliaries=auxiliaries)
        design = replace(design, response=check_response(family, design.response))
        design = with_levels(design, extra_levels(design.blocks, covariance))
    else:
        if covariance or auxiliaries or not isinstance(d.priors, str):
            raise MethodError("Data in chunks are fitted by 'irls': no priors, covariance, dispersion or zi.")
        first = first_look(family, link) if family.adapt is None else None
        design = build_chunked_design(d.formula, chunks, partial(check_response, family), first=first, **rows)
    if family.adapt is not None:
        family = family.adapt(design.response, link)
    maps = bind_covariance(design.blocks, dict(covariance) if covariance else None)
    no_priors = family.quasi or chunks is not None
    problem = Problem(
        design=design,
        family=family,
        link=link,
        covariance=maps,
        priors=None if no_priors else resolve_priors(d.priors, design, family, link, maps),
        priors_given=not isinstance(d.priors, str),
        errors=bind_errors(d.errors, design, data, family, link),
    )
    if design.blocks and d.errors is None:
        check_row_effects(problem)
    return problem


def inputs_in_words(definition: Definition, problem: Problem) -> dict[str, str]:
    """Weights, offset, exposure, formulas of auxiliaries and structure of the errors, as summaries name them."""
    rows = {k: getattr(definition, k) for k in ("weights", "offset", "exposure")}
    words = {k: v if isinstance(v, str) else "given values" for k, v in rows.items() if v is not None}
    words |= {k: v for k in ("dispersion", "zi") if (v := getattr(definition, k)) is not None}
    return words if problem.errors is None else words | {"errors": problem.errors.label}
