"""A study → ``report.html``, ``table.csv``, ``rows.csv``, ``failures.csv`` and ``published.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesglmm.errors import BayesGLMMError
from bayesglmm.report.images import Picture, svg
from bayesglmm.report.write import template
from bayesglmm.study.figures import KINDS, colours

if TYPE_CHECKING:
    from bayesglmm.study.result import StudyResult

#: What each picture says.
SAID = {
    "bias": "Mean error of the estimates. Zero is right.",
    "coverage": "Share of 95 % intervals that hold the truth; estimates at the boundary have none and do not count.",
    "calibration": "Standard errors (root mean square) over the sd of the estimates: below one, they are too small.",
}


def write_study(result: StudyResult, folder: Path) -> Path:
    """Write the report and the numbers it is made of; see :meth:`bayesglmm.study.StudyResult.report`."""
    page = template("study.html").render(study_content(result))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.html"
        path.write_text(page, encoding="utf-8")
        result.table.to_csv(folder / "table.csv", index=False)
        result.rows.to_csv(folder / "rows.csv", index=False)
        result.failures.to_csv(folder / "failures.csv", index=False)
        if len(result.published):
            result.published.to_csv(folder / "published.csv", index=False)
    except OSError as error:
        raise BayesGLMMError(f"the report cannot be written to {str(folder)!r}: {error}.") from error
    return path


def study_content(result: StudyResult) -> dict[str, Any]:
    """Everything the template shows, as plain values."""
    study = result.study
    first = next(iter(study.arms.values()))
    formula = getattr(first, "formula", None)
    return {
        "title": study.title or formula or "Simulation study",
        "formula": formula,
        "replicates": study.replicates,
        "arms": [a for a in study.arms if a],
        "methods": list(study.task.methods),
        "options": {m: {k: v for k, v in o.items() if k != "draws"} for m, o in study.task.methods.items()},
        "seed": study.seed,
        "reference": study.reference,
        "headline": _headline(result),
        "table": _blocks(result),
        "seconds": result.seconds.to_dict("records"),
        "failures": [
            {"method": m, "reason": r, "count": n}
            for (m, r), n in result.failures.value_counts(["method", "reason"]).head(20).items()
        ],
        "published": result.published.to_dict("records"),
        "pictures": [Picture(svg(result.plot(kind)), SAID[kind], kind) for kind in KINDS] if len(result.rows) else [],
        "colours": colours(result),
    }


def _blocks(result: StudyResult) -> list[dict[str, Any]]:
    """Rows of the table; the first of every parameter carries its name over all of them."""
    table = result.table if "arm" in result.table else result.table.assign(arm="")
    rows = table.sort_values("parameter", kind="stable", key=lambda p: p.map(_places(table["parameter"])))
    spans = rows.groupby("parameter").size()
    out, met = [], set()
    for row in rows.to_dict("records"):
        name = row["parameter"]
        row["span"] = 0 if name in met else int(spans[name])
        row["marked"] = abs(row["bias"]) > 2.0 * row["bias_mcse"]
        met.add(name)
        out.append(row)
    return out


def _places(values: Any) -> dict[str, int]:
    return {v: k for k, v in enumerate(dict.fromkeys(values))}


def _headline(result: StudyResult) -> str:
    """The largest bias of each method, in sds of its own estimates."""
    table = result.table[result.table["sd"] > 0]
    if table.empty:
        return "No method gave numbers."
    size = (table["bias"] / table["sd"]).abs()
    said = []
    for method, own in size.groupby(table["method"], sort=False):
        worst = table.loc[own.idxmax()]
        where = f" ({worst['arm']})" if worst.get("arm") else ""
        said.append(f"{method} {own.max():.2f} ({worst['parameter']}{where})")
    return "Largest bias, in sds of the estimates: " + ", ".join(said) + "."
