"""What a fit found: tables, criteria and status, read off its result."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm import tables
from bayesglmm.arguments import taught
from bayesglmm.diagnose import residuals
from bayesglmm.errors import MethodError
from bayesglmm.inference import criteria
from bayesglmm.parameters import Parameters, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from bayesglmm.model import Model
    from bayesglmm.result import Result, Status


@taught
class Found:
    """Labels on a result; the base of :class:`~bayesglmm.Fit`, which says what its parameters are."""

    model: Model
    result: Result

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
        """Conditional modes or posterior means of the random effects, with their sds.

        ``<name>_sd`` is of the posterior, or given the parameters (lme4's ``condVar``); in the latter case
        ``<name>_sd_full`` includes the parameters' own uncertainty (glmmTMB's; by ``ml``, ``reml``, ``pql`` and
        ``mql`` that of the coefficients: the root of the prediction-error variance).
        """
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
            For a quasi-likelihood fit, which has none, and by ``map`` and ``mcmc``, which maximise another one or none.
        """
        if self.result.loglik is None:
            if self.result.draws is not None or self.estimand == "joint-mode":
                raise MethodError(
                    f"a fit by {self.method!r} maximises no marginal likelihood: model.loglik(fit.params) evaluates "
                    "it; fit.loo() and fit.evidence() compare posteriors."
                )
            raise MethodError(
                f"this {self.method} fit of {self.model.family.name} has no likelihood, only a quasi-likelihood: see "
                "fit.quasi_loglik, fit.qic and fit.qaic(parent). A family with a density has one by 'laplace' or 'agq'."
            )
        return self.result.loglik

    @property
    def log_evidence(self) -> float:
        """Log marginal likelihood log p(y), coefficients, hyperparameters and random effects integrated out.

        Given by ``inla``, and only where every prior is a probability distribution.

        Raises
        ------
        MethodError
            By another method, or under flat priors.
        """
        if "log_evidence" not in self.result.extras:
            raise MethodError(
                "the marginal likelihood is given by method='inla' under proper priors; this fit is by "
                f"{self.method!r}{' under flat ones' if self.model.problem.priors is None else ''}. fit.evidence() "
                "estimates it by bridge sampling from any fit with a posterior."
            )
        return float(self.result.extras["log_evidence"])

    def marginal(self, name: str) -> pd.DataFrame:
        """Density of one parameter, or (``inla``) of one random effect: ``"herd.sd"``, ``"herd[3]"``.

        Returns
        -------
        DataFrame
            Columns ``x``, ``density``.

        Examples
        --------
        >>> import bayesglmm as bg, numpy as np, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6, 4, 7], "x": [0.0, 1, 2, 3] * 2, "g": list("aabbccdd")})
        >>> fit = bg.Model("y ~ x + (1 | g)", data, family="poisson").fit("inla")
        >>> curve = fit.marginal("g[a]")
        >>> round(float(np.trapezoid(curve["density"], curve["x"])), 2)
        1.0
        """
        from bayesglmm.inference.densities import marginal_density

        return marginal_density(self.model.problem, self.result, name)

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

    @property
    def deviance(self) -> float:
        """Sum of w_i d_i at the fitted means (random effects at their modes where there are any)."""
        return residuals.deviance(self.model.problem, self.result)

    @property
    def quasi_loglik(self) -> float:
        """Quasi-likelihood −deviance / (2φ); of a fit by ``pql`` or ``mql`` the approximate marginal one."""
        if "order" not in self.result.options:
            return criteria.quasi_loglik(self.model.problem, self.result)
        if "quasi_loglik" not in self.result.extras:
            raise MethodError(
                "the second-order means leave the range of the family's means in some rows: there is no approximate "
                "marginal quasi-likelihood. Fit with order=1."
            )
        return float(self.result.extras["quasi_loglik"])

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

    def save(self, path: Any) -> Path:
        """Write the fit to one file: netCDF with a JSON manifest, no pickle; :func:`bayesglmm.load_fit` reads it.

        The columns in use are in the file, so that everything works in a fresh process and without the data. A family
        or link made of functions is kept by name and must be brought along again, and so must rows in chunks.

        Parameters
        ----------
        path : str or path
            Usually ending in ``.nc``; replaced in one step when it is there.

        Returns
        -------
        Path
            Where it was written.

        Raises
        ------
        SpecError
            When it cannot be written.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd, tempfile, pathlib
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> fit = bg.Model("y ~ x", data, family="poisson").fit("irls")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fit.save(pathlib.Path(folder) / "fit.nc").name
        'fit.nc'
        """
        from bayesglmm.storage import save_fit

        return save_fit(self, path)
