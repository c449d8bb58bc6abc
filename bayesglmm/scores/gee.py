"""Generalized estimating equations: marginal models of clustered responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import number, numeric, optional, plain, takes, whole, word_or_positive
from bayesglmm.errors import ConvergenceError, MethodError
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.scores.clusters import read_clusters
from bayesglmm.scores.correlation import WorkingCorrelation, get_correlation
from bayesglmm.scores.gee_criteria import criteria
from bayesglmm.scores.gee_facts import Marginal, infeasible_binary, summary_facts, unaligned_rows
from bayesglmm.scores.gee_loop import Equations, point_at, solve_equations, weighted_rows
from bayesglmm.scores.jackknife import jackknife_covariance
from bayesglmm.scores.likelihood import psi_for_scale
from bayesglmm.scores.rows import problem_rows
from bayesglmm.scores.small_sample import COVARIANCES, parts_at, robust_covariance
from bayesglmm.scores.solution import Solution, solve_mean_model

Floats = NDArray[np.float64]

JACKKNIFE = "jackknife"
#: Occasions above which the working correlation is not written out.
MAX_SHOWN = 200


@takes(
    scale=word_or_positive,
    alpha=optional(numeric),
    start=optional(numeric),
    cov=plain,
    df=plain,
    max_iterations=whole(),
    tolerance=number(0.0),
    convention=plain,
)
def fit_gee(
    problem: Problem,
    *,
    groups: Any = None,
    corr: Any = "exchangeable",
    m: int | None = None,
    time: Any = None,
    subgroups: Any = None,
    R: Any = None,
    alpha: Any = None,
    scale: str | float | None = None,
    cov: str = "robust",
    df: str | float | None = None,
    convention: str = "geepack",
    max_iterations: int = 100,
    tolerance: float = 1e-10,
    start: Any = None,
) -> Result:
    """Fit a marginal model by generalized estimating equations.

    Parameters
    ----------
    problem : Problem
        No random terms, or one grouping factor that is read as the clusters.
    groups : array_like, shape (n,), optional
        Cluster labels (through :class:`~bayesglmm.Model`, or a column's name).
    corr : str, WorkingCorrelation or array_like
        ``"independence"``, ``"exchangeable"``, ``"nested"``, ``"ar1"``, ``"stationary"``, ``"unstructured"``,
        ``"fixed"``, an object of your own (:class:`~bayesglmm.scores.correlation.WorkingCorrelation`), or a matrix.
    m : int, optional
        Order of ``"stationary"``.
    time : array_like, shape (n,), optional
        Times of any kind. ``"ar1"`` takes numbers and dates by their distances; ``"stationary"``, ``"unstructured"``
        and ``"fixed"`` by their ranks among all times. Left out: the order of the rows within each cluster.
    subgroups : array_like, shape (n,), optional
        Groups inside the clusters, for ``"nested"``.
    R : array_like, shape (T, T), optional
        Matrix of ``"fixed"``.
    alpha : float or array_like, optional
        Hold the parameters of the correlation at these values.
    scale : {"pearson", "fixed"} or float, optional
        φ: estimated (also for Poisson and binomial; the default), the value the family fixes, or a number. The working
        correlation is estimated with the residuals' own mean square in any case, as in gee and geepack.
    cov : str
        ``"robust"``, ``"model"``, ``"bias-reduced"`` (Mancl-DeRouen), ``"kauermann-carroll"``, ``"fay-graubard"``,
        ``"morel-bokossa-neerchal"``, ``"one-step-jackknife"`` or ``"jackknife"`` (every cluster left out and all
        refitted).
    df : {"clusters"} or float, optional
        Degrees of freedom of the t and F references: clusters less coefficients, or a number; normal and χ² when left
        out.
    convention : {"geepack", "gee"}
        φ = Σe²/N and moments without corrections, or φ = Σe²/(N − p) and the moments of the R package gee. In both,
        prior weights and trials enter as Var(y) = φ V(μ) / w, moments included (geepack weights its moments besides).
    max_iterations : int
        Cap on the steps.
    tolerance : float
        Largest remaining distance to the solution, in model-based standard errors.
    start : array_like, shape (p,), optional
        Starting coefficients; those of independence when left out.

    Returns
    -------
    Result
        ``extras``: ``alpha`` (name → value), ``working_correlation`` (over the occasions, None above 200),
        ``clusters``, ``cluster_sizes`` (smallest, largest), ``quasi_loglik``, ``qic``, ``qicu``, ``cic``,
        ``cov_model``, ``cov_robust``, and ``marginal`` (:class:`Marginal`) for tests and diagnostics.

    Raises
    ------
    MethodError, DataError
        Options and clusters that do not fit the model.
    ConvergenceError
        A working correlation that is not positive definite, or a separated response.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 4, 3], "x": [0.0, 1, 0, 1, 0, 1, 0, 1], "id": list("aabbccdd")})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("gee", groups="id", corr="exchangeable")
    >>> fit.fixed["estimate"].round(3).to_dict(), fit.result.extras["clusters"]
    ({'Intercept': 1.322, 'x': 0.125}, 4)
    """
    phi = _check_options(problem, cov, scale, df)
    correlation = get_correlation(corr, R=R, m=m, convention=convention)
    if (correlation.name == "nested") != (subgroups is not None):
        raise MethodError("corr='nested' goes with subgroups=, the groups inside the clusters, and no other corr does.")
    correlation = correlation.bind(read_clusters(problem, groups, time, subgroups))
    held = _held(correlation, alpha)
    begin = None if start is None else _start(start, len(problem.design.columns))
    first = solve_mean_model(problem, problem_rows(problem), start=begin)
    if not first.status.converged:
        raise ConvergenceError(
            f"the equations under independence, where gee starts, have no solution: {first.status.message}."
        )
    equations = _equations(problem, correlation, first, convention, scale=phi, alpha=held)
    beta = first.scored.beta if begin is None else begin
    solved = solve_equations(equations, beta, max_iterations=max_iterations, tolerance=tolerance)
    marginal = Marginal(equations, solved, parts_at(equations, solved.point))
    options = {
        "groups": problem.design.blocks[0].group if problem.design.blocks else "given values",
        "corr": correlation.name,
        "cov": cov,
        "scale": scale,
        "df": df,
        "convention": convention,
        "m": m,
    }
    return _result(problem, marginal, first, options, unaligned_rows(equations, time))


def _equations(
    problem: Problem, correlation: WorkingCorrelation, first: Solution, convention: str, **held: Any
) -> Equations:
    """The problem's rows sorted by cluster, with what the equations hold fixed."""
    clusters, (n, p) = correlation.clusters, problem.design.X.shape
    return Equations(
        XT=np.ascontiguousarray(clusters.sort(problem.design.X).T),
        y=clusters.sort(problem.mean_response),
        w=clusters.sort(problem.case_weights),
        offset=clusters.sort(problem.design.offset),
        family=problem.family,
        link=problem.link,
        aux=first.aux,
        correlation=correlation,
        denominator=float(n if convention == "geepack" else n - p),
        **held,
    )


