"""Log-likelihood and estimates as the number of quadrature nodes grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.latent.objective import make_objective
from bayesglmm.latent.outer import maximise
from bayesglmm.latent.quadrature import check_nodes
from bayesglmm.latent.start import Start, starting_point
from bayesglmm.latent.structure import Structure
from bayesglmm.latent.target import Coordinates, Target
from bayesglmm.latent.threads import one_thread
from bayesglmm.marginals import marginals
from bayesglmm.problem import Problem
from bayesglmm.result import Result

Floats = NDArray[np.float64]

#: Numbers of nodes shown when none are named.
NODES = (1, 3, 5, 9, 15, 25, 51)


def quadrature_path(problem: Problem, result: Result, nodes: Iterable[int] | None = None) -> pd.DataFrame:
    """Refit with every number of nodes; also evaluate the fit's own estimate with each.

    Parameters
    ----------
    problem, result
        A fit by ``"laplace"`` or ``"agq"``.
    nodes : iterable of int, optional
        Nodes per dimension; of 1, 3, 5, 9, 15, 25, 51 those that fit when left out.

    Returns
    -------
    DataFrame
        Indexed by the number of nodes: ``loglik`` at the refitted estimate, ``loglik_at_estimate`` at the estimate of
        `result`, ``converged``, and a column per parameter with its refitted estimate.

    Raises
    ------
    MethodError
        A fit by another method, or nodes that do not go with the model.
    """
    if result.method not in ("laplace", "agq"):
        raise MethodError(f"a quadrature path needs a fit by 'laplace' or 'agq'; this one is by {result.method!r}.")
    kernel = str(result.options.get("kernel", "auto"))
    rows: list[dict[str, Any]] = []
    with one_thread():
        base = make_objective(problem, 1, kernel)
        chosen = _fitting(base.structure) if nodes is None else sorted({_whole(k) for k in nodes})
        for k in chosen:
            check_nodes(base.structure, k)
        coordinates = Coordinates(
            len(result.beta), base.kernel.n_aux, problem.covariance, problem.priors is not None, problem.aux_units
        )
        links = tuple(a.link for a in problem.auxiliaries)
        start = starting_point(problem, base, coordinates)
        for k in chosen:
            objective = replace(base, nodes=k)
            found = maximise(Target(objective, coordinates, problem.priors, links), start)
            beta, theta, psi = coordinates.split(found.point.x)
            assert found.point.evaluation is not None
            own = objective.evaluate(result.beta, result.theta, result.psi, found.point.mode, with_gradient=False)
            row = {"nodes": k, "loglik": found.point.evaluation.value, "loglik_at_estimate": own.value}
            there = replace(result, beta=beta, theta=theta, psi=psi, draws=None, scale=_scale(problem, result, psi))
            estimates = {name: m.estimate for name, m in marginals(problem, there).items()}
            rows.append(row | {"converged": found.converged} | estimates)
            if found.converged and found.curvature.free.all():  # from an edge there is no way back inside
                inverse = found.curvature.inverse_hessian(start.inverse_hessian)
                start = Start(found.point.x, found.point.mode.u, inverse)
    return pd.DataFrame(rows).set_index("nodes")


def _whole(k: Any) -> int:
    if not isinstance(k, int | np.integer):
        raise MethodError(f"nodes={k!r}: the number of quadrature nodes is a whole number, 1 or more.")
    return int(k)


def _fitting(structure: Structure) -> list[int]:
    """The usual numbers of nodes that the model bears; one is always among them."""
    out = [1]
    for k in NODES[1:]:
        try:
            check_nodes(structure, k)
        except MethodError:
            break
        out.append(k)
    return out


def _scale(problem: Problem, result: Result, psi: Floats) -> float:
    """φ at other auxiliaries."""
    if problem.family.scale is not None or problem.family.dispersion is None:
        return result.scale
    from bayesglmm.parameters import likelihood_scale

    return likelihood_scale(problem, psi)
