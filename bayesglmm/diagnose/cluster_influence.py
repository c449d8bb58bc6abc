"""Influence of whole clusters on a marginal model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesglmm.inference.marginal import marginal_of
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.small_sample import one_step_changes


def cluster_influence(problem: Problem, result: Result) -> pd.DataFrame:
    """Leverage, Cook's distance and DFBETAS of every cluster, in one step from the fit with its correlation held.

    Parameters
    ----------
    problem : Problem
        The model.
    result : Result
        A fit by ``gee``.

    Returns
    -------
    DataFrame
        One row per cluster: ``rows``; ``leverage`` tr(G_g A), which sums to the number of coefficients;
        ``cooks_distance`` δ_g' (φA)⁻¹ δ_g / p with δ_g the change of the coefficients when the cluster leaves; and
        ``dfbetas[name]``, minus that change in units of the model-based standard error (positive where the cluster
        raises the coefficient).

    Notes
    -----
    Preisser & Qaqish (1996), Biometrika 83, 551-562.
    """
    marginal = marginal_of(result)
    parts, clusters = marginal.parts, marginal.equations.clusters
    leverage = np.empty(parts.count)
    for where, G in parts.informations():
        leverage[where] = np.einsum("kij,ji->k", G, parts.A)
    change = one_step_changes(parts)
    cov = parts.phi * parts.A
    p = len(result.beta)
    table = pd.DataFrame(
        {
            "rows": clusters.sizes,
            "leverage": leverage,
            "cooks_distance": np.einsum("ki,ij,kj->k", change, np.linalg.inv(cov), change) / p,
        },
        index=clusters.labels.rename("cluster"),
    )
    names = [f"dfbetas[{c}]" for c in problem.design.columns]
    return pd.concat([table, pd.DataFrame(-change / np.sqrt(np.diag(cov)), columns=names, index=table.index)], axis=1)
