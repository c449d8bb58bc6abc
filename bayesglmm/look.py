"""The look all our pictures share.

Every picture is a matplotlib Figure that pyplot has already let go of: notebooks show it once, scripts save it,
nothing is left open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#22262b", "#6b7480", "#e6e9ed"
BLUE = "#2b6c8f"

#: Colours that colour-blind readers, too, can tell apart.
PALETTE = ("#c98a1b", "#c2533d", "#2b7f9e", "#6a57a5", "#5d8a3a", "#b0568f", "#3f6fb5", "#8a6d4b")

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
    "lines.linewidth": 1.2,
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
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "bayesglmm",
}


@contextmanager
def look() -> Iterator[None]:
    """The look of our pictures, for as long as it is needed."""
    import matplotlib as mpl
    from cycler import cycler

    with mpl.rc_context(_STYLE | {"axes.prop_cycle": cycler(color=PALETTE[2:] + PALETTE[:2])}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure (in inches) that pyplot does not keep."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure


def taken(collection: Any) -> Figure:
    """Figure of an ArviZ PlotCollection, closed for pyplot."""
    import matplotlib.pyplot as plt

    figure = collection.viz["figure"].item()
    plt.close(figure)
    return figure


def bare_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Label rows from the top down, without the axis line."""
    ax.set_yticks(np.arange(len(labels))[::-1], labels)
    ax.set_ylim(-0.7, len(labels) - 0.3)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
