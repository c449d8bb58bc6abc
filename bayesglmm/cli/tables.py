"""Comparisons and model lists as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bayesglmm.cli.screen import out
from bayesglmm.comparison.verdict import GRADES
from bayesglmm.report.words import BLANK, fixed, number, seconds, signed, times

if TYPE_CHECKING:
    from bayesglmm.comparison import Comparison
    from bayesglmm.spec import ModelInfo
    from bayesglmm.study import StudyResult

#: Parameters shown on the terminal; ``table.csv`` has them all.
SHOWN = 12

STYLES = {"same": "green", "close": "green", "rough": "yellow", "off": "red", "failed": "red", "unfit": "red"}


def print_comparison(cmp: Comparison) -> None:
    """Print the table, the verdict and what to know before reading them."""
    out.print()
    out.print(parameter_table(cmp))
    left = cmp.table["parameter"].nunique() - SHOWN
    if left > 0:
        out.print(f"[dim]{left} more parameters in table.csv[/]")
    out.print(verdict_table(cmp))
    for note in cmp.notes:
        out.print(f"[dim]{escape(note)}[/]")


def parameter_table(cmp: Comparison) -> Table:
    """A row per parameter × method, the reference's row dim."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("parameter", style="bold", overflow="fold")
    table.add_column("method")
    for column in ("estimate", "sd", "bias", "sd ratio", "W1"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("estimand")
    for k, (parameter, rows) in enumerate(cmp.table.groupby("parameter", sort=False)):
        if k == SHOWN:
            break
        for j, row in enumerate(rows.to_dict("records")):
            own = row["method"] == cmp.reference
            name = escape(str(parameter)) if j == 0 else ""
            cells = [number(row["estimate"], 4), number(row["sd"]), *_scores(row, own)]
            table.add_row(
                name,
                row["method"],
                *cells,
                row["estimand"],
                style="dim" if own else "",
                end_section=j == len(rows) - 1,
            )
    return table


def _scores(row: dict[str, Any], own: bool) -> list[Text | str]:
    """Bias, sd ratio and distance; ≈ where the reference's Monte-Carlo error explains the difference."""
    if own:
        return ["", "", ""]
    noise, sd_noise = (
        bool(row[c]) if not pd.isna(row[c]) else False for c in ("within_mc_error", "sd_within_mc_error")
    )
    bias, ratio = row["bias"], row["sd_ratio"]
    loud = abs(bias) >= GRADES[1].bias and not noise
    ratio_loud = not (pd.isna(ratio) or sd_noise or GRADES[1].low <= ratio <= GRADES[1].high)
    return [
        _cell(signed(bias), noise, loud),
        _cell(fixed(ratio), sd_noise and not pd.isna(ratio), ratio_loud),
        fixed(row["w1"]),
    ]


def _cell(text: str, noise: bool, loud: bool) -> Text:
    return Text(f"≈ {text}" if noise else text, style="dim" if noise else "bold yellow" if loud else "")


def verdict_table(cmp: Comparison) -> Table:
    """A row per method: worst bias, worst sd ratio, time, and the sentence."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    table.add_column("method", style="bold", no_wrap=True)
    for column in ("worst bias", "sd ratio", "time", "speed-up"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", ratio=1)
    for row in cmp.verdict.to_dict("records"):
        own = row["method"] == cmp.reference
        scored = not own and row["worst_bias_parameter"]
        table.add_row(
            row["method"],
            signed(row["worst_bias"]) if scored else BLANK,
            fixed(row["worst_sd_ratio"]) if scored else BLANK,
            BLANK if row["grade"] == "failed" else seconds(row["seconds"]),
            BLANK if own else times(row["speedup"]),
            Text(row["sentence"], style=STYLES.get(row["grade"], "")),
        )
    return table


def print_models(infos: Sequence[ModelInfo], folder: Path) -> None:
    """Print the models of a folder, one paragraph each."""
    if not infos:
        out.print(f"No model files (*.toml) in {escape(str(folder))}.")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for info in infos:
        if info.problem is not None:
            table.add_row(info.name, Text(info.problem, style="red"))
        else:
            table.add_row(info.name, Text(info.title))
            table.add_row("", Text(f"{info.formula}   [{info.family}]", style="cyan"))
            table.add_row("", Text(info.teaches, style="dim"))
        table.add_row("", "")
    out.print(table)
    example = folder / f"{infos[0].name}.toml"
    out.print(f"Try: bayesglmm compare {escape(str(example))} --methods pql,laplace,mcmc --out out/{infos[0].name}")


def print_study(result: StudyResult) -> None:
    """Print bias, spread, calibration and coverage, then the published table beside ours, then what failed."""
    out.print()
    out.print(score_table(result))
    if len(result.published):
        out.print(published_table(result))
    failed = result.failures.value_counts(["method", "reason"])
    for (method, reason), count in failed.head(SHOWN).items():
        out.print(f"[yellow]{count} × {escape(method)} failed:[/] {escape(reason)}", soft_wrap=True)


def score_table(result: StudyResult) -> Table:
    """A row per parameter × arm × method; a bias of more than two Monte-Carlo errors in bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    arms = "arm" in result.table
    table.add_column("parameter", style="bold", overflow="fold")
    for column in (["arm"] if arms else []) + ["method"]:
        table.add_column(column, no_wrap=True)
    for column in ("truth", "mean", "bias", "sd", "se/sd", "coverage", "fits"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = list(dict.fromkeys(result.table["parameter"]))[:SHOWN]
    for parameter in shown:
        for j, row in enumerate(result.table[result.table["parameter"] == parameter].to_dict("records")):
            bias = signed(row["bias"])
            far = abs(row["bias"]) > 2.0 * row["bias_mcse"]
            table.add_row(
                escape(parameter) if j == 0 else "",
                *([escape(row["arm"])] if arms else []),
                row["method"],
                number(row["truth"]),
                number(row["mean"]),
                f"[bold]{bias}[/]" if far else bias,
                number(row["sd"], 2),
                fixed(row["se_ratio"]),
                fixed(row["coverage"]),
                str(row["n"]),
            )
        table.add_section()
    return table


def published_table(result: StudyResult) -> Table:
    """Printed means beside ours."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Beside the published table", title_justify="left")
    for column in ("mean of", "arm", "method"):
        table.add_column(column, no_wrap=True)
    for column in ("published", "ours", "MC error"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result.published.to_dict("records"):
        printed, ours, mcse = number(row["published"], 3), number(row["ours"], 3), number(row["mcse"], 2)
        table.add_row(escape(row["parameter"]), escape(row["arm"]), row["method"], printed, ours, mcse)
    return table
