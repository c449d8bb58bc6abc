"""``ml``: the exact Gaussian marginal likelihood of a linear mixed model."""

from __future__ import annotations

from bayesglmm.latent.working import fit_working
from bayesglmm.problem import Problem
from bayesglmm.result import Result


def run(problem: Problem) -> Result:
    """Fit a linear mixed model by maximum likelihood; see :func:`bayesglmm.latent.working.fit_working`."""
    return fit_working(problem, method="ml")
