"""What a fit is to its user: labels on a result, and one call for each thing one does with it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm import plots, tables
from bayesglmm.diagnose import residuals
from bayesglmm.diagnose.panel import Checks
from bayesglmm.errors import MethodError
from bayesglmm.inference import contrasts, criteria, estimability
from bayesglmm.parameters import Parameters, unpack
from bayesglmm.summary import summary_html, summary_text

if TYPE_CHECKING:
    from bayesglmm.model import Model
    from bayesglmm.result import Result, Status


class Fit:
    """A fitted model, the same kind of object whatever the method.

    Parameters
    ----------
    model : Model
        What was fitted.
    result : Result
        What was found, as plain arrays.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
    >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
    >>> fit.fixed["estimate"].round(4).to_dict()
    {'Intercept': 1.4271, 'x': 0.0}
    """

    def __init__(self, model: Model, result: Result) -> None:
        self.model = model
        self.result = result

    def __repr__(self) -> str:
        return f"<Fit of {self.model.formula!r} by {self.method}>"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return summary_html(self)

    def summary(self) -> str:
        """Return the printed table: what was fitted, variance components, coefficients, status."""
        return summary_text(self)

    # --- what was found -------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.result.method

    @property
    def estimand(self) -> str:
        """What the coefficients mean: ``"conditional"``, ``"marginal"`` or ``"joint-mode"``."""
        return self.result.estimand

    @property
    def status(self) -> Status:
        """Whether and how it converged, and how far to trust it."""
        return self.result.status

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """One row per coefficient: estimate, se, 95 % interval and, without a posterior, a Wald test."""
        return tables.fixed_table(self.model.problem, self.result)

    @cached_property
    def varcomp(self) -> pd.DataFrame:
        """Standard deviations and correlations of the random effects."""
        if not self.model.design.blocks:
            return pd.DataFrame(columns=["group", "term", "sd", "se", "ci_low", "ci_high", "corr_with", "corr"])
        return tables.varcomp_table(self.model.problem, self.result)

    @cached_property
    def auxiliary(self) -> pd.DataFrame:
        """Auxiliaries of the likelihood (σ, θ, ``zi``), or the coefficients of their own linear predictors."""
        return tables.auxiliary_table(self.model.problem, self.result)

    @cached_property
    def random(self) -> dict[str, pd.DataFrame]:
        """Conditional modes or posterior means of the random effects, with their sds."""
        return tables.random_tables(self.model.problem, self.result)

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the coefficients."""
        names = list(self.model.design.columns)
        return pd.DataFrame(self.result.cov_beta, index=names, columns=names)

    @property
    def params(self) -> dict[str, Any]:
        """Every estimated parameter by name, as :meth:`Model.loglik` takes them."""
        point = Parameters(self.result.beta, self.result.theta, self.result.psi)
        return unpack(self.model.problem, point)

    @property
    def dispersion(self) -> float | None:
        """The scale φ, or the family's shape parameter; None where there is neither."""
        return tables.dispersion(self.model.problem, self.result)

    @property
    def nobs(self) -> int:
        """Number of rows used."""
        return self.model.design.nobs

    @property
    def df_resid(self) -> float:
        """Residual degrees of freedom, rows minus estimable coefficients."""
        return float(self.nobs - len(self.result.beta))

    @property
    def loglik(self) -> float:
        """Maximised (marginal) log-likelihood with all constants.

        Raises
        ------
        MethodError
            For a quasi-likelihood fit, which has none.
        """
        if self.result.loglik is None:
            raise MethodError(
                f"this {self.method} fit of {self.model.family.name} has no likelihood, only a quasi-likelihood: see "
                "fit.quasi_loglik, fit.qic and fit.qaic(parent). A family with a density has one by 'laplace' or 'agq'."
            )
        return self.result.loglik

    @property
    def aic(self) -> float:
        """Akaike's criterion, −2 loglik + 2 × number of estimated parameters."""
        return -2.0 * self.loglik + 2.0 * self.result.df_model

    @property
    def bic(self) -> float:
        """Schwarz's criterion, −2 loglik + log(rows) × number of estimated parameters."""
        return -2.0 * self.loglik + np.log(self.nobs) * self.result.df_model

    @property
    def aicc(self) -> float:
        """AIC with the correction for small samples."""
        return criteria.aicc(self.model.problem, self.result)

    def qaic(self, parent: Fit) -> float:
        """Quasi-AIC, with the scale of a stated parent model.

        Parameters
        ----------
        parent : Fit
            The largest model under consideration, of the same rows: its Pearson χ²/df is used for every candidate.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 0, 1, 9, 0, 6], "x": [0.0, 1, 2, 0, 1, 2], "z": [1.0, 1, 1, 0, 0, 0]})
        >>> full, small = (bg.Model(f, data, family="poisson").fit("irls") for f in ("y ~ x + z", "y ~ z"))
        >>> small.qaic(parent=full) < full.qaic(parent=full)
        True
        """
        return criteria.qaic(self.model.problem, self.result, parent=(parent.model.problem, parent.result))

    @property
    def deviance(self) -> float:
        """Sum of w_i d_i at the fitted means (random effects at their modes where there are any)."""
        return residuals.deviance(self.model.problem, self.result)

    @property
    def quasi_loglik(self) -> float:
        """Quasi-likelihood −deviance / (2φ)."""
        return criteria.quasi_loglik(self.model.problem, self.result)

    @property
    def qic(self) -> float:
        """Quasi-likelihood under the independence model criterion, of a fit by ``irls`` or ``gee``."""
        return criteria.qic(self.model.problem, self.result)

    @cached_property
    def idata(self) -> Any:
        """ArviZ DataTree: ``posterior`` where the method gives a distribution, ``observed_data``, ``fit``."""
        from bayesglmm.idata import to_datatree
        from bayesglmm.posterior import with_draws

        return to_datatree(self.model.problem, with_draws(self.model.problem, self.result))

    # --- what one does with it -------------------------------------------------------------------------------

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

    def residuals(self, kind: str = "deviance", **options: Any) -> np.ndarray:
        """Residuals: ``"pearson"``, ``"deviance"``, ``"response"``, ``"working"`` or ``"quantile"``."""
        return residuals.residuals(self.model.problem, self.result, kind, **options)

    def influence(self) -> pd.DataFrame:
        """Leverage, Cook's distance and DFBETAS, one row per observation."""
        from bayesglmm.diagnose.influence import influence

        return influence(self.model.problem, self.result)

    def confint(self, method: str = "wald", level: float = 0.95, **options: Any) -> pd.DataFrame:
        """Confidence intervals of the coefficients, ``"wald"`` or ``"profile"``."""
        from bayesglmm.inference.intervals import confint

        return confint(self.model.problem, self.result, method, level, **options)

    def quadrature_path(self, nodes: Any = None) -> pd.DataFrame:
        """Log-likelihood and estimates as the number of quadrature nodes grows; 1, 3, 5, 9, ... when left out."""
        from bayesglmm.inference.quadrature_path import quadrature_path

        return quadrature_path(self.model.problem, self.result, nodes)

    def test(self, hypothesis: Any, **options: Any) -> Any:
        """Wald test of linear hypotheses: ``"a = b"``, a list of them, or a matrix."""
        return contrasts.wald_test(self.model.problem, self.result, hypothesis, **options)

    def wald_ellipsoid(self, parameters: Any = None, *, level: float = 0.95) -> contrasts.Ellipsoid:
        """Simultaneous confidence region of coefficients or contrasts; of all coefficients when left out.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
        >>> fit.wald_ellipsoid().contains([1.0, 0.2]), fit.wald_ellipsoid().contains([0.0, 1.0])
        (True, False)
        """
        return contrasts.wald_ellipsoid(self.model.problem, self.result, parameters, level=level)

    def estimable(self, functions: Any) -> np.ndarray:
        """Whether linear functions of the coefficients are estimable, aliased columns included.

        Parameters
        ----------
        functions : str, list of str, or array_like
            Expressions in names of columns, or a matrix over ``columns + aliased``.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd, warnings
        >>> data = pd.DataFrame({"y": [2.0, 3, 1, 5], "a": [0.0, 1, 2, 4], "twice": [0.0, 2, 4, 8]})
        >>> with warnings.catch_warnings(action="ignore"):
        ...     fit = bg.Model("y ~ a + twice", data).fit("irls")
        >>> fit.estimable(["a + 2*twice", "twice"]).tolist()
        [True, False]
        """
        return estimability.estimable(self.model.problem, functions)

    def optimality(self) -> pd.Series:
        """A-, D- and E-optimality of the design, its rows weighted by the working weights of the fit."""
        return estimability.optimality(self.model.problem, self.result)

    @property
    def checks(self) -> Checks:
        """Overdispersion, excess zeros, variance function, normality: ``fit.checks.overdispersion()``, or print all."""
        return Checks(self.model.problem, self.result)

    def score_test(self, larger: Any, **options: Any) -> Any:
        """Score test of this fit against a larger model that need not be fitted.

        Parameters
        ----------
        larger : Model or str
            A :class:`Model` of the same response with more columns; or one more random term, ``"(1 | g)"``: is its
            variance zero?
        **options
            For fits by ``gee``: ``small_sample=True``.
        """
        if isinstance(larger, str):
            from bayesglmm.inference.variance_score import score_test_variance

            return score_test_variance(self, larger, **options)
        from bayesglmm.inference.score import score_test

        return score_test((self.model.problem, self.result), larger.problem, **options)

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
