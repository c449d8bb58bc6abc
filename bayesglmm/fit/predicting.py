"""What a fit says of rows: predictions, average effects of predictors, replicated responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesglmm import plots_predictive
from bayesglmm.arguments import taught
from bayesglmm.fit.found import Found


@taught
class Predicting(Found):
    """Predictions of a fit; a base of :class:`~bayesglmm.Fit`."""

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
        level : {"conditional", "population", "marginal", "forecast"}
            With each row's own random effects, with random effects at zero, or averaged over them. ``"forecast"``, of
            new rows where errors go together (``errors=``), is what is expected of them given those seen in the same
            series too. A level that was not seen is at zero with its whole variance; by ``mcmc``, ``inla`` and after
            :meth:`refine`, or where responses are drawn, it gets an effect from the model, which all its rows share.
        ci : float
            Coverage of the intervals.
        **options
            ``offset=``, ``exposure=`` for the new rows; ``draws=``, ``seed=``, ``trials=`` for ``kind="response"``.

        Returns
        -------
        DataFrame
            ``estimate, se, ci_low, ci_high``, one row per row of `newdata`; for ``"response"`` one column a draw. Of a
            forecast also ``sd``, that of a new response about the estimate.
            Standard errors by ``laplace`` and ``agq`` are over all parameters; by ``ml``, ``reml``, ``pql`` and ``mql``
            the variance parameters are held at their estimates.
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

    def posterior_predictive(self, draws: int = 200, seed: int | None = None, level: str = "conditional") -> np.ndarray:
        """Draw replicated responses of the same rows, shape (draws, n).

        Parameters
        ----------
        draws : int
            How many.
        seed : int, optional
            Of the draws.
        level : {"conditional", "marginal", "population"}
            Of the same groups, of new groups (a new random effect for each level, shared by its rows), or with random
            effects at zero.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1, 0, 2, 1, 9, 12, 30, 25], "g": list("aabbccdd")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data, family="poisson").fit("laplace")
        >>> same, new = (fit.posterior_predictive(500, seed=1, level=v) for v in ("conditional", "marginal"))
        >>> bool(new[:, 0].var() > same[:, 0].var())
        True
        """
        from bayesglmm.responses import posterior_predictive

        return posterior_predictive(self.model.problem, self.result, draws, seed, level)

    def predictive_tree(self, draws: int = 200, seed: int | None = None, level: str = "conditional") -> Any:
        """Replicated responses as an ArviZ DataTree: ``posterior_predictive``, ``observed_data``, ``constant_data``.

        Parameters
        ----------
        draws, seed, level
            As for :meth:`posterior_predictive`.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> tree = bg.Model("y ~ x", data, family="poisson").fit("laplace").predictive_tree(50)
        >>> dict(tree["posterior_predictive"]["y"].sizes)
        {'chain': 1, 'draw': 50, 'obs_id': 6}
        """
        return plots_predictive.predictive_tree(self, draws, seed, level)
