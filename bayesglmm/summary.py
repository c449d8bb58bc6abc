"""The printed face of a fit: a text table for the terminal and an HTML one for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesglmm.tables import is_posterior

if TYPE_CHECKING:
    from bayesglmm.fit import Fit

ESTIMAND = {
    "conditional": "conditional on the random effects (subject-specific)",
    "marginal": "marginal over the random effects (population-averaged)",
    "mql": "marginal-like: expanded at zero random effects, close to the population average",
    "joint-mode": "joint mode of parameters and random effects",
}

#: What an input of the model is called at the head of the summary, where its name alone would not tell.
INPUTS = {"zi": "Zero infl."}


def summary_text(fit: Fit) -> str:
    """Return the whole summary as plain text, at most about 90 columns wide."""
    parts = [_headline(fit), _facts(fit)]
    varcomp = fit.varcomp
    if len(varcomp):
        parts.append("Random effects\n" + _frame_text(_varcomp_cells(varcomp)))
    parts.append("Fixed effects\n" + _frame_text(_fixed_cells(fit.fixed)))
    if len(auxiliary := _shown_auxiliaries(fit)):
        parts.append("Auxiliaries\n" + _frame_text(_auxiliary_cells(auxiliary)))
    parts.append(_status_text(fit))
    return "\n\n".join(p for p in parts if p)


def summary_html(fit: Fit) -> str:
    """Return the summary as an HTML fragment (no scripts, no external resources)."""
    body = [f"<p><strong>{html.escape(_headline(fit))}</strong></p>", f"<pre>{html.escape(_facts(fit))}</pre>"]
    varcomp = fit.varcomp
    if len(varcomp):
        body.append("<p>Random effects</p>" + _varcomp_cells(varcomp).to_html(index=False, border=0))
    body.append("<p>Fixed effects</p>" + _fixed_cells(fit.fixed).to_html(border=0))
    if len(auxiliary := _shown_auxiliaries(fit)):
        body.append("<p>Auxiliaries</p>" + _auxiliary_cells(auxiliary).to_html(border=0))
    body.append(f"<pre>{html.escape(_status_text(fit))}</pre>")
    return f"<div class='bayesglmm-fit'>{''.join(body)}</div>"


def _headline(fit: Fit) -> str:
    return f"{fit.method.upper()} fit: {fit.result.objective}"


def _facts(fit: Fit) -> str:
    model = fit.model
    groups = ", ".join(f"{b.group} ({len(b.levels)} levels)" for b in model.design.blocks)
    dropped = f" ({model.design.n_dropped} dropped for missing values)" if model.design.n_dropped else ""
    lines = [
        ("Formula", model.formula),
        ("Family", f"{model.family.name} ({model.link.name} link)"),
        ("Rows", f"{fit.nobs}{dropped}" + (f"; groups: {groups}" if groups else "")),
    ]
    lines += [(INPUTS.get(name, name.capitalize()), column) for name, column in model.inputs.items()]
    if model.design.blocks or fit.estimand == "marginal":
        lines.append(("Estimand", ESTIMAND.get(fit.method, ESTIMAND[fit.estimand])))
    lines += [(name, text) for name, text in fit.result.extras.get("facts", {}).items()]
    if fit.result.loglik is not None:
        criteria = " at the posterior mode" if is_posterior(model.problem, fit.result) else _criteria(fit)
        name = "REML" if fit.result.options.get("reml") else "Log-lik"
        told = " restricted log-likelihood" if name == "REML" else ""
        lines.append((name, f"{fit.loglik:.4f}{told}{criteria}"))
    residual_row = model.family.name == "gaussian" and len(fit.varcomp) > 0
    shown_below = residual_row or (model.family.scale is not None and len(_shown_auxiliaries(fit)) > 0)
    if fit.dispersion is not None and not shown_below:
        lines.append(("Dispersion", _significant(fit.dispersion)))
    return "\n".join(f"{name:<10} {value}" for name, value in lines)


def _shown_auxiliaries(fit: Fit) -> pd.DataFrame:
    """The auxiliaries that have something to say: the sd of a Gaussian residual has its line already."""
    said = fit.model.family.name == "gaussian" and len(fit.varcomp) > 0 and not fit.model.design.auxiliaries
    return fit.auxiliary.drop(index="sigma", errors="ignore") if said else fit.auxiliary


def _criteria(fit: Fit) -> str:
    return f"   AIC {fit.aic:.2f}   BIC {fit.bic:.2f}"


def _status_text(fit: Fit) -> str:
    s = fit.status
    lines = [s.message[:1].upper() + s.message[1:] if s.converged else f"NOT CONVERGED: {s.message}"]
    if s.boundary:
        lines.append("Singular: " + ", ".join(s.boundary))
    if s.r_hat is not None:
        lines.append(f"R-hat {s.r_hat:.3f}, smallest bulk ESS {s.ess:.0f}, divergences {s.divergences}")
    if s.pareto_k is not None and "k-hat" not in s.message:
        lines.append(f"Pareto k-hat {s.pareto_k:.2f}")
    lines += list(s.notes)
    if fit.model.design.aliased:
        lines.append("Not estimable (aliased): " + ", ".join(fit.model.design.aliased))
    lines.append(f"{s.seconds:.3g} s")
    return "\n".join(lines)


def _number(value: float, decimals: int = 4) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.4g}" if abs(value) >= 1e4 else f"{value:.{decimals}f}"


def _significant(value: float) -> str:
    return _number(value) if abs(value) >= 0.1 else f"{value:.4g}"


def _df(value: float) -> str:
    return "" if np.isnan(value) else "Inf" if np.isinf(value) else f"{value:.1f}".removesuffix(".0")


def _decimals(errors: pd.Series) -> int:
    """Decimals that show three digits of the smallest standard error; four, and at most nine."""
    small = errors[errors > 0].min()
    return 4 if pd.isna(small) else int(np.clip(2 - np.floor(np.log10(small)), 4, 9))


def _p_value(value: float) -> str:
    return "" if np.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _fixed_cells(fixed: pd.DataFrame) -> pd.DataFrame:
    cells = pd.DataFrame(index=pd.Index(fixed.index))
    shown = {"df": _df, "p": _p_value, "z": _number, "t": _number}
    decimals = _decimals(fixed["se"])
    for column in fixed.columns:
        if column == "df" and not np.isfinite(fixed["df"]).any():
            continue
        cells[column] = [shown[column](v) if column in shown else _number(v, decimals) for v in fixed[column]]
    return cells


def _auxiliary_cells(auxiliary: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text; the link is said where the row is on its scale."""
    cells = pd.DataFrame(index=pd.Index([str(name) for name in auxiliary.index], name=None))
    for column in ("estimate", "se", "ci_low", "ci_high"):
        cells[column] = [_number(v) for v in auxiliary[column]]
    coefficients = ["[" in str(name) for name in auxiliary.index]
    if any(coefficients):
        cells["scale"] = [link if own else "" for link, own in zip(auxiliary["link"], coefficients)]
    return cells


def _varcomp_cells(varcomp: pd.DataFrame) -> pd.DataFrame:
    text = ["group", "term", "corr_with"]
    cells = pd.DataFrame(
        {
            c: ["" if pd.isna(v) else str(v) for v in varcomp[c]] if c in text else [_number(v) for v in varcomp[c]]
            for c in varcomp.columns
        }
    )
    empty = [c for c in ("se", "ci_low", "ci_high", "corr_with", "corr") if (cells[c] == "").all()]
    return cells.drop(columns=empty)


def _frame_text(cells: pd.DataFrame) -> str:
    numbered = isinstance(cells.index, pd.RangeIndex)
    return cells.to_string(index=not numbered)
