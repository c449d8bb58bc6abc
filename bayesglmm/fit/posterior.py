"""What one asks of an approximate fit as a posterior: how good it is, and the next step up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesglmm.arguments import taught
from bayesglmm.errors import ConvergenceWarning, warn
from bayesglmm.fit.found import Found

if TYPE_CHECKING:
    from bayesglmm.diagnose.evidence import Evidence
    from bayesglmm.diagnose.trust import Trust
    from bayesglmm.fit import Fit


@taught
class Posterior(Found):
    """Trust and refinement; a base of :class:`~bayesglmm.Fit`."""

    def check(self, draws: int = 1000, seed: int | None = None) -> Trust:
        """Say how far a fit by ``laplace`` or ``agq`` can be trusted, by importance weights of its own draws.

        Parameters
        ----------
        draws : int
            Draws the verdict is for; four times as many are weighted.
        seed : int, optional
            Of the draws.

        Returns
        -------
        Trust
            Prints as a report: verdict, Pareto k-hat, effective size, the fit's own tables against the weighted draws,
            Laplace's error by cluster.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> counts = [2, 3, 1, 5, 8, 6, 1, 0, 4, 3, 2, 2, 6, 9, 3, 1]
        >>> data = pd.DataFrame({"y": counts, "g": list("aabbccddeeffgghh")})
        >>> trust = bg.Model("y ~ 1 + (1 | g)", data, family="poisson").fit("laplace").check(seed=1)
        >>> trust.verdict
        'good as MCMC'
        >>> bool(abs(trust.loglik["second_order"] - trust.loglik["exact"]) < 0.01)
        True
        """
        from bayesglmm.diagnose.trust import check_fit

        return check_fit(self.model.problem, self.result, draws=draws, seed=seed)

    def refine(self, to: str | None = None, **options: Any) -> Fit:
        """Take the next step up: weighted draws, then NUTS on the marginal posterior, then NUTS on the full graph.

        Parameters
        ----------
        to : {"psis", "marginal", "full"}, optional
            The step to take; the one above this fit when left out. ``"psis"`` weights draws around the mode of a fit by
            ``laplace`` or ``agq`` towards the exact posterior; ``"marginal"`` samples the parameters with the random
            effects integrated out; ``"full"`` is method ``mcmc``.
        **options
            ``draws=, seed=, proposals=`` for ``"psis"``; those of ``mcmc`` for the others.

        Returns
        -------
        Fit
            Of method ``"laplace+psis"``, ``"agq+psis"`` or ``"mcmc"``, with the same names.

        Warns
        -----
        ConvergenceWarning
            The weights, or the chains, are not good enough; the status says why.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> counts = [2, 3, 1, 5, 8, 6, 1, 0, 4, 3, 2, 2, 6, 9, 3, 1]
        >>> data = pd.DataFrame({"y": counts, "g": list("aabbccddeeffgghh")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data, family="poisson").fit("laplace")
        >>> fit.refine(seed=1)
        <Fit of 'y ~ 1 + (1 | g)' by laplace+psis>
        """
        from bayesglmm.diagnose.refine import refine
        from bayesglmm.fit import Fit

        result = refine(self.model.problem, self.result, to, **options)
        if not result.status.converged:
            warn(f"not to be used as it is: {result.status.message}", ConvergenceWarning)
        return Fit(self.model, result)

    def loo(
        self,
        unit: str = "row",
        *,
        nodes: int = 15,
        draws: int = 1000,
        refit: bool | float = False,
        moment_match: bool = False,
        seed: int | None = None,
        resume: Any = None,
    ) -> Any:
        """Leave-one-out cross-validation by Pareto-smoothed importance sampling, of rows or of groups.

        Parameters
        ----------
        unit : str
            ``"row"``: how well a row is predicted by the others, those of its own group among them; a random effect
            that is the row's alone (a term per observation) is integrated out. ``"group"`` (or the grouping factor's
            name): how well a new group is predicted; its random effects are integrated out.
        nodes : int
            Of the quadrature for groups; nested factors are integrated by Laplace.
        draws : int
            Of an approximate fit (and the most of a sampled one for groups).
        refit : bool or float
            Fit again without every unit whose Pareto k-hat is above ArviZ's limit, or above this number.
        moment_match : bool
            First move the draws where k-hat is high (Paananen et al. 2021): of the parameters, and for a row of its
            own levels' random effects. For draws of the posterior: by ``mcmc``, ``inla`` or :meth:`refine`.
        seed : int, optional
            Of the draws.
        resume : arviz_stats.ELPDData, optional
            What a call that was stopped by Ctrl-C returned: its fits without a unit are not made again.

        Returns
        -------
        arviz_stats.ELPDData
            With pointwise values; ``arviz.compare`` takes a dict of them. ``approx_posterior`` is True where draws of
            an approximation were weighted towards the posterior.

        Raises
        ------
        MethodError
            A fit without a posterior, or crossed groups, which cannot be left out one by one.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> counts = [2, 3, 1, 5, 8, 6, 1, 0, 4, 3, 2, 2, 6, 9, 3, 1]
        >>> data = pd.DataFrame({"y": counts, "g": list("aabbccddeeffgghh")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data, family="poisson").fit("laplace")
        >>> found = fit.loo("group", seed=1)
        >>> int(found.n_data_points), found.approx_posterior
        (8, True)
        """
        from bayesglmm.diagnose.loo import loo

        how: dict[str, Any] = {"nodes": nodes, "draws": draws, "refit": refit, "moment_match": moment_match}
        return loo(self.model.problem, self.result, unit, **how, seed=seed, resume=resume)

    def waic(self, unit: str = "row", **options: Any) -> dict[str, float]:
        """Widely applicable information criterion of rows or groups (Watanabe 2010); prefer :meth:`loo`.

        Parameters
        ----------
        unit : str
            As for :meth:`loo`.
        **options
            ``nodes=, draws=, seed=``.

        Returns
        -------
        dict
            ``elpd, se, p``, and ``poor``: how many units have a penalty above 0.4, where it cannot be trusted.
        """
        from bayesglmm.diagnose.loo import waic

        return waic(self.model.problem, self.result, unit, **options)

    def evidence(self, draws: int = 2000, seed: int | None = None) -> Evidence:
        """Log marginal likelihood log p(y), by bridge sampling, for Bayes factors.

        Parameters
        ----------
        draws : int
            Of the posterior; as many are drawn from the Gaussian at the bridge's other end.
        seed : int, optional
            Of the draws.

        Returns
        -------
        Evidence
            ``log_evidence`` with all constants, and its ``error``.

        Raises
        ------
        MethodError
            Priors that are not proper.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> counts = [2, 3, 1, 5, 8, 6, 1, 0, 4, 3, 2, 2, 6, 9, 3, 1]
        >>> data = pd.DataFrame({"y": counts, "g": list("aabbccddeeffgghh")})
        >>> model = bg.Model("y ~ 1 + (1 | g)", data, family="poisson")
        >>> found = model.fit("laplace").evidence(seed=1)
        >>> bool(abs(found.log_evidence - model.fit("inla").log_evidence) < 0.05)
        True
        """
        from bayesglmm.diagnose.evidence import bridge

        return bridge(self.model.problem, self.result, draws=draws, seed=seed)
