"""The next step up from a fit: weighted draws, NUTS on the marginal posterior, NUTS on the full graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesglmm.arguments import plain
from bayesglmm.errors import ArgumentError, MethodError
from bayesglmm.methods.registry import METHODS, objection

if TYPE_CHECKING:
    from bayesglmm.problem import Problem
    from bayesglmm.result import Result

#: The steps, each exacter and dearer than the one before.
STEPS = ("psis", "marginal", "full")


def next_step(result: Result) -> str:
    """The step above a fit.

    Raises
    ------
    MethodError
        A fit that none of the steps starts from, or the last one.
    """
    if result.method in ("laplace", "agq"):
        return "psis"
    if result.method == "inla" or result.method.endswith("+psis"):
        return "marginal"
    if result.method == "mcmc":
        if "marginalize" in result.options:
            return "full"
        raise MethodError(
            "this fit is by NUTS on the full graph: no step is above it. For more draws: model.fit('mcmc', draws=...)."
        )
    raise MethodError(
        f"a fit by {result.method!r} is refined by one that has a likelihood to integrate: fit by 'laplace' first."
    )


def refine(problem: Problem, result: Result, to: str | None = None, **options: Any) -> Result:
    """Take a fit a step further.

    Parameters
    ----------
    problem, result
        The model and the fit.
    to : {"psis", "marginal", "full"}, optional
        Which step; the next one when left out.
    **options
        Of the step: ``draws, seed, proposals`` for ``"psis"``; those of ``mcmc`` for the others.

    Raises
    ------
    MethodError
        An unknown step, one the fit does not lead to, or unknown options.
    """
    step = next_step(result) if to is None else to
    plain("to", step)
    if step not in STEPS:
        raise MethodError(f"to={to!r}; one of {', '.join(STEPS)} is expected.")
    objections = objection(METHODS["mcmc"], problem)
    if objections is not None:
        raise MethodError(f"this fit cannot be refined: NUTS {objections}.")
    try:
        if step == "full":
            return _full(problem, **options)
        return {"psis": _psis, "marginal": _marginal}[step](problem, result, **options)
    except TypeError as error:
        if not isinstance(error, ArgumentError) and "unexpected keyword argument" not in str(error):
            raise
        raise ArgumentError(f"refine(to={step!r}): {str(error).split('()')[-1].strip(' .')}.") from None


def _psis(problem: Problem, result: Result, **options: Any) -> Result:
    from bayesglmm.methods.weighted import refined

    return refined(problem, result, **options)


def _marginal(problem: Problem, result: Result, **options: Any) -> Result:
    """NUTS over the parameters, by quadrature where the model allows it: Laplace there would be a step back."""
    from bayesglmm.latent.quadrature.nodes import default_nodes
    from bayesglmm.methods.marginalized import sample

    nodes = result.options.get("nodes") or 1
    if nodes == 1 and objection(METHODS["agq"], problem) is None:
        nodes = default_nodes(problem.design.blocks)
    # The draws of a weighted fit have a mean, not a mode, to start from.
    start = result if result.method in ("laplace", "agq", "inla") else None
    options.setdefault("nodes", nodes)
    return sample(problem, start, **options)


def _full(problem: Problem, **options: Any) -> Result:
    """NUTS on the full graph, begun at a draw of the Laplace approximation."""
    from bayesglmm.methods.mcmc import run

    options.setdefault("init", "laplace")
    return run(problem, **options)
