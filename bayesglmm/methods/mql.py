"""``mql``: working-response linear mixed models expanded at zero random effects."""

from __future__ import annotations

from bayesglmm.arguments import flag, plain, takes, whole, word_or_positive
from bayesglmm.latent.working.fit import fit_working
from bayesglmm.problem import Problem
from bayesglmm.result import Result


@takes(reml=flag, scale=word_or_positive, order=plain, max_iterations=whole())
def run(
    problem: Problem,
    *,
    reml: bool = False,
    scale: str | float | None = None,
    order: int = 1,
    max_iterations: int = 200,
) -> Result:
    """Fit by marginal quasi-likelihood; see :func:`bayesglmm.latent.working.fit.fit_working`.

    Parameters
    ----------
    problem : Problem
        The model.
    reml : bool
        Fit the working models by restricted likelihood.
    scale : {"fixed", "free"} or float, optional
        φ in Var(y) = φV(μ)/w; by default fixed where the family fixes it, else estimated.
    order : {1, 2}
        2 adds the second-order Taylor term in the random part, its mean and its variance, with the random part's
        prior variance (MQL-2; Goldstein & Rasbash 1996, see :mod:`bayesglmm.latent.working.expansion`).
    max_iterations : int
        Cap on the number of working models.

    Notes
    -----
    ``extras["quasi_loglik"]`` (``fit.quasi_loglik``) is the approximate marginal quasi-log-likelihood,

        −½ Σ w_i d_i(μ₀)/φ + ½ û'Hû/φ − ½ log|H| + ½ log|P|,

    with d the unit deviances, H = A'WA + P, A = ZΛ/√φ and μ₀ at zero random effects, û the one Newton step
    from there; its
    second-order form is with :func:`bayesglmm.latent.working.result.quasi_loglik`. It is no likelihood to compare
    models by.
    """
    return fit_working(problem, method="mql", reml=reml, scale=scale, order=order, max_iterations=max_iterations)
