"""Generalized linear models and quasi-likelihood by iteratively reweighted least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.errors import MethodError
from bayesglmm.parameters import auxiliary_values
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status
from bayesglmm.scores.likelihood import auxiliary_information, loglik_at, maximise_auxiliary, psi_for_scale
from bayesglmm.scores.rows import RowSource, problem_rows
from bayesglmm.scores.sandwich import COVARIANCES, cluster_codes, cluster_covariance, heteroscedastic_covariance
from bayesglmm.scores.scale import SCALES
from bayesglmm.scores.scoring import Scored, score_equations
from bayesglmm.scores.working import Aux

Floats = NDArray[np.float64]

#: Alternations between β and an auxiliary of the variance.
_MAX_ALTERNATIONS = 200


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
        Cluster labels for ``cov="cluster"``: one vector, or two for two-way clustering.
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

    Returns
    -------
    Result
        ``loglik`` as R's ``logLik.glm``: where φ is estimated (gaussian, gamma, inverse Gaussian) the density is
        taken at φ = deviance / n, while ``scale``, ``psi`` and the standard errors use the estimate asked for.
        None for a quasi-family, and where φ is set or estimated although the family fixes it;
        ``extras["quasi_loglik"]`` is there always.

    Raises
    ------
    MethodError
        An unknown option, or random terms.
    ConvergenceError
        No admissible starting point, or an information matrix that is not positive definite.
    """
    _check_options(problem, scale, cov, penalty)
    codes = cluster_codes(groups, problem.design.nobs) if cov == "cluster" else ()
    source = problem_rows(problem)
    state = _solve(problem, source, start, max_iterations, tolerance)
    scored, n, p = state.scored, problem.design.nobs, len(state.scored.beta)
    df = float(n - p)
    eta = _linear_predictor(problem, scored.beta)
    phi, estimated = _scale(problem, scale, eta, df, state.aux)
    if cov == "model":
        cov_beta = phi * scored.factor.inverse()
    elif cov == "cluster":
        cov_beta = cluster_covariance(
            codes,
            source,
            problem.family,
            problem.link,
            state.aux,
            scored.beta,
            scored.factor,
            n=n,
            small_sample=small_sample,
        )
    else:
        cov_beta = heteroscedastic_covariance(
            cov, source, problem.family, problem.link, state.aux, scored.beta, scored.factor
        )
    psi, loglik = _likelihood(problem, state, eta, phi, scale)
    return Result(
        method="irls",
        objective=_objective(problem, penalty),
        estimand="conditional",
        beta=scored.beta,
        cov_beta=cov_beta,
        eta=eta,
        status=state.status,
        psi=psi,
        cov_joint=_joint(problem, state, cov_beta, psi, eta),
        scale=phi,
        loglik=loglik,
        df_model=p + (len(psi) if loglik is not None else int(estimated)),
        df_resid=df,
        use_t=estimated,
        options={"scale": scale, "cov": cov, "penalty": penalty, "small_sample": small_sample},
        extras=_extras(state, phi, codes),
    )


@dataclass(frozen=True)
class _State:
    scored: Scored
    psi: Floats
    aux: Aux
    status: Status


def _check_options(problem: Problem, scale: str | float | None, cov: str, penalty: str | None) -> None:
    if problem.design.blocks:
        raise MethodError(
            "irls takes no random effects; leave the ( … | g) terms out, or fit by 'pql', 'laplace' or 'gee'."
        )
    if isinstance(scale, str) and scale not in SCALES:
        raise MethodError(f"scale is {scale!r}; {', '.join(SCALES)} or a positive number is expected.")
    if isinstance(scale, int | float) and not (np.isfinite(scale) and scale > 0):
        raise MethodError(f"scale is {scale!r}; a positive number is expected.")
    if cov not in COVARIANCES:
        raise MethodError(f"cov is {cov!r}; one of {', '.join(COVARIANCES)} is expected.")
    if penalty not in (None, "firth"):
        raise MethodError(f"penalty is {penalty!r}; None or 'firth' is expected.")


def _solve(problem: Problem, source: RowSource, start: Any, max_iterations: int, tolerance: float) -> _State:
    """Coefficients, and the auxiliaries of the variance where there are any, by alternation."""
    family, link = problem.family, problem.link
    shaped = family.scale is not None and len(family.auxiliaries) > 0

    def score_at(aux: Aux, beta: Floats | None) -> Scored:
        return score_equations(
            source, family, link, aux, start=beta, max_iterations=max_iterations, tolerance=tolerance
        )

    if not shaped:
        psi = np.zeros(len(family.auxiliaries))
        scored = score_at(auxiliary_values(problem, psi), start)
        return _State(scored, psi, auxiliary_values(problem, psi), _status(scored, scored.iterations))
    return _alternate(problem, score_at, start, tolerance)


