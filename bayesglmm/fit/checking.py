"""What one holds a fit against data with: predictions, residuals, checks and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesglmm import plots
from bayesglmm.diagnose import residuals
from bayesglmm.diagnose.panel import Checks
from bayesglmm.fit.found import Found


class Checking(Found):
    """Predictions and checks of a fit; a base of :class:`~bayesglmm.Fit`."""

    def predict(
        self, newdata: Any = None, *, kind: str = "mean", level: str = "conditional", ci: float = 0.95, **options: Any
    ) -> pd.DataFrame:
        """Predict means, linear predictors or new responses.

        Parameters
        ----------
        newdata : table, optional
            The rows to predict; the training rows when left out.
        kind : {"mean", "linear", "response", "category"}
            Mean of the response, linear predictor η, draws of a new observation, or (for an ordered response) the
            probability of every category.
        level : {"conditional", "population", "marginal"}
            With each row's own random effects, with random effects at zero, or averaged over them.
        ci : float
            Coverage of the intervals.
        **options
            ``offset=``, ``exposure=`` for the new rows; ``draws=``, ``seed=`` for ``kind="response"``.

        Returns
        -------
        DataFrame
            ``estimate, se, ci_low, ci_high``, one row per row of `newdata`; for ``"response"`` one column a draw.
        """
        from bayesglmm.predict import predict

        return predict(self.model.problem, self.result, newdata, kind=kind, level=level, ci=ci, **options)

    def average_effects(
        self,
        variables: Any = None,
        newdata: Any = None,
        *,
        compare: Any = None,
        by: str | None = None,
        level: str = "marginal",
        ci: float = 0.95,
        **options: Any,
    ) -> pd.DataFrame:
        """Average effects of predictors on the mean response, all else as it is in the rows.

        Parameters
        ----------
        variables : str or list of str, optional
            Columns of the fixed part; all of them when left out.
        newdata : table, optional
            The rows to average over; the training rows when left out.
        compare : mapping, optional
            Column → a step (for a number: from the value as it is to so much more) or a pair ``(from, to)``. Otherwise
            a number's effect is its average slope, and a factor's levels are compared with the first.
        by : str, optional
            A column, to average within each of its levels.
        level : {"marginal", "population", "conditional"}
            Means averaged over new random effects, at zero random effects, or with each row's own.
        ci : float
            Coverage of the intervals.
        **options
            ``offset=``, ``exposure=`` of new rows, where the model was built with arrays.

        Returns
        -------
        DataFrame
            ``variable, effect, estimate, se, ci_low, ci_high``, and the `by` column.

        Raises
        ------
        MethodError, DataError
            A column that the fixed part does not use, an unknown level, rows that lack a column.

        Notes
        -----
        See :mod:`bayesglmm.effects` for what is computed and its sources.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "f": list("aaabbb")})
        >>> fit = bg.Model("y ~ f", data, family="poisson").fit("irls")
        >>> fit.average_effects()[["variable", "effect", "estimate"]].round(4).values.tolist()
        [['f', 'b - a', 4.3333]]
        """
        from bayesglmm.effects import average_effects

        given = self.model.definition
        if newdata is None:
            arrays = {k: getattr(given, k) for k in ("offset", "exposure") if np.ndim(getattr(given, k))}
            options = {**arrays, **options}
        data = self.model.data if newdata is None else newdata
        return average_effects(
            self.model.problem, self.result, data, variables, compare=compare, by=by, level=level, ci=ci, **options
        )

    def residuals(self, kind: str = "deviance", **options: Any) -> np.ndarray:
        """Residuals: ``"pearson"``, ``"deviance"``, ``"response"``, ``"working"``, ``"quantile"``, ``"normalized"``."""
        return residuals.residuals(self.model.problem, self.result, kind, **options)

    def influence(self) -> pd.DataFrame:
        """Leverage, Cook's distance and DFBETAS, one row per observation."""
        from bayesglmm.diagnose.influence import influence

        return influence(self.model.problem, self.result)

    @property
    def checks(self) -> Checks:
        """Overdispersion, excess zeros, variance function, normality: ``fit.checks.overdispersion()``, or print all."""
        return Checks(self.model.problem, self.result)

    def correlation_diagnostics(self) -> pd.Series:
        """How well the working correlation of a ``gee`` fit describes the clusters."""
        from bayesglmm.inference.marginal import correlation_diagnostics

        return correlation_diagnostics(self.result)

    def posterior_predictive(self, draws: int = 200, seed: int | None = None) -> np.ndarray:
        """Draw replicated responses for the same groups, shape (draws, n)."""
        from bayesglmm.predict import posterior_predictive

        return posterior_predictive(self.model.problem, self.result, draws, seed)

    def plot_diagnostics(self) -> Any:
        """Draw residuals, Q-Q, scale-location and leverage in one figure."""
        from bayesglmm.diagnose.figure import plot_diagnostics

        return plot_diagnostics(self.model.problem, self.result)

    def plot_forest(self, **options: Any) -> Any:
        """Draw estimates and intervals of the parameters."""
        return plots.plot_forest(self, **options)

    def plot_dist(self, **options: Any) -> Any:
        """Draw marginal densities of the parameters."""
        return plots.plot_dist(self, **options)

    def plot_trace(self, **options: Any) -> Any:
        """Draw chains and ranks of an MCMC fit."""
        return plots.plot_trace(self, **options)

    def plot_ppc(self, **options: Any) -> Any:
        """Draw replicated responses over the observed one."""
        return plots.plot_ppc(self, **options)
