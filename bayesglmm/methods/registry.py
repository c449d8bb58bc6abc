"""The methods: what each optimises, what it needs of a model, and where its code is.

A method is one file in this folder with ``run(problem, **options) -> Result``, and one row here; those that weight the
draws of another share a file.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from bayesglmm.errors import MethodError
from bayesglmm.latent.nesting import nesting
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@dataclass(frozen=True)
class Method:
    """One way to fit a model.

    Parameters
    ----------
    name : str
        As typed by the user.
    objective : str
        What it optimises or samples, in words.
    random : {"none", "any", "one or nested", "none or one"}
        Which random structure it takes: none, any, one grouping factor, or two of which one is nested in the other.
    families : {"all", "likelihood", "gaussian"}
        Which families it takes (quasi-families have no likelihood).
    uses_priors : bool
        Whether it targets the posterior when the model has priors.
    module : str
        Where the function that fits is.
    function : str
        Its name.
    """

    name: str
    objective: str
    random: str
    families: str
    uses_priors: bool
    module: str
    function: str = "run"

    @property
    def run(self) -> Callable[..., Result]:
        """The function that fits; its module is imported now."""
        return getattr(import_module(self.module), self.function)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options it takes."""
        parameters = inspect.signature(self.run).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


#: Options that hold one value per row: a column's name, or values, for the rows in use or for the whole table.
ROW_OPTIONS = ("groups", "time", "subgroups")


def _row(name: str, objective: str, random: str, families: str, uses_priors: bool) -> Method:
    return Method(name, objective, random, families, uses_priors, f"bayesglmm.methods.{name}")


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        _row("irls", "quasi-likelihood by iteratively reweighted least squares", "none", "all", False),
        _row("gee", "generalized estimating equations", "none or one", "all", False),
        _row("ml", "exact Gaussian marginal likelihood", "any", "gaussian", False),
        _row("reml", "restricted Gaussian likelihood", "any", "gaussian", False),
        _row("mql", "working linear mixed model, expanded at zero random effects", "any", "all", False),
        _row("pql", "working linear mixed model, expanded at the conditional modes", "any", "all", False),
        _row("laplace", "Laplace approximation of the marginal posterior", "any", "likelihood", True),
        _row("agq", "adaptive Gauss-Hermite quadrature of the marginal posterior", "one or nested", "likelihood", True),
        _row("inla", "nested Laplace: hyperparameters integrated out", "any", "likelihood", True),
        _row("map", "joint mode of parameters and random effects", "any", "likelihood", True),
        _row("mcmc", "full posterior by NUTS", "any", "likelihood", True),
    )
}


#: Fits refined, named after where they start: fitted like any method, but not among those that models list.
REFINED: dict[str, Method] = {
    f"{base}+psis": replace(
        METHODS[base],
        name=f"{base}+psis",
        objective=f"{METHODS[base].objective}, draws weighted by Pareto-smoothed importance sampling",
        module="bayesglmm.methods.psis",
        function=f"{base}_psis",
    )
    for base in ("laplace", "agq")
}


def get_method(name: str) -> Method:
    """Look a method up by its name.

    Raises
    ------
    MethodError
        An unknown name.
    """
    if isinstance(name, str) and name in REFINED:
        return REFINED[name]
    if not isinstance(name, str) or name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MethodError(f"unknown method {name!r}.{hint} Known methods: {', '.join(METHODS)}.")
    return METHODS[name]


def objection(method: Method, problem: Problem) -> str | None:
    """Why a method does not apply to a model, or None when it does."""
    if problem.design.chunks is not None and method.name != "irls":
        return "needs all rows in memory, and the data of this model come in chunks"
    groups = [b.group for b in problem.design.blocks]
    family, link = problem.family, problem.link
    if method.random == "none" and groups:
        return f"takes no random effects, and the model has ( … | {groups[0]})"
    if method.random == "none or one" and len(groups) > 1:
        return f"reads one grouping factor as the clusters, and the model has {', '.join(groups)}"
    if method.random == "one or nested" and len(groups) != 1 and nesting(problem.design.blocks) is None:
        crossed = " (neither is nested in the other)" if len(groups) == 2 else ""
        return (
            "integrates over exactly one grouping factor, or two of which one is strictly nested in the other, and the "
            f"model has {', '.join(groups) or 'none'}{crossed}"
        )
    if method.random == "one or nested" and any(c.precision is not None for c in problem.covariance):
        return "integrates level by level, and a known covariance ties the levels together"
    if problem.design.auxiliaries and method.families != "likelihood":
        modelled = ", ".join(a.name for a in problem.design.auxiliaries)
        return f"takes one dispersion for all rows, and the model has a linear predictor of {modelled}"
    if method.families == "likelihood" and family.quasi:
        return f"needs a likelihood, and {family.name} is a quasi-family"
    profiled = method.name == "irls" and family.profile is not None
    if method.families == "all" and not family.exponential and not profiled:
        return f"scores by mean and variance alone, and that is not how the likelihood of {family.name} is solved"
    if method.families == "gaussian" and (family.name != "gaussian" or link.name != "identity"):
        return f"is for the gaussian family with identity link, and the model is {family.name} ({link.name})"
    if problem.errors is not None and method.families != "gaussian":
        return f"takes independent errors, and the errors of this model go together: {problem.errors.label}"
    if method.families == "gaussian" and not groups and problem.errors is None:
        return "is for mixed models, and this one has no random terms"
    return None


def applicable(problem: Problem) -> tuple[str, ...]:
    """Names of the methods that apply to a model."""
    return tuple(m.name for m in METHODS.values() if objection(m, problem) is None)


def natural_method(problem: Problem) -> str:
    """The method a model is fitted by when none is named."""
    if problem.design.auxiliaries:
        return "laplace"
    if not problem.design.blocks and problem.errors is None:
        return "irls" if problem.family.exponential or problem.family.profile is not None else "laplace"
    if problem.family.quasi:
        return "pql"
    gaussian = problem.family.name == "gaussian" and problem.link.name == "identity"
    return "reml" if gaussian else "laplace"


def choose(name: str | None, problem: Problem, options: dict[str, Any]) -> Method:
    """The method to run, checked against the model and its options.

    Raises
    ------
    MethodError
        An unknown method or option, or a method that does not apply; the message names those that do.
    """
    method = get_method(natural_method(problem) if name is None else name)
    reason = objection(method, problem)
    if reason is not None:
        raise MethodError(
            f"{method.name!r} {reason}. Methods that apply to this model: {', '.join(applicable(problem))}."
        )
    for option in options:
        if option not in method.options:
            near = difflib.get_close_matches(option, method.options, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise MethodError(
                f"{method.name!r} has no option {option!r}.{hint} Its options: {', '.join(method.options) or 'none'}."
            )
    return method
