"""What the replicates add up to: bias, spread, coverage and calibration, each with its Monte-Carlo error.

For R replicates with estimates x_r, standard errors s_r and truth τ (Morris, White & Crowther 2019, Statistics in
Medicine 38, 2074-2102, table 6): bias x̄ − τ with error sd(x)/√R; empirical sd(x); RMSE √(mean (x − τ)²); coverage with
error √(c(1 − c)/R); calibration √(mean s²)/sd(x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = (
    "truth",
    "mean",
    "bias",
    "bias_mcse",
    "sd",
    "rmse",
    "mean_se",
    "se_ratio",
    "coverage",
    "coverage_mcse",
    "sd_ratio",
    "n",
)
KEYS = ["arm", "parameter", "method"]


def score_rows(rows: pd.DataFrame, reference: str | None = None) -> pd.DataFrame:
    """Add up the replicates.

    Parameters
    ----------
    rows : DataFrame
        ``arm, replicate, method, parameter, truth, estimate, sd, ci_low, ci_high``.
    reference : str, optional
        Method whose standard errors the others' are divided by, in the replicates that both fitted.

    Returns
    -------
    DataFrame
        A row per arm × parameter × method, in the order they were met: ``truth`` (its mean, where it differs from
        replicate to replicate), ``mean, bias, bias_mcse, sd, rmse, mean_se`` (root of the mean squared standard error),
        ``se_ratio`` (`mean_se` over `sd`: below one, intervals are too narrow), ``coverage, coverage_mcse``,
        ``sd_ratio`` (mean ratio to the reference's standard errors), ``n`` (replicates).
    """
    if rows.empty:
        return pd.DataFrame(columns=[*KEYS, *COLUMNS])
    base = None
    if reference is not None:
        base = rows[rows["method"] == reference].set_index(["arm", "replicate", "parameter"])["sd"]
    scored = [
        {**dict(zip(KEYS, key)), **_score(own, base)} for key, own in rows.groupby(KEYS, sort=False, observed=True)
    ]
    return pd.DataFrame(scored, columns=[*KEYS, *COLUMNS])


def _score(own: pd.DataFrame, base: pd.Series | None) -> dict[str, Any]:
    truth, estimate, se = (own[c].to_numpy(dtype=float) for c in ("truth", "estimate", "sd"))
    n, error = len(own), estimate - truth
    spread = float(error.std(ddof=1)) if n > 1 else float("nan")
    known = np.isfinite(se)
    mean_se = float(np.sqrt(np.mean(se[known] ** 2))) if known.any() else float("nan")
    # An estimate at the boundary has no interval: coverage is of those that have one.
    inside = (own["ci_low"] <= own["truth"]) & (own["truth"] <= own["ci_high"])
    coverage = float(inside[known].mean()) if known.any() and np.isfinite(truth).all() else float("nan")
    ratio = float("nan")
    if base is not None:
        theirs = base.reindex(pd.MultiIndex.from_frame(own[["arm", "replicate", "parameter"]])).to_numpy(dtype=float)
        both = known & (theirs > 0)
        ratio = float(np.mean(se[both] / theirs[both])) if both.any() else float("nan")
    return {
        "truth": float(truth.mean()),
        "mean": float(estimate.mean()),
        "bias": float(error.mean()),
        "bias_mcse": spread / np.sqrt(n),
        "sd": spread,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mean_se": mean_se,
        "se_ratio": mean_se / spread if spread > 0 else float("nan"),
        "coverage": coverage,
        "coverage_mcse": float(np.sqrt(coverage * (1.0 - coverage) / max(known.sum(), 1))),
        "sd_ratio": ratio,
        "n": n,
    }


def with_variances(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of every ``….sd`` once more as ``….var``: its square, where the literature tabulates variances."""
    sds = rows[rows["parameter"].str.contains(r"\.sd(?:\[|$)", regex=True)].copy()
    sds["parameter"] = sds["parameter"].str.replace(".sd", ".var", regex=False)
    sds["sd"] = 2.0 * sds["estimate"] * sds["sd"]
    for name in ("truth", "estimate", "ci_low", "ci_high"):
        sds[name] = sds[name] ** 2
    return pd.concat([rows, sds], ignore_index=True)


def beside_published(rows: pd.DataFrame, published: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Printed means beside those of the study.

    Parameters
    ----------
    rows : DataFrame
        As for :func:`score_rows`.
    published : sequence of mapping
        Each ``source, parameter, method`` and ``mean``: a number, or arm → number.

    Returns
    -------
    DataFrame
        ``source, parameter, arm, method, published, ours, mcse, difference``, the last in Monte-Carlo standard errors;
        NaN where the study did not run that method.
    """
    scores = score_rows(with_variances(rows)).set_index(KEYS)
    arms = list(dict.fromkeys(rows["arm"]))
    out = []
    for entry in published:
        means = entry["mean"] if isinstance(entry["mean"], Mapping) else dict.fromkeys(arms, entry["mean"])
        for arm, printed in means.items():
            key = (arm, entry["parameter"], entry["method"])
            ours, mcse = scores.loc[key, ["mean", "bias_mcse"]] if key in scores.index else (np.nan, np.nan)
            out.append((entry["source"], entry["parameter"], arm, entry["method"], printed, ours, mcse))
    table = pd.DataFrame(out, columns=["source", "parameter", "arm", "method", "published", "ours", "mcse"])
    table["difference"] = (table["ours"] - table["published"]) / table["mcse"]
    return table
