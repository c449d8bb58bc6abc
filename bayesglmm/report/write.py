"""A comparison → ``report.html``, ``table.csv``, ``verdict.csv`` and ``idata.nc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesglmm.errors import BayesGLMMError
from bayesglmm.report import images, words

if TYPE_CHECKING:
    from bayesglmm.comparison import Comparison

TEMPLATES = Path(__file__).parent / "templates"


def write_report(cmp: Comparison, folder: Path) -> Path:
    """Write the report and the numbers it is made of.

    Parameters
    ----------
    cmp : Comparison
        What to report.
    folder : Path
        Made when it is not there.

    Returns
    -------
    Path
        Of ``report.html``. Beside it: ``table.csv``, ``verdict.csv``, and ``idata.nc``, the ArviZ DataTree with one
        group per method; ``population.csv`` where a marginal model is among the methods.

    Raises
    ------
    BayesGLMMError
        When the folder cannot be written.
    """
    page = render_report(cmp)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.html"
        path.write_text(page, encoding="utf-8")
        cmp.table.to_csv(folder / "table.csv", index=False)
        cmp.verdict.to_csv(folder / "verdict.csv", index=False)
        if words.population_rows(cmp):
            cmp.population.to_csv(folder / "population.csv", index=False)
        if cmp.fits:
            cmp.idata.to_netcdf(folder / "idata.nc", engine="h5netcdf")
    except OSError as error:
        raise BayesGLMMError(f"the report cannot be written to {str(folder)!r}: {error}.") from error
    return path


def render_report(cmp: Comparison) -> str:
    """Return the report as one HTML page: styles inline, pictures embedded, no scripts, nothing fetched."""
    return template("report.html").render(report_content(cmp))


def template(name: str) -> Any:
    """One of our templates, with the ways we write numbers."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= words.FILTERS
    return environment.get_template(name)


def report_content(cmp: Comparison) -> dict[str, Any]:
    """Everything the template shows, as plain values."""
    return {
        "title": cmp.model.about.get("title") or cmp.model.formula,
        "headline": words.headline(cmp),
        "facts": words.facts(cmp.model),
        "priors": words.priors(cmp.model),
        "verdict": words.verdict_rows(cmp),
        "parameters": words.parameter_rows(cmp),
        "population": words.population_rows(cmp),
        "limits": words.limits(),
        "judges": words.judges(),
        "notes": cmp.notes,
        "objections": cmp.objections,
        "reference": cmp.reference,
        "judged": not cmp.objections,
        "diagnostics": words.diagnostics(cmp),
        "colophon": words.colophon(cmp),
        "pictures": images.pictures(cmp),
    }
