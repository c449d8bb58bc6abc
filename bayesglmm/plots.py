"""Pictures of one fit, through ArviZ where the fit has draws; and the look all our pictures share.

Every function gives a matplotlib Figure that pyplot has already let go of: notebooks show it once, scripts save it,
nothing is left open.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm import names
from bayesglmm.errors import MethodError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesglmm.fit import Fit

INK, GREY, PALE = "#22262b", "#6b7480", "#e6e9ed"
BLUE = "#2b6c8f"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "bayesglmm",
}


@contextmanager
def look() -> Iterator[None]:
    """The look of our pictures, for as long as it is needed."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure (in inches) that pyplot does not keep."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure


def _taken(collection: Any) -> Figure:
    """Figure of an ArviZ PlotCollection, closed for pyplot."""
    import matplotlib.pyplot as plt

    figure = collection.viz["figure"].item()
    plt.close(figure)
    return figure


def parameter_variables(fit: Fit) -> list[str]:
    """Variables of the posterior that are parameters: coefficients, sds, correlations, auxiliaries."""
    if fit.result.draws is None:
        raise MethodError(
            f"a {fit.method} fit gives no draws to plot; fit.plot_forest() shows its estimates and intervals."
        )
    effects = {names.group_variable(b.group) for b in fit.model.design.blocks}
    correlations = {names.corr_variable(b.group) for b in fit.model.design.blocks}
    return [v for v in fit.idata["posterior"].data_vars if v not in effects | correlations]


def plot_forest(fit: Fit) -> Figure:
    """Draw every parameter's estimate with its 95 % interval, from the fit's own tables.

    Parameters
    ----------
    fit : Fit
        Of any method.

    Returns
    -------
    Figure
    """
    labels, estimates, lows, highs = _intervals(fit)
    with look():
        figure = new_figure(6.0, 0.7 + 0.26 * len(labels))
        ax = figure.subplots()
        rows = np.arange(len(labels))[::-1]
        ax.hlines(rows, lows, highs, color=BLUE, lw=1.6)
        ax.plot(estimates, rows, "o", color=BLUE, ms=4.5)
        ax.axvline(0.0, color=PALE, lw=1.0, zorder=0)
        bare_rows(ax, labels)
        ax.set_xlabel("estimate and 95 % interval")
        ax.set_title(f"{fit.method}: {fit.model.formula}")
    return figure


def bare_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Label rows from the top down, without the axis line."""
    ax.set_yticks(np.arange(len(labels))[::-1], labels)
    ax.set_ylim(-0.7, len(labels) - 0.3)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _intervals(fit: Fit) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    fixed = fit.fixed
    labels = [str(v) for v in fixed.index]
    columns = [fixed[c].to_numpy(dtype=float) for c in ("estimate", "ci_low", "ci_high")]
    sds = fit.varcomp[fit.varcomp["sd"].notna()]
    labels += [f"sd {g}" + (f" {t}" if t else "") for g, t in zip(sds["group"], sds["term"])]
    more = [sds[c].to_numpy(dtype=float) for c in ("sd", "ci_low", "ci_high")]
    estimates, lows, highs = (np.concatenate(pair) for pair in zip(columns, more))
    return labels, estimates, lows, highs


def plot_dist(fit: Fit, var_names: Sequence[str] | None = None) -> Figure:
    """Draw marginal posterior densities (ArviZ ``plot_dist``).

    Parameters
    ----------
    fit : Fit
        With draws.
    var_names : sequence of str, optional
        Variables of ``fit.idata.posterior``; the parameters when left out.

    Returns
    -------
    Figure
    """
    import arviz as az

    chosen = list(var_names or parameter_variables(fit))
    with look():
        return _taken(az.plot_dist(fit.idata, var_names=chosen, ci_prob=0.95))


def plot_trace(fit: Fit, var_names: Sequence[str] | None = None) -> Figure:
    """Draw the chains' densities and traces (ArviZ ``plot_trace_dist``).

    Parameters
    ----------
    fit : Fit
        By MCMC.
    var_names : sequence of str, optional
        Variables of ``fit.idata.posterior``; the parameters when left out.

    Returns
    -------
    Figure
    """
    import arviz as az

    chosen = list(var_names or parameter_variables(fit))
    with look():
        return _taken(az.plot_trace_dist(fit.idata, var_names=chosen))


def plot_rank(fit: Fit, var_names: Sequence[str] | None = None) -> Figure:
    """Draw each chain's rank distribution (ArviZ ``plot_rank``): level lines mean chains that agree.

    Parameters
    ----------
    fit : Fit
        By MCMC.
    var_names : sequence of str, optional
        Variables of ``fit.idata.posterior``; the parameters when left out.

    Returns
    -------
    Figure

    Notes
    -----
    Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32, 32.
    """
    import arviz as az

    chosen = list(var_names or parameter_variables(fit))
    with look():
        return _taken(az.plot_rank(fit.idata, var_names=chosen))


def plot_ppc(fit: Fit, draws: int = 200, seed: int | None = None) -> Figure:
    """Posterior predictive check: a rootogram for counts (ArviZ), densities for everything continuous.

    Parameters
    ----------
    fit : Fit
        Of a method with a likelihood.
    draws : int
        Number of replicated responses.
    seed : int, optional
        Seed of the replications.

    Returns
    -------
    Figure
    """
    import arviz as az

    tree = predictive_tree(fit, draws, seed)
    discrete = fit.model.family.support.integer
    plot = az.plot_ppc_rootogram if discrete else az.plot_ppc_dist
    with look(), warnings.catch_warnings():
        # ArviZ advises another plot when a continuous response happens to hold few distinct values.
        warnings.filterwarnings("ignore", message="Variables .* look discrete")
        return _taken(plot(tree))


def predictive_tree(fit: Fit, draws: int = 200, seed: int | None = None) -> Any:
    """DataTree with ``observed_data`` and ``posterior_predictive`` for ArviZ's checks."""
    from arviz_base import from_dict

    response = fit.model.problem.response
    name = names.response_variable(response.name)
    replicated = np.asarray(fit.posterior_predictive(draws, seed))[None]
    return from_dict(
        {"posterior_predictive": {name: replicated}, "observed_data": {name: response.y}},
        dims={name: [names.OBS_DIM]},
    )
