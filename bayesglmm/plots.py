"""Pictures of one fit, through ArviZ where the fit has draws."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm import names
from bayesglmm.arguments import optional, takes, texts
from bayesglmm.errors import MethodError
from bayesglmm.look import BLUE, INK, PALE, bare_rows, look, new_figure, taken
from bayesglmm.marginals import marginals
from bayesglmm.posterior import with_draws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.fit.found import Found
    from bayesglmm.problem import Problem


def parameter_tree(fit: Found) -> Any:
    """DataTree whose posterior holds one variable per parameter, under the names the tables use.

    Raises
    ------
    MethodError
        When the fit has no draws.
    """
    from arviz_base import from_dict

    result = with_draws(fit.model.problem, fit.result)
    if result.draws is None:
        raise MethodError(
            f"a {fit.method} fit gives no draws to plot; fit.plot_forest() shows its estimates and intervals."
        )
    # The draws themselves, not the densities that tables of a nested fit are made from.
    as_sampled = replace(result, draws=replace(result.draws, independent=False), extras={})
    found = marginals(fit.model.problem, as_sampled)
    shown = {names.safe(k): (k, m.draws) for k, m in found.items() if m.draws is not None}
    tree = from_dict({"posterior": {name: draws for name, (_, draws) in shown.items()}})
    for name, (label, _) in shown.items():
        tree["posterior"][name].attrs["label"] = label
    return tree


def _source(fit: Found, var_names: Sequence[str] | None) -> tuple[Any, dict[str, Any]]:
    """What to plot from: one variable per parameter, or variables of ``fit.idata``."""
    tree = parameter_tree(fit)
    if var_names is None:
        return tree, {}
    chosen = [names.safe(v) for v in var_names]
    known = tree["posterior"].data_vars
    if all(v in known for v in chosen):
        return tree, {"var_names": chosen}
    wider = fit.idata["posterior"].data_vars
    unknown = [v for v in chosen if v not in wider]
    if unknown or not chosen:
        there = ", ".join(dict.fromkeys([*known, *wider]))
        raise MethodError(f"no variable {', '.join(unknown)}; this fit has {there}.")
    return fit.idata, {"var_names": chosen}


def _panels(plot: Callable[..., Any], fit: Found, var_names: Sequence[str] | None, **options: Any) -> Figure:
    """An ArviZ plot with one panel per variable, three in a row."""
    from arviz_base.labels import MapLabeller

    tree, chosen = _source(fit, var_names)
    labels = {name: values.attrs.get("label", name) for name, values in tree["posterior"].data_vars.items()}
    count = len(chosen.get("var_names", tree["posterior"].data_vars))
    if tree is not fit.idata:
        rows = -(-count // 3)
        options |= {"col_wrap": 3, "figure_kwargs": {"figsize": (7.6, 1.75 * rows)}}
    with look():
        return taken(plot(tree, labeller=MapLabeller(var_name_map=labels), **chosen, **options))


def plot_forest(fit: Found) -> Figure:
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
        ax.set_title(textwrap.fill(f"{fit.method}: {fit.model.formula}", 54))
    return figure


def _intervals(fit: Found) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    fixed = fit.fixed
    labels = [str(v) for v in fixed.index]
    columns = [fixed[c].to_numpy(dtype=float) for c in ("estimate", "ci_low", "ci_high")]
    sds = fit.varcomp[fit.varcomp["sd"].notna()]
    count = sds["group"].value_counts()
    labels += [f"{g}.sd[{t}]" if count[g] > 1 else f"{g}.sd" for g, t in zip(sds["group"], sds["term"])]
    more = [sds[c].to_numpy(dtype=float) for c in ("sd", "ci_low", "ci_high")]
    estimates, lows, highs = (np.concatenate(pair) for pair in zip(columns, more))
    return labels, estimates, lows, highs


@takes(var_names=optional(texts))
def plot_dist(fit: Found, var_names: Sequence[str] | None = None) -> Figure:
    """Draw marginal posterior densities (ArviZ ``plot_dist``).

    Parameters
    ----------
    fit : Fit
        With draws.
    var_names : sequence of str, optional
        Parameters as the tables name them, or variables of ``fit.idata.posterior``; every parameter when left out.

    Returns
    -------
    Figure
    """
    import arviz as az

    return _panels(az.plot_dist, fit, var_names, ci_prob=0.95)


@takes(var_names=optional(texts))
def plot_trace(fit: Found, var_names: Sequence[str] | None = None) -> Figure:
    """Draw the chains' traces (ArviZ ``plot_trace``).

    Parameters
    ----------
    fit : Fit
        By MCMC.
    var_names : sequence of str, optional
        Parameters as the tables name them, or variables of ``fit.idata.posterior``; every parameter when left out.

    Returns
    -------
    Figure
    """
    import arviz as az

    return _panels(az.plot_trace, fit, var_names, visuals={"trace": {"width": 0.4, "alpha": 0.8}})


def plot_rank(fit: Found, var_names: Sequence[str] | None = None) -> Figure:
    """Draw each chain's rank distribution (ArviZ ``plot_rank``): chains that agree stay inside the band.

    Parameters
    ----------
    fit : Fit
        By MCMC.
    var_names : sequence of str, optional
        Parameters as the tables name them, or variables of ``fit.idata.posterior``; every parameter when left out.

    Returns
    -------
    Figure

    Notes
    -----
    Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32, 32.
    """
    import arviz as az

    # The band is for independent draws, so the chains are thinned by their effective size.
    return _panels(az.plot_rank, fit, var_names, method="envelope", thin=True)


def plot_prior_predictive(problem: Problem, draws: int = 50, seed: int | None = None) -> Figure:
    """Prior predictive check: distribution functions of the responses that the priors expect, and the observed one.

    Parameters
    ----------
    problem : Problem
        The model; every prior must be proper.
    draws : int
        Number of responses drawn.
    seed : int, optional
        Of the draws.

    Returns
    -------
    Figure
        ArviZ ``plot_ppc_dist`` of the ``prior_predictive`` group. The axis is logarithmic away from zero where the
        priors reach a hundred times as far as the data.
    """
    import arviz as az

    from bayesglmm.prior_predictive import prior_predictive

    tree = prior_predictive(problem, draws, seed)
    name = names.response_variable(problem.response.name)
    expected, observed = tree["prior_predictive"][name].values, np.abs(problem.response.y).max() or 1.0
    with look(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variables .* look discrete")
        options: dict[str, Any] = {"group": "prior_predictive", "kind": "ecdf", "num_samples": draws}
        options |= {"visuals": {"observed_dist": {"color": INK}}, "figure_kwargs": {"figsize": (6.0, 3.4)}}
        figure = taken(az.plot_ppc_dist(tree, **options))
        for axes in figure.axes:
            axes.set(xlabel=name, ylabel="empirical distribution function", yticks=[0.0, 0.5, 1.0])
            axes.set_title("Observed (dark), and expected by the priors")
            if np.quantile(np.abs(expected), 0.99) > 100.0 * observed:
                axes.set_xscale("symlog", linthresh=float(observed))
                if expected.min() >= 0:
                    axes.set_xlim(left=0.0)
    return figure
