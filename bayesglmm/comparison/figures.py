"""Pictures of a comparison: intervals and densities side by side, and an overview in reference sds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayesglmm.look import GREY, INK, PALE, PALETTE, bare_rows, look, new_figure
from bayesglmm.marginals import Marginal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = dict[str, dict[str, Marginal]]

COLUMNS = 3


def colours(methods: Sequence[str], reference: str) -> dict[str, str]:
    """Method → colour, the same in every picture of a comparison; the reference is dark."""
    others = [m for m in methods if m != reference]
    return {reference: INK} | {m: PALETTE[k % len(PALETTE)] for k, m in enumerate(others)}


def forest(found: Found, parameters: Sequence[str], reference: str) -> Figure:
    """One panel per parameter, one row per method: estimate, 50 % and 95 % interval."""

    def panel(ax: Axes, parameter: str) -> None:
        place = ax.get_subplotspec()
        draw_intervals(ax, found, parameter, reference, labels=place is None or place.is_first_col())

    figure = _grid(panel, parameters, 0.55 + 0.21 * len(found))
    with look():
        figure.supxlabel(f"estimate, 50 % and 95 % interval; dotted: the estimate of {reference}", fontsize=8.5)
    return figure


def density(found: Found, parameters: Sequence[str], reference: str) -> Figure:
    """One panel per parameter: every method's marginal density."""

    def panel(ax: Axes, parameter: str) -> None:
        draw_densities(ax, found, parameter, reference)

    figure = _grid(panel, parameters, 1.6)
    with look():
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 6), frameon=False)
    return figure


def overview(found: Found, parameters: Sequence[str], reference: str) -> Figure:
    """All parameters on one scale: estimates and 95 % intervals in sds of the reference, about its estimate."""
    base, paint = found[reference], colours(list(found), reference)
    shown = [p for p in parameters if p in base and base[p].sd > 0]
    methods = [m for m in found if m != reference]
    with look():
        figure = new_figure(7.4, 0.9 + len(shown) * (0.20 + 0.13 * len(methods)))
        ax = figure.subplots()
        ax.axvspan(-1.96, 1.96, color=PALE, alpha=0.6, lw=0)
        ax.axvline(0.0, color=INK, lw=0.9)
        heights = np.linspace(0.34, -0.34, len(methods)) if len(methods) > 1 else np.zeros(1)
        for k, method in enumerate(methods):
            own = found[method]
            held = [(i, own[p], base[p]) for i, p in enumerate(shown) if p in own]
            rows = len(shown) - 1 - np.array([i for i, _, _ in held]) + heights[k]
            bias = np.array([(m.estimate - b.estimate) / b.sd for _, m, b in held])
            reach = 1.96 * np.nan_to_num([m.sd / b.sd for _, m, b in held])
            ax.hlines(rows, bias - reach, bias + reach, color=paint[method], lw=1.4)
            ax.plot(bias, rows, "o", color=paint[method], ms=4.0, label=method)
        bare_rows(ax, shown)
        ax.set_xlabel(f"difference from {reference}, in its sds (shaded: its own 95 % interval)")
        figure.legend(loc="outside upper left", ncols=min(len(methods), 6), frameon=False)
    return figure


def card(found: Found, parameter: str, reference: str) -> Figure:
    """Densities over intervals of one parameter, on one axis."""
    with look():
        figure = new_figure(3.2, 1.6 + 0.19 * len(found))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.35, 0.19 * len(found) + 0.1])
        draw_densities(top, found, parameter, reference)
        draw_intervals(bottom, found, parameter, reference)
        top.tick_params(axis="x", length=0)
        top.spines["bottom"].set_color(PALE)
    return figure


def draw_intervals(ax: Axes, found: Found, parameter: str, reference: str, *, labels: bool = True) -> None:
    """Rows of methods: point, thick 50 % and thin 95 % line; the reference's estimate as a guide."""
    methods, paint = list(found), colours(list(found), reference)
    guide = found.get(reference, {}).get(parameter)
    if guide is not None:
        ax.axvline(guide.estimate, color=GREY, lw=0.7, ls=(0, (2, 2)), zorder=0)
    for row, method in zip(range(len(methods))[::-1], methods):
        marginal = found[method].get(parameter)
        if marginal is None:
            continue
        if marginal.sd > 0:
            ends = marginal.quantiles(np.array([0.025, 0.25, 0.75, 0.975]))
            ax.hlines(row, ends[0], ends[3], color=paint[method], lw=1.1)
            ax.hlines(row, ends[1], ends[2], color=paint[method], lw=2.8)
        ax.plot(marginal.estimate, row, "o", color=paint[method], ms=4.6, mec="white", mew=0.7)
    bare_rows(ax, methods if labels else [""] * len(methods))
    ax.locator_params(axis="x", nbins=5)


def draw_densities(ax: Axes, found: Found, parameter: str, reference: str) -> None:
    """Marginal densities over one another; a method without a standard error is a mark on the axis."""
    paint = colours(list(found), reference)
    for method, table in found.items():
        marginal = table.get(parameter)
        if marginal is None:
            continue
        if not marginal.sd > 0:
            ax.plot(marginal.estimate, 0.0, "^", color=paint[method], clip_on=False, ms=5, label=method)
            continue
        x, y = density_curve(marginal)
        if method == reference:
            ax.fill_between(x, y, color=PALE, lw=0, zorder=0)
        ax.plot(x, y, color=paint[method], lw=1.3, label=method, zorder=1 if method == reference else 2)
    ax.set_ylim(bottom=0.0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=5)


def density_curve(marginal: Marginal) -> tuple[np.ndarray, np.ndarray]:
    """Points of a marginal's density: a kernel estimate of its draws (ArviZ), or its normal approximation."""
    if marginal.draws is not None:
        from arviz_stats.base import array_stats

        x, y, _ = array_stats.kde(marginal.draws.ravel(), axis=0, grid_len=256)
        return x, y
    ends = marginal.quantiles(np.array([3e-5, 1.0 - 3e-5]))
    x = np.linspace(ends[0], ends[1], 256)
    return x, marginal.density(x)


def _grid(panel: Callable[[Axes, str], None], parameters: Sequence[str], height: float) -> Figure:
    """Panels in rows of three."""
    columns = min(COLUMNS, len(parameters))
    rows = -(-len(parameters) // columns)
    with look():
        figure = new_figure(2.9 * columns + 0.5, height * rows + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, parameter in zip(axes, parameters):
            panel(ax, parameter)
            ax.set_title(parameter)
        for ax in axes[len(parameters) :]:
            ax.set_visible(False)
    return figure


KINDS: dict[str, Callable[[Found, Sequence[str], str], Figure]] = {
    "forest": forest,
    "density": density,
    "overview": overview,
}
