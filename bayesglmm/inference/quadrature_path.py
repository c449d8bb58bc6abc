"""Log-likelihood and estimates as the number of quadrature nodes grows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.inference.ticker import ticker
from bayesglmm.latent.objective import Objective
from bayesglmm.latent.outer import maximise
from bayesglmm.latent.quadrature.nodes import Nodes, evaluations, settings, settle_nodes
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.units import in_units
from bayesglmm.marginals import marginals
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Numbers of nodes shown when none are named.
NODES = (1, 3, 5, 9, 15, 25, 51)
#: Of them, those whose evaluation takes no more than this many values (a second or two).
PATIENCE = 3e7


def quadrature_path(problem: Problem, result: Result, nodes: Iterable[int] | None = None) -> pd.DataFrame:
    """Refit with every number of nodes; also evaluate the fit's own estimate with each.

    Parameters
    ----------
    problem, result
        A fit by ``"laplace"`` or ``"agq"``.
    nodes : iterable of int or (int, int), optional
        Nodes per dimension; of 1, 3, 5, 9, 15, 25, 51 those that fit when left out. For two nested grouping factors
        one number is for both, and a pair is (outer, inner).

    Returns
    -------
    DataFrame
        Indexed by the number of nodes (as given): ``loglik`` at the refitted estimate, ``loglik_at_estimate`` at the
        estimate of `result`, ``converged``, and a column per parameter with its refitted estimate.

    Raises
    ------
    MethodError
        A fit by another method, or nodes that do not go with the model.
    """
    if result.method not in ("laplace", "agq"):
        raise MethodError(f"a quadrature path needs a fit by 'laplace' or 'agq'; this one is by {result.method!r}.")
    rows: list[dict[str, Any]] = []
    with one_thread(), ExitStack() as stack:
        own = settings(result.options)
        units = in_units(problem)
        fitted = units.away(result)
        target = units.target(**(own | {"nodes": 1}))
        base, coordinates = target.objective, target.coordinates
        chosen = _fitting(base) if nodes is None else sorted({_plain(k) for k in nodes}, key=_size)
        if not chosen:
            raise MethodError("nodes is empty; name at least one number of nodes, e.g. nodes=[1, 5, 15].")
        settled = {k: settle_nodes(base.structure, k, base.prune) for k in chosen}
        start = starting_point(units.problem, base, coordinates)
        advance = stack.enter_context(ticker(len(chosen), "auto", "quadrature path"))
        for k in chosen:
            objective = replace(base, nodes=settled[k])
            found = maximise(replace(target, objective=objective), start)
            beta, theta, psi = coordinates.split(found.point.x)
            assert found.point.evaluation is not None
            same = objective.evaluate(fitted.beta, fitted.theta, fitted.psi, found.point.mode, with_gradient=False)
            there = replace(fitted, beta=beta, theta=theta, psi=psi, loglik=found.point.evaluation.value, draws=None)
            there = units.back(replace(there, scale=_scale(units.problem, fitted, psi)))
            row = {"loglik": there.loglik, "loglik_at_estimate": same.value + units.log_jacobian}
            estimates = {name: m.estimate for name, m in marginals(problem, there).items()}
            rows.append(row | {"converged": found.converged} | estimates)
            if found.converged and found.curvature.free.all():  # from an edge there is no way back inside
                inverse = found.curvature.inverse_hessian(start.inverse_hessian)
                start = Start(found.point.x, found.point.mode.u, inverse)
            advance(1)
    return pd.DataFrame(rows, index=pd.Index(chosen, name="nodes", tupleize_cols=False))


def _plain(nodes: Any) -> Any:
    """Pairs as tuples; everything else as it is, for :func:`settle_nodes` to judge."""
    return tuple(nodes) if isinstance(nodes, tuple | list) else nodes


def _size(nodes: Any) -> tuple[float, ...]:
    """Order of the rows; what are no numbers comes first, and is refused."""
    given = nodes if isinstance(nodes, tuple) else (nodes,)
    return tuple(float(k) if isinstance(k, int | np.integer) else 0.0 for k in given)


def _fitting(objective: Objective) -> list[Nodes]:
    """The usual numbers of nodes that the model bears in reasonable time; one is always among them."""
    out: list[Nodes] = [1]
    for k in NODES[1:]:
        try:
            settled = settle_nodes(objective.structure, k, objective.prune)
        except MethodError:
            break
        if evaluations(objective.structure, settled, objective.prune) > PATIENCE:
            break
        out.append(k)
    return out


def _scale(problem: Problem, result: Result, psi: Floats) -> float:
    """φ at other auxiliaries."""
    if problem.family.scale is not None or problem.family.dispersion is None:
        return result.scale
    from bayesglmm.parameters import likelihood_scale

    return likelihood_scale(problem, psi)
