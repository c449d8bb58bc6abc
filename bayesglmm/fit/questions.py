"""What one asks of a fit's parameters: intervals, tests, regions, estimability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm.arguments import number, refused, taught
from bayesglmm.fit.found import Found
from bayesglmm.inference import contrasts, criteria, estimability

if TYPE_CHECKING:
    from bayesglmm.fit import Fit


@taught
class Questions(Found):
    """Inference on the parameters of a fit; a base of :class:`~bayesglmm.Fit`."""

    def confint(self, method: str = "wald", level: float = 0.95, **options: Any) -> pd.DataFrame:
        """Confidence intervals of the coefficients, ``"wald"`` or ``"profile"``."""
        from bayesglmm.inference.intervals import confint

        return confint(self.model.problem, self.result, method, level, **options)

    def quadrature_path(self, nodes: Any = None) -> pd.DataFrame:
        """Log-likelihood and estimates as the number of quadrature nodes grows; 1, 3, 5, 9, ... when left out.

        Parameters
        ----------
        nodes : iterable of int or (int, int), optional
            Nodes per dimension; for two nested grouping factors one number is for both, a pair is (outer, inner).

        Returns
        -------
        DataFrame
            A row per number of nodes: ``loglik`` refitted, ``loglik_at_estimate`` of this fit, and the estimates.
        """
        from bayesglmm.inference.quadrature_path import quadrature_path

        return quadrature_path(self.model.problem, self.result, nodes)

    def test(self, hypothesis: Any, **options: Any) -> Any:
        """Test linear hypotheses jointly: ``"a = b"``, a list of them, or a matrix.

        Parameters
        ----------
        hypothesis : str, list of str, or array_like
            Equations in names of coefficients, or a matrix over them.
        **options
            ``value=`` right-hand sides of a matrix; ``df="satterthwaite"`` or ``"kenward-roger"`` for linear mixed
            models, whose F test then has the degrees of freedom of this hypothesis. Otherwise a Wald test.
        """
        from bayesglmm.inference.mixed_tests import hypothesis_test

        return hypothesis_test(self.model.problem, self.result, hypothesis, **options)

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

        if not hasattr(larger, "problem"):
            raise refused("larger", larger, "a Model, or a random term such as '(1 | g)',")
        return score_test((self.model.problem, self.result), larger.problem, **options)

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
        if not hasattr(parent, "result"):
            raise refused("parent", parent, "a fit")
        return criteria.qaic(self.model.problem, self.result, parent=(parent.model.problem, parent.result))

    def qic_at(self, scale: float | Fit) -> float:
        """QIC at a scale that all candidates share; ``fit.qic`` takes each fit's own.

        Parameters
        ----------
        scale : float or Fit
            φ, or the fit whose φ it is: that of the largest model under consideration.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 0, 1, 9, 0, 6], "x": [0.0, 1, 2, 0, 1, 2], "z": [1.0, 1, 1, 0, 0, 0]})
        >>> full, small = (bg.Model(f, data, family="quasipoisson").fit("irls") for f in ("y ~ x + z", "y ~ z"))
        >>> bool(full.qic_at(full) == full.qic), bool(small.qic_at(full) == small.qic_at(full.result.scale))
        (True, True)
        """
        phi = scale.result.scale if hasattr(scale, "result") else number(0.0)("scale", scale)
        return criteria.qic(self.model.problem, self.result, float(phi))

    def emmeans(self, factors: Any, **options: Any) -> pd.DataFrame:
        """Estimated marginal means of factors: averages of the linear predictor over a grid of all factors' levels.

        Parameters
        ----------
        factors : str or list of str
            Columns whose levels get a mean each: ``"a"``, ``["a", "b"]``.
        **options
            ``by=`` columns within whose levels they stand; ``at={"x": [0, 1]}`` values to take; ``type="linear"`` or
            ``"mean"``; ``df="satterthwaite"``, ``"kenward-roger"`` or a number; ``level=0.95``; ``weights="equal"``,
            ``"proportional"`` or ``"cells"``; ``offset=0.0``. See :func:`bayesglmm.inference.emmeans.emmeans`.

        Returns
        -------
        DataFrame
            ``estimate, se, df, ci_low, ci_high``, one row per combination of levels.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "a": list("ppqqqq"), "b": list("uvuvuv")})
        >>> fit = bg.Model("y ~ a + b", data).fit("irls")
        >>> fit.emmeans("a")["estimate"].round(3).to_dict()
        {'p': 1.5, 'q': 6.5}
        """
        from bayesglmm.inference.emmeans import emmeans

        return emmeans(self.model.problem, self.result, self.model.data, factors, **options)

    def contrasts(self, factors: Any, **options: Any) -> pd.DataFrame:
        """Contrasts of estimated marginal means, with p-values and intervals adjusted for their number.

        Parameters
        ----------
        factors : str or list of str
            Columns whose levels are compared.
        **options
            ``method="pairwise"``, ``"control"`` (with ``control=``), ``"consecutive"``, ``"mean"``, ``"polynomial"``
            or coefficients; ``adjust="tukey"``, ``"bonferroni"``, ``"holm"``, ``"sidak"``, ``"scheffe"``, ``"mvt"``,
            ``"fdr"`` or ``"none"``; ``type="linear"``, ``"mean"`` or ``"ratio"``; and those of :meth:`emmeans`. See
            :func:`bayesglmm.inference.emmeans.contrasts`.

        Returns
        -------
        DataFrame
            ``estimate, se, df, t`` (or ``z``), ``p, ci_low, ci_high``, one row per contrast.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9], "a": list("ppqqrr")})
        >>> fit = bg.Model("y ~ a", data).fit("irls")
        >>> fit.contrasts("a")[["estimate", "p"]].round(3).loc["p - r"].to_dict()
        {'estimate': -6.5, 'p': 0.026}
        """
        from bayesglmm.inference.emmeans import contrasts as contrast_table

        return contrast_table(self.model.problem, self.result, self.model.data, factors, **options)

    def sensitivity(self, threshold: float = 0.05) -> pd.DataFrame:
        """Prior and likelihood sensitivity of every parameter by power-scaling, for any fit with a posterior.

        Parameters
        ----------
        threshold : float
            Sensitivity from which on it counts.

        Returns
        -------
        DataFrame
            One row per parameter: ``prior``, ``likelihood`` and ``diagnosis``; see
            :func:`bayesglmm.inference.sensitivity.sensitivity`.

        Examples
        --------
        >>> import bayesglmm as bg, pandas as pd
        >>> data = pd.DataFrame({"y": [2, 3, 1, 5, 8, 6], "x": [0.0, 1, 2, 0, 1, 2]})
        >>> priors = {"x": bg.Prior("Normal", mu=3, sigma=0.1)}
        >>> fit = bg.Model("y ~ x", data, family="poisson", priors=priors).fit("laplace", seed=1)
        >>> bool(fit.sensitivity()["prior"]["x"] > 0.05)
        True
        """
        from bayesglmm.inference.sensitivity import sensitivity

        return sensitivity(self.model.problem, self.result, threshold)
