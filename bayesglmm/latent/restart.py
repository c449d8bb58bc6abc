"""A second search from elsewhere, where the first ended badly or at a variance of zero.

With few rows the likelihood can have two maxima, one of them at a zero variance: a search that starts from small
variances, as moments often give, ends there. And a search whose conditional modes failed on the way may do better from
another side.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesglmm.errors import ConvergenceError
from bayesglmm.latent.elimination.blocks import NotPositiveDefiniteError
from bayesglmm.latent.outer import Optimum, maximise
from bayesglmm.latent.start import Start, joint_mode
from bayesglmm.latent.target import Target

#: Rows up to which a zero variance is looked at again: with more, two maxima are no concern.
FEW_ROWS = 2000
#: The second start: scales this many times larger, auxiliaries (logs of sds and shapes) moved by this much.
WIDER, SHARPER = 10.0, -1.0


def search(target: Target, start: Start) -> Optimum:
    """Maximise; once more from larger variances if that ended without convergence or at a zero variance.

    Parameters
    ----------
    target : Target
        Log marginal likelihood or posterior.
    start : Start
        Where to begin.

    Returns
    -------
    Optimum
        The better of the two; its notes say when it is the second.

    Raises
    ------
    ConvergenceError
        When the target is not finite at any start.
    """
    first = maximise(target, start)
    few = target.objective.structure.n <= FEW_ROWS
    if not first.curvature.definite or (first.converged and not (few and _at_zero(target, first))):
        return first  # parameters that are not identified are so from any start
    try:
        second = maximise(target, _elsewhere(target, start))
    except (ConvergenceError, NotPositiveDefiniteError, np.linalg.LinAlgError):
        return first
    gain = second.point.value - first.point.value
    if not (second.converged and (gain > 1e-6 or (not first.converged and gain > -1e-6))):
        return first
    notes = (*second.notes, "a second search, from larger variances, found this higher maximum")
    evaluations = first.evaluations + second.evaluations
    return replace(second, notes=notes, evaluations=evaluations, iterations=first.iterations + second.iterations)


def _at_zero(target: Target, optimum: Optimum) -> bool:
    _, theta, _ = target.coordinates.split(optimum.point.x)
    scales = np.array([e.kind == "scale" for e in target.coordinates.entries], dtype=bool)
    return bool(np.any(theta[scales] == 0.0))


def _elsewhere(target: Target, start: Start) -> Start:
    """Larger random effects, less left to the residual, and the joint mode of β and u there."""
    coordinates = target.coordinates
    beta, theta, psi = coordinates.split(start.x)
    free = np.array([e.kind in ("scale", "free") for e in coordinates.entries], dtype=bool)
    theta, psi = np.where(free, WIDER * theta, theta), psi + SHARPER
    with np.errstate(all="ignore"):
        joint = joint_mode(target.objective, target.objective.loadings(theta), psi, beta, start.modes)
    return replace(start, x=coordinates.join(joint.beta, theta, psi), modes=joint.u)