def _alternate(problem: Problem, score_at: Any, start: Any, tolerance: float) -> _State:
    """Profile likelihood by turns: β given the auxiliary by scoring, the auxiliary given η by its own score."""
    y, w = problem.mean_response, problem.case_weights
    mean = np.full(len(y), np.average(y, weights=w))
    first = problem.family.auxiliaries[0]
    from bayesglmm.links import get_link

    psi = np.atleast_1d(get_link(first.link).eta(np.asarray(first.start(y, mean, w), dtype=float)))
    beta, iterations, interior, moved = start, 0, True, np.inf
    for _ in range(_MAX_ALTERNATIONS):
        scored: Scored = score_at(auxiliary_values(problem, psi), beta)
        iterations += scored.iterations
        beta, old = scored.beta, psi
        psi, interior = maximise_auxiliary(problem, _linear_predictor(problem, beta), psi)
        moved = abs(float(psi[0] - old[0]))
        if moved < max(0.1 * tolerance, 1e-12) or not scored.converged:
            break
    status = _status(scored, iterations)
    if moved > 1e-6 and status.converged:
        status = Status(False, f"{first.name} had not settled after {_MAX_ALTERNATIONS} alternations", iterations)
    if not interior:
        note = f"{first.name} is at infinity: the data show no more variance than the limiting family"
        status = Status(
            status.converged,
            status.message,
            iterations,
            status.evaluations,
            status.gradient_norm,
            (first.name,),
            (note,),
        )
    return _State(scored, psi, auxiliary_values(problem, psi), status)


def _status(scored: Scored, iterations: int) -> Status:
    notes: tuple[str, ...] = ()
    if scored.factor.condition > 1e8:
        notes = (
            f"the weighted columns are nearly dependent (condition number {scored.factor.condition:.1e}): "
            f"expect about {max(0, 15 - int(np.log10(scored.factor.condition)))} correct digits",
        )
    return Status(
        converged=scored.converged,
        message=scored.message,
        iterations=iterations,
        evaluations=scored.evaluations,
        gradient_norm=scored.decrement,
        notes=notes,
    )


def _linear_predictor(problem: Problem, beta: Floats) -> Floats:
    eta = problem.design.X @ beta
    eta += problem.design.offset
    return eta


def _scale(problem: Problem, scale: str | float | None, eta: Floats, df: float, aux: Aux) -> tuple[float, bool]:
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
    mu = problem.link.mean(eta)
    return SCALES[scale](problem.family, mu, problem.mean_response, problem.case_weights, df, aux), True


def _likelihood(
    problem: Problem, state: _State, eta: Floats, phi: float, scale: str | float | None
) -> tuple[Floats, float | None]:
    """Auxiliaries to report, and the log-likelihood (None for a quasi-likelihood fit)."""
    family = problem.family
    if family.scale is not None:
        freed = scale is not None and phi != family.scale
        quasi = family.quasi or freed or family.kernel is None
        return state.psi, None if quasi else loglik_at(problem, eta, state.psi)
    psi = psi_for_scale(problem, phi)
    if family.quasi or family.kernel is None:
        return psi, None
    ml = state.scored.sums.deviance / problem.design.nobs
    return psi, loglik_at(problem, eta, psi_for_scale(problem, ml)) if ml > 0 else None


def _joint(problem: Problem, state: _State, cov_beta: Floats, psi: Floats, eta: Floats) -> Floats | None:
    """Block-diagonal covariance of (β, ψ); the information about ψ is taken at fixed means, as in MASS::glm.nb."""
    if len(psi) != 1 or problem.family.kernel is None:
        return cov_beta if len(psi) == 0 else None
    p = len(cov_beta)
    joint = np.full((p + 1, p + 1), 0.0)
    joint[:p, :p] = cov_beta
    information = auxiliary_information(problem, eta, psi)
    joint[p, p] = 1.0 / information if information > 0 and not state.status.boundary else np.nan
    return joint


def _objective(problem: Problem, penalty: str | None) -> str:
    what = "quasi-score" if problem.family.quasi else "score"
    return f"{'bias-reducing adjusted ' if penalty else ''}{what} equations of the {problem.family.name} mean model"


def _extras(state: _State, phi: float, codes: tuple[Any, ...]) -> dict[str, Any]:
    extras: dict[str, Any] = {
        "deviance": state.scored.sums.deviance,
        "pearson_chi2": state.scored.sums.pearson,
        "quasi_loglik": -0.5 * state.scored.sums.deviance / phi,
        "condition": state.scored.factor.condition,
    }
    if codes:
        extras["clusters"] = tuple(int(c.max()) + 1 for c in codes)
    return extras
