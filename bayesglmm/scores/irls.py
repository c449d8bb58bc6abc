"""Generalized linear models and quasi-likelihood by iteratively reweighted least squares."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import executor, number, numeric, optional, plain, refused, takes, whole, word_or_positive
from bayesglmm.errors import BayesGLMMWarning, MethodError, warn
from bayesglmm.problem import Problem
from bayesglmm.result import Result
from bayesglmm.scores.chunked import OverParts, chunked_profile, chunked_rows, memory_rows
from bayesglmm.scores.likelihood import auxiliary_information, follows_deviance, ml_dispersion, psi_for_scale
from bayesglmm.scores.power import fit_profiled
from bayesglmm.scores.sandwich import COVARIANCES, cluster_codes
from bayesglmm.scores.scale import SCALES
from bayesglmm.scores.solution import Solution, solve_mean_model
from bayesglmm.scores.totals import InMemory, Totals

Floats = NDArray[np.float64]


@takes(
    scale=word_or_positive,
    cov=plain,
    start=optional(numeric),
    small_sample=plain,
    max_iterations=whole(),
    tolerance=number(0.0),
    penalty=plain,
    executor=optional(executor),
)
def fit_irls(
    problem: Problem,
    *,
    scale: str | float | None = None,
    cov: str = "model",
    groups: Any = None,
    small_sample: str = "CR1S",
    max_iterations: int = 100,
    tolerance: float = 1e-10,
    penalty: str | None = None,
    start: Any = None,
    executor: Any = None,
) -> Result:
    """Fit a generalized linear model, or a quasi-likelihood, by Fisher scoring.

    Parameters
    ----------
    problem : Problem
        No random terms.
    scale : {"pearson", "fletcher", "deviance", "huber"} or float, optional
        How φ is found, or its value. Left out: 1 where the family fixes it, else Pearson's estimate.
    cov : {"model", "HC0", "HC1", "HC2", "HC3", "cluster"}
        Covariance of the coefficients: φ (X'WX)^-1, or a sandwich.
    groups : array_like, optional
        Cluster labels for ``cov="cluster"``: one vector, or two for two-way clustering. The reference of Wald tables
        does not change with it: normal where φ is known, t on n − p degrees of freedom where it is estimated. Neither
        knows how few the clusters are; with fewer than some forty prefer ``gee``, whose corrected covariances and
        degrees of freedom do.
    small_sample : {"CR1S", "CR1", "CR0"}
        Factor of the cluster-robust covariance: G/(G−1) × (n−1)/(n−p), G/(G−1), or 1.
    max_iterations : int
        Cap on the scoring steps.
    tolerance : float
        Largest remaining distance to the solution, in standard errors.
    penalty : {"firth"}, optional
        Solve the bias-reducing adjusted score equations instead (finite under separation).
    start : array_like, shape (p,), optional
        Starting coefficients.
    executor : concurrent.futures.Executor, optional
        Sums parts of the data: a pool of threads or processes, or ``client.get_executor()`` of dask.distributed. Parts
        are added up in their order, so that the answer does not depend on who was first.

    Returns
    -------
    Result
        ``loglik`` as R's ``logLik.glm``: for gaussian, gamma and inverse Gaussian the density is taken at
        φ = deviance / n (for Tweedie at its maximum-likelihood φ), while ``scale``, ``psi`` and the standard errors
        use the estimate asked for.
        None for a quasi-family, and where φ is set or estimated although the family fixes it;
        ``extras["quasi_loglik"]`` is there always.

    Raises
    ------
    MethodError
        An unknown option, or random terms.
    ConvergenceError
        No admissible starting point, or an information matrix that is not positive definite.

    Warns
    -----
    BayesGLMMWarning
        A cluster-robust covariance with no more clusters than coefficients.
    """
    options: dict[str, Any] = {"scale": scale, "cov": cov, "penalty": penalty, "small_sample": small_sample}
    if start is not None and start.shape != (len(problem.design.columns),):
        raise refused("start", start, f"{len(problem.design.columns)} coefficients, one for each column,")
    rest = {"max_iterations": max_iterations, "tolerance": tolerance, "start": start}
    _check_options(problem, scale, cov, penalty)
    if problem.family.profile is not None:
        return fit_profiled(problem, partial(fit_irls, **options, **rest, groups=groups, executor=executor))
    if cov == "cluster" and problem.design.chunks is None:
        cluster_codes(groups, problem.design.nobs)  # labels that do not fit are refused before the work begins
    state, at = _solve(problem, penalty, executor, rest)
    return _result(problem, state, at, groups, options)


def _solve(problem: Problem, penalty: str | None, executor: Any, rest: dict[str, Any]) -> tuple[Solution, Totals]:
    """Solve for the coefficients, and say where the sums over all rows are to be had."""
    if problem.design.chunks is None:
        source = memory_rows(problem, executor)
        state = solve_mean_model(problem, source, penalty=penalty, **rest)
        return state, InMemory(problem, source, _linear_predictor(problem, state.scored.beta))
    state = solve_mean_model(
        problem,
        chunked_rows(problem, executor),
        penalty=penalty,
        profile=chunked_profile(problem, executor),
        saturated=follows_deviance(problem.family),
        executor=executor,
        **rest,
    )
    return state, OverParts(problem, state.scored.beta, executor, state.scored)


def _result(problem: Problem, state: Solution, at: Totals, groups: Any, options: dict[str, Any]) -> Result:
    scored, scale, p = state.scored, options["scale"], len(state.scored.beta)
    df = float(problem.design.nobs - p)
    phi, estimated = _scale(problem, scale, at, df, state)
    cov_beta, clusters = _covariance(state, at, phi, groups, options)
    psi, loglik = _likelihood(problem, state, at, phi, scale)
    return Result(
        method="irls",
        objective=_objective(problem, options["penalty"]),
        estimand="conditional",
        beta=scored.beta,
        cov_beta=cov_beta,
        eta=at.eta,
        status=state.status,
        psi=psi,
        cov_joint=_joint(problem, state, cov_beta, psi, at),
        scale=phi,
        loglik=loglik,
        df_model=p + (len(psi) if loglik is not None else int(estimated)),
        df_resid=df,
        use_t=estimated,
        options=options,
        extras=_extras(state, phi, clusters),
    )


def _covariance(
    state: Solution, at: Totals, phi: float, groups: Any, options: dict[str, Any]
) -> tuple[Floats, tuple[int, ...]]:
    """Covariance asked for, and the numbers of clusters where there are clusters."""
    if options["cov"] == "model":
        return phi * state.scored.factor.inverse(), ()
    if options["cov"] != "cluster":
        return at.heteroscedastic(options["cov"], state), ()
    cov_beta, clusters = at.clustered(groups, options["small_sample"], state)
    _warn_of_few_clusters(clusters, len(cov_beta))
    return cov_beta, clusters


def _check_options(problem: Problem, scale: str | float | None, cov: str, penalty: str | None) -> None:
    if problem.design.blocks:
        raise MethodError(
            "irls takes no random effects; leave the ( … | g) terms out, or fit by 'pql', 'laplace' or 'gee'."
        )
    if not problem.family.exponential and problem.family.profile is None:
        raise MethodError(
            f"irls solves equations of mean and variance alone, which are not those of {problem.family.name}; "
            "fit by 'laplace', which without random effects is maximum likelihood."
        )
    if isinstance(scale, str) and scale not in SCALES:
        raise MethodError(f"scale is {scale!r}; {', '.join(SCALES)} or a positive number is expected.")
    if isinstance(scale, int | float) and not (np.isfinite(scale) and scale > 0):
        raise MethodError(f"scale is {scale!r}; a positive number is expected.")
    if cov not in COVARIANCES:
        raise MethodError(f"cov is {cov!r}; one of {', '.join(COVARIANCES)} is expected.")
    if penalty not in (None, "firth"):
        raise MethodError(f"penalty is {penalty!r}; None or 'firth' is expected.")


def _warn_of_few_clusters(clusters: tuple[int, ...], p: int) -> None:
    """The scores of G clusters sum to zero, so that their covariance has rank G − 1 at most."""
    few = min(clusters)
    if few <= p:
        warn(
            f"a cluster-robust covariance from {few} clusters for {p} coefficients is singular and far too small; "
            "fit fewer coefficients, or use 'gee' with a corrected covariance, or random effects.",
            BayesGLMMWarning,
        )


def _linear_predictor(problem: Problem, beta: Floats) -> Floats:
    eta = problem.design.X @ beta
    eta += problem.design.offset
    return eta


def _scale(problem: Problem, scale: str | float | None, at: Totals, df: float, state: Solution) -> tuple[float, bool]:
    """φ, and whether it was estimated."""
    if scale is None:
        if problem.family.scale is not None:
            return problem.family.scale, False
        scale = "pearson"
    if not isinstance(scale, str):
        return float(scale), False
    if df <= 0:
        raise MethodError(
            f"scale={scale!r} needs more rows than coefficients; this model has {problem.design.nobs} rows and "
            f"{len(problem.design.columns)} coefficients."
        )
    known = {"pearson": state.scored.sums.pearson, "deviance": state.scored.sums.deviance}
    if scale in known:
        return known[scale] / df, True
    return at.scale(scale, df, state.aux), True


def _likelihood(
    problem: Problem, state: Solution, at: Totals, phi: float, scale: str | float | None
) -> tuple[Floats, float | None]:
    """Auxiliaries to report, and the log-likelihood (None for a quasi-likelihood fit)."""
    family = problem.family
    if family.scale is not None:
        freed = scale is not None and phi != family.scale
        quasi = family.quasi or freed or family.kernel is None
        return state.psi, None if quasi else at.loglik(state.psi)
    psi = psi_for_scale(problem, phi)
    if family.quasi or family.kernel is None:
        return psi, None
    best = ml_dispersion(problem, at.maximise_auxiliary, psi, state.scored.sums.deviance)
    return psi, None if best is None else at.loglik(best)


def _joint(problem: Problem, state: Solution, cov_beta: Floats, psi: Floats, at: Totals) -> Floats | None:
    """Block-diagonal covariance of (β, ψ); the information about ψ is taken at fixed means, as in MASS::glm.nb."""
    if len(psi) != 1 or problem.family.kernel is None:
        return cov_beta if len(psi) == 0 else None
    p = len(cov_beta)
    joint = np.full((p + 1, p + 1), 0.0)
    joint[:p, :p] = cov_beta
    information = auxiliary_information(at.aux_score, psi)
    joint[p, p] = 1.0 / information if information > 0 and not state.status.boundary else np.nan
    return joint


def _objective(problem: Problem, penalty: str | None) -> str:
    what = "quasi-score" if problem.family.quasi else "score"
    return f"{'bias-reducing adjusted ' if penalty else ''}{what} equations of the {problem.family.name} mean model"


def _extras(state: Solution, phi: float, clusters: tuple[int, ...]) -> dict[str, Any]:
    extras: dict[str, Any] = {
        "deviance": state.scored.sums.deviance,
        "pearson_chi2": state.scored.sums.pearson,
        "quasi_loglik": -0.5 * state.scored.sums.deviance / phi,
        "condition": state.scored.factor.condition,
    }
    if clusters:
        extras["clusters"] = clusters
    return extras
