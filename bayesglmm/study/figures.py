"""Pictures of a study: one panel per parameter, one row per arm, one mark per method with its Monte-Carlo error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesglmm.look import GREY, INK, PALE, PALETTE, bare_rows, look, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesglmm.study.calibration import Calibration
    from bayesglmm.study.result import StudyResult

COLUMNS = 2


@dataclass(frozen=True)
class Kind:
    """One kind of picture: what is drawn, its Monte-Carlo error, where it should be, and in words."""

    value: str
    error: str | None
    target: float
    words: str


KINDS = {
    "bias": Kind("bias", "bias_mcse", 0.0, "bias, with two MC errors"),
    "coverage": Kind("coverage", "coverage_mcse", 0.95, "coverage of 95 % intervals, with two MC errors"),
    "calibration": Kind("se_ratio", None, 1.0, "standard errors over the sd of the estimates"),
}


def colours(result: StudyResult) -> dict[str, str]:
    """Method → colour, the same in every picture of a study."""
    return {m: PALETTE[k % len(PALETTE)] for k, m in enumerate(result.study.task.methods)}


def draw(result: StudyResult, name: str) -> Figure:
    """Draw one kind of picture of all parameters with a truth."""
    kind, table, paint = KINDS[name], result.table, colours(result)
    if "arm" not in table:
        table = table.assign(arm="")
    parameters = [
        p for p in dict.fromkeys(table["parameter"]) if table.loc[table["parameter"] == p, "truth"].notna().any()
    ]
    arms = list(dict.fromkeys(table["arm"]))
    lines = -(-len(parameters) // COLUMNS)
    with look():
        figure = new_figure(7.4, 0.6 + lines * (0.75 + 0.13 * len(paint) * len(arms) + 0.12 * len(arms)))
        panels = figure.subplots(lines, COLUMNS, squeeze=False)
        for ax, parameter in zip(panels.flat, parameters):
            _panel(ax, table[table["parameter"] == parameter], kind, arms, paint)
            ax.set_title(parameter)
        for ax in panels.flat[len(parameters) :]:
            ax.set_axis_off()
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 6), frameon=False)
        figure.supxlabel(kind.words, fontsize=8.5, color=GREY)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, kind: Kind, arms: list[str], paint: dict[str, str]) -> None:
    if np.isfinite(kind.target):
        ax.axvline(kind.target, color=INK, lw=0.8)
    offsets = np.linspace(0.3, -0.3, len(paint)) if len(paint) > 1 else np.zeros(1)
    for height, (method, colour) in zip(offsets, paint.items()):
        own = table[table["method"] == method].set_index("arm").reindex(arms)
        rows = np.arange(len(arms))[::-1] + height
        value = own[kind.value].to_numpy(dtype=float)
        if kind.error is not None:
            reach = 2.0 * own[kind.error].to_numpy(dtype=float)
            ax.hlines(rows, value - reach, value + reach, color=colour, lw=1.3)
        ax.plot(value, rows, "o", color=colour, ms=4.2, label=method)
    for row in range(len(arms) - 1):
        ax.axhline(row + 0.5, color=PALE, lw=0.6, zorder=0)
    bare_rows(ax, arms)
    ax.locator_params(axis="x", nbins=5)


def draw_calibration(calibration: Calibration) -> Figure:
    """Empirical distribution of the ranks minus the uniform one, one panel per parameter, one line per method."""
    from bayesglmm.study.calibration import band

    ranks, draws = calibration.ranks, calibration.draws
    parameters = list(dict.fromkeys(ranks["parameter"]))
    methods = list(dict.fromkeys(ranks["method"]))
    at = np.arange(1, draws + 1) / (draws + 1)
    lines = -(-len(parameters) // COLUMNS)
    with look():
        figure = new_figure(7.4, 0.7 + 1.9 * lines)
        panels = figure.subplots(lines, COLUMNS, squeeze=False, sharex=True)
        for ax, parameter in zip(panels.flat, parameters):
            own = ranks[ranks["parameter"] == parameter]
            low, high = band(int(own.groupby("method").size().min()), draws)
            ax.fill_between(at, low - at, high - at, color=PALE, lw=0, step="mid")
            ax.axhline(0.0, color=INK, lw=0.7)
            for k, method in enumerate(methods):
                mine = own.loc[own["method"] == method, "rank"].to_numpy()
                counts = np.cumsum(np.bincount(mine, minlength=draws + 1))[:draws]
                ax.step(at, counts / len(mine) - at, where="mid", color=PALETTE[k % len(PALETTE)], label=method)
            ax.set_title(parameter)
        for ax in panels.flat[len(parameters) :]:
            ax.set_axis_off()
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 6), frameon=False)
        said = "place of the truth in its posterior: empirical minus uniform distribution, shaded where 95 % stay"
        figure.supxlabel(said, fontsize=8.5, color=GREY)
    return figure
