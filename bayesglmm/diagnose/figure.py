"""Four panels that show what is wrong with a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesglmm.diagnose.residuals import leverage_of, residuals, standardised
from bayesglmm.diagnose.smooth import lowess
from bayesglmm.errors import MethodError
from bayesglmm.look import BLUE, GREY, PALETTE, look, new_figure
from bayesglmm.problem import Problem
from bayesglmm.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CURVE = PALETTE[1]
#: Points that are named in each panel, and rows beyond which only a sample of the points is drawn.
_NAMED, _MANY = 3, 5000


def plot_diagnostics(problem: Problem, result: Result, *, seed: int = 0) -> Figure:
    """Draw residuals against fitted values, a normal Q-Q plot, scale against location, and leverage.

    Parameters
    ----------
    problem, result
        The fit. With random effects the last panel shows observed against fitted values instead of leverage.
    seed : int
        Seed of the randomised quantile residuals and of the sample of points drawn from a large data set.

    Returns
    -------
    Figure
        Quantile residuals, which are standard normal under the model, where the family has a distribution function;
        standardised deviance residuals otherwise, and always in the leverage panel.
    """
    n = problem.design.nobs
    mixed = bool(problem.design.blocks)
    h = np.zeros(n) if mixed else leverage_of(problem, result)[0]
    r_d = standardised(residuals(problem, result, "deviance"), np.minimum(h, 1.0 - 1e-12), result.scale)
    try:
        r, name = residuals(problem, result, "quantile", seed=seed), "Quantile residual"
    except MethodError:
        r, name = r_d, "Std. deviance residual"
    labels = [str(v) for v in problem.design.index]
    drawn = np.arange(n) if n <= _MANY else np.sort(np.random.default_rng(seed).choice(n, _MANY, replace=False))
    more = "" if n <= _MANY else f", {_MANY} of {n} points drawn"
    with look():
        figure = new_figure(9.0, 7.0)
        axes = figure.subplots(2, 2)
        _against_fitted(axes[0, 0], result.eta, r, name, drawn, labels)
        _quantiles(axes[0, 1], r, name, drawn, labels)
        _scale_location(axes[1, 0], result.eta, r, name, drawn, labels)
        if mixed:
            _observed(axes[1, 1], problem, result, drawn, labels)
        else:
            pearson = residuals(problem, result, "pearson")
            _leverage(axes[1, 1], h, standardised(pearson, h, result.scale), len(result.beta), drawn, labels)
        figure.suptitle(f"{problem.family.name} ({problem.link.name} link), {n} rows, fitted by {result.method}{more}")
    return figure


def _against_fitted(axis: Axes, eta: Floats, r: Floats, name: str, drawn: Ints, labels: list[str]) -> None:
    axis.axhline(0.0, color=GREY, lw=0.8)
    _points(axis, eta, r, drawn)
    _curve(axis, eta, r)
    _name(axis, eta, r, np.abs(r), labels)
    axis.set(title="Residuals against fitted", xlabel="Linear predictor", ylabel=name)


def _quantiles(axis: Axes, r: Floats, name: str, drawn: Ints, labels: list[str]) -> None:
    """Normal Q-Q plot with a pointwise 95 % band for the order statistics."""
    n = len(r)
    order = np.argsort(r, kind="stable")
    rank = np.arange(1, n + 1)
    expected = special.ndtri((rank - 0.375) / (n + 0.25))
    low, high = (special.ndtri(special.betaincinv(rank, n + 1 - rank, q)) for q in (0.025, 0.975))
    axis.fill_between(expected, low, high, color=GREY, alpha=0.25, lw=0, label="95 % band")
    axis.plot(expected[[0, -1]], expected[[0, -1]], color=_CURVE, lw=1.2)
    position = np.empty(n)
    position[order] = expected
    _points(axis, position, r, drawn)
    _name(axis, position, r, np.abs(r), labels)
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    axis.set(title="Normal Q-Q", xlabel="Normal quantile", ylabel=name)


def _scale_location(axis: Axes, eta: Floats, r: Floats, name: str, drawn: Ints, labels: list[str]) -> None:
    spread = np.sqrt(np.abs(r))
    axis.axhline(0.822, color=GREY, lw=0.8)  # E √|Z| of a standard normal
    _points(axis, eta, spread, drawn)
    _curve(axis, eta, spread)
    _name(axis, eta, spread, spread, labels)
    axis.set(title="Scale against location", xlabel="Linear predictor", ylabel=f"√|{name.lower()}|")
    axis.set_ylim(bottom=0.0)


def _leverage(axis: Axes, h: Floats, r: Floats, p: int, drawn: Ints, labels: list[str]) -> None:
    """Standardised Pearson residuals against leverage, with contours of Cook's distance."""
    cook = np.square(r) * h / (p * (1.0 - h))
    axis.axhline(0.0, color=GREY, lw=0.8)
    _points(axis, h, r, drawn)
    _name(axis, h, r, cook, labels)
    low, high = axis.get_ylim()
    grid = np.linspace(max(float(h.min()) * 0.5, 1e-4), min(max(float(h.max()) * 1.08, 1e-3), 0.999), 200)
    for level, style in ((0.5, "--"), (1.0, "-")):
        edge = np.sqrt(level * p * (1.0 - grid) / grid)
        for sign in (1.0, -1.0):
            axis.plot(
                grid, sign * edge, color=_CURVE, lw=0.9, ls=style, label=None if sign < 0 else f"Cook's {level:g}"
            )
    axis.set_ylim(low, high)
    axis.set_xlim(left=0.0)
    axis.locator_params(axis="x", nbins=6)
    axis.legend(frameon=False, fontsize=8, loc="best")
    axis.set(title="Leverage", xlabel="Leverage h", ylabel="Std. Pearson residual")


