"""One loop for PQL and MQL, whose body is a weighted linear mixed model; ML and REML are one pass of it.

At a linear predictor η the response is replaced by z = η + (y − μ)/μ', with Var(z) = φ/W, W = w μ'²/V(μ), and the
linear mixed model of z is fitted; η is then moved to its fit, with the random effects at their conditional modes
(PQL) or at zero (MQL), until nothing changes (Breslow & Clayton 1993, JASA 88, eq. 11-12; Wolfinger & O'Connell 1993
call the same algorithm pseudo-likelihood). With ``order=2`` the next Taylor term of the mean in the random part enters
z by its expectation and Var(z) by its variance (Goldstein & Rasbash 1996, JRSS A 159, 505-513; written out in
:mod:`bayesglmm.latent.working.expansion`). The approximate marginal quasi-likelihood of every variant is written out
in :func:`bayesglmm.latent.working.result.quasi_loglik` and returned. With the Gaussian family and identity link z = y
and W = w: one pass is exact.
"""

from __future__ import annotations

from bayesglmm.errors import MethodError
from bayesglmm.latent.elimination.structure import analyse
from bayesglmm.latent.threads import one_thread
from bayesglmm.latent.working.loop import iterate
from bayesglmm.latent.working.model import Loop
from bayesglmm.latent.working.result import working_result
from bayesglmm.problem import Problem
from bayesglmm.result import Result


def fit_working(
    problem: Problem,
    *,
    method: str = "pql",
    reml: bool = False,
    scale: str | float | None = None,
    order: int = 1,
    tolerance: float = 1e-10,
    max_iterations: int = 200,
) -> Result:
    """Fit by a (sequence of) weighted linear mixed model(s).

    Parameters
    ----------
    problem : Problem
        The model; priors are left aside.
    method : {"ml", "reml", "pql", "mql"}
        ``"ml"`` and ``"reml"`` need the Gaussian family with identity link.
    reml : bool
        For PQL and MQL: fit the working models by restricted likelihood.
    scale : {"fixed", "free"} or float, optional
        φ in Var(y) = φV(μ)/w. ``"fixed"`` holds it at the family's value (1 for the binomial, Poisson and negative
        binomial; 1 as well where the family leaves it open); ``"free"`` estimates it by the working model; a number
        holds it there. The default is ``"fixed"`` for families whose φ is fixed and ``"free"`` for the others
        (quasi-families, gaussian, gamma, ...).
    order : {1, 2}
        For PQL and MQL: the order of the expansion (PQL-1, MQL-1; PQL-2, MQL-2).
    tolerance : float
        Root-mean-square change of η, in residual sds of the working response, at which the loop stops.
    max_iterations : int
        Cap on the number of working models.

    Returns
    -------
    Result
        See :func:`bayesglmm.latent.working.result.working_result` for what each field holds.

    Raises
    ------
    MethodError
        An option that does not make sense, or a family without a variance function.
    ConvergenceError
        When a working model cannot be fitted at all.

    Notes
    -----
    A negative binomial's θ that was not given is estimated with the covariance parameters, as a parameter of the
    working model's (restricted) likelihood through its weights (Wolfinger & O'Connell's pseudo-likelihood); a given
    θ is held.
    """
    gaussian = problem.family.name == "gaussian" and problem.link.name == "identity"
    if method in ("ml", "reml") and not gaussian:
        raise MethodError(f"{method!r} is for the gaussian family with identity link; 'pql' takes every family.")
    if not problem.family.exponential:
        raise MethodError(
            f"{method!r} works by mean and variance alone, and that is not how the likelihood of {problem.family.name} "
            "is solved; use 'laplace'."
        )
    given = None if problem.errors is None else problem.errors.scale
    if order not in (1, 2) or isinstance(order, bool):
        raise MethodError(f"order is {order!r}; 1 or 2 is expected.")
    fixed = given if method in ("ml", "reml") else _fixed_scale(problem, scale)
    loop = Loop(
        problem,
        analyse(problem.design.blocks, problem.covariance, problem.design.nobs),
        marginal=method == "mql",
        reml=reml or method == "reml",
        scale=fixed,
        estimates_auxiliary=problem.family.scale is not None and len(problem.family.auxiliaries) == 1,
        order=int(order),
    )
    with one_thread():
        state, status = iterate(loop, tolerance, max_iterations)
        return working_result(loop, method, state, status)


def _fixed_scale(problem: Problem, scale: str | float | None) -> float | None:
    """The φ that is held, or None when it is estimated."""
    usual = problem.family.scale
    if scale is None:
        return usual
    if scale == "free":
        return None
    if scale == "fixed":
        return 1.0 if usual is None else usual
    if isinstance(scale, str) or not float(scale) > 0:
        raise MethodError(f"scale is {scale!r}; expected 'fixed', 'free' or a positive number.")
    return float(scale)
