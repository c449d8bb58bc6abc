"""What the report says, as plain values for the template."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm.comparison.population import is_population_method
from bayesglmm.comparison.verdict import GRADES, listed
from bayesglmm.methods.mcmc import MAX_DIVERGENT, MAX_R_HAT, MIN_ESS
from bayesglmm.methods.registry import get_method
from bayesglmm.report.images import log_share

if TYPE_CHECKING:
    from bayesglmm.comparison import Comparison
    from bayesglmm.model import Model

PACKAGES = ("bayesglmm", "pymc", "pytensor", "nutpie", "arviz", "numpy", "scipy", "pandas", "numba", "formulaic")

BLANK = "–"

#: Grade → place, best first.
ORDER = {g.name: k for k, g in enumerate(GRADES)}


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, a dash when there is none; a true minus sign."""
    if value is None or pd.isna(value):
        return BLANK
    size = abs(value)
    if size != 0 and not 1e-4 <= size < 1e5:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{max(0, digits - 1 - (int(np.floor(np.log10(size))) if size else 0))}f}"
    return text.replace("-", "−")


def fixed(value: float | None, places: int = 2) -> str:
    """A number with so many decimals."""
    return BLANK if value is None or pd.isna(value) else f"{value:.{places}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference, with its sign, to two decimals."""
    if value is None or pd.isna(value):
        return BLANK
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def seconds(value: float | None) -> str:
    """A duration as one says it."""
    if value is None or pd.isna(value):
        return BLANK
    if value < 0.1:
        return f"{number(1000.0 * value, 2)} ms"
    if value < 99.5:
        return f"{number(value, 2)} s"
    value = round(value)
    return f"{value // 60} min {value % 60} s"


def times(value: float | None) -> str:
    """A speed-up."""
    if value is None or pd.isna(value):
        return BLANK
    return f"{value:.2g}×" if value < 10 else f"{value:,.0f}×"


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "fixed": fixed,
    "signed": signed,
    "seconds": seconds,
    "times": times,
}


def headline(cmp: Comparison) -> str:
    """The result in a sentence or two."""
    if cmp.objections:
        return f"No verdict: {cmp.reference} may not judge."
    grades = dict(zip(cmp.verdict["method"], cmp.verdict["grade"]))
    others = [m for m in cmp.methods if m != cmp.reference and m not in cmp.failures]
    good = [m for m in others if grades[m] == GRADES[0].name]
    aside = [m for m in others if grades[m] == "unscored"]
    bias = dict(zip(cmp.verdict["method"], cmp.verdict["worst_bias"].abs()))
    worse = sorted((m for m in others if m not in good and m not in aside), key=lambda m: bias[m])
    said = [_standing(good, worse, grades, cmp.reference)] if good or worse else []
    if aside:
        said.append(f"{listed(aside)} {'is' if len(aside) == 1 else 'are'} not scored.")
    if cmp.failures:
        said.append(f"{listed(list(cmp.failures))} failed.")
    return " ".join(said) or f"{cmp.reference} alone: there is nothing to compare it with."


def _standing(good: list[str], worse: list[str], grades: Mapping[str, str], reference: str) -> str:
    if not good:
        closest = min(worse, key=lambda m: ORDER[grades[m]])
        mark = GRADES[ORDER[grades[closest]]]
        comes = "" if mark is GRADES[-1] else f" {closest} comes closest: {mark.words}."
        return f"No method does as well as {reference} on this model.{comes}"
    verb = "does" if len(good) == 1 else "do"
    rest = f"; {listed(worse)} {'does' if len(worse) == 1 else 'do'} not" if worse else ""
    return f"{listed(good)} {verb} as well as {reference} on this model{rest}."


def facts(model: Model) -> list[tuple[str, str]]:
    """What was fitted, as label and text."""
    design, about = model.design, model.about
    groups = ", ".join(f"{b.group} ({len(b.levels)} levels)" for b in design.blocks)
    dropped = f"; {design.n_dropped} more left out for missing values" if design.n_dropped else ""
    forms = ", ".join(
        f"{b.group}: {' + '.join(f.name for f in c.forms)}"
        for b, c in zip(design.blocks, model.problem.covariance)
        if len(b.columns) > 1
    )
    rows = [
        ("Formula", model.formula),
        ("Family", f"{model.family.name}, {model.link.name} link"),
        ("Rows", f"{design.nobs}{dropped}"),
        ("Groups", groups),
        ("Covariance", forms),
        ("Not estimable", ", ".join(design.aliased)),
        ("Data", str(about.get("source", ""))),
        ("Citation", str(about.get("citation", ""))),
        ("What it teaches", str(about.get("teaches", ""))),
    ]
    return [(label, text) for label, text in rows if text]


def priors(model: Model) -> list[tuple[str, str]]:
    """Parameter and prior, one row each; empty under flat priors."""
    if model.problem.priors is None:
        return []
    table = model.priors
    return [(str(name), ", ".join(str(v) for v in row if v is not None)) for name, *row in table.itertuples()]


