"""What a marginal fit says of itself beside its coefficients: its solution, facts for the summary, and notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesglmm.problem import Problem
from bayesglmm.scores.gee_loop import Equations, Point, Solved
from bayesglmm.scores.small_sample import Parts


@dataclass(frozen=True)
class Marginal:
    """A solved marginal model, for tests and diagnostics after the fit (``fit.result.extras["marginal"]``).

    Parameters
    ----------
    equations : Equations
        Sorted rows, family, link and working correlation.
    solved : Solved
        The solution.
    parts : Parts
        Scores and information of the clusters there.
    """

    equations: Equations
    solved: Solved
    parts: Parts


def infeasible_binary(problem: Problem, equations: Equations, point: Point) -> tuple[str, ...]:
    """A note where the correlation is more than binary responses with these means can have.

    Two of them with odds o₁ < o₂ correlate by √(o₁/o₂) at most (Prentice 1988, Biometrics 44, 1033-1048, section 2).
    """
    alpha = point.params[0] if equations.correlation.name == "exchangeable" else 0.0
    if problem.family.name != "binomial" or problem.response.trials is not None or not alpha > 0:
        return ()
    mu = equations.link.mean(point.beta @ equations.XT + equations.offset)
    with np.errstate(divide="ignore"):
        odds = np.log(mu) - np.log1p(-mu)
    starts = equations.clusters.starts
    spread = np.maximum.reduceat(odds, starts) - np.minimum.reduceat(odds, starts)
    beyond = int((np.exp(-0.5 * spread) < alpha).sum())
    if not beyond:
        return ()
    return (
        f"alpha {alpha:.3g} is more than binary responses with the fitted means can correlate in {beyond} of "
        f"{len(spread)} clusters: read it as a working value",
    )


def unaligned_rows(equations: Equations, time: Any) -> tuple[str, ...]:
    """A note where occasions are told apart by nothing but the order of the rows, and some clusters lack some."""
    clusters, correlation = equations.clusters, equations.correlation
    if time is not None or not correlation.ordered or clusters.sizes.min() == clusters.sizes.max():
        return ()
    return (
        f"without time=, the k-th row of every cluster is its k-th occasion to the {correlation.name} correlation, "
        "also in clusters with fewer rows",
    )


def summary_facts(problem: Problem, extras: dict[str, Any], options: dict[str, Any]) -> dict[str, str]:
    """What a summary shows beside the coefficients."""
    low, high = extras["cluster_sizes"]
    rows = f"{low}" if low == high else f"{low} to {high}"
    named = f" of {problem.design.blocks[0].group}" if problem.design.blocks else ""
    shown = [f"{name} {value:.4f}" for name, value in extras["alpha"].items()]
    more = f", ... ({len(shown)} in all)" if len(shown) > 3 else ""
    reference = f", t with {extras['df']:g} df" if "df" in extras else ""
    return {
        "Clusters": f"{extras['clusters']}{named}, {rows} rows each",
        "Working": ": ".join([options["corr"], *[", ".join(shown[:3]) + more for _ in shown[:1]]]),
        "Std errors": options["cov"] + reference,
        "Criteria": ", ".join(f"{k.upper()} {extras[k]:.2f}" for k in ("qic", "qicu", "cic") if k in extras),
    }