def _check_options(problem: Problem, cov: str, scale: str | float | None, df: str | float | None) -> float | None:
    """φ where it is to be held fixed, after looking at the options."""
    family = problem.family
    if len(problem.design.blocks) > 1:
        named = ", ".join(b.group for b in problem.design.blocks)
        raise MethodError(f"gee takes one grouping factor as the clusters, and the model has {named}.")
    if cov not in COVARIANCES and cov != JACKKNIFE:
        raise MethodError(f"cov is {cov!r}; one of {', '.join((*COVARIANCES, JACKKNIFE))} is expected.")
    number = isinstance(df, int | float) and not isinstance(df, bool)
    if not (df is None or df == "clusters" or (number and float(df) > 0)):
        raise MethodError(f"df is {df!r}; None, 'clusters' or a positive number is expected.")
    if scale is None or scale == "pearson":
        return None
    if scale == "fixed":
        if family.scale is None:
            raise MethodError(f"{family.name} fixes no scale; take scale='pearson' or a number.")
        return family.scale
    if isinstance(scale, str) or not (np.isfinite(scale) and scale > 0):
        raise MethodError(f"scale is {scale!r}; 'pearson', 'fixed' or a positive number is expected.")
    return float(scale)


def _start(start: Any, p: int) -> Floats:
    """Starting coefficients, checked."""
    values = np.asarray(start, dtype=float)
    if values.shape != (p,) or not np.isfinite(values).all():
        raise MethodError(f"start has shape {values.shape}; {p} finite coefficients are expected.")
    return values