def population_rows(cmp: Comparison) -> list[dict[str, Any]]:
    """Population-averaged coefficients, where a marginal model stands beside mixed ones; else nothing."""
    if not cmp.model.design.blocks or not any(is_population_method(m) for m in cmp.fits):
        return []
    counts = cmp.population["parameter"].value_counts()
    rows = cmp.population.to_dict("records")
    for k, row in enumerate(rows):
        first = k == 0 or row["parameter"] != rows[k - 1]["parameter"]
        row["span"] = int(counts[row["parameter"]]) if first else 0
    return rows


def verdict_rows(cmp: Comparison) -> list[dict[str, Any]]:
    """Rows of the verdict with the objective and the length of the time bar."""
    known = cmp.verdict["seconds"].dropna()
    longest, shortest = (known.max(), known.min()) if len(known) else (1.0, 1.0)
    rows = []
    for row in cmp.verdict.to_dict("records"):
        more = {
            "objective": get_method(str(row["method"])).objective,
            "bar": log_share(row["seconds"], longest, shortest),
            "is_reference": row["method"] == cmp.reference,
        }
        rows.append({str(k): v for k, v in row.items()} | more)
    return rows


def parameter_rows(cmp: Comparison) -> list[dict[str, Any]]:
    """Rows of the table; the first row of each parameter carries its name and height."""
    rows = []
    for _, group in cmp.table.groupby("parameter", sort=False):
        for k, row in enumerate(group.to_dict("records")):
            more = {
                "span": len(group) if k == 0 else 0,
                "is_reference": row["method"] == cmp.reference,
                "noise": _true(row["within_mc_error"]),
                "sd_noise": _true(row["sd_within_mc_error"]),
                "marked": abs(row["bias"]) >= GRADES[1].bias,
                "sd_marked": not GRADES[1].low <= _or_one(row["sd_ratio"]) <= GRADES[1].high,
            }
            rows.append({str(key): v for key, v in row.items()} | more)
    return rows


def _true(value: Any) -> bool:
    return bool(value) if not pd.isna(value) else False


def _or_one(value: float) -> float:
    return 1.0 if pd.isna(value) else value


def limits() -> list[dict[str, str]]:
    """The grades and their limits, for the report's small print."""
    return [
        {
            "words": g.words,
            "bias": f"below {g.bias:g} sd" if np.isfinite(g.bias) else "anything else",
            "ratio": f"{g.low:g} to {g.high:g}" if np.isfinite(g.high) else "anything else",
        }
        for g in GRADES
    ]


def judges() -> str:
    """When a sampled reference may judge."""
    return (
        f"A sampled reference judges when its R-hat is at most {MAX_R_HAT}, its effective sample size at least "
        f"{MIN_ESS:.0f}, and at most {MAX_DIVERGENT:.2%} of its transitions diverged."
    ).replace("%", " %")


def diagnostics(cmp: Comparison) -> dict[str, Any] | None:
    """The reference's own state in words, and per parameter R-hat, ESS and MCSE when it was sampled."""
    fit = cmp.fits.get(cmp.reference)
    if fit is None:
        return None
    status = fit.status
    lines = [status.message]
    if status.divergences is not None:
        lines.append(f"Divergent transitions: {status.divergences}.")
    lines += status.notes
    if status.pareto_k is not None:
        lines.append(f"Pareto k-hat {status.pareto_k:.2f}.")
    if status.boundary:
        lines.append(f"On the boundary: {', '.join(status.boundary)}.")
    return {"lines": lines, "rows": _chain_rows(cmp), "method": fit.method}


def _chain_rows(cmp: Comparison) -> list[dict[str, Any]]:
    """R-hat, bulk and tail ESS and Monte-Carlo standard error of every parameter of a sampled reference."""
    sampled = {k: m for k, m in cmp.found[cmp.reference].items() if m.draws is not None}
    if not sampled:
        return []
    from arviz_stats.base import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    return [
        {
            "parameter": name,
            "mean": m.estimate,
            "sd": m.sd,
            "mcse": float(array_stats.mcse(m.draws, method="mean", **axes)),
            "ess_bulk": float(array_stats.ess(m.draws, method="bulk", **axes)),
            "ess_tail": float(array_stats.ess(m.draws, method="tail", prob=(0.05, 0.95), **axes)),
            "r_hat": float(array_stats.rhat(m.draws, **axes)),
        }
        for name, m in sampled.items()
    ]


def colophon(cmp: Comparison) -> dict[str, Any]:
    """When, with what, and with which seed and options."""
    return {
        "date": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        "seed": BLANK if cmp.seed is None else str(cmp.seed),
        "versions": [("Python", platform.python_version()), *_versions()],
        "options": [(m, _options(fit.result.options)) for m, fit in cmp.fits.items() if _options(fit.result.options)],
    }


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in options.items() if isinstance(v, str | bool | int | float))
