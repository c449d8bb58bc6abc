"""The report's pictures, each a data URI."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesglmm import plots, plots_predictive
from bayesglmm.comparison import figures
from bayesglmm.comparison.scores import yardstick
from bayesglmm.look import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesglmm.comparison import Comparison

#: Parameters with a picture of their own; the table has them all.
CARDS = 24

#: Parameters whose chains are shown: those with the largest Monte-Carlo error.
DIAGNOSED = 9


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
    with look():
        figure.savefig(buffer, format=kind, **options)
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def pictures(cmp: Comparison) -> dict[str, Any]:
    """All pictures by their place in the report; a place without one is None."""
    return {
        "overview": _overview(cmp),
        "cards": _cards(cmp),
        "left_out": max(0, len(_parameters(cmp)) - CARDS),
        "predictive": _predictive(cmp),
        **_chains(cmp),
        "least_sure": f" (the {DIAGNOSED} least certain parameters)" if len(_parameters(cmp)) > DIAGNOSED else "",
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
    kind = plots_predictive.ppc_kind(fit)
    return Picture(svg(plots_predictive.plot_ppc(fit, seed=cmp.seed)), CHECKS[kind], kind)


def _chains(cmp: Comparison) -> dict[str, Picture | None]:
    """Ranks and traces of a sampled reference, of the parameters it is least sure of."""
    sizes = {k: yardstick(m).mcse for k, m in cmp.found.get(cmp.reference, {}).items() if m.draws is not None}
    if not sizes:
        return {"ranks": None, "traces": None}
    worst = sorted(sizes, key=lambda k: -sizes[k])[:DIAGNOSED]
    shown = [k for k in sizes if k in worst]
    fit = cmp.fits[cmp.reference]
    return {
        "ranks": Picture(svg(plots.plot_rank(fit, shown)), "Rank distributions of the reference's chains"),
        "traces": Picture(png(plots.plot_trace(fit, shown)), "Traces of the reference's chains"),
    }


def log_share(value: float, largest: float, smallest: float) -> float:
    """Length of a bar on a log scale, between 2 and 100."""
    if not (value > 0 and largest > smallest > 0):
        return 100.0
    return 2.0 + 98.0 * float(np.log(value / smallest) / np.log(largest / smallest))
