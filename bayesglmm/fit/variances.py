"""What one asks of a fit's variance components: mean squares, mixed-model equations, ICC and R², exact posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesglmm.arguments import taught
from bayesglmm.fit.found import Found

if TYPE_CHECKING:
    from bayesglmm.inference.ems import ExpectedMeanSquares
    from bayesglmm.inference.mme import MixedModelEquations
    from bayesglmm.inference.variance_posterior import VariancePosterior


@taught
class Variances(Found):
    """Inference on the variance components of a fit, and given them; a base of :class:`~bayesglmm.Fit`."""

    def ems(self) -> ExpectedMeanSquares:
        """Expected mean squares of the model's terms, exact F tests and moment estimates; see :func:`bayesglmm.ems`.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "g": list("ppqqrr")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data).fit("reml")
        >>> fit.ems().components["estimate"].round(3).to_dict()
        {'g': 9.833, 'Residual': 1.5}
        """
        from bayesglmm.inference.ems import expected_mean_squares

        return expected_mean_squares(self.model.problem)

    def mme(self, params: Mapping[str, Any] | None = None) -> MixedModelEquations:
        """Henderson's mixed-model equations: coefficient matrix, right-hand side, solution, inverse blocks.

        Parameters
        ----------
        params : mapping, optional
            Variance parameters (``"g.sd"``, ``"sigma"``) instead of the estimated ones.

        Returns
        -------
        MixedModelEquations
            With ``coefficients`` (sparse), ``rhs``, ``solution``, ``inverse(...)``, ``cov_fixed`` and
            ``prediction_error`` (BLUPs with their prediction-error variances and reliabilities).

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "g": list("ppqqrr")})
        >>> equations = bg.Model("y ~ 1 + (1 | g)", data).fit("reml").mme({"g.sd": 2.0, "sigma": 1.0})
        >>> equations.coefficients.toarray()[0].tolist()
        [6.0, 2.0, 2.0, 2.0]
        >>> equations.solution.round(3).to_dict()["g[p] Intercept"]
        -2.963
        """
        from bayesglmm.inference.mme import mixed_model_equations

        return mixed_model_equations(self.model.problem, self.result, params)

    def icc(self, **options: Any) -> pd.DataFrame:
        """Intraclass correlation of every grouping factor, on the scale of the linear predictor.

        Parameters
        ----------
        **options
            ``approximation="latent"``, ``"lognormal"``, ``"delta"`` or ``"trigamma"`` (observation-level variance of
            the distribution), ``mean=`` or ``null=`` (a fit with only an intercept) for its mean, ``level=0.95``. See
            :func:`bayesglmm.inference.icc.icc`.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "g": list("ppqqrr")})
        >>> bg.Model("y ~ 1 + (1 | g)", data).fit("reml").icc()["icc"].round(3).to_dict()
        {'g': 0.868}
        """
        from bayesglmm.inference.icc import icc

        return icc(self.model.problem, self.result, **options)

    def r2(self, **options: Any) -> pd.Series:
        """Marginal and conditional R² (Nakagawa & Schielzeth 2013), with the variances they are made of.

        Parameters
        ----------
        **options
            ``approximation=``, ``mean=``, ``null=`` as for :meth:`icc`; see :func:`bayesglmm.inference.icc.r2`.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "x": [0.0, 1, 0, 1, 0, 1], "g": list("ppqqrr")})
        >>> found = bg.Model("y ~ x + (1 | g)", data).fit("reml").r2()
        >>> bool(found["marginal"] < found["conditional"] < 1)
        True
        """
        from bayesglmm.inference.icc import r2

        return r2(self.model.problem, self.result, **options)

    def variance_posterior(self, grid: Mapping[str, Any] | None = None) -> VariancePosterior:
        """Exact marginal posterior of the sds of a linear mixed model; see :func:`bayesglmm.variance_posterior`."""
        from bayesglmm.inference.variance_posterior import variance_posterior

        return variance_posterior(self.model, grid)

    def beta_posterior(self, *, sigma: str = "known", level: float = 0.95) -> pd.DataFrame:
        """Flat-prior posterior of the coefficients given the variance parameters: normal, or t with σ integrated out.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "g": list("ppqqrr")})
        >>> fit = bg.Model("y ~ 1 + (1 | g)", data).fit("reml")
        >>> fit.beta_posterior(sigma="jeffreys")[["mean", "df"]].loc["Intercept"].round(3).to_dict()
        {'mean': 4.833, 'df': 5.0}
        """
        from bayesglmm.inference.beta_posterior import beta_posterior

        return beta_posterior(self.model.problem, self.result, sigma=sigma, level=level)
