"""The report's pictures, each a data URI."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm import plots
from bayesglmm.comparison import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.comparison import Comparison

#: Parameters with a picture of their own; the table has them all.
CARDS = 24


#: What each kind of predictive check shows.
CHECKS = {
    "calibration": "How often the response was 1, against how often the model expects it: on the diagonal they agree.",
    "rootogram": "Observed frequency of each count (dark) against what the model expects, with its uncertainty.",
    "distribution": "The observed response (dark) against responses replicated from the model.",
}


@dataclass(frozen=True)
class Picture:
    """One picture: its data URI, what it shows (for those who cannot see it), and its title."""

    source: str
    alt: str
    title: str = ""


def svg(figure: Figure) -> str:
    """Data URI of a figure as SVG."""
    return _encoded(figure, "svg", "image/svg+xml", metadata={"Date": None})


def png(figure: Figure) -> str:
    """Data URI of a figure as PNG, for pictures of many thousand points."""
    return _encoded(figure, "png", "image/png", dpi=160)


def _encoded(figure: Figure, kind: str, mime: str, **options: Any) -> str:
    buffer = BytesIO()
    with plots.look():
        figure.savefig(buffer, format=kind, **options)
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def pictures(cmp: Comparison) -> dict[str, Any]:
    """All pictures by their place in the report; a place without one is None."""
    return {
        "overview": _overview(cmp),
        "cards": _cards(cmp),
        "left_out": max(0, len(_parameters(cmp)) - CARDS),
        "predictive": _predictive(cmp),
        "traces": _traces(cmp),
        "ranks": _ranks(cmp),
        "colours": figures.colours(list(cmp.found), cmp.reference),
    }


def _parameters(cmp: Comparison) -> list[str]:
    return list(dict.fromkeys(cmp.table["parameter"]))


def _overview(cmp: Comparison) -> Picture | None:
    if cmp.objections or len(cmp.found) < 2:
        return None
    figure = cmp.plot("overview")
    return Picture(svg(figure), f"Estimates and 95 % intervals of every method, in sds of {cmp.reference}")


def _cards(cmp: Comparison) -> list[Picture]:
    return [
        Picture(svg(figures.card(cmp.found, p, cmp.reference)), f"Densities and intervals of {p} by method", p)
        for p in _parameters(cmp)[:CARDS]
    ]


def _predictive(cmp: Comparison) -> Picture | None:
    """Responses replicated from the reference; a quasi-family has no distribution to draw them from."""
    fit = cmp.fits.get(cmp.reference)
    if fit is None or fit.model.family.quasi:
        return None
    kind = plots.ppc_kind(fit)
    return Picture(svg(plots.plot_ppc(fit, seed=cmp.seed)), CHECKS[kind], kind)


def _sampled(cmp: Comparison, plot: Callable[..., Figure], alt: str, encode: Callable[[Figure], str]) -> Picture | None:
    fit = cmp.fits.get(cmp.reference)
    if fit is None or fit.result.draws is None or fit.result.draws.independent:
        return None
    return Picture(encode(plot(fit)), alt)


def _traces(cmp: Comparison) -> Picture | None:
    return _sampled(cmp, plots.plot_trace, "Traces of the reference's chains", png)


def _ranks(cmp: Comparison) -> Picture | None:
    return _sampled(cmp, plots.plot_rank, "Rank distributions of the reference's chains", svg)


def log_share(value: float, largest: float, smallest: float) -> float:
    """Length of a bar on a log scale, between 2 and 100."""
    if not (value > 0 and largest > smallest > 0):
        return 100.0
    return 2.0 + 98.0 * float(np.log(value / smallest) / np.log(largest / smallest))