def _observed(axis: Axes, problem: Problem, result: Result, drawn: Ints, labels: list[str]) -> None:
    mu, y = problem.link.mean(result.eta), problem.mean_response
    ends = [float(min(mu.min(), y.min())), float(max(mu.max(), y.max()))]
    axis.plot(ends, ends, color=_CURVE, lw=1.2)
    _points(axis, mu, y, drawn)
    _name(axis, mu, y, np.abs(y - mu), labels)
    axis.set(title="Observed against fitted", xlabel="Fitted mean", ylabel="Observed")


def _points(axis: Axes, x: Floats, y: Floats, drawn: Ints) -> None:
    alpha = float(np.clip(40.0 / np.sqrt(len(drawn)), 0.25, 0.85)) if len(drawn) > 100 else 0.85
    axis.plot(x[drawn], y[drawn], "o", ms=4.2 if len(drawn) < 1000 else 2.6, color=BLUE, alpha=alpha, mew=0)


def _curve(axis: Axes, x: Floats, y: Floats) -> None:
    if len(np.unique(x)) < 5:
        return
    order = np.argsort(x, kind="stable")
    axis.plot(x[order], lowess(x[order], y[order]), color=_CURVE, lw=1.6)


def _name(axis: Axes, x: Floats, y: Floats, size: Floats, labels: list[str]) -> None:
    """Name the few largest points, each on the side where there is room, clear of the names before it."""
    middle = 0.5 * (float(x.min()) + float(x.max()))
    unit = np.array([np.ptp(x) or 1.0, np.ptp(y) or 1.0])
    placed: list[Floats] = []
    for i in np.argsort(-size, kind="stable")[:_NAMED]:
        left = x[i] > middle
        here = np.array([x[i], y[i]]) / unit
        crowded = sum(bool(np.abs(here - other)[0] < 0.1 and np.abs(here - other)[1] < 0.04) for other in placed)
        placed.append(here)
        axis.annotate(
            labels[i],
            (x[i], y[i]),
            xytext=(-5 if left else 5, -9 * crowded),
            textcoords="offset points",
            fontsize=8,
            ha="right" if left else "left",
            va="center",
        )
