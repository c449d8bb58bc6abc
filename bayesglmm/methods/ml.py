"""``ml``: the exact Gaussian marginal likelihood of a linear mixed model."""

from __future__ import annotations

from bayesglmm.arguments import plain, takes
from bayesglmm.latent.linear.small_sample import with_df
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(df=plain)
def run(problem: Problem, *, df: str | None = None) -> Result:
    """Fit a linear mixed model by maximum likelihood; see :func:`bayesglmm.latent.working.fit.fit_working`.

    Parameters
    ----------
    problem : Problem
        Gaussian with identity link.
    df : {"satterthwaite"}, optional
        Degrees of freedom of the t statistics; the normal reference when left out.
    """
    return with_df(problem, fit_working(problem, method="ml"), df)
