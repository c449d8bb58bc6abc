"""What one holds a fit against data with: residuals, checks and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm import plots, plots_predictive
from bayesglmm.arguments import taught
from bayesglmm.diagnose import residuals
from bayesglmm.diagnose.panel import Checks
from bayesglmm.errors import MethodError
from bayesglmm.fit.found import Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@taught
class Checking(Found):
    """Checks of a fit; a base of :class:`~bayesglmm.Fit`."""

    def residuals(self, kind: str = "deviance", **options: Any) -> np.ndarray:
        """Residuals: ``"pearson"``, ``"deviance"``, ``"response"``, ``"working"``, ``"quantile"``, ``"normalized"``.

        Parameters
        ----------
        kind : str
            See :func:`bayesglmm.diagnose.residuals.residuals`.
        **options
            ``seed=`` of quantile residuals; ``predictive=True`` for those from the posterior predictive distribution,
            then with ``level="conditional"`` (same groups) or ``"marginal"`` (new ones) and ``draws=1000``.

        Returns
        -------
        ndarray, shape (n,)

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 60], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> fit = bg.Model("y ~ x", data, family="poisson", priors="flat").fit("laplace")
        >>> bool(fit.residuals("quantile", predictive=True)[5] > 2)
        True
        """
        return residuals.residuals(self.model.problem, self.result, kind, **options)

    def influence(self, group: str | None = None, **options: Any) -> pd.DataFrame:
        """Leverage, Cook's distance and DFBETAS, one row per observation; or what leaving out whole groups changes.

        Parameters
        ----------
        group : str, optional
            A grouping factor of a mixed model: one row per level then, by fits without it.
        **options
            Of groups: ``refit=False`` for one Newton step instead of a fit without each level, which is what very many
            levels get when it is left out; ``progress=``. See :mod:`bayesglmm.diagnose.group_influence`.

        Returns
        -------
        DataFrame
            Indexed as the data, by cluster for ``gee``, or by level.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2.0, 3, 2, 5, 8, 6, 4, 7], "g": list("aabbccdd")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data).fit("reml")
        >>> fit.influence("g")["cooks_distance"].idxmax()
        'c'
        """
        if group is not None:
            from bayesglmm.diagnose.group_influence import group_influence

            return group_influence(self.model.problem, self.result, group, **options)
        from bayesglmm.diagnose.influence import influence

        if options:
            raise MethodError(f"{', '.join(options)}: for the influence of groups only; name a grouping factor.")

        return influence(self.model.problem, self.result)

    @property
    def checks(self) -> Checks:
        """Overdispersion, excess zeros, variance function, normality: ``fit.checks.overdispersion()``, or print all."""
        return Checks(self.model.problem, self.result)

    def correlation_diagnostics(self) -> pd.Series:
        """How well the working correlation of a ``gee`` fit describes the clusters."""
        from bayesglmm.inference.marginal import correlation_diagnostics

        return correlation_diagnostics(self.result)

    def ppc_statistics(
        self, statistics: Any = None, *, level: str = "conditional", draws: int = 1000, seed: int | None = None
    ) -> pd.DataFrame:
        """Test statistics of the response against those of replicated responses, with posterior predictive p-values.

        Parameters
        ----------
        statistics : sequence of str, or mapping of str to callable, optional
            Names of some of the model's own; or functions of one response, shape (n,), to add to them. Proportions
            where there are trials. The model's own are ``mean``, ``zeros`` (their share), ``maximum``, ``sd``,
            ``dispersion`` (mean squared deviation from each draw's means, for new groups from the predictive means, in
            units of the predictive variances), the share of every category of an ordered response, and for every
            grouping factor ``sd between g`` (of the groups' means) and ``icc g`` (intraclass correlation by the
            analysis of variance).
        level : {"conditional", "marginal", "population"}
            Replications of the same groups, of new ones, or with random effects at zero. Where the random effects could
            follow every row (an effect per observation) the same groups fit too well: take new ones.
        draws : int
            Replications.
        seed : int, optional
            Of the replications.

        Returns
        -------
        DataFrame
            A row per statistic: ``observed``; ``mean, sd, ci_low, ci_high`` of the replications; ``p``, the share of
            replications above the observed value, ties counted half. Near 0 the data have more of it than the model
            expects, near 1 less.

        Raises
        ------
        MethodError
            A quasi-family, which has no distribution; an unknown statistic.

        Notes
        -----
        Gelman, Meng & Stern (1996), Statistica Sinica 6, 733-807. Such p-values are conservative: the data were used to
        fit, too.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [0, 0, 0, 14, 0, 22, 0, 0, 9, 0], "x": [0.0, 1] * 5})
        >>> found = bg.Model("y ~ x", data, family="poisson").fit("laplace").ppc_statistics(seed=1)
        >>> bool(found["p"]["zeros"] < 0.01), list(found.index)
        (True, ['mean', 'zeros', 'maximum', 'sd', 'dispersion'])
        """
        from bayesglmm.diagnose.predictive import check_statistics

        problem, result = self.model.problem, self.result
        return check_statistics(problem, result, statistics, level=level, draws=draws, seed=seed).table

    def loo_pit(self, draws: int = 1000, seed: int | None = None) -> np.ndarray:
        """Place of every row in the distribution that the other rows predict for it, shape (n,).

        Uniform on (0, 1) under the model, ties of a discrete response broken at random (ArviZ ``loo_pit``).

        Parameters
        ----------
        draws : int
            Of the posterior; those of ``laplace`` and ``agq`` are weighted towards it first.
        seed : int, optional
            Of the draws.

        Raises
        ------
        MethodError
            A fit without a posterior.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 40], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> fit = bg.Model("y ~ 1", data, family="poisson").fit("laplace", seed=1)
        >>> bool(fit.loo_pit(seed=1)[5] > 0.99)
        True
        """
        from bayesglmm.diagnose.predictive import loo_pit

        return loo_pit(self.model.problem, self.result, draws, seed)

    def plot_diagnostics(self) -> Figure:
        """Draw residuals, Q-Q, scale-location and leverage in one figure."""
        from bayesglmm.diagnose.figure import plot_diagnostics

        return plot_diagnostics(self.model.problem, self.result)

    def plot_forest(self) -> Figure:
        """Draw estimates and intervals of the parameters."""
        return plots.plot_forest(self)

    def plot_dist(self, var_names: Sequence[str] | None = None) -> Figure:
        """Draw marginal densities of the parameters, of a fit with draws.

        Parameters
        ----------
        var_names : sequence of str, optional
            Parameters as the tables name them, or variables of ``fit.idata.posterior``; every parameter when left out.
        """
        return plots.plot_dist(self, var_names)

    def plot_trace(self, var_names: Sequence[str] | None = None) -> Figure:
        """Draw the chains of an MCMC fit; `var_names` as for :meth:`plot_dist`."""
        return plots.plot_trace(self, var_names)

    def plot_rank(self, var_names: Sequence[str] | None = None) -> Figure:
        """Draw the chains' rank distributions; chains that agree stay in the band. `var_names` as for `plot_dist`."""
        return plots.plot_rank(self, var_names)

    def plot_ppc(self, **options: Any) -> Figure:
        """Draw replicated responses over the observed one.

        Parameters
        ----------
        **options
            ``kind="calibration"``, ``"rootogram"``, ``"distribution"`` or ``"tstat"`` (with ``statistics=`` as for
            :meth:`ppc_statistics`), ``level=``, ``draws=``, ``seed=``; see
            :func:`bayesglmm.plots_predictive.plot_ppc`.
        """
        return plots_predictive.plot_ppc(self, **options)

    def plot_loo_pit(self, **options: Any) -> Figure:
        """Draw how far the rows' leave-one-out places are from uniform (ArviZ ``plot_loo_pit``).

        Parameters
        ----------
        **options
            ``draws=1000``, ``seed=``, ``coverage=True`` for the coverage of central intervals.
        """
        return plots_predictive.plot_loo_pit(self, **options)
