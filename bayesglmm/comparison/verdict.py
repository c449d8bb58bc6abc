"""What the scores mean, in a statistician's words.

A reference judges only when it has converged; one that is sampled (see :mod:`bayesglmm.methods.mcmc`) when R-hat is
at most 1.01, the effective sample size at least 400, and at most 0.25 % of the transitions diverged. Then every method
gets one of four grades from its worst parameter, leaving aside differences within the reference's Monte-Carlo error:

=========  ==================  =====================  =============================================
grade      worst \\|bias\\|      sd ratio between       in words
=========  ==================  =====================  =============================================
same       below 0.1 sd        0.9 and 1.1            as good as the reference here
close      below 0.3 sd        0.8 and 1.25           fine for estimates, not for tails
rough      below 1 sd          0.5 and 2              good for a first look only
off        anything else                              not to be trusted here
=========  ==================  =====================  =============================================

That pseudo-likelihood shrinks variances in binary and small-count data: Breslow & Lin (1995), Biometrika 82, 81-91.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesglmm.methods.mcmc import MAX_R_HAT, MIN_ESS
from bayesglmm.posterior import DRAWN_LATER

if TYPE_CHECKING:
    from bayesglmm.result import Status


@dataclass(frozen=True)
class Grade:
    """One grade: its limits and its words."""

    name: str
    bias: float
    low: float
    high: float
    words: str


GRADES = (
    Grade("same", 0.1, 0.9, 1.1, "as good as the reference here"),
    Grade("close", 0.3, 0.8, 1.25, "fine for estimates, not for tails"),
    Grade("rough", 1.0, 0.5, 2.0, "good for a first look only"),
    Grade("off", np.inf, 0.0, np.inf, "not to be trusted here"),
)

COLUMNS = (
    "method",
    "estimand",
    "grade",
    "worst_bias",
    "worst_bias_parameter",
    "worst_sd_ratio",
    "worst_sd_ratio_parameter",
    "seconds",
    "speedup",
    "sentence",
)


def objections(status: Status) -> list[str]:
    """Why a fit may not serve as the reference; empty when it may."""
    found = []
    if status.r_hat is not None and not status.r_hat <= MAX_R_HAT:
        found.append(f"R-hat {status.r_hat:.3f} is above {MAX_R_HAT}")
    if status.ess is not None and not status.ess >= MIN_ESS:
        found.append(f"effective sample size {status.ess:.0f} is below {MIN_ESS:.0f}")
    if not status.converged and status.divergences:
        found.append(_divergent(status.divergences))
    return found or ([] if status.converged else [status.message.rstrip(".")])


def _divergent(count: int) -> str:
    return f"{count or 'no'} divergent transition{'' if count == 1 else 's'}"


def grade(bias: float, sd_ratio: float) -> Grade:
    """The best grade whose limits hold both the worst bias and the worst sd ratio."""
    return next(g for g in GRADES if (abs(bias) < g.bias and g.low <= sd_ratio <= g.high) or g is GRADES[-1])


@dataclass(frozen=True)
class Worst:
    """The worst value of a score and the parameter where it stands (NaN and "" when there is none)."""

    value: float
    parameter: str = ""
    kind: str = ""


def worst_bias(rows: pd.DataFrame) -> Worst:
    """Largest bias in absolute value."""
    return _worst(rows, "bias", rows["bias"].abs())


def worst_sd_ratio(rows: pd.DataFrame) -> Worst:
    """Sd ratio furthest from 1, on the log scale."""
    with np.errstate(divide="ignore"):
        distance = np.abs(np.log(rows["sd_ratio"].to_numpy(dtype=float)))
    return _worst(rows, "sd_ratio", pd.Series(distance, index=rows.index))


def _worst(rows: pd.DataFrame, column: str, distance: pd.Series) -> Worst:
    known = distance.dropna()
    if known.empty:
        return Worst(float("nan"))
    row = rows.loc[known.idxmax()]
    return Worst(float(row[column]), str(row["parameter"]), str(row["kind"]))


def sentence(method: str, rows: pd.DataFrame, status: Status, estimand: str, base_estimand: str) -> tuple[str, str]:
    """One method's grade and what to say about it.

    Parameters
    ----------
    method : str
        Its name.
    rows : DataFrame
        Its rows of the table, scored.
    status : Status
        How its fit ended.
    estimand, base_estimand : str
        What its coefficients and the reference's mean.

    Returns
    -------
    tuple of str
        Grade and sentence.
    """
    rows = rows[rows["bias"].notna()]
    if rows.empty:
        return "unscored", "Nothing to compare: it shares no parameter with the reference."
    mark = _graded(rows)
    words = _standing(mark, rows)
    if estimand != base_estimand:
        words = f"As a stand-in for the reference, {words}"
    text = f"{words[0].upper()}{words[1:]}: {_detail(rows)}."
    if not status.converged:
        text = f"Did not converge ({status.reason.rstrip('.')}). {text}"
    return mark.name, " ".join([text, *_remarks(method, rows, estimand, base_estimand)])


def _standing_out(rows: pd.DataFrame) -> tuple[Worst, Worst]:
    """Worst bias and worst sd ratio among those that Monte-Carlo error does not explain."""
    bias = worst_bias(rows[~rows["within_mc_error"].astype(bool)])
    return bias, worst_sd_ratio(rows[~rows["sd_within_mc_error"].astype(bool)])


def _graded(rows: pd.DataFrame) -> Grade:
    bias, ratio = _standing_out(rows)
    return grade(_or(bias.value, 0.0), _or(ratio.value, 1.0))


def _or(value: float, default: float) -> float:
    return default if np.isnan(value) else value


def _standing(mark: Grade, rows: pd.DataFrame) -> str:
    """The grade in words; coefficients and variance parameters apart when they differ."""
    is_fixed = rows["kind"] == "fixed"
    fixed, other = rows[is_fixed], rows[~is_fixed]
    if len(fixed) and len(other) and _graded(fixed) is not _graded(other):
        return f"coefficients {_graded(fixed).words}; variance parameters {_graded(other).words}"
    return mark.words


def _detail(rows: pd.DataFrame) -> str:
    """Where the worst differences stand."""
    bias, ratio = _standing_out(rows)
    if not bias.parameter and not ratio.parameter:
        return "every difference is within the reference's Monte-Carlo error"
    parts = []
    shifted = abs(bias.value) >= GRADES[0].bias
    if shifted:
        parts.append(f"{bias.parameter} is {abs(bias.value):.2f} sd too {'low' if bias.value < 0 else 'high'}")
    elif bias.parameter:
        parts.append(f"no estimate is off by more than {abs(bias.value):.2f} sd")
    if ratio.parameter and not GRADES[0].low <= ratio.value <= GRADES[0].high:
        percent = f"{abs(ratio.value - 1.0):.0%}".replace("%", " %")
        size = percent if ratio.value < 2.0 else f"{ratio.value:.2g} times"
        same = shifted and ratio.parameter == bias.parameter
        whose = "its interval" if same else f"the interval of {ratio.parameter}"
        parts.append(f"{whose} is {size} too {'narrow' if ratio.value < 1 else 'wide'}")
    return " and ".join(parts) if parts else "no spread is off by more than 10 %"


def _remarks(method: str, rows: pd.DataFrame, estimand: str, base_estimand: str) -> list[str]:
    """What a careful reader should know besides."""
    remarks = []
    if estimand != base_estimand:
        meaning = {"marginal": "population-averaged", "joint-mode": "a joint mode"}.get(estimand, estimand)
        remarks.append(
            f"It answers another question ({meaning}, not {base_estimand}), which is part of the difference."
        )
    shrunken = (rows["kind"] == "sd") & (rows["bias"] < -GRADES[0].bias)
    if method in ("pql", "mql") and shrunken.any():
        remarks.append("Variances that are too small are its known bias in binary and small-count data.")
    far = rows.loc[rows["bias"].abs().idxmax()]
    mode_for_mean = method in (*DRAWN_LATER, "map") and far["mcse"] > 0
    if mode_for_mean and GRADES[0].bias <= abs(far["bias"]) and far["w1"] < 0.8 * abs(far["bias"]):
        apart = f"of {far['parameter']} are {far['w1']:.2f} sd apart"
        remarks.append(f"It reports a mode where the reference reports a mean: the distributions {apart}.")
    missing = rows[rows["sd"].isna()]["parameter"].tolist()
    if missing:
        remarks.append(f"It gives no standard error for {', '.join(missing)}.")
    return remarks


def not_comparable(reference: str) -> tuple[str, str]:
    """Grade and sentence of a method whose estimand is not the reference's: one is population-averaged."""
    return (
        "unscored",
        f"Not scored against {reference}: one estimates population-averaged effects, the other effects conditional on "
        "the random effects. They stand side by side, integrated, in cmp.population.",
    )


def listed(items: list[str]) -> str:
    """``"a, b and c"``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def reference_sentence(status: Status, reasons: list[str]) -> str:
    """What to say of the reference itself."""
    if reasons:
        return f"May not judge: {'; '.join(reasons)}. Run it longer (or with a smaller step) before comparing."
    if status.r_hat is None:
        return "The reference."
    numbers = f"R-hat {status.r_hat:.3f}, effective sample size {status.ess:.0f}"
    return f"The reference: {numbers}, {_divergent(status.divergences or 0)}."


def verdict_row(method: str, facts: dict[str, Any], rows: pd.DataFrame, words: tuple[str, str]) -> dict[str, Any]:
    """One row of the verdict table."""
    bias, ratio = worst_bias(rows), worst_sd_ratio(rows)
    return {
        "method": method,
        "estimand": facts.get("estimand", ""),
        "grade": words[0],
        "worst_bias": bias.value,
        "worst_bias_parameter": bias.parameter,
        "worst_sd_ratio": ratio.value,
        "worst_sd_ratio_parameter": ratio.parameter,
        "seconds": facts.get("seconds", float("nan")),
        "speedup": facts.get("speedup", float("nan")),
        "sentence": words[1],
    }