def _held(correlation: WorkingCorrelation, alpha: Any) -> Floats | None:
    """Parameters to hold fixed, checked."""
    if alpha is None:
        return None
    if not correlation.estimated:
        raise MethodError(f"corr={correlation.name!r} has no parameter to hold at alpha=.")
    values = np.atleast_1d(np.asarray(alpha, dtype=float))
    probe = correlation.update(np.ones(correlation.clusters.n), 1.0, 0)
    if values.shape != probe.shape:
        raise MethodError(
            f"alpha has shape {values.shape}, and corr={correlation.name!r} has {len(probe)} parameter(s)."
        )
    reason = correlation.objection(values)
    if reason is not None:
        raise MethodError(f"alpha does not make a positive definite {correlation.name} correlation: {reason}.")
    return values


def _covariance(marginal: Marginal, cov: str) -> tuple[Floats, tuple[str, ...]]:
    """Covariance asked for, and notes on it."""
    if cov != JACKKNIFE:
        return COVARIANCES[cov](marginal.parts), ()
    return jackknife_covariance(marginal.equations, marginal.solved)


def _result(
    problem: Problem, marginal: Marginal, first: Solution, options: dict[str, Any], said: tuple[str, ...]
) -> Result:
    equations, solved, parts = marginal.equations, marginal.solved, marginal.parts
    point, clusters = solved.point, equations.clusters
    cov_beta, notes = _covariance(marginal, options["cov"])
    K, p = parts.u.shape
    df = {None: np.inf, "clusters": float(K - p)}.get(options["df"], options["df"])
    if options["df"] == "clusters" and p >= K:
        raise MethodError(f"df='clusters' needs more clusters than coefficients; there are {K} and {p}.")
    status = Status(
        converged=solved.converged,
        message=solved.message,
        iterations=solved.iterations,
        evaluations=solved.evaluations + first.status.evaluations,
        gradient_norm=point.decrement,
        boundary=first.status.boundary,
        notes=(*first.status.notes, *said, *notes, *infeasible_binary(problem, equations, point)),
    )
    eta = problem.design.X @ point.beta + problem.design.offset
    psi = first.psi if problem.family.scale is not None else psi_for_scale(problem, point.phi)
    labels = equations.correlation.labels(point.params)
    rows = weighted_rows(equations, first.scored.beta)
    alone = replace(equations, correlation=_independence(equations), alpha=None)
    independent = None if rows is None else point_at(alone, rows)
    robust = robust_covariance(parts)
    shown = len(clusters.occasions) <= MAX_SHOWN
    extras: dict[str, Any] = {
        "alpha": dict(zip(labels, map(float, point.params))),
        "working_correlation": equations.correlation.matrix(point.params) if shown else None,
        "clusters": K,
        "cluster_sizes": (int(clusters.sizes.min()), int(clusters.sizes.max())),
        "cov_model": parts.phi * parts.A,
        "cov_robust": robust,
        **criteria(equations, point, robust, independent),
        "marginal": marginal,
    }
    extras["facts"] = summary_facts(problem, extras, options)
    if np.isfinite(df):
        extras["df"] = float(df)
    return Result(
        method="gee",
        objective=f"generalized estimating equations, {equations.correlation.name} working correlation",
        estimand="marginal",
        beta=point.beta,
        cov_beta=cov_beta,
        eta=eta,
        status=status,
        psi=psi,
        scale=point.phi,
        df_model=p,
        df_resid=float(problem.design.nobs - p),
        use_t=bool(np.isfinite(df)),
        options=options,
        extras=extras,
    )


def _independence(equations: Equations) -> WorkingCorrelation:
    return get_correlation("independence").bind(equations.clusters)
