"""``map``: the joint mode of parameters and random effects on the PyMC graph.

The density that is maximised is over β, the covariance parameters and auxiliaries on their natural scale, and the
*standardised* random effects u, with b = Λu (PyMC's ``find_MAP`` on the same graph). It is not the mode of the
marginal posterior: the random effects are not integrated out, and with few observations per level standard deviations
come out too large, because a larger sd costs nothing in ½u'u. Under flat priors it has no mode at all when there are
random effects: with sd → ∞ the effects become free parameters, and the density only rises. (In the centred
form, over b itself, it would be unbounded as sd → 0.)
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesglmm.arguments import takes, whole
from bayesglmm.joint import linear_predictor
from bayesglmm.parameters import likelihood_scale
from bayesglmm.problem import Problem
from bayesglmm.result import Result, Status

Floats = NDArray[np.float64]

TOLERANCE = 1e-5

#: Iterations spent on a density that has no mode.
FLAT_ITERATIONS = 100


@takes(max_iterations=whole())
def run(problem: Problem, *, max_iterations: int = 5000) -> Result:
    """Find the joint mode.

    Parameters
    ----------
    problem : Problem
        The model.
    max_iterations : int
        Cap on the optimiser's iterations.

    Returns
    -------
    Result
        ``estimand`` is ``"joint-mode"``; standard errors come from the inverse of the joint Hessian, NaN where it is
        not positive definite (or has more than 1,500 rows). ``extras["log_density"]`` is the joint log-density.

    Raises
    ------
    MethodError
        A quasi-family.
    """
    from bayesglmm.graph.optimum import jacobian, joint_density, maximise

    started = time.perf_counter()
    joint = joint_density(problem)
    best = maximise(joint, min(max_iterations, FLAT_ITERATIONS) if _rises_forever(problem) else max_iterations)
    values = joint.values(best.x)
    p, k, m = len(values.beta), len(values.theta), len(values.psi)

    def natural(x: Floats) -> Floats:
        at = joint.values(x)
        return np.concatenate([at.beta, at.theta, at.psi, *(b.ravel() for b in at.effects)])

    total = p + k + m + sum(b.size for b in values.effects)
    if best.covariance is None:
        covariance, sd = np.full((p + k + m,) * 2, np.nan), np.full(total, np.nan)
    else:
        J = jacobian(natural, best.x)
        covariance = J[: p + k + m] @ best.covariance @ J[: p + k + m].T
        sd = np.sqrt(np.einsum("ij,jk,ik->i", J, best.covariance, J, optimize=True))
    ends = np.cumsum([p + k + m, *(b.size for b in values.effects)])
    return Result(
        method="map",
        objective="joint density of parameters and standardised random effects",
        estimand="joint-mode",
        beta=values.beta,
        cov_beta=covariance[:p, :p],
        theta=values.theta,
        psi=values.psi,
        cov_joint=covariance,
        effects=values.effects,
        effects_sd=tuple(sd[a:b].reshape(e.shape) for a, b, e in zip(ends[:-1], ends[1:], values.effects)),
        eta=linear_predictor(problem, values.beta, values.effects),
        scale=likelihood_scale(problem, values.psi),
        df_model=p + k + m,
        df_resid=float(problem.design.nobs - p),
        status=_status(problem, best, time.perf_counter() - started),
        options={"max_iterations": max_iterations},
        extras={"log_density": best.value},
    )


def _rises_forever(problem: Problem) -> bool:
    return problem.priors is None and bool(problem.design.blocks)


def _status(problem: Problem, best: Any, seconds: float) -> Status:
    flat = _rises_forever(problem)
    sharp = best.decrement is not None and best.decrement < TOLERANCE
    if flat:
        message = "flat priors: the joint density keeps rising as the sds grow, so it has no mode; give priors."
    elif best.decrement is None and best.covariance is None and len(best.x) > _dense():
        message = f"stopped after {best.iterations} iterations; too many unknowns for the joint Hessian."
    elif best.covariance is None:
        message = "the joint Hessian is not positive definite where the optimiser stopped."
    elif not sharp:
        message = f"stopped {best.decrement:.2g} standard errors short of the mode."
    else:
        message = f"joint mode found; Newton decrement {best.decrement:.1e}."
    notes = ("sds at a joint mode are biased: random effects are maximised over, not integrated out.",)
    return Status(
        converged=not flat and (sharp or len(best.x) > _dense()),
        message=message,
        iterations=best.iterations,
        evaluations=best.evaluations,
        gradient_norm=best.decrement,
        notes=notes if problem.design.blocks else (),
        seconds=seconds,
    )


def _dense() -> int:
    from bayesglmm.graph.optimum import MAX_DENSE

    return MAX_DENSE
