"""A problem as plain data, for processes that share nothing with this one: functions are named, not sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bayesglmm.covariance import FORMS, BlockCovariance
from bayesglmm.design.types import Design, Term
from bayesglmm.errors import FamilyError, MethodError
from bayesglmm.families import get_family
from bayesglmm.links import get_link
from bayesglmm.problem import Problem


@dataclass(frozen=True)
class Portable:
    """A problem that can be pickled.

    Parameters
    ----------
    design : Design
        Without what binds it to formula and table.
    family, link : str
        Names.
    options : dict
        What the family's constructor takes.
    covariance : tuple of tuple
        Terms, names of their forms, precision and its log-determinant of every grouping factor.
    priors, priors_given
        As in the problem.
    """

    design: Design
    family: str
    options: dict[str, Any]
    link: str
    covariance: tuple[tuple[tuple[Term, ...], tuple[str, ...], Any, float], ...]
    priors: Any
    priors_given: bool

    def problem(self) -> Problem:
        """The problem again."""
        family = get_family(self.family, **self.options)
        link = get_link(self.link)
        if family.adapt is not None:
            family = family.adapt(self.design.response, link)
        maps = tuple(BlockCovariance(t, tuple(FORMS[n] for n in names), P, d) for t, names, P, d in self.covariance)
        return Problem(self.design, family, link, maps, self.priors, self.priors_given)


def portable(problem: Problem) -> Portable:
    """Take a problem apart.

    Raises
    ------
    MethodError
        A family or link that was brought as Python functions.
    """
    family = problem.family
    try:
        known = get_family(family.name, **family.options)
        get_link(problem.link.name)
    except FamilyError as error:
        raise MethodError(
            f"the family {family.name!r} with link {problem.link.name!r} is made of functions that cannot be sent to "
            "another process: use a ThreadPoolExecutor, or no executor."
        ) from error
    assert known.name == family.name
    maps = tuple(
        (c.terms, tuple(f.name for f in c.forms), c.precision, c.log_det_precision) for c in problem.covariance
    )
    design = replace(problem.design, binding=None, formula=None)
    return Portable(
        design, family.name, dict(family.options), problem.link.name, maps, problem.priors, problem.priors_given
    )
