"""Exact posteriors of linear mixed models: the variance parameters with the coefficients integrated out, and back.

With V = V(θ, σ), Φ = (X'V⁻¹X)⁻¹ and β̂ the generalised least-squares coefficients, a flat prior on β integrates to

    log ∫ N(y; Xβ, V) dβ = −½ [log|V| + (n − p) log 2π + log|X'V⁻¹X| + (y − Xβ̂)'V⁻¹(y − Xβ̂)],

−½ times the REML criterion (Harville 1974, Biometrika 61, 383-385): REML maximises the marginal posterior under flat
priors on β and on whatever it is maximised over. A posterior density over standard deviations takes the prior density
over standard deviations; another scale of the parameters brings its Jacobian. Normal priors N(m, S) on coefficients
multiply by N(β̂; m, Φ + S). Given (θ, σ), β is normal; the posterior of β is the mixture of these normals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from bayesglmm.arguments import mapping, numeric, optional, plain, probability, takes
from bayesglmm.errors import MethodError
from bayesglmm.inference.density_grid import choose_grid, evaluate, read_grid, trapezoid
from bayesglmm.inference.marginal_density import marginal_density

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class VariancePosterior:
    """The marginal posterior of the standard deviations of a linear mixed model, on a grid.

    Parameters
    ----------
    names : tuple of str
        The parameters: ``"g.sd"`` (``"g.sd[x]"`` for one of several columns) and ``"sigma"``.
    nodes : tuple of ndarray
        Values of each.
    weights : tuple of ndarray
        Of the trapezoid rule, so that Σ weights × density = 1.
    log_density : ndarray, one axis per parameter
        Log posterior density over the parameters themselves (not their logarithms or squares), normalised.
    log_evidence : float
        Log of what it was divided by: log p(y) where all priors are proper.
    columns : tuple of str, length p
        Names of the coefficients.
    beta, beta_sd : ndarray, shape (*grid, p)
        Mean and sd of every coefficient given the parameters.
    logarithmic : bool
        Whether the nodes are equally spaced in logarithms.
    """

    names: tuple[str, ...]
    nodes: tuple[Floats, ...]
    weights: tuple[Floats, ...]
    log_density: Floats
    log_evidence: float
    columns: tuple[str, ...]
    beta: Floats
    beta_sd: Floats
    logarithmic: bool

    def __repr__(self) -> str:
        return (
            f"VariancePosterior of {', '.join(self.names)} at {self.log_density.size} nodes: summary(), marginal(name)"
        )

    @property
    def mass(self) -> Floats:
        """Probability of every node, one axis per parameter."""
        out = np.exp(self.log_density)
        for axis, w in enumerate(self.weights):
            shape = [1] * out.ndim
            shape[axis] = -1
            out = out * w.reshape(shape)
        return out

    @takes(name=plain)
    def marginal(self, name: str) -> pd.DataFrame:
        """Posterior density of one parameter: columns ``value, density``."""
        axis = self._axis(name)
        others = tuple(k for k in range(len(self.names)) if k != axis)
        density = self.mass.sum(axis=others) / self.weights[axis]
        return pd.DataFrame({"value": self.nodes[axis], "density": density})

    @takes(name=plain, q=numeric)
    def quantile(self, name: str, q: Any) -> Floats:
        """Quantiles of one parameter's posterior.

        Parameters
        ----------
        name : str
            A parameter, or a coefficient.
        q : float or array_like
            Probabilities.
        """
        levels = np.atleast_1d(np.asarray(q, dtype=float))
        if not np.all((levels > 0) & (levels < 1)):
            raise MethodError(f"q is {q!r}; probabilities between 0 and 1 are expected.")
        if name in self.columns:
            return np.array([self._coefficient_quantile(self.columns.index(name), v) for v in levels])
        table = self.marginal(name)
        x = np.log(table["value"].to_numpy()) if self.logarithmic else table["value"].to_numpy()
        density = table["density"].to_numpy() * (table["value"].to_numpy() if self.logarithmic else 1.0)
        cdf = CubicSpline(x, density).antiderivative()
        total = float(cdf(x[-1]))
        found = np.array([brentq(lambda t, v=v: float(cdf(t)) / total - v, x[0], x[-1]) for v in levels])
        return np.exp(found) if self.logarithmic else found

    @takes(level=probability)
    def summary(self, level: float = 0.95) -> pd.DataFrame:
        """Mean, sd, median and equal-tailed interval of every parameter and coefficient."""
        tail = (1.0 - level) / 2.0
        rows = []
        for name in self.names:
            table = self.marginal(name)
            p = table["density"].to_numpy() * self.weights[self._axis(name)]
            mean = float(p @ table["value"])
            rows.append((mean, float(np.sqrt(p @ np.square(table["value"] - mean)))))
        p = self.mass
        for j in range(len(self.columns)):
            mean = float(np.sum(p * self.beta[..., j]))
            second = float(np.sum(p * (self.beta_sd[..., j] ** 2 + (self.beta[..., j] - mean) ** 2)))
            rows.append((mean, float(np.sqrt(second))))
        index = pd.Index([*self.names, *self.columns], name="parameter")
        table = pd.DataFrame(rows, index=index, columns=["mean", "sd"])
        ends = np.array([self.quantile(name, [0.5, tail, 1.0 - tail]) for name in index])
        table["median"], table["ci_low"], table["ci_high"] = ends.T
        return table

    def _axis(self, name: str) -> int:
        if name not in self.names:
            raise MethodError(f"no parameter is named {name!r}; there are {', '.join(self.names)}.")
        return self.names.index(name)

    def _coefficient_quantile(self, j: int, q: float) -> float:
        """A quantile of a mixture of normals."""
        p, mean, sd = (a.ravel() for a in (self.mass, self.beta[..., j], self.beta_sd[..., j]))
        keep = p > 1e-12
        p, mean, sd = p[keep] / p[keep].sum(), mean[keep], sd[keep]
        reach = 40.0 * float(sd.max())
        return float(brentq(lambda x: p @ stats.norm.cdf((x - mean) / sd) - q, mean.min() - reach, mean.max() + reach))


@takes(grid=optional(mapping))
def variance_posterior(model: Any, grid: Mapping[str, Any] | None = None) -> VariancePosterior:
    """Evaluate the marginal posterior of the standard deviations of a linear mixed model.

    Parameters
    ----------
    model : Model or Fit
        Gaussian with identity link and at most three standard deviations, the residual one counted; its random terms
        are uncorrelated. The model's priors are used: flat ones, or normal on coefficients and any on sds.
    grid : mapping, optional
        Parameter → increasing values, for every parameter; chosen here when left out.

    Returns
    -------
    VariancePosterior

    Raises
    ------
    MethodError
        Another kind of model, priors that are not normal on a coefficient, or a grid that misses a parameter.

    Examples
    --------
    >>> import bayesglmm as bg, pandas as pd
    >>> data = pd.DataFrame({"y": [1.0, 2, 4, 6, 7, 9, 3, 5], "g": list("ppqqrrss")})
    >>> found = bg.variance_posterior(bg.Model("y ~ 1 + (1 | g)", data))
    >>> bool(abs(found.mass.sum() - 1) < 1e-9)
    True
    """
    model = getattr(model, "model", model)
    if not hasattr(model, "problem"):
        raise MethodError(f"variance_posterior takes a Model or a Fit; got {type(model).__name__}.")
    density = marginal_density(model.problem)
    nodes = choose_grid(density) if grid is None else read_grid(density, grid)
    weights = tuple(trapezoid(np.log(x)) * x if grid is None else trapezoid(x) for x in nodes)
    log_density, beta, sd = evaluate(density, nodes, everywhere=grid is not None)
    columns = model.problem.design.columns
    out = VariancePosterior(density.names, nodes, weights, log_density, 0.0, columns, beta, sd, grid is None)
    peak = float(log_density.max())
    total = peak + float(np.log(_shifted(out, peak).mass.sum()))
    return _shifted(out, total, total)


def _shifted(found: VariancePosterior, by: float, evidence: float = 0.0) -> VariancePosterior:
    return replace(found, log_density=found.log_density - by, log_evidence=evidence)
